from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from liqserver.models.market import CANDLE_PERIOD, Market
from liqserver.models.openinterest import OpenInterestTimeline
from liqserver.models.parameters import Compat, MarginFormula, ParameterError, Parameters, Tier
from liqserver.models.registry import MODELS
from liqserver.models.selection import MissingDetail, Readings
from tests.kernel.markets import MINUTE
from tests.models.markets import DAY, START, GivenDetails, amounts, ask, candles, ends, market, markets, trades

TEN = (Tier(10.0, 1.0),)
SIMPLE = {"tiers": TEN, "margin_formula": MarginFormula.SIMPLIFIED}
ORIGINAL = {"tiers": TEN, "compat": Compat.ORIGINAL}

# (open interest at the end, open, close, quote volume)
Row = tuple[float, float, float, float]
FIRST: Row = (100.0, 50_000.0, 50_000.0, 7e6)
RISE: Row = (110.0, 49_900.0, 50_000.0, 1_000_000.0)
FALL: Row = (130.0, 50_000.0, 49_000.0, 490_000.0)


def made_of(
    rows: list[Row],
    path: dict[int, tuple[float, float]] | None = None,
    singles: list[tuple[int, float, float, bool]] | None = None,
) -> Market:
    """Five-minute candles and a step for each; ``path`` gives the mark price's range of single ones."""
    steps: list[dict[str, object]] = []
    for oi, _, close, _ in rows:
        steps += [{"low": close, "high": close, "close": close, "flow": [(close, 1.0, 1.0)]} for _ in range(5)]
        steps[-1]["oi"] = oi
    for minute, (low, high) in (path or {}).items():
        steps[minute] |= {"low": low, "high": high}
    bars = [
        (after(i + 1), opened, max(opened, close), min(opened, close), close, volume)
        for i, (_, opened, close, volume) in enumerate(rows)
    ]
    return market(steps, GivenDetails(given_candles=candles(bars), given_trades=trades(singles or [])))


def after(count: int) -> int:
    return START + count * CANDLE_PERIOD


def test_at_profile_of_rising_open_interest_is_scaled_to_open_interest() -> None:
    # 10x, simplified: long 50 000 * 0.9004 = 45 020, short 49 000 * 1.0996 = 53 880.4. Traded: 1 000 000 / 50 000
    # = 20 and 490 000 / 49 000 = 10 contracts; open interest 130: times 130 / 30.
    levels = ask("openinterest", made_of([FIRST, RISE, FALL]), after(3), **SIMPLE)
    assert amounts(levels) == pytest.approx(
        {("long", 10.0, 45_020.0): 20 * 130 / 30, ("short", 10.0, 53_880.0): 10 * 130 / 30}
    )
    assert levels.open_interest == 130.0


def test_at_exact_formula_takes_brackets() -> None:
    # First bracket: 50 000 * 0.9 / 0.996 = 45 180.7.
    levels = ask("openinterest", made_of([FIRST, RISE]), after(2), tiers=TEN)
    assert amounts(levels) == pytest.approx({("long", 10.0, 45_180.0): 110.0})
    assert levels.bracket_table == "BINANCE:BTCUSDT:2025-08-21"


def test_at_tiers_take_their_shares() -> None:
    levels = ask("openinterest", made_of([FIRST, RISE]), after(2))
    assert levels.qty.sum(axis=(0, 2)) == pytest.approx(110 * np.array([0.15, 0.3, 0.25, 0.2, 0.1]))


def test_at_falling_open_interest_and_dojis_open_nothing() -> None:
    falling = (90.0, 49_900.0, 50_000.0, 1e6)
    doji = (95.0, 50_000.0, 50_000.0, 1e6)
    levels = ask("openinterest", made_of([FIRST, falling, doji, (105.0, 49_900.0, 50_000.0, 1e6)]), after(4), **SIMPLE)
    assert sum(amounts(levels).values()) == pytest.approx(105.0)
    assert ask("openinterest", made_of([FIRST, falling, doji]), after(3), **SIMPLE).qty.shape == (2, 1, 0)


@pytest.mark.parametrize(
    ("minute", "low", "survives"),
    [
        (9, 45_000.0, True),  # inside the candle that opens at its close
        (10, 45_020.0, False),
        (10, 45_020.01, True),
        (12, 45_000.0, False),
        (15, 45_000.0, False),  # in the candle that has not ended
    ],
)
def test_at_levels_the_path_touched_since_entry_are_gone(minute: int, low: float, survives: bool) -> None:
    of = made_of([FIRST, RISE, FALL, (130.0, *FALL[1:])], {minute: (low, 50_000.0)})
    held = amounts(ask("openinterest", of, after(3) + MINUTE, **SIMPLE))
    long, short = ("long", 10.0, 45_020.0), ("short", 10.0, 53_880.0)
    expected = {long: 20 * 130 / 30, short: 10 * 130 / 30} if survives else {short: 130.0}
    assert held == pytest.approx(expected)


