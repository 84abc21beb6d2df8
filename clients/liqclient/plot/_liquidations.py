"""Recorded liquidations."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import plotly.graph_objects as go

from liqclient._answers import LiquidationBuckets, Liquidations
from liqclient._times import to_duration_nanoseconds
from liqclient._types import Duration, Unit
from liqclient.plot._common import (
    AMOUNT,
    PHONE,
    TIME,
    amount_axis,
    begin,
    finish,
    milliseconds,
    second_axis,
    shown_span,
    shown_time,
    times,
    unit_name,
)
from liqclient.plot._theme import SAFE, Theme


def liquidations_figure(
    liquidations: Liquidations | Iterable[Liquidations],
    *,
    symbol: str,
    interval: Duration,
    unit: Unit = "notional",
    theme: Theme = SAFE,
    width: int = PHONE,
) -> go.Figure:
    """Draw recorded liquidations by interval and side, and what they add up to.

    Parameters
    ----------
    liquidations
        Answer of `Client.liquidations` with an interval, or pages of it as `Client.liquidation_pages` gives them.
    symbol
        For the title; the answer does not tell.
    interval
        The interval that was asked for; the answer does not tell.
    unit
        Which of the two the answer holds to draw: ``notional`` in quote units, ``qty`` in base units.
    theme
        Colours.
    width
        Pixels it will be wide, so that titles and legends take the room there is; it fits wider places too.

    Returns
    -------
    plotly.graph_objects.Figure
        Bars by interval (left axis), and what has added up at the end of each (right axis). Says so in words when
        nothing was recorded.

    Raises
    ------
    ValueError
        If there is no page, if liquidations are one by one, or if they were not added up by ``interval``.
    """
    step = to_duration_nanoseconds(interval, "interval")
    pages = [liquidations] if isinstance(liquidations, Liquidations) else list(liquidations)
    if not pages:
        raise ValueError("liquidations must be at least one page, were none")
    buckets = [_buckets(page) for page in pages]
    ts = np.concatenate([of.ts for of in buckets])
    if step <= 0 or np.any(np.diff(ts) <= 0) or np.any(ts % step):
        raise ValueError(f"interval must be that of the answer, and pages in their order; interval was {interval!r}")
    figure = begin(theme)
    start, end = times(ts), times(ts + step)
    for side, colour in (("long", theme.long), ("short", theme.short)):
        amounts = np.concatenate([getattr(of, f"{side}_{unit}") for of in buckets])
        counts = np.concatenate([getattr(of, f"{side}_count") for of in buckets])
        if not amounts.any():
            continue
        figure.add_trace(
            go.Bar(
                x=start,
                y=amounts,
                offset=0,
                width=milliseconds(step),
                name=f"{side}s",
                marker={"color": colour, "line": {"width": 0}},
                customdata=counts,
                hovertemplate=f"{shown_span(step)} from %{{x|{TIME}}}<br>%{{y:{AMOUNT}}} {unit_name(unit)} "
                f"in %{{customdata:,}} recorded<extra>{side}s liquidated</extra>",
            )
        )
        figure.add_trace(
            go.Scatter(
                x=np.append(start[:1], end),
                y=np.append(0.0, np.cumsum(amounts)),
                name=f"{side}s, sum",
                yaxis="y2",
                mode="lines",
                line={"color": theme.line(colour), "width": 2, "shape": "hv"},
                hovertemplate=f"up to %{{x|{TIME}}}<br>%{{y:{AMOUNT}}} {unit_name(unit)}"
                f"<extra>{side}s since the first shown</extra>",
            )
        )
    last = pages[-1]
    empty = not figure.data
    figure.update_layout(
        barmode="stack",
        xaxis={"title": {"text": "time, UTC", "standoff": 4}, "type": "date"},
        yaxis=amount_axis(unit),
    )
    if not empty:
        figure.update_layout(yaxis2=second_axis(unit, "cumulative"), margin={"r": 66})
    if last.recorded_start is None:
        nothing = f"There is nothing to show: no liquidation of {symbol} is recorded."
        recorded = "nothing is recorded"
    else:
        nothing = "There is nothing to show: no liquidation was recorded in the time that was asked for."
        recorded = f"recorded from {shown_time(last.recorded_start)} to {shown_time(last.recorded_end)}"
    lines = [
        f"as of {shown_time(last.generated_at)}; by {shown_span(step)}, {last.total_rows:,} recorded in the span",
        recorded,
        *(["Note: more pages follow that are not shown."] if last.next_page_token else []),
        *(f"Note: {notice}" for notice in last.notices),
    ]
    return finish(
        figure,
        theme,
        width=width,
        title=f"{symbol} recorded liquidations",
        lines=lines,
        height=400,
        legends=() if empty else [4],
        nothing=nothing if empty else None,
    )


def _buckets(page: Liquidations) -> LiquidationBuckets:
    if page.buckets is None:
        raise ValueError("liquidations must be added up by interval, were one by one: ask for them with an interval")
    return page.buckets
