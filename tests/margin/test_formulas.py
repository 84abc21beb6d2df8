import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from liqserver.margin import (
    SIMPLIFIED_MMR,
    BracketError,
    BracketTable,
    Side,
    bankruptcy_price,
    builtin_tables,
    check_leverage,
    isolated_liquidation_price,
    liquidation_price,
    liquidation_ratio,
    simplified_liquidation_price,
    simplified_ratio,
)

TABLES = {table.table_id: table for table in builtin_tables()}
TODAY = TABLES["BINANCE:BTCUSDT:2025-08-21"]
# The brackets of Binance's worked example, of 2021 and before.
BTC_2021 = TABLES["BINANCE:BTCUSDT:2022-02-12"]
ETH_2021 = BracketTable.from_tiers(
    "BINANCE",
    "ETHUSDT",
    0,
    "worked example",
    [
        (10_000, 0.005, 100),
        (100_000, 0.0065, 75),
        (500_000, 0.01, 50),
        (1_000_000, 0.02, 25),
        (2_000_000, 0.05, 10),
        (5_000_000, 0.1, 5),
        (10_000_000, 0.125, 4),
    ],
)
WALLET = 1_535_443.01
ETH = {"entry_price": 1456.84, "qty": 3683.979, "table": ETH_2021}
BTC = {"entry_price": 32481.98, "qty": 109.488, "table": BTC_2021}


@st.composite
def tables(draw: st.DrawFn) -> BracketTable:
    """Any legal table, far more crooked than an exchange's."""
    n = draw(st.integers(1, 8))
    unit = st.floats(0.05, 1.0)
    caps = np.cumsum([draw(unit) for _ in range(n)]) * draw(st.sampled_from([1e3, 1e6, 1e9]))
    rates = np.cumsum([draw(unit) for _ in range(n)]) / n * draw(st.sampled_from([0.01, 0.1, 0.9]))
    leverages = np.cumsum([draw(unit) for _ in range(n)])[::-1] * 10 + 1
    return BracketTable.from_tiers("V", "S", 0, "drawn", zip(caps, rates, leverages, strict=True))


anytable = st.one_of(tables(), st.sampled_from(builtin_tables()))
sides = st.sampled_from(Side)
leverages = st.floats(1.0, 200.0)
entries = st.floats(1e-5, 1e6)


@st.composite
def sizes(draw: st.DrawFn, table: BracketTable) -> float:
    """A notional anywhere in the table, and often near a border."""
    caps = [float(cap) for cap in table.notional_cap if math.isfinite(cap)]
    near = draw(st.sampled_from(caps)) * draw(st.floats(0.5, 1.5))
    return draw(st.sampled_from([near, draw(st.floats(1e-3, 1.0)) * caps[0], draw(st.sampled_from(caps))]))


# Binance's published example -------------------------------------------------------------------------------


def test_liquidation_price_published_isolated_examples_agree_to_the_cent() -> None:
    assert round(liquidation_price(Side.LONG, wallet_balance=WALLET, **ETH), 2) == 1114.78
    assert round(liquidation_price(Side.LONG, wallet_balance=WALLET, **BTC), 2) == 18778.73


@pytest.mark.parametrize(
    ("position", "other", "other_mark", "mmr", "cum", "expected"),
    [
        (ETH, BTC, 31967.27, 0.025, 16_300.0, 1153.26),
        (BTC, ETH, 1335.18, 0.1, 135_365.0, 26316.89),
    ],
)
def test_liquidation_price_published_cross_examples_agree_to_the_cent(
    position: dict[str, Any], other: dict[str, Any], other_mark: float, mmr: float, cum: float, expected: float
) -> None:
    margin = float(other["table"].maintenance_margin(other["qty"] * other_mark))
    assert margin == pytest.approx(other["qty"] * other_mark * mmr - cum, rel=1e-12)
    price = liquidation_price(
        Side.LONG,
        wallet_balance=WALLET,
        other_maintenance_margin=margin,
        other_unrealized_pnl=other["qty"] * (other_mark - other["entry_price"]),
        **position,
    )
    assert round(price, 2) == expected


# The exact form --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", Side)
def test_isolated_liquidation_price_within_one_bracket_is_the_closed_form(side: Side) -> None:
    # In the third bracket both at entry and at liquidation.
    entry, leverage, notional, mmr, cum = 50_000.0, 20.0, 2_000_000.0, 0.0065, 1_500.0
    if side is Side.LONG:
        expected = entry * (1 - 1 / leverage - cum / notional) / (1 - mmr)
    else:
        expected = entry * (1 + 1 / leverage + cum / notional) / (1 + mmr)
    got = isolated_liquidation_price(side, entry, leverage, notional, TODAY)
    assert float(got) == pytest.approx(expected, rel=1e-14)


