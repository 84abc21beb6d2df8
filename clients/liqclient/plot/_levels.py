"""The liquidation map."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from liqclient._answers import Levels
from liqclient.plot._common import (
    AMOUNT,
    amount_axis,
    finish,
    name_of,
    no_level_line,
    price_format,
    price_line,
    provenance_lines,
    second_axis,
    unit_name,
)
from liqclient.plot._theme import SAFE, Theme


def levels_figure(levels: Levels, *, theme: Theme = SAFE) -> go.Figure:
    """Draw a liquidation map: amounts by price, longs below and shorts above the current price.

    Parameters
    ----------
    levels
        Answer of `Client.levels`. With ``per_tier``, each tier is a part of the bars that the legend can hide, and
        the legends' titles hide a side. With ``derived``, curves show what adds up on the way from the current price.
    theme
        Colours.

    Returns
    -------
    plotly.graph_objects.Figure
        Bars by price from the left to the right edge of each bin (left axis), cumulative amounts (right axis).
        Says so in words when there is no level.
    """
    where = levels.provenance
    figure = go.Figure()
    rows = []
    for i, (side, colour) in enumerate((("long", theme.long), ("short", theme.short))):
        before = len(figure.data)
        legend = f"legend{i + 1 if i else ''}"
        if levels.tiers:
            tiers = sorted(levels.tiers.values(), key=lambda tier: tier.leverage)
            for n, tier in enumerate(tiers):
                # Low leverage pale, high leverage full: one hue a side.
                shade = theme.shade(colour, 0.3 + 0.7 * (n + 1) / len(tiers))
                _add_bars(figure, levels, side, getattr(tier, side), f"{tier.leverage:g}x", shade, legend)
        else:
            _add_bars(figure, levels, side, getattr(levels, side), "all", colour, legend)
        if levels.derived is not None and len(figure.data) > before:
            _add_curve(figure, levels, side, theme.line(colour), legend)
        rows.append(-(-(len(figure.data) - before) // 3))
    empty = not figure.data
    nothing = None
    if empty:
        hidden = levels.totals.long_in_range + levels.totals.short_in_range > 0
        reason = "no bin holds what was asked for" if hidden else "no position has a level in the range asked for"
        nothing = f"There is nothing to show: {reason}."
    figure.update_layout(
        barmode="stack",
        xaxis={"title": {"text": "price, quote units", "standoff": 4}, "tickformat": ",~f"},
        yaxis=amount_axis(levels.unit),
        legend={"title": {"text": "<b>longs</b>"}},
        legend2={"title": {"text": "<b>shorts</b>"}},
    )
    if levels.derived is not None and not empty:
        figure.update_layout(
            yaxis2=second_axis(levels.unit, "cumulative from the current price"),
            margin={"r": 66},
        )
    if not empty:
        price_line(figure, theme, where)
    return finish(
        figure,
        theme,
        title=f"{name_of(where)} liquidation levels",
        lines=[
            *provenance_lines(where),
            f"bins of {levels.bin_size:g}; {no_level_line(where)}",
        ],
        height=420,
        legends=() if empty else rows,
        nothing=nothing,
    )


def _add_bars(
    figure: go.Figure, levels: Levels, side: str, column: NDArray[np.float64], name: str, colour: str, legend: str
) -> None:
    if not column.any():
        return
    price = price_format(levels.bin_size)
    figure.add_trace(
        go.Bar(
            x=levels.price,
            y=column,
            offset=0,
            width=levels.bin_size,
            name=name,
            legend=legend,
            marker={"color": colour, "line": {"width": 0}},
            customdata=levels.price + levels.bin_size,
            hovertemplate=f"%{{x:{price}}} to %{{customdata:{price}}}<br>"
            f"%{{y:{AMOUNT}}} {unit_name(levels.unit)}<extra>{side} {name}</extra>",
        )
    )


def _add_curve(figure: go.Figure, levels: Levels, side: str, colour: str, legend: str) -> None:
    """Add what has surely been met when the price is at x: bins as a whole, from their far edge on."""
    if levels.derived is None:
        return
    here = levels.current_price
    if side == "long":
        met = levels.price <= here
        x = np.append(levels.price[met], here)
        y = np.append(levels.derived.cumulative_long[met], 0.0)
        name, shape = "longs met on the way down", "vh"
    else:
        far = levels.price + levels.bin_size
        met = far >= here
        x = np.append(here, far[met])
        y = np.append(0.0, levels.derived.cumulative_short[met])
        name, shape = "shorts met on the way up", "hv"
    figure.add_trace(
        go.Scatter(
            x=x,
            y=y,
            name="sum",
            legend=legend,
            yaxis="y2",
            mode="lines",
            line={"color": colour, "width": 2, "shape": shape},
            hovertemplate=f"from {here:,.10g} to %{{x:{price_format(levels.bin_size)}}}<br>"
            f"%{{y:{AMOUNT}}} {unit_name(levels.unit)}<extra>{name}</extra>",
        )
    )
