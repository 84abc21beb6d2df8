from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from liqserver.store.archive import Kind
from liqserver.store.database import Database
from liqserver.store.ingest import Status, ingest
from liqserver.store.quality import Bounds, Check, Finding, Severity, check, rehearse
from tests.store.archive_files import DAY, DAY_MS, candle, metric, text_of, trade, trades, write_file

MS = 1_000_000
MINUTE_MS = 60_000
MINUTE = MINUTE_MS * MS
START = DAY * MS
NOW = START + 400 * DAY_MS * MS
Row = tuple[object, ...]


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path / "db" / "test.duckdb") as database:
        yield database


def put(db: Database, folder: Path, kind: Kind, rows: list[Row], name: str | None = None) -> None:
    what = "1m" if kind.endswith("lines") else str(kind)
    path = write_file(folder / kind, name or f"BTCUSDT-{what}-2025-12-01.zip", text_of(kind, rows))
    [result] = ingest(db, [path]).files
    assert result.status is Status.INGESTED, result.reason


def minute(n: int, *prices: float, volume: object = 0) -> Row:
    open_, high, low, close = prices
    return candle(DAY + n * MINUTE_MS, (open_, high, low, close), volume, period=MINUTE_MS, rest=("", "", ""))


def flat(n: int, price: float = 90_000.0) -> list[Row]:
    return [minute(i, price, price, price, price) for i in range(n)]


def look(db: Database, *checks: Check, bounds: Bounds | None = None) -> list[Finding]:
    found = check(db.cursor(), "BINANCE", "BTCUSDT", bounds, clock=lambda: NOW)
    return [f for f in found if not checks or f.check in checks]


def brief(findings: list[Finding]) -> list[tuple[object, ...]]:
    """Data, minutes since the start of the day, count."""
    return [(f.data, (f.start - START) / MINUTE, (f.end - START) / MINUTE, f.count) for f in findings]


def day_of_trades(price: float = 90_000.0) -> list[Row]:
    """One trade of 2 in each of 60 minutes."""
    return [trade(i + 1, price, 2, DAY + i * MINUTE_MS) for i in range(60)]


def test_clean_data_has_no_findings(db: Database, tmp_path: Path) -> None:
    put(db, tmp_path, Kind.AGG_TRADES, day_of_trades())
    put(db, tmp_path, Kind.KLINES, [minute(i, 90_000, 90_000, 90_000, 90_000, volume=2) for i in range(60)])
    put(db, tmp_path, Kind.MARK_PRICE_KLINES, flat(60, 90_001.0))
    put(db, tmp_path, Kind.INDEX_PRICE_KLINES, flat(60, 90_001.0))
    put(db, tmp_path, Kind.PREMIUM_INDEX_KLINES, flat(60, -0.001))
    put(db, tmp_path, Kind.METRICS, [metric(f"2025-12-01 00:{m:02}:00", 1000 + m) for m in range(5, 60, 5)])
    put(db, tmp_path, Kind.FUNDING_RATE, [(DAY + h * 3_600_000, 8, 0.0001) for h in (0, 8, 16)])
    put(db, tmp_path, Kind.BOOK_DEPTH, [("2025-12-01 00:00:09", p, 5, 450_000) for p in (-1, 1)])
    put(
        *(db, tmp_path, Kind.LIQUIDATION_SNAPSHOT),
        [(DAY + 9, "BTCUSDT", "SELL", "LIMIT", "IOC", 1, 99, 100, "FILLED", 1, 1)],
    )
    assert look(db) == []


def test_an_unknown_symbol(db: Database) -> None:
    with pytest.raises(KeyError, match="BINANCE:BTCUSDT"):
        look(db)


# --- gaps ------------------------------------------------------------------------------------------------


def test_gaps_within_and_between_files_of_trades(db: Database, tmp_path: Path) -> None:
    rows = day_of_trades()
    put(db, tmp_path, Kind.AGG_TRADES, rows[:10] + rows[13:])
    later = [trade(100 + i, 90_000.0, 2, DAY + DAY_MS + i) for i in range(3)]
    put(db, tmp_path, Kind.AGG_TRADES, later, "BTCUSDT-aggTrades-2025-12-02.zip")
    first, second = look(db, Check.ID_GAP)
    assert (first.count, first.severity) == (3, Severity.WARNING)
    assert first.text == "3 ids are missing after 10, within BTCUSDT-aggTrades-2025-12-01.zip"
    assert brief([first]) == [("aggTrades", 0, 60, 3)]
    # From the end of the one file to the beginning of the other.
    assert brief([second]) == [("aggTrades", 60, 1440, 39)]
    assert "39 ids are missing after 60, between BTCUSDT-aggTrades-2025-12-01.zip and" in second.text


