from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liqserver.kernel import AUDIT_COLUMNS
from liqserver.margin.brackets import midnight
from liqserver.models.market import CANDLE_PERIOD, Market
from liqserver.models.parameters import Compat, MarginFormula, Parameters, Tier
from liqserver.models.registry import MODELS
from liqserver.models.selection import MissingDetail
from liqserver.models.time_evolving import TimeEvolvingTimeline
from tests.kernel.markets import MINUTE
from tests.models.markets import START, GivenDetails, amounts, ask, candles, ends, market, markets

TEN = (Tier(10.0, 1.0),)
SIMPLE = {"tiers": TEN, "margin_formula": MarginFormula.SIMPLIFIED}

# (open interest at the end, open, high, low, close); the mark price's path is the close but where a test says.
RISE = (110.0, 49_900.0, 50_000.0, 49_900.0, 50_000.0)
FALL = (130.0, 50_000.0, 50_000.0, 49_000.0, 49_000.0)
START_CANDLE = (100.0, 50_000.0, 50_000.0, 50_000.0, 50_000.0)


def made_of(
    rows: list[tuple[float, float, float, float, float]],
    path: dict[int, tuple[float, float]] | None = None,
    start: int = START,
) -> Market:
    """Five-minute candles, a step per minute; ``path`` gives the mark price's range in single minutes."""
    steps: list[dict[str, object]] = []
    for oi, *_, close in rows:
        steps += [{"low": close, "high": close, "close": close, "flow": [(close, 1.0, 1.0)]} for _ in range(5)]
        steps[-1]["oi"] = oi
    for minute, (low, high) in (path or {}).items():
        while len(steps) <= minute:
            steps.append({"close": rows[-1][4], "low": rows[-1][4], "high": rows[-1][4]})
        steps[minute] |= {"low": low, "high": high}
    bars = [(start + (i + 1) * CANDLE_PERIOD, *row[1:], 1e6) for i, row in enumerate(rows)]
    return market(steps, GivenDetails(given_candles=candles(bars)), start=start)


def after(count: int) -> int:
    return START + count * CANDLE_PERIOD


def test_at_rises_open_on_the_side_of_the_colour_at_the_close() -> None:
    # Simplified, 10x (0.4 %): 50 000 * (1 - 0.996 / 10) = 45 020, 49 000 * 1.0996 = 53 880.4. 10 and 20 contracts.
    of = made_of([START_CANDLE, RISE, FALL])
    assert amounts(ask("time_evolving", of, after(1), **SIMPLE)) == {}
    assert amounts(ask("time_evolving", of, after(2), **SIMPLE)) == {("long", 10.0, 45_020.0): 10.0}
    both = ask("time_evolving", of, after(3), **SIMPLE)
    assert amounts(both) == {("long", 10.0, 45_020.0): 10.0, ("short", 10.0, 53_880.0): 20.0}
    assert both.open_interest == 130.0


def test_at_doji_opens_longs() -> None:
    doji = (110.0, 50_000.0, 50_100.0, 49_900.0, 50_000.0)
    assert amounts(ask("time_evolving", made_of([START_CANDLE, doji]), after(2), **SIMPLE)) == {
        ("long", 10.0, 45_020.0): 10.0
    }


@pytest.mark.parametrize(("left", "kept"), [(115.0, 0.5), (100.0, 0.0), (1.0, 0.0)])
def test_at_fall_shrinks_both_sides_by_its_share_of_what_is_held(left: float, kept: float) -> None:
    # Held: 10 + 20. From 130 to 115 are 15 of 30; 30 or more are all.
    of = made_of([START_CANDLE, RISE, FALL, (left, *FALL[1:])])
    held = ask("time_evolving", of, after(4), **SIMPLE).qty.sum(axis=(1, 2))
    assert held == pytest.approx([10 * kept, 20 * kept])


def test_at_after_everything_left_new_openings_count_in_full() -> None:
    of = made_of([START_CANDLE, RISE, (1.0, *FALL[1:]), (8.0, *RISE[1:])])
    assert amounts(ask("time_evolving", of, after(4), **SIMPLE)) == {("long", 10.0, 45_020.0): 7.0}


def test_at_path_consumes_longs_from_its_low_and_shorts_to_its_high() -> None:
    # Levels 45 020 and 53 880 (bins of 10). The path of minute 17 is part of candle 4.
    rows = [START_CANDLE, RISE, FALL, (130.0, *FALL[1:])]
    held = [
        ask("time_evolving", made_of(rows, {17: path}), after(4), **SIMPLE).qty.sum(axis=(1, 2)).tolist()
        for path in ((45_030.0, 53_879.0), (45_029.0, 49_000.0), (45_020.0, 53_880.0))
    ]
    assert held == [[10.0, 20.0], [0.0, 20.0], [0.0, 0.0]]


def test_at_candle_that_has_not_ended_consumes_but_opens_nothing() -> None:
    of = made_of([START_CANDLE, RISE, FALL], {16: (45_000.0, 49_000.0)})
    chosen = MODELS["time_evolving"]
    timeline = chosen.timeline(of, chosen.resolve(Parameters(**SIMPLE)))  # type: ignore[arg-type]
    held = [timeline.at(after(3) + minute * MINUTE).qty.sum(axis=(1, 2)).tolist() for minute in (0, 1, 2, 0)]
    assert held == [[10.0, 20.0], [10.0, 20.0], [0.0, 20.0], [10.0, 20.0]]


def test_at_path_of_missing_candles_is_not_lost() -> None:
    of = made_of([START_CANDLE, RISE, FALL, (130.0, *FALL[1:]), (130.0, *FALL[1:])], {17: (45_000.0, 49_000.0)})
    bars = of.details.candles()
    keep = np.array([0, 1, 2, 4])
    gap = GivenDetails(given_candles=type(bars)(*(getattr(bars, name)[keep] for name in type(bars).__slots__)))
    of = market(of.history, gap)
    assert ask("time_evolving", of, after(5), **SIMPLE).qty.sum(axis=(1, 2)).tolist() == [0.0, 20.0]


