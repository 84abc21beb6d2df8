"""`liqserver heatmap`: levels over time, as a picture of blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.color import Color
from rich.style import Style
from rich.text import Text

import liqclient
from liqserver.cli.options import (
    DEFAULT_RANGE,
    MOMENT,
    OF_SELECTIONS,
    BinSizeOption,
    CalibrationOption,
    DbOption,
    EndOption,
    Format,
    FormatOption,
    ModelOption,
    RangeOption,
    RowsOption,
    SideChoice,
    SideOption,
    SymbolArgument,
    TargetOption,
    UnitChoice,
    UnitOption,
    VenueOption,
    connected,
    length,
    moment,
    with_parameters,
)
from liqserver.cli.output import (
    LONG_COLOUR,
    PRICE_COLOUR,
    SHORT_COLOUR,
    console,
    decimals_of,
    print_csv,
    print_json,
    print_provenance,
    say,
    shown_amount,
    shown_span,
    shown_time,
    shown_unit,
)
from liqserver.cli.query import ladder_bin_size

_COLUMNS = ("ts", "price", "long", "short")
_MS = 1_000_000
# Instead of colour where there is none, from little to much.
_SHADES = " ░▒▓█"
_LONG_RGB, _SHORT_RGB = np.array([226.0, 50.0, 160.0]), np.array([40.0, 200.0, 110.0])
_LEVEL, _STEEP, _PATH_STYLE = "━", "┃", Style(color="#ffe14d", bold=True)
_LABEL = "%m-%d %H:%M"


@with_parameters(leave_out=OF_SELECTIONS)
def heatmap(
    symbol: SymbolArgument,
    venue: VenueOption = "",
    start: Annotated[int | None, moment(f"From this moment, instead of a lookback: {MOMENT}.")] = None,
    end: EndOption = None,
    lookback: Annotated[
        int | None,
        length("So long before the end, instead of a start: 4h, 7d.", "1d"),
    ] = None,
    interval: Annotated[
        int | None,
        length("Length of time between columns, 1m to 1d; at most 500 columns if not given."),
    ] = None,
    bin_size: BinSizeOption = None,
    price_range: RangeOption = DEFAULT_RANGE,
    side: SideOption = SideChoice.BOTH,
    unit: UnitOption = UnitChoice.NOTIONAL,
    model: ModelOption = "",
    calibration: CalibrationOption = "",
    *,
    parameters: liqclient.Parameters,
    rows: RowsOption = 30,
    format: FormatOption = Format.TABLE,
    target: TargetOption = None,
    db: DbOption = None,
) -> None:
    """Levels over time, the path of the price through them, and what it swept.

    In a terminal a picture: time from left to right, price upwards, the more colour the more is there; longs below
    the price, shorts above it. The range is around the price at the end. Only models with a time axis answer:
    `liqserver models` tells which.

    For example `liqserver heatmap BTCUSDT --range 0.05`, or
    `liqserver heatmap BTCUSDT --lookback 7d --interval 1h --bin-size 100 --format csv`.

    CSV: `ts` (UNIX milliseconds), `price` (left edge of the bin), `long`, `short`; cells that hold nothing are left
    out. JSON: columns, with the path of the price and what was liquidated; times in nanoseconds.
    """
    if start is not None and lookback is not None:
        raise typer.BadParameter("give --start or --lookback, not both")
    with connected(target, db) as client:
        if format is Format.TABLE and bin_size is None:
            bin_size = ladder_bin_size(client, symbol, venue, price_range, rows)
        answer = client.heatmap(
            symbol,
            venue=venue,
            model=model,
            start=start,
            end=end,
            lookback=lookback,
            interval=interval,
            bin_size=bin_size,
            price_range=price_range,
            side=side.value,
            unit=unit.value,
            parameters=parameters,
            calibration=calibration,
        )
    if format is Format.JSON:
        print_json(answer.to_dict())
    elif format is Format.CSV:
        print_csv(_COLUMNS, _cells(answer))
    else:
        _print_picture(answer)


def _cells(answer: liqclient.Heatmap) -> Iterator[tuple[int, float, float, float]]:
    """Yield the cells that hold something, by time and price."""
    ts, price = (answer.ts // _MS).tolist(), answer.price.tolist()
    for i, j in np.argwhere((answer.long > 0) | (answer.short > 0)).tolist():
        yield ts[i], price[j], float(answer.long[i, j]), float(answer.short[i, j])


@dataclass(frozen=True, slots=True)
class _Picture:
    """A heatmap as it is drawn: one row a bin without gaps, the lowest first, and as many columns as fit.

    Attributes
    ----------
    first : int
        Index of the lowest bin: its left edge is ``first * bin_size``.
    ts : (c,) int64
        UNIX nanoseconds of the columns.
    long, short : (rows, c) float64
        Amounts as of then.
    low, high : (c,) float64
        Rows between which the price went in the time up to the column, NaN where that is not known.
    wide : int
        Characters a column takes.
    """

    first: int
    ts: NDArray[np.int64]
    long: NDArray[np.float64]
    short: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    wide: int


def _picture(answer: liqclient.Heatmap, width: int) -> _Picture:
    """Return what is drawn of a heatmap in ``width`` characters.

    Where moments are more than characters, a column shows the last of the moments it stands for, as it is the state
    then, and the path of the price through all of them.
    """
    # Bins without anything may be left out of an answer; a picture has every row.
    bins = np.rint(answer.price / answer.bin_size).astype(np.int64)
    first, rows = int(bins[0]), int(bins[-1] - bins[0]) + 1
    columns = min(len(answer.ts), width)
    ends = np.arange(1, columns + 1) * len(answer.ts) // columns - 1
    starts = np.concatenate([[0], ends[:-1] + 1])
    long, short = np.zeros((rows, len(ends))), np.zeros((rows, len(ends)))
    long[bins - first], short[bins - first] = answer.long[ends].T, answer.short[ends].T
    lows = [np.fmin.reduce(answer.low[a : b + 1]) for a, b in zip(starts, ends, strict=True)]
    highs = [np.fmax.reduce(answer.high[a : b + 1]) for a, b in zip(starts, ends, strict=True)]
    return _Picture(
        first=first,
        ts=answer.ts[ends],
        long=long,
        short=short,
        low=np.floor(np.array(lows) / answer.bin_size + 1e-6) - first,
        high=np.floor(np.array(highs) / answer.bin_size + 1e-6) - first,
        wide=max(1, width // len(ends)),
    )


def _print_picture(answer: liqclient.Heatmap) -> None:
    where = answer.provenance
    say(
        f"[bold]{where.venue}:{where.symbol}[/bold] liquidation heatmap as of [bold]{shown_time(where.as_of)}[/bold], "
        f"{len(answer.ts):,} moments every {shown_span(answer.interval)}, bins of {answer.bin_size:g}, "
        f"{shown_unit(answer.unit)}"
    )
    if not len(answer.price) or not len(answer.ts):
        say("no bin of the range holds anything in that time")
        print_provenance(where)
        return
    decimals = decimals_of(answer.bin_size)
    axis = max(len(f"{price:,.{decimals}f}") for price in (answer.price[0], answer.price[-1])) + 1
    of = _picture(answer, max(console.width - axis - 1, 1))
    # A few great cells would leave the others without colour; the root lifts the small.
    held = np.concatenate([of.long[of.long > 0], of.short[of.short > 0]])
    full = float(np.quantile(held, 0.99)) if len(held) else 1.0
    longs, shorts = (np.sqrt(np.minimum(side / full, 1.0)) for side in (of.long, of.short))
    for row in range(len(longs))[::-1]:
        line = Text(f"{(of.first + row) * answer.bin_size:>{axis},.{decimals}f} ", no_wrap=True, overflow="ignore")
        for column in range(len(of.ts)):
            path = ""
            if of.low[column] <= row <= of.high[column]:
                path = _LEVEL if of.low[column] == of.high[column] else _STEEP
            text, style = _cell(float(longs[row, column]), float(shorts[row, column]), path)
            line.append(text * of.wide, style)
        console.print(line)
    console.print(Text(" " * (axis + 1) + _time_axis(of), no_wrap=True, overflow="ignore"))
    say(
        f"[{LONG_COLOUR}]longs[/], [{SHORT_COLOUR}]shorts[/], [{PRICE_COLOUR}]{_LEVEL} path of the price[/]; "
        f"full colour from {shown_amount(full)} a bin"
    )
    swept = [shown_amount(float(side.sum())) for side in (answer.liquidated_long, answer.liquidated_short)]
    say(
        f"liquidated from {shown_time(int(answer.ts[0]))} to {shown_time(int(answer.ts[-1]))}: "
        f"longs {swept[0]}, shorts {swept[1]}"
    )
    say(
        f"current price {where.current_price:,.10g} of {where.current_price_source}, "
        f"{shown_time(where.current_price_ts)}"
    )
    print_provenance(where)


def _cell(long: float, short: float, path: str) -> tuple[str, Style | str]:
    """Return the character of a cell and its style; amounts in [0, 1]."""
    if console.color_system is None:
        return path or _SHADES[round(max(long, short) * (len(_SHADES) - 1))], ""
    red, green, blue = np.minimum(long * _LONG_RGB + short * _SHORT_RGB, 255.0).tolist()
    shade = Style(bgcolor=Color.from_rgb(red, green, blue)) if long or short else Style()
    return path or " ", shade + _PATH_STYLE if path else shade


def _time_axis(of: _Picture) -> str:
    """Return the line of times below the picture: each begins under its column."""
    line, room = "", len(of.ts) * of.wide
    for column, ts in enumerate(of.ts.tolist()):
        at = column * of.wide
        label = "│" + datetime.fromtimestamp(ts / 1e9, tz=UTC).strftime(_LABEL)
        if at + len(label) <= room and (not line or at >= len(line) + 4):
            line = line.ljust(at) + label
    return line