def test_minutes_and_days_without_candles(db: Database, tmp_path: Path) -> None:
    put(db, tmp_path, Kind.KLINES, [*flat(3), minute(5, 1, 1, 1, 1), minute(5 + 2 * 1440, 1, 1, 1, 1)],
        "BTCUSDT-1m-2025-12.zip")  # fmt: skip
    found = look(db, Check.MISSING_MINUTES, Check.MISSING_DAYS)
    days, minutes = found
    assert (minutes.check, days.check) == (Check.MISSING_MINUTES, Check.MISSING_DAYS)
    assert brief([minutes]) == [("klines 1m", 3, 5, 2)]
    assert brief([days]) == [("klines 1m", 6, 5 + 2 * 1440, 2879)]
    assert days.text == "2,879 periods of 1m without a row, 1 whole day"
    assert {f.severity for f in found} == {Severity.WARNING}


@pytest.mark.parametrize("kind", [Kind.MARK_PRICE_KLINES, Kind.INDEX_PRICE_KLINES, Kind.PREMIUM_INDEX_KLINES])
def test_minutes_without_other_candles(db: Database, tmp_path: Path, kind: Kind) -> None:
    put(db, tmp_path, Kind.KLINES, flat(9, 0.5))
    rows = flat(9, 0.5)
    put(db, tmp_path, kind, rows[:2] + rows[3:4] + rows[7:])
    assert brief(look(db)) == [(f"{kind} 1m", 2, 3, 1), (f"{kind} 1m", 4, 7, 3)]


def test_open_interest_missing(db: Database, tmp_path: Path) -> None:
    put(db, tmp_path, Kind.KLINES, flat(1))
    put(db, tmp_path, Kind.METRICS, [metric(f"2025-12-01 00:{m:02}:00", 10) for m in (5, 10, 25, 30)])
    assert brief(look(db)) == [("metrics", 10, 20, 2)]


def test_hours_without_trades_are_told_days_are_a_warning(db: Database, tmp_path: Path) -> None:
    rows = [trade(i, 9e4, 1, DAY + m * MINUTE_MS) for i, m in enumerate((0, 60, 122, 3 * 1440 + 1))]
    put(db, tmp_path, Kind.AGG_TRADES, rows, "BTCUSDT-aggTrades-2025-12.zip")
    days, hours = look(db)
    # An hour is nothing to speak of.
    assert brief([hours]) == [("aggTrades", 61, 123, 62)]
    assert hours.severity is Severity.INFO
    assert brief([days]) == [("aggTrades", 123, 3 * 1440 + 2, 4199)]
    assert (days.check, days.severity) == (Check.MISSING_DAYS, Severity.WARNING)
    assert days.text.endswith("2 whole days")


def test_pictures_of_the_book_missing(db: Database, tmp_path: Path) -> None:
    put(db, tmp_path, Kind.KLINES, flat(1))
    at = ("00:00:00", "00:00:30", "01:00:30", "02:01:00")
    put(db, tmp_path, Kind.BOOK_DEPTH, [(f"2025-12-01 {t}", p, 5, 5) for t in at for p in (-1, 1)])
    [gap] = look(db)
    assert (gap.data, gap.count, gap.severity) == ("bookDepth", 60, Severity.INFO)
    assert gap.text == "nothing for 60 minutes"


