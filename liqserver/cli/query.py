"""The commands that ask a server: levels, coverage, symbols, models."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

import liqclient
from liqserver import grid
from liqserver.cli.output import (
    DbOption,
    Format,
    FormatOption,
    TargetOption,
    bar,
    connected,
    console,
    print_csv,
    print_json,
    shown_amount,
    shown_span,
    shown_time,
    table,
)


class SideChoice(StrEnum):
    """Sides to answer."""

    BOTH = "both"
    LONG = "long"
    SHORT = "short"


class UnitChoice(StrEnum):
    """Units of amounts."""

    NOTIONAL = "notional"
    QTY = "qty"


class FormulaChoice(StrEnum):
    """Margin formulas."""

    EXACT = "exact"
    SIMPLIFIED = "simplified"


_WHAT, _MODEL, _OUT = "What to show", "Parameters of the model", "Output"


def levels(
    symbol: Annotated[str, typer.Argument(help="Symbol, for example BTCUSDT.")],
    venue: Annotated[str, typer.Option(help="Venue, if several have the symbol.", rich_help_panel=_WHAT)] = "",
    as_of: Annotated[
        str | None,
        typer.Option(
            help="A moment, ISO 8601 with zone: 2025-09-02T12:00Z. Newest data if not given.", rich_help_panel=_WHAT
        ),
    ] = None,
    bin_size: Annotated[
        float | None,
        typer.Option(help="Width of a bin in quote units, a multiple of the base bin.", rich_help_panel=_WHAT),
    ] = None,
    price_range: Annotated[
        str,
        typer.Option(
            "--range", help="Around the current price, as fraction: 0.1, or down,up: 0.05,0.2.", rich_help_panel=_WHAT
        ),
    ] = "0.2",
    side: Annotated[SideChoice, typer.Option(help="Which side.", rich_help_panel=_WHAT)] = SideChoice.BOTH,
    unit: Annotated[
        UnitChoice, typer.Option(help="Quote units or contracts.", rich_help_panel=_WHAT)
    ] = UnitChoice.NOTIONAL,
    per_tier: Annotated[
        bool, typer.Option("--per-tier", help="Break down by leverage (csv, json).", rich_help_panel=_WHAT)
    ] = False,
    min_notional: Annotated[
        float, typer.Option(help="Leave out bins with less, quote units.", rich_help_panel=_WHAT)
    ] = 0.0,
    model: Annotated[str, typer.Option(help="Model; see `liqserver models`.", rich_help_panel=_MODEL)] = "",
    kappa: Annotated[
        float | None, typer.Option(help="Share of volume that takes positions.", rich_help_panel=_MODEL)
    ] = None,
    taker_tilt: Annotated[
        float | None, typer.Option(help="Tilt of openings to the aggressor, -1 to 1.", rich_help_panel=_MODEL)
    ] = None,
    tier: Annotated[
        list[str] | None,
        typer.Option(
            help="A leverage tier, leverage:weight or leverage:weight:hazard; repeat for each.", rich_help_panel=_MODEL
        ),
    ] = None,
    no_level_weight: Annotated[
        float | None, typer.Option(help="Weight of positions without a level.", rich_help_panel=_MODEL)
    ] = None,
    no_level_hazard: Annotated[
        float | None, typer.Option(help="Their hazard of closing.", rich_help_panel=_MODEL)
    ] = None,
    hazard_exponent: Annotated[
        float | None, typer.Option(help="e of hazard = leverage^e.", rich_help_panel=_MODEL)
    ] = None,
    margin_formula: Annotated[
        FormulaChoice | None, typer.Option(help="Exact margin, or LiquidationHeatmap's.", rich_help_panel=_MODEL)
    ] = None,
    funding_erosion: Annotated[
        float | None, typer.Option(help="Share of funding paid from margin.", rich_help_panel=_MODEL)
    ] = None,
    position_notional: Annotated[
        float | None, typer.Option(help="Typical position, decides the bracket.", rich_help_panel=_MODEL)
    ] = None,
    rows: Annotated[
        int,
        typer.Option(
            help="Table: about so many rows, unless a bin size is given.", min=2, max=500, rich_help_panel=_OUT
        ),
    ] = 30,
    format: Annotated[
        Format, typer.Option("--format", "-f", help="What to print.", rich_help_panel=_OUT)
    ] = Format.TABLE,
    target: TargetOption = None,
    db: DbOption = None,
) -> None:
    """Liquidation levels around the current price, at the newest data or as of a past moment.

    Longs are liquidated when the mark price falls to their level, shorts when it rises to theirs.

    For example `liqserver levels BTCUSDT --db liqserver.duckdb`, or
    `liqserver levels BTCUSDT --as-of 2025-09-02T12:00Z --range 0.05 --bin-size 50 --format csv`.
    """
    parameters = liqclient.Parameters(
        kappa=kappa,
        taker_tilt=taker_tilt,
        tiers=[_tier(text) for text in tier] if tier else None,
        no_level_weight=no_level_weight,
        no_level_hazard=no_level_hazard,
        hazard_exponent=hazard_exponent,
        margin_formula=margin_formula.value if margin_formula else None,
        funding_erosion=funding_erosion,
        position_notional=position_notional,
    )
    around = _price_range(price_range)
    with connected(target, db) as client:
        if format is Format.TABLE and bin_size is None:
            bin_size = ladder_bin_size(client, symbol, venue, around, rows)
        try:
            answer = client.levels(
                symbol,
                venue=venue,
                model=model,
                as_of=as_of,
                bin_size=bin_size,
                price_range=around,
                side=side.value,
                unit=unit.value,
                per_tier=per_tier,
                min_notional=min_notional,
                parameters=parameters,
            )
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
    if format is Format.JSON:
        print_json(answer.to_dict())
    elif format is Format.CSV:
        typer.echo(answer.to_csv(), nl=False)
    else:
        print_levels(answer)


def _tier(text: str) -> liqclient.LeverageTier:
    try:
        numbers = [float(part) for part in text.split(":")]
        if len(numbers) not in (2, 3):
            raise ValueError
        return liqclient.LeverageTier(numbers[0], numbers[1], numbers[2] if len(numbers) == 3 else None)
    except ValueError:
        raise typer.BadParameter(
            f"was {text!r}, must be leverage:weight or leverage:weight:hazard", param_hint="--tier"
        ) from None


def _price_range(text: str) -> float | tuple[float, float]:
    try:
        numbers = [float(part) for part in text.split(",")]
        if len(numbers) not in (1, 2):
            raise ValueError
        return numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1])
    except ValueError:
        raise typer.BadParameter(
            f"was {text!r}, must be a number or two, such as 0.1 or 0.05,0.2", param_hint="--range"
        ) from None


def ladder_bin_size(
    client: liqclient.Client, symbol: str, venue: str, around: float | tuple[float, float], rows: int
) -> float | None:
    """Return the bin size that gives about ``rows`` rows, or None to leave it to the server."""
    found = [of for of in client.symbols() if of.symbol == symbol and venue in ("", of.venue)]
    if len(found) != 1 or found[0].current_price is None or found[0].base_bin is None:
        return None
    down, up = around if isinstance(around, tuple) else (around, around)
    wanted = found[0].current_price * (down + up) / rows
    if not wanted > found[0].base_bin:
        return found[0].base_bin
    return float(f"{round(grid.nice_floor(wanted / found[0].base_bin)) * found[0].base_bin:.12g}")


def print_levels(answer: liqclient.Levels) -> None:
    """Print the levels as a ladder around the price, and where the numbers come from."""
    where = answer.provenance
    console.print(
        f"[bold]{where.venue}:{where.symbol}[/bold] liquidation levels as of [bold]{shown_time(where.as_of)}[/bold], "
        f"bins of {answer.bin_size:g}, {_unit_name(answer)}"
    )
    console.print(_ladder(answer))
    console.print(
        f"current price {where.current_price:,.10g} of {where.current_price_source}, "
        f"{shown_time(where.current_price_ts)}"
    )
    totals = answer.totals
    console.print(
        f"in range: long {shown_amount(totals.long_in_range)}, short {shown_amount(totals.short_in_range)}; "
        f"everywhere: long {shown_amount(totals.long)}, short {shown_amount(totals.short)} ({_unit_name(answer)})",
    )
    shares = (
        f"no level {where.no_level_share_long:.1%} of longs, {where.no_level_share_short:.1%} of shorts; "
        f"entry before the data {where.unknown_entry_share_long:.1%}, {where.unknown_entry_share_short:.1%}"
    )
    interest = f"{where.open_interest:,.3f} contracts" if where.open_interest is not None else "not known"
    console.print(f"open interest {interest}: {shares}")
    console.print(
        f"model {where.model} ({where.parameters_hash}), brackets {where.bracket_table or 'none used'}, "
        f"inputs {where.inputs_hash}",
    )
    marks = ", ".join(f"{mark.kind} {shown_time(mark.ts_event)}" for mark in where.watermarks)
    console.print(f"inputs reach: {marks}; staleness {shown_span(where.staleness)}")
    if where.kline_volume_share:
        console.print(
            f"[yellow]trades are missing: candles stand in for {where.kline_volume_share:.1%} of the volume[/yellow]"
        )
    if where.last_price_path_share:
        share = f"{where.last_price_path_share:.1%}"
        console.print(f"[yellow]mark prices are missing: last prices stand in for {share} of the path[/yellow]")
    for notice in where.notices:
        console.print(f"[yellow]{notice}[/yellow]")


def _ladder(answer: liqclient.Levels) -> Table:
    where = answer.provenance
    out = table("price", "distance", "long", "short", "", right=("price", "distance", "long", "short"))
    biggest = float(max(answer.long.max(initial=0), answer.short.max(initial=0)))
    decimals = max(0, len(f"{answer.bin_size:.10f}".rstrip("0").partition(".")[2]))
    price_shown = False

    def add_price() -> None:
        out.add_row(
            f"[bold yellow]{where.current_price:,.{max(decimals, 1)}f}[/]",
            "",
            "",
            "",
            "[bold yellow]current price[/]",
        )

    for i in range(len(answer.price))[::-1]:
        price, long, short = float(answer.price[i]), float(answer.long[i]), float(answer.short[i])
        if not price_shown and price <= where.current_price:
            add_price()
            price_shown = True
        out.add_row(
            f"{price:,.{decimals}f}",
            f"{price / where.current_price - 1:+.2%}",
            f"[magenta]{shown_amount(long)}[/]" if long else "",
            f"[green]{shown_amount(short)}[/]" if short else "",
            f"[magenta]{bar(long, biggest, 24)}[/][green]{bar(short, biggest, 24)}[/]",
        )
    if not price_shown:
        add_price()
    return out


def _unit_name(answer: liqclient.Levels) -> str:
    return "notional in quote units" if answer.unit == "notional" else "contracts in base units"


def coverage(
    symbol: Annotated[str, typer.Argument(help="Symbol; all if not given.")] = "",
    venue: Annotated[str, typer.Option(help="Venue, if several have the symbol.")] = "",
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
    out = table("symbol", *columns[2:], right=columns[6:])
    for row in rows:
        name, of_kind, interval, start, end = f"{row[0]}:{row[1]}", row[2], row[3], row[4], row[5]
        out.add_row(
            name,
            str(of_kind),
            shown_span(interval) if interval else "events",
            shown_time(start),
            shown_time(end),
            *(f"{value:,}" for value in row[6:]),
        )
    console.print(out)
    for of in answer:
        for kind in of.kinds:
            for notice in kind.notices:
                console.print(f"[yellow]{of.symbol} {kind.kind}: {notice}[/yellow]")


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
    console.print(out)


def models(
    model: Annotated[str, typer.Argument(help="Show one model in full.")] = "",
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
        console.print(out)
