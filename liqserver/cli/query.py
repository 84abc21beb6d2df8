"""The commands that ask a server: levels, coverage, symbols, models."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.markup import escape
from rich.table import Table

import liqclient
from liqserver import grid
from liqserver.cli.options import (
    DEFAULT_RANGE,
    WHAT_PANEL,
    AsOfOption,
    BinSizeOption,
    CalibrationOption,
    DbOption,
    Format,
    FormatOption,
    MinNotionalOption,
    ModelOption,
    PresetOption,
    RangeOption,
    RowsOption,
    SideChoice,
    SideOption,
    SymbolArgument,
    TargetOption,
    UnitChoice,
    UnitOption,
    VenueOption,
    complete_model,
    complete_symbol,
    connected,
    preset_applied,
    with_parameters,
)
from liqserver.cli.output import (
    LONG_COLOUR,
    PRICE_COLOUR,
    SHORT_COLOUR,
    bar,
    console,
    decimals_of,
    print_csv,
    print_json,
    print_notice,
    print_provenance,
    print_table,
    say,
    shown_amount,
    shown_span,
    shown_time,
    shown_unit,
    table,
)


@with_parameters()
def levels(
    symbol: SymbolArgument,
    venue: VenueOption = "",
    as_of: AsOfOption = None,
    bin_size: BinSizeOption = None,
    price_range: RangeOption = DEFAULT_RANGE,
    side: SideOption = SideChoice.BOTH,
    unit: UnitOption = UnitChoice.NOTIONAL,
    per_tier: Annotated[
        bool, typer.Option("--per-tier", help="Break down by leverage (csv, json).", rich_help_panel=WHAT_PANEL)
    ] = False,
    derived: Annotated[
        bool,
        typer.Option(
            "--derived",
            help="Also the nearest clusters, cumulative amounts, imbalances and volatility.",
            rich_help_panel=WHAT_PANEL,
        ),
    ] = False,
    band: Annotated[
        float | None,
        typer.Option(
            help="Also bands that cover this share: 0.9. Needs a calibration.",
            metavar="SHARE",
            rich_help_panel=WHAT_PANEL,
        ),
    ] = None,
    min_notional: MinNotionalOption = 0.0,
    preset: PresetOption = None,
    model: ModelOption = "",
    calibration: CalibrationOption = "",
    *,
    parameters: liqclient.Parameters,
    rows: RowsOption = 30,
    format: FormatOption = Format.TABLE,
    target: TargetOption = None,
    db: DbOption = None,
) -> None:
    """Liquidation levels around the current price, at the newest data or as of a past moment.

    Longs are liquidated when the mark price falls to their level, shorts when it rises to theirs.

    For example `liqserver levels BTCUSDT --db liqserver.duckdb`, or
    `liqserver levels BTCUSDT --as-of 2025-09-02T12:00Z --range 0.05 --bin-size 50 --format csv`.

    CSV: `price` (left edge of the bin), `long`, `short`; with `--band` `long_low`, `long_high`, `short_low` and
    `short_high`; with `--per-tier` `long_25x`, `short_25x` and so on for each leverage; with `--derived` also
    `cumulative_long`, `cumulative_short`, what is met from the current price to there.
    """
    if preset is not None:
        parameters, bin_size = preset_applied(preset, parameters, bin_size)
    with connected(target, db) as client:
        if format is Format.TABLE and bin_size is None:
            bin_size = ladder_bin_size(client, symbol, venue, price_range, rows)
        answer = client.levels(
            symbol,
            venue=venue,
            model=model,
            as_of=as_of,
            bin_size=bin_size,
            price_range=price_range,
            side=side.value,
            unit=unit.value,
            per_tier=per_tier,
            min_notional=min_notional,
            derived=derived,
            band=band,
            parameters=parameters,
            calibration=calibration,
        )
    if format is Format.JSON:
        print_json(answer.to_dict())
    elif format is Format.CSV:
        _print_csv(answer)
    else:
        print_levels(answer)


def ladder_bin_size(
    client: liqclient.Client, symbol: str, venue: str, around: float | tuple[float, float], rows: int
) -> float | None:
    """Return the bin size that gives about ``rows`` rows, or None to leave it to the server."""
    found = [of for of in client.symbols() if of.symbol == symbol and venue in ("", of.venue)]
    if len(found) != 1 or found[0].current_price is None or found[0].base_bin is None:
        return None
    down, up = around if isinstance(around, tuple) else (around, around)
    base = found[0].base_bin
    wanted = found[0].current_price * (down + up) / rows / base
    if not wanted > 1:
        return base
    less = grid.nice_floor(wanted)
    # The nice number that follows on 1, 2, 5 is 2, 2.5 or 2 times as large.
    more = grid.nice_floor(2.6 * less)
    return float(f"{round(less if wanted / less < more / wanted else more) * base:.12g}")


def print_levels(answer: liqclient.Levels) -> None:
    """Print the levels as a ladder around the price, what derives from them, and where the numbers come from."""
    where = answer.provenance
    say(
        f"[bold]{where.venue}:{where.symbol}[/bold] liquidation levels as of [bold]{shown_time(where.as_of)}[/bold], "
        f"bins of {answer.bin_size:g}, {shown_unit(answer.unit)}"
    )
    print_table(_ladder(answer))
    say(
        f"current price {where.current_price:,.10g} of {where.current_price_source}, "
        f"{shown_time(where.current_price_ts)}"
    )
    totals = answer.totals
    say(
        f"in range: long {shown_amount(totals.long_in_range)}, short {shown_amount(totals.short_in_range)}; "
        f"everywhere: long {shown_amount(totals.long)}, short {shown_amount(totals.short)} ({shown_unit(answer.unit)})",
    )
    if answer.derived is not None:
        _print_derived(answer.derived)
    print_provenance(where)


def _ladder(answer: liqclient.Levels) -> Table:
    where, derived = answer.provenance, answer.derived
    reaching = ("longs to here", "shorts to here") if derived is not None else ()
    banded = ("long band", "short band") if answer.long_low is not None else ()
    amounts = ("price", "distance", "long", "short", *banded, *reaching)
    out = table(*amounts, "", right=amounts)
    biggest = float(max(answer.long.max(initial=0), answer.short.max(initial=0)))
    decimals = decimals_of(answer.bin_size)
    price_shown = False

    def add_price() -> None:
        out.add_row(
            f"[{PRICE_COLOUR}]{where.current_price:,.{max(decimals, 1)}f}[/]",
            *[""] * (len(amounts) - 1),
            f"[{PRICE_COLOUR}]current price[/]",
        )

    for i in range(len(answer.price))[::-1]:
        price, long, short = float(answer.price[i]), float(answer.long[i]), float(answer.short[i])
        if not price_shown and price <= where.current_price:
            add_price()
            price_shown = True
        bands = [
            _band(low, high, i, colour)
            for low, high, colour in (
                (answer.long_low, answer.long_high, LONG_COLOUR),
                (answer.short_low, answer.short_high, SHORT_COLOUR),
            )
        ]
        sums = [_amount(float(derived.cumulative_long[i]), LONG_COLOUR)] if derived is not None else []
        sums += [_amount(float(derived.cumulative_short[i]), SHORT_COLOUR)] if derived is not None else []
        out.add_row(
            f"{price:,.{decimals}f}",
            f"{price / where.current_price - 1:+.2%}",
            _amount(long, LONG_COLOUR),
            _amount(short, SHORT_COLOUR),
            *(bands if banded else ()),
            *sums,
            f"[{LONG_COLOUR}]{bar(long, biggest, 24)}[/][{SHORT_COLOUR}]{bar(short, biggest, 24)}[/]",
        )
    if not price_shown:
        add_price()
    return out


def _band(low: NDArray[np.float64] | None, high: NDArray[np.float64] | None, i: int, colour: str) -> str:
    if low is None or high is None or not high[i]:
        return ""
    return f"[{colour}]{shown_amount(float(low[i]))} – {shown_amount(float(high[i]))}[/]"


def _amount(value: float, colour: str) -> str:
    return f"[{colour}]{shown_amount(value)}[/]" if value else ""


def _print_derived(derived: liqclient.DerivedFigures) -> None:
    say(f"nearest cluster below: {_cluster(derived.cluster_below, 'longs')}")
    say(f"nearest cluster above: {_cluster(derived.cluster_above, 'shorts')}")
    out = table(
        "within", "longs below", "shorts above", "imbalance", right=("longs below", "shorts above", "imbalance")
    )
    for of in derived.imbalances:
        balance = "neither" if of.imbalance is None else f"{of.imbalance:+.3f}"
        out.add_row(f"{of.range:.0%}", shown_amount(of.long), shown_amount(of.short), balance)
    print_table(out)
    volatility = derived.realised_volatility
    say(
        "imbalance is (shorts - longs) / (shorts + longs); realised volatility of a day: "
        + ("not known, too few steps in the 24 hours before" if volatility is None else f"{volatility:.2%}")
    )


def _cluster(of: liqclient.Cluster | None, whose: str) -> str:
    if of is None:
        return "none in range"
    away = f"{of.distance:.2%} away"
    if of.distance_volatility is not None:
        away += f", {of.distance_volatility:.2f} days' volatility"
    return f"{shown_amount(of.amount)} of {whose} in {of.low:,.10g} to {of.high:,.10g}, densest {of.peak:,.10g}, {away}"


def _print_csv(answer: liqclient.Levels) -> None:
    if answer.derived is None:
        typer.echo(answer.to_csv(), nl=False)
        return
    header, *lines = answer.to_csv().splitlines()
    sums = zip(answer.derived.cumulative_long.tolist(), answer.derived.cumulative_short.tolist(), strict=True)
    print_csv(
        [*header.split(","), "cumulative_long", "cumulative_short"],
        ([*line.split(","), *pair] for line, pair in zip(lines, sums, strict=True)),
    )


def coverage(
    symbol: Annotated[str, typer.Argument(help="Symbol; all if not given.", autocompletion=complete_symbol)] = "",
    venue: VenueOption = "",
    format: FormatOption = Format.TABLE,
    target: TargetOption = None,
    db: DbOption = None,
) -> None:
    """What data there is, kind by kind: from when to when, how much, what is missing."""
    with connected(target, db) as client:
        answer = client.coverage(symbol, venue)
    columns = ("venue", "symbol", "kind", "interval", "start", "end", "rows", "stored", "files", "missing", "dropped")
    rows = [
        (
            *(of.venue, of.symbol, kind.kind, kind.interval, kind.start, kind.end),
            *(kind.rows, kind.stored_rows, kind.files, kind.missing, kind.dropped_rows),
        )
        for of in answer
        for kind in of.kinds
    ]
    if format is Format.JSON:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
        return
    if format is Format.CSV:
        print_csv(columns, rows)
        return
    for of in answer:
        _print_coverage(of)


def _print_coverage(of: liqclient.SymbolCoverage) -> None:
    say(f"[bold]{of.venue}:{of.symbol}[/bold]")
    counts = ["rows", "stored", "files", "missing"]
    if any(kind.dropped_rows for kind in of.kinds):
        counts.append("dropped")
    out = table("kind", "interval", "start", "end", *counts, right=counts)
    for kind in of.kinds:
        figures = (kind.rows, kind.stored_rows, kind.files, kind.missing, kind.dropped_rows)
        out.add_row(
            str(kind.kind),
            shown_span(kind.interval) if kind.interval else "events",
            shown_time(kind.start),
            shown_time(kind.end),
            *(f"{figure:,}" for figure in figures[: len(counts)]),
        )
    print_table(out)
    for kind in of.kinds:
        for notice in kind.notices:
            print_notice(f"{kind.kind}: {notice}")


def symbols(format: FormatOption = Format.TABLE, target: TargetOption = None, db: DbOption = None) -> None:
    """The symbols there is data for, with price, bins and how far each input reaches."""
    with connected(target, db) as client:
        answer = client.symbols()
    columns = (
        "venue",
        "symbol",
        "tick_size",
        "base_bin",
        "current_price",
        "current_price_ts",
        "source",
        "bracket_table",
    )
    rows = [
        (
            *(of.venue, of.symbol, of.tick_size, of.base_bin),
            *(of.current_price, of.current_price_ts, of.current_price_source, of.bracket_table),
        )
        for of in answer
    ]
    if format is Format.JSON:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
        return
    if format is Format.CSV:
        print_csv(columns, rows)
        return
    shown = ("symbol", "price", "from", "inputs reach", "tick", "base bin", "brackets")
    out = table(*shown, right=("price", "tick", "base bin"))
    for of in answer:
        out.add_row(
            f"{of.venue}:{of.symbol}",
            f"{of.current_price:,.10g}" if of.current_price is not None else "-",
            of.current_price_source or "-",
            "\n".join(f"{shown_time(mark.ts_event)} {mark.kind}" for mark in of.watermarks),
            f"{of.tick_size:g}",
            f"{of.base_bin:g}",
            of.bracket_table.rpartition(":")[2] if of.bracket_table else "none",
        )
    print_table(out)


def models(
    model: Annotated[str, typer.Argument(help="Show this model only.", autocompletion=complete_model)] = "",
    format: FormatOption = Format.TABLE,
    target: TargetOption = None,
    db: DbOption = None,
) -> None:
    """The models: what each is, needs, takes, and what is known to be wrong with it."""
    with connected(target, db) as client:
        answer = [of for of in client.models() if model in ("", of.id)]
    if not answer:
        raise typer.BadParameter(f"{model!r} is not a model; `liqserver models` lists them", param_hint="MODEL")
    columns = ("id", "default", "required", "parameters", "description", "source", "limits")
    rows = [
        (
            *(of.id, of.is_default, " ".join(map(str, of.required)), " ".join(p.name for p in of.parameters)),
            *(of.description, of.source, of.limits),
        )
        for of in answer
    ]
    if format is Format.JSON:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
        return
    if format is Format.CSV:
        print_csv(columns, rows)
        return
    for of in answer:
        console.print(f"[bold]{of.id}[/bold]{' (default)' if of.is_default else ''}: {of.description}")
        console.print(f"[dim]from[/dim] {of.source}\n[dim]limits[/dim] {of.limits}")
        console.print(f"[dim]needs[/dim] {', '.join(map(str, of.required))}")
        out = table("parameter", "default", "what it does, what is allowed")
        out.columns[1].no_wrap = out.columns[2].no_wrap = False
        out.columns[1].max_width = 40
        for parameter in of.parameters:
            text = f"{parameter.description} [dim]{escape(parameter.allowed)}[/dim]"
            out.add_row(parameter.name, parameter.default_value, text)
        print_table(out)