@given(anytable, sides, leverages, entries, st.data())
def test_isolated_liquidation_price_is_the_general_form_with_its_own_margin(
    table: BracketTable, side: Side, leverage: float, entry: float, data: st.DataObject
) -> None:
    notional = data.draw(sizes(table))
    general = liquidation_price(side, entry, notional / entry, notional / leverage, table)
    isolated = float(isolated_liquidation_price(side, entry, leverage, notional, table))
    assert isolated == pytest.approx(general, rel=1e-9, abs=entry * 1e-9)


@given(anytable, sides, leverages, entries, st.data())
def test_isolated_liquidation_price_margin_balance_there_is_the_maintenance_margin_there(
    table: BracketTable, side: Side, leverage: float, entry: float, data: st.DataObject
) -> None:
    notional = data.draw(sizes(table))
    price = float(isolated_liquidation_price(side, entry, leverage, notional, table))
    qty = notional / entry
    assume(price > 0)
    balance = notional / leverage + side * qty * (price - entry)
    # The bracket is looked up at the liquidation price: resolving again changes nothing.
    assert balance == pytest.approx(float(table.maintenance_margin(qty * price)), rel=1e-9, abs=notional * 1e-9)


@given(anytable, sides, st.floats(0.0, 3.0), st.floats(0.0, 1.0), st.floats(-1.0, 1.0), entries, st.data())
def test_liquidation_price_cross_margin_balance_there_is_the_maintenance_margin_there(
    table: BracketTable,
    side: Side,
    wallet: float,
    margin: float,
    pnl: float,
    entry: float,
    data: st.DataObject,
) -> None:
    notional = data.draw(sizes(table))
    qty = notional / entry
    price = liquidation_price(
        side,
        entry,
        qty,
        wallet * notional,
        table,
        other_maintenance_margin=margin * notional,
        other_unrealized_pnl=pnl * notional,
    )

    def spare(at: float) -> float:
        balance = (wallet - margin + pnl) * notional + side * qty * (at - entry)
        return balance - float(table.maintenance_margin(qty * at))

    slack = 1e-9 * notional * 8
    if price > 0:
        assert spare(price) == pytest.approx(0, abs=slack)
        # Safe on one side of the price, due on the other.
        assert spare(price * (1 + side * 0.01)) > -slack
        assert spare(price * (1 - side * 0.01)) < slack
    elif side is Side.LONG:
        assert spare(0.0) >= -slack
    else:
        assert spare(0.0) <= slack


def test_liquidation_price_bracket_at_entry_and_at_liquidation_differ_takes_the_latter() -> None:
    # 5.37 million at entry is in the bracket of 12.5 %, 4.11 million at liquidation in that of 10 %.
    entry_notional = ETH["qty"] * ETH["entry_price"]
    price = liquidation_price(Side.LONG, wallet_balance=WALLET, **ETH)
    assert ETH_2021.index([entry_notional, ETH["qty"] * price]).tolist() == [6, 5]
    unresolved = (WALLET + 260_365 - entry_notional) / (ETH["qty"] * (0.125 - 1))
    assert round(unresolved, 2) != round(price, 2)


@pytest.mark.parametrize("side", Side)
def test_liquidation_price_bracket_border_at_liquidation_is_met_from_both_sides(side: Side) -> None:
    # Margin chosen so that liquidation falls on the cap of 300 000: neither bracket wins over the other.
    entry, cap, qty = 1_000.0, 300_000.0, 310.0
    border = cap / qty
    wallet = 0.004 * cap - side * qty * (border - entry)
    price = liquidation_price(side, entry, qty, wallet, TODAY)
    assert price == pytest.approx(border, rel=1e-12)
    above, below = (liquidation_price(side, entry, qty, wallet + step, TODAY) for step in (1e-3, -1e-3))
    assert (below - price) * side > 0 > (above - price) * side
    assert abs(above - below) < 1e-5


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("table", builtin_tables(), ids=lambda table: table.table_id)
def test_liquidation_ratio_notional_across_a_cap_is_continuous(table: BracketTable, side: Side) -> None:
    cap = table.notional_cap[np.isfinite(table.notional_cap)]
    leverage = np.array([1.5, 5, 20, 100])[:, None]
    below = liquidation_ratio(side, leverage, cap * (1 - 1e-9), table)
    above = liquidation_ratio(side, leverage, cap * (1 + 1e-9), table)
    np.testing.assert_allclose(above, below, rtol=1e-8)


@given(anytable, sides, leverages, st.data())
def test_liquidation_ratio_larger_position_is_never_liquidated_later(
    table: BracketTable, side: Side, leverage: float, data: st.DataObject
) -> None:
    smaller, larger = sorted([data.draw(sizes(table)), data.draw(sizes(table))])
    ratio = liquidation_ratio(side, leverage, [smaller, larger], table)
    assert side * (ratio[1] - ratio[0]) >= -1e-12


