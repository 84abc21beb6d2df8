"""Levels over time."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from liqclient._answers import Heatmap
from liqclient.plot._common import (
    AMOUNT,
    PHONE,
    TIME,
    amount_axis,
    begin,
    decimals,
    finish,
    milliseconds,
    name_of,
    no_level_line,
    price_format,
    provenance_lines,
    shown_span,
    times,
    unit_name,
)
from liqclient.plot._theme import SAFE, ColourScale, Theme, mix

# Full colour is for this quantile of the amounts, or one large bin would leave all others pale.
_FULL = 0.995
# A logarithmic scale begins at this quantile, but at most so many powers of ten below its end.
_FAINT, _DECADES = 0.02, 3.0
_STOPS = 24
# With more columns than this, candles and bars are lines: narrower ones show no more, and take a browser as long as
# all else.
_NARROW = 300
# Pixels that the colour bars take between the axis of time and the legend.
_COLOUR_BAR = 52
# And the axis itself.
_AXIS = 58


def heatmap_figure(heatmap: Heatmap, *, theme: Theme = SAFE, log_colour: bool = False, width: int = PHONE) -> go.Figure:
    """Draw levels over time with the path of the price through them, and what it liquidated.

    Parameters
    ----------
    heatmap
        Answer of `Client.heatmap`.
    theme
        Colours.
    log_colour
        Whether colour goes with the logarithm of the amount, which shows small levels beside large ones.
    width
        Pixels it will be wide, so that titles and legends take the room there is; it fits wider places too.

    Returns
    -------
    plotly.graph_objects.Figure
        Longs and shorts as a layer each, which the legend hides, on one scale of amounts. A cell is as wide as an
        interval, around the moment it is as of; where one holds both sides, which no position book does, shorts lie
        on top. The price as candles, each between the moments it lies between, or where they are many as one line
        through open, high, low and close. Below, what was liquidated in each
        interval. Says so in words when there is nothing.
    """
    where = heatmap.provenance
    figure = make_subplots(
        rows=2, cols=1, shared_xaxes=True, row_heights=[0.8, 0.2], vertical_spacing=0.04, figure=begin(theme)
    )
    layers = [
        (side, colour, column)
        for side, colour, column in (("long", theme.long, heatmap.long), ("short", theme.short, heatmap.short))
        if column.any()
    ]
    path = bool(np.isfinite(heatmap.close).any())
    if layers:
        low, high = _colour_range(np.concatenate([column[column > 0] for _, _, column in layers]), log_colour)
        for i, (side, colour, column) in enumerate(layers):
            _add_layer(figure, heatmap, side, theme.scale(colour), column, low, high, log_colour)
            _add_colour_bar(figure, theme, heatmap, f"{side}s", theme.scale(colour), low, high, log_colour, i)
    if path:
        _add_path(figure, heatmap, theme)
    liquidated = (
        ("long", theme.long, heatmap.liquidated_long),
        ("short", theme.short, heatmap.liquidated_short),
    )
    for side, colour, column in liquidated:
        if layers or path or column.any():
            _add_liquidated(figure, heatmap, side, colour, column)
    figure.update_layout(
        barmode="stack",
        xaxis={"rangeslider": {"visible": False}, "type": "date"},
        xaxis2={"title": {"text": "time, UTC", "standoff": 4}, "type": "date"},
        yaxis={"title": {"text": "price, quote units", "standoff": 6}, "tickformat": ",~f"},
        yaxis2=amount_axis(heatmap.unit, title={"text": "liquidated", "standoff": 6}, nticks=4),
    )
    nothing = None
    if not layers:
        nothing = "There is nothing to show: no position has a level in the range and time asked for."
    scale = "logarithmic" if log_colour else "linear"
    figure = finish(
        figure,
        theme,
        width=width,
        title=f"{name_of(where)} liquidation levels over time",
        lines=[
            *provenance_lines(where),
            no_level_line(where),
            f"bins of {heatmap.bin_size:g}, every {shown_span(heatmap.interval)}"
            + (f"; colour {scale} up to the {_FULL:.1%} quantile" if layers else ""),
        ],
        height=520,
        # Five, and their names are long.
        legends=[7] if figure.data else (),
        below=_COLOUR_BAR if layers else 0,
        nothing=nothing,
    )
    # Margins that Plotly measures would have it draw all cells twice, and labels that it measures, lay out all marks
    # once for each: room for the widest price and its title, and for half a label of the last moment.
    digits = max(len(f"{heatmap.price.max(initial=0.0):,.{decimals(heatmap.bin_size)}f}"), 5)
    figure.update_layout(margin={"l": 30 + 8 * digits, "r": 32})
    figure.update_xaxes(automargin=False, ticklabeloverflow="allow", tickangle=0)
    figure.update_yaxes(automargin=False, ticklabeloverflow="allow")
    if layers:
        # By pixels from the foot of the figure: beside the plot they would push it together.
        top = (figure.layout.margin.b - _AXIS) / figure.layout.height
        figure.update_traces(marker_colorbar_y=top, selector={"mode": "markers"})
    return figure


def _colour_range(amounts: NDArray[np.float64], log_colour: bool) -> tuple[float, float]:
    high = float(np.quantile(amounts, _FULL))
    if not log_colour:
        return 0.0, high
    return max(float(np.quantile(amounts, _FAINT)), high / 10**_DECADES), high


def _add_layer(
    figure: go.Figure,
    heatmap: Heatmap,
    side: str,
    scale: ColourScale,
    column: NDArray[np.float64],
    low: float,
    high: float,
    log_colour: bool,
) -> None:
    # Longs lie below the price and shorts above: each layer as high as what it holds, not as the whole.
    [held] = np.nonzero(column.any(axis=0))
    bins = slice(int(held[0]), int(held[-1]) + 1)
    column = column[:, bins]
    edges, rows = _price_rows(heatmap.price[bins], heatmap.bin_size)
    # Single precision halves what a page weighs; no level is no colour.
    cells = np.full((len(edges) - 1, len(heatmap.ts)), np.nan, dtype=np.float32)
    cells[rows] = np.where(column > 0, column, np.nan).T
    half = heatmap.interval // 2
    price = price_format(heatmap.bin_size / 2)
    figure.add_trace(
        go.Heatmap(
            x=times(np.append(heatmap.ts - half, heatmap.ts[-1] + half)),
            y=edges,
            z=cells,
            zmin=0.0,
            zmax=high,
            colorscale=_log_scale(scale, low, high) if log_colour else scale,
            showscale=False,
            showlegend=True,
            name=f"{side}s",
            hoverongaps=False,
            hovertemplate=f"as of %{{x|{TIME}}}<br>%{{y:{price}}} ± {heatmap.bin_size / 2:g}<br>"
            f"%{{z:{AMOUNT}}} {unit_name(heatmap.unit)}<extra>{side}s</extra>",
        ),
        row=1,
        col=1,
    )


def _price_rows(price: NDArray[np.float64], bin_size: float) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return the edges of rows, one row for each bin and one for each gap between bins, and the rows of the bins."""
    gap = np.diff(price) > 1.5 * bin_size
    rows = np.arange(len(price)) + np.append(0, np.cumsum(gap))
    edges = np.full(int(rows[-1]) + 2, price[-1] + bin_size)
    edges[rows] = price
    edges[rows[:-1][gap] + 1] = price[:-1][gap] + bin_size
    return edges, rows


