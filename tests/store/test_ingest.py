import csv as csv_module
import io
import math
import signal
import subprocess
import sys
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from liqserver.store import loaders
from liqserver.store.archive import ArchiveError, Kind
from liqserver.store.database import Database, StoreError
from liqserver.store.ingest import FileResult, IngestReport, Progress, Status, ingest
from liqserver.store.loaders import LARGE_TRADE_NOTIONAL
from tests.store.archive_files import (
    DAY,
    DAY_MS,
    FIVE_MINUTES,
    candle,
    metric,
    text_of,
    trade,
    trades,
    write_file,
)

MS = 1_000_000
MINUTE = 60_000 * MS
Rows = Sequence[Sequence[object]]
TABLES = (
    "symbols",
    "flow",
    "large_trades",
    "trade_ranges",
    "open_interest",
    "mark_price",
    "klines",
    "funding",
    "liquidations",
    "ledger",
)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path / "db" / "test.duckdb") as database:
        yield database


@pytest.fixture(params=["compiled", "DuckDB"])
def scan(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files, too, by the compiled scan of large ones; and everything by DuckDB's."""
    monkeypatch.setattr(loaders, "COMPILED_SCAN_BYTES", 0 if request.param == "compiled" else 1 << 60)


both_scans = pytest.mark.usefixtures("scan")


def rows_of(db: Database, sql: str) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = db.cursor().execute(sql).fetchall()
    return rows


def state(db: Database) -> dict[str, list[tuple[Any, ...]]]:
    """Everything in the tables, as text, since NaN differs from itself."""
    return {t: sorted(rows_of(db, f"SELECT {t}::VARCHAR FROM {t}")) for t in TABLES}


def take(db: Database, folder: Path, name: str, kind: Kind, rows: Rows, **options: Any) -> FileResult:
    """Write one file and ingest it."""
    text = text_of(kind, rows, header=options.pop("header", True))
    below = folder / "markPriceKlines" if kind is Kind.MARK_PRICE_KLINES else folder / "klines"
    [result] = ingest(db, [write_file(below, name, text)], **options).files
    return result


def take_trades(
    db: Database, folder: Path, rows: Rows, name: str = "BTCUSDT-aggTrades-2025-12-01.zip", **o: Any
) -> FileResult:
    return take(db, folder, name, Kind.AGG_TRADES, rows, **o)


def take_candles(
    db: Database, folder: Path, rows: Rows, name: str = "BTCUSDT-5m-2025-12-01.zip", **o: Any
) -> FileResult:
    return take(db, folder, name, Kind.KLINES, rows, **o)


def take_metrics(
    db: Database, folder: Path, rows: Rows, name: str = "BTCUSDT-metrics-2025-12-01.zip", **o: Any
) -> FileResult:
    """Metrics need a symbol that is known."""
    if not rows_of(db, "FROM symbols WHERE symbol = 'BTCUSDT'"):
        take_candles(db, folder, [candle(DAY)])
    return take(db, folder, name, Kind.METRICS, rows, **o)


def only(report: IngestReport) -> FileResult:
    [result] = report.files
    return result


# --- trades ----------------------------------------------------------------------------------------------


@both_scans
def test_a_trade_lands_in_its_minute_bin_class_and_side(db: Database, tmp_path: Path) -> None:
    result = take_trades(
        db,
        tmp_path,
        [
            trade(1, 90_000.0, 0.01, DAY),  # 900: class 0
            trade(2, 90_004.9, 0.1, DAY + 59_999, buyer_maker=True),  # 9 000: class 1, the taker sold
            trade(3, 90_005.0, 1, DAY + 60_000),  # the next bin, the next minute
            trade(4, 90_005.0, 11, DAY + 60_000),  # class 3
            trade(5, 90_005.0, 12, DAY + 60_001, buyer_maker=True),
            trade(6, 100_000.0, 10, DAY + 60_001),  # exactly a million: class 4
            trade(7, 100_000.0, 1, DAY + 60_001),  # exactly the threshold: class 3
        ],
    )
    assert (result.status, result.rows, result.stored_rows, result.dropped_rows) == (Status.INGESTED, 7, 7, 0)
    start = DAY * MS
    assert rows_of(db, "SELECT * EXCLUDE (symbol_id, file_id) FROM flow ORDER BY ALL") == [
        (start + MINUTE, start + MINUTE, 18_000, 0, 0.01, 0.0, 900.0, 0.0, 1, 0),
        (start + MINUTE, start + MINUTE, 18_000, 1, 0.0, 0.1, 0.0, 9000.49, 0, 1),
        (start + 2 * MINUTE, start + 2 * MINUTE, 18_001, 2, 1.0, 0.0, 90_005.0, 0.0, 1, 0),
        (start + 2 * MINUTE, start + 2 * MINUTE, 18_001, 3, 11.0, 0.0, 990_055.0, 0.0, 1, 0),
        (start + 2 * MINUTE, start + 2 * MINUTE, 18_001, 4, 0.0, 12.0, 0.0, 1_080_060.0, 0, 1),
        (start + 2 * MINUTE, start + 2 * MINUTE, 20_000, 3, 1.0, 0.0, 100_000.0, 0.0, 1, 0),
        (start + 2 * MINUTE, start + 2 * MINUTE, 20_000, 4, 10.0, 0.0, 1_000_000.0, 0.0, 1, 0),
    ]
    assert rows_of(db, "SELECT * EXCLUDE (symbol_id, file_id) FROM large_trades") == [
        (start + MINUTE, start + 2 * MINUTE, 4, 90_005.0, 11.0, True),
        (start + MINUTE + MS, start + 2 * MINUTE, 5, 90_005.0, 12.0, False),
        (start + MINUTE + MS, start + 2 * MINUTE, 6, 100_000.0, 10.0, True),
        (start + MINUTE + MS, start + 2 * MINUTE, 7, 100_000.0, 1.0, True),
    ]
    assert rows_of(db, "SELECT venue, symbol, tick_size, tick_size_source, base_bin FROM symbols") == [
        ("BINANCE", "BTCUSDT", 0.1, "built in", 5.0)
    ]
    assert (result.ts_start, result.ts_end) == (start, start + 2 * MINUTE)


@both_scans
def test_the_ledger_row(db: Database, tmp_path: Path) -> None:
    take_trades(db, tmp_path, trades(5, first_id=10), clock=lambda: 77)
    [row] = rows_of(db, "SELECT * EXCLUDE (sha256, bytes) FROM ledger")
    assert row == (
        1, 1, "aggTrades", 0, "BTCUSDT-aggTrades-2025-12-01.zip", 5, 5, 0, 10, 14, DAY * MS, DAY * MS + MINUTE, "[]", 77
    )  # fmt: skip


@both_scans
def test_with_and_without_header_zip_and_csv_give_the_same(tmp_path: Path) -> None:
    tables = []
    for n, (suffix, header) in enumerate((("zip", True), ("zip", False), ("csv", True), ("csv", False))):
        with Database(tmp_path / f"{n}.duckdb") as db:
            for kind, name, rows in (
                (Kind.AGG_TRADES, "BTCUSDT-aggTrades-2025-12-01", trades(500)),
                (Kind.KLINES, "BTCUSDT-5m-2025-12-01", [candle(DAY)]),
                (Kind.MARK_PRICE_KLINES, "BTCUSDT-5m-2025-12-01", [candle(DAY)]),
                (Kind.METRICS, "BTCUSDT-metrics-2025-12-01", [metric("2025-12-01 00:05:00", 7)]),
                (Kind.FUNDING_RATE, "BTCUSDT-fundingRate-2025-12", [(DAY, 8, 0.0001)]),
            ):
                result = take(db, tmp_path / str(n), f"{name}.{suffix}", kind, rows, header=header)
                assert result.status is Status.INGESTED, result.reason
            tables.append({t: rows for t, rows in state(db).items() if t != "ledger"})
    assert tables[0] == tables[1] == tables[2] == tables[3]


@both_scans
def test_sums_do_not_depend_on_the_order_of_rows_or_threads(tmp_path: Path) -> None:
    rows = [
        trade(i, round(90_000 + (i * 37 % 100) / 10, 1), round(0.1 + (i * 7919 % 1000) / 1000, 3), DAY + i % 7)
        for i in range(1, 40_001)
    ]
    tables = []
    for n, order in enumerate((rows, rows[::-1])):
        with Database(tmp_path / f"{n}.duckdb", threads=1 + 3 * n) as db:
            # Its first row is not its first id: the ids are looked at more closely.
            assert take_trades(db, tmp_path / str(n), order).status is Status.INGESTED
            tables.append({t: rows for t, rows in state(db).items() if t != "ledger"})
    assert tables[0] == tables[1]


@both_scans
def test_microseconds_are_converted(tmp_path: Path) -> None:
    tables = []
    for n, factor in enumerate((1, 1000)):
        with Database(tmp_path / f"{n}.duckdb") as db:
            rows = [(*t[:5], int(str(t[5])) * factor, t[6]) for t in trades(50, step=7001)]
            result = take_trades(db, tmp_path / str(n), rows)
            candles = [tuple(v * factor if c in (0, 6) else v for c, v in enumerate(candle(DAY)))]  # type: ignore[operator]
            assert take_candles(db, tmp_path / str(n), candles).status is Status.INGESTED
            tables.append({t: rows for t, rows in state(db).items() if t != "ledger"})
    assert result.notices == ("its times are in microseconds",)
    assert tables[0] == tables[1]


@both_scans
def test_identical_trades_are_dropped_and_counted(db: Database, tmp_path: Path) -> None:
    rows = trades(100)
    result = take_trades(db, tmp_path, rows[:50] + rows[40:] + rows[:1])
    assert (result.status, result.rows, result.dropped_rows) == (Status.INGESTED, 111, 11)
    assert result.notices == ("11 rows dropped: identical copies of other rows of the file",)
    with Database(tmp_path / "clean.duckdb") as clean:
        take_trades(clean, tmp_path / "clean", rows)
        for table in ("flow", "large_trades", "trade_ranges"):
            assert state(db)[table] == state(clean)[table]


@both_scans
def test_a_copy_and_a_gap_that_make_up_for_each_other_are_found(db: Database, tmp_path: Path) -> None:
    rows = trades(100)
    result = take_trades(db, tmp_path, [*rows[:50], rows[49], *rows[51:]])
    assert (result.rows, result.dropped_rows) == (100, 1)
    assert result.notices[1] == "1 trade ids are missing in the file, in 1 gap, the first after id 50"
    assert rows_of(db, "SELECT sum(buy_count + sell_count) FROM flow") == [(99,)]


@both_scans
def test_one_id_with_two_contents_is_rejected_with_both_lines(db: Database, tmp_path: Path) -> None:
    rows = trades(10)
    result = take_trades(db, tmp_path, [*rows, trade(3, 1.5, 1, DAY)])
    assert result.reason == "line 12: agg_trade_id 3 is that of line 4, with other values"
    assert rows_of(db, "FROM ledger") == []


@both_scans
def test_gaps_are_a_notice(db: Database, tmp_path: Path) -> None:
    rows = trades(200_000, step=10)
    result = take_trades(db, tmp_path, rows[:1000] + rows[1005:150_000] + rows[150_001:])
    assert result.status is Status.INGESTED
    assert result.notices == ("6 trade ids are missing in the file, in 2 gaps, the first after id 1000",)
    assert rows_of(db, "SELECT first_id, last_id FROM trade_ranges ORDER BY ALL") == [
        (1, 1000),
        (1006, 150_000),
        (150_002, 200_000),
    ]


@both_scans
@pytest.mark.parametrize("month_first", [True, False])
def test_a_month_and_its_days_are_counted_once(db: Database, tmp_path: Path, month_first: bool) -> None:
    rows = trades(3000, step=DAY_MS // 1000)  # three days
    day = rows[1000:2000]
    files = [("BTCUSDT-aggTrades-2025-12.zip", rows), ("BTCUSDT-aggTrades-2025-12-02.zip", day)]
    results = [take_trades(db, tmp_path, r, name) for name, r in (files if month_first else files[::-1])]
    assert results[1].dropped_rows == 1000
    assert results[1].notices == ("1,000 rows left out: their trade ids came in with another file",)
    assert results[1].stored_rows == (0 if month_first else results[1].stored_rows)
    with Database(tmp_path / "clean.duckdb") as clean:
        take_trades(clean, tmp_path / "clean", rows, "BTCUSDT-aggTrades-2025-12.zip")
        totals = "SELECT ts_event, bin, size_class, sum(buy_qty), sum(sell_count) FROM flow GROUP BY ALL ORDER BY ALL"
        assert rows_of(db, totals) == rows_of(clean, totals)
        large = "SELECT * EXCLUDE (file_id) FROM large_trades ORDER BY trade_id"
        assert rows_of(db, large) == rows_of(clean, large)
    spans = rows_of(db, "SELECT first_id, last_id FROM trade_ranges ORDER BY first_id")
    assert spans == ([(1, 3000)] if month_first else [(1, 1000), (1001, 2000), (2001, 3000)])


@both_scans
def test_a_replaced_day_takes_back_only_its_own_place_in_the_month(db: Database, tmp_path: Path) -> None:
    rows = trades(3000, step=DAY_MS // 1000)
    name = "BTCUSDT-aggTrades-2025-12-02.zip"
    take_trades(db, tmp_path, rows[1000:1999], name)
    take_trades(db, tmp_path, rows[:1999] + rows[2000:], "BTCUSDT-aggTrades-2025-12.zip")
    result = take_trades(db, tmp_path, rows[1000:2000], name, replace=True)
    assert (result.rows, result.dropped_rows) == (1000, 0)
    assert rows_of(db, "SELECT sum(buy_count + sell_count) FROM flow") == [(3000,)]


@both_scans
def test_overlap_with_copies_and_gaps(db: Database, tmp_path: Path) -> None:
    rows = trades(100)
    take_trades(db, tmp_path, rows[:30], "BTCUSDT-aggTrades-2025-12-01.zip")
    result = take_trades(db, tmp_path, rows[20:60] + rows[25:40] + rows[70:], "BTCUSDT-aggTrades-2025-12.zip")
    assert (result.rows, result.dropped_rows) == (85, 25)
    assert rows_of(db, "SELECT sum(buy_count + sell_count) FROM flow") == [(90,)]


@both_scans
@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (trade(15, -3.1, 1, DAY), "line 17: price was -3.1, must be a positive number"),
        (trade(15, 0, 1, DAY), "line 17: price was 0, must be a positive number"),
        (trade(15, "nan", 1, DAY), "line 17: price was nan, must be a positive number"),
        (trade(15, "inf", 1, DAY), "line 17: price was inf, must be a positive number"),
        (trade(15, "", 1, DAY), "line 17: price was empty, must be a positive number"),
        (trade(15, "abc", 1, DAY), "line 17: price was 'abc', must be a positive number"),
        (trade(15, 9e4, -1, DAY), "line 17: quantity was -1, must be a positive number"),
        (trade(15, 9e4, 0, DAY), "line 17: quantity was 0, must be a positive number"),
        (trade(15, 9e4, "NaN", DAY), "line 17: quantity was NaN, must be a positive number"),
        (trade(15, 9e4, "-inf", DAY), "line 17: quantity was -inf, must be a positive number"),
        (trade(15, -9e4, -1, DAY), "line 17: price was -90000.0, must be a positive number"),
        ((15, 9e4, 1, 15, 15, "", True), "line 17: transact_time was empty, must be a time in milli"),
        ((15, 9e4, 1, 15, 15, -5, True), "line 17: transact_time was -5, must be a time in milli"),
        ((15, 9e4, 1, 15, 15, DAY, ""), "line 17: is_buyer_maker was empty, must be true or false"),
        (("", 9e4, 1, 15, 15, DAY, True), "line 17: agg_trade_id was empty, must be a whole number"),
        (("1.5x", 9e4, 1, 15, 15, DAY, True), "line 17: agg_trade_id was '1.5x', must be a whole number"),
        ((15, 9e4, 1, 15, 15, DAY), "line 17: number of columns was 6, must be 7"),
        ((15, 9e4, 1, 15, 15, DAY, True, 1), "line 17: number of columns was 8, must be 7"),
        (trade(15, 9e4, 1, DAY + 3 * DAY_MS), "a file of another date than its name says"),
        (trade(15, 9e4, 1, DAY - 2 * DAY_MS), "a file of another date than its name says"),
    ],
)
def test_a_bad_row_rejects_the_file_whole(db: Database, tmp_path: Path, bad: tuple[object, ...], reason: str) -> None:
    rows = trades(15, first_id=0)
    before = state(db)
    result = take_trades(db, tmp_path, [*rows, bad, *trades(5, first_id=16)])
    assert result.status is Status.REJECTED
    assert reason in result.reason
    assert result.reason.startswith("line 17: ")
    assert state(db) == before
    # Nothing of it stays, and the mended file goes in.
    assert take_trades(db, tmp_path, [*rows, *trades(5, first_id=15)]).status is Status.INGESTED


@both_scans
def test_a_day_of_slack_around_the_date(db: Database, tmp_path: Path) -> None:
    rows = [trade(1, 9e4, 1, DAY - DAY_MS + 1), trade(2, 9e4, 1, DAY + 2 * DAY_MS - 1)]
    assert take_trades(db, tmp_path, rows).status is Status.INGESTED


# --- candles ---------------------------------------------------------------------------------------------


def test_candles_are_stamped_at_their_end(db: Database, tmp_path: Path) -> None:
    rows = [candle(DAY), candle(DAY + FIVE_MINUTES, volume=0, rest=("", "", ""))]
    result = take_candles(db, tmp_path, rows)
    start, period = DAY * MS, FIVE_MINUTES * MS
    first, second = rows_of(db, "SELECT * EXCLUDE (symbol_id, file_id) FROM klines ORDER BY ts_event")
    assert first == (period, start + period, start + period, 100.0, 102.5, 99.5, 101.0, 7.5, 750.0, 12.0, 3.5)
    assert second[:8] == (period, start + 2 * period, start + 2 * period, 100.0, 102.5, 99.5, 101.0, 0.0)
    assert all(math.isnan(v) for v in second[8:])
    assert (result.period, result.ts_start, result.ts_end) == (period, start, start + 2 * period)


def test_mark_and_last_price_of_one_name_are_told_apart_by_folder(db: Database, tmp_path: Path) -> None:
    name = "BTCUSDT-5m-2025-12-01.zip"
    take(db, tmp_path, name, Kind.KLINES, [candle(DAY)])
    result = take(db, tmp_path, name, Kind.MARK_PRICE_KLINES, [candle(DAY, volume=0, rest=(0, 0, 0))])
    assert (result.status, result.kind) == (Status.INGESTED, "markPriceKlines")
    end = DAY * MS + FIVE_MINUTES * MS
    assert rows_of(db, "SELECT * EXCLUDE (symbol_id, file_id) FROM mark_price") == [
        (FIVE_MINUTES * MS, end, end, 100.0, 102.5, 99.5, 101.0)
    ]


@pytest.mark.parametrize("kind", [Kind.KLINES, Kind.MARK_PRICE_KLINES])
@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (candle(DAY, (100, 102, 101, 101)), "line 3: open was 100, must lie between low 101 and high 102"),
        (candle(DAY, (100, 102, 99, 103)), "line 3: close was 103, must lie between low 99 and high 102"),
        (candle(DAY, (0, 1, 0, 1)), "line 3: open was 0, must be a positive number"),
        (candle(DAY, (1, "nan", 1, 1)), "line 3: high was nan, must be a positive number"),
        (candle(DAY, (1, "inf", 1, 1)), "line 3: high was inf, must be a positive number"),
        (candle(DAY, (1, 1, 1, "")), "line 3: close was empty, must be a positive number"),
        (candle(DAY, period=2 * FIVE_MINUTES), "line 3: close_time was 1764547799999, must lie within the period"),
        (candle(DAY + 60_000), "line 3: the candle begins 60 s after another, its name says 300 s"),
        (candle(DAY + 5 * DAY_MS), "line 3: open_time was 1764979200000 (2025-12-06 00:00:00 UTC), more than a day"),
        (candle(DAY, (100, 102.5, 99.5, 101.5)), "line 3: has the time of line 2 (2025-12-01 00:00:00), other values"),
    ],
)
def test_bad_candles(db: Database, tmp_path: Path, kind: Kind, bad: tuple[object, ...], reason: str) -> None:
    take_trades(db, tmp_path, trades(3))
    result = take(db, tmp_path, "BTCUSDT-5m-2025-12-01.zip", kind, [candle(DAY), bad])
    assert result.status is Status.REJECTED
    assert result.reason.startswith(reason)
    assert rows_of(db, "SELECT count(*) FROM klines UNION ALL SELECT count(*) FROM mark_price") == [(0,), (0,)]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (candle(DAY, volume=-1), "line 2: volume was -1, must be a number, not negative"),
        (candle(DAY, volume=""), "line 2: volume was empty, must be a number, not negative"),
        (candle(DAY, rest=(-1, 0, 0)), "line 2: quote_volume was -1, must be a number, not negative, or empty"),
        (candle(DAY, rest=(1, 0, "nan")), "line 2: taker_buy_volume was nan, must be a number, not negative, or empty"),
    ],
)
def test_bad_volumes(db: Database, tmp_path: Path, bad: tuple[object, ...], reason: str) -> None:
    assert take_candles(db, tmp_path, [bad]).reason == reason