@given(anytable, sides, leverages, leverages, st.data())
def test_liquidation_ratio_higher_leverage_is_liquidated_sooner(
    table: BracketTable, side: Side, one: float, other: float, data: st.DataObject
) -> None:
    lower, higher = sorted([one, other])
    assume(higher > lower * 1.001)
    ratio = liquidation_ratio(side, [lower, higher], data.draw(sizes(table)), table)
    if ratio[1] > 0:
        assert side * (ratio[1] - ratio[0]) > 0
    else:
        assert ratio[0] == 0


@given(anytable, sides, leverages, st.data())
def test_liquidation_ratio_comes_before_bankruptcy(
    table: BracketTable, side: Side, leverage: float, data: st.DataObject
) -> None:
    ratio = float(liquidation_ratio(side, leverage, data.draw(sizes(table)), table))
    bankrupt = float(bankruptcy_price(side, 1.0, leverage))
    # Maintenance margin is positive where the price is, so liquidation leaves something of the margin.
    assert side * (ratio - bankrupt) > 0 if bankrupt > 0 else ratio >= bankrupt


@given(anytable, sides, leverages, entries, st.floats(1e-3, 1e3), st.data())
def test_isolated_liquidation_price_scales_with_the_entry_price(
    table: BracketTable, side: Side, leverage: float, entry: float, factor: float, data: st.DataObject
) -> None:
    notional = data.draw(sizes(table))
    price = isolated_liquidation_price(side, [entry, entry * factor], leverage, notional, table)
    ratio = float(liquidation_ratio(side, leverage, notional, table))
    np.testing.assert_allclose(price, [entry * ratio, entry * factor * ratio], rtol=1e-12)


@given(tables(), sides, leverages, st.floats(1e-3, 1e3), st.data())
def test_liquidation_ratio_table_and_notional_in_another_unit_is_the_same(
    table: BracketTable, side: Side, leverage: float, factor: float, data: st.DataObject
) -> None:
    notional = data.draw(sizes(table))
    tiers = zip(table.notional_cap * factor, table.mmr, table.max_leverage, strict=True)
    scaled = BracketTable.from_tiers("V", "S", 0, "scaled", tiers)
    np.testing.assert_allclose(
        liquidation_ratio(side, leverage, notional * factor, scaled),
        liquidation_ratio(side, leverage, notional, table),
        rtol=1e-9,
        atol=1e-9,
    )


def test_liquidation_ratio_arrays_broadcast_and_agree_with_single_values() -> None:
    leverage, notional = np.array([2.0, 10.0, 50.0])[:, None], np.array([1e3, 1e6, 2e7, 1e9])
    for side in Side:
        ratios = liquidation_ratio(side, leverage, notional, TODAY)
        assert ratios.shape == (3, 4)
        for i, j in np.ndindex(3, 4):
            assert ratios[i, j] == liquidation_ratio(side, leverage[i, 0], notional[j], TODAY)


def test_liquidation_price_long_that_no_price_liquidates_is_zero() -> None:
    assert liquidation_price(Side.LONG, 100.0, 1.0, 100.0, TODAY) == 0.0
    assert liquidation_price(Side.LONG, 100.0, 1.0, 1e6, TODAY) == 0.0
    assert float(liquidation_ratio(Side.LONG, 1.0, 1e9, TODAY)) == 0.0
    assert liquidation_price(Side.LONG, 100.0, 1.0, 99.0, TODAY) > 0.0


def test_liquidation_price_short_that_every_price_liquidates_is_zero() -> None:
    assert liquidation_price(Side.SHORT, 100.0, 1.0, -101.0, TODAY) == 0.0
    assert liquidation_price(Side.SHORT, 100.0, 1.0, -99.0, TODAY) > 0.0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"side": 0}, r"side must be Side.LONG \(\+1\) or Side.SHORT \(-1\), was 0"),
        ({"entry_price": 0.0}, "entry_price must be finite and positive, was 0.0"),
        ({"qty": -1.0}, "qty must be finite and positive, was -1.0"),
        ({"wallet_balance": math.nan}, "wallet_balance must be finite, was nan"),
        ({"other_unrealized_pnl": math.inf}, "other_unrealized_pnl must be finite, was inf"),
        ({"other_maintenance_margin": -5.0}, "other_maintenance_margin must be finite and not negative"),
    ],
)
def test_liquidation_price_bad_argument_raises_and_names_it(changed: dict[str, Any], message: str) -> None:
    arguments = {"side": Side.LONG, "entry_price": 1.0, "qty": 1.0, "wallet_balance": 1.0, "table": TODAY}
    with pytest.raises(ValueError, match=message):
        liquidation_price(**(arguments | changed))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"side": 2}, "side must be"),
        ({"entry_price": [1.0, math.nan]}, "entry_price must be finite and positive, was nan"),
        ({"leverage": [10.0, 0.5]}, "leverage must be finite and at least 1, was 0.5"),
        ({"notional": [0.0, 1.0]}, "notional must be finite and positive, was 0.0"),
    ],
)
def test_isolated_liquidation_price_bad_argument_raises_and_names_it(changed: dict[str, Any], message: str) -> None:
    arguments = {"side": Side.LONG, "entry_price": 1.0, "leverage": 10.0, "notional": 1.0, "table": TODAY}
    with pytest.raises(ValueError, match=message):
        isolated_liquidation_price(**(arguments | changed))


