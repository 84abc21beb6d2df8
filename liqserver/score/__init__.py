"""How well a model places liquidations. Pure: numpy only, no I/O, no clock.

``controls`` says what of an interval's liquidations the price path alone explains, ``skill`` what a model adds.
"""

from liqserver.score.controls import HISTORY, NAMES, Intervals, path_controls, regroup
from liqserver.score.skill import MIN_INTERVALS, Estimate, Skill, log_amount, placement_skill, split_days

__all__ = [
    "HISTORY",
    "MIN_INTERVALS",
    "NAMES",
    "Estimate",
    "Intervals",
    "Skill",
    "log_amount",
    "path_controls",
    "placement_skill",
    "regroup",
    "split_days",
]
