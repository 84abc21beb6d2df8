"""Calibrating a book on liquidations that a book of known weights made."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liqserver.calibrate import (
    Evidence,
    NotEnoughData,
    calibrate,
    calibrate_best,
    distance_tiers,
    gather,
    gather_all,
    responses,
)
from liqserver.calibrate.book import book_parameters
from liqserver.kernel import History
from liqserver.margin import BracketTable, Side, builtin_tables, isolated_liquidation_price
from liqserver.margin.brackets import midnight
from liqserver.models.market import Market
from liqserver.models.parameters import Parameters, with_hazards
from liqserver.models.position_book import DEFAULTS, begin, drive, epochs, tier_ratios
from tests.models.markets import GivenDetails

BTC = tuple(table for table in builtin_tables() if table.symbol == "BTCUSDT")
HOUR, STEP = 3_600_000_000_000, 300_000_000_000
START = midnight("2025-09-01")
DAYS = 35
HOURS = START + HOUR * np.arange(DAYS * 24, dtype=np.int64)
CUT = START + 28 * 24 * HOUR


@cache
def walk(seed: int = 5, *, shock_after: int = DAYS * 288) -> Market:
    """Return a market of five-minute candles; from a step on, another one."""
    rng = np.random.default_rng(seed)
    n = DAYS * 288
    moves = rng.standard_t(4, n) * 0.0012
    moves[shock_after:] *= -2
    close = 90_000 * np.exp(np.cumsum(moves))
    before = np.concatenate([[90_000.0], close[:-1]])
    low = np.minimum(before, close) * (1 - np.abs(rng.normal(0, 3e-4, n)))
    high = np.maximum(before, close) * (1 + np.abs(rng.normal(0, 3e-4, n)))
    part = (np.arange(8) + 0.5) / 8
    price = low[:, None] + (high - low)[:, None] * part
    flow = rng.lognormal(4, 0.8, n) / 16
    history = History(
        step_end=START + STEP * np.arange(1, n + 1, dtype=np.int64),
        mark_low=low,
        mark_high=high,
        mark_close=close,
        path_source=np.full(n, 3, dtype=np.uint8),
        # Every quarter of an hour, from five minutes past on: hours end between two rows.
        open_interest=np.where(np.arange(n) % 3 == 0, 90_000 + np.cumsum(rng.normal(0, 10, n)), np.nan),
        funding_rate=np.zeros(n),
        flow_offset=np.arange(n + 1, dtype=np.int64) * 8,
        flow_price=price.ravel(),
        flow_buy=np.repeat(flow, 8),
        flow_sell=np.repeat(flow, 8),
        flow_source=np.full(n, 3, dtype=np.uint8),
    )
    return Market("BINANCE", "BTCUSDT", 0.1, "built in", 10.0, history, BTC, GivenDetails())


def liquidated(market: Market, parameters: Parameters) -> np.ndarray:
    """Return notional by side and hour."""
    history = market.history
    steps = epochs(parameters, market.brackets)
    book, start = begin(history, steps, market.base_bin)
    rows = drive(book, history, steps, start, len(history), audit=True)
    out = np.zeros((2, len(HOURS)))
    hour = (history.step_end[start:] - 1 - START) // HOUR
    for side in range(2):
        np.add.at(out[side], hour, rows[:, 4 + side] * history.mark_close[start:])
    return out


PRIOR = with_hazards(replace(DEFAULTS, no_level_hazard=1.0))
TIERS = len(PRIOR.tiers or ())
SHARE = np.array([tier.weight for tier in PRIOR.tiers or ()])
SHARE = SHARE / (SHARE.sum() + 6.7)


def known(weights: np.ndarray) -> Parameters:
    return book_parameters(PRIOR, weights)


@cache
def everything() -> Evidence:
    """Return the evidence of the usual walk, up to its end."""
    return gather(walk(), HOURS, HOUR, int(walk().history.step_end[-1]))


@cache
def every_way() -> tuple[Evidence, ...]:
    return gather_all(walk(), HOURS, HOUR, int(walk().history.step_end[-1]))


@cache
def liquidated_by_prior() -> np.ndarray:
    return liquidated(walk(), known(SHARE)) * np.random.default_rng(9).lognormal(0, 0.5, (2, len(HOURS)))


def test_distance_tiers_are_liquidated_at_that_distance() -> None:
    leverage = distance_tiers([0.01, 0.1], DEFAULTS, BTC[-1])
    for at, distance in zip(leverage, (0.01, 0.1), strict=True):
        price = isolated_liquidation_price(Side.LONG, 50_000.0, at, 10_000.0, BTC[-1])
        assert float(price) == pytest.approx(50_000 * (1 - distance))


def test_tiers_above_the_highest_leverage_shrink_in_proportion() -> None:
    # Highest leverage 20, maintenance margin 2.5 %: a 20x long is liquidated at (1 - 0.05) / (1 - 0.025).
    table = BracketTable.from_tiers("BINANCE", "ALTUSDT", midnight("2025-01-01"), "test", [(1e6, 0.025, 20.0)])
    ratio = tier_ratios(Side.LONG, np.array([20.0, 40.0, 140.0]), DEFAULTS, table)
    away = 1 - 0.95 / 0.975
    assert 1 - ratio == pytest.approx([away, away / 2, away / 7])
    distances = [0.003, 0.01, 0.1, 0.2]
    tiers = distance_tiers(distances, DEFAULTS, table)
    assert 1 - tier_ratios(Side.LONG, tiers, DEFAULTS, table) == pytest.approx(distances)


def test_responses_times_weights_are_what_the_book_liquidates() -> None:
    market = walk()
    weights = np.linspace(0.5, 1.5, TIERS) * 1e-3
    mix = known(weights)
    alone = replace(mix, tiers=tuple(replace(tier, weight=1.0) for tier in mix.tiers or ()))
    response = responses(market, alone, HOURS, HOUR)
    usable = np.isfinite(response).all(axis=(0, 2))
    assert usable.sum() >= len(HOURS) - 1
    predicted, got = (response @ weights)[:, usable], liquidated(market, mix)[:, usable]
    np.testing.assert_allclose(predicted.sum(), got.sum(), rtol=0.01)
    assert np.corrcoef(predicted.ravel(), got.ravel())[0, 1] > 0.9999


def test_calibrate_finds_the_weights_of_a_known_book() -> None:
    market = walk()
    true = SHARE.copy()
    true[[0, 3, 5]] *= 5
    real = liquidated(market, known(true)) * np.random.default_rng(1).lognormal(0, 0.2, (2, len(HOURS)))
    found = calibrate(market, HOURS, HOUR, real, CUT, prior=PRIOR)
    # Three weeks of hours, less the one that begins before the week of warm-up is over (the first step ends at 00:05),
    # less the last, which ends after the newest open interest.
    assert found.intervals == 21 * 24 - 2
    assert found.fit.r2.min() > 0.97
    # The prior pulls; how much has a level at all is biased under noise, the shape is not.
    error, prior = np.log(found.fit.weight / true), np.log(SHARE / true)
    assert np.var(error) < 0.4 * np.var(prior)
    assert {int(i) for i in np.argsort(found.fit.weight / SHARE)[-3:]} == {0, 3, 5}


def test_calibrate_looks_at_nothing_after_the_cut() -> None:
    market, other = walk(), walk(shock_after=28 * 288)
    real = liquidated(market, known(SHARE))
    changed = real.copy()
    changed[:, 28 * 24 :] *= 50
    first, second = calibrate(market, HOURS, HOUR, real, CUT), calibrate(other, HOURS, HOUR, changed, CUT)
    assert first.parameters == second.parameters
    assert first.intervals == second.intervals


@settings(max_examples=8)
@given(st.integers(22 * 24 * 60, DAYS * 24 * 60))
def test_calibration_at_any_moment_equals_one_from_what_was_there_by_then(minutes: int) -> None:
    cut = START + minutes * 60_000_000_000
    market = walk()
    real = liquidated_by_prior()
    # All at once, up to the end, against a market and a record that end at the cut.
    whole = calibrate_best(every_way(), real, cut)
    ended = replace(market, history=market.history.until(cut))
    then = calibrate(ended, HOURS, HOUR, np.where(cut >= HOURS + HOUR, real, np.nan), cut)
    assert whole.parameters == then.parameters
    assert (whole.intervals, whole.start, whole.end) == (then.intervals, then.start, then.end)
    assert whole.end <= cut
    for name in ("weight", "covariance", "r2"):
        np.testing.assert_array_equal(getattr(whole.fit, name), getattr(then.fit, name))
    for name in ("centre", "width", "reach", "quantiles", "scale"):
        np.testing.assert_array_equal(getattr(whole.scatter, name), getattr(then.scatter, name))


def test_bands_cover_what_comes_after_and_weights_are_known_better_with_more_data() -> None:
    market = walk()
    rng = np.random.default_rng(4)
    real = 3 * liquidated(market, known(SHARE)) * rng.lognormal(0, 0.7, (2, len(HOURS)))
    evidence = everything()
    found = evidence.calibrate(real, CUT)
    later = HOURS >= CUT
    predicted = (evidence.response @ found.fit.weight)[:, later]
    low, high = found.scatter.band(predicted, 0.9)
    assert np.mean((real[:, later] >= low) & (real[:, later] <= high)) == pytest.approx(0.9, abs=0.05)
    # The level that fits best is not that of the totals: bands are of the record, and the scale leads back.
    assert (found.scatter.scale * predicted.sum(axis=1) / real[:, later].sum(axis=1)) == pytest.approx([1, 1], abs=0.3)
    less = evidence.calibrate(real, START + 22 * 24 * HOUR)
    assert found.fit.spread[0] < less.fit.spread[0]
    # What raises all weights alike does not change the shape.
    assert np.all(np.linalg.eigvalsh(found.shape_covariance) > -1e-12)


@pytest.mark.parametrize(("exponent", "found"), [(0.3, {0.3, 0.5}), (0.7, {0.7})])
def test_another_speed_of_closing_is_taken_where_the_record_is_plain(exponent: float, found: set[float]) -> None:
    market = walk()
    like = replace(DEFAULTS, hazard_exponent=exponent, no_level_hazard=8.0**exponent)
    true = book_parameters(with_hazards(like), SHARE)
    real = liquidated(market, true) * np.random.default_rng(3).lognormal(0, 0.3, (2, len(HOURS)))
    best = calibrate_best(every_way(), real, CUT)
    assert best.parameters.hazard_exponent in found
    for tier in best.parameters.tiers or ():
        assert tier.hazard == pytest.approx(tier.leverage ** float(best.parameters.hazard_exponent or 0))


def test_hazards_that_are_written_out_stay() -> None:
    assert len(every_way()) == 4
    assert len(gather_all(walk(), HOURS[:1], HOUR, CUT, prior=PRIOR)) == 1
    assert len(gather_all(walk(), HOURS[:1], HOUR, CUT, prior=replace(DEFAULTS, hazard_exponent=0.0))) == 1


def test_calibrate_refuses_a_side_that_does_not_vary() -> None:
    market = walk()
    real = liquidated_by_prior()
    with pytest.raises(NotEnoughData, match="of shorts do not vary"):
        calibrate(market, HOURS, HOUR, np.stack([real[0], np.zeros(len(HOURS))]), CUT)


def test_calibrate_refuses_too_little_data() -> None:
    market = walk()
    real = np.full((2, len(HOURS)), np.nan)
    real[:, 200:400] = 1e5
    with pytest.raises(NotEnoughData, match="200 intervals"):
        calibrate(market, HOURS, HOUR, real, CUT)


def test_defaults_have_as_much_of_openings_with_a_level_as_they_say() -> None:
    given = with_hazards(DEFAULTS)
    share = sum(tier.weight for tier in given.tiers or ())
    assert share / (share + float(given.no_level_weight or 0)) == pytest.approx(0.07, rel=0.01)
