import csv
import datetime as dt
import math
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liqserver.margin import BracketError, BracketHistory, BracketTable, builtin_tables
from liqserver.margin.brackets import format_date, midnight

TIERS = ((300_000.0, 0.004, 150.0), (800_000.0, 0.005, 100.0), (3_000_000.0, 0.0065, 75.0))


def table(date: str = "2025-08-21", symbol: str = "BTCUSDT") -> BracketTable:
    return BracketTable.from_tiers("BINANCE", symbol, midnight(date), "test", TIERS)


def columns() -> dict[str, Any]:
    return {
        "notional_floor": [0.0, 300_000.0, 800_000.0],
        "notional_cap": [300_000.0, 800_000.0, 3_000_000.0],
        "mmr": [0.004, 0.005, 0.0065],
        "cum": [0.0, 300.0, 1_500.0],
        "max_leverage": [150.0, 100.0, 75.0],
    }


def build(**changed: Any) -> BracketTable:
    return BracketTable("BINANCE", "BTCUSDT", midnight("2025-08-21"), "test", **(columns() | changed))


def test_from_tiers_published_tiers_gives_the_published_floors_and_cum() -> None:
    made = table()
    assert made.table_id == "BINANCE:BTCUSDT:2025-08-21"
    assert len(made) == 3
    for name, expected in columns().items():
        np.testing.assert_array_equal(getattr(made, name), expected)


def test_constructor_arrays_given_are_copied_and_read_only() -> None:
    mmr = np.array([0.004, 0.005, 0.0065])
    made = build(mmr=mmr)
    mmr[0] = 0.9
    assert made.mmr[0] == 0.004
    with pytest.raises(ValueError, match="read-only"):
        made.mmr[0] = 0.1
    with pytest.raises(FrozenInstanceError):
        made.mmr = mmr  # type: ignore[misc]


@pytest.mark.parametrize(
    ("column", "bracket", "value", "rule"),
    [
        ("notional_floor", 1, 1.0, "must be 0"),
        ("notional_floor", 2, 300_001.0, "must be 300000, the cap before it"),
        ("notional_cap", 3, 800_000.0, "must be above its floor 800000"),
        ("notional_cap", 3, math.nan, "must be finite"),
        ("notional_cap", 2, math.inf, "must be finite"),
        ("mmr", 1, 0.0, "must be between 0 and 1"),
        ("mmr", 3, 1.0, "must be between 0 and 1"),
        ("mmr", 2, 0.004, "must be above 0.004"),
        ("mmr", 3, math.inf, "must be finite"),
        ("cum", 1, 5.0, "must be 0"),
        ("cum", 2, 300.01, "must be 300,"),
        ("cum", 3, math.nan, "must be finite"),
        ("max_leverage", 3, 0.5, "must be at least 1"),
        ("max_leverage", 2, 150.0, "must be below 150"),
        ("max_leverage", 1, math.inf, "must be finite"),
    ],
)
def test_constructor_broken_rule_raises_and_names_the_spot(column: str, bracket: int, value: float, rule: str) -> None:
    values = columns()[column]
    values[bracket - 1] = value
    with pytest.raises(BracketError) as caught:
        build(**{column: values})
    message = str(caught.value)
    assert message.startswith(f"BINANCE:BTCUSDT:2025-08-21: bracket {bracket}: {column} {rule}")
    assert message.endswith(f"was {value:.16g}")


