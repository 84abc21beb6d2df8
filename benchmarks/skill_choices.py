"""How the defaults of the position book were chosen: on the part before the cut alone, by cross-validation.

    python -m benchmarks.skill_choices [--data FOLDER] [--symbol SYMBOL] [--cut DATE]

The hours before the cut are split into six blocks. Each block is scored with weights and regressions fitted on the
other five (a day on either side of it is left out). Each row changes one choice; "equal" fits one scale for all tiers
instead of their weights.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.skill import HOUR, MINUTE, SHARED, Floats, Truth, day, ingested, read_truth, stored_candles
from benchmarks.skill import stored_market as read_market
from liqserver.calibrate import DISTANCES, distance_tiers, fit_weights, responses
from liqserver.models.market import Market
from liqserver.models.parameters import Parameters, Tier
from liqserver.models.position_book import DEFAULTS
from liqserver.score import HISTORY, log_amount

BLOCKS, MARGIN = 6, 24
RIDGE, EQUAL = 1e-3, 1e3
NEAR = (0.002, *DISTANCES)
FINE = tuple(np.exp(np.linspace(np.log(0.002), np.log(0.25), 24)).tolist())


def variations() -> dict[str, tuple[tuple[float, ...], float, float, Parameters, float]]:
    """Return distances, hazard at 10 %, exponent of the hazard, parameters and ridge by name; the first is the base."""
    base = (DISTANCES, 0.5, 1.0, DEFAULTS, RIDGE)
    out: dict[str, tuple[tuple[float, ...], float, float, Parameters, float]] = {"as calibrated": base}
    out["equal"] = (*base[:4], EQUAL)
    for tilt in (0.0, 0.1, 0.2, 0.3, 0.4):
        out[f"trend tilt {tilt:g}"] = (DISTANCES, 0.5, 1.0, replace(DEFAULTS, trend_tilt=tilt), RIDGE)
    for kappa in (0.1, 0.3, 0.6):
        out[f"kappa {kappa:g}"] = (DISTANCES, 0.5, 1.0, replace(DEFAULTS, kappa=kappa), RIDGE)
    for level, exponent in ((0.25, 1.0), (1.0, 1.0), (0.5, 0.5), (1.0, 0.5), (0.5, 0.0), (0.25, 1.5)):
        out[f"hazard {level:g}, exponent {exponent:g}"] = (DISTANCES, level, exponent, DEFAULTS, RIDGE)
    for name, distances in (("a tier at 0.2 % more", NEAR), ("no tier below 0.5 %", DISTANCES[1:]), ("24 tiers", FINE)):
        out[name] = (distances, 0.5, 1.0, DEFAULTS, RIDGE)
    for ridge in (1e-5, 1e-2, 1e-1):
        out[f"ridge {ridge:g}"] = (DISTANCES, 0.5, 1.0, DEFAULTS, ridge)
    return out


def respond(market: Market, truth: Truth, distances: tuple[float, ...], hazard: Floats, given: Parameters) -> Floats:
    """Return the responses of tiers at ``distances``, shape (2, N, T)."""
    leverage = distance_tiers(distances, given, market.brackets[-1])
    tiers = tuple(Tier(float(of), 1.0, float(rate)) for of, rate in zip(leverage, hazard, strict=True))
    return responses(market, replace(given, tiers=tiers), truth.hours.open_time, HOUR)


def cross_validated(response: Floats, truth: Truth, start: int, cut: int, ridge: float) -> Floats:
    """Return R² of the map alone and gain over the controls of longs, then of shorts, out of the blocks fitted on."""
    at, real = truth.hours.open_time, truth.liquidated
    use = np.isfinite(real).all(axis=0) & np.isfinite(response).all(axis=(0, 2)) & (at >= start) & (at < cut)
    error = np.zeros((2, 4))
    for block in np.array_split(np.flatnonzero(use), BLOCKS):
        scored = np.zeros(len(at), dtype=bool)
        scored[block] = True
        fitted = use.copy()
        fitted[max(block[0] - MARGIN, 0) : block[-1] + MARGIN + 1] = False
        prior = np.full(response.shape[2], 5e-4)
        weight = fit_weights(response[:, fitted], real[:, fitted], prior, ridge=ridge).weight
        for side in range(2):
            x, y, controls = log_amount(response[side] @ weight), log_amount(real[side]), truth.controls[side]
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
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder, "skill.duckdb")
        ingested(given.data, database)
        truth = read_truth(stored_candles(database, given.symbol), 5 * MINUTE, given.data / "liquidations_1h.csv")
        market = read_market(database, given.symbol)
    market = replace(market, history=market.history.slice(0, market.history.steps_until(given.cut)))
    start = int(truth.hours.open_time[0]) + HISTORY * HOUR
    print(f"{'choice':<28}{'longs: R² alone':>16}{'gain':>8}{'shorts: R² alone':>19}{'gain':>8}")
    for name, (distances, level, exponent, parameters, ridge) in variations().items():
        hazard = level * (0.1 / np.array(distances)) ** exponent
        response = respond(market, truth, distances, hazard, parameters)
        figures = cross_validated(response, truth, start, given.cut, ridge)
        print(f"{name:<28}{figures[0]:>16.3f}{figures[1]:>+8.3f}{figures[2]:>19.3f}{figures[3]:>+8.3f}", flush=True)


if __name__ == "__main__":
    main()
