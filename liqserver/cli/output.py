"""How commands show things: numbers, times, tables; and where they ask."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

import liqclient
from liqserver.config import DEFAULT_TARGET

# Numbers are never cut short: a narrower terminal wraps lines, and a pipe has no width to fit into.
_LEAST_WIDTH, _PIPE_WIDTH = 108, 160

console = Console(highlight=False)
if not console.is_terminal or console.width < _LEAST_WIDTH:
    console = Console(highlight=False, width=_LEAST_WIDTH if console.is_terminal else _PIPE_WIDTH)
errors_console = Console(stderr=True, highlight=False, soft_wrap=True)


class Format(StrEnum):
    """What to print."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


FormatOption = Annotated[Format, typer.Option("--format", "-f", help="What to print.", rich_help_panel="Output")]
TargetOption = Annotated[
    str | None,
    typer.Option(
        "--target",
        "-t",
        help=f"Address of a running server. \\[default: {DEFAULT_TARGET}]",
        rich_help_panel="Where to ask",
    ),
]
DbOption = Annotated[
    Path | None,
    typer.Option(
        "--db", help="Ask a server started in this process on this database instead.", rich_help_panel="Where to ask"
    ),
]


@contextmanager
def connected(target: str | None, db: Path | None) -> Iterator[liqclient.Client]:
    """Yield a client of ``target``, or of a server on ``db`` that lives as long as the block.

    Raises
    ------
    typer.BadParameter
        If both are given.
    StoreError
        If the database cannot be opened.
    """
    if target is not None and db is not None:
        raise typer.BadParameter("give --target or --db, not both")
    if db is None:
        with liqclient.Client(target or DEFAULT_TARGET, timeout=60) as client:
            yield client
        return
    from liqserver.rpc.server import EmbeddedServer  # a client of a remote server need not load numba

    with EmbeddedServer(db) as server, liqclient.Client(server.target, timeout=60) as client:
        yield client


def table(*columns: str, right: Iterable[str] = ()) -> Table:
    """Return an empty table; the columns named in ``right`` are numbers."""
    numbers = set(right)
    out = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        out.add_column(column, justify="right" if column in numbers else "left", no_wrap=True)
    return out


def print_json(value: Any) -> None:  # noqa: ANN401
    """Print ``value`` as JSON."""
    typer.echo(json.dumps(value, indent=2))


def print_csv(header: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Print rows as CSV."""
    import csv
    import sys

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)


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


def bar(value: float, largest: float, width: int) -> str:
    """Return a bar of block characters, ``width`` cells long at ``largest``."""
    eighths = round(8 * width * value / largest) if largest > 0 else 0
    return "█" * (eighths // 8) + ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")[eighths % 8]
