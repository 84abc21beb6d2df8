from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from liqserver.models.funding_adjusted import tilted
from liqserver.models.market import Market
from liqserver.models.parameters import Compat, ParameterError, Parameters, Tier
from liqserver.models.registry import MODELS
from liqserver.models.selection import MissingDetail
from tests.kernel.markets import MINUTE
from tests.models.markets import HOUR, START, GivenDetails, amounts, ask, ends, market, markets, trades

NOW = START + 3 * MINUTE
BOTH = [(NOW, 50_000.0, 21.0, True), (NOW, 50_000.0, 21.0, False)]


def paid(*rates: float, oi: float = 100_000.0, rows: list[tuple[int, float, float, bool]] = BOTH) -> Market:
    """Three minutes at 50 000 with rates settled in the last of them."""
    steps: list[dict[str, object]] = [{"close": 50_000.0, "oi": oi, "flow": [(50_000.0, 1.0, 1.0)]} for _ in range(3)]
    for step, rate in zip(steps[3 - len(rates) :], rates, strict=True):
        step["funding"] = rate
    return market(steps, GivenDetails(given_trades=trades(rows)))


@pytest.mark.parametrize(("rate", "payer", "receiver"), [(1e-4, "long", "short"), (-1e-4, "short", "long")])
def test_at_paying_side_moves_to_lower_leverage_and_the_other_stays(rate: float, payer: str, receiver: str) -> None:
    # Tilt 1, one unit of 0.01 %: weights 5^-1 and 100^-1 are as 20 to 1; of 21 contracts 20 and 1.
    levels = ask("funding_adjusted", paid(rate), NOW, tiers=(Tier(5.0, 1.0), Tier(100.0, 1.0)), funding_tilt=1.0)
    held = {(side, leverage): amount for (side, leverage, _), amount in amounts(levels).items()}
    assert held == pytest.approx(
        {(payer, 5.0): 20.0, (payer, 100.0): 1.0, (receiver, 5.0): 10.5, (receiver, 100.0): 10.5}
    )


def test_at_defaults_a_usual_rate_changes_the_mix_by_a_few_per_cent() -> None:
    weight = tilted(np.full(5, 0.2), np.array([5.0, 10.0, 25.0, 50.0, 100.0]), 0.02)
    assert weight.sum() == pytest.approx(1.0)
    assert 0.02 < weight[0] / 0.2 - 1 < 0.05
    assert -0.05 < weight[-1] / 0.2 - 1 < -0.02


def test_at_tilt_of_zero_is_binance_standard() -> None:
    of = paid(1e-3)
    without = ask("funding_adjusted", of, NOW, funding_tilt=0.0)
    np.testing.assert_allclose(without.qty, ask("binance_standard", of, NOW).qty)


def test_at_hourly_rates_count_eightfold() -> None:
    steps: list[dict[str, object]] = [{"close": 50_000.0, "flow": [(50_000.0, 1.0, 1.0)]} for _ in range(121)]
    steps[60]["funding"] = steps[120]["funding"] = 1e-4 / 8
    now = START + 121 * MINUTE
    hourly = market(steps, GivenDetails(given_trades=trades([(now, 50_000.0, 21.0, True)])))
    held = amounts(ask("funding_adjusted", hourly, now, tiers=(Tier(5.0, 1.0), Tier(100.0, 1.0)), funding_tilt=1.0))
    assert sorted(held.values()) == pytest.approx([1.0, 20.0])
    assert hourly.history.step_end[120] - hourly.history.step_end[60] == HOUR


def test_at_extreme_rate_leaves_everything_at_the_lowest_leverage() -> None:
    held = amounts(ask("funding_adjusted", paid(0.9), NOW, funding_tilt=1.0))
    assert {leverage: amount for (side, leverage, _), amount in held.items() if side == "long"} == {5.0: 21.0}


def test_at_original_shifts_levels_instead() -> None:
    # Half of everything is the maintenance margin (see binance_standard): 10x at 47 500 and 52 500.
    # Rate 0.1 %: 47 500 * 1.01 = 47 975, 52 500 * 0.99 = 51 975.
    levels = ask("funding_adjusted", paid(1e-3), NOW, tiers=(Tier(10.0, 1.0),), compat=Compat.ORIGINAL)
    assert amounts(levels) == {("long", 10.0, 47_970.0): 21.0, ("short", 10.0, 51_970.0): 21.0}


def test_at_original_keeps_a_level_that_its_shift_carries_past_the_price() -> None:
    # 100x: 50 000 * (1 - 0.5 / 100) = 49 750; times 1.01 it is 50 247.5, above the price, as the original has it.
    levels = ask("funding_adjusted", paid(1e-3, rows=BOTH[:1]), NOW, tiers=(Tier(100.0, 1.0),), compat=Compat.ORIGINAL)
    assert amounts(levels) == {("long", 100.0, 50_240.0): 21.0}


def test_at_last_settlement_counts_and_none_is_refused() -> None:
    of = paid(-1e-4, 1e-4)
    held = amounts(ask("funding_adjusted", of, NOW, tiers=(Tier(5.0, 1.0), Tier(100.0, 1.0)), funding_tilt=0.1))
    longs = {leverage: amount for (side, leverage, _), amount in held.items() if side == "long"}
    assert longs[5.0] > longs[100.0]
    with pytest.raises(MissingDetail, match="no funding rate of BINANCE:BTCUSDT is known") as caught:
        ask("funding_adjusted", of, START + MINUTE)
    assert caught.value.what == "funding"


@pytest.mark.parametrize("tilt", [-0.1, 1.5, float("nan")])
def test_resolve_tilt_outside_is_refused(tilt: float) -> None:
    with pytest.raises(ParameterError, match=r"funding_tilt was .*must be a number in \[0, 1\]"):
        MODELS["funding_adjusted"].resolve(Parameters(funding_tilt=tilt))


@given(markets())
@settings(max_examples=30, deadline=None)
def test_at_mass_is_that_of_binance_standard_while_all_levels_count(of: Market) -> None:
    # Low leverage: no level of these markets is on the wrong side of the price.
    tiers = (Tier(1.2, 1.0), Tier(1.5, 1.0))
    ts = ends(of)[-1]
    if not of.history.funding_rate.any():
        return
    parts = [ask(model, of, ts, tiers=tiers).qty.sum(axis=(1, 2)) for model in ("funding_adjusted", "binance_standard")]
    np.testing.assert_allclose(*parts)
