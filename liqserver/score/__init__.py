"""How well a model places liquidations. Pure: numpy only, no I/O, no clock.

``controls`` says what of an interval's liquidations the path of price alone explains, ``skill`` what a model adds,
``sweep`` what a path sweeps of levels that stand still and of things simpler than a model, ``effects`` what levels do
to price, ``truth`` how well levels agree with those of a simulated market.
"""

from liqserver.score.controls import HISTORY, NAMES, Intervals, by_interval, path_controls
from liqserver.score.skill import (
    CONFIDENCE,
    MIN_DAYS,
    MIN_INTERVALS,
    Estimate,
    Parts,
    Skill,
    controls_skill,
    log_amount,
    parts_of,
    placement_skill,
    split_days,
)

__all__ = [
    "CONFIDENCE",
    "HISTORY",
    "MIN_DAYS",
    "MIN_INTERVALS",
    "NAMES",
    "Estimate",
    "Intervals",
    "Parts",
    "Skill",
    "by_interval",
    "controls_skill",
    "log_amount",
    "parts_of",
    "path_controls",
    "placement_skill",
    "split_days",
]
