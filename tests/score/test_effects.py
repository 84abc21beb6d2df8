"""Tests of what levels do to price, on prices of which it is known."""

import numpy as np
import pytest

from liqserver.score.effects import BANDS, bands_around, impact, in_bands, magnet, moved_usually, usual_move

HOUR = 3_600_000_000_000
DAYS = 60


def path(drift: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Close, high and low of hours that move by ``drift`` and noise."""
    rng = np.random.default_rng(seed)
    moves = drift + 0.005 * rng.normal(size=len(drift))
    close = 100 * np.exp(np.cumsum(moves))
    start = np.concatenate([[100.0], close[:-1]])
    return close, np.maximum(start, close) * 1.0005, np.minimum(start, close) * 0.9995


def test_the_usual_move_is_that_of_the_week_before() -> None:
    close = 100 * np.exp(np.cumsum(np.where(np.arange(400) % 2, 0.01, -0.01)))
    usual = usual_move(close, 4)
    assert np.isnan(usual[:168]).all()
    assert usual[200] == pytest.approx(0.02)
    # Nothing of the interval itself is in what is known at its start.
    assert moved_usually(close, HOUR)[200] == pytest.approx(0.01 * np.sqrt(6))
    changed = close.copy()
    changed[200:] *= 2
    assert moved_usually(changed, HOUR)[200] == moved_usually(close, HOUR)[200]


def test_levels_in_bands() -> None:
    edges = bands_around(100.0, 0.1)
    assert edges[1] == pytest.approx(100 * np.exp(0.1 * np.array(BANDS)))
    price = np.array([80.0, 89.0, 96.0, 99.0, 101.0, 104.0, 112.0, 130.0])
    notional = np.stack([2.0 ** np.arange(8), 3.0 ** np.arange(8)])
    held = in_bands(price, notional, edges)
    # Below: 97.5 to 95.1, to 90.5, to 86.1, to 81.9; above: 102.5 to 105.1, to 110.5, to 116.2, to 122.1.
    assert held.tolist() == [[4.0, 0.0, 2.0, 0.0], [3.0**5, 0.0, 3.0**6, 0.0]]


def masses(seed: int) -> np.ndarray:
    """Mass in bands below and above at each hour, one pull a day."""
    rng = np.random.default_rng(seed)
    held = rng.uniform(0.5, 1.5, size=(DAYS * 24, 2, len(BANDS) - 1))
    pull = np.repeat(rng.uniform(-1, 1, size=DAYS), 24)
    held[:, 1] *= 1 + 0.9 * pull[:, None]
    held[:, 0] *= 1 - 0.9 * pull[:, None]
    return held


def test_a_price_that_is_drawn_is_seen_to_be_and_one_that_is_not_is_not() -> None:
    open_time = np.arange(DAYS * 24) * HOUR
    held = masses(3)
    pull = (held[:, 1] - held[:, 0]).sum(axis=1) / held.sum(axis=(1, 2))
    close, high, low = path(0.004 * pull)
    drawn = magnet(open_time, close, high, low, held, HOUR)
    assert drawn.estimate is not None
    assert drawn.estimate.low > 0.2
    assert drawn.days == DAYS - 7
    # The last moments of a day, whose horizon ends in the next, are left out.
    assert drawn.observations == (DAYS - 7) * 19 - 1
    close, high, low = path(np.zeros(len(pull)), seed=1)
    free = magnet(open_time, close, high, low, held, HOUR)
    assert free.estimate is not None
    assert free.estimate.low < 0 < free.estimate.high


def test_what_price_did_before_is_no_magnet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Price goes on and the side it goes to is dense, which has one cause: the day before."""
    count = 2 * DAYS * 24
    open_time = np.arange(count) * HOUR
    rng = np.random.default_rng(2)
    level = np.zeros(count + 1)
    for i in range(count):
        level[i + 1] = level[i] + 0.01 * np.tanh(30 * (level[i] - level[max(i - 24, 0)])) / 3 + 0.005 * rng.normal()
    close = 100 * np.exp(level[1:])
    start = 100 * np.exp(level[:-1])
    high, low = np.maximum(start, close), np.minimum(start, close)
    before = level[:-1] - level[np.maximum(np.arange(count) - 24, 0)]
    held = rng.uniform(0.5, 1.5, size=(count, 2, len(BANDS) - 1))
    held[:, 1] *= np.exp(20 * before)[:, None]
    effect = magnet(open_time, close, high, low, held, HOUR)
    assert effect.estimate is not None
    assert effect.estimate.low < 0 < effect.estimate.high
    # Without moves before as controls it looks like one.
    monkeypatch.setattr("liqserver.score.effects._BEFORE", ())
    naive = magnet(open_time, close, high, low, held, HOUR)
    assert naive.estimate is not None
    assert naive.estimate.low > 0


@pytest.mark.parametrize(("push", "low", "high"), [(0.002, 10, 30), (0.0, -8, 8)])
def test_price_that_goes_on_after_forced_trades(push: float, low: float, high: float) -> None:
    count = DAYS * 24
    rng = np.random.default_rng(7)
    predicted = np.where(rng.random((2, count)) < 0.2, 990_000.0, 0.0)
    tenfolds = 2 * ((predicted[1] > 0).astype(float) - (predicted[0] > 0))
    drift = np.concatenate([[0.0], push * tenfolds[:-1]])
    close, highs, lows = path(drift, seed=4)
    effect = impact(np.arange(count) * HOUR, close, highs, lows, predicted, HOUR)
    assert effect.estimate is not None
    assert low < effect.estimate.value < high
    assert (effect.estimate.low > 0) is (push > 0)


def test_too_little_gives_no_estimate() -> None:
    count = 17 * 24
    close, high, low = path(np.zeros(count))
    held = np.ones((count, 2, len(BANDS) - 1))
    held[:, 0] = np.linspace(0.5, 1.5, count)[:, None]
    few = magnet(np.arange(count) * HOUR, close, high, low, held, HOUR)
    assert few.estimate is None
    assert few.refused.startswith("not enough data: 1")
    none = magnet(np.arange(count) * HOUR, close, high, low, np.full_like(held, np.nan), HOUR)
    assert none.refused == "not enough data: no moment has levels on both sides"
    count = DAYS * 24
    close, high, low = path(np.zeros(count))
    same = impact(np.arange(count) * HOUR, close, high, low, np.zeros((2, count)), HOUR)
    assert same.refused == "the levels never differ from one moment to the next"
