from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liqserver.models.market import Market
from liqserver.models.parameters import Compat, ParameterError, Parameters, Tier
from liqserver.models.registry import MODELS
from liqserver.models.selection import MissingDetail
from tests.kernel.markets import MINUTE
from tests.models.markets import (
    DAY,
    START,
    GivenDetails,
    amounts,
    ask,
    ends,
    grows,
    market,
    markets,
    sized_flow,
    trades,
)

NOW = START + 3 * MINUTE


def flat(details: GivenDetails) -> Market:
    steps: list[dict[str, object]] = [{"close": 50_000.0, "flow": [(50_000.0, 1.0, 1.0)]} for _ in range(3)]
    return market(steps, details, tables=())


ONE_EACH = GivenDetails(given_trades=trades([(NOW, 50_000.0, 4.0, True), (NOW, 50_000.0, 8.0, False)]))


@pytest.mark.parametrize(("compat", "times"), [(Compat.NONE, 1.0), (Compat.ORIGINAL, 4.0)])
def test_at_levels_are_1_2_4_10_per_cent_away(compat: Compat, times: float) -> None:
    levels = ask("pyliqmap", flat(ONE_EACH), NOW, compat=compat)
    assert amounts(levels) == pytest.approx(
        {
            ("long", 100.0, 49_500.0): times,
            ("long", 50.0, 49_000.0): times,
            ("long", 25.0, 48_000.0): times,
            ("long", 10.0, 45_000.0): times,
            ("short", 100.0, 50_500.0): 2 * times,
            ("short", 50.0, 51_000.0): 2 * times,
            ("short", 25.0, 52_000.0): 2 * times,
            ("short", 10.0, 55_000.0): 2 * times,
        }
    )
    assert levels.bracket_table == ""
    assert np.isnan(levels.open_interest)


def test_at_only_levels_beyond_the_last_price_count() -> None:
    # Bought at 50 600: 1 % below is 50 094, above the price of 50 000; 2 % below is 49 588.
    of = flat(GivenDetails(given_trades=trades([(NOW, 50_600.0, 4.0, True)])))
    assert {leverage for _, leverage, _ in amounts(ask("pyliqmap", of, NOW))} == {50.0, 25.0, 10.0}


def test_at_tiers_given_have_levels_at_one_part_in_leverage() -> None:
    levels = ask("pyliqmap", flat(ONE_EACH), NOW, tiers=(Tier(20.0, 3.0), Tier(5.0, 1.0)))
    assert amounts(levels) == pytest.approx(
        {
            ("long", 20.0, 47_500.0): 3.0,
            ("long", 5.0, 40_000.0): 1.0,
            ("short", 20.0, 52_500.0): 6.0,
            ("short", 5.0, 60_000.0): 2.0,
        }
    )


def many() -> Market:
    """Per side 5 trades kept singly (100 000 to 500 000); 100 buys and 50 sells in all."""
    rows = [(NOW, 50_000.0, 2.0 * n, buys) for n in (3, 1, 5, 2, 4) for buys in (True, False)]
    flow = sized_flow(
        [
            (NOW, 50_000.0, 30.0, 5, 3, True),
            (NOW, 50_000.0, 30.0, 5, 3, False),
            (NOW, 50_000.0, 1.0, 95, 0, True),
            (NOW, 50_000.0, 1.0, 45, 0, False),
        ]
    )
    return flat(GivenDetails(given_trades=trades(rows), given_flow=flow))


@pytest.mark.parametrize(
    ("selection", "longs", "shorts"),
    [
        ({"gross_value": 300_000.0}, 6.0 + 8 + 10, 6.0 + 8 + 10),
        ({"top_n": 2}, 10.0 + 8, 10.0 + 8),
        ({"top_n": 5}, 30.0, 30.0),
        # 4 % of 100 buys are 4, of 50 sells 2.
        ({"portion": 0.04}, 10.0 + 8 + 6 + 4, 10.0 + 8),
        # 5 % of 50 are 2.5: two whole trades.
        ({"portion": 0.05}, 30.0, 10.0 + 8),
    ],
)
def test_at_selects_by_exactly_one_measure_on_either_side(
    selection: dict[str, float], longs: float, shorts: float
) -> None:
    assert ask("pyliqmap", many(), NOW, **selection).qty.sum(axis=(1, 2)) == pytest.approx([longs, shorts])


