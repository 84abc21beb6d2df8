"""``liqserver publish``: archive files as live events, to try everything without an exchange."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

import liqclient
from liqserver.cli.options import DataVenueOption, TargetOption, client_of
from liqserver.cli.output import errors_console, say, shown_time
from liqserver.config import DEFAULT_VENUE
from liqserver.store.archive import ArchiveError
from liqserver.store.events import Batch, archive_batches

_SECOND = 1_000_000_000
# Of a day of BTCUSDT at once: batches of this much stay well below the largest message.
_LARGEST_SPAN = 60 * _SECOND
_MOST_REFUSED_SHOWN = 5


def read_speed(text: str) -> float:
    """Return how many times as fast as it happened; 0 for as fast as the server takes it."""
    if text == "max":
        return 0.0
    try:
        speed = float(text.removesuffix("x"))
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise typer.BadParameter(f"was {text!r}, must be a positive number such as 100x, or max")
    return speed


def publish(
    paths: Annotated[list[Path], typer.Argument(help="Archive files, or folders with everything below them.")],
    speed: Annotated[
        str, typer.Option(help="How many times as fast as it happened, such as 100x; max for as fast as it goes.")
    ] = "max",
    tick_size: Annotated[
        float, typer.Option(help="Smallest price step of a symbol that is new to the server, quote units.", min=0.0)
    ] = 0.0,
    venue: DataVenueOption = DEFAULT_VENUE,
    target: TargetOption = None,
) -> None:
    """Send archive files to a running server as if they happened now: trades, mark prices, open interest, funding.

    The events keep the times they have. What the server has stored already is not sent: after a break, the same command
    again.

    Exit status: 0 all that was sent counts, 1 some events were refused, 2 there was nothing to send.

    Try `liqserver publish build/demo/market --speed 600x` beside `liqserver watch BTCUSDT`.
    """
    factor = read_speed(speed)
    accepted = repeated = 0
    refused: list[liqclient.RefusedEvent] = []
    total = 0
    durable: dict[str, int] = {}
    # In a step of a tenth of a second, so that it flows.
    span = _LARGEST_SPAN if not factor else min(max(int(factor * _SECOND / 10), _SECOND // 10), _LARGEST_SPAN)
    bar = Progress(
        TextColumn("publish"),
        BarColumn(),
        TextColumn("{task.fields[at]}"),
        TextColumn("{task.fields[events]:,} events"),
        TimeElapsedColumn(),
        console=errors_console,
        transient=True,
    )
    try:
        with client_of(target, timeout=60) as client, bar:
            task = bar.add_task("publish", total=None, at="", events=0)
            client.wait_ready(10)
            for answer in client.publish(_events(client, paths, span, factor, venue, tick_size)):
                durable[answer.symbol] = answer.durable
                if answer.sequence is None:
                    continue
                accepted += answer.accepted
                repeated += answer.repeated_events
                total += len(answer.refused)
                refused += answer.refused[: _MOST_REFUSED_SHOWN - len(refused)]
                newest = max((mark.ts_event or 0 for mark in answer.watermarks), default=0)
                bar.update(task, at=shown_time(newest or None), events=accepted)
    except ArchiveError as error:
        errors_console.print(f"[red]error:[/red] {escape(str(error))}")
        raise typer.Exit(2) from error
    for of in refused:
        errors_console.print(f"[yellow]refused[/yellow] {of.kind} of {of.ts_event}: {escape(of.reason)}")
    stored = ", ".join(f"{symbol} until {shown_time(ts)}" for symbol, ts in durable.items())
    say(f"{accepted:,} events count, {repeated:,} had before, {total:,} refused; stored: {stored or 'nothing'}")
    raise typer.Exit(1 if total else 0)


def _events(
    client: liqclient.Client, paths: list[Path], span: int, factor: float, venue: str, tick_size: float
) -> Iterator[liqclient.Events]:
    """Yield batches of what the server has not stored, each when its time has come."""
    began: float | None = None
    first = 0
    stored: dict[str, int] = {}
    for symbol, batch in archive_batches(paths, span):
        if symbol not in stored:
            stored[symbol] = _stored_until(client, symbol, venue)
        end = batch.complete_until or 0
        if end <= stored[symbol]:
            continue
        if began is None:
            began, first = time.monotonic(), end
        if factor:
            time.sleep(max(began + (end - first) / _SECOND / factor - time.monotonic(), 0.0))
        yield _as_events(symbol, venue, tick_size, batch, stored[symbol])


def _stored_until(client: liqclient.Client, symbol: str, venue: str) -> int:
    try:
        return max(answer.durable for answer in client.publish([liqclient.Events(symbol=symbol, venue=venue)]))
    except liqclient.NotFound:
        return 0


def _as_events(symbol: str, venue: str, tick_size: float, batch: Batch, stored: int) -> liqclient.Events:
    # A minute begins with its first nanosecond; what is true of one moment belongs to the minute that ends there.
    trades, marks = batch.trade_ts >= stored, batch.mark_ts >= stored
    oi, funding = batch.oi_ts > stored, batch.funding_ts > stored
    return liqclient.Events(
        symbol=symbol,
        venue=venue,
        tick_size=tick_size,
        trades={
            "id": batch.trade_id[trades],
            "ts_event": batch.trade_ts[trades],
            "price": batch.trade_price[trades],
            "qty": batch.trade_qty[trades],
            "taker_buy": batch.taker_buy[trades],
        },
        mark_prices={"ts_event": batch.mark_ts[marks], "price": batch.mark_price[marks]},
        open_interest={"ts_event": batch.oi_ts[oi], "open_interest": batch.open_interest[oi]},
        funding={
            "ts_event": batch.funding_ts[funding],
            "rate": batch.funding_rate[funding],
            "interval_hours": batch.funding_hours[funding],
        },
        complete_until=batch.complete_until,
    )
