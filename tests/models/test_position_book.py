from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liqserver.kernel import History
from liqserver.margin import BracketTable, Side, builtin_tables, isolated_liquidation_price
from liqserver.margin.brackets import midnight
from liqserver.models import position_book
from liqserver.models.market import Market
from liqserver.models.parameters import MarginFormula, ParameterError, Parameters, Tier, resolve, with_hazards
from tests.kernel.markets import MINUTE, histories, history
from tests.models.markets import GivenDetails

BTC = tuple(table for table in builtin_tables() if table.symbol == "BTCUSDT")


def in_force(given_parameters: Parameters = Parameters()) -> Parameters:  # noqa: B008 - frozen
    return with_hazards(resolve(given_parameters, position_book.DEFAULTS, position_book.PARAMETERS, position_book.ID))


def market(of: History, tables: tuple[BracketTable, ...] = BTC) -> Market:
    return Market("BINANCE", "BTCUSDT", 0.1, "built in", 10.0, of, tables, GivenDetails())


def test_at_single_opening_levels_are_the_exact_liquidation_prices_of_each_tier() -> None:
    start = midnight("2025-09-01")
    of = history([{"oi": 100.0}, {"oi": 110.0, "flow": [(50_000.0, 6.0, 6.0)]}], start=start)
    timeline = position_book.BookTimeline(market(of), in_force())
    levels = timeline.at(start + 2 * MINUTE)
    assert levels.bracket_table == "BINANCE:BTCUSDT:2025-08-21"
    leverage = levels.leverage
    for side, row in ((Side.LONG, 0), (Side.SHORT, 1)):
        expected = isolated_liquidation_price(side, 50_000.0, leverage, 10_000.0, BTC[-1])
        at = [np.flatnonzero(tier)[0] + levels.first_bin for tier in levels.qty[row]]
        assert at == [int(price // 10.0) for price in expected]


def test_at_simplified_formula_places_levels_where_the_published_table_of_the_original_has_them() -> None:
    # Entry 90 000: 5x 72 072 / 107 928, 10x 81 036 / 98 964, 25x 86 436 / 93 564, 50x 88 218 / 91 782,
    # 100x 89 122 / 90 878.
    parameters = in_force(
        Parameters(
            margin_formula=MarginFormula.SIMPLIFIED, tiers=tuple(Tier(x, 1.0) for x in (5.0, 10.0, 25.0, 50.0, 100.0))
        )
    )
    of = history([{"oi": 100.0}, {"oi": 110.0, "flow": [(90_000.0, 30.0, 30.0)]}])
    fine = Market("BINANCE", "BTCUSDT", 0.1, "built in", 1.0, of, (), GivenDetails())
    levels = position_book.BookTimeline(fine, parameters).at(2 * MINUTE)
    at = [[int(np.flatnonzero(tier)[0]) + levels.first_bin for tier in side] for side in levels.qty]
    assert at == [[72_072, 81_036, 86_436, 88_218, 89_122], [107_928, 98_964, 93_564, 91_782, 90_877]]


def test_at_brackets_change_later_entries_use_the_later_table() -> None:
    # 700 000 of notional: until 2024-05-30 in a bracket of 1 %, from then on in one of 0.65 %.
    change = midnight("2024-05-30")
    old, new = next((a, b) for a, b in pairwise(BTC) if b.effective_from == change)
    steps = [{"oi": 100.0}, {"oi": 110.0, "flow": [(50_000.0, 30.0, 30.0)]}]
    parameters = in_force(Parameters(position_notional=700_000.0, tiers=(Tier(10.0, 1.0),)))
    placed = []
    for start in (change - 10 * MINUTE, change + 10 * MINUTE):
        levels = position_book.BookTimeline(market(history(steps, start=start)), parameters).at(start + 2 * MINUTE)
        placed.append((levels.bracket_table, int(np.flatnonzero(levels.qty[0, 0])[0]) + levels.first_bin))
    expected = [isolated_liquidation_price(Side.LONG, 50_000.0, 10.0, 700_000.0, table) for table in (old, new)]
    assert placed == [(t.table_id, int(p // 10.0)) for t, p in zip((old, new), expected, strict=True)]
    assert placed[0][1] != placed[1][1]


def test_at_brackets_change_in_the_middle_the_book_is_the_same_whatever_was_asked_before() -> None:
    change = midnight("2024-05-30")
    rng = np.random.default_rng(3)
    steps: list[dict[str, object]] = []
    for i in range(60):
        price = 50_000 + 20 * i
        steps.append({"low": price - 5, "high": price + 5, "close": price, "flow": [(price, *rng.exponential(1, 2))]})
        if i % 5 == 0:
            steps[-1]["oi"] = 100.0 + i
    of = history(steps, start=change - 33 * MINUTE)
    parameters = in_force(Parameters(position_notional=700_000.0))
    whole = position_book.BookTimeline(market(of), parameters).at(int(of.step_end[-1]))
    asked = position_book.BookTimeline(market(of), parameters)
    for ts in of.step_end[[7, 40, 22, 59]]:
        asked.at(int(ts))
    np.testing.assert_array_equal(asked.at(int(of.step_end[-1])).qty.sum(axis=1), whole.qty.sum(axis=1))


@given(histories(min_steps=8), st.data())
@settings(max_examples=60)
def test_at_any_moment_does_not_depend_on_later_data_nor_on_what_was_asked_before(
    of: History, data: st.DataObject
) -> None:
    parameters = in_force()
    asked = position_book.BookTimeline(market(of), parameters)
    for step in data.draw(st.lists(st.integers(0, len(of) - 1), min_size=1, max_size=5)):
        ts = int(of.step_end[step])
        levels = asked.at(ts)
        alone = position_book.BookTimeline(market(of.until(ts)), parameters).at(ts)
        assert levels.open_interest == alone.open_interest
        assert levels.unknown_entry.tobytes() == alone.unknown_entry.tobytes()
        occupied = [np.flatnonzero(part.qty.any(axis=(0, 1))) for part in (levels, alone)]
        columns = [part.qty[:, :, bins] for part, bins in zip((levels, alone), occupied, strict=True)]
        assert (occupied[0] + levels.first_bin).tolist() == (occupied[1] + alone.first_bin).tolist()
        assert columns[0].tobytes() == columns[1].tobytes()


def test_at_open_interval_shows_sweeps_at_once_and_keeps_open_interest() -> None:
    of = history(
        [
            {"oi": 100.0},
            {"oi": 130.0, "low": 50_000.0, "high": 50_000.0, "flow": [(50_000.0, 50.0, 50.0)]},
            {"low": 47_000.0, "high": 50_000.0},
        ]
    )
    timeline = position_book.BookTimeline(market(of), in_force())
    before, after = timeline.at(2 * MINUTE), timeline.at(3 * MINUTE)
    edges = (after.first_bin + np.arange(after.qty.shape[2])) * 10.0
    assert before.qty[0][:, edges >= 47_000].sum() > 0
    assert after.qty[0][:, edges >= 47_000].sum() == 0
    held = after.qty.sum(axis=(1, 2)) + after.no_level + after.unknown_entry
    assert held == pytest.approx([130.0, 130.0])
    assert timeline.at(2 * MINUTE).qty.tobytes() == before.qty.tobytes()


def test_at_before_the_first_open_interest_raises() -> None:
    timeline = position_book.BookTimeline(market(history([{"low": 1.0, "high": 1.0}, {"oi": 5.0}])), in_force())
    with pytest.raises(ValueError, match="before the first open interest"):
        timeline.at(MINUTE)


def test_timeline_without_open_interest_raises() -> None:
    with pytest.raises(ValueError, match="needs open interest"):
        position_book.BookTimeline(market(history([{"low": 1.0, "high": 1.0}])), in_force())


def test_epochs_exact_formula_without_brackets_raises() -> None:
    with pytest.raises(ValueError, match="bracket table"):
        position_book.epochs(in_force(), ())


def test_timeline_long_history_keeps_a_bounded_number_of_books() -> None:
    steps: list[dict[str, object]] = [{"oi": 100.0, "flow": [(50_000.0, 1.0, 1.0)]} for _ in range(9_000)]
    timeline = position_book.BookTimeline(market(history(steps)), in_force(Parameters(tiers=(Tier(10.0, 1.0),))))
    for step in range(9_000, 0, -700):
        timeline.at(step * MINUTE)
    assert 5 < len(timeline._kept) <= 9_000 // position_book._HALF_DAY_STEPS + 1


@pytest.mark.parametrize(
    ("given_parameters", "field"),
    [
        (Parameters(kappa=0.0), "kappa"),
        (Parameters(kappa=float("nan")), "kappa"),
        (Parameters(taker_tilt=1.5), "taker_tilt"),
        (Parameters(tiers=(Tier(1.0, 1.0),)), "tiers"),
        (Parameters(tiers=(Tier(10.0, 1.0), Tier(10.0, 2.0))), "tiers"),
        (Parameters(tiers=(Tier(10.0, 0.0),)), "tiers"),
        (Parameters(no_level_hazard=0.0), "no_level_hazard"),
        (Parameters(position_notional=-1.0), "position_notional"),
        (Parameters(funding_erosion=2.0), "funding_erosion"),
    ],
)
def test_resolve_value_not_allowed_names_field_value_and_what_is_allowed(
    given_parameters: Parameters, field: str
) -> None:
    with pytest.raises(ParameterError, match=rf"^{field} was .*must be") as caught:
        in_force(given_parameters)
    assert caught.value.field == field


def test_resolve_parameter_the_model_has_no_use_for_is_refused() -> None:
    specs = tuple(spec for spec in position_book.PARAMETERS if spec.name != "kappa")
    with pytest.raises(ParameterError, match=r"kappa was 0\.3, but other has no use for it"):
        resolve(Parameters(kappa=0.3), Parameters(), specs, "other")


def test_epochs_leverage_that_no_bracket_allows_is_a_position_whose_margin_has_shrunk() -> None:
    [*_, newest] = position_book.epochs(in_force(Parameters(tiers=(Tier(150.0, 1.0), Tier(450.0, 1.0)))), BTC)
    away = np.abs(newest.parameters.ratio - 1)
    assert away[:, 1] == pytest.approx(away[:, 0] / 3)