def test_check_leverage_allowed_ones_pass_and_others_raise_with_what_is_allowed() -> None:
    check_leverage([150.0, 100.0, 1.0], [300_000.0, 800_000.0, 1.8e9], TODAY)
    with pytest.raises(BracketError, match=r"at most 100 for notional 300001 \(bracket 2\), was 150"):
        check_leverage(150.0, [300_000.0, 300_001.0], TODAY)
    with pytest.raises(BracketError, match="notional must be at most the last cap 1800000000"):
        check_leverage(1.0, 1.9e9, TODAY)
    with pytest.raises(ValueError, match="leverage must be finite and at least 1"):
        check_leverage(0.0, 1.0, TODAY)


@given(anytable, leverages, st.data())
def test_check_leverage_agrees_with_max_notional(table: BracketTable, leverage: float, data: st.DataObject) -> None:
    notional = data.draw(sizes(table))
    if notional <= table.max_notional(leverage):
        check_leverage(leverage, notional, table)
    else:
        with pytest.raises(BracketError, match="must be at most"):
            check_leverage(leverage, notional, table)


@given(entries, leverages)
def test_bankruptcy_price_is_where_the_margin_is_lost(entry: float, leverage: float) -> None:
    for side in Side:
        price = float(bankruptcy_price(side, entry, leverage))
        assert entry / leverage + side * (price - entry) == pytest.approx(0, abs=entry * 1e-12)


# The simplified form ---------------------------------------------------------------------------------------


def test_simplified_liquidation_price_original_table_agrees_to_the_dollar() -> None:
    published = {
        5: (72_072, 107_928),
        10: (81_036, 98_964),
        25: (86_436, 93_564),
        50: (88_218, 91_782),
        100: (89_122, 90_878),
    }
    assert set(published) == set(SIMPLIFIED_MMR)
    for leverage, (long, short) in published.items():
        for side, expected in ((Side.LONG, long), (Side.SHORT, short)):
            price = float(simplified_liquidation_price(side, 90_000.0, leverage, SIMPLIFIED_MMR[leverage]))
            # 100x falls on half dollars (89 122.5, 90 877.5), which went to the even one on either side.
            assert round(round(price, 6)) == expected
            assert price == pytest.approx(90_000.0 * float(simplified_ratio(side, leverage)), rel=1e-15)


def test_simplified_ratio_other_leverages_take_the_rate_of_the_step_below() -> None:
    leverage = np.array([1.0, 4.9, 5.0, 9.0, 10.0, 24.0, 25.0, 49.0, 75.0, 99.0, 100.0, 125.0])
    rates = np.array([0.004] * 6 + [0.01] * 4 + [0.025] * 2)
    for side in Side:
        np.testing.assert_array_equal(
            simplified_ratio(side, leverage), simplified_liquidation_price(side, 1.0, leverage, rates)
        )


@pytest.mark.parametrize("mmr", [-0.1, 1.0, math.nan])
def test_simplified_liquidation_price_impossible_rate_raises(mmr: float) -> None:
    with pytest.raises(ValueError, match="mmr must be in"):
        simplified_liquidation_price(Side.LONG, 1.0, 10.0, mmr)


@pytest.mark.parametrize(
    ("leverage", "exact", "with_mmr", "bare"),
    [
        (5, -19.679, -19.920, -20.000),
        (10, -9.639, -9.960, -10.000),
        (25, -3.614, -3.984, -4.000),
        (50, -1.606, -1.992, -2.000),
        (100, -0.602, -0.996, -1.000),
    ],
)
def test_shortcuts_are_as_far_off_as_known(leverage: int, exact: float, with_mmr: float, bare: float) -> None:
    def distance(price: Any) -> float:
        return round((float(price) / 100_000.0 - 1) * 100, 3)

    assert distance(isolated_liquidation_price(Side.LONG, 100_000.0, leverage, 10_000.0, TODAY)) == exact
    assert distance(simplified_liquidation_price(Side.LONG, 100_000.0, leverage, 0.004)) == with_mmr
    assert distance(bankruptcy_price(Side.LONG, 100_000.0, leverage)) == bare
