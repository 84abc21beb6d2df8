"""`liqserver check`: what is wrong with the data in a database, or with files that are not in yet."""

from __future__ import annotations

import dataclasses
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from liqserver.cli.options import DatabaseOption, DataVenueOption
from liqserver.cli.output import console, errors_console, print_json, shown_time, table
from liqserver.config import DEFAULT_VENUE, default_db
from liqserver.store.archive import ArchiveError
from liqserver.store.database import Database, StoreError
from liqserver.store.ingest import Status
from liqserver.store.liquidation_files import DEFAULT_QUOTE_ASSET
from liqserver.store.quality import Bounds, Finding, Severity, rehearse
from liqserver.store.quality import check as look_through

_COLOURS = {Severity.INFO: "dim", Severity.WARNING: "yellow", Severity.ERROR: "red"}
# Enough for what a symbol has in a minute; larger sets spill to disk.
_MEMORY_LIMIT = "2GB"
_DEFAULT = Bounds()


class Format(StrEnum):
    """What to print."""

    TABLE = "table"
    JSON = "json"


class FailOn(StrEnum):
    """From which severity on the exit status is 1."""

    WARNING = "warning"
    ERROR = "error"


def check(
    symbols: Annotated[list[str] | None, typer.Argument(help="Symbols; all by default.")] = None,
    db: DatabaseOption = None,
    venue: DataVenueOption = DEFAULT_VENUE,
    dry_run: Annotated[
        list[Path] | None,
        typer.Option(
            "--dry-run", help="Instead: what an ingest of these files or folders into the database would do and find."
        ),
    ] = None,
    symbol: Annotated[
        str, typer.Option(help="With --dry-run: whose the totals of liquidations are, which do not say it.")
    ] = "",
    fail_on: Annotated[FailOn, typer.Option("--fail-on", help="Exit with 1 from this severity on.")] = FailOn.WARNING,
    format: Annotated[Format, typer.Option("--format", "-f", help="What to print.")] = Format.TABLE,
    info: Annotated[bool, typer.Option("--info", help="Show what is merely worth knowing, too (JSON has it).")] = False,
    price_jump: Annotated[
        float, typer.Option(min=0, help="Largest move of a price from one minute to the next, as a share.")
    ] = _DEFAULT.price_jump,
    open_interest_jump: Annotated[
        float, typer.Option(min=0, help="Largest change of open interest from row to row, as a share.")
    ] = _DEFAULT.open_interest_jump,
    divergence: Annotated[
        float, typer.Option(min=0, help="Largest distance of mark price and last price, as a share.")
    ] = _DEFAULT.divergence,
    volume: Annotated[
        float, typer.Option(min=0, help="Largest difference of the volumes of candles and trades, as a share.")
    ] = _DEFAULT.volume,
    most: Annotated[
        int, typer.Option(min=1, help="Findings of one kind that are told one by one; the others are summed up.")
    ] = _DEFAULT.most,
) -> None:
    """Look for gaps, impossible values, jumps and sources that disagree.

    Reads the database, which no server may have open; nothing is changed. With --dry-run it reads files that are not
    in yet: what an ingest would reject and why, what is there already, and what would be found in them.

    Exit status: 0 nothing at or above --fail-on, 1 some finding is, 2 it could not be checked.
    """
    bounds = Bounds(
        price_jump=price_jump, open_interest_jump=open_interest_jump, divergence=divergence, volume=volume, most=most
    )
    place = db or default_db()
    try:
        if symbol and not dry_run:
            raise typer.BadParameter("--symbol goes with --dry-run; name symbols of the database without it")
        if dry_run:
            if symbols:
                raise typer.BadParameter("give symbols or --dry-run, not both")
            # A database that is not there yet has nothing to compare with; one that was named has to be there.
            known = place if db is not None or place.exists() else None
            rehearsal = rehearse(
                dry_run, known, venue=venue, quote_asset=DEFAULT_QUOTE_ASSET, symbol=symbol, bounds=bounds
            )
            looked = dict(Counter(str(file.status) for file in rehearsal.report.files))
            looked[str(Status.INGESTED)] = looked.get(str(Status.INGESTED), 0)
            findings = rehearsal.findings
            said = ", ".join(f"{n:,} {_SHOWN_STATUS[Status(status)]}" for status, n in looked.items())
            what = f"{len(rehearsal.report.files):,} {'file' if len(rehearsal.report.files) == 1 else 'files'}: {said}"
        else:
            findings, names = _look(place, venue, symbols or [], bounds)
            looked = {"symbols": len(names)}
            what = f"{len(names):,} {'symbol' if len(names) == 1 else 'symbols'}"
    except (ArchiveError, StoreError) as error:
        errors_console.print(f"[red]error:[/] {escape(str(error))}")
        raise typer.Exit(2) from error
    if format is Format.JSON:
        print_json(
            {
                "checked": looked,
                "bounds": dataclasses.asdict(bounds),
                "counts": {str(s): sum(f.severity is s for f in findings) for s in Severity},
                "findings": [dataclasses.asdict(finding) for finding in findings],
            }
        )
    else:
        _print([f for f in findings if info or f.severity is not Severity.INFO], findings, what)
    failed = any(f.severity.rank >= Severity(fail_on.value).rank for f in findings)
    raise typer.Exit(1 if failed else 0)


_SHOWN_STATUS = {
    Status.INGESTED: "would go in",
    Status.ALREADY_INGESTED: "there already",
    Status.REJECTED: "would be rejected",
    Status.NOT_READ: "not read",
}


def _look(path: Path, venue: str, symbols: list[str], bounds: Bounds) -> tuple[list[Finding], list[str]]:
    """Check symbols, all of the venue when none is named."""
    with Database(path, read_only=True, memory_limit=_MEMORY_LIMIT) as database:
        cur = database.cursor()
        there = [
            name
            for (name,) in cur.execute("SELECT symbol FROM symbols WHERE venue = ? ORDER BY symbol", [venue]).fetchall()
        ]
        for symbol in symbols:
            if symbol not in there:
                held = f"it has {', '.join(there[:10])}{' …' if len(there) > 10 else ''}" if there else "it has none"
                raise StoreError(f"{path} holds nothing of {venue}:{symbol}; {held} of {venue}")
        if not there:
            raise StoreError(f"{path} holds no symbol of {venue}")
        names = list(dict.fromkeys(symbols)) or there
        return [finding for name in names for finding in look_through(cur, venue, name, bounds)], names


def _print(shown: list[Finding], findings: list[Finding], what: str) -> None:
    if shown:
        out = table("symbol", "severity", "check", "data", "from", "to", "count", "what", right=("count",))
        out.columns[-1].no_wrap = False
        for f in shown:
            out.add_row(
                escape(f.symbol),
                f"[{_COLOURS[f.severity]}]{f.severity}[/]",
                f.check,
                f.data,
                shown_time(f.start or None),
                shown_time(f.end or None),
                f"{f.count:,}",
                escape(f.text),
            )
        console.print(out)
    counts = [
        f"{n:,} {severity}" + ("" if n == 1 or severity is Severity.INFO else "s")
        for severity in reversed(Severity)
        if (n := sum(f.severity is severity for f in findings))
    ]
    hidden = " (--info shows them)" if len(shown) < len(findings) else ""
    console.print(f"{what}; {', '.join(counts) or 'nothing found'}{hidden}")
