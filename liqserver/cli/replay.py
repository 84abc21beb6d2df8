"""`liqserver replay`: levels as of one moment after the other."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import Annotated

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import liqclient
from liqserver.cli.options import (
    DEFAULT_RANGE,
    HOUR,
    OF_SELECTIONS,
    BinSizeOption,
    CalibrationOption,
    DbOption,
    EndOption,
    Format,
    FormatOption,
    MinNotionalOption,
    ModelOption,
    RangeOption,
    SideChoice,
    SideOption,
    StartOption,
    SymbolArgument,
    TargetOption,
    UnitChoice,
    UnitOption,
    VenueOption,
    connected,
    length,
    with_parameters,
)
from liqserver.cli.output import (
    LONG_COLOUR,
    SHORT_COLOUR,
    errors_console,
    print_provenance,
    say,
    shown_amount,
    shown_span,
    shown_time,
    shown_unit,
)

_COLUMNS = ("ts", "price", "long", "short")
_MS = 1_000_000


@with_parameters(leave_out=OF_SELECTIONS)
def replay(
    symbol: SymbolArgument,
    venue: VenueOption = "",
    start: StartOption = None,
    end: EndOption = None,
    every: Annotated[
        int,
        length("Length of time between moments, such as 5m, 1h, 1d; at least 1m.", "1h"),
    ] = HOUR,
    bin_size: BinSizeOption = None,
    price_range: RangeOption = DEFAULT_RANGE,
    side: SideOption = SideChoice.BOTH,
    unit: UnitOption = UnitChoice.NOTIONAL,
    min_notional: MinNotionalOption = 0.0,
    model: ModelOption = "",
    calibration: CalibrationOption = "",
    *,
    parameters: liqclient.Parameters,
    format: FormatOption = Format.TABLE,
    target: TargetOption = None,
    db: DbOption = None,
) -> None:
    """Levels as of one moment after the other, each as it was known then; rows come as the server computes them.

    Only models with a time axis answer: `liqserver models` tells which. The range is around the price of each moment.

    For example `liqserver replay BTCUSDT --start 2025-09-01T00:00Z --every 4h`, or
    `liqserver replay BTCUSDT --every 5m --range 0.05 --bin-size 50 --format csv > levels.csv`.

    CSV: `ts` (the moment, UNIX milliseconds), `price` (left edge of the bin), `long`, `short`; bins that hold nothing
    are left out. JSON: one object a line for each moment, with where its numbers come from; times in nanoseconds.
    """
    with connected(target, db) as client:
        answers = client.replay(
            symbol,
            every=every,
            start=start,
            end=end,
            venue=venue,
            model=model,
            bin_size=bin_size,
            price_range=price_range,
            side=side.value,
            unit=unit.value,
            min_notional=min_notional,
            derived=format is not Format.CSV,
            parameters=parameters,
            calibration=calibration,
        )
        with closing(answers):
            shown: Iterable[liqclient.Levels] = answers
            # Rows on the same screen would tear the bar apart, and show how far it is themselves.
            if errors_console.is_terminal and not sys.stdout.isatty():
                shown = _with_progress(answers, every, _newest(client, symbol, venue) if end is None else end)
            if format is Format.CSV:
                _print_csv(shown)
            elif format is Format.JSON:
                for answer in shown:
                    sys.stdout.write(json.dumps(answer.to_dict()) + "\n")
                    sys.stdout.flush()
            else:
                _print_table(shown, every)


def _newest(client: liqclient.Client, symbol: str, venue: str) -> int | None:
    """Return the moment a replay without end is about to end at; None if that cannot be told."""
    prices = [of.current_price_ts for of in client.symbols() if of.symbol == symbol and venue in ("", of.venue)]
    return prices[0] if len(prices) == 1 else None


def _with_progress(answers: Iterable[liqclient.Levels], every: int, end: int | None) -> Iterator[liqclient.Levels]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors_console, transient=True, redirect_stdout=False) as progress:
        task = progress.add_task("waiting", total=None)
        total = None
        for answer in answers:
            now = answer.provenance.as_of
            if total is None and end is not None:
                total = (end - now) // every + 1
            yield answer
            progress.update(task, advance=1, total=total, description=shown_time(now))


def _print_csv(answers: Iterable[liqclient.Levels]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for answer in answers:
        ts = answer.provenance.as_of // _MS
        columns = (answer.price.tolist(), answer.long.tolist(), answer.short.tolist())
        writer.writerows((ts, *row) for row in zip(*columns, strict=True))
        sys.stdout.flush()


def _print_table(answers: Iterable[liqclient.Levels], every: int) -> None:
    # Lines of fixed places instead of a table, which could begin only when the last row is known.
    last = None
    for answer in answers:
        where = answer.provenance
        if last is None:
            say(
                f"[bold]{where.venue}:{where.symbol}[/bold] liquidation levels every {shown_span(every)}, "
                f"in range, {shown_unit(answer.unit)}"
            )
            cluster = f"{'nearest cluster below':>29}  {'nearest cluster above':>29}"
            say(f"\n {'time':<20} {'price':>12} {'longs':>9} {'shorts':>9}  {cluster}\n {'─' * 114}")
        totals, derived = answer.totals, answer.derived
        below = _cluster(None if derived is None else derived.cluster_below)
        above = _cluster(None if derived is None else derived.cluster_above)
        say(
            f" {shown_time(where.as_of):<20} {where.current_price:>12,.10g}"
            f" [{LONG_COLOUR}]{shown_amount(totals.long_in_range):>9}[/]"
            f" [{SHORT_COLOUR}]{shown_amount(totals.short_in_range):>9}[/]"
            f"  [{LONG_COLOUR}]{below:>29}[/]  [{SHORT_COLOUR}]{above:>29}[/]"
        )
        last = answer
    if last is None:
        say("no moment lies between start and end")
        return
    say(f"\nas of the last, {shown_time(last.provenance.as_of)}:")
    print_provenance(last.provenance)


def _cluster(of: liqclient.Cluster | None) -> str:
    if of is None:
        return "-"
    return f"{shown_amount(of.amount)} at {of.peak:,.10g} ({of.distance:.2%})"
