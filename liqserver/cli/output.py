"""How commands show things: numbers, times, tables, and where the numbers come from."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

import liqclient

# A pipe has no width to fit into.
_PIPE_WIDTH = 160

LONG_COLOUR, SHORT_COLOUR, PRICE_COLOUR = "magenta", "green", "bold yellow"

console = Console(highlight=False)
if not console.is_terminal:
    console = Console(highlight=False, width=_PIPE_WIDTH)
errors_console = Console(stderr=True, highlight=False, soft_wrap=True)


def table(*columns: str, right: Iterable[str] = ()) -> Table:
    """Return an empty table; the columns named in ``right`` are numbers."""
    numbers = set(right)
    out = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        out.add_column(column, justify="right" if column in numbers else "left", no_wrap=True)
    return out


def print_table(out: Table) -> None:
    """Print a table. Nothing of it is cut: what a terminal is too narrow for, the terminal wraps."""
    rigid = all(column.no_wrap for column in out.columns)
    if not rigid:
        console.print(out)
        return
    unbound = console.options.update(width=10_000)
    needed = Measurement.get(console, unbound, out).maximum
    width = console.width
    console.width = max(width, needed)
    try:
        console.print(out)
    finally:
        console.width = width


def say(text: str) -> None:
    """Print a line of markup below a table; a terminal wraps it where it will."""
    console.print(text, soft_wrap=True)


def print_json(value: Any) -> None:  # noqa: ANN401
    """Print ``value`` as JSON."""
    typer.echo(json.dumps(value, indent=2))


def print_csv(header: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Print rows as CSV, each as it comes."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)


def print_provenance(where: liqclient.Provenance) -> None:
    """Print below a table as of when, of which model, brackets and inputs the numbers are, and what to know of them."""
    shares = (
        f"no level {where.no_level_share_long:.1%} of longs, {where.no_level_share_short:.1%} of shorts; "
        f"entry before the data {where.unknown_entry_share_long:.1%}, {where.unknown_entry_share_short:.1%}"
    )
    interest = f"{where.open_interest:,.3f} contracts" if where.open_interest is not None else "not known"
    say(f"open interest {interest}: {shares}")
    calibrated = f"calibration {where.calibration}, " if where.calibration else ""
    say(
        f"model {where.model} ({where.parameters_hash}), {calibrated}brackets {where.bracket_table or 'none used'}, "
        f"inputs {where.inputs_hash}",
    )
    marks = ", ".join(f"{mark.kind} {shown_time(mark.ts_event)}" for mark in where.watermarks)
    say(f"inputs reach: {marks}; staleness {shown_span(where.staleness)}")
    if where.kline_volume_share:
        print_notice(f"trades are missing: candles stand in for {where.kline_volume_share:.1%} of the volume")
    if where.last_price_path_share:
        share = f"{where.last_price_path_share:.1%}"
        print_notice(f"mark prices are missing: last prices stand in for {share} of the path")
    for notice in where.notices:
        print_notice(notice)


def print_notice(text: str) -> None:
    """Print one sentence that a reader of the numbers should know."""
    say(f"[yellow]{escape(text)}[/yellow]")


def shown_unit(unit: liqclient.Unit) -> str:
    """Return the unit of amounts in words."""
    return "notional in quote units" if unit == "notional" else "contracts in base units"


def shown_time(ts: int | None) -> str:
    """Return a moment in UTC, to the minute where it is a whole one, or a dash."""
    if ts is None:
        return "-"
    whole = ts % 60_000_000_000 == 0
    return datetime.fromtimestamp(ts / 1e9, tz=UTC).strftime("%Y-%m-%d %H:%MZ" if whole else "%Y-%m-%d %H:%M:%SZ")


def shown_span(ns: int) -> str:
    """Return a length of time in its largest fitting unit."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        if ns >= size * 1_000_000_000:
            return f"{ns / size / 1e9:.3g} {unit}"
    return f"{ns / 1e6:.3g} ms"


def shown_amount(value: float) -> str:
    """Return an amount with three to four digits and a letter for thousands, millions, billions."""
    for letter, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:.2f}{letter}"
    return f"{value:.4g}"


def decimals_of(step: float) -> int:
    """Return the decimals that prices in whole steps need."""
    return max(0, len(f"{step:.10f}".rstrip("0").partition(".")[2]))


def bar(value: float, largest: float, width: int) -> str:
    """Return a bar of block characters, ``width`` cells long at ``largest``."""
    eighths = round(8 * width * value / largest) if largest > 0 else 0
    return "█" * (eighths // 8) + ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")[eighths % 8]
