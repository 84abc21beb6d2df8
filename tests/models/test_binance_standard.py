from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings

from liqserver.margin import Side, isolated_liquidation_price
from liqserver.margin.brackets import midnight
from liqserver.models import binance_standard
from liqserver.models.market import Market
from liqserver.models.parameters import Compat, MarginFormula, ParameterError, Parameters, Tier
from liqserver.models.registry import MODELS
from liqserver.models.selection import MissingDetail
from tests.kernel.markets import MINUTE
from tests.models.markets import (
    BTC,
    DAY,
    START,
    GivenDetails,
    amounts,
    ask,
    cut,
    ends,
    grows,
    market,
    markets,
    sized_flow,
    trades,
)

NOW = START + 3 * MINUTE
TWO = (Tier(10.0, 1.0), Tier(50.0, 3.0))


def flat(details: GivenDetails, oi: float = 100.0, price: float = 50_000.0, **given_market: object) -> Market:
    """Three minutes at one price with open interest and trades."""
    steps: list[dict[str, object]] = [{"close": price, "oi": oi, "flow": [(price, 1.0, 1.0)]} for _ in range(3)]
    return market(steps, details, **given_market)  # type: ignore[arg-type]


def test_at_two_trades_each_is_divided_over_the_tiers_at_its_exact_levels() -> None:
    # First bracket (0.4 %, no maintenance amount), 10x and 50x with a quarter and three quarters.
    # Buy 3 at 50 000:  50 000 * 0.9 / 0.996 = 45 180.7     50 000 * 0.98 / 0.996 = 49 196.8
    # Sell 2 at 50 100: 50 100 * 1.1 / 1.004 = 54 890.4     50 100 * 1.02 / 1.004 = 50 898.4
    of = flat(GivenDetails(given_trades=trades([(NOW, 50_000.0, 3.0, True), (NOW, 50_100.0, 2.0, False)])))
    levels = ask("binance_standard", of, NOW, tiers=TWO)
    assert amounts(levels) == pytest.approx(
        {
            ("long", 10.0, 45_180.0): 0.75,
            ("long", 50.0, 49_190.0): 2.25,
            ("short", 10.0, 54_890.0): 0.5,
            ("short", 50.0, 50_890.0): 1.5,
        }
    )
    assert levels.bracket_table == "BINANCE:BTCUSDT:2025-08-21"
    assert levels.open_interest == 100.0
    assert (levels.no_level.tolist(), levels.unknown_entry.tolist()) == ([0, 0], [0, 0])


def test_at_notional_of_the_trade_decides_its_bracket() -> None:
    # 1 000 000 is in the bracket of 0.65 % with amount 1 500: 50 000 * (0.9 - 0.0015) / 0.9935 = 45 218.9.
    of = flat(GivenDetails(given_trades=trades([(NOW, 50_000.0, 20.0, True)])))
    assert amounts(ask("binance_standard", of, NOW, tiers=(Tier(10.0, 1.0),))) == {("long", 10.0, 45_210.0): 20.0}


def test_at_trade_larger_than_its_leverage_allows_counts_as_positions_that_are_allowed() -> None:
    # 100x allows 800 000: 100 000 000 at once must have been several positions, each at most that large.
    of = flat(GivenDetails(given_trades=trades([(NOW, 50_000.0, 2_000.0, True)])))
    ((_, _, level),) = amounts(ask("binance_standard", of, NOW, tiers=(Tier(100.0, 1.0),)))
    expected = isolated_liquidation_price(Side.LONG, 50_000.0, 100.0, 800_000.0, BTC[-1])
    assert level == expected // 10 * 10


def test_at_levels_on_the_wrong_side_of_the_price_are_left_out() -> None:
    # Sell at 49 000, price 50 000: 50x at 49 000 * 1.02 / 1.004 = 49 780.9 is below, 10x at 53 685.3 above.
    of = flat(GivenDetails(given_trades=trades([(NOW, 49_000.0, 4.0, False)])))
    assert amounts(ask("binance_standard", of, NOW, tiers=TWO)) == {("short", 10.0, 53_680.0): 1.0}


