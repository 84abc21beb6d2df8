"""Plotly figures of answers (extra ``plot``)."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from liqclient._answers import Levels
from liqclient._times import to_datetime

LONG, SHORT, PRICE = "#d9024b", "#45bf87", "#f0b90b"


def levels_figure(levels: Levels) -> go.Figure:
    """Draw a liquidation map: amounts by price, the current price, and what adds up on the way from it.

    Parameters
    ----------
    levels
        Answer of `Client.levels`. With tiers, each tier is a trace of its own that the legend can hide.

    Returns
    -------
    plotly.graph_objects.Figure
        Bars by price (left axis); cumulative amounts from the current price outward (right axis).
    """
    where = levels.provenance
    unit = f"{where.symbol} notional, quote units" if levels.unit == "notional" else f"{where.symbol} contracts"
    middle = levels.price + levels.bin_size / 2
    figure = go.Figure()
    if levels.tiers:
        tiers = sorted(levels.tiers.values(), key=lambda tier: tier.leverage)
        for i, tier in enumerate(tiers):
            # Low leverage pale, high leverage full: one hue a side.
            opacity = 0.35 + 0.65 * (i + 1) / len(tiers)
            for name, colour, column in (("long", LONG, tier.long), ("short", SHORT, tier.short)):
                figure.add_trace(_bars(levels, middle, column, f"{name} {tier.leverage:g}x", colour, opacity, unit))
    else:
        for name, colour, column in (("long", LONG, levels.long), ("short", SHORT, levels.short)):
            figure.add_trace(_bars(levels, middle, column, name, colour, 0.9, unit))
    below = levels.price <= where.current_price
    above = levels.price + levels.bin_size > where.current_price
    curves = (
        ("longs met on the way down", LONG, middle[below], np.cumsum(levels.long[below][::-1])[::-1]),
        ("shorts met on the way up", SHORT, middle[above], np.cumsum(levels.short[above])),
    )
    for name, colour, x, y in curves:
        figure.add_trace(
            go.Scatter(
                x=x,
                y=y,
                name=name,
                yaxis="y2",
                mode="lines",
                line={"color": colour, "width": 2},
                hovertemplate=f"to %{{x:,.2f}}<br>%{{y:,.4s}} {unit}<extra>{name}</extra>",
            )
        )
    figure.add_vline(
        x=where.current_price,
        line={"color": PRICE, "width": 2, "dash": "dash"},
        annotation_text=f"price {where.current_price:,g} ({where.current_price_source})",
    )
    marks = ", ".join(f"{mark.kind} {_shown(mark.ts_event)}" for mark in where.watermarks)
    figure.update_layout(
        title={
            "text": f"{where.venue}:{where.symbol} liquidation levels as of {_shown(where.as_of)}",
            "subtitle": {
                "text": f"model {where.model}, bins of {levels.bin_size:g}; inputs reach {marks}; no level: "
                f"{where.no_level_share_long:.0%} of longs, {where.no_level_share_short:.0%} of shorts"
            },
        },
        barmode="stack",
        bargap=0.05,
        template="plotly_white",
        hovermode="closest",
        xaxis={"title": "price, quote units"},
        yaxis={"title": unit, "rangemode": "tozero"},
        yaxis2={
            "title": "cumulative from the current price",
            "overlaying": "y",
            "side": "right",
            "rangemode": "tozero",
        },
        legend={"x": 1.08, "y": 1.0},
        height=640,
    )
    return figure


def _bars(
    levels: Levels,
    middle: NDArray[np.float64],
    column: NDArray[np.float64],
    name: str,
    colour: str,
    opacity: float,
    unit: str,
) -> go.Bar:
    return go.Bar(
        x=middle,
        y=column,
        name=name,
        width=levels.bin_size,
        marker={"color": colour, "opacity": opacity, "line": {"width": 0}},
        customdata=np.stack([levels.price, levels.price + levels.bin_size], axis=1),
        hovertemplate=f"%{{customdata[0]:,.2f}} to %{{customdata[1]:,.2f}}<br>%{{y:,.4s}} {unit}<extra>{name}</extra>",
    )


def _shown(ts: int | None) -> str:
    return to_datetime(ts).strftime("%Y-%m-%d %H:%MZ") if ts is not None else "not known"