def test_candles_twice_in_a_file(db: Database, tmp_path: Path) -> None:
    result = take_candles(db, tmp_path, [candle(DAY), candle(DAY), candle(DAY + FIVE_MINUTES), candle(DAY)])
    assert (result.rows, result.stored_rows, result.dropped_rows) == (4, 2, 2)
    assert result.notices == ("2 rows dropped: identical copies of other rows of the file",)


def test_overlapping_candle_files(db: Database, tmp_path: Path) -> None:
    month = [candle(DAY + i * FIVE_MINUTES) for i in range(600)]
    assert take_candles(db, tmp_path, month, "BTCUSDT-5m-2025-12.zip").stored_rows == 600
    result = take_candles(db, tmp_path, month[288:576], "BTCUSDT-5m-2025-12-02.zip")
    assert (result.status, result.stored_rows, result.dropped_rows) == (Status.INGESTED, 0, 288)
    assert result.notices == ("288 rows left out: another file brought in the same",)
    # Volumes that only one of them gives are no contradiction; a price is.
    other = [candle(DAY + 2 * DAY_MS, rest=("", "", "")), candle(DAY + 2 * DAY_MS + FIVE_MINUTES, (100, 103, 99, 101))]
    result = take_candles(db, tmp_path, other, "BTCUSDT-5m-2025-12-03.csv")
    assert result.status is Status.REJECTED
    assert result.reason == (
        "line 3: high was 103.0, but 102.5 in BTCUSDT-5m-2025-12.zip, for the period that ends 2025-12-03 00:10:00"
    )
    # Another interval is no overlap.
    hour = [candle(DAY, period=12 * FIVE_MINUTES)]
    assert take_candles(db, tmp_path, hour, "BTCUSDT-1h-2025-12-01.zip").stored_rows == 1
    assert rows_of(db, "SELECT count(*) FROM klines") == [(601,)]


