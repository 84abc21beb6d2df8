import csv
import json
import math
from importlib.resources import files
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from liqserver.margin import BracketError, BracketTable, builtin_tables
from liqserver.margin.brackets import midnight
from liqserver.store.brackets import bracket_history, load_brackets, read_brackets, save_brackets

COLUMNS = ("notional_floor", "notional_cap", "mmr", "cum", "max_leverage")
HEADER = "symbol,bracket,notional_floor,notional_cap,mmr,cum,max_leverage"
ROWS = ["AUSDT,1,0,5000,0.015,0.0,50", "AUSDT,2,5000,10000,0.02,25.0,25", "BUSDT,1,0,7,0.01,0,75"]
OBSERVED = "observed_on,commit,symbol,tier,notional_floor,notional_cap,mmr,max_leverage,cum"


@pytest.fixture
def con() -> Any:
    with duckdb.connect() as connection:
        connection.execute((files("liqserver.store") / "schema.sql").read_text())
        yield connection


def write(folder: Path, name: str, *lines: str) -> Path:
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def entry(**changed: Any) -> dict[str, Any]:
    first = {"bracket": 1, "initialLeverage": 50, "notionalCap": 5000, "notionalFloor": 0}
    second = {"bracket": 2, "initialLeverage": 25, "notionalCap": 2**63 - 1, "notionalFloor": 5000}
    return {
        "symbol": "AUSDT",
        "brackets": [
            first | {"maintMarginRatio": 0.015, "cum": 0.0},
            second | {"maintMarginRatio": 0.02, "cum": 25.0},
        ],
    } | changed


def made(symbol: str = "AUSDT", date: str = "2026-09-29", rate: float = 0.015, n: int = 2) -> BracketTable:
    tiers = [(5000.0 * (i + 1), rate + 0.01 * i, 50.0 / (i + 1)) for i in range(n)]
    return BracketTable.from_tiers("BINANCE", symbol, midnight(date), "made", tiers)


def same(one: BracketTable, other: BracketTable) -> bool:
    keys = ("table_id", "venue", "symbol", "effective_from", "source")
    return all(getattr(one, key) == getattr(other, key) for key in keys) and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in COLUMNS
    )


def test_read_brackets_all_perpetuals_every_table_is_continuous_as_published(shared_data: Path) -> None:
    path = shared_data / "brackets" / "brackets_2026-09-29.csv"
    tables = read_brackets(path)
    assert len(tables) == 858
    by_symbol = {table.symbol: table for table in tables}
    assert by_symbol["BTCUSDT"].table_id == "BINANCE:BTCUSDT:2026-09-29"
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert sum(map(len, tables)) == len(rows)
    for row in rows:
        table, i = by_symbol[row["symbol"]], int(row["bracket"]) - 1
        assert all(getattr(table, name)[i] == float(row[name]) for name in COLUMNS)
    for table in tables:
        expected = table.cum[:-1] + table.notional_floor[1:] * np.diff(table.mmr)
        np.testing.assert_allclose(table.cum[1:], expected, rtol=0, atol=2e-9)


def test_read_brackets_history_agrees_with_the_built_in_tables(shared_data: Path) -> None:
    path = shared_data / "brackets" / "bracket_history.csv"
    tables = {table.table_id: table for table in read_brackets(path, skip_without_mmr=True)}
    assert "BINANCE:BTCUSDT:2022-02-12" not in tables
    builtin = {table.table_id: table for table in builtin_tables()}
    shared = tables.keys() & builtin.keys()
    # All but the one whose rates were not observed on its day, and that one again four days later.
    assert builtin.keys() - shared == {"BINANCE:BTCUSDT:2022-02-12"}
    assert tables.keys() - shared == {"BINANCE:BTCUSDT:2022-02-16"}
    for table_id in shared:
        assert all(
            np.array_equal(getattr(tables[table_id], name), getattr(builtin[table_id], name)) for name in COLUMNS
        )


def test_read_brackets_history_with_missing_rates_is_rejected_and_says_how_to_go_on(shared_data: Path) -> None:
    with pytest.raises(BracketError, match=r"line 2: bracket 1 of BTCUSDT: mmr .* empty; skip_without_mmr"):
        read_brackets(shared_data / "brackets" / "bracket_history.csv")


def test_read_brackets_json_list_and_single_object_give_the_same(tmp_path: Path) -> None:
    one = write(tmp_path, "a_2026-09-29.json", json.dumps(entry(notionalCoef=1)))
    many = write(tmp_path, "b_2026-09-29.json", json.dumps([entry(), entry(symbol="币安人生USDT")]))
    (single,) = read_brackets(one)
    first, second = read_brackets(many)
    assert (single.table_id, first.table_id) == ("BINANCE:AUSDT:2026-09-29",) * 2
    assert second.symbol == "币安人生USDT"
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(single, name), getattr(first, name))
    np.testing.assert_array_equal(single.notional_cap, [5000.0, math.inf])
    np.testing.assert_array_equal(single.max_leverage, [50.0, 25.0])


