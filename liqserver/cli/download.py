"""``liqserver download`` and ``liqserver update``: files from the exchange's public archive, and into the database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.filesize import decimal as shown_size
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as ProgressBar

import liqclient
from liqserver import config
from liqserver.cli.ingest import ServerOption, ingest_by_server, progress_shown
from liqserver.cli.options import DatabaseOption, DataVenueOption, Format, FormatOption, client_of
from liqserver.cli.output import errors_console, print_csv, print_json, print_notice, print_table, say, table
from liqserver.store.archive import CANDLE_KINDS, PUBLISHED_KINDS, ArchiveError, Kind, utc
from liqserver.store.bucket import PUBLIC_ARCHIVE, Bucket, Source, SourceError
from liqserver.store.database import Database, StoreError
from liqserver.store.download import (
    DEFAULT_KINDS,
    INTERVALS,
    DownloadedFile,
    DownloadError,
    DownloadReport,
    LedgerRow,
    Market,
    Outcome,
    Progress,
    RemoteFile,
    Series,
    Wanted,
    bytes_missing,
    days_between,
    days_missing,
    ledger_rows,
    looks_present,
    plan,
)
from liqserver.store.download import download as download_files
from liqserver.store.ingest import FileResult, IngestReport, Status
from liqserver.store.ingest import ingest as ingest_files

# Seconds: a long ledger takes a moment.
_LEDGER_TIMEOUT = 60.0
_FOUND = (Outcome.DOWNLOADED, Outcome.ALREADY_THERE)

JobsOption = Annotated[int, typer.Option(help="Files at the same time.", min=1, max=16)]
SourceOption = Annotated[
    str, typer.Option(help="Address of the archive.", envvar="LIQSERVER_SOURCE", rich_help_panel="Where from")
]
ListingOption = Annotated[
    str | None,
    typer.Option(
        help="Address of the bucket that lists it, if not the same.",
        envvar="LIQSERVER_LISTING",
        show_default="that of the public archive, else the source",
        rich_help_panel="Where from",
    ),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only list what would be downloaded, and how big it is.")]


def download(
    symbols: Annotated[list[str], typer.Argument(help="Symbols, for example BTCUSDT ETHUSDT.", show_default=False)],
    start: Annotated[datetime, typer.Option(help="First day, UTC.", formats=["%Y-%m-%d"], show_default=False)],
    end: Annotated[
        datetime | None, typer.Option(help="Last day, UTC.", formats=["%Y-%m-%d"], show_default="yesterday")
    ] = None,
    kinds: Annotated[
        str,
        typer.Option(
            help=f"Kinds of files, separated by commas, of: {', '.join(PUBLISHED_KINDS)}.",
            show_default=f"what the models need: {', '.join(DEFAULT_KINDS)}",
        ),
    ] = ",".join(DEFAULT_KINDS),
    interval: Annotated[str, typer.Option(help=f"Of candles: {', '.join(INTERVALS)}.")] = "1m",
    market: Annotated[
        Market, typer.Option(help="um: USD-M. cm: COIN-M, which can be downloaded but not ingested.")
    ] = Market.USD_M,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder that receives data/futures/….")] = Path("archive"),
    jobs: JobsOption = 4,
    source: SourceOption = PUBLIC_ARCHIVE.files,
    listing: ListingOption = None,
    dry_run: DryRunOption = False,
    format: FormatOption = Format.TABLE,
) -> None:
    """Download files of the exchange's public archive; `ingest` the folder afterwards.

    Monthly files of whole months that are past, daily ones of other days and where there is no monthly file yet. Each
    is verified by its published checksum. What is there already is verified and left alone, what was cut off goes on
    where it ended: after an interruption, the same command again. It needs no database and no server, and may run
    beside them.

    Exit status: 0 all there that is published, 1 some file failed or nothing at all is published, 2 there was nothing
    to do it with.

    Try `liqserver download BTCUSDT --start 2025-12-01 --end 2025-12-31 --dry-run`.
    """
    yesterday = _today() - timedelta(days=1)
    first, last = start.date(), end.date() if end is not None else yesterday
    if first > last:
        raise typer.BadParameter(f"--start was {first}, must not be after --end {last}")
    with _errors_to_exit():
        wanted = [
            Wanted(
                Series(market, symbol, kind, interval if kind in CANDLE_KINDS else ""),
                days_between(first, last),
            )
            for symbol in dict.fromkeys(symbols)
            for kind in _read_kinds(kinds)
        ]
        with Bucket(_source(source, listing), connections=jobs) as bucket, _progress_bar() as bar:
            files = _plan(bar, bucket, wanted, jobs)
            report = None if dry_run else _download(bar, bucket, files, out, jobs)
    published = [file for file in files if file.size is not None]
    if report is None:
        _print_plan(files, out, format)
    elif format is Format.TABLE:
        _print_report(report)
        if report.of(*_FOUND):
            say(f"next: liqserver ingest {escape(str(out))}")
    else:
        _print_records(_downloads(report), format, folder=str(out), counts=_counts(report))
    if not published:
        _complain("nothing of what was asked for is published; are symbol, market and dates right?")
    raise typer.Exit(1 if not published or (report is not None and not _complete(report)) else 0)


def update(
    symbols: Annotated[
        list[str] | None, typer.Argument(help="Symbols of the database; all if none is named.", show_default=False)
    ] = None,
    db: DatabaseOption = None,
    target: ServerOption = None,
    venue: DataVenueOption = config.DEFAULT_VENUE,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Folder of the files until they are in.", show_default="DATABASE.downloads, beside it"
        ),
    ] = None,
    keep_files: Annotated[bool, typer.Option("--keep-files", help="Leave the files there once they are in.")] = False,
    jobs: JobsOption = 4,
    source: SourceOption = PUBLIC_ARCHIVE.files,
    listing: ListingOption = None,
    dry_run: DryRunOption = False,
    format: FormatOption = Format.TABLE,
) -> None:
    """Download what was published since the newest files in the database, and ingest it.

    For each symbol and each kind that came from archive files: the days up to yesterday, and those of the week before
    its newest file that were missing then. Can be repeated at any time.

    A database is open to one process at a time: while a server runs on it, --target asks the server what it has,
    downloads, and has the server ingest, which goes on answering. The server has to be able to read the folder.

    Exit status: 0 all in that is published, 1 some file failed or was rejected, 2 there was nothing to do it with.
    """
    if target is not None and db is not None:
        raise typer.BadParameter("give --target or --db, not both")
    path = db or config.default_db()
    # A server may have another working folder.
    folder = (out or path.with_name(f"{path.name}.downloads")).absolute()
    results: dict[Path, FileResult] = {}
    with _errors_to_exit():
        ledger = _ledger(target, path)
        wanted, notices = days_missing(ledger, venue, list(symbols or ()), _today() - timedelta(days=1))
        with Bucket(_source(source, listing), connections=jobs) as bucket, _progress_bar() as bar:
            files = _plan(bar, bucket, wanted, jobs)
            report = None if dry_run else _download(bar, bucket, files, folder, jobs)
        if report is not None and (paths := [file.path for file in report.of(*_FOUND)]):
            results = {result.path: result for result in _ingest(target, path, paths, venue).files}
    for notice in notices:
        errors_console.print(f"[yellow]note[/] {escape(notice)}")
    if report is None:
        _print_plan(files, folder, format)
        raise typer.Exit
    if not keep_files:
        _remove(folder, results.values())
    if format is Format.TABLE:
        _print_update(wanted, report, results)
    else:
        counts = _counts(report) | _counts_ingested(results)
        _print_records(_updates(report, results), format, folder=str(folder), counts=counts)
    rejected = any(result.status is Status.REJECTED for result in results.values())
    raise typer.Exit(1 if rejected or not _complete(report) else 0)


# --- asked for -------------------------------------------------------------------------------------------------


def _today() -> date:
    return datetime.now(UTC).date()


def _read_kinds(text: str) -> list[Kind]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names or (wrong := [name for name in names if name not in PUBLISHED_KINDS]):
        was = wrong[0] if names else text
        raise typer.BadParameter(f"--kinds was {was!r}, must be of {', '.join(PUBLISHED_KINDS)}")
    return [Kind(name) for name in dict.fromkeys(names)]


def _source(files: str, listing: str | None) -> Source:
    if listing is None:
        listing = PUBLIC_ARCHIVE.listing if files.rstrip("/") == PUBLIC_ARCHIVE.files else files
    try:
        return Source(files, listing)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _complete(report: DownloadReport) -> bool:
    return not report.of(Outcome.FAILED)


@contextmanager
def _errors_to_exit() -> Iterator[None]:
    try:
        yield
    except (SourceError, DownloadError, StoreError, ArchiveError, liqclient.LiqClientError) as error:
        _complain(str(error))
        raise typer.Exit(2) from error


def _complain(text: str) -> None:
    errors_console.print(f"[red]error:[/] {escape(text)}")


# --- database or server ----------------------------------------------------------------------------------------


def _ledger(target: str | None, path: Path) -> list[LedgerRow]:
    """Return what the database, or the server, has."""
    if target is None:
        with Database(path, read_only=True) as database:
            return ledger_rows(database)
    with client_of(target, timeout=10) as client:
        files = client.files(timeout=_LEDGER_TIMEOUT)
    return [LedgerRow(file.venue, file.symbol, file.kind, file.period or 0, file.name) for file in files]


def _ingest(target: str | None, path: Path, files: Sequence[Path], venue: str) -> IngestReport:
    if target is not None:
        return ingest_by_server(target, files, venue=venue)
    with Database(path, keep_pages=False) as database, progress_shown() as show:
        return ingest_files(database, files, venue=venue, progress=show)


# --- under way -------------------------------------------------------------------------------------------------


def _progress_bar() -> ProgressBar:
    return ProgressBar(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[files]}"),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=errors_console,
        transient=True,
    )


def _plan(bar: ProgressBar, bucket: Bucket, wanted: Sequence[Wanted], jobs: int) -> list[RemoteFile]:
    task = bar.add_task("look what is published", total=None, files="")
    files = plan(bucket, wanted, jobs)
    bar.remove_task(task)
    return files


def _download(bar: ProgressBar, bucket: Bucket, files: Sequence[RemoteFile], folder: Path, jobs: int) -> DownloadReport:
    task = bar.add_task("download", total=None, files="")

    def show(progress: Progress) -> None:
        bar.update(
            task,
            total=progress.bytes,
            completed=progress.bytes_done,
            files=f"{progress.files_done:,}/{_files(progress.files)}",
        )

    return download_files(bucket, files, folder, jobs=jobs, progress=show)


def _remove(folder: Path, results: Iterable[FileResult]) -> None:
    """Remove files that are in the database, and folders that are empty then; what was rejected stays."""
    for result in results:
        if result.status in (Status.INGESTED, Status.ALREADY_INGESTED):
            result.path.unlink()
            result.path.with_name(f"{result.path.name}.CHECKSUM").unlink(missing_ok=True)
    for below, _, _ in folder.walk(top_down=False):
        if not any(below.iterdir()):
            below.rmdir()


# --- done ------------------------------------------------------------------------------------------------------


def _print_plan(files: Sequence[RemoteFile], folder: Path, format: Format) -> None:
    """Print what would be downloaded."""
    needed = bytes_missing(files, folder)
    if format is not Format.TABLE:
        there = [_file(file) | {"there": looks_present(file, folder)} for file in files]
        _print_records(there, format, folder=str(folder), bytes=needed)
        return
    missing = [file for file in files if file.size is not None and not looks_present(file, folder)]
    if missing:
        out = table("file", "bytes", right=("bytes",))
        for file in missing:
            out.add_row(escape(file.key), f"{file.size:,}")
        print_table(out)
    _print_unpublished([(file, "the archive does not list it") for file in files if file.size is None])
    there_already = sum(file.size is not None for file in files) - len(missing)
    say(f"{_files(len(missing))} to download ({shown_size(needed)}), {_files(there_already)} there in that size")


def _print_report(report: DownloadReport) -> None:
    if report.files:
        shown = [outcome for outcome in Outcome if report.of(outcome)]
        out = table("symbol", "kind", *shown, "received", right=(*shown, "received"))
        of_series: dict[Series, list[DownloadedFile]] = {}
        for file in report.files:
            of_series.setdefault(file.file.series, []).append(file)
        for series, group in of_series.items():
            counts = Counter(file.outcome for file in group)
            figures = (*(f"{counts[of]:,}" for of in shown), shown_size(_received(group)))
            out.add_row(escape(series.symbol), series.name, *figures)
        print_table(out)
    _print_what_is_missing(report)
    say(_in_words(_counts(report), report))


def _print_update(wanted: Sequence[Wanted], report: DownloadReport, results: dict[Path, FileResult]) -> None:
    figures = ("new files", "rows", "stored", "received")
    out = table("symbol", "kind", *figures, "through", right=figures)
    for want in wanted:
        group = [file for file in report.files if file.file.series == want.series]
        new = [results[of.path] for of in group if of.path in results and results[of.path].status is Status.INGESTED]
        # A day in UTC: that of the last moment.
        reached = [utc(result.ts_end - 1).date() for result in new] + ([want.newest] if want.newest else [])
        counts = (len(new), sum(result.rows for result in new), sum(result.stored_rows for result in new))
        out.add_row(
            escape(want.series.symbol),
            want.series.name,
            *(f"{n:,}" for n in counts),
            shown_size(_received(group)),
            max(reached).isoformat() if reached else "-",
        )
    print_table(out)
    by_text: dict[str, list[str]] = {}
    for result in results.values():
        for notice in result.notices:
            by_text.setdefault(notice, []).append(result.path.name)
    for text, names in by_text.items():
        more = f" and {_files(len(names) - 1)} more" if len(names) > 1 else ""
        print_notice(f"note {names[0]}{more}: {text}")
    _print_what_is_missing(report)
    for result in results.values():
        if result.status is Status.REJECTED:
            say(f"[red]rejected[/] {escape(str(result.path))}\n  {escape(result.reason)}")
    say(_in_words(_counts(report) | _counts_ingested(results), report) or "nothing is missing")


def _print_what_is_missing(report: DownloadReport) -> None:
    _print_unpublished([(file.file, file.reason) for file in report.of(Outcome.NOT_PUBLISHED)])
    for file in report.of(Outcome.FAILED):
        say(f"[red]failed[/] {escape(file.file.key)}\n  {escape(file.reason)}")


def _print_unpublished(files: Sequence[tuple[RemoteFile, str]]) -> None:
    """Print one line for each run of dates."""
    for (series, reason), group in groupby(files, key=lambda of: (of[0].series, of[1])):
        for first, last, n in _runs([file.dates for file, _ in group]):
            dates = first if n == 1 else f"{first} … {last} ({_files(n)})"
            say(f"not published: {escape(series.symbol)} {series.name} {dates}: {reason}")


def _runs(dates: Iterable[str]) -> list[tuple[str, str, int]]:
    """Return first, last and number of dates that follow each other, days or months."""
    runs: list[tuple[str, str, int]] = []
    for of in dates:
        if runs and _after(runs[-1][1]) == of:
            runs[-1] = (runs[-1][0], of, runs[-1][2] + 1)
        else:
            runs.append((of, of, 1))
    return runs


def _after(dates: str) -> str:
    if len(dates) == len("2025-12"):
        return f"{date.fromisoformat(f'{dates}-01') + timedelta(days=31):%Y-%m}"
    return (date.fromisoformat(dates) + timedelta(days=1)).isoformat()


def _received(files: Iterable[DownloadedFile]) -> int:
    return sum(file.received for file in files)


def _counts(report: DownloadReport) -> dict[str, int]:
    return {str(outcome): len(report.of(outcome)) for outcome in Outcome}


def _counts_ingested(results: dict[Path, FileResult]) -> dict[str, int]:
    statuses = Counter(result.status for result in results.values())
    return {str(status): statuses[status] for status in Status if status is not Status.NOT_READ}


def _in_words(counts: dict[str, int], report: DownloadReport) -> str:
    size = {str(Outcome.DOWNLOADED): f" ({shown_size(_received(report.files))})"}
    return ", ".join(f"{_files(n)} {of}{size.get(of, '')}" for of, n in counts.items() if n)


def _file(file: RemoteFile) -> dict[str, Any]:
    """Return a file as plain values."""
    return {
        "key": file.key,
        "symbol": file.series.symbol,
        "kind": str(file.series.kind),
        "interval": file.series.interval,
        "dates": file.dates,
        "size": file.size,
    }


def _downloads(report: DownloadReport) -> list[dict[str, Any]]:
    return [
        _file(of.file)
        | {"outcome": str(of.outcome), "path": str(of.path), "received": of.received, "reason": of.reason}
        for of in report.files
    ]


def _updates(report: DownloadReport, results: dict[Path, FileResult]) -> list[dict[str, Any]]:
    """Return each file with what became of it in the database; a reason is that of the later failure."""
    records = _downloads(report)
    for of, record in zip(report.files, records, strict=True):
        result = results.get(of.path)
        record |= {
            "status": str(result.status) if result else "",
            "rows": result.rows if result else 0,
            "stored_rows": result.stored_rows if result else 0,
            "dropped_rows": result.dropped_rows if result else 0,
            "notices": list(result.notices) if result else [],
        }
        if result is not None and result.reason:
            record["reason"] = result.reason
    return records


def _print_records(records: Sequence[dict[str, Any]], format: Format, **about: object) -> None:
    """Print one record for each file: as CSV, or as JSON with what there is to say about all."""
    if format is Format.JSON:
        print_json(about | {"files": list(records)})
        return
    # Values of several parts as one text.
    rows = [["; ".join(v) if isinstance(v, list) else v for v in record.values()] for record in records]
    print_csv(records[0] if records else (), rows)


def _files(n: int) -> str:
    return "1 file" if n == 1 else f"{n:,} files"
