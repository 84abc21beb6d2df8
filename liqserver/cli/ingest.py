"""``liqserver ingest``: archive files into a database or a server, with a progress bar and a summary."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as ProgressBar
from rich.text import Text

import liqclient
from liqserver import config
from liqserver.cli.options import DatabaseOption, DataVenueOption, Format, FormatOption, client_of
from liqserver.cli.output import (
    errors_console,
    print_csv,
    print_json,
    print_notice,
    print_table,
    say,
    shown_amount,
    table,
)
from liqserver.store.archive import ArchiveError, find_files, interval_name, utc
from liqserver.store.database import DEFAULT_MEMORY_LIMIT, Database, StoreError
from liqserver.store.ingest import FileResult, IngestReport, Progress, Status
from liqserver.store.ingest import ingest as ingest_files
from liqserver.store.liquidation_files import DEFAULT_QUOTE_ASSET

# Notices of one wording are shown once with the first few files they are of.
_NAMES_SHOWN = 3

# Of commands that bring data in.
ServerOption = Annotated[
    str | None,
    typer.Option(
        "--target", "-t", help="Address of a running server, which does it in its own database and goes on answering."
    ),
]
MemoryOption = Annotated[
    str,
    typer.Option(
        help="Most memory that the database's pages and queries take, as a size (2GB) or a share of the machine's.",
        envvar="LIQSERVER_MEMORY_LIMIT",
    ),
]


def ingest(
    paths: Annotated[list[Path], typer.Argument(help="Archive files, or folders with everything below them.")],
    db: DatabaseOption = None,
    target: ServerOption = None,
    venue: DataVenueOption = config.DEFAULT_VENUE,
    base_bin: Annotated[
        float | None,
        typer.Option(help="Width of the flow bins of new symbols, quote units; about a basis point by default."),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put files of a known name and other content in the place of the old.")
    ] = False,
    quote_asset: Annotated[
        str,
        typer.Option(help="What symbols are quoted in whose names in recordings of force orders do not say it."),
    ] = DEFAULT_QUOTE_ASSET,
    keep_raw: Annotated[
        bool,
        typer.Option(
            "--keep-raw",
            help="Keep trades one by one as well, as Parquet in DATABASE.raw, also those of files that are in already.",
        ),
    ] = False,
    symbol: Annotated[
        str, typer.Option(help="Whose the totals of liquidations are (liquidations_1h.csv), which do not say it.")
    ] = "",
    memory_limit: MemoryOption = DEFAULT_MEMORY_LIMIT,
    format: FormatOption = Format.TABLE,
) -> None:
    """Bring archive files (zip or csv) into the database.

    Trades, candles, mark prices, open interest, funding and liquidations in the layout of data.binance.vision, and
    recordings of all force orders (force_orders_DATE.csv). Files that are there already are left alone, so it can be
    repeated; a bad file is rejected whole and the others go in.

    Totals of liquidations that others added up (liquidations_1h.csv: open_time, liquidation_long_usd,
    liquidation_short_usd) do not say whose they are: --symbol does.

    A database is open to one process at a time: while a server runs on it, --target hands the work to the server. PATHS
    are then those of the server's machine.

    Exit status: 0 all in or already there, 1 some file was rejected, 2 there was nothing to do it with.
    """
    if target is not None and db is not None:
        raise typer.BadParameter("give --target or --db, not both")
    try:
        if target is not None:
            report = ingest_by_server(
                target,
                paths,
                venue=venue,
                base_bin=base_bin,
                replace=replace,
                quote_asset=quote_asset,
                keep_raw=keep_raw,
                symbol=symbol,
            )
        else:
            # Before the database: a slip of the pen makes no file.
            find_files(paths, symbol)
            opened = Database(db or config.default_db(), memory_limit=memory_limit, keep_pages=False)
            with opened as database, progress_shown() as show:
                report = ingest_files(
                    database,
                    paths,
                    venue=venue,
                    base_bin=base_bin,
                    replace=replace,
                    quote_asset=quote_asset,
                    keep_raw=keep_raw,
                    symbol=symbol,
                    progress=show,
                )
    except (ArchiveError, StoreError, liqclient.LiqClientError) as error:
        errors_console.print(f"[red]error:[/red] {escape(str(error))}")
        raise typer.Exit(2) from error
    if format is Format.JSON:
        print_json(_as_json(report))
    elif format is Format.CSV:
        print_csv([of.name for of in dataclasses.fields(FileResult)], map(_as_row, report.files))
    else:
        _print_summary(report)
    raise typer.Exit(1 if report.of(Status.REJECTED) else 0)


def ingest_by_server(
    target: str,
    paths: Iterable[Path],
    *,
    venue: str,
    base_bin: float | None = None,
    replace: bool = False,
    quote_asset: str = DEFAULT_QUOTE_ASSET,
    keep_raw: bool = False,
    symbol: str = "",
) -> IngestReport:
    """Have a server ingest archive files, with a progress bar; relative paths begin in this process's folder.

    Raises
    ------
    LiqClientError
        If the server cannot be reached, refuses or fails.
    """
    results: list[FileResult] = []
    with client_of(target, timeout=10) as client, progress_shown() as show:
        for at in client.ingest(
            [path.absolute() for path in paths],
            venue=venue,
            base_bin=base_bin,
            replace=replace,
            quote_asset=quote_asset,
            keep_raw=keep_raw,
            symbol=symbol,
        ):
            last = None if at.file is None else _result(at.file)
            if last is not None:
                results.append(last)
            if last is None or last.status is not Status.NOT_READ:
                show(Progress(at.files_done, at.files, at.bytes_done, at.bytes, last))
    return IngestReport(tuple(results))


def _result(file: liqclient.IngestedFile) -> FileResult:
    return FileResult(
        path=Path(file.path),
        status=Status(file.status),
        symbol=file.symbol,
        kind=file.kind,
        period=file.period or 0,
        rows=file.rows,
        stored_rows=file.stored_rows,
        dropped_rows=file.dropped_rows,
        ts_start=file.ts_start or 0,
        ts_end=file.ts_end or 0,
        notices=file.notices,
        reason=file.reason or "",
        bytes=file.bytes,
        seconds=file.seconds,
    )


class _RowsColumn(ProgressColumn):
    """Rows in a second, since the start: single files differ much."""

    def render(self, task: Task) -> Text:
        rows, seconds = task.fields["rows"], task.elapsed
        return Text(f"{shown_amount(rows / seconds)} rows/s" if rows and seconds else "", style="progress.data.speed")


@contextmanager
def progress_shown() -> Iterator[Callable[[Progress], None]]:
    """Show a progress bar of an ingest while the block runs; yield what moves it on."""
    rows = 0
    with ProgressBar(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[files]}"),
        DownloadColumn(),
        TransferSpeedColumn(),
        _RowsColumn(),
        TimeRemainingColumn(),
        console=errors_console,
        transient=True,
    ) as bar:
        task = bar.add_task("ingest", total=None, files="", rows=0)

        def show(progress: Progress) -> None:
            nonlocal rows
            rows += progress.last.rows if progress.last is not None else 0
            bar.update(
                task,
                total=progress.bytes,
                completed=progress.bytes_done,
                files=f"{progress.files_done:,}/{_files(progress.files)}",
                rows=rows,
            )

        yield show


def _print_summary(report: IngestReport) -> None:
    ingested = report.of(Status.INGESTED)
    if ingested:
        _print_table(ingested)
    _print_notices(ingested)
    for file in report.of(Status.REJECTED):
        say(f"[red]rejected[/] {escape(str(file.path))}\n  {escape(file.reason)}")
    unread = Counter(file.reason for file in report.of(Status.NOT_READ))
    for reason, n in sorted(unread.items()):
        say(f"not read: {escape(reason)} ({_files(n)})")
    counts = {status: len(report.of(status)) for status in Status if status is not Status.NOT_READ}
    say(", ".join(f"{_files(n)} {status}" for status, n in counts.items() if n))


def _print_table(files: tuple[FileResult, ...]) -> None:
    """Print one row for each symbol, kind and period."""
    dropped = any(file.dropped_rows for file in files)
    figures = ("files", "rows", "stored", "dropped") if dropped else ("files", "rows", "stored")
    out = table("symbol", "kind", *figures, "from", "to", right=figures)
    groups: dict[tuple[str, str, int], list[FileResult]] = {}
    for file in files:
        groups.setdefault((file.symbol, file.kind, file.period), []).append(file)
    for (symbol, kind, period), group in groups.items():
        counts = [len(group), sum(f.rows for f in group), sum(f.stored_rows for f in group)]
        if dropped:
            counts.append(sum(f.dropped_rows for f in group))
        out.add_row(
            escape(symbol),
            f"{kind} {interval_name(period)}".strip(),
            *(f"{n:,}" for n in counts),
            # Days in UTC; the last one is that of the last moment.
            f"{utc(min(f.ts_start for f in group)):%Y-%m-%d}",
            f"{utc(max(f.ts_end for f in group) - 1):%Y-%m-%d}",
        )
    print_table(out)


def _print_notices(files: tuple[FileResult, ...]) -> None:
    by_text: dict[str, list[str]] = {}
    for file in files:
        for notice in file.notices:
            by_text.setdefault(notice, []).append(file.path.name)
    for text, names in by_text.items():
        shown = ", ".join(names[:_NAMES_SHOWN])
        more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
        print_notice(f"note {shown}{more}: {text}")


def _as_row(file: FileResult) -> list[object]:
    """Return a file's fields, notices as one text."""
    values = (getattr(file, of.name) for of in dataclasses.fields(file))
    return ["; ".join(value) if isinstance(value, tuple) else value for value in values]


def _as_json(report: IngestReport) -> dict[str, object]:
    return {
        "counts": {str(status): len(report.of(status)) for status in Status},
        "files": [
            {k: str(v) if isinstance(v, Path) else v for k, v in dataclasses.asdict(file).items()}
            for file in report.files
        ],
    }


def _files(n: int) -> str:
    return "1 file" if n == 1 else f"{n:,} files"
