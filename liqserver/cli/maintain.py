"""`liqserver compact` and `liqserver export`: upkeep of a database file, tables taken out of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from liqserver.cli.options import (
    DEFAULT_RANGE,
    AsOfOption,
    BinSizeOption,
    DatabaseOption,
    EndOption,
    ModelOption,
    RangeOption,
    StartOption,
    connected,
)
from liqserver.cli.output import console, errors_console
from liqserver.config import default_db
from liqserver.store.maintenance import TABLES, FileFormat, export_columns, export_table
from liqserver.store.maintenance import compact as compact_file

if TYPE_CHECKING:
    import liqclient

LEVELS = "levels"


def compact(
    db: DatabaseOption = None,
    keep_large_trades: Annotated[
        float | None,
        typer.Option(
            help="Drop large trades that are older than so many days before the newest trade of their symbol; "
            "models that choose trades by size then know them as flow alone.",
            metavar="DAYS",
        ),
    ] = None,
    keep_raw: Annotated[
        int | None,
        typer.Option(
            "--keep-raw-days",
            help="Drop raw trades, where they are kept, but for so many days up to the newest of each kind and symbol.",
            metavar="DAYS",
        ),
    ] = None,
) -> None:
    """Write the database anew without the room that deleted rows left in it. No server may have it open."""
    done = compact_file(db or default_db(), keep_days=keep_large_trades, keep_raw_days=keep_raw)
    if keep_large_trades is not None:
        console.print(f"{done.dropped_trades:,} large trades dropped")
    if keep_raw is not None:
        days = "1 day" if done.dropped_raw_days == 1 else f"{done.dropped_raw_days:,} days"
        console.print(f"{days} of raw trades dropped")
    console.print(f"{done.bytes_before / 1e6:,.1f} MB before, {done.bytes_after / 1e6:,.1f} MB now")


def export(
    what: Annotated[str, typer.Argument(help=f"A table ({', '.join(TABLES)}) or {LEVELS}.", metavar="TABLE|levels")],
    symbol: Annotated[str, typer.Argument(help="Only of this symbol; levels need one.")] = "",
    to: Annotated[FileFormat, typer.Option("--to", help="Format of the file.")] = FileFormat.PARQUET,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The file; it must not exist. \\[default: TABLE.FORMAT]")
    ] = None,
    venue: Annotated[str, typer.Option(help="Only of this venue.")] = "",
    start: StartOption = None,
    end: EndOption = None,
    as_of: AsOfOption = None,
    model: ModelOption = "",
    bin_size: BinSizeOption = None,
    price_range: RangeOption = DEFAULT_RANGE,
    db: DatabaseOption = None,
) -> None:
    """Write a table of the database, or liquidation levels, to a file of Parquet or CSV.

    Times are UNIX nanoseconds. --start and --end choose rows of tables by their time; --as-of, --model, --bin-size and
    --range are for levels. No server may have the database open.
    """
    path = db or default_db()
    place = out or Path(f"{what}.{to}")
    if what == LEVELS:
        if not symbol:
            raise typer.BadParameter("levels are of one symbol: name it", param_hint="SYMBOL")
        if start is not None or end is not None:
            raise typer.BadParameter("--start and --end are for tables; levels have --as-of")
        with connected(None, path) as client:
            answer = client.levels(
                symbol, venue=venue, model=model, as_of=as_of, bin_size=bin_size, price_range=price_range, per_tier=True
            )
        rows = export_columns(_columns(answer), place, to)
    else:
        if as_of is not None or model or bin_size is not None or price_range != DEFAULT_RANGE:
            raise typer.BadParameter("--as-of, --model, --bin-size and --range are for levels")
        rows = export_table(path, what, place, to, venue=venue, symbol=symbol, start=start, end=end)
    errors_console.print(f"{rows:,} rows written to {place}", markup=False)


def _columns(of: liqclient.Levels) -> dict[str, np.ndarray]:
    """Return levels in columns, each row with where it comes from."""
    n, where = len(of.price), of.provenance
    columns = {
        "venue": np.full(n, where.venue, dtype=object),
        "symbol": np.full(n, where.symbol, dtype=object),
        "model": np.full(n, where.model, dtype=object),
        "as_of": np.full(n, where.as_of, dtype=np.int64),
        "current_price": np.full(n, where.current_price),
        "bin_size": np.full(n, of.bin_size),
        # Writable copies: the client's arrays are not.
        "price": of.price.copy(),
        "long": of.long.copy(),
        "short": of.short.copy(),
    }
    for leverage, tier in of.tiers.items():
        columns[f"long_{leverage:g}x"] = tier.long.copy()
        columns[f"short_{leverage:g}x"] = tier.short.copy()
    return columns
