"""`liqserver audit`: what was opened, closed and liquidated, according to a model."""

from __future__ import annotations

from typing import Annotated

import liqclient
from liqserver.cli.options import (
    HOUR,
    OF_SELECTIONS,
    CalibrationOption,
    DbOption,
    EndOption,
    Format,
    FormatOption,
    ModelOption,
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
    print_csv,
    print_json,
    print_provenance,
    print_table,
    say,
    shown_amount,
    shown_span,
    shown_time,
    shown_unit,
    table,
)

_FLOWS = ("opened", "closed", "liquidated")
_AMOUNTS = tuple(f"{flow}_{side}" for flow in _FLOWS for side in ("long", "short"))
_COLUMNS = ("open_time", *_AMOUNTS, "open_interest", "no_level_share")
_MS = 1_000_000


@with_parameters(leave_out=OF_SELECTIONS)
def audit(
    symbol: SymbolArgument,
    venue: VenueOption = "",
    start: StartOption = None,
    end: EndOption = None,
    every: Annotated[
        int,
        length("Length of an interval, such as 5m, 1h, 1d; 1m to 30d.", "1h"),
    ] = HOUR,
    unit: UnitOption = UnitChoice.NOTIONAL,
    model: ModelOption = "",
    calibration: CalibrationOption = "",
    *,
    parameters: liqclient.Parameters,
    format: FormatOption = Format.TABLE,
    target: TargetOption = None,
    db: DbOption = None,
) -> None:
    """What was opened, closed and liquidated in each interval, according to a model: its book keeping, to be checked.

    On either side, opened - closed - liquidated is the change of what is open. Only models with a time axis answer:
    `liqserver models` tells which.

    For example `liqserver audit BTCUSDT --every 1d --unit qty`, or
    `liqserver audit BTCUSDT --start 2025-09-02T00:00Z --every 15m --format csv`.

    CSV: `open_time` (start of the interval, UNIX milliseconds), `opened_long`, `opened_short`, `closed_long`,
    `closed_short`, `liquidated_long`, `liquidated_short`, `open_interest` (at its end), `no_level_share`. JSON has
    every column, also what the model cannot explain, and times in nanoseconds.
    """
    with connected(target, db) as client:
        answer = client.audit(
            symbol,
            interval=every,
            start=start,
            end=end,
            venue=venue,
            model=model,
            unit=unit.value,
            parameters=parameters,
            calibration=calibration,
        )
    if format is Format.JSON:
        print_json(answer.to_dict())
    elif format is Format.CSV:
        amounts = [getattr(answer, name) for name in _AMOUNTS]
        columns = (answer.open_time // _MS, *amounts, answer.open_interest_end, answer.no_level_share)
        print_csv(_COLUMNS, zip(*(column.tolist() for column in columns), strict=True))
    else:
        _print_table(answer)


def _print_table(answer: liqclient.Audit) -> None:
    where, n = answer.provenance, len(answer.open_time)
    say(
        f"[bold]{where.venue}:{where.symbol}[/bold] audit as of [bold]{shown_time(where.as_of)}[/bold], "
        f"{n:,} intervals of {shown_span(answer.interval)}, {shown_unit(answer.unit)}"
    )
    columns = ("opened long", "short", "closed long", "short", "liquidated long", "short", "open interest", "no level")
    out = table("from", *columns, right=columns)
    out.show_footer = True
    for i in range(n):
        out.add_row(
            shown_time(int(answer.open_time[i])),
            *_coloured([float(getattr(answer, name)[i]) for name in _AMOUNTS]),
            shown_amount(float(answer.open_interest_end[i])),
            f"{answer.no_level_share[i]:.1%}",
        )
    totals = _coloured([float(getattr(answer, name).sum()) for name in _AMOUNTS])
    for column, text in zip(out.columns, ("total", *totals, "", ""), strict=True):
        column.footer = text
    print_table(out)
    if n:
        change = shown_amount(float(answer.open_interest_end[-1] - answer.open_interest_start[0]))
        longs, shorts = (
            float(part.sum() / whole.sum()) if whole.any() else 0.0
            for part, whole in (
                (answer.unexplained_long, answer.opened_long),
                (answer.unexplained_short, answer.opened_short),
            )
        )
        say(
            f"open interest {shown_amount(float(answer.open_interest_start[0]))} at the start, change {change}; "
            f"opened without explanation: {longs:.1%} of what longs opened, {shorts:.1%} of what shorts did"
        )
    print_provenance(where)


def _coloured(amounts: list[float]) -> list[str]:
    """Return amounts of longs and shorts in turn, each in the colour of its side."""
    colours = (LONG_COLOUR, SHORT_COLOUR) * len(_FLOWS)
    return [f"[{colour}]{shown_amount(value)}[/]" for colour, value in zip(colours, amounts, strict=True)]
