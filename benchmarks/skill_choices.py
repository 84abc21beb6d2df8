"""How the defaults of the position book were chosen: on the part before the cut alone, by cross-validation.

    python -m benchmarks.skill_choices [--data FOLDER] [--symbol SYMBOL] [--cut DATE]

The hours before the cut are split into six blocks. Each block is scored with weights and regressions fitted on the
other five (a day on either side of it is left out). Each row changes one choice. "Fixed weights" fits one scale for all
tiers, the others the weights as well.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.skill import SHARED, Floats, day, ground_on
from liqserver.calibrate import distance_tiers, fit_weights, responses
from liqserver.calibrate.weights import PRIOR_SPREAD
from liqserver.live.scorecard import Ground
from liqserver.models.market import Market
from liqserver.models.parameters import Parameters, Tier, with_hazards
from liqserver.models.position_book import DEFAULTS
from liqserver.score import log_amount

BLOCKS, MARGIN = 6, 24
# Standard deviation of log weights around those of the prior: as calibrations have it, and next to none.
FREE, FIXED = PRIOR_SPREAD, 1e-3
BY_DISTANCE = (0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.065, 0.08, 0.1, 0.13, 0.2)


def tiered(leverages: Iterable[float], exponent: float) -> Parameters:
    """Return the defaults with other tiers: weights by a power of leverage."""
    return replace(DEFAULTS, tiers=tuple(Tier(leverage, leverage**exponent) for leverage in leverages))


def variations(market: Market) -> dict[str, tuple[Parameters, float]]:
    """Return parameters and spread of weights by name."""
    own = [tier.leverage for tier in DEFAULTS.tiers or ()]
    by_distance = distance_tiers(BY_DISTANCE, DEFAULTS, market.brackets[-1]).tolist()
    fine = distance_tiers(np.exp(np.linspace(np.log(0.002), np.log(0.25), 24)).tolist(), DEFAULTS, market.brackets[-1])
    out: dict[str, tuple[Parameters, float]] = {"defaults, fixed weights": (DEFAULTS, FIXED)}
    for exponent in (0.0, -0.5, -1.0, -1.5, -2.0):
        out[f"fixed weights L^{exponent:g}"] = (tiered(own, exponent), FIXED)
    out["defaults, fitted weights"] = (DEFAULTS, FREE)
    for tilt in (0.0, 0.1, 0.2, 0.3, 0.4):
        out[f"trend tilt {tilt:g}"] = (replace(DEFAULTS, trend_tilt=tilt), FREE)
    for kappa in (0.1, 0.3, 0.6, 1.0):
        out[f"kappa {kappa:g}"] = (replace(DEFAULTS, kappa=kappa), FREE)
    for exponent, like in ((0.7, 4.0), (0.7, 16.0), (0.0, 8.0), (0.5, 8.0), (1.0, 8.0), (1.0, 16.0)):
        given = replace(DEFAULTS, hazard_exponent=exponent, no_level_hazard=like**exponent)
        out[f"hazard (L/{like:g})^{exponent:g}"] = (given, FREE)
    out["without 150x and 125x"] = (tiered(own[2:], -1.25), FREE)
    out["14 tiers by distance"] = (tiered(by_distance, -1.25), FREE)
    out["24 tiers by distance"] = (tiered(fine.tolist(), -1.25), FREE)
    for spread in (0.1, 0.25, 1.0, 2.0):
        out[f"spread of weights {spread:g}"] = (DEFAULTS, spread)
    return out


def respond(market: Market, ground: Ground, given: Parameters) -> tuple[Floats, Floats]:
    """Return the responses of tiers, shape (2, N, T), and their weights beforehand."""
    given = with_hazards(given)
    base, free = float(given.no_level_hazard or 1.0), float(given.no_level_weight or 0.0)
    tiers = tuple(replace(tier, hazard=float(tier.hazard or 1.0) / base) for tier in given.tiers or ())
    weight = np.array([tier.weight for tier in tiers])
    at = ground.open_time[ground.open_time < ground.cut]
    return responses(market, replace(given, tiers=tiers), at, ground.period), weight / (weight.sum() + free)


def cross_validated(response: Floats, prior: Floats, ground: Ground, spread: float) -> Floats:
    """Return R² of the map alone and gain over the controls of longs, then of shorts, out of the blocks fitted on."""
    count = response.shape[1]
    real = ground.real[:, :count]
    use = np.isfinite(real).all(axis=0) & np.isfinite(response).all(axis=(0, 2))
    error = np.zeros((2, 4))
    for block in np.array_split(np.flatnonzero(use), BLOCKS):
        scored = np.zeros(count, dtype=bool)
        scored[block] = True
        fitted = use.copy()
        fitted[max(block[0] - MARGIN, 0) : block[-1] + MARGIN + 1] = False
        weight = fit_weights(response[:, fitted], real[:, fitted], prior, spread=spread).weight
        for side in range(2):
            x, y, controls = log_amount(response[side] @ weight), log_amount(real[side]), ground.controls[side][:count]
            designs = (np.column_stack([np.ones(len(x)), x]), np.column_stack([controls, x]), controls)
            for i, design in enumerate(designs):
                beta = np.linalg.lstsq(design[fitted], y[fitted], rcond=None)[0]
                error[side, i] += np.square(y[scored] - design[scored] @ beta).sum()
            error[side, 3] += np.square(y[scored] - y[fitted].mean()).sum()
    alone, gain = 1 - error[:, 0] / error[:, 3], (error[:, 2] - error[:, 1]) / error[:, 3]
    return np.stack([alone, gain], axis=1).ravel()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=SHARED / "binance-btc-2025-12", help="folder of archive files")
    parser.add_argument("--symbol", default="BTCUSDT")
    parser.add_argument("--cut", type=day, default=day("2026-01-20"), help="nothing from this day on is looked at")
    given = parser.parse_args()
    with ground_on(given.data, given.symbol, None, given.cut) as ground:
        history = ground.market.history
        market = replace(ground.market, history=history.until(given.cut))
    print(f"{'choice':<28}{'longs: R² alone':>16}{'gain':>8}{'shorts: R² alone':>19}{'gain':>8}")
    for name, (parameters, spread) in variations(market).items():
        response, prior = respond(market, ground, parameters)
        figures = cross_validated(response, prior, ground, spread)
        print(f"{name:<28}{figures[0]:>16.3f}{figures[1]:>+8.3f}{figures[2]:>19.3f}{figures[3]:>+8.3f}", flush=True)


if __name__ == "__main__":
    main()