def test_constructor_infinite_leverage_beside_infinite_cap_raises() -> None:
    with pytest.raises(BracketError, match="max_leverage must be finite"):
        BracketTable("V", "S", 0, "", *map(np.array, ([0.0], [math.inf], [0.1], [0.0], [math.inf])))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"mmr": [0.004, 0.005]}, "mmr must have as many brackets as notional_floor"),
        ({"notional_floor": []}, r"notional_floor must have shape \(n,\) with n > 0"),
        ({"cum": [[0.0, 300.0, 1500.0]]}, r"cum must have shape"),
    ],
)
def test_constructor_wrong_shape_raises_and_names_the_column(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(BracketError, match=message):
        build(**changed)


@pytest.mark.parametrize(
    ("venue", "symbol", "effective_from", "message"),
    [
        ("", "BTCUSDT", 0, "venue must be a name"),
        ("BINANCE", "BTC:USDT", 0, "symbol must be a name"),
        ("BINANCE", "BTCUSDT", 1.5, "effective_from must be UNIX ns"),
        ("BINANCE", "BTCUSDT", 2**63, "effective_from must be UNIX ns"),
    ],
)
def test_constructor_bad_key_raises_and_names_it(venue: str, symbol: str, effective_from: Any, message: str) -> None:
    with pytest.raises(BracketError, match=message):
        BracketTable(venue, symbol, effective_from, "test", **columns())


@pytest.mark.parametrize(
    "tiers", [[(1.0, 0.1)], [(1.0, 0.1, math.nan)], [(math.inf, 0.1, 2.0), (2.0, 0.2, 1.0)], [(1.0, math.inf, 1.0)]]
)
def test_from_tiers_not_three_finite_numbers_raises(tiers: Any) -> None:
    with pytest.raises(BracketError, match="bracket 1 must be three finite numbers"):
        BracketTable.from_tiers("V", "S", 0, "", tiers)


def test_from_tiers_infinite_last_cap_is_allowed() -> None:
    made = BracketTable.from_tiers("V", "S", 0, "", [(100.0, 0.1, 2.0), (math.inf, 0.2, 1.0)])
    assert made.index(1e30) == 1
    np.testing.assert_array_equal(made.cum, [0.0, 10.0])


def test_index_notional_on_a_cap_belongs_to_the_bracket_below() -> None:
    made = table()
    notional = np.array([[0.0, 1.0, 300_000.0], [np.nextafter(300_000.0, 1e9), 800_000.0, 3_000_000.0]])
    np.testing.assert_array_equal(made.index(notional), [[0, 0, 0], [1, 1, 2]])


def test_index_above_the_last_cap_raises_and_says_what_is_allowed() -> None:
    with pytest.raises(BracketError, match=r"at most the last cap 3000000, was 3000001"):
        table().index([1.0, 3_000_001.0])


@pytest.mark.parametrize("notional", [-1.0, math.nan, math.inf])
@pytest.mark.parametrize("method", [BracketTable.index, BracketTable.maintenance_margin])
def test_lookup_impossible_notional_raises(method: Callable[..., Any], notional: float) -> None:
    with pytest.raises(ValueError, match="notional must be finite and not negative"):
        method(table(), notional)


def test_maintenance_margin_is_continuous_at_every_cap_and_goes_on_above_the_last() -> None:
    made = table()
    cap = made.notional_cap[:-1]
    np.testing.assert_allclose(
        made.maintenance_margin(np.nextafter(cap, 0)), made.maintenance_margin(np.nextafter(cap, 1e9))
    )
    np.testing.assert_allclose(made.maintenance_margin([300_000.0, 6_000_000.0]), [1_200.0, 37_500.0])


@given(st.floats(0, 1e10))
def test_maintenance_margin_is_the_upper_envelope_of_the_brackets(notional: float) -> None:
    made = table()
    envelope = float(np.max(made.mmr * notional - made.cum))
    assert float(made.maintenance_margin(notional)) == pytest.approx(envelope, rel=1e-12, abs=1e-9)


def test_max_notional_is_the_cap_of_the_last_bracket_that_allows_the_leverage() -> None:
    leverage = [151.0, 150.0, 101.0, 100.0, 75.5, 75.0, 1.0]
    expected = [0.0, 300_000.0, 300_000.0, 800_000.0, 800_000.0, 3_000_000.0, 3_000_000.0]
    np.testing.assert_array_equal(table().max_notional(leverage), expected)
    assert table().max_notional(100.0).shape == ()


@pytest.mark.parametrize("leverage", [0.5, math.nan, math.inf])
def test_max_notional_impossible_leverage_raises(leverage: float) -> None:
    with pytest.raises(ValueError, match="leverage must be finite and at least 1"):
        table().max_notional(leverage)


def test_history_at_returns_the_table_in_force() -> None:
    old, new = table("2024-05-30"), table("2025-08-21")
    history = BracketHistory([new, old])
    assert history.earliest is old
    assert history.at(old.effective_from) is old
    assert history.at(new.effective_from - 1) is old
    assert history.at(new.effective_from) is new
    assert history.at(new.effective_from + 10**18) is new


def test_history_at_before_the_first_table_raises_and_says_the_first_date() -> None:
    history = BracketHistory([table("2024-05-30")])
    with pytest.raises(BracketError, match=r"at or after 2024-05-30.*BINANCE:BTCUSDT.*was 2024-05-29"):
        history.at(midnight("2024-05-30") - 1)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ([], "at least one"),
        ([table("2024-05-30"), table("2025-08-21", "ETHUSDT")], "of one symbol"),
        ([table(), table()], "2025-08-21 twice"),
    ],
)
def test_history_broken_rule_raises(tables: list[BracketTable], message: str) -> None:
    with pytest.raises(BracketError, match=message):
        BracketHistory(tables)