def _log_scale(scale: ColourScale, low: float, high: float) -> ColourScale:
    """Return the scale bent so that colour goes with the logarithm, while cells and hover texts keep their amounts.

    Parameters
    ----------
    scale
        Scale over the logarithm from ``low`` to ``high``.
    low, high
        Amounts at its ends; the scale that is returned begins at 0.
    """
    if not low < high:
        return scale
    steps = np.linspace(0.0, 1.0, _STOPS + 1)
    amounts = low * (high / low) ** steps
    bent = [(float(a / high), _colour_at(scale, float(s))) for a, s in zip(amounts, steps, strict=True)]
    return [(0.0, bent[0][1]), *bent[:-1], (1.0, bent[-1][1])]


def _colour_at(scale: ColourScale, share: float) -> str:
    for (low, one), (high, other) in pairwise(scale):
        if share <= high:
            return mix(one, other, (share - low) / (high - low))
    return scale[-1][1]


def _add_colour_bar(
    figure: go.Figure,
    theme: Theme,
    heatmap: Heatmap,
    name: str,
    scale: ColourScale,
    low: float,
    high: float,
    log_colour: bool,
    place: int,
) -> None:
    """Add a colour bar below the plot by a trace without points: a heatmap's own knows no logarithm."""
    if log_colour and low < high:
        exponents = range(int(np.ceil(np.log10(low))), int(np.floor(np.log10(high))) + 1)
        ends, ticks = (float(np.log10(low)), float(np.log10(high))), [float(e) for e in exponents]
        labels = [_short(10.0**e) for e in exponents]
    else:
        ends, ticks = (0.0, high), [0.0, high / 2, high]
        labels = ["0", _short(high / 2), f"≥ {_short(high)}"]
    figure.add_trace(
        go.Scatter(
            x=[None],
            y=[None],
            mode="markers",
            showlegend=False,
            hoverinfo="skip",
            name=f"scale of {name}",
            marker={
                "color": [ends[0]],
                "cmin": ends[0],
                "cmax": ends[1],
                "colorscale": scale,
                "showscale": True,
                "colorbar": {
                    "orientation": "h",
                    "x": 0.54 * place,
                    "xanchor": "left",
                    "xpad": 0,
                    "len": 0.44,
                    "yref": "container",
                    "yanchor": "top",
                    "ypad": 0,
                    "thickness": 8,
                    "tickvals": ticks,
                    "ticktext": labels,
                    "tickfont": {"size": 10},
                    "title": {"text": f"{name}, {unit_name(heatmap.unit)}", "font": {"size": 10}, "side": "bottom"},
                    "outlinewidth": 0,
                    "ticklabeloverflow": "allow",
                },
            },
        ),
        row=1,
        col=1,
    )


