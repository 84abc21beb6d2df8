"""How fast high leverage leaves, where the record says so beyond doubt.

Weights are found for each of a few exponents of the hazards; which exponent is taken is decided by cross-validation
over blocks of the intervals before the cut. The prior's own stays unless another is better by more than chance.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from liqserver.calibrate.book import Calibration, Evidence, gather
from liqserver.calibrate.weights import fit_weights
from liqserver.models.market import Market
from liqserver.models.parameters import Parameters
from liqserver.models.position_book import DEFAULTS
from liqserver.score import log_amount

HAZARD_EXPONENTS = (0.3, 0.5, 0.9)
"""Exponents that may take the place of the prior's."""

_BLOCKS = 6
# Around the block that is left out: what happened an hour ago is not forgotten.
_MARGIN = 86_400_000_000_000
# Standard errors of the difference, over blocks, by which another exponent must be better.
_BEYOND_DOUBT = 2.0


def gather_all(
    market: Market,
    open_time: NDArray[np.int64],
    period: int,
    until: int,
    *,
    start: int | None = None,
    prior: Parameters = DEFAULTS,
) -> tuple[Evidence, ...]:
    """Return the evidence under the prior, then under each of ``HAZARD_EXPONENTS``.

    Only under the prior where it writes hazards out: there is no rule to change then. Parameters, and what is raised,
    as in ``gather``.
    """
    priors = [prior]
    exponent, no_level = prior.hazard_exponent, prior.no_level_hazard
    if exponent and no_level and all(tier.hazard is None for tier in prior.tiers or ()):
        # Positions without a level go on closing like those of the leverage they do now.
        like = no_level ** (1 / exponent)
        priors += [replace(prior, hazard_exponent=e, no_level_hazard=like**e) for e in HAZARD_EXPONENTS]
    return tuple(gather(market, open_time, period, until, start=start, prior=of) for of in priors)


def calibrate_best(evidence: tuple[Evidence, ...], real: NDArray[np.float64], until: int) -> Calibration:
    """Return the calibration under the prior, or under the exponent that is better than it beyond doubt.

    Parameters
    ----------
    evidence : tuple of Evidence
        Of ``gather_all``.
    real, until
        As in ``Evidence.calibrate``, and so is what is raised.
    """
    found = evidence[0].calibrate(real, until)
    errors = [_left_out_errors(of, real, until) for of in evidence] if len(evidence) > 1 else [None]
    first = errors[0]
    best, least = 0, np.inf
    for i, error in enumerate(errors[1:], 1):
        if first is None or error is None:
            continue
        better = first - error
        doubt = float(np.std(better, ddof=1)) * np.sqrt(_BLOCKS)
        if better.sum() > _BEYOND_DOUBT * doubt and error.sum() < least:
            best, least = i, float(error.sum())
    return found if best == 0 else evidence[best].calibrate(real, until)


def calibrate(
    market: Market,
    open_time: NDArray[np.int64],
    period: int,
    real: NDArray[np.float64],
    until: int,
    *,
    start: int | None = None,
    prior: Parameters = DEFAULTS,
) -> Calibration:
    """Return what ``calibrate_best`` finds in what ``gather_all`` gathers, for one moment; parameters as there."""
    evidence = gather_all(market, open_time, period, until, start=start, prior=prior)
    return calibrate_best(evidence, real, until)


def _left_out_errors(evidence: Evidence, real: NDArray[np.float64], until: int) -> NDArray[np.float64] | None:
    """Return the squared error of log recorded by block, weights and line fitted outside it, shape (_BLOCKS,).

    Of both sides, each as a share of its variation; None where a side does not vary outside of a block.
    """
    use = np.flatnonzero(evidence.usable(real, until))
    weight = np.array([tier.weight for tier in evidence.prior.tiers or ()])
    prior = weight / (weight.sum() + float(evidence.prior.no_level_weight or 0.0))
    margin = -(-_MARGIN // evidence.period)
    y = log_amount(real)
    out = np.zeros(_BLOCKS)
    for block, part in enumerate(np.array_split(use, _BLOCKS)):
        fitted = use[(use < part[0] - margin) | (use > part[-1] + margin)]
        if not np.ptp(real[:, fitted], axis=1).all() or not evidence.response[:, fitted].any(axis=(1, 2)).all():
            return None
        x = log_amount(evidence.response @ fit_weights(evidence.response[:, fitted], real[:, fitted], prior).weight)
        for side in range(2):
            line = np.polyfit(x[side, fitted], y[side, fitted], 1)
            error = np.square(y[side, part] - np.polyval(line, x[side, part])).sum()
            out[block] += error / (y[side, use].var() * len(use))
    return out