def test_open_interest_and_mark_price_that_begin_late_or_end_early(db: Database, tmp_path: Path) -> None:
    days = [candle(DAY + n * DAY_MS, period=DAY_MS, rest=("", "", "")) for n in range(6)]
    write_file(tmp_path / "klines", "BTCUSDT-1d-2025-12.zip", text_of(Kind.KLINES, days))
    ingest(db, [tmp_path / "klines"])
    put(db, tmp_path, Kind.METRICS, [metric("2025-12-03 12:00:00", 5)], "BTCUSDT-metrics-2025-12.zip")
    rows = [minute(n, 1, 1, 1, 1) for n in range(2)]
    put(db, tmp_path, Kind.MARK_PRICE_KLINES, rows, "BTCUSDT-1m-2025-12.zip")
    mark, early, late = look(db, Check.MISSING_DAYS)
    assert brief([early, late]) == [("metrics", 0, 3600, 3600), ("metrics", 3600, 8640, 5040)]
    assert early.text == "it begins at 2025-12-03 12:00, what was traded is there before that, 2 whole days"
    assert late.text == "it ends at 2025-12-03 12:00, what was traded is there after that, 3 whole days"
    assert (mark.data, mark.severity) == ("markPriceKlines", Severity.WARNING)


def test_many_gaps_are_summed_up(db: Database, tmp_path: Path) -> None:
    # Gaps of 1, 2, 3, … minutes.
    minutes, at = [], 0
    for n in range(1, 21):
        minutes.append(at)
        at += n + 1
    put(db, tmp_path, Kind.KLINES, [minute(m, 1, 1, 1, 1) for m in minutes])
    *told, rest = look(db, bounds=Bounds(most=4))
    assert [f.count for f in told] == [16, 17, 18, 19]
    assert rest.count == sum(range(1, 16))
    assert rest.text == "and 15 more: 120 periods of 1m without a row"


# --- what was dropped ------------------------------------------------------------------------------------


def test_duplicates_that_were_dropped(db: Database, tmp_path: Path) -> None:
    rows = day_of_trades()
    put(db, tmp_path, Kind.AGG_TRADES, rows + rows[:5])
    put(db, tmp_path, Kind.AGG_TRADES, rows[30:], "BTCUSDT-aggTrades-2025-12.zip")
    put(db, tmp_path, Kind.KLINES, [*flat(3), *flat(2)])
    put(db, tmp_path, Kind.KLINES, flat(3), "BTCUSDT-1m-2025-12.zip")
    found = look(db, Check.DUPLICATES_DROPPED)
    assert {(f.data, f.count, f.text) for f in found} == {
        ("aggTrades", 5, "5 rows of 1 file dropped: identical copies of other rows of the file"),
        ("aggTrades", 30, "30 rows of 1 file left out: their trade ids came in with another file"),
        ("klines 1m", 2, "2 rows of 1 file dropped: identical copies of other rows of the file"),
        ("klines 1m", 3, "3 rows of 1 file left out: another file brought in the same"),
    }
    assert {f.severity for f in found} == {Severity.INFO}


def test_liquidations_without_a_fill_are_rows_dropped(db: Database, tmp_path: Path) -> None:
    row = (DAY + 9, "BTCUSDT", "SELL", "LIMIT", "IOC", 1, 99, 100, "FILLED", 1, 1)
    put(db, tmp_path, Kind.LIQUIDATION_SNAPSHOT, [row, (*row[:-1], 0)])
    [dropped] = look(db)
    assert (dropped.check, dropped.count) == (Check.ROWS_DROPPED, 1)
    assert dropped.text == "1 row of 1 file dropped: nothing was filled"