def test_at_original_keeps_levels_that_the_path_touched() -> None:
    # The second candle's rise is dated to the third: 1 000 000 at 50 000, scaled to 110 * 50 000.
    flat = (110.0, 50_000.0, 50_000.0, 1.0)
    of = made_of([FIRST, flat, RISE, flat], {17: (40_000.0, 50_000.0)})
    assert amounts(ask("openinterest", of, after(4), **ORIGINAL)) == pytest.approx({("long", 10.0, 45_020.0): 110.0})


def test_at_original_is_scaled_by_value_before_levels_are_taken_out() -> None:
    # Value: 100 * 50 000 = 5.0, 110 * 50 000 = 5.5, 100 * 49 000 = 4.9, 100 * 55 000 = 5.5, 100 * 50 600 = 5.06
    # million. Dated by a candle's open the rises belong to the candle after: the third (falling, 49 000, notional 3
    # million) and the fifth (falling, 50 600, 1 million). Entries floored to 500: 49 000 and 50 500. 10x at 0.4 %:
    # 49 000 * 1.0996 = 53 880.4, 50 500 * 1.0996 = 55 529.8. The price, 50 600, is below both; 4 million stand for
    # 5.06 million.
    rows = [
        FIRST,
        RISE,
        (100.0, 50_000.0, 49_000.0, 3_000_000.0),
        (100.0, 49_000.0, 55_000.0, 9_000_000.0),
        (100.0, 55_000.0, 50_600.0, 1_000_000.0),
    ]
    # The sweep to 54 000 in the fourth candle (its close is 55 000) is not looked at.
    levels = ask("openinterest", made_of(rows), after(5), **ORIGINAL)
    scale = 5.06 / 4
    assert amounts(levels) == pytest.approx(
        {
            ("short", 10.0, 53_880.0): 3e6 * scale / 49_000,
            ("short", 10.0, 55_520.0): 1e6 * scale / 50_500,
        }
    )
    # Higher, at 54 500, the first is on the wrong side: gone, and the other stays as it was relative to the value.
    rows[-1] = (100.0, 55_000.0, 54_500.0, 1_000_000.0)
    scale = 5.45 / 4
    # Entry 54 500 (a bin's edge): 54 500 * 1.0996 = 59 928.2.
    assert amounts(ask("openinterest", made_of(rows), after(5), **ORIGINAL)) == pytest.approx(
        {("short", 10.0, 59_920.0): 1e6 * scale / 54_500}
    )


@pytest.mark.parametrize(("days", "entry"), [(7, 49_800.0), (30, 49_500.0), (90, 49_500.0)])
def test_at_original_floors_entries_to_the_bin_of_the_lookback(days: int, entry: float) -> None:
    # Close 49 950: bins of 200, 500, 1500. 10x long: entry * 0.9004.
    rows = [FIRST, (110.0, 50_000.0, 50_000.0, 1.0), (110.0, 49_900.0, 49_950.0, 1e6)]
    ((_, _, level),) = amounts(ask("openinterest", made_of(rows), after(3), lookback=days * DAY, **ORIGINAL))
    assert level == entry * 0.9004 // 10 * 10


@pytest.mark.parametrize("lookback", [DAY, 7 * DAY + 1])
def test_timeline_original_with_another_lookback_is_refused(lookback: int) -> None:
    with pytest.raises(ParameterError, match=f"lookback was {lookback}, must be 7, 30 or 90 days"):
        ask("openinterest", made_of([FIRST, RISE]), after(2), lookback=lookback, **ORIGINAL)


def test_at_original_of_a_price_below_its_bins_is_refused() -> None:
    rows = [(oi, 1.0, 1.5, 1e6) for oi in (100.0, 110.0, 120.0)]
    with pytest.raises(ParameterError, match=r"compat was original, but its bins of 500 are wider than the price 1\.5"):
        ask("openinterest", made_of(rows), after(3), **ORIGINAL)