def test_at_brackets_in_force_at_the_moment_hold_for_earlier_entries_too() -> None:
    change = midnight("2024-05-30")
    old, new = next((a, b) for a, b in pairwise(BTC) if b.effective_from == change)
    steps: list[dict[str, object]] = [{"close": 50_000.0, "flow": [(50_000.0, 1.0, 1.0)]} for _ in range(6)]
    details = GivenDetails(given_trades=trades([(change - 2 * MINUTE, 50_000.0, 14.0, True)]))
    of = market(steps, details, start=change - 3 * MINUTE)
    chosen = MODELS["binance_standard"]
    timeline = chosen.timeline(of, chosen.resolve(Parameters(tiers=(Tier(10.0, 1.0),))))
    # Forth and back: what was computed with one table must not be served for the other.
    for ts, table in ((change - MINUTE, old), (change + MINUTE, new), (change - MINUTE, old)):
        levels = timeline.at(ts)
        expected = isolated_liquidation_price(Side.LONG, 50_000.0, 10.0, 700_000.0, table)
        assert amounts(levels) == {("long", 10.0, float(expected // 10 * 10)): 14.0}
        assert levels.bracket_table == table.table_id


def test_at_window_that_moves_answers_as_one_asked_anew() -> None:
    rng = np.random.default_rng(1)
    at = START + MINUTE * np.sort(rng.integers(1, 200, size=300))
    rows = [(int(ts), *map(float, rng.uniform([49e3, 3], [51e3, 90])), bool(rng.random() < 0.5)) for ts in at]
    steps: list[dict[str, object]] = [{"close": 50_000.0, "flow": [(50_000.0, 1.0, 1.0)]} for _ in range(200)]
    of = market(steps, GivenDetails(given_trades=trades(rows)))
    chosen = MODELS["binance_standard"]
    parameters = chosen.resolve(Parameters(lookback=40 * MINUTE))
    timeline = chosen.timeline(of, parameters)
    for minute in (100, 110, 112, 90, 60, 190, 10, 200, 195):
        ts = START + minute * MINUTE
        assert timeline.at(ts).qty.tobytes() == chosen.timeline(of, parameters).at(ts).qty.tobytes()


def test_at_whale_threshold_and_lookback_choose_the_trades() -> None:
    rows = [(START + MINUTE, 50_000.0, 2.0, True), (NOW, 50_000.0, 4.0, True), (NOW, 50_000.0, 10.0, True)]
    of = flat(GivenDetails(given_trades=trades(rows)))

    def total(**given_parameters: object) -> float:
        return float(ask("binance_standard", of, NOW, **given_parameters).qty.sum())

    assert total() == pytest.approx(16.0)
    assert total(whale_threshold=200_000.0) == pytest.approx(14.0)
    assert total(whale_threshold=200_000.01) == pytest.approx(10.0)
    # (now - 2 minutes, now]: the first minute's end is just outside.
    assert total(lookback=2 * MINUTE) == pytest.approx(14.0)
    assert total(lookback=2 * MINUTE + 1) == pytest.approx(16.0)


def test_at_threshold_below_single_trades_takes_whole_size_classes() -> None:
    # 3 contracts in 6 trades of 25 000 (class 2), 0.1 in one of 5 000 (class 1), and what is kept singly (class 3).
    flow = sized_flow(
        [
            (NOW, 50_000.0, 0.1, 1, 1, True),
            (NOW, 50_000.0, 3.0, 6, 2, True),
            (NOW, 50_000.0, 4.0, 1, 3, True),
        ]
    )
    of = flat(GivenDetails(given_trades=trades([(NOW, 50_000.0, 4.0, True)]), given_flow=flow))
    totals = [
        float(ask("binance_standard", of, NOW, whale_threshold=threshold).qty.sum())
        for threshold in (100_000.0, 10_000.0, 1_000.0)
    ]
    assert totals == pytest.approx([4.0, 7.0, 7.1])


@pytest.mark.parametrize("threshold", [5_000.0, 99_999.0, -1.0, float("nan"), 1e13])
def test_resolve_threshold_that_nothing_separates_is_refused(threshold: float) -> None:
    with pytest.raises(ParameterError, match=r"whale_threshold was .*1000, 10000 .*by size class.*100000"):
        MODELS["binance_standard"].resolve(Parameters(whale_threshold=threshold))


@pytest.mark.parametrize(("oi", "mmr"), [(100.0, 0.01), (100_000.0, 0.5)])
def test_at_original_looks_brackets_up_with_all_of_open_interest(oi: float, mmr: float) -> None:
    # 100 * 50 000 = 5 million: 1 %. 100 000 * 50 000 = 5 billion: beyond the last cap, 50 %.
    # 10x: 50 000 * (1 - 0.99 / 10) = 45 050, 50 000 * (1 - 0.5 / 10) = 47 500.
    of = flat(GivenDetails(given_trades=trades([(NOW, 50_000.0, 3.0, True), (NOW, 50_000.0, 3.0, False)])), oi)
    levels = ask("binance_standard", of, NOW, tiers=(Tier(10.0, 1.0),), compat=Compat.ORIGINAL)
    distance = 5_000 * (1 - mmr)
    assert amounts(levels) == {("long", 10.0, 50_000 - distance): 3.0, ("short", 10.0, 50_000 + distance): 3.0}


def test_at_original_without_open_interest_or_brackets_says_what_is_missing() -> None:
    details = GivenDetails(given_trades=trades([(NOW, 50_000.0, 3.0, True)]))
    with pytest.raises(MissingDetail, match="needs open interest") as caught:
        ask("binance_standard", flat(details, float("nan")), NOW, compat=Compat.ORIGINAL)
    assert caught.value.what == "open_interest"
    with pytest.raises(MissingDetail, match="need a bracket table") as caught:
        ask("binance_standard", flat(details, tables=()), NOW, compat=Compat.ORIGINAL)
    assert caught.value.what == "brackets"


def test_at_without_trades_refuses_and_makes_none_up() -> None:
    of = market([{"close": 50_000.0, "oi": 100.0}, {"close": 50_000.0, "oi": 100.0}])
    with pytest.raises(MissingDetail, match="needs trades and none of BINANCE:BTCUSDT are known") as caught:
        ask("binance_standard", of, START + 2 * MINUTE)
    assert caught.value.what == "trades"


def test_at_trades_but_none_as_large_is_an_empty_answer() -> None:
    levels = ask("binance_standard", flat(GivenDetails()), NOW)
    assert levels.qty.shape == (2, 5, 0)


def test_at_without_open_interest_says_that_it_is_not_known() -> None:
    of = flat(GivenDetails(given_trades=trades([(NOW, 50_000.0, 3.0, True)])), float("nan"))
    assert np.isnan(ask("binance_standard", of, NOW).open_interest)


def test_at_leverage_that_is_liquidated_at_its_entry_is_refused() -> None:
    of = flat(GivenDetails(given_trades=trades([(NOW, 50_000.0, 3.0, True)])))
    with pytest.raises(ParameterError, match=r"tiers was 400x, but by .* liquidated at its entry"):
        ask("binance_standard", of, NOW, tiers=(Tier(400.0, 1.0),))


def test_resolve_formula_with_original_is_refused() -> None:
    with pytest.raises(ParameterError, match="margin_formula was exact, but binance_standard has no use for it with"):
        MODELS["binance_standard"].resolve(Parameters(margin_formula=MarginFormula.EXACT, compat=Compat.ORIGINAL))


@given(markets())
@settings(max_examples=40, deadline=None)
def test_at_longer_lookback_or_lower_threshold_never_loses_what_is_left(of: Market) -> None:
    for ts in ends(of):
        short, long, lower = (
            ask("binance_standard", of, ts, **given_parameters)
            for given_parameters in (
                {"lookback": 20 * MINUTE, "whale_threshold": 1e6},
                {"lookback": DAY, "whale_threshold": 1e6},
                {"lookback": DAY},
            )
        )
        assert grows(short, long)
        assert grows(long, lower)


@given(markets())
@settings(max_examples=30, deadline=None)
def test_at_every_entry_is_shown_at_most_once(of: Market) -> None:
    ts = ends(of)[-1]
    known = cut(of, ts).details.large_trades()
    held = ask("binance_standard", of, ts).qty.sum(axis=(1, 2))
    for side, taker in enumerate((known.taker_buy, ~known.taker_buy)):
        assert held[side] <= known.qty[taker].sum() * (1 + 1e-9)


def test_defaults_are_equal_shares_of_five_tiers() -> None:
    assert [(tier.leverage, tier.weight) for tier in binance_standard.DEFAULTS.tiers or ()] == [
        (leverage, 1.0) for leverage in (5.0, 10.0, 25.0, 50.0, 100.0)
    ]