# --- values ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("UPDATE klines SET low = -1 WHERE ts_event = $at", "prices are not positive"),
        ("UPDATE klines SET low = 'nan' WHERE ts_event = $at", "prices are not positive"),
        ("UPDATE klines SET high = 'inf' WHERE ts_event = $at", "prices are not positive"),
        ("UPDATE klines SET open = high + 1 WHERE ts_event = $at", "open or close lies outside low and high"),
        ("UPDATE klines SET volume = -1 WHERE ts_event = $at", "volume is negative or no number"),
        ("UPDATE klines SET taker_buy_volume = 2.1 WHERE ts_event = $at", "takers bought more than was traded"),
        ("UPDATE klines SET quote_volume = 2 WHERE ts_event = $at", "quote volume does not fit"),
        ("UPDATE klines SET count = 0 WHERE ts_event = $at", "the number of trades is 0"),
        ("UPDATE klines SET ts_init = ts_event - 1 WHERE ts_event = $at", "it was known before it had happened"),
        ("UPDATE mark_price SET close = 0, low = 0 WHERE ts_event = $at", "prices are not positive"),
        ("UPDATE flow SET buy_qty = -1 WHERE ts_event = $at", "a quantity or a number of trades is negative"),
        ("UPDATE flow SET buy_qty = 'nan' WHERE ts_event = $at", "a quantity is no number"),
        ("UPDATE flow SET buy_count = 0 WHERE ts_event = $at", "there is a quantity without trades"),
        ("UPDATE flow SET bin = bin + 1 WHERE ts_event = $at", "the mean price lies outside its bin"),
        ("UPDATE open_interest SET open_interest = 0 WHERE ts_event = $at", "open interest is not positive"),
        ("UPDATE funding SET rate = 0.11 WHERE ts_event = $at", "the rate is no number within 10 %"),
        ("UPDATE funding SET rate = 'nan' WHERE ts_event = $at", "the rate is no number within 10 %"),
        ("UPDATE funding SET interval_hours = 0 WHERE ts_event = $at", "the interval is not 1 to 24 hours"),
    ],
)  # fmt: skip
def test_impossible_values(db: Database, tmp_path: Path, change: str, words: str) -> None:
    put(db, tmp_path, Kind.AGG_TRADES, day_of_trades())
    put(db, tmp_path, Kind.KLINES, [minute(i, 90_000, 90_001, 89_999, 90_000, volume=2) for i in range(60)])
    put(db, tmp_path, Kind.MARK_PRICE_KLINES, flat(60))
    put(db, tmp_path, Kind.METRICS, [metric("2025-12-01 00:05:00", 5), metric("2025-12-01 00:10:00", 5)])
    put(db, tmp_path, Kind.FUNDING_RATE, [(DAY + 5 * MINUTE_MS, 8, 0.1)])
    assert look(db, Check.IMPOSSIBLE_VALUE) == []
    at = START + 5 * MINUTE
    assert db.cursor().execute(change, {"at": at}).fetchall() == [(1,)]
    found = look(db, Check.IMPOSSIBLE_VALUE)
    assert any(words in f.text and (f.start, f.end, f.count) == (at, at, 1) for f in found), found
    assert {f.severity for f in found} == {Severity.ERROR}


@pytest.mark.parametrize(("price", "qty"), [("0.00001234", "51234567"), ("0.00000123", "81000000000"), ("1e5", "1e-8")])
def test_tiny_prices_and_quantities_are_possible(db: Database, tmp_path: Path, price: str, qty: str) -> None:
    rows = [trade(i, price, qty, DAY + i) for i in range(5)]
    put(db, tmp_path, Kind.AGG_TRADES, [tuple(row) for row in rows])
    assert look(db) == []


def test_rows_of_the_future_and_rows_twice(db: Database, tmp_path: Path) -> None:
    put(db, tmp_path, Kind.KLINES, flat(3))
    late = check(db.cursor(), "BINANCE", "BTCUSDT", clock=lambda: START + 2 * MINUTE)
    assert [(f.check, f.count, f.text) for f in late] == [
        (Check.IMPOSSIBLE_VALUE, 1, "1 row of klines: it is of the future")
    ]
    db.cursor().execute("INSERT INTO klines SELECT * FROM klines WHERE ts_event = ?", [START + MINUTE])
    [twice] = look(db)
    assert (twice.check, twice.severity, twice.count) == (Check.DUPLICATE_ROWS, Severity.ERROR, 1)


def test_price_jumps_within_and_between_candles(db: Database, tmp_path: Path) -> None:
    rows = [
        minute(0, 100, 100, 100, 100),
        minute(1, 100, 109.9, 100, 100),  # 9.9 %
        minute(2, 100, 111, 100, 100),  # within
        minute(3, 88, 88, 88, 88),  # from the close before: 100 / 88
        minute(4, 88, 88, 88, 88),
        minute(9, 200, 200, 200, 200),  # minutes are missing in between: no jump within a minute
    ]
    put(db, tmp_path, Kind.KLINES, rows)
    [jump] = look(db, Check.PRICE_JUMP)
    assert brief([jump]) == [("klines 1m", 2, 4, 2)]
    assert jump.text == "the price moved by 13.6% within 2 candles of 1m"
    assert look(db, Check.PRICE_JUMP, bounds=Bounds(price_jump=0.14)) == []