def test_at_whale_threshold_weights_with_single_trades_inside_the_candle() -> None:
    # In the rising candle (minutes 5 to 10) 3 + 9 contracts, in the falling one 4; those of before count nowhere.
    singles = [
        (after(1), 50_000.0, 99.0, True),
        (after(1) + MINUTE, 50_000.0, 3.0, False),
        (after(2), 50_000.0, 9.0, True),
        (after(3), 49_000.0, 4.0, True),
    ]
    of = made_of([FIRST, RISE, FALL], singles=singles)
    shares = []
    for threshold in (100_000.0, 180_000.0, 200_000.0):
        held = amounts(ask("openinterest", of, after(3), whale_threshold=threshold, **SIMPLE))
        shares.append(held["long", 10.0, 45_020.0] / sum(held.values()))
    # 3 * 50 000 = 150 000, 4 * 49 000 = 196 000.
    assert shares == pytest.approx([12 / 16, 9 / 13, 1.0])


def test_at_whale_threshold_without_trades_refuses() -> None:
    of = made_of([FIRST, RISE])
    of = market(
        [{"close": 50_000.0, "oi": oi} for oi in (100.0, 110.0) for _ in range(5)],
        GivenDetails(given_candles=of.details.candles()),
    )
    with pytest.raises(MissingDetail, match="openinterest with whale_threshold needs trades"):
        ask("openinterest", of, after(2), whale_threshold=100_000.0)


def test_at_lookback_chooses_candles_by_their_end() -> None:
    of = made_of([FIRST, RISE, FALL])
    both, one = (
        amounts(ask("openinterest", of, after(3), lookback=lookback, **SIMPLE))
        for lookback in (CANDLE_PERIOD + 1, CANDLE_PERIOD)
    )
    assert len(both) == 2
    assert one == pytest.approx({("short", 10.0, 53_880.0): 130.0})


def test_at_without_candles_or_open_interest_says_what_is_missing() -> None:
    with pytest.raises(MissingDetail, match="needs candles") as caught:
        ask("openinterest", market([{"close": 50_000.0, "oi": 1.0}]), START + MINUTE)
    assert caught.value.what == "candles"
    with pytest.raises(MissingDetail, match="needs open interest"):
        ask("openinterest", market([{"close": 50_000.0}]), START + MINUTE)


@given(markets())
@settings(max_examples=40, deadline=None)
def test_at_all_that_is_left_adds_up_to_open_interest(of: Market) -> None:
    for ts in ends(of):
        try:
            levels = ask("openinterest", of, ts)
        except MissingDetail as error:
            assert error.what == "candles"  # noqa: PT017
            continue
        assert levels.qty.sum() == pytest.approx(levels.open_interest if levels.qty.size else 0.0)


@given(markets())
@settings(max_examples=40, deadline=None)
def test_survivors_longer_lookback_never_loses_any(of: Market) -> None:
    chosen = MODELS["openinterest"]
    for ts in ends(of):
        grids = []
        for lookback in (20 * MINUTE, DAY):
            timeline = chosen.timeline(of, chosen.resolve(Parameters(lookback=lookback)))
            assert isinstance(timeline, OpenInterestTimeline)
            try:
                grids.append(timeline.survivors(Readings(of).at(ts)).grid)
            except MissingDetail:
                break
        else:
            (first, short), (start, long) = grids
            if short.shape[2]:
                part = long[:, :, first - start : first - start + short.shape[2]]
                assert (part >= short * (1 - 1e-9)).all()


@pytest.mark.parametrize(
    "given_parameters", [{"lookback": 30 * MINUTE}, {"lookback": 7 * DAY, "compat": Compat.ORIGINAL}]
)
def test_at_only_the_candles_in_reach_are_read_and_it_makes_no_difference(given_parameters: dict[str, object]) -> None:
    rng = np.random.default_rng(4)
    count = 14 * 288
    close = 50_000 * np.exp(np.cumsum(rng.normal(0, 1e-3, count)))
    oi = 1_000 * np.exp(np.cumsum(rng.normal(0, 1e-2, count)))
    of = made_of([(float(a), float(b), float(c), 1e6) for a, b, c in zip(oi, np.roll(close, 1), close, strict=True)])
    chosen = MODELS["openinterest"]
    parameters = chosen.resolve(Parameters(**given_parameters))  # type: ignore[arg-type]
    asked, whole = (chosen.timeline(of, parameters) for _ in range(2))
    assert isinstance(asked, OpenInterestTimeline)
    assert isinstance(whole, OpenInterestTimeline)
    whole._profile = whole._profile_from(0, count)
    for candle in (4_000, 4_001, 4_020, 3_000, 2_990, 2_500, 500, 3, 4_030):
        ts = after(candle) + 2 * MINUTE
        left, right = asked.at(ts), whole.at(ts)
        assert left.qty.tobytes() == right.qty.tobytes()
        assert left.first_bin == right.first_bin
        assert asked._profile is not None
        assert len(asked._profile.columns) < count