# --- open interest and funding ---------------------------------------------------------------------------


def stamps(db: Database) -> list[str]:
    return [s for (s,) in rows_of(db, "SELECT strftime(make_timestamp_ns(ts_event), '%m-%d %H:%M') FROM open_interest")]


def test_metrics_before_the_change_are_stamped_at_the_end(db: Database, tmp_path: Path) -> None:
    rows = [metric("2026-06-24 00:05:00", 5), metric("2026-06-25 00:00:00", 6, "")]
    result = take_metrics(db, tmp_path, rows, "BTCUSDT-metrics-2026-06-24.zip")
    assert stamps(db) == ["06-24 00:05", "06-25 00:00"]
    assert (result.period, result.ts_end - result.ts_start) == (FIVE_MINUTES * MS, DAY_MS * MS)
    first, second = rows_of(db, "SELECT open_interest, open_interest_value, ts_init = ts_event FROM open_interest")
    assert first == (5.0, 1000.0, True)
    assert second[0] == 6.0
    assert math.isnan(second[1])


def test_metrics_since_the_change_are_stamped_at_the_start(db: Database, tmp_path: Path) -> None:
    take_metrics(
        db,
        tmp_path,
        [metric("2026-06-24 23:55:00", 5), metric("2026-06-25 00:00:00", 6)],
        "BTCUSDT-metrics-2026-06-24.zip",
    )
    rows = [metric("2026-06-25 00:00:00", 7), metric("2026-06-25 23:55:00", 8)]
    result = take_metrics(db, tmp_path, rows, "BTCUSDT-metrics-2026-06-25.zip")
    assert result.status is Status.INGESTED, result.reason
    # Midnight's row is in both files and of two periods.
    assert stamps(db) == ["06-24 23:55", "06-25 00:00", "06-25 00:05", "06-26 00:00"]
    assert (result.ts_end - result.ts_start) == DAY_MS * MS


