"""What all figures share: titles that tell where numbers come from, units, axes, legends, words instead of nothing."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from liqclient._answers import Provenance
from liqclient._times import to_datetime
from liqclient._types import Unit
from liqclient.plot._theme import Theme

# Plotly does not wrap titles: lines of this many characters fit a phone held upright.
_LINE = 66
_FONT = "Arial, Helvetica, sans-serif"
# Six digits, never letters for powers of ten: "m" would be read as a million where it means a thousandth.
AMOUNT = ",.6~r"
TIME = "%Y-%m-%d %H:%M:%SZ"

_UNIT_NAMES: dict[Unit, str] = {"notional": "quote units", "qty": "contracts"}
_AXIS_NAMES: dict[Unit, str] = {"notional": "notional, quote units", "qty": "contracts, base units"}


def unit_name(unit: Unit) -> str:
    """Return what follows an amount."""
    return _UNIT_NAMES[unit]


def axis_name(unit: Unit) -> str:
    """Return the title of an axis of amounts."""
    return _AXIS_NAMES[unit]


def amount_axis(unit: Unit, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return the settings of an axis of amounts that begins at zero."""
    return {
        "title": {"text": axis_name(unit), "standoff": 6},
        "rangemode": "tozero",
        # Thousands, millions and billions as k, M, B; contracts are not shortened.
        "exponentformat": "B" if unit == "notional" else "none",
        "separatethousands": True,
        **more,
    }


def second_axis(unit: Unit, title: str) -> dict[str, Any]:
    """Return the settings of an axis of amounts on the right of one that has the grid."""
    text = {"text": title, "standoff": 6}
    return amount_axis(unit, title=text, overlaying="y", side="right", showgrid=False, tickmode="auto")


def price_format(bin_size: float) -> str:
    """Return Plotly's format of prices with the decimals that edges of bins have."""
    return f",.{decimals(bin_size)}f"


def decimals(bin_size: float) -> int:
    """Return how many decimals a multiple of ``bin_size`` has."""
    return len(f"{bin_size:.10f}".rstrip("0").partition(".")[2])