def test_read_brackets_date_of_effect_comes_from_column_then_name_then_argument(tmp_path: Path) -> None:
    observed = write(tmp_path, "export_2026-01-01.csv", OBSERVED, "2022-05-21,abc,AUSDT,1,0,5000,0.015,50.0,0.0")
    named = write(tmp_path, "brackets_2026-09-29.csv", HEADER, *ROWS)
    nameless = write(tmp_path, "brackets.csv", HEADER, *ROWS)
    ts = midnight("2023-01-02") + 5
    assert [t.effective_from for t in read_brackets(observed)] == [midnight("2022-05-21")]
    assert [t.table_id for t in read_brackets(named, venue="V")] == ["V:AUSDT:2026-09-29", "V:BUSDT:2026-09-29"]
    assert [t.effective_from for t in read_brackets(nameless, effective_from=ts)] == [ts, ts]
    with pytest.raises(BracketError, match="no date of effect"):
        read_brackets(nameless)


def test_read_brackets_date_given_against_the_files_own_is_refused(tmp_path: Path) -> None:
    named = write(tmp_path, "brackets_2026-09-29.csv", HEADER, *ROWS)
    assert len(read_brackets(named, effective_from=midnight("2026-09-29"))) == 2
    with pytest.raises(BracketError, match="the date in the name is 2026-09-29, was 5"):
        read_brackets(named, effective_from=5)


def test_read_brackets_rows_in_any_order_are_sorted_by_bracket(tmp_path: Path) -> None:
    path = write(tmp_path, "brackets_2026-09-29.csv", HEADER, ROWS[1], ROWS[2], ROWS[0])
    tables = read_brackets(path)
    np.testing.assert_array_equal(tables[0].notional_cap, [5000.0, 10000.0])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "header must name symbol"),
        ([HEADER], "holds no brackets"),
        ([HEADER.replace(",cum", ""), "AUSDT,1,0,5000,0.015,50"], "header must name cum"),
        ([HEADER, ROWS[0], "AUSDT,2,5000,10000,x,25.0,25"], "line 3: mmr must be a number, was 'x'"),
        ([HEADER, "", ROWS[0], "AUSDT,2,5000"], "line 4: must have 7 cells"),
        ([HEADER, ROWS[0] + ",9"], "line 2: must have 7 cells"),
        ([HEADER, "AUSDT,1.5,0,5000,0.015,0.0,50"], "line 2: bracket must be a whole number, was 1.5"),
        ([HEADER, ROWS[0], "AUSDT,3,5000,10000,0.02,25.0,25"], r"lines 2 to 3: .* numbered 1 to n.*\[1, 3\]"),
        ([HEADER, ROWS[0], ROWS[0]], r"numbered 1 to n, each once, were \[1, 1\]"),
        ([HEADER, ROWS[0], "AUSDT,2,5000,10000,,25.0,25"], "line 3: bracket 2 of AUSDT: mmr .* was empty$"),
        (
            [HEADER, ROWS[2], ROWS[0], "AUSDT,2,5000,10000,0.02,26.0,25"],
            "lines 3 to 4: BINANCE:AUSDT:2026-09-29: bracket 2: cum must be 25, .*was 26",
        ),
        ([HEADER, "AUSDT,1,0,5000,nan,0.0,50"], "bracket 1: mmr must be finite"),
        ([HEADER, ",1,0,5000,0.015,0.0,50"], "symbol must be a name"),
        ([OBSERVED, "today,abc,AUSDT,1,0,5000,0.015,50.0,0.0"], "line 2: observed_on must be a date"),
    ],
)
def test_read_brackets_bad_csv_is_rejected_whole_and_named(tmp_path: Path, lines: list[str], message: str) -> None:
    path = write(tmp_path, "brackets_2026-09-29.csv", *lines)
    with pytest.raises(BracketError, match=message) as caught:
        read_brackets(path, skip_without_mmr=True)
    assert str(caught.value).startswith("brackets_2026-09-29.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "must be JSON"),
        ("[]", "holds no brackets"),
        ('{"code": -2015, "msg": "Invalid API-key"}', "entry 1: must have a symbol.*Invalid API-key"),
        (json.dumps([entry(brackets=[])]), "entry 1: must have a symbol and its brackets"),
        (json.dumps([entry(), entry()]), "AUSDT: must stand in the file once"),
        (json.dumps([entry(notionalCoef=1.5)]), "AUSDT: notionalCoef must be 1 or absent, was 1.5"),
        (json.dumps([entry(brackets=[7])]), "AUSDT, bracket 1: must be an object"),
        (
            json.dumps(entry()).replace('"cum": 25.0', '"cum": true'),
            "AUSDT, bracket 2: cum must be a number, was True",
        ),
        (
            json.dumps(entry()).replace('"maintMarginRatio": 0.02, ', ""),
            "bracket 2: maintMarginRatio must be a number, was None",
        ),
        (json.dumps(entry()).replace("25.0", "26.0"), "AUSDT: BINANCE:AUSDT:.*: bracket 2: cum must be 25"),
        (json.dumps(entry()).replace("0.015", "1" * 400), "bracket 1: maintMarginRatio must be a number"),
    ],
)
def test_read_brackets_bad_json_is_rejected_whole_and_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BracketError, match=message):
        read_brackets(write(tmp_path, "brackets_2026-09-29.json", text))