def test_a_month_of_metrics_across_the_change(db: Database, tmp_path: Path) -> None:
    month = [
        metric("2026-06-24 23:55:00", 5),
        metric("2026-06-25 00:00:00", 6),
        metric("2026-06-25 00:00:00", 7),
        metric("2026-06-25 00:05:00", 8),
    ]
    result = take_metrics(db, tmp_path, month, "BTCUSDT-metrics-2026-06.zip")
    assert (result.status, result.notices) == (Status.INGESTED, ())
    assert stamps(db) == ["06-24 23:55", "06-25 00:00", "06-25 00:05", "06-25 00:10"]
    # Its days say the same.
    for name, rows in (("24", month[:2]), ("25", month[2:])):
        result = take_metrics(db, tmp_path, rows, f"BTCUSDT-metrics-2026-06-{name}.zip")
        assert (result.status, result.stored_rows, result.dropped_rows) == (Status.INGESTED, 0, 2), result.reason


def test_a_month_with_one_row_at_the_change_takes_the_later_and_says_so(db: Database, tmp_path: Path) -> None:
    rows = [metric("2026-06-25 00:00:00", 6), metric("2026-06-25 00:05:00", 8)]
    result = take_metrics(db, tmp_path, rows, "BTCUSDT-metrics-2026-06.zip")
    assert stamps(db) == ["06-25 00:05", "06-25 00:10"]
    assert "may be of the period before or after it" in result.notices[0]


