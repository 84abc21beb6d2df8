"""``liqserver calibrate``: fit the position book to recorded liquidations; ``liqserver calibrations``: those stored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import liqclient
from liqserver.cli.options import (
    MOMENT,
    DbOption,
    Format,
    FormatOption,
    SymbolArgument,
    TargetOption,
    VenueOption,
    complete_symbol,
    connected,
    length,
    moment,
)
from liqserver.cli.output import (
    errors_console,
    print_csv,
    print_json,
    print_table,
    say,
    shown_span,
    shown_time,
    table,
)

_COLUMNS = (
    "id",
    "venue",
    "symbol",
    "model",
    "until",
    "data_start",
    "data_end",
    "intervals",
    "r2_long",
    "r2_short",
    "scale_long",
    "scale_short",
    "created",
)


def calibrate(
    symbol: SymbolArgument,
    venue: VenueOption = "",
    until: Annotated[int | None, moment(f"Use nothing later: {MOMENT}. Newest data if not given.")] = None,
    every: Annotated[
        int | None, length("Also at each of these before, as far back as there is enough: 7d. Walk-forward.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what is found and do not store it.")] = False,
    format: FormatOption = Format.TABLE,
    target: TargetOption = None,
    db: DbOption = None,
) -> None:
    """Fit the position book of a symbol to liquidations that were recorded, and store what is found.

    Needs two weeks of recorded liquidations, after a week of open interest and volume: totals (`liquidations_1h.csv`),
    or single ones (`liquidationSnapshot` files, recordings). Answers as of a moment use the newest calibration that
    looks no further than that moment; `--calibration` of the questions takes another, or none.

    For example `liqserver calibrate BTCUSDT --every 7d --db liqserver.duckdb`, or each week
    `liqserver calibrate BTCUSDT` on the machine of a running server.

    Exit status: 0 found, 1 nothing could be found (the reason is said), 2 the command was given wrongly.
    """
    found: list[liqclient.CalibrationInfo] = []
    with (
        connected(target, db, writable=not dry_run) as client,
        Progress(
            TextColumn("calibrate"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=errors_console,
            transient=True,
        ) as bar,
    ):
        task = bar.add_task("", total=None)
        for at in client.calibrate(symbol, venue=venue, until=until, every=every, dry_run=dry_run):
            bar.update(task, total=at.cuts, completed=at.done)
            if at.calibration is not None:
                found.append(at.calibration)
    if format is not Format.TABLE:
        _print_plain(found, format)
        return
    if len(found) > 1:
        _print_list(found)
    _print_weights(found[-1])
    say("not stored: a dry run" if dry_run else "stored; answers as of later moments use it, unless --calibration says")


def calibrations(
    symbol: Annotated[str, typer.Argument(help="Symbol; all if not given.", autocompletion=complete_symbol)] = "",
    venue: VenueOption = "",
    format: FormatOption = Format.TABLE,
    target: TargetOption = None,
    db: DbOption = None,
) -> None:
    """The stored calibrations: until when they look, what they were fitted on and how well they fit."""
    with connected(target, db) as client:
        found = client.calibrations(symbol, venue)
    if format is not Format.TABLE:
        _print_plain(found, format)
    elif found:
        _print_list(found)
    else:
        say("no calibration is stored: `liqserver calibrate SYMBOL` makes one where liquidations are recorded")


def _print_plain(found: Sequence[liqclient.CalibrationInfo], format: Format) -> None:
    if format is Format.JSON:
        print_json([of.to_dict() for of in found])
    else:
        print_csv(_COLUMNS, ([getattr(of, name) for name in _COLUMNS] for of in found))


def _print_list(found: Sequence[liqclient.CalibrationInfo]) -> None:
    figures = ("intervals", "R² longs", "shorts", "with a level", "recorded / predicted")
    out = table("id", "symbol", "until", *figures, right=figures)
    for of in found:
        out.add_row(
            of.id,
            f"{of.venue}:{of.symbol}",
            shown_time(of.until),
            f"{of.intervals:,} of {shown_span(of.period)}",
            f"{of.r2_long:.3f}",
            f"{of.r2_short:.3f}",
            f"{_levelled(of):.2%}",
            f"{of.scale_long:.2f}, {of.scale_short:.2f}",
        )
    print_table(out)


def _levelled(of: liqclient.CalibrationInfo) -> float:
    """Return the share of what opens that has a level."""
    weight = sum(tier.weight for tier in of.parameters.tiers or ())
    return weight / (weight + (of.parameters.no_level_weight or 0.0))


def _print_weights(of: liqclient.CalibrationInfo) -> None:
    say(
        f"[bold]{of.venue}:{of.symbol}[/bold] {of.model} [bold]{of.id}[/bold]: {of.intervals:,} intervals of "
        f"{shown_span(of.period)}, {shown_time(of.data_start)} to {shown_time(of.data_end)}"
    )
    say(f"recorded: {of.truth}")
    figures = ("leverage", "share of what opens", "known within a factor of")
    out = table(*figures, right=figures)
    tiers = of.parameters.tiers or ()
    whole = sum(tier.weight for tier in tiers) + (of.parameters.no_level_weight or 0.0)
    for tier, spread in zip(tiers, of.weight_spread, strict=True):
        out.add_row(f"{tier.leverage:g}x", f"{tier.weight / whole:.4%}", f"{math.exp(spread):.2f}")
    print_table(out)
    say(
        f"{_levelled(of):.2%} of what opens has a level; a factor is one standard deviation, those of low leverage are "
        "next to what was assumed"
    )
    say(
        f"R² of log recorded on log predicted: longs {of.r2_long:.3f}, shorts {of.r2_short:.3f} (in sample); "
        f"recorded over predicted: {of.scale_long:.2f}, {of.scale_short:.2f}; hazard exponent "
        f"{of.parameters.hazard_exponent:g}"
    )
