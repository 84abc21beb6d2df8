"""Models side by side."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from liqclient._answers import Comparison, Provenance
from liqclient.plot._common import (
    AMOUNT,
    PHONE,
    amount_axis,
    axis_name,
    begin,
    finish,
    name_of,
    price_format,
    provenance_lines,
    unit_name,
)
from liqclient.plot._theme import SAFE, Theme

_MODEL_HEIGHT, _PAIR_HEIGHT, _GAP = 130, 34, 46


def compare_figure(comparison: Comparison, *, theme: Theme = SAFE, width: int = PHONE) -> go.Figure:
    """Draw several models' levels below one another on one axis of prices, and how much each two agree.

    Parameters
    ----------
    comparison
        Answer of `Client.compare`.
    theme
        Colours.
    width
        Pixels it will be wide, so that titles and legends take the room there is; it fits wider places too.

    Returns
    -------
    plotly.graph_objects.Figure
        A row for each model that has an answer, with an axis of amounts of its own, as models differ in scale. Below,
        with two or more of them, the overlap of each pair: longs below the diagonal, shorts above. Models without an
        answer are named with their reason. Says so in words when no model has one.
    """
    there = {
        i: (m.long, m.short, m.provenance)
        for i, m in enumerate(comparison.models)
        if m.long is not None and m.short is not None and m.provenance is not None
    }
    names = dict(zip(there, _names([where for _, _, where in there.values()]), strict=True))
    reasons = [f"{m.model} has no answer: {m.unavailable}" for m in comparison.models if m.unavailable is not None]
    if not there:
        return finish(
            begin(theme),
            theme,
            width=width,
            title="Models compared",
            lines=reasons,
            height=300,
            nothing="There is nothing to show: no model has an answer.",
        )
    n, matrix = len(there), len(there) > 1
    # A row of nothing leaves the axis of prices its room above the pairs.
    heights = [float(_MODEL_HEIGHT)] * n + ([1.0, 60.0 + _PAIR_HEIGHT * n] if matrix else [])
    height = round(sum(heights) + _GAP * (len(heights) - 1))
    figure = make_subplots(
        rows=len(heights),
        cols=1,
        specs=[[{}]] * n + ([[None], [{}]] if matrix else []),
        row_heights=heights,
        vertical_spacing=_GAP / height if len(heights) > 1 else 0,
        subplot_titles=[*names.values(), *(["overlap: longs below the diagonal, shorts above"] if matrix else [])],
        figure=begin(theme),
    )
    first = next(iter(there.values()))[2]
    low, high = (comparison.price[0], comparison.price[-1] + comparison.bin_size) if len(comparison.price) else (0, 1)
    drawn: set[str] = set()
    for row, (long, short, where) in enumerate(there.values(), 1):
        for side, colour, column in (("long", theme.long, long), ("short", theme.short, short)):
            if column.any():
                _add_area(figure, comparison, theme, side, colour, column, row, side not in drawn)
                drawn.add(side)
        figure.add_vline(x=where.current_price, line={"color": theme.price, "width": 2, "dash": "dash"}, row=row, col=1)
        empty = not long.any() and not short.any()
        if empty:
            figure.add_annotation(text="nothing in range", x=(low + high) / 2, y=0.5, showarrow=False, row=row, col=1)
        figure.update_yaxes(amount_axis(comparison.unit, title=None, nticks=4), row=row, col=1)
        figure.update_xaxes(
            range=[low, high],
            tickformat=",~f",
            matches="x" if row > 1 else None,
            showticklabels=row == n,
            row=row,
            col=1,
        )
    figure.update_xaxes(title={"text": "price, quote units", "standoff": 4}, row=n, col=1)
    if matrix:
        _add_matrix(figure, comparison, theme, names, n + 2)
    figure.update_annotations(font={"size": 12, "color": theme.text})
    return finish(
        figure,
        theme,
        width=width,
        title=f"{name_of(first)} models compared",
        lines=[
            *_shared_lines([where for _, _, where in there.values()]),
            f"bins of {comparison.bin_size:g}; {axis_name(comparison.unit)}; price {first.current_price:,.10g}",
            *reasons,
        ],
        height=height + (50 if matrix else 0),
        legends=[2] if drawn else (),
        nothing=None if drawn else "There is nothing to show: no model has a level in range.",
    )


def _names(models: list[Provenance]) -> list[str]:
    """Return the models' identifiers, with the hash of their parameters where one stands there twice."""
    ids = [where.model for where in models]
    return [
        where.model if ids.count(where.model) == 1 else f"{where.model} {where.parameters_hash[:6]}" for where in models
    ]


def _shared_lines(models: list[Provenance]) -> list[str]:
    """Return where the numbers come from, what is the same for several models once."""
    lines = [line for where in models for line in provenance_lines(where, model=False)]
    return list(dict.fromkeys(lines))


def _add_area(
    figure: go.Figure,
    comparison: Comparison,
    theme: Theme,
    side: str,
    colour: str,
    column: NDArray[np.float64],
    row: int,
    legend: bool,
) -> None:
    price = price_format(comparison.bin_size)
    figure.add_trace(
        go.Scatter(
            # A line for hundreds of bins is lighter than bars; the last point closes the last bin.
            x=np.append(comparison.price, comparison.price[-1] + comparison.bin_size),
            y=np.append(column, column[-1]),
            mode="lines",
            line={"color": colour, "width": 1, "shape": "hv"},
            fill="tozeroy",
            fillcolor=theme.shade(colour, 0.55),
            name=f"{side}s",
            legendgroup=side,
            showlegend=legend,
            hovertemplate=f"bin of {comparison.bin_size:g} from %{{x:{price}}}<br>"
            f"%{{y:{AMOUNT}}} {unit_name(comparison.unit)}<extra>{side}s</extra>",
        ),
        row=row,
        col=1,
    )


def _add_matrix(figure: go.Figure, comparison: Comparison, theme: Theme, names: dict[int, str], row: int) -> None:
    place = {model: i for i, model in enumerate(names)}
    overlap = np.full((len(names), len(names)), np.nan)
    for pair in comparison.pairs:
        first, second = sorted((place[pair.a], place[pair.b]))
        if pair.overlap_long is not None:
            overlap[second, first] = pair.overlap_long
        if pair.overlap_short is not None:
            overlap[first, second] = pair.overlap_short
    labels = list(names.values())
    figure.add_trace(
        go.Heatmap(
            x=labels,
            y=labels,
            z=overlap,
            zmin=0.0,
            zmax=1.0,
            colorscale=[(0.0, theme.background), (1.0, theme.closed)],
            showscale=False,
            xgap=2,
            ygap=2,
            texttemplate="%{z:.2f}",
            hoverongaps=False,
            name="overlap",
            hovertemplate="%{y} and %{x}<br>overlap %{z:.3f} of 1<extra></extra>",
        ),
        row=row,
        col=1,
    )
    figure.update_yaxes(autorange="reversed", automargin=True, showgrid=False, row=row, col=1)
    figure.update_xaxes(tickangle=90, automargin=True, showgrid=False, row=row, col=1)
