"""Bands and weights on a real winter: what docs/accuracy.md says of them, with room to fail."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.calibration import BAND, HOUR, by_hour, default_weights, moment, stored
from liqserver.calibrate import Evidence, fit_weights, gather
from liqserver.score import log_amount
from liqserver.score.bands import band_coverage

CUT = moment("2026-01-20")


@pytest.fixture(scope="module")
def winter(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Evidence, np.ndarray, np.ndarray]:
    """What is known by hour, what was recorded, and falls of open interest by side of the move."""
    market, truth = stored(
        shared_data / "binance-btc-2025-12", tmp_path_factory.mktemp("winter") / "winter.duckdb", "BTCUSDT"
    )
    history, at = market.history, truth.open_time
    known = np.flatnonzero(~np.isnan(history.open_interest))
    fall = np.maximum(-np.diff(history.open_interest[known]), 0.0) * history.mark_close[known[1:]]
    move = np.diff(np.log(history.mark_close[known]))
    hour = (history.step_end[known[1:]] - 1 - at[0]) // HOUR
    inside = (hour >= 0) & (hour < len(at))
    falls = np.stack(
        [np.bincount(hour[inside], (fall * way)[inside], minlength=len(at)) for way in (move < 0, move > 0)]
    )
    return gather(market, at, HOUR, int(history.step_end[-1])), truth.liquidated, falls


def test_bands_from_before_the_cut_cover_what_was_recorded_after_it(
    winter: tuple[Evidence, np.ndarray, np.ndarray],
) -> None:
    evidence, real, _ = winter
    found = evidence.calibrate(real, CUT)
    predicted, variance = by_hour(found, evidence)
    after = (evidence.open_time >= CUT) & np.isfinite(predicted).all(axis=0)
    low, high = found.scatter.band(predicted[:, after], BAND, variance[:, after])
    for side in range(2):
        covered = band_coverage(evidence.open_time[after], low[side], high[side], real[side, after])
        assert covered is not None
        assert covered.scored > 700
        assert 0.85 <= covered.share.value <= 0.95
        # Of hours with little and with much predicted alike.
        y = real[side, after]
        for part in np.array_split(np.argsort(predicted[side, after]), 3):
            part = part[np.isfinite(y[part])]
            assert 0.83 < np.mean((y[part] >= low[side, part]) & (y[part] <= high[side, part])) < 0.98


def test_falls_of_open_interest_find_worse_weights_than_the_defaults(
    winter: tuple[Evidence, np.ndarray, np.ndarray],
) -> None:
    evidence, real, falls = winter
    use, prior = evidence.usable(real, CUT), default_weights()
    after = (evidence.open_time >= CUT) & np.isfinite(real).all(axis=0)

    def r(weight: np.ndarray) -> np.ndarray:
        x, y = log_amount(evidence.response @ weight)[:, after], log_amount(real[:, after])
        return np.array([np.corrcoef(x[side], y[side])[0, 1] for side in range(2)])

    recorded, fallen = (
        r(fit_weights(evidence.response[:, use], target[:, use], prior).weight) for target in (real, falls)
    )
    assert np.all(recorded > 0.9)
    assert np.all(recorded >= r(prior))
    assert np.all(r(prior) - fallen > 0.002)