def _short(amount: float) -> str:
    for letter, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if amount >= size:
            return f"{amount / size:.3g}{letter}"
    return f"{amount:.3g}"


def _add_path(figure: go.Figure, heatmap: Heatmap, theme: Theme) -> None:
    known = np.isfinite(heatmap.close)
    price = f",.{max(2, decimals(heatmap.bin_size))}f"
    ts, middle = times(heatmap.ts[known]), times(heatmap.ts[known] - heatmap.interval // 2)
    candles = {of: getattr(heatmap, of)[known] for of in ("open", "high", "low", "close")}
    when = f"{shown_span(heatmap.interval)} up to "
    if len(heatmap.ts) <= _NARROW:
        figure.add_trace(
            go.Candlestick(
                x=middle,
                **candles,
                customdata=ts,
                name="price",
                increasing={"line": {"color": theme.price, "width": 1}, "fillcolor": theme.background},
                decreasing={"line": {"color": theme.price, "width": 1}, "fillcolor": theme.price},
                hovertemplate=f"{when}%{{customdata|{TIME}}}<br>"
                f"open %{{open:{price}}}, high %{{high:{price}}}<br>low %{{low:{price}}}, close %{{close:{price}}}"
                "<extra>price that liquidates</extra>",
            ),
            row=1,
            col=1,
        )
        return
    figure.add_trace(
        go.Scatter(
            x=np.repeat(middle, 4),
            y=np.stack(list(candles.values()), axis=1).ravel(),
            customdata=np.repeat(ts, 4),
            mode="lines",
            line={"color": theme.price, "width": 1},
            name="price",
            hovertemplate=f"{when}%{{customdata|{TIME}}}<br>%{{y:{price}}}<extra>price that liquidates</extra>",
        ),
        row=1,
        col=1,
    )


def _add_liquidated(figure: go.Figure, heatmap: Heatmap, side: str, colour: str, column: NDArray[np.float64]) -> None:
    name = f"{side}s liquidated"
    hover = (
        f"{shown_span(heatmap.interval)} up to %{{customdata|{TIME}}}<br>"
        f"%{{y:{AMOUNT}}} {unit_name(heatmap.unit)}<extra>{name}</extra>"
    )
    if len(heatmap.ts) <= _NARROW:
        there = column > 0
        ts = heatmap.ts[there]
        figure.add_trace(
            go.Bar(
                x=times(ts - heatmap.interval),
                y=column[there],
                offset=0,
                width=milliseconds(heatmap.interval),
                name=name,
                marker={"color": colour, "line": {"width": 0}},
                customdata=times(ts),
                hovertemplate=hover,
            ),
            row=2,
            col=1,
        )
        return
    figure.add_trace(
        go.Scatter(
            x=times(heatmap.ts - heatmap.interval),
            y=column,
            mode="lines",
            line={"color": colour, "width": 1, "shape": "hv"},
            stackgroup="liquidated",
            fillcolor=colour,
            name=name,
            customdata=times(heatmap.ts),
            hovertemplate=hover,
        ),
        row=2,
        col=1,
    )
