from pathlib import Path

import pytest

from liqserver.store.archive import Kind
from liqserver.store.coverage import LastPrice, Reach, coverage, symbols
from liqserver.store.database import Database
from liqserver.store.ingest import ingest
from tests.store.archive_files import DAY, DAY_MS, FIVE_MINUTES, candle, metric, text_of, trade, trades, write_file

MS = 1_000_000
START = DAY * MS
PERIOD = FIVE_MINUTES * MS
DAY_NS = DAY_MS * MS


@pytest.fixture
def db(tmp_path: Path) -> Database:
    """Two days of BTCUSDT with holes, and a coin that has a single trade."""
    folder = tmp_path / "klines"

    def write(name: str, kind: Kind, rows: list[tuple[object, ...]], below: Path = folder) -> None:
        write_file(below, name, text_of(kind, rows))

    first = trades(10, first_id=1)
    write("BTCUSDT-aggTrades-2025-12-01.zip", Kind.AGG_TRADES, first[:4] + first[6:])
    write("BTCUSDT-aggTrades-2025-12-02.zip", Kind.AGG_TRADES, trades(5, first_id=16, start=DAY + DAY_MS))
    write("BTCUSDT-5m-2025-12-01.zip", Kind.KLINES, [candle(DAY + i * FIVE_MINUTES) for i in (0, 1, 1, 4)])
    write("BTCUSDT-1h-2025-12-01.zip", Kind.KLINES, [candle(DAY + i * 3_600_000, period=3_600_000) for i in (0, 1)])
    write(
        "BTCUSDT-5m-2025-12-01.zip",
        Kind.MARK_PRICE_KLINES,
        [candle(DAY, (9, 9, 9, 9)), candle(DAY + FIVE_MINUTES, (8, 8, 8, 8))],
        tmp_path / "markPriceKlines",
    )
    write(
        "BTCUSDT-metrics-2025-12-01.zip",
        Kind.METRICS,
        [metric("2025-12-01 00:05:00", 5), metric("2025-12-01 00:10:00", 0), metric("2025-12-01 00:25:00", 6)],
    )
    eight = 8 * 3_600_000
    write(
        "BTCUSDT-fundingRate-2025-12.zip",
        Kind.FUNDING_RATE,
        [(DAY + 3, 8, 0.1), (DAY + eight, 8, 0.2), (DAY + 4 * eight + 5, 8, 0.3)],
    )
    write(
        "BTCUSDT-liquidationSnapshot-2025-12-01.zip",
        Kind.LIQUIDATION_SNAPSHOT,
        [(DAY + 9, "BTCUSDT", "SELL", "LIMIT", "IOC", 1, 99, 100, "FILLED", 1, 1)],
    )
    write("APEUSDT-aggTrades-2025-12-01.zip", Kind.AGG_TRADES, [trade(7, "0.7097", 10, DAY)])
    database = Database(tmp_path / "x.duckdb")
    report = ingest(database, [tmp_path])
    assert [f.reason for f in report.files if f.reason] == []
    return database


def test_kinds_of_a_symbol(db: Database) -> None:
    found = {(c.kind, c.period): c for c in coverage(db.cursor(), "BINANCE", "BTCUSDT")}
    assert list(found) == [
        (Kind.AGG_TRADES, 0),
        (Kind.KLINES, PERIOD),
        (Kind.KLINES, 12 * PERIOD),
        (Kind.MARK_PRICE_KLINES, PERIOD),
        (Kind.METRICS, PERIOD),
        (Kind.FUNDING_RATE, 0),
        (Kind.LIQUIDATION_SNAPSHOT, 0),
    ]
    of = found[Kind.AGG_TRADES, 0]
    assert (of.start, of.end) == (START, START + DAY_NS + 60_000 * MS)
    assert (of.rows, of.files, of.dropped_rows) == (13, 2, 0)
    [(flow,)] = db.cursor().execute("SELECT count(*) FROM flow WHERE symbol_id = 2").fetchall()
    assert of.stored_rows == flow
    # Within the first file 5 and 6, between the files 11 to 15.
    assert (of.missing_ids, of.missing_periods) == (7, 0)
    assert of.notices == (
        "BTCUSDT-aggTrades-2025-12-01.zip: 2 trade ids are missing in the file, in 1 gap, the first after id 4",
    )

    of = found[Kind.KLINES, PERIOD]
    assert (of.start, of.end, of.rows, of.stored_rows, of.dropped_rows) == (START, START + 5 * PERIOD, 4, 3, 1)
    assert of.missing_periods == 2
    assert found[Kind.KLINES, 12 * PERIOD].missing_periods == 0
    assert found[Kind.MARK_PRICE_KLINES, PERIOD].missing_periods == 0

    of = found[Kind.METRICS, PERIOD]
    assert (of.start, of.end) == (START, START + 5 * PERIOD)
    # Of five periods two have open interest; a zero is none.
    assert (of.rows, of.stored_rows, of.dropped_rows, of.missing_periods) == (3, 2, 1, 3)
    assert of.notices[0].startswith("BTCUSDT-metrics-2025-12-01.zip: 1 row dropped: open interest was zero")

    of = found[Kind.FUNDING_RATE, 0]
    assert (of.start, of.rows, of.missing_periods, of.missing_ids) == (START + 3 * MS, 3, 2, 0)