def test_at_exact_levels_are_those_of_the_brackets_when_opened() -> None:
    # 700 000 of notional at 10x: 1 % before 2024-05-30, 0.65 % from then on; the level stays where it was opened.
    change = midnight("2024-05-30")
    start = change - 2 * CANDLE_PERIOD - MINUTE
    of = made_of([START_CANDLE, RISE, (110.0, *RISE[1:]), (120.0, *RISE[1:])], start=start)
    placed = [
        amounts(ask("time_evolving", of, start + n * CANDLE_PERIOD, tiers=TEN, position_notional=700_000.0))
        for n in (2, 4)
    ]
    assert len(placed[0]) == 1
    assert len(placed[1]) == 2
    assert set(placed[0].items()) <= set(placed[1].items())


def test_at_original_takes_the_candles_range_and_counts_value() -> None:
    # Value of open interest: 100 * 50 000, then 110 * 50 000: 500 000 opens long at 45 020. At the middle of that
    # bin, 45 025, the entry was 45 025 / 0.9004 = 50 005.55: 9.9989 contracts.
    original = {"tiers": TEN, "compat": Compat.ORIGINAL}
    quiet = (110.0, 50_000.0, 50_000.0, 50_000.0, 50_000.0)
    wick = (110.0, 50_000.0, 50_000.0, 45_000.0, 50_000.0)
    of = made_of([START_CANDLE, RISE, quiet, wick], {10: (45_000.0, 50_000.0)})
    # The mark price's path in the third candle does not count, the last price's in the fourth does.
    for count in (2, 3):
        assert amounts(ask("time_evolving", of, after(count), **original)) == pytest.approx(
            {("long", 10.0, 45_020.0): 500_000 * 0.9004 / 45_025}
        )
    assert amounts(ask("time_evolving", of, after(4), **original)) == {}


def test_audit_tells_what_every_candle_did() -> None:
    chosen = MODELS["time_evolving"]
    of = made_of([START_CANDLE, RISE, FALL, (115.0, *FALL[1:]), (115.0, *FALL[1:])], {22: (45_000.0, 49_000.0)})
    timeline = chosen.timeline(of, chosen.resolve(Parameters(**SIMPLE)))  # type: ignore[arg-type]
    assert isinstance(timeline, TimeEvolvingTimeline)
    end, rows = timeline.audit(0, after(5))
    assert end.tolist() == [after(count) for count in range(1, 6)]
    told = [dict(zip(AUDIT_COLUMNS, row, strict=True)) for row in rows.tolist()]
    shown = [{name: amount for name, amount in row.items() if amount} for row in told]
    assert shown == [
        {},
        {"opened_long": 10.0},
        {"opened_short": 20.0},
        {"closed_long": 5.0, "closed_short": 10.0},
        {"liquidated_long": 5.0},
    ]


@given(markets())
@settings(max_examples=40, deadline=None)
def test_audit_adds_up_to_what_is_held(of: Market) -> None:
    chosen = MODELS["time_evolving"]
    timeline = chosen.timeline(of, chosen.resolve(Parameters()))
    assert isinstance(timeline, TimeEvolvingTimeline)
    for ts in [*of.details.candles().end[:: max(len(of.details.candles().end) // 3, 1)].tolist()]:
        _, rows = timeline.audit(0, ts)
        assert (rows >= 0).all()
        opened, closed, liquidated = rows[:, 0:2].sum(axis=0), rows[:, 2:4].sum(axis=0), rows[:, 4:6].sum(axis=0)
        held = timeline.at(ts).qty.sum(axis=(1, 2))
        np.testing.assert_allclose(held, opened - closed - liquidated, atol=1e-6)


@given(markets(), st.data())
@settings(max_examples=40, deadline=None)
def test_at_does_not_depend_on_what_was_asked_before(of: Market, data: st.DataObject) -> None:
    chosen = MODELS["time_evolving"]
    parameters = chosen.resolve(Parameters())
    asked = chosen.timeline(of, parameters)
    assert isinstance(asked, TimeEvolvingTimeline)
    asked._spacing = 3
    for ts in data.draw(st.lists(st.sampled_from(of.history.step_end.tolist()), min_size=1, max_size=6)):
        alone = chosen.timeline(of, parameters).at(ts)
        levels = asked.at(ts)
        assert levels.first_bin == alone.first_bin
        np.testing.assert_allclose(levels.qty, alone.qty, rtol=1e-15)
        assert levels.qty.tobytes() == alone.qty.tobytes()


@given(markets())
@settings(max_examples=30, deadline=None)
def test_at_no_bin_that_the_path_touched_in_the_last_step_holds_anything(of: Market) -> None:
    for ts in ends(of):
        if (ts - START) % CANDLE_PERIOD == 0:
            continue  # what a candle opens at its close may lie in the path it had before
        step = of.history.steps_until(ts) - 1
        levels = ask("time_evolving", of, ts)
        edges = (levels.first_bin + np.arange(levels.qty.shape[2])) * 10.0
        if not np.isnan(of.history.mark_low[step]) and len(of.details.candles().end):
            assert levels.qty[0][:, edges >= of.history.mark_low[step]].sum() == 0
            assert levels.qty[1][:, edges + 10 <= of.history.mark_high[step]].sum() == 0


def test_at_without_open_interest_refuses() -> None:
    with pytest.raises(MissingDetail, match="time_evolving needs open interest"):
        ask("time_evolving", market([{"close": 50_000.0}]), START + MINUTE)
