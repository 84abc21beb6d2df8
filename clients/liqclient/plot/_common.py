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

# Plotly wraps neither titles nor knows beforehand how many rows a legend takes: pixels of a character of the subtitle
# and of an entry of a legend, both rather too many.
_CHARACTER, _ENTRY = 5.5, 115
# From this width on the mode bar stands beside the title and not above it.
_WIDE = 700
PHONE = 390
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


def base(theme: Theme) -> dict[str, Any]:
    """Return the settings of a figure that come from its theme.

    Its template is small where those that come with Plotly hold defaults for every kind of trace: it is copied and
    checked with every figure.
    """
    lines = {"showgrid": True, "showline": True, "gridcolor": theme.grid, "linecolor": theme.grid, "zerolinewidth": 2}
    axis = {"automargin": True, "ticks": "", **lines}
    axes = {"xaxis": {**axis, "zerolinecolor": theme.grid}, "yaxis": {**axis, "zerolinecolor": theme.text}}
    return {
        "template": {"layout": {"autotypenumbers": "strict", "hoverlabel": {"align": "left"}, **axes}},
        "paper_bgcolor": theme.background,
        "plot_bgcolor": theme.background,
        "font": {"family": _FONT, "size": 12, "color": theme.text},
        "hoverlabel": {"font": {"family": _FONT}},
        "hovermode": "closest",
        "bargap": 0,
    }


def begin(theme: Theme) -> go.Figure:
    """Return a figure without traces in the theme's colours."""
    return go.Figure(layout=base(theme))


def finish(
    figure: go.Figure,
    theme: Theme,
    *,
    width: int,
    title: str,
    lines: Iterable[str],
    height: int,
    legends: Sequence[int] = (),
    below: int = 0,
    nothing: str | None = None,
) -> go.Figure:
    """Give a figure that `begin` began what `frame` returns, and words where it has nothing to show."""
    figure.update_layout(
        frame(theme, width=width, title=title, lines=lines, height=height, legends=legends, below=below)
    )
    if nothing is not None:
        figure.add_annotation(words(theme, nothing))
        if not figure.data:
            figure.update_xaxes(visible=False)
            figure.update_yaxes(visible=False)
    return figure


def frame(
    theme: Theme,
    *,
    width: int,
    title: str,
    lines: Iterable[str],
    height: int,
    legends: Sequence[int] = (),
    below: int = 0,
) -> dict[str, Any]:
    """Return the settings of a figure's title, margins and legends.

    Parameters
    ----------
    theme
        Colours.
    width
        Pixels that what Plotly does not wrap is wrapped to; wider is fine, narrower is not.
    title, lines
        Title, and the lines below it.
    height
        Pixels of the plot, without title and legends.
    legends
        Entries of each legend; the legends stand below the plot, one below the other.
    below
        Pixels to keep free between the plot and the legends.
    """
    characters, entries = int((width - 24) / _CHARACTER), max(width // _ENTRY, 1)
    wrapped = [part for line in lines for part in textwrap.wrap(line, characters, break_on_hyphens=False)]
    # Names and notices are the server's: Plotly would take a < in them for markup.
    subtitle = "<br>".join(html.escape(part, quote=False) for part in wrapped)
    # The first pixels of a narrow figure are left to the mode bar, which covers a phone's whole width.
    above = 36 if width < _WIDE else 12
    top = above + 30 + 14 * len(wrapped) + 22
    rows = [10 + 19 * -(-count // entries) for count in legends]
    bottom = 62 + below + sum(rows)
    total = top + height + bottom
    return {
        "title": {
            "text": f"<b>{html.escape(title, quote=False)}</b>",
            "font": {"size": 15},
            "subtitle": {"text": subtitle, "font": {"size": 11, "color": theme.text}},
            "x": 0,
            "xref": "container",
            "xanchor": "left",
            "y": 1,
            "yref": "container",
            "yanchor": "top",
            "pad": {"l": 12, "t": above},
        },
        "height": total,
        "margin": {"l": 62, "r": 16, "t": top, "b": bottom},
        "modebar": {"remove": ["lasso2d", "select2d", "zoomIn2d", "zoomOut2d", "autoScale2d"]},
        **(_legends(rows, total) or {"legend": {"visible": False}}),
    }


def words(theme: Theme, text: str) -> dict[str, Any]:
    """Return the annotation that stands in the middle of a plot with nothing to draw."""
    return {
        "text": "<br>".join(html.escape(part, quote=False) for part in textwrap.wrap(text, 40)),
        "x": 0.5,
        "y": 0.5,
        "xref": "paper",
        "yref": "paper",
        "showarrow": False,
        "font": {"size": 15, "color": theme.text},
    }


def _legends(rows: Sequence[int], total: int) -> dict[str, Any]:
    """Return the settings of legends at the foot of a figure, by the pixels of each and of the figure."""
    left = sum(rows)
    settings = {}
    for i, row in enumerate(rows):
        settings[f"legend{i + 1 if i else ''}"] = {
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
        left -= row
    return settings


def price_line(theme: Theme, where: Provenance) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the shape and the annotation of the current price upright across the plot."""
    source = f" ({where.current_price_source})" if where.current_price_source else ""
    at = {"xref": "x", "yref": "y domain"}
    line = {"color": theme.price, "width": 2, "dash": "dash"}
    x = where.current_price
    return (
        {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "line": line, **at},
        {
            "text": f"price {x:,.10g}{source}",
            "x": x,
            "y": 1,
            "font": {"size": 11, "color": theme.text},
            "yanchor": "bottom",
            "xanchor": "center",
            "yshift": 2,
            "showarrow": False,
            **at,
        },
    )
