"""Parameters of the position book from liquidations that were recorded. Pure: arrays and the kernel, no I/O, no clock.

``responses`` asks the kernel what each tier alone would have liquidated, ``weights`` finds the mix of tiers that
explains the recorded liquidations best, ``scatter`` how far those lie from what is predicted, ``book`` turns both into
parameters and what is not known of them, ``choice`` does so for a few speeds of closing and takes one.
"""

from liqserver.calibrate.book import MIN_INTERVALS, Calibration, Evidence, NotEnoughData, gather
from liqserver.calibrate.choice import calibrate, calibrate_best, gather_all
from liqserver.calibrate.responses import distance_tiers, responses
from liqserver.calibrate.scatter import BANDS, Scatter, fit_scatter, plausible_weights, weight_variance
from liqserver.calibrate.weights import Fit, fit_weights

__all__ = [
    "BANDS",
    "MIN_INTERVALS",
    "Calibration",
    "Evidence",
    "Fit",
    "NotEnoughData",
    "Scatter",
    "calibrate",
    "calibrate_best",
    "distance_tiers",
    "fit_scatter",
    "fit_weights",
    "gather",
    "gather_all",
    "plausible_weights",
    "responses",
    "weight_variance",
]