@pytest.mark.parametrize("text", ["2025-13-01", "20250821", "yesterday", "1500-01-01", ""])
def test_midnight_not_a_date_raises(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        midnight(text)


@given(st.dates(min_value=dt.date(1900, 1, 1), max_value=dt.date(2200, 1, 1)))
def test_midnight_is_undone_by_format_date(date: Any) -> None:
    assert format_date(midnight(str(date))) == str(date)


def test_builtin_tables_equal_the_observation_history(shared_data: Path) -> None:
    observed: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    with (shared_data / "brackets" / "bracket_history.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["mmr"]:
                cap = float(row["notional_cap"])
                numbers = [row["notional_floor"], cap if cap < 2**63 else math.inf, row["mmr"], row["cum"]]
                key = (row["symbol"], row["observed_on"])
                observed.setdefault(key, []).append(tuple(map(float, [*numbers, row["max_leverage"]])))
    builtin = builtin_tables()
    matched = set()
    for symbol in ("BTCUSDT", "ETHUSDT"):
        history = BracketHistory([t for t in builtin if t.symbol == symbol])
        for date in [date for s, date in observed if s == symbol]:
            made = history.at(midnight(date))
            rows = zip(made.notional_floor, made.notional_cap, made.mmr, made.cum, made.max_leverage, strict=True)
            assert list(rows) == observed[symbol, date], (symbol, date)
            matched.add(made.table_id)
    # Nothing is built in beyond what was observed, and no table stands twice in a row.
    assert matched == {t.table_id for t in builtin}
    for before, after in pairwise(builtin):
        assert before.symbol != after.symbol or not (
            np.array_equal(before.notional_cap, after.notional_cap)
            and np.array_equal(before.max_leverage, after.max_leverage)
            and np.array_equal(before.mmr, after.mmr)
        )


def test_builtin_first_btcusdt_table_follows_from_the_cum_observed_without_rates(shared_data: Path) -> None:
    first = next(t for t in builtin_tables() if t.symbol == "BTCUSDT")
    mmr, cum = Decimal("0.004"), Decimal(0)
    with (shared_data / "brackets" / "bracket_history.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if (row["observed_on"], row["symbol"]) == ("2022-02-12", "BTCUSDT")]
    assert first.table_id == "BINANCE:BTCUSDT:2022-02-12"
    assert len(rows) == len(first)
    for i, row in enumerate(rows):
        assert row["mmr"] == ""
        if i:
            mmr += (Decimal(row["cum"]) - cum) / Decimal(row["notional_floor"])
        cum = Decimal(row["cum"])
        got = (first.notional_cap[i], first.mmr[i], first.cum[i], first.max_leverage[i])
        assert got == (float(row["notional_cap"]), float(mmr), float(cum), float(row["max_leverage"]))
