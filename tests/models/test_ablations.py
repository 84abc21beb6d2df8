"""Markets with part of their information taken away: what goes, and what stays."""

import numpy as np
import pytest

from liqserver.models.ablations import constant_flow, constant_open_interest, flow_by_range, shifted_inputs
from liqserver.models.market import Market
from tests.kernel.markets import MINUTE
from tests.models.markets import market


def volumes(of: Market) -> list[float]:
    history = of.history
    step = np.repeat(np.arange(len(history)), np.diff(history.flow_offset))
    return np.bincount(step, history.flow_buy + history.flow_sell, minlength=len(history)).tolist()


@pytest.fixture
def given() -> Market:
    return market(
        [
            {"low": 100.0, "high": 101.0, "close": 100.5, "oi": 50.0, "flow": [(100.0, 1.0, 2.0), (101.0, 0.0, 3.0)]},
            {"low": 100.0, "high": 104.0, "close": 103.0, "flow": [(103.0, 4.0, 0.0)]},
            {"low": 103.0, "high": 103.0, "close": 103.0, "oi": 70.0},
            {"low": 103.0, "high": 106.09, "close": 105.0, "oi": 90.0, "flow": [(104.0, 1.0, 1.0)]},
        ]
    )


def test_open_interest_never_changes(given: Market) -> None:
    still = constant_open_interest(given)
    np.testing.assert_array_equal(still.history.open_interest, [70.0, np.nan, 70.0, 70.0])
    assert volumes(still) == volumes(given)


def test_flow_is_the_same_in_each_step(given: Market) -> None:
    assert volumes(given) == [6.0, 4.0, 0.0, 2.0]
    constant = constant_flow(given)
    # What was not traded cannot be placed anywhere.
    assert volumes(constant) == [3.0, 3.0, 0.0, 3.0]
    # Where and by whom stays.
    np.testing.assert_allclose(constant.history.flow_buy, [0.5, 0.0, 3.0, 1.5])
    np.testing.assert_array_equal(constant.history.flow_price, given.history.flow_price)


def test_flow_goes_by_the_range(given: Market) -> None:
    # Ranges of 1, 4, 0 and 3 percent.
    assert volumes(flow_by_range(given)) == pytest.approx([1.5, 6.0, 0.0, 4.5])


def test_inputs_of_before(given: Market) -> None:
    shifted = shifted_inputs(given, MINUTE)
    assert volumes(shifted) == [2.0, 6.0, 0.0, 0.0]
    np.testing.assert_array_equal(shifted.history.open_interest, [90.0, np.nan, 50.0, 70.0])
    with pytest.raises(ValueError, match="too short to be shifted"):
        shifted_inputs(given, 2 * MINUTE)


def test_prices_stay(given: Market) -> None:
    for changed in (constant_flow(given), flow_by_range(given), shifted_inputs(given, MINUTE)):
        np.testing.assert_array_equal(changed.history.mark_low, given.history.mark_low)
        np.testing.assert_array_equal(changed.history.step_end, given.history.step_end)
