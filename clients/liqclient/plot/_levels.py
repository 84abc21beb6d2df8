"""The liquidation map."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from liqclient._answers import DerivedFigures, Levels
from liqclient.plot._common import (
    AMOUNT,
    PHONE,
    amount_axis,
    base,
    frame,
    name_of,
    no_level_line,
    price_format,
    price_line,
    provenance_lines,
    second_axis,
    unit_name,
    words,
)
from liqclient.plot._theme import SAFE, Theme


def levels_figure(levels: Levels, *, theme: Theme = SAFE, width: int = PHONE) -> go.Figure:
    """Draw a liquidation map: amounts by price, longs below and shorts above the current price.

    Parameters
    ----------
    levels
        Answer of `Client.levels`. With ``per_tier``, each tier is a part of the bars that the legend can hide, and
        the legends' titles hide a side. With ``derived``, curves show what adds up on the way from the current price.
    theme
        Colours.
    width
        Pixels it will be wide, so that titles and legends take the room there is; it fits wider places too.

    Returns
    -------
    plotly.graph_objects.Figure
        Bars by price from the left to the right edge of each bin (left axis), cumulative amounts (right axis).
        Says so in words when there is no level.
    """
    return go.Figure(levels_parts(levels, theme=theme, width=width))


def levels_parts(levels: Levels, *, theme: Theme, width: int) -> dict[str, Any]:
    """Return what `levels_figure` draws, ``data`` and ``layout``, before Plotly checks and copies it.

    That takes longer than all else, and a page that draws some figures a second has no use for it.
    """
    where = levels.provenance
    sides = [
        _side(levels, side, colour, theme, f"legend{i + 1 if i else ''}")
        for i, (side, colour) in enumerate((("long", theme.long), ("short", theme.short)))
    ]
    data = [trace for side in sides for trace in side]
    layout = {
        **base(theme),
        "barmode": "stack",
        "xaxis": {"title": {"text": "price, quote units", "standoff": 4}, "tickformat": ",~f"},
        "yaxis": amount_axis(levels.unit),
        **frame(
            theme,
            width=width,
            title=f"{name_of(where)} liquidation levels",
            lines=[*provenance_lines(where), f"bins of {levels.bin_size:g}; {no_level_line(where)}"],
            height=420,
            legends=[len(side) for side in sides] if data else (),
        ),
    }
    if data:
        line, note = price_line(theme, where)
        layout |= {"shapes": [line], "annotations": [note]}
        for legend, name in (("legend", "longs"), ("legend2", "shorts")):
            layout[legend]["title"] = {"text": f"<b>{name}</b>"}
        if levels.derived is not None:
            layout["yaxis2"] = second_axis(levels.unit, "cumulative from the current price")
    else:
        hidden = levels.totals.long_in_range + levels.totals.short_in_range > 0
        reason = "no bin holds what was asked for" if hidden else "no position has a level in the range asked for"
        layout["annotations"] = [words(theme, f"There is nothing to show: {reason}.")]
        layout["xaxis"]["visible"] = layout["yaxis"]["visible"] = False
    return {"data": data, "layout": layout}


def _side(levels: Levels, side: str, colour: str, theme: Theme, legend: str) -> list[dict[str, Any]]:
    """Return the bars of a side that hold something, and the curve of what they add up to."""
    if levels.tiers:
        tiers = sorted(levels.tiers.values(), key=lambda tier: tier.leverage)
        # Low leverage pale, high leverage full: one hue a side.
        shades = [theme.shade(colour, 0.3 + 0.7 * (n + 1) / len(tiers)) for n in range(len(tiers))]
        columns = [(getattr(of, side), f"{of.leverage:g}x", shade) for of, shade in zip(tiers, shades, strict=True)]
    else:
        columns = [(getattr(levels, side), "all", colour)]
    traces = [_bars(levels, side, column, name, shade, legend) for column, name, shade in columns if (column > 0).any()]
    if traces and levels.derived is not None:
        traces.append(_curve(levels, levels.derived, side, theme.line(colour), legend))
    return traces


def _bars(
    levels: Levels, side: str, column: NDArray[np.float64], name: str, colour: str, legend: str
) -> dict[str, Any]:
    # A bar of nothing costs a browser as much as any other, and most bins hold few tiers.
    holds = column > 0
    left = levels.price[holds]
    price = price_format(levels.bin_size)
    return {
        "type": "bar",
        "x": left,
        "y": column[holds],
        "offset": 0,
        "width": levels.bin_size,
        "name": name,
        "legend": legend,
        "marker": {"color": colour, "line": {"width": 0}},
        "customdata": left + levels.bin_size,
        "hovertemplate": f"%{{x:{price}}} to %{{customdata:{price}}}<br>"
        f"%{{y:{AMOUNT}}} {unit_name(levels.unit)}<extra>{side} {name}</extra>",
    }


def _curve(levels: Levels, derived: DerivedFigures, side: str, colour: str, legend: str) -> dict[str, Any]:
    """Return what has surely been met when the price is at x: bins as a whole, from their far edge on."""
    here = levels.current_price
    if side == "long":
        met = levels.price <= here
        x = np.append(levels.price[met], here)
        y = np.append(derived.cumulative_long[met], 0.0)
        name, shape = "longs met on the way down", "vh"
    else:
        far = levels.price + levels.bin_size
        met = far >= here
        x = np.append(here, far[met])
        y = np.append(0.0, derived.cumulative_short[met])
        name, shape = "shorts met on the way up", "hv"
    return {
        "type": "scatter",
        "x": x,
        "y": y,
        "name": "sum",
        "legend": legend,
        "yaxis": "y2",
        "mode": "lines",
        "line": {"color": colour, "width": 2, "shape": shape},
        "hovertemplate": f"from {here:,.10g} to %{{x:{price_format(levels.bin_size)}}}<br>"
        f"%{{y:{AMOUNT}}} {unit_name(levels.unit)}<extra>{name}</extra>",
    }