def test_an_unknown_symbol(db: Database) -> None:
    with pytest.raises(KeyError, match="BINANCE:XYZ"):
        coverage(db.cursor(), "BINANCE", "XYZ")
    with pytest.raises(KeyError):
        coverage(db.cursor(), "ELSEWHERE", "BTCUSDT")


def test_symbols(db: Database) -> None:
    ape, btc = symbols(db.cursor())
    assert (ape.venue, ape.symbol, ape.tick_size, ape.base_bin) == ("BINANCE", "APEUSDT", 0.0001, 0.0001)
    assert ape.tick_size_source == "inferred from APEUSDT-aggTrades-2025-12-01.zip"
    # A small trade is kept in its bin only: no price to show.
    assert ape.last_price is None
    assert ape.reach == (Reach(Kind.AGG_TRADES, START + 60_000 * MS, START + 60_000 * MS),)
    assert (btc.symbol, btc.tick_size_source) == ("BTCUSDT", "built in")
    assert [r.kind for r in btc.reach] == [
        Kind.AGG_TRADES,
        Kind.KLINES,
        Kind.MARK_PRICE_KLINES,
        Kind.METRICS,
        Kind.FUNDING_RATE,
        Kind.LIQUIDATION_SNAPSHOT,
    ]
    assert {r.kind: r.ts_event for r in btc.reach}[Kind.METRICS] == START + 5 * PERIOD


def test_the_newest_price_wins_and_of_one_time_the_mark_price(db: Database) -> None:
    def last() -> LastPrice | None:
        return symbols(db.cursor())[1].last_price

    cur = db.cursor()
    cur.execute("DELETE FROM large_trades")
    assert last() == LastPrice(101.0, START + 24 * PERIOD, Kind.KLINES)
    cur.execute("DELETE FROM klines WHERE ts_event > ?", [START + 2 * PERIOD])
    assert last() == LastPrice(8.0, START + 2 * PERIOD, Kind.MARK_PRICE_KLINES)
    cur.execute("DELETE FROM mark_price WHERE ts_event = ?", [START + 2 * PERIOD])
    assert last() == LastPrice(101.0, START + 2 * PERIOD, Kind.KLINES)
    cur.execute("DELETE FROM klines")
    assert last() == LastPrice(9.0, START + PERIOD, Kind.MARK_PRICE_KLINES)


def test_real_coverage(tmp_path: Path, shared_data: Path) -> None:
    with Database(tmp_path / "real.duckdb") as db:
        ingest(db, [shared_data / "hyperliquid-btc-ticks"], venue="HYPERLIQUID")
        found = {c.kind: c for c in coverage(db.cursor(), "HYPERLIQUID", "BTCUSDT")}
        [info] = symbols(db.cursor())
    assert found[Kind.AGG_TRADES].rows == 870_009
    assert found[Kind.AGG_TRADES].missing_ids == 0
    # Three days of minutes, some of which the source lacks.
    assert found[Kind.MARK_PRICE_KLINES].missing_periods == 3 * 1440 - 4281
    assert found[Kind.METRICS].missing_periods == 0
    assert info.last_price is not None
    assert info.last_price.kind is Kind.MARK_PRICE_KLINES
