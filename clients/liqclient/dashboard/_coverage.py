"""What data there are and how old they are, as a figure and in rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from liqclient._answers import KindCoverage, SymbolCoverage, SymbolInfo
from liqclient.plot import Theme
from liqclient.plot._common import begin, finish, milliseconds, shown_span, shown_time, times

_TIME = "%Y-%m-%d %H:%MZ"


def coverage_figure(coverage: SymbolCoverage, *, theme: Theme, width: int) -> go.Figure:
    """Draw from when to when there are data, kind by kind; says so in words when there are none."""
    known = [kind for kind in coverage.kinds if kind.start is not None and kind.end is not None]
    figure = begin(theme)
    if known:
        start, end = _column(known, "start"), _column(known, "end")
        figure.add_trace(
            go.Bar(
                orientation="h",
                y=[_name(kind) for kind in known],
                base=times(start),
                x=[milliseconds(int(length)) for length in end - start],
                width=0.6,
                marker={"color": theme.opened, "line": {"width": 0}},
                customdata=[[shown_time(kind.start), shown_time(kind.end), f"{kind.rows:,}"] for kind in known],
                hovertemplate="%{customdata[0]} to %{customdata[1]}<br>%{customdata[2]} rows<extra>%{y}</extra>",
                showlegend=False,
            )
        )
    figure.update_layout(
        xaxis={"type": "date", "title": {"text": "time, UTC", "standoff": 4}, "hoverformat": _TIME},
        yaxis={"autorange": "reversed", "automargin": True},
    )
    return finish(
        figure,
        theme,
        width=width,
        title=f"{coverage.venue}:{coverage.symbol} coverage",
        lines=["From the first to the last row of each kind; the table below tells what is missing in between."],
        height=60 + 34 * len(known),
        nothing=None if known else "There is nothing to show: no data of this symbol are stored.",
    )


def coverage_rows(coverage: SymbolCoverage, info: SymbolInfo) -> list[dict[str, Any]]:
    """Return one row of texts for each kind; the age is against the server's clock."""
    age = {mark.kind: mark.staleness for mark in info.watermarks}
    return [
        {
            "kind": _name(kind),
            "from": shown_time(kind.start),
            "to": shown_time(kind.end),
            "age": shown_age(age[kind.kind]) if kind.kind in age else "not known",
            "rows": f"{kind.rows:,}",
            "missing": f"{kind.missing:,}" + (f", of one every {shown_span(kind.interval)}" if kind.interval else ""),
            "dropped": f"{kind.dropped_rows:,}",
            "notices": " ".join(kind.notices) or "none",
        }
        for kind in coverage.kinds
    ]


def shown_age(ns: int) -> str:
    """Return a length of time in its largest fitting unit, with at most one decimal."""
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if ns >= size * 10**9:
            return f"{ns / size / 1e9:.1f} {unit}"
    return f"{ns / 1e9:.0f} s"


def _name(kind: KindCoverage) -> str:
    return (kind.kind or "unknown kind").replace("_", " ")


def _column(kinds: Sequence[KindCoverage], name: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array([getattr(kind, name) for kind in kinds], dtype=np.int64)