def test_price_jumps_of_trades(db: Database, tmp_path: Path) -> None:
    put(db, tmp_path, Kind.AGG_TRADES, [trade(1, 90_000, 1, DAY), trade(2, 99_500, 1, DAY + 9)])
    [jump] = look(db, Check.PRICE_JUMP)
    # Bins of 5: at least from 90 005 to 99 500.
    assert jump.text == "the price moved by 10.5% within 1 candle of 1m"


def test_open_interest_jumps(db: Database, tmp_path: Path) -> None:
    put(db, tmp_path, Kind.KLINES, flat(1))
    values = {"00:05": 100, "00:10": 125, "00:15": 126, "00:20": 90, "02:00": 900}
    put(db, tmp_path, Kind.METRICS, [metric(f"2025-12-01 {at}:00", oi) for at, oi in values.items()])
    # A quarter up is within bounds; what happened in a gap is not known.
    [jump] = look(db, Check.OPEN_INTEREST_JUMP)
    assert brief([jump]) == [("metrics", 15, 20, 1)]
    assert jump.text == "open interest went from 126 to 90, -28.6%"


# --- sources against each other --------------------------------------------------------------------------


def both(db: Database, tmp_path: Path, changed: dict[int, dict[str, Any]]) -> None:
    """An hour of trades and candles of them, some changed."""
    put(db, tmp_path, Kind.AGG_TRADES, day_of_trades(90_002.5))
    rows = []
    for i in range(60):
        of = {"high": 90_002.5, "low": 90_002.5, "volume": 2, **changed.get(i, {})}
        rows.append(minute(i, 90_002.5, of["high"], of["low"], 90_002.5, volume=of["volume"]))
    put(db, tmp_path, Kind.KLINES, rows)


def test_volume_of_candles_and_trades(db: Database, tmp_path: Path) -> None:
    # The first minute may be there in part: it is not compared.
    both(db, tmp_path, {0: {"volume": 9}, 10: {"volume": 2.001}, 20: {"volume": 2.01}, 21: {"volume": 4}})
    [found] = look(db)
    assert found.check is Check.KLINES_TRADES_DISAGREE
    assert brief([found]) == [("klines 1m", 20, 22, 2)]
    assert found.text == "volume of candles and of trades differ by up to 50.0% in 2 candles of 1m"
    assert found.severity is Severity.WARNING


def test_candles_where_trades_are_missing(db: Database, tmp_path: Path) -> None:
    both(db, tmp_path, {})
    db.cursor().execute("DELETE FROM flow WHERE ts_event = ?", [START + 31 * MINUTE])
    [found] = look(db, Check.KLINES_TRADES_DISAGREE)
    assert brief([found]) == [("klines 1m", 30, 31, 1)]
    assert "up to 100.0%" in found.text


def test_high_and_low_of_candles_and_trades(db: Database, tmp_path: Path) -> None:
    # A bin holds 90 000 to 90 005; a tenth of a percent beyond is 90 095.
    both(db, tmp_path, {10: {"high": 90_090}, 20: {"high": 90_200}, 30: {"low": 89_800}})
    found = look(db)
    assert brief(found) == [("klines 1m", 20, 21, 1), ("klines 1m", 30, 31, 1)]
    assert found[0].text == "high or low of candles and of trades differ by up to 0.217% in 1 candle of 1m"


def test_candles_of_five_minutes_against_trades(db: Database, tmp_path: Path) -> None:
    put(db, tmp_path, Kind.AGG_TRADES, day_of_trades())
    prices = (90_000.0, 90_000.0, 90_000.0, 90_000.0)
    five = [candle(DAY + i * 300_000, prices, 10 if i != 3 else 11, rest=("", "", "")) for i in range(12)]
    write_file(tmp_path / "klines", "BTCUSDT-5m-2025-12-01.zip", text_of(Kind.KLINES, five))
    ingest(db, [tmp_path / "klines"])
    assert brief(look(db)) == [("klines 5m", 15, 20, 1)]


@pytest.mark.parametrize("of", [Kind.KLINES, Kind.AGG_TRADES])
def test_mark_price_and_last_price_apart(db: Database, tmp_path: Path, of: Kind) -> None:
    rows = flat(60) if of is Kind.KLINES else day_of_trades()
    put(db, tmp_path, of, rows)
    marks = [90_000.0 * (1.03 if n in (7, 8) else 1.019) for n in range(60)]
    put(db, tmp_path, Kind.MARK_PRICE_KLINES, [minute(i, p, p, p, p) for i, p in enumerate(marks)])
    [found] = look(db)
    assert found.check is Check.MARK_LAST_DIVERGE
    assert brief([found]) == [("markPriceKlines 1m", 7, 9, 2)]
    assert found.text == "mark price and last price are up to 3.0% apart for 2 candles of 1m"