def test_read_brackets_not_such_a_file_raises(tmp_path: Path) -> None:
    with pytest.raises(BracketError, match=r"must be .csv or .json, was '.txt'"):
        read_brackets(write(tmp_path, "brackets_2026-09-29.txt", HEADER))
    with pytest.raises(BracketError, match="must hold one date, holds 2026-09-29, 2026-09-30"):
        read_brackets(write(tmp_path, "2026-09-29_2026-09-30.csv", HEADER, *ROWS))
    binary = tmp_path / "brackets_2026-09-29.csv"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BracketError, match="must be UTF-8"):
        read_brackets(binary)
    with pytest.raises(FileNotFoundError):
        read_brackets(tmp_path / "none_2026-09-29.csv")


def test_save_and_load_brackets_give_back_the_same_tables(con: Any) -> None:
    tables = [made("ZUSDT"), made("AUSDT", "2026-09-29"), made("AUSDT", "2025-01-01", n=4), *builtin_tables()]
    save_brackets(con, tables)
    loaded = load_brackets(con)
    expected = sorted(tables, key=lambda t: (t.venue, t.symbol, t.effective_from))
    assert len(loaded) == len(expected)
    assert all(map(same, loaded, expected))
    assert [t.table_id for t in load_brackets(con, symbol="AUSDT")] == [
        "BINANCE:AUSDT:2025-01-01",
        "BINANCE:AUSDT:2026-09-29",
    ]
    assert len(load_brackets(con, venue="BINANCE", symbol="ZUSDT")) == 1
    assert load_brackets(con, venue="BYBIT") == []


def test_save_brackets_stored_table_id_is_replaced_and_others_stay(con: Any) -> None:
    other = made("BUSDT")
    save_brackets(con, [made(n=4), other])
    shorter = made(rate=0.02, n=2)
    save_brackets(con, [shorter])
    longer = made("BUSDT", rate=0.03, n=5)
    first, second = load_brackets(con)
    assert same(first, shorter)
    assert same(second, other)
    save_brackets(con, [longer])
    assert same(load_brackets(con, symbol="BUSDT")[0], longer)
    save_brackets(con, [])
    assert len(load_brackets(con)) == 2


def test_save_brackets_within_a_transaction_of_the_caller_is_undone_with_it(con: Any) -> None:
    save_brackets(con, [made(n=3)])
    con.begin()
    save_brackets(con, [made(rate=0.02), made("BUSDT")])
    con.rollback()
    (table,) = load_brackets(con)
    assert same(table, made(n=3))


def test_save_brackets_same_table_id_twice_raises(con: Any) -> None:
    with pytest.raises(BracketError, match="BINANCE:AUSDT:2026-09-29 more than once"):
        save_brackets(con, [made("BUSDT"), made(), made(rate=0.02)])
    assert load_brackets(con) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("DELETE FROM brackets WHERE bracket = 1", r"stored brackets must be numbered 1 to n, were \[2\]"),
        ("UPDATE brackets SET table_id = 'X'", "table_id must be BINANCE:AUSDT:2026-09-29"),
        ("UPDATE brackets SET mmr = 0.001 WHERE bracket = 2", "bracket 2: mmr must be above 0.015"),
    ],
)
def test_load_brackets_stored_nonsense_raises(con: Any, change: str, message: str) -> None:
    save_brackets(con, [made()])
    con.execute(change)
    with pytest.raises(BracketError, match=message):
        load_brackets(con)


def test_bracket_history_merges_built_in_and_stored_and_stored_wins(con: Any) -> None:
    builtin = [t for t in builtin_tables() if t.symbol == "BTCUSDT"]
    before = bracket_history(con, "BINANCE", "BTCUSDT")
    assert before is not None
    assert list(before.tables) == builtin
    corrected, new = made("BTCUSDT", "2025-08-21"), made("BTCUSDT", "2026-09-29")
    save_brackets(con, [new, corrected, made("ETHUSDT"), made("AUSDT")])
    history = bracket_history(con, "BINANCE", "BTCUSDT")
    assert history is not None
    assert [t.table_id for t in history.tables] == [t.table_id for t in builtin] + [new.table_id]
    assert same(history.at(midnight("2026-01-01")), corrected)
    assert same(history.at(midnight("2026-12-31")), new)
    stored = bracket_history(con, "BINANCE", "AUSDT")
    assert stored is not None
    assert same(stored.earliest, made("AUSDT"))


def test_bracket_history_unknown_symbol_is_none(con: Any) -> None:
    save_brackets(con, [made("AUSDT")])
    assert bracket_history(con, "BYBIT", "AUSDT") is None