@pytest.mark.parametrize(("selection", "was", "most"), [({"top_n": 6}, "6", "5"), ({"portion": 0.06}, "0.06", "0.05")])
def test_at_selection_that_reaches_trades_not_kept_singly_names_the_largest_exact_one(
    selection: dict[str, float], was: str, most: str
) -> None:
    (field,) = selection
    with pytest.raises(ParameterError, match=rf"{field} was {was}, but of this lookback at most {most} is exact"):
        ask("pyliqmap", many(), NOW, **selection)
    ask("pyliqmap", many(), NOW, **{field: type(selection[field])(most)})


def test_at_side_whose_every_trade_is_kept_singly_is_exact_however_many_are_asked_for() -> None:
    flow = sized_flow([(NOW, 50_000.0, 4.0, 1, 3, True), (NOW, 50_000.0, 8.0, 1, 3, False)])
    of = flat(GivenDetails(given_trades=ONE_EACH.given_trades, given_flow=flow))
    assert ask("pyliqmap", of, NOW, top_n=100).qty.sum() == pytest.approx(12.0)
    assert ask("pyliqmap", of, NOW, portion=1.0).qty.sum() == pytest.approx(12.0)


@pytest.mark.parametrize(
    "given_parameters",
    [
        {"gross_value": 1e5, "top_n": 3},
        {"top_n": 3, "portion": 0.1},
        {"gross_value": 1e5, "portion": 0.1, "compat": Compat.ORIGINAL},
    ],
)
def test_resolve_two_selections_are_refused(given_parameters: dict[str, object]) -> None:
    with pytest.raises(ParameterError, match="is given too: only one of them can hold"):
        MODELS["pyliqmap"].resolve(Parameters(**given_parameters))  # type: ignore[arg-type]


@pytest.mark.parametrize("compat", list(Compat))
def test_resolve_another_selection_takes_the_place_of_the_default(compat: Compat) -> None:
    parameters = MODELS["pyliqmap"].resolve(Parameters(top_n=3, compat=compat))
    assert (parameters.gross_value, parameters.top_n, parameters.portion) == (None, 3, None)
    assert MODELS["pyliqmap"].resolve(Parameters(compat=compat)).gross_value == 100_000.0


@pytest.mark.parametrize(
    ("field", "value"), [("top_n", 0), ("top_n", 1.5), ("portion", 0.0), ("portion", 1.1), ("gross_value", 500.0)]
)
def test_resolve_value_not_allowed_is_refused(field: str, value: float) -> None:
    with pytest.raises(ParameterError, match=f"{field} was {value}, must be"):
        MODELS["pyliqmap"].resolve(Parameters(**{field: value}))  # type: ignore[arg-type]


def test_at_without_trades_refuses() -> None:
    with pytest.raises(MissingDetail, match="pyliqmap needs trades"):
        ask("pyliqmap", market([{"close": 50_000.0}]), START + MINUTE)


@given(markets())
@settings(max_examples=40, deadline=None)
def test_at_longer_lookback_or_lower_threshold_never_loses_what_is_left(of: Market) -> None:
    for ts in ends(of):
        short, long, lower = (
            ask("pyliqmap", of, ts, **given_parameters)
            for given_parameters in (
                {"lookback": 20 * MINUTE, "gross_value": 1e6},
                {"lookback": DAY, "gross_value": 1e6},
                {"lookback": DAY, "gross_value": 1e4},
            )
        )
        assert grows(short, long)
        assert grows(long, lower)


@given(markets(), st.integers(1, 10))
@settings(max_examples=40, deadline=None)
def test_at_top_n_grows_with_n_and_portion_selects_as_many(of: Market, n: int) -> None:
    ts = ends(of)[-1]
    try:
        more = ask("pyliqmap", of, ts, top_n=n + 1)
    except ParameterError as error:
        assert error.field == "top_n"  # noqa: PT017
        return
    assert grows(ask("pyliqmap", of, ts, top_n=n), more)
