"""`liqserver compare`: several models on one grid, and how much they agree."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

import liqclient
from liqserver.cli.options import (
    DEFAULT_RANGE,
    MODEL_PANEL,
    AsOfOption,
    BinSizeOption,
    DbOption,
    Format,
    FormatOption,
    RangeOption,
    SymbolArgument,
    TargetOption,
    UnitChoice,
    UnitOption,
    VenueOption,
    complete_model,
    connected,
)
from liqserver.cli.output import (
    LONG_COLOUR,
    SHORT_COLOUR,
    errors_console,
    print_csv,
    print_json,
    print_notice,
    print_provenance,
    print_table,
    say,
    shown_amount,
    shown_time,
    shown_unit,
    table,
)


def compare(
    symbol: SymbolArgument,
    venue: VenueOption = "",
    as_of: AsOfOption = None,
    bin_size: BinSizeOption = None,
    price_range: RangeOption = DEFAULT_RANGE,
    unit: UnitOption = UnitChoice.NOTIONAL,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="A model; repeat for each, two to ten. Every model if not given. See `liqserver models`.",
            autocompletion=complete_model,
            rich_help_panel=MODEL_PANEL,
        ),
    ] = None,
    format: FormatOption = Format.TABLE,
    target: TargetOption = None,
    db: DbOption = None,
) -> None:
    """Several models on one grid at one moment, how much each pair agrees, and where it differs most.

    Overlap is the share of a side that two models put into the same bins, 0 to 1. Rank correlation is Spearman's over
    the bins, -1 to 1. A model whose inputs are not there says why instead.

    For example `liqserver compare BTCUSDT --range 0.1`, or
    `liqserver compare BTCUSDT --model position_book --model openinterest --as-of 2025-09-02T12:00Z --format csv`.

    CSV: `price` (left edge of the bin), then for each model with an answer `long_NAME`, `short_NAME`.
    """
    with connected(target, db) as client:
        answer = client.compare(
            symbol,
            model,
            venue=venue,
            as_of=as_of,
            bin_size=bin_size,
            price_range=price_range,
            unit=unit.value,
        )
    if format is Format.JSON:
        print_json(answer.to_dict())
    elif format is Format.CSV:
        _print_csv(answer)
    else:
        _print_tables(answer)


def _print_csv(answer: liqclient.Comparison) -> None:
    header, columns = ["price"], [answer.price.tolist()]
    for of in answer.models:
        if of.long is None or of.short is None:
            errors_console.print(f"[yellow]left out: {of.model}: {escape(str(of.unavailable))}[/yellow]")
            continue
        header += [f"long_{of.model}", f"short_{of.model}"]
        columns += [of.long.tolist(), of.short.tolist()]
    print_csv(header, zip(*columns, strict=True))


def _print_tables(answer: liqclient.Comparison) -> None:
    sources = [of.provenance for of in answer.models if of.provenance is not None]
    if sources:
        where = sources[0]
        say(
            f"[bold]{where.venue}:{where.symbol}[/bold] models compared as of [bold]{shown_time(where.as_of)}[/bold], "
            f"bins of {answer.bin_size:g}, {shown_unit(answer.unit)}"
        )
    _print_models(answer)
    if answer.pairs:
        _print_agreement(answer)
        _print_differences(answer)
    if sources:
        print_provenance(sources[0])
    for where in sources[1:]:
        say(f"model {where.model} ({where.parameters_hash}), brackets {where.bracket_table or 'none used'}")
        for notice in where.notices:
            if notice not in sources[0].notices:
                print_notice(f"{where.model}: {notice}")


def _print_models(answer: liqclient.Comparison) -> None:
    figures = ("long in range", "short in range", "long everywhere", "short everywhere", "no level")
    out = table("", "model", *figures, right=figures)
    for i, of in enumerate(answer.models, 1):
        if of.totals is None or of.provenance is None:
            out.add_row(str(i), of.model, *["-"] * len(figures))
            continue
        totals, where = of.totals, of.provenance
        out.add_row(
            str(i),
            of.model,
            *(
                f"[{colour}]{shown_amount(value)}[/]"
                for value, colour in (
                    (totals.long_in_range, LONG_COLOUR),
                    (totals.short_in_range, SHORT_COLOUR),
                    (totals.long, LONG_COLOUR),
                    (totals.short, SHORT_COLOUR),
                )
            ),
            f"{(where.no_level_share_long + where.no_level_share_short) / 2:.1%}",
        )
    print_table(out)
    for of in answer.models:
        if of.unavailable is not None:
            print_notice(f"{of.model} has no answer: {of.unavailable}")


def _print_agreement(answer: liqclient.Comparison) -> None:
    answering = [i for i, of in enumerate(answer.models) if of.unavailable is None]
    pairs = {(pair.a, pair.b): pair for pair in answer.pairs} | {(pair.b, pair.a): pair for pair in answer.pairs}
    numbers = [str(i + 1) for i in answering]
    out = table("", "long / short", *numbers, right=numbers)
    for a in answering:
        cells = []
        for b in answering:
            pair = pairs.get((a, b))
            if pair is None:
                cells.append("·")
            elif a < b:
                cells.append(_both(pair.overlap_long, pair.overlap_short))
            else:
                cells.append(_both(pair.rank_correlation_long, pair.rank_correlation_short))
        out.add_row(str(a + 1), answer.models[a].model, *cells)
    say("\nagreement: overlap above the diagonal, rank correlation below it; - where it is not defined")
    print_table(out)


def _both(long: float | None, short: float | None) -> str:
    shown = ["-" if value is None else f"{value:.2f}" for value in (long, short)]
    return f"[{LONG_COLOUR}]{shown[0]}[/] / [{SHORT_COLOUR}]{shown[1]}[/]"


def _print_differences(answer: liqclient.Comparison) -> None:
    figures = ("at price", "first has more by")
    out = table("first", "second", "at price", "side", "first has more by", right=figures)
    pairs = [pair for pair in answer.pairs if pair.differ_most is not None]
    for pair in sorted(pairs, key=lambda pair: -abs(pair.differ_most or 0.0)):
        colour = LONG_COLOUR if pair.differ_most_side == "long" else SHORT_COLOUR
        out.add_row(
            f"{pair.a + 1} {answer.models[pair.a].model}",
            f"{pair.b + 1} {answer.models[pair.b].model}",
            f"{pair.differ_most_price:,.10g}",
            f"[{colour}]{pair.differ_most_side}[/]",
            f"{pair.differ_most:+.1%}",
        )
    say("\nwhere they disagree most, in shares of a side's sum in range")
    print_table(out)
