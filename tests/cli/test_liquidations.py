"""`liqserver liquidations` on force orders as they were recorded."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.cli.running import run

MS, HOUR = 10**6, 3600 * 10**9
ROWS = ["ts_event", "side", "price", "qty", "notional"]
SUMS = ["ts", "long_notional", "short_notional", "long_qty", "short_qty", "long_count", "short_count"]
type Order = tuple[int, str, float, float]


@pytest.fixture(scope="module")
def orders(shared_data: Path) -> list[Order]:
    """The orders of BTC in the file, read anew: time in ns, side of the position, average price, filled quantity.

    The recording holds many of them twice; they count once.
    """
    with (shared_data / "binance-originals" / "force_orders_2025-01-26.csv").open() as file:
        rows = [row for row in csv.reader(file) if row[0] == "BTC"]
    return sorted(
        {(int(row[10]) * MS, "long" if row[1] == "SELL" else "short", float(row[6]), float(row[9])) for row in rows}
    )


def test_csv_is_what_was_recorded(recorded_server: str, orders: list[Order]) -> None:
    done = run("liquidations", "BTCUSDT", "--target", recorded_server, "--limit", "0", "--format", "csv")
    assert done.columns() == ROWS
    rows = [(int(r["ts_event"]), r["side"], float(r["price"]), float(r["qty"])) for r in done.rows()]
    assert sorted(rows) == orders
    assert len(rows) > 20
    for row in done.rows():
        assert float(row["notional"]) == pytest.approx(float(row["price"]) * float(row["qty"]))


def test_side_span_and_limit(recorded_server: str, orders: list[Order]) -> None:
    longs = [order for order in orders if order[1] == "long"]
    first, last = longs[2][0], longs[-2][0]
    span = ("--side", "long", "--start", first, "--end", last // MS)
    arguments = ("liquidations", "BTCUSDT", "--target", recorded_server, *span)
    wanted = [order for order in longs if first <= order[0] < last]
    rows = run(*arguments, "--format", "csv").rows()
    assert [int(row["ts_event"]) for row in rows] == [order[0] for order in wanted]
    answer = json.loads(run(*arguments, "--limit", "2", "--format", "json").stdout)
    assert [row["ts_event"] for row in answer["rows"]] == [order[0] for order in wanted[:2]]
    assert answer["more"] is True
    assert answer["total_rows"] == len(wanted)
    out = run(*arguments, "--limit", "2").stdout
    assert f"{len(wanted):,} recorded in the span" in out
    assert "more follow after these 2 rows" in out


def test_by_interval(recorded_server: str, orders: list[Order]) -> None:
    arguments = ("liquidations", "BTCUSDT", "--target", recorded_server, "--interval", "1h")
    done = run(*arguments, "--format", "csv")
    assert done.columns() == SUMS
    rows = done.rows()
    assert [int(row["ts"]) for row in rows] == sorted({order[0] // HOUR * HOUR for order in orders})
    for row in rows:
        within = [order for order in orders if order[0] // HOUR * HOUR == int(row["ts"])]
        for side in ("long", "short"):
            mine = [order for order in within if order[1] == side]
            assert int(row[f"{side}_count"]) == len(mine)
            assert float(row[f"{side}_notional"]) == pytest.approx(sum(price * qty for _, _, price, qty in mine))
    table = [line for line in run(*arguments).stdout.splitlines() if line.startswith(" 2025-01-2")]
    assert len(table) == len(rows)
    answer = json.loads(run(*arguments, "--format", "json").stdout)
    assert list(answer["rows"][0]) == SUMS


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("BTCUSDT", "--interval", "1"), 2, "'--interval': length must be a whole number and one of s, m, h, d, w"),
        (("BTCUSDT", "--interval", "31d"), 1, "30 days"),
        (("BTCUSDT", "--limit", "-1"), 2, "--limit"),
        (("BTCUSDT", "--side", "buy"), 2, "'buy'"),
        (("BTCUSDT", "--start", "2025-01-26"), 2, "'--start': time must end in Z or an offset"),
        (("BTCUSDT", "--start", "2025-01-27T00:00Z", "--end", "2025-01-26T00:00Z"), 1, "must be before end"),
    ],
)
def test_bad_question(recorded_server: str, arguments: tuple[str, ...], code: int, said: str) -> None:
    assert said in run("liquidations", *arguments, "--target", recorded_server, code=code).said


def test_names_that_are_not_known(market_server: str) -> None:
    done = run("liquidations", "NOPEUSDT", "--target", market_server, code=1)
    assert "symbol 'NOPEUSDT' is not known; known: BINANCE:BTCUSDT" in done.said
    done = run("liquidations", "BTCUSDT", "--venue", "BYBIT", "--target", market_server, code=1)
    assert "symbol 'BYBIT:BTCUSDT' is not known" in done.said


def test_a_symbol_without_any(shared_data: Path, tmp_path: Path) -> None:
    db = tmp_path / "x.duckdb"
    run("ingest", shared_data / "binance-originals" / "BTCUSDT-1h-2024-10-28.zip", "--db", db)
    assert "no liquidations of BINANCE:BTCUSDT are recorded" in run("liquidations", "BTCUSDT", "--db", db, code=1).said


def test_simulated_market_in_two_pages_is_that_in_one(market_server: str) -> None:
    arguments = ("liquidations", "BTCUSDT", "--target", market_server, "--format", "csv")
    everything = run(*arguments, "--limit", "0").rows()
    some = run(*arguments).rows()
    assert len(some) == 100
    assert some == everything[:100]
    split = everything[60]["ts_event"]
    before, after = (run(*arguments, "--limit", "0", way, split).rows() for way in ("--end", "--start"))
    assert before + after == everything
