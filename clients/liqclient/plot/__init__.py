"""Plotly figures of answers (extra ``plot``)."""

from liqclient.plot._audit import audit_figure
from liqclient.plot._compare import compare_figure
from liqclient.plot._heatmap import heatmap_figure
from liqclient.plot._levels import levels_figure
from liqclient.plot._liquidations import liquidations_figure
from liqclient.plot._scorecard import scorecard_figure
from liqclient.plot._theme import CLASSIC, CLASSIC_DARK, SAFE, SAFE_DARK, THEMES, Theme

__all__ = [
    "CLASSIC",
    "CLASSIC_DARK",
    "SAFE",
    "SAFE_DARK",
    "THEMES",
    "Theme",
    "audit_figure",
    "compare_figure",
    "heatmap_figure",
    "levels_figure",
    "liquidations_figure",
    "scorecard_figure",
]