def test_real_data(tmp_path: Path, shared_data: Path) -> None:
    with Database(tmp_path / "x.duckdb") as db:
        ingest(db, [shared_data / "hyperliquid-btc-ticks"], venue="HYPERLIQUID")
        found = check(db.cursor(), "HYPERLIQUID", "BTCUSDT", Bounds(most=100))
    # Nothing but what its notes say: a few mark minutes are missing, 39 of three days.
    assert {(f.check, f.data) for f in found} == {(Check.MISSING_MINUTES, "markPriceKlines 1m")}
    assert sum(f.count for f in found) == 39


# --- before an ingest ------------------------------------------------------------------------------------


def test_a_rehearsal_says_what_ingest_does_and_changes_nothing(tmp_path: Path) -> None:
    place = tmp_path / "x.duckdb"
    first = day_of_trades()
    with Database(place) as db:
        put(db, tmp_path / "in", Kind.AGG_TRADES, first)
    before = place.read_bytes()
    folder = tmp_path / "in" / "aggTrades"
    day = 86_400_000
    text = text_of(Kind.AGG_TRADES, [trade(66 + i, 90_000.0, 2, DAY + 2 * day + i * 1000) for i in range(9)])
    write_file(folder, "BTCUSDT-aggTrades-2025-12-03.zip", text)
    write_file(folder, "BTCUSDT-aggTrades-2025-12-04.zip", text_of(Kind.AGG_TRADES, [trade(9, -1, 1, DAY + 3 * day)]))
    write_file(folder, "BTCUSDT-aggTrades-2025-12.zip", text_of(Kind.AGG_TRADES, first[50:]))
    write_file(folder, "BTCUSDT-bookTicker-2025-12-04.zip", "x")
    rehearsal = rehearse([folder], place, clock=lambda: NOW)
    assert place.read_bytes() == before
    statuses = {f.path.name: f.status for f in rehearsal.report.files}
    found = {(f.check, f.severity): f for f in rehearsal.findings}
    rejected = found[Check.REJECTED_FILE, Severity.ERROR]
    assert rejected.text == ("BTCUSDT-aggTrades-2025-12-04.zip: line 2: price was -1, must be a positive number")
    assert (rejected.symbol, rejected.data) == ("BTCUSDT", "aggTrades")
    assert found[Check.ALREADY_INGESTED, Severity.INFO].text.startswith("BTCUSDT-aggTrades-2025-12-01.zip: ")
    assert found[Check.NOT_READ, Severity.INFO].text == "BTCUSDT-bookTicker-2025-12-04.zip: kind bookTicker"
    duplicates = found[Check.DUPLICATES_DROPPED, Severity.INFO]
    assert (duplicates.count, duplicates.text[:25]) == (10, "10 rows of 1 file left ou")
    # Between what is there and what would come.
    gap = found[Check.ID_GAP, Severity.WARNING]
    assert (gap.count, gap.text[:31]) == (5, "5 ids are missing after 60, bet")
    assert found[Check.MISSING_DAYS, Severity.WARNING].text.endswith("1 whole day")

    # The ingest itself does the same.
    with Database(place) as db:
        assert {f.path.name: f.status for f in ingest(db, [folder]).files} == statuses


def test_a_rehearsal_without_a_database(tmp_path: Path) -> None:
    write_file(tmp_path / "in", "BTCUSDT-aggTrades-2025-12-01.zip", text_of(Kind.AGG_TRADES, trades(10)))
    rehearsal = rehearse([tmp_path / "in"], None, clock=lambda: NOW)
    assert [f.status for f in rehearsal.report.files] == [Status.INGESTED]
    assert rehearsal.findings == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in"]


def test_severities_are_ordered() -> None:
    assert [s.rank for s in (Severity.INFO, Severity.WARNING, Severity.ERROR)] == [0, 1, 2]
    assert replace(Bounds(), most=3).most == 3
