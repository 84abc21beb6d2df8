from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from liqserver.models.market import Market
from liqserver.models.parameters import Compat, ParameterError, Parameters, Tier
from liqserver.models.registry import MODELS
from liqserver.models.selection import MissingDetail
from tests.kernel.markets import MINUTE
from tests.models.markets import START, GivenDetails, amounts, ask, ends, market, markets, trades

NOW = START + 3 * MINUTE


def flat(rows: list[tuple[int, float, float, bool]], oi: float = 200.0) -> Market:
    steps: list[dict[str, object]] = [{"close": 50_000.0, "oi": oi, "flow": [(50_000.0, 1.0, 1.0)]} for _ in range(3)]
    steps[1]["funding"] = 1e-3
    return market(steps, GivenDetails(given_trades=trades(rows)))


def test_at_components_are_normalised_weighted_and_scaled_to_open_interest() -> None:
    # One buy. binance_standard and (tilt 0) funding_adjusted: a fifth at each of 5, 10, 25, 50, 100x, of 50 + 30 % of
    # 200 contracts: 32 each. pyliqmap: a quarter of 20 % of 200 at each of 10, 25, 50, 100x: 10 each, 1/L away.
    levels = ask("ensemble", flat([(NOW, 50_000.0, 3.0, True)]), NOW, funding_tilt=0.0)
    held = amounts(levels)
    assert {level: amount for (_, _, level), amount in held.items() if amount < 20} == pytest.approx(
        {45_000.0: 10.0, 48_000.0: 10.0, 49_000.0: 10.0, 49_500.0: 10.0}
    )
    assert [amount for amount in held.values() if amount > 20] == pytest.approx([32.0] * 5)
    assert levels.leverage.tolist() == [5.0, 10.0, 25.0, 50.0, 100.0]
    assert levels.qty.sum() == pytest.approx(200.0)


def test_at_original_has_two_components() -> None:
    # 62.5 % at 50 000 * (1 - 0.99 / 10) = 45 050 (10 million: 1 %), 37.5 % at that times 1.01: 45 500.5.
    levels = ask("ensemble", flat([(NOW, 50_000.0, 3.0, True)]), NOW, compat=Compat.ORIGINAL, tiers=(Tier(10.0, 1.0),))
    assert amounts(levels) == pytest.approx({("long", 10.0, 45_050.0): 125.0, ("long", 10.0, 45_500.0): 75.0})


def test_at_component_without_levels_leaves_its_weight_to_the_others() -> None:
    # gross_value above the only trade: pyliqmap has none.
    levels = ask("ensemble", flat([(NOW, 50_000.0, 3.0, True)]), NOW, gross_value=1e6)
    assert levels.qty.sum() == pytest.approx(200.0)
    assert not any(level % 500 == 0 for _, _, level in amounts(levels))


def test_at_tiers_given_are_those_of_all_components() -> None:
    levels = ask("ensemble", flat([(NOW, 50_000.0, 3.0, True)]), NOW, tiers=(Tier(20.0, 1.0),))
    # Exact 50 000 * 0.95 / 0.996 = 47 690.8, at 1/L 47 500.
    assert amounts(levels) == pytest.approx({("long", 20.0, 47_690.0): 160.0, ("long", 20.0, 47_500.0): 40.0})


def test_at_nothing_large_enough_is_an_empty_answer() -> None:
    assert ask("ensemble", flat([]), NOW).qty.sum() == 0


def test_at_without_open_interest_refuses() -> None:
    with pytest.raises(MissingDetail, match="ensemble needs open interest"):
        ask("ensemble", flat([(NOW, 50_000.0, 3.0, True)], float("nan")), NOW)


@pytest.mark.parametrize("field", ["gross_value", "funding_tilt"])
def test_resolve_parameter_of_what_the_original_lacks_is_refused(field: str) -> None:
    value = {"gross_value": 1e5, "funding_tilt": 0.1}[field]
    with pytest.raises(ParameterError, match=f"{field} was .* no use for it with compat=original"):
        MODELS["ensemble"].resolve(Parameters(**{field: value, "compat": Compat.ORIGINAL}))  # type: ignore[arg-type]


@given(markets())
@settings(max_examples=40, deadline=None)
def test_at_adds_up_to_open_interest(of: Market) -> None:
    for ts in ends(of):
        try:
            levels = ask("ensemble", of, ts)
        except MissingDetail as error:
            assert error.what == "funding"  # noqa: PT017
            continue
        total = levels.qty.sum()
        assert total == 0 or total == pytest.approx(levels.open_interest)
        assert np.isfinite(levels.qty).all()