def test_zero_open_interest_is_dropped_and_noted(db: Database, tmp_path: Path) -> None:
    rows = [
        metric("2025-12-01 00:05:00", 5),
        metric("2025-12-01 00:10:00", 0, 0),
        metric("2025-12-01 00:15:00", 0.0, 0),
    ]
    result = take_metrics(db, tmp_path, rows)
    assert (result.rows, result.stored_rows, result.dropped_rows) == (3, 1, 2)
    assert result.notices == ("2 rows dropped: open interest was zero, 2025-12-01 00:10:00 … 2025-12-01 00:15:00",)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (metric("2025-12-01 00:10:00", -1), "line 3: sum_open_interest was -1, must be a number, not negative"),
        (metric("2025-12-01 00:10:00", "nan"), "line 3: sum_open_interest was nan, must be a number, not negative"),
        (metric("2025-12-01 00:10:00", ""), "line 3: sum_open_interest was empty, must be a number, not negative"),
        (metric("2025-12-01 00:10:00", 1, -1), "line 3: sum_open_interest_value was -1, must be a number, not neg"),
        (metric("yesterday", 1), "line 3: create_time was 'yesterday', must be a UTC time as YYYY-MM-DD HH:MM:SS"),
        (metric("2025-12-04 00:10:00", 1), "line 3: create_time was 2025-12-04 00:10:00 (2025-12-04 00:10:00 UTC)"),
        (metric("2025-12-01 00:10:00", 1, symbol="ETHUSDT"), "line 3: symbol was 'ETHUSDT', must be BTCUSDT as in"),
        (metric("2025-12-01 00:05:00", 6), "line 3: has the time of line 2 (2025-12-01 00:05:00), other values"),
    ],
)
def test_bad_metrics(db: Database, tmp_path: Path, bad: tuple[object, ...], reason: str) -> None:
    result = take_metrics(db, tmp_path, [metric("2025-12-01 00:05:00", 5), bad])
    assert result.status is Status.REJECTED
    assert result.reason.startswith(reason)
    assert rows_of(db, "FROM open_interest") == []


def test_metrics_rows_twice(db: Database, tmp_path: Path) -> None:
    # Identical after parsing counts as identical.
    rows = [
        metric("2025-12-01 00:05:00", "5.0"),
        metric("2025-12-01 00:10:00", 6),
        metric("2025-12-01 00:05:00", "5.000"),
    ]
    result = take_metrics(db, tmp_path, rows)
    assert (result.stored_rows, result.dropped_rows) == (2, 1)


