"""What is known of real liquidations: totals first, then single ones, nothing that was known later."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from liqserver.live.errors import MissingInput
from liqserver.live.truth import HOUR, known_liquidations
from liqserver.store.archive import Kind
from liqserver.store.database import Database
from liqserver.store.ingest import ingest
from tests.store.archive_files import DAY, candle, text_of, write_file

MS, HOUR_MS, DAY_MS = 10**6, 3_600_000, 86_400_000
START = DAY * MS
NAN = float("nan")


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path / "db" / "x.duckdb") as database:
        ingest(database, [write_file(tmp_path, "BTCUSDT-5m-2025-12-01.zip", text_of(Kind.KLINES, [candle(DAY)]))])
        yield database


def order(ts: int, side: str, price: float, qty: float) -> tuple[object, ...]:
    return ts, "BTCUSDT", side, "LIMIT", "IOC", qty, price, price, "FILLED", qty, qty


def ingest_orders(db: Database, folder: Path, day: str, *orders: tuple[object, ...]) -> None:
    ingest(
        db,
        [write_file(folder, f"BTCUSDT-liquidationSnapshot-{day}.zip", text_of(Kind.LIQUIDATION_SNAPSHOT, orders))],
    )


def test_totals_go_first_with_nan_where_nothing_is_known(db: Database, tmp_path: Path) -> None:
    rows = [(DAY + h * HOUR_MS, 1.0 + h, 2.0) for h in (0, 1, 3)]
    ingest(
        db,
        [write_file(tmp_path, "liquidations_1h.csv", text_of(Kind.LIQUIDATION_TOTALS, rows))],
        symbol="BTCUSDT",
    )
    ingest_orders(db, tmp_path, "2025-12-01", order(DAY, "SELL", 100.0, 2.0))
    truth = known_liquidations(db, "BINANCE", "BTCUSDT", until=START + 24 * HOUR)
    assert "totals by 1h" in truth.source
    assert ((truth.open_time - START) // HOUR).tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(truth.liquidated, [[1, 2, NAN, 4], [2, 2, NAN, 2]])
    # Asked at other hours.
    np.testing.assert_array_equal(
        truth.at(START + HOUR * np.array([3, 0, 9, -1])), [[4, 1, NAN, NAN], [2, 2, NAN, NAN]]
    )
    np.testing.assert_array_equal(truth.at(np.array([START + 1])), [[NAN], [NAN]])
    # Point in time.
    truth = known_liquidations(db, "BINANCE", "BTCUSDT", until=START + 2 * HOUR - 1)
    assert truth.liquidated.tolist() == [[1.0], [2.0]]


def test_single_liquidations_count_within_the_dates_of_their_files(db: Database, tmp_path: Path) -> None:
    ingest_orders(
        db,
        tmp_path,
        "2025-12-01",
        order(DAY + 5, "SELL", 100.0, 2.0),
        order(DAY + 6_000, "SELL", 50.0, 1.0),
        order(DAY + 2 * HOUR_MS, "BUY", 10.0, 3.0),
    )
    ingest_orders(db, tmp_path, "2025-12-03", order(DAY + 2 * DAY_MS + HOUR_MS, "BUY", 7.0, 1.0))
    truth = known_liquidations(db, "BINANCE", "BTCUSDT", until=START + 50 * HOUR + 1)
    assert "added up" in truth.source
    assert ((truth.open_time - START) // HOUR).tolist() == list(range(50))
    longs, shorts = truth.liquidated
    # A day with a file has hours without any; of the day without a file nothing is known.
    assert longs[:24].tolist() == [250.0, *[0.0] * 23]
    assert shorts[:4].tolist() == [0.0, 0.0, 30.0, 0.0]
    assert np.isnan(truth.liquidated[:, 24:48]).all()
    assert shorts[48:].tolist() == [0.0, 7.0]


def test_nothing_known(db: Database, tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match="nothing is known of real liquidations of BINANCE:BTCUSDT by 1h"):
        known_liquidations(db, "BINANCE", "BTCUSDT", until=START)
    ingest_orders(db, tmp_path, "2025-12-01", order(DAY + 5, "SELL", 100.0, 2.0))
    with pytest.raises(MissingInput):
        known_liquidations(db, "BINANCE", "BTCUSDT", until=START)
    with pytest.raises(KeyError):
        known_liquidations(db, "BINANCE", "ETHUSDT", until=START)


def test_a_recording_of_all_symbols_covers_its_time_for_each(shared_data: Path, db: Database) -> None:
    ingest(db, [shared_data / "binance-originals" / "force_orders_2025-01-26.csv"])
    truth = known_liquidations(db, "BINANCE", "BTCUSDT", until=2**62)
    [(total, first, last)] = (
        db.cursor()
        .execute(
            "SELECT sum(price * qty), min(ts_event), max(ts_event) FROM liquidations JOIN symbols USING (symbol_id) "
            "WHERE symbol = 'BTCUSDT'"
        )
        .fetchall()
    )
    inside = (
        db.cursor()
        .execute(
            "SELECT sum(price * qty) FROM liquidations JOIN symbols USING (symbol_id) "
            "WHERE symbol = 'BTCUSDT' AND ts_event >= ? AND ts_event < ?",
            [int(truth.open_time[0]), int(truth.open_time[-1]) + HOUR],
        )
        .fetchall()
    )
    assert truth.liquidated.sum() == pytest.approx(inside[0][0])
    assert truth.liquidated.sum() <= total * (1 + 1e-9)
    assert not np.isnan(truth.liquidated).any()
    assert len(truth.open_time) >= (last - first) // HOUR - 1