def times(ts: NDArray[np.int64]) -> NDArray[np.datetime64]:
    """Return UNIX nanoseconds as Plotly takes times, cut to microseconds; without zone, they are shown as UTC."""
    return (ts // 1000).astype("datetime64[us]")


def milliseconds(ns: int) -> float:
    """Return a length of time as Plotly takes it on an axis of time."""
    return ns / 1e6


def shown_time(ts: int | None) -> str:
    """Return a moment in UTC, to the minute where it is a whole one."""
    if ts is None:
        return "not known"
    return to_datetime(ts).strftime("%Y-%m-%d %H:%MZ" if ts % 60_000_000_000 == 0 else TIME)


def shown_span(ns: int) -> str:
    """Return a length of time in its largest whole unit."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        if ns % (size * 1_000_000_000) == 0:
            return f"{ns // size // 1_000_000_000} {unit}"
    return f"{ns / 1e9:g} s"


def name_of(where: Provenance) -> str:
    """Return venue and symbol."""
    return f"{where.venue}:{where.symbol}"


def provenance_lines(where: Provenance, *, model: bool = True) -> list[str]:
    """Return where the numbers come from: what, as of when, how far each input reaches, and what to know of it."""
    reach: dict[str, list[str]] = {}
    for mark in where.watermarks:
        reach.setdefault(shown_time(mark.ts_event), []).append(mark.kind or "unknown kind")
    marks = "; ".join(f"{time} ({', '.join(kinds)})" for time, kinds in reach.items())
    return [
        f"as of {shown_time(where.as_of)}" + (f"; model {where.model} ({where.parameters_hash})" if model else ""),
        f"inputs reach {marks or 'not told'}",
        *(f"Note: {notice}" for notice in where.notices),
    ]


def no_level_line(where: Provenance) -> str:
    """Return the shares of open interest without a level."""
    return f"no level: {where.no_level_share_long:.1%} of longs, {where.no_level_share_short:.1%} of shorts"


def finish(
    figure: go.Figure,
    theme: Theme,
    *,
    title: str,
    lines: Iterable[str],
    height: int,
    legends: Sequence[int] = (),
    below: int = 0,
    nothing: str | None = None,
) -> go.Figure:
    """Give the figure its title, colours, margins and legends.

    Parameters
    ----------
    figure
        Figure with its traces and axes.
    theme
        Colours.
    title, lines
        Title, and the lines below it, wrapped to the width of a phone.
    height
        Pixels of the plot, without title and legends.
    legends
        Rows that each legend needs on a phone; the legends stand below the plot, one below the other.
    below
        Pixels to keep free between the plot and the legends.
    nothing
        Said in the middle of the plot when there is nothing to draw.
    """
    wrapped = [part for line in lines for part in textwrap.wrap(line, _LINE, break_on_hyphens=False)]
    # Names and notices are the server's: Plotly would take a < in them for markup.
    subtitle = "<br>".join(html.escape(part, quote=False) for part in wrapped)
    # The first pixels are left to the mode bar, which covers a phone's whole width.
    top = 66 + 14 * len(wrapped) + 22
    rows = [10 + 19 * count for count in legends]
    bottom = 62 + below + sum(rows)
    total = top + height + bottom
    figure.update_layout(
        template="plotly_dark" if theme.dark else "plotly_white",
        paper_bgcolor=theme.background,
        plot_bgcolor=theme.background,
        font={"family": _FONT, "size": 12, "color": theme.text},
        title={
            "text": f"<b>{html.escape(title, quote=False)}</b>",
            "font": {"size": 15},
            "subtitle": {"text": subtitle, "font": {"size": 11, "color": theme.text}},
            "x": 0,
            "xref": "container",
            "xanchor": "left",
            "y": 1,
            "yref": "container",
            "yanchor": "top",
            "pad": {"l": 12, "t": 36},
        },
        height=total,
        margin={"l": 62, "r": 16, "t": top, "b": bottom},
        hoverlabel={"font": {"family": _FONT}},
        hovermode="closest",
        bargap=0,
        modebar={"remove": ["lasso2d", "select2d", "zoomIn2d", "zoomOut2d", "autoScale2d"]},
        legend={"visible": bool(legends)},
    )
    figure.update_xaxes(gridcolor=theme.grid, linecolor=theme.grid, zerolinecolor=theme.grid)
    figure.update_yaxes(gridcolor=theme.grid, linecolor=theme.grid, zerolinecolor=theme.text)
    left = sum(rows)
    for i, row in enumerate(rows):
        figure.update_layout(
            {
                f"legend{i + 1 if i else ''}": {
                    "orientation": "h",
                    "x": 0.01,
                    "xref": "container",
                    "xanchor": "left",
                    "y": left / total,
                    "yref": "container",
                    "yanchor": "top",
                    "bgcolor": "rgba(0,0,0,0)",
                    "font": {"size": 11},
                    "traceorder": "normal",
                    # The title hides or shows all of a side, an entry one tier of it.
                    "titleclick": "toggle",
                    "titledoubleclick": "toggleothers",
                }
            }
        )
        left -= row
    if nothing is not None:
        figure.add_annotation(
            text="<br>".join(html.escape(part, quote=False) for part in textwrap.wrap(nothing, 40)),
            x=0.5,
            y=0.5,
            xref="paper",
            yref="paper",
            showarrow=False,
            font={"size": 15, "color": theme.text},
        )
        if not figure.data:
            figure.update_xaxes(visible=False)
            figure.update_yaxes(visible=False)
    return figure


def price_line(figure: go.Figure, theme: Theme, where: Provenance, **place: Any) -> None:  # noqa: ANN401
    """Draw the current price upright across the plot."""
    source = f" ({where.current_price_source})" if where.current_price_source else ""
    figure.add_vline(
        x=where.current_price,
        line={"color": theme.price, "width": 2, "dash": "dash"},
        annotation={
            "text": f"price {where.current_price:,.10g}{source}",
            "font": {"size": 11, "color": theme.text},
            "yanchor": "bottom",
            "xanchor": "center",
            "yref": "paper",
            "y": 1,
            "yshift": 2,
        },
        **place,
    )
