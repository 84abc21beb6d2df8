"""Parameters of the position book from liquidations that really happened. Pure: numpy and the kernel, no I/O, no clock.

``responses`` asks the kernel what each tier alone would have liquidated, ``weights`` finds the mix of tiers that
explains the real liquidations best, ``book`` turns it into parameters.
"""

from liqserver.calibrate.book import Calibration, NotEnoughData, calibrate
from liqserver.calibrate.responses import distance_tiers, responses
from liqserver.calibrate.weights import Fit, fit_weights

__all__ = [
    "Calibration",
    "Fit",
    "NotEnoughData",
    "calibrate",
    "distance_tiers",
    "fit_weights",
    "responses",
]
