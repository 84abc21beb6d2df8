"""What was opened, closed and liquidated."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from liqclient._answers import Audit
from liqclient.plot._common import (
    AMOUNT,
    PHONE,
    TIME,
    amount_axis,
    axis_name,
    begin,
    finish,
    milliseconds,
    name_of,
    provenance_lines,
    shown_span,
    times,
    unit_name,
)
from liqclient.plot._theme import SAFE, Theme


def audit_figure(audit: Audit, *, theme: Theme = SAFE, width: int = PHONE) -> go.Figure:
    """Draw what was opened, closed and liquidated by interval on either side, and open interest.

    Parameters
    ----------
    audit
        Answer of `Client.audit`.
    theme
        Colours.
    width
        Pixels it will be wide, so that titles and legends take the room there is; it fits wider places too.

    Returns
    -------
    plotly.graph_objects.Figure
        A row for longs and one for shorts: upward what was opened, the part that the model cannot explain hatched,
        downward what was closed and what was liquidated. Below, open interest at the start and the end of intervals.
        Says so in words when there is no interval.
    """
    where = audit.provenance
    figure = make_subplots(
        rows=3,
        cols=1,
        shared_xaxes=True,
        row_heights=[0.38, 0.38, 0.24],
        vertical_spacing=0.07,
        subplot_titles=["longs", "shorts", "open interest"] if len(audit.open_time) else None,
        figure=begin(theme),
    )
    sides = (
        (theme.long, audit.opened_long, audit.unexplained_long, audit.closed_long, audit.liquidated_long),
        (theme.short, audit.opened_short, audit.unexplained_short, audit.closed_short, audit.liquidated_short),
    )
    if len(audit.open_time):
        for row, (side, (colour, opened, unexplained, closed, liquidated)) in enumerate(
            zip(("longs", "shorts"), sides, strict=True), 1
        ):
            _add_bars(figure, audit, row, side, "opened", theme.opened, opened - unexplained, opened)
            if unexplained.any():
                _add_bars(figure, audit, row, side, "unexplained", theme.opened, unexplained, unexplained, "/")
            _add_bars(figure, audit, row, side, "closed", theme.closed, -closed, closed)
            _add_bars(figure, audit, row, side, "liquidated", colour, -liquidated, liquidated)
        figure.add_trace(
            go.Scatter(
                x=times(np.append(audit.open_time[:1], audit.open_time + audit.interval)),
                y=np.append(audit.open_interest_start[:1], audit.open_interest_end),
                mode="lines",
                line={"color": theme.price, "width": 2},
                name="open interest",
                showlegend=False,
                hovertemplate=f"at %{{x|{TIME}}}<br>%{{y:{AMOUNT}}} {unit_name(audit.unit)}"
                "<extra>open interest</extra>",
            ),
            row=3,
            col=1,
        )
    figure.update_layout(
        barmode="relative",
        legend={"title": {"text": "<b>longs</b>"}},
        legend2={"title": {"text": "<b>shorts</b>"}},
    )
    for row in (1, 2, 3):
        title = {"text": "", "standoff": 6} if row == 3 else {"text": "− out, + in", "standoff": 6}
        figure.update_yaxes(amount_axis(audit.unit, title=title, rangemode="normal"), row=row, col=1)
    figure.update_xaxes(type="date")
    figure.update_xaxes(title={"text": "time, UTC", "standoff": 4}, row=3, col=1)
    figure.update_annotations(font={"size": 12, "color": theme.text})
    return finish(
        figure,
        theme,
        width=width,
        title=f"{name_of(where)} audit of positions",
        lines=[
            *provenance_lines(where),
            f"by {shown_span(audit.interval)}; {axis_name(audit.unit)}",
        ],
        height=560,
        legends=[4, 4] if figure.data else (),
        nothing=None if figure.data else "There is nothing to show: no interval lies in the time that was asked for.",
    )


def _add_bars(
    figure: go.Figure,
    audit: Audit,
    row: int,
    side: str,
    name: str,
    colour: str,
    height: NDArray[np.float64],
    amount: NDArray[np.float64],
    pattern: str = "",
) -> None:
    figure.add_trace(
        go.Bar(
            x=times(audit.open_time),
            y=height,
            offset=0,
            width=milliseconds(audit.interval),
            name=name,
            legend="legend" if row == 1 else "legend2",
            marker={"color": colour, "line": {"width": 0}, "pattern": {"shape": pattern}},
            # Downward bars are negative; what is read is the amount.
            customdata=amount,
            hovertemplate=f"{shown_span(audit.interval)} from %{{x|{TIME}}}<br>"
            f"%{{customdata:{AMOUNT}}} {unit_name(audit.unit)}<extra>{side} {name}</extra>",
        ),
        row=row,
        col=1,
    )