def test_funding_keeps_its_jitter(db: Database, tmp_path: Path) -> None:
    take_candles(db, tmp_path, [candle(DAY)])
    rows = [(DAY, 8, "4.4913e-06"), (DAY + DAY_MS // 3 + 4, 8, -0.0001), (DAY, 8, "0.0000044913")]
    result = take(db, tmp_path, "BTCUSDT-fundingRate-2025-12.zip", Kind.FUNDING_RATE, rows)
    assert (result.period, result.dropped_rows) == (0, 1)
    later = (DAY + DAY_MS // 3 + 4) * MS
    assert rows_of(db, "SELECT ts_event, ts_init, rate, interval_hours FROM funding") == [
        (DAY * MS, DAY * MS, 4.4913e-06, 8.0),
        (later, later, -0.0001, 8.0),
    ]
    for bad in ((DAY, 8, "nan"), (DAY, 0, 0.1), (DAY, 8, "")):
        result = take(db, tmp_path, "BTCUSDT-fundingRate-2025-11.zip", Kind.FUNDING_RATE, [bad])
        assert result.reason.startswith("line 2: ")


# --- symbols ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prices", "tick"), [(["0.7097", "0.71", "0.7"], 0.0001), (["67992.70", "67992.00"], 0.1), (["63610.0"], 1.0)]
)
def test_tick_size_is_inferred_from_decimals(db: Database, tmp_path: Path, prices: list[str], tick: float) -> None:
    rows = [trade(i, price, 1, DAY) for i, price in enumerate(prices)]
    take_trades(db, tmp_path, rows, "XYZUSDT-aggTrades-2025-12-01.zip")
    assert rows_of(db, "SELECT tick_size, tick_size_source FROM symbols") == [
        (tick, "inferred from XYZUSDT-aggTrades-2025-12-01.zip")
    ]


def test_tick_size_is_inferred_from_candles_too(db: Database, tmp_path: Path) -> None:
    take_candles(db, tmp_path, [candle(DAY, (1.0, 1.25, 0.125, 1.0))], "XYZUSDT-5m-2025-12-01.zip")
    assert rows_of(db, "SELECT tick_size, base_bin FROM symbols") == [(0.001, 0.001)]
    broken = [candle(DAY), (DAY, 1.5)]
    assert take_candles(db, tmp_path, broken, "ABCUSDT-5m-2025-12-01.zip").reason.startswith(
        "line 3: number of columns"
    )


def test_built_in_ticks_are_of_one_venue(db: Database, tmp_path: Path) -> None:
    path = write_file(
        tmp_path, "ETHUSDT-aggTrades-2025-12-01.zip", text_of(Kind.AGG_TRADES, [trade(1, 3000.0, 1, DAY)])
    )
    ingest(db, [path])
    ingest(db, [path], venue="ELSEWHERE")
    assert rows_of(db, "SELECT venue, tick_size, tick_size_source FROM symbols ORDER BY venue") == [
        ("BINANCE", 0.01, "built in"),
        ("ELSEWHERE", 1.0, f"inferred from {path.name}"),
    ]
    assert rows_of(db, "SELECT count(*), count(DISTINCT symbol_id) FROM ledger") == [(2, 2)]


def test_metrics_alone_do_not_make_a_symbol(db: Database, tmp_path: Path) -> None:
    metrics = write_file(
        tmp_path, "BTCUSDT-metrics-2025-12-01.zip", text_of(Kind.METRICS, [metric("2025-12-01 00:05:00", 5)])
    )
    result = only(ingest(db, [metrics]))
    assert result.reason == (
        "BINANCE BTCUSDT is not known yet and metrics files hold no traded price to size its bins by: "
        "ingest aggTrades or klines of it as well"
    )
    # With a price file it goes, whatever the order of their names.
    write_file(
        tmp_path, "BTCUSDT-aggTrades-2025-12-31.zip", text_of(Kind.AGG_TRADES, trades(3, start=DAY + 30 * DAY_MS))
    )
    assert [f.status for f in ingest(db, [tmp_path]).files] == [Status.INGESTED, Status.INGESTED]


def test_base_bin_of_choice(db: Database, tmp_path: Path) -> None:
    odd = take_trades(db, tmp_path, trades(3), base_bin=0.25)
    assert odd.reason == "base_bin was 0.25, must be a multiple of the tick 0.1 (built in)"
    assert rows_of(db, "FROM symbols") == []
    assert take_trades(db, tmp_path, trades(3), base_bin=2.5).status is Status.INGESTED
    assert rows_of(db, "SELECT DISTINCT bin * 2.5 FROM flow ORDER BY 1")[0] == (90_000.0,)
    with pytest.raises(StoreError, match=r"BINANCE BTCUSDT has flow bins of 2\.5, they cannot become 5"):
        take_trades(db, tmp_path, trades(4), base_bin=5.0)
    for bad in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(StoreError, match="must be a positive number"):
            take_trades(db, tmp_path, trades(4), base_bin=bad)


@both_scans
def test_bins_follow_price_edges(db: Database, tmp_path: Path) -> None:
    # 0.7 / 0.1 is 6.999… in binary; the price lies in bin 7 all the same.
    rows = [trade(i, f"{i / 10:.1f}", 1, DAY) for i in range(1, 100)]
    take_trades(db, tmp_path, rows, "XYZUSDT-aggTrades-2025-12-01.zip")
    assert rows_of(db, "SELECT base_bin FROM symbols") == [(0.1,)]
    assert [b for (b,) in rows_of(db, "SELECT bin FROM flow ORDER BY bin")] == list(range(1, 100))


@both_scans
@pytest.mark.parametrize(
    ("price", "qty"), [("0.00000123", "81000000000"), ("0.0001", "123456789.5"), ("95000.1", "0.00000001")]
)
def test_quantities_of_all_sizes_keep_their_value(db: Database, tmp_path: Path, price: str, qty: str) -> None:
    result = take_trades(db, tmp_path, [trade(1, price, qty, DAY)], "XYZUSDT-aggTrades-2025-12-01.zip")
    assert result.status is Status.INGESTED, result.reason
    [(stored, notional)] = rows_of(db, "SELECT buy_qty, buy_notional FROM flow")
    assert stored == pytest.approx(float(qty), rel=1e-12)
    assert notional == pytest.approx(float(qty) * float(price), abs=1e-6)


# --- the ledger ------------------------------------------------------------------------------------------


def test_a_second_ingest_changes_nothing(db: Database, tmp_path: Path) -> None:
    assert take_trades(db, tmp_path, trades(100), clock=lambda: 1).status is Status.INGESTED
    before = state(db)
    again = take_trades(db, tmp_path, trades(100), clock=lambda: 2)
    assert (again.status, again.rows) == (Status.ALREADY_INGESTED, 0)
    assert state(db) == before


def test_other_content_of_the_same_name_needs_replace(db: Database, tmp_path: Path) -> None:
    take_trades(db, tmp_path, trades(100))
    before = state(db)
    refused = take_trades(db, tmp_path, trades(90))
    assert refused.status is Status.REJECTED
    assert "was ingested before with other content; --replace puts this file in its place" in refused.reason
    assert state(db) == before
    # As text instead of zip it is the same name.
    assert take_trades(db, tmp_path, trades(90), "BTCUSDT-aggTrades-2025-12-01.csv").status is Status.REJECTED
    replaced = take_trades(db, tmp_path, trades(90), replace=True)
    assert replaced.status is Status.INGESTED
    assert replaced.notices[0].startswith("it replaces a file of the same name with SHA-256 ")
    assert rows_of(db, "SELECT count(*), sum(rows) FROM ledger") == [(1, 90)]
    assert rows_of(db, "SELECT sum(buy_count + sell_count) FROM flow") == [(90,)]
    assert rows_of(db, "SELECT last_id FROM trade_ranges") == [(90,)]


def test_a_bad_replacement_leaves_the_old_in_place(db: Database, tmp_path: Path) -> None:
    take_trades(db, tmp_path, trades(100))
    before = state(db)
    assert take_trades(db, tmp_path, [trade(1, -1, 1, DAY)], replace=True).status is Status.REJECTED
    assert state(db) == before


def test_the_next_file_is_ready_even_when_the_ledger_changed_meanwhile(db: Database, tmp_path: Path) -> None:
    name = "BTCUSDT-aggTrades-2025-12-01.zip"
    old = write_file(tmp_path / "b", name, text_of(Kind.AGG_TRADES, trades(10)))
    new = write_file(tmp_path / "a", name, text_of(Kind.AGG_TRADES, trades(20)))
    ingest(db, [old])
    # The first is replaced by the second, and that by the first again, within one ingest.
    report = ingest(db, [new, old], replace=True)
    assert [file.status for file in report.files] == [Status.INGESTED, Status.INGESTED]
    assert rows_of(db, "SELECT rows FROM ledger") == [(10,)]


# --- files and their neighbours --------------------------------------------------------------------------


def test_a_bad_file_does_not_keep_the_others_out(db: Database, tmp_path: Path) -> None:
    for day, text in (
        (1, text_of(Kind.AGG_TRADES, trades(10, first_id=1))),
        (2, text_of(Kind.AGG_TRADES, [trade(11, 0, 1, DAY + DAY_MS)])),
        (3, text_of(Kind.AGG_TRADES, trades(10, first_id=12, start=DAY + 2 * DAY_MS))),
        (4, ""),
        (5, text_of(Kind.AGG_TRADES, trades(10, first_id=22, start=DAY + 4 * DAY_MS))),
        (6, text_of(Kind.AGG_TRADES, trades(10, first_id=32, start=DAY + 5 * DAY_MS))),
    ):
        write_file(tmp_path / "in", f"BTCUSDT-aggTrades-2025-12-0{day}.zip", text, checksum=True)
    broken = tmp_path / "in" / "BTCUSDT-aggTrades-2025-12-05.zip"
    broken.write_bytes(broken.read_bytes()[:-30])
    other = tmp_path / "in" / "BTCUSDT-aggTrades-2025-12-06.zip"
    other.with_name(other.name + ".CHECKSUM").unlink()
    other.write_bytes(other.read_bytes()[:-30])
    write_file(tmp_path / "in", "BTCUSDT-bookTicker-2025-12-01.zip", "x")
    seen: list[Progress] = []
    report = ingest(db, [tmp_path / "in"], progress=seen.append)
    assert [f.status for f in report.files] == [
        *(Status.INGESTED, Status.REJECTED, Status.INGESTED),
        *(Status.REJECTED, Status.REJECTED, Status.REJECTED),
        Status.NOT_READ,
    ]
    reasons = [f.reason for f in report.of(Status.REJECTED)]
    assert reasons[0] == "line 2: price was 0, must be a positive number"
    assert reasons[1] == "the file is empty"
    assert reasons[2].startswith("its SHA-256 is ")
    assert reasons[3].startswith("the archive is damaged or incomplete")
    assert report.of(Status.NOT_READ)[0].reason == "kind bookTicker"
    assert [(p.files_done, p.files) for p in seen] == [(n, 6) for n in range(7)]
    assert seen[0].last is None
    assert seen[-1].bytes_done == seen[-1].bytes == sum(f.bytes for f in report.files)
    assert [p.last for p in seen[1:]] == list(report.files[:-1])
    # No unpacked file is left.
    assert not db.temp_directory.exists()


def test_nothing_to_read_is_an_error(db: Database, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="does not exist"):
        ingest(db, [tmp_path / "none"])


def test_reading_only_is_an_error(tmp_path: Path) -> None:
    Database(tmp_path / "x.duckdb").close()
    with Database(tmp_path / "x.duckdb", read_only=True) as db, pytest.raises(StoreError, match="reading only"):
        ingest(db, [tmp_path])


def test_an_exception_within_a_file_leaves_nothing_of_it(db: Database, tmp_path: Path) -> None:
    write_file(tmp_path, "BTCUSDT-aggTrades-2025-12-01.zip", text_of(Kind.AGG_TRADES, trades(10)))
    write_file(
        tmp_path,
        "BTCUSDT-aggTrades-2025-12-02.zip",
        text_of(Kind.AGG_TRADES, trades(10, first_id=11, start=DAY + DAY_MS)),
    )
    calls = []

    def clock() -> int:
        # Asked when the rows are in and the ledger row is about to be.
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return 5

    with pytest.raises(KeyboardInterrupt):
        ingest(db, [tmp_path], clock=clock)
    for table in ("flow", "large_trades", "trade_ranges", "ledger"):
        assert rows_of(db, f"SELECT DISTINCT file_id FROM {table}") == [(1,)]
    assert not list(db.temp_directory.glob("*"))
    # Said again, it goes on where it stopped.
    assert [f.status for f in ingest(db, [tmp_path]).files] == [Status.ALREADY_INGESTED, Status.INGESTED]
    assert rows_of(db, "SELECT sum(buy_count + sell_count) FROM flow") == [(20,)]


def test_a_killed_process_leaves_nothing_of_the_file(tmp_path: Path) -> None:
    for day in (1, 2):
        text = text_of(Kind.AGG_TRADES, trades(10, first_id=10 * day, start=DAY + (day - 1) * DAY_MS))
        write_file(tmp_path / "in", f"BTCUSDT-aggTrades-2025-12-0{day}.zip", text)
    code = """
import os, signal, sys
from pathlib import Path
from liqserver.store.database import Database
from liqserver.store.ingest import ingest
calls = []
def clock():
    calls.append(1)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return 5
ingest(Database(Path(sys.argv[1]), clock=lambda: 1), [Path(sys.argv[2])], clock=clock)
"""
    path = tmp_path / "x.duckdb"
    done = subprocess.run([sys.executable, "-c", code, str(path), str(tmp_path / "in")], check=False)
    assert done.returncode == -signal.SIGKILL
    with Database(path) as db:
        assert rows_of(db, "SELECT file_id FROM ledger") == [(1,)]
        assert rows_of(db, "SELECT sum(buy_count + sell_count) FROM flow") == [(10,)]
        assert [f.status for f in ingest(db, [tmp_path / "in"]).files] == [Status.ALREADY_INGESTED, Status.INGESTED]
        assert rows_of(db, "SELECT sum(buy_count + sell_count) FROM flow") == [(20,)]


def test_a_reader_sees_whole_files_while_an_ingest_runs(db: Database, tmp_path: Path) -> None:
    for day in range(1, 10):
        text = text_of(Kind.AGG_TRADES, trades(10, first_id=10 * day, start=DAY + (day - 1) * DAY_MS))
        write_file(tmp_path / "in", f"BTCUSDT-aggTrades-2025-12-0{day}.zip", text)
    cur, seen = db.cursor(), []

    def look(progress: Progress) -> None:
        seen.append(cur.execute("SELECT coalesce(sum(buy_count + sell_count), 0)::INTEGER FROM flow").fetchall()[0][0])

    def clock() -> int:
        seen.append(cur.execute("SELECT coalesce(sum(buy_count + sell_count), 0)::INTEGER FROM flow").fetchall()[0][0])
        return 1

    ingest(db, [tmp_path / "in"], progress=look, clock=clock)
    # Before the commit of each file what was there before it, after it all of it.
    assert seen == [0, *(n for day in range(9) for n in (10 * day, 10 * day + 10))]


# --- real files ------------------------------------------------------------------------------------------


def csv_rows(path: Path) -> list[dict[str, str]]:
    with zipfile.ZipFile(path) as archive:
        [name] = archive.namelist()
        return list(csv_module.DictReader(io.TextIOWrapper(archive.open(name), encoding="utf-8")))


def assert_flow_is_of(db: Database, paths: list[Path], base_bin: float) -> None:
    """Compare flow and large trades with a plain sum in Python."""
    totals: dict[tuple[int, int, int], list[float]] = defaultdict(lambda: [0.0] * 6)
    large = []
    for path in paths:
        for row in csv_rows(path):
            price, qty, ts = float(row["price"]), float(row["quantity"]), int(row["transact_time"])
            sold = row["is_buyer_maker"] == "true"
            notional = price * qty
            size = sum(notional >= limit for limit in (1e3, 1e4, 1e5, 1e6))
            total = totals[(ts // 60_000 + 1) * MINUTE, math.floor(price / base_bin + 1e-9), size]
            total[sold] += qty
            total[2 + sold] += notional
            total[4 + sold] += 1
            if notional >= LARGE_TRADE_NOTIONAL:
                large.append((int(row["agg_trade_id"]), ts * MS, price, qty, not sold))
    stored = rows_of(
        db,
        # A minute may be in two files.
        """SELECT ts_event, bin, size_class, sum(buy_qty), sum(sell_qty), sum(buy_notional), sum(sell_notional),
                  sum(buy_count)::INTEGER, sum(sell_count)::INTEGER
           FROM flow GROUP BY ALL ORDER BY 1, 2, 3""",
    )
    assert [row[:3] for row in stored] == sorted(totals)
    for key, figures in ((row[:3], row[3:]) for row in stored):
        assert figures[4:] == tuple(totals[key][4:])
        assert figures[:4] == pytest.approx(totals[key][:4], rel=1e-9, abs=1e-5)
    assert rows_of(db, "SELECT trade_id, ts_event, price, qty, taker_buy FROM large_trades ORDER BY 1") == sorted(large)


@both_scans
def test_real_trades_of_binance(db: Database, shared_data: Path) -> None:
    path = shared_data / "binance-originals" / "APEUSDT-aggTrades-2024-10-18.zip"
    result = only(ingest(db, [path]))
    assert (result.status, result.rows, result.dropped_rows, result.notices) == (Status.INGESTED, 45_342, 0, ())
    assert rows_of(db, "SELECT tick_size, base_bin FROM symbols") == [(0.0001, 0.0001)]
    assert_flow_is_of(db, [path], 0.0001)


@both_scans
def test_real_ticks_of_three_days(db: Database, shared_data: Path) -> None:
    folder = shared_data / "hyperliquid-btc-ticks"
    report = ingest(db, [folder], venue="HYPERLIQUID")
    assert report.of(Status.REJECTED) == ()
    rows = {kind: sum(f.rows for f in report.files if f.kind == kind) for kind in Kind}
    assert rows[Kind.AGG_TRADES] == 368_912 + 205_991 + 295_106
    assert rows[Kind.METRICS] == 3 * 288
    [(base_bin, tick)] = rows_of(db, "SELECT base_bin, tick_size FROM symbols")
    assert (base_bin, tick) == (5.0, 1.0)
    assert_flow_is_of(db, sorted(folder.rglob("*aggTrades*.zip")), base_bin)
    marks = [row for path in sorted(folder.rglob("*-1m-*.zip")) for row in csv_rows(path)]
    assert rows_of(db, "SELECT ts_event, open, high, low, close FROM mark_price ORDER BY ts_event") == [
        ((int(r["open_time"]) + 60_000) * MS, *(float(r[c]) for c in ("open", "high", "low", "close"))) for r in marks
    ]


def test_real_candles_open_interest_and_funding(db: Database, shared_data: Path) -> None:
    folder = shared_data / "binance-btc-2025-12" / "data"
    report = ingest(db, [folder])
    assert {f.status for f in report.files} == {Status.INGESTED}
    assert all(f.dropped_rows == 0 for f in report.files)
    candles = [row for path in sorted(folder.rglob("*-5m-*.zip")) for row in csv_rows(path)]
    stored = rows_of(db, "SELECT ts_event, close, volume, quote_volume FROM klines ORDER BY ts_event")
    assert [row[:3] for row in stored] == [
        ((int(r["open_time"]) + FIVE_MINUTES) * MS, float(r["close"]), float(r["volume"])) for r in candles
    ]
    assert all(math.isnan(row[3]) for row in stored)
    interest = [row for path in sorted(folder.rglob("*-metrics-*.zip")) for row in csv_rows(path)]
    assert rows_of(
        db,
        "SELECT strftime(make_timestamp_ns(ts_event), '%Y-%m-%d %H:%M:%S'), open_interest, open_interest_value "
        "FROM open_interest ORDER BY ts_event",
    ) == [
        (r["create_time"], float(r["sum_open_interest"]), float(r["sum_open_interest_value"])) for r in interest
    ]  # stamped at the end of the period already
    rates = [row for path in sorted(folder.rglob("*-fundingRate-*.zip")) for row in csv_rows(path)]
    assert rows_of(db, "SELECT ts_event, rate FROM funding ORDER BY ts_event") == [
        (int(r["calc_time"]) * MS, float(r["last_funding_rate"])) for r in rates
    ]
    assert {f.status for f in ingest(db, [folder]).files} == {Status.ALREADY_INGESTED}
