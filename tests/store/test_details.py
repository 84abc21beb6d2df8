"""Candles, single trades and sized flow as models get them, from real tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from liqserver.models.market import CANDLE_PERIOD, LARGE_TRADE, SIZE_CLASSES
from liqserver.store.database import Database
from liqserver.store.details import step_candles
from liqserver.store.ingest import ingest
from liqserver.store.loaders import LARGE_TRADE_NOTIONAL
from liqserver.store.markets import StoreMarkets, bracket_tables


def test_sizes_of_store_and_models_are_the_same() -> None:
    assert LARGE_TRADE == LARGE_TRADE_NOTIONAL
    assert LARGE_TRADE in SIZE_CLASSES


def test_candles_of_one_minute_klines_are_their_five_minute_sums(market_db: Path) -> None:
    with Database(market_db, read_only=True) as database:
        candles = StoreMarkets(database).market("BINANCE", "BTCUSDT").details.candles()
        rows = (
            database.cursor()
            .execute("SELECT ts_event, open, high, low, close, quote_volume FROM klines ORDER BY ts_event")
            .fetchnumpy()
        )
    assert len(candles.end) == 2 * 288
    assert (np.diff(candles.end) == CANDLE_PERIOD).all()
    shape = (-1, 5)
    np.testing.assert_array_equal(candles.open, rows["open"].reshape(shape)[:, 0])
    np.testing.assert_array_equal(candles.high, rows["high"].reshape(shape).max(axis=1))
    np.testing.assert_array_equal(candles.low, rows["low"].reshape(shape).min(axis=1))
    np.testing.assert_array_equal(candles.close, rows["close"].reshape(shape)[:, 4])
    np.testing.assert_allclose(candles.quote_volume, rows["quote_volume"].reshape(shape).sum(axis=1))


def test_candles_without_klines_are_of_path_and_flow(market_archive: Path, tmp_path: Path) -> None:
    files = [*market_archive.rglob("*aggTrades*.zip"), *market_archive.rglob("markPriceKlines/**/*.zip")]
    with Database(tmp_path / "x.duckdb") as database:
        ingest(database, files)
        market = StoreMarkets(database).market("BINANCE", "BTCUSDT")
        candles = market.details.candles()
        [(notional,)] = database.cursor().execute("SELECT sum(buy_notional + sell_notional) FROM flow").fetchall()
    assert len(candles.end) == 2 * 288
    assert candles.quote_volume.sum() == pytest.approx(notional)
    np.testing.assert_array_equal(candles.open[1:], candles.close[:-1])
    assert (candles.low <= np.minimum(candles.open, candles.close)).all()
    assert (candles.high >= np.maximum(candles.open, candles.close)).all()


def test_step_candles_leave_out_the_one_that_has_not_ended(market_db: Path) -> None:
    with Database(market_db, read_only=True) as database:
        history = StoreMarkets(database).market("BINANCE", "BTCUSDT").history
    ended = step_candles(history.slice(0, 100 * 5 + 3))
    assert len(ended.end) == 100


def test_large_trades_and_sized_flow_agree_with_the_flow(market_db: Path) -> None:
    with Database(market_db, read_only=True) as database:
        details = StoreMarkets(database).market("BINANCE", "BTCUSDT").details
        trades, flow = details.large_trades(), details.sized_flow()
        [(bought, sold, count)] = (
            database.cursor()
            .execute("SELECT sum(buy_qty), sum(sell_qty), sum(buy_count + sell_count) FROM flow")
            .fetchall()
        )
    assert flow.qty[flow.taker_buy].sum() == pytest.approx(bought)
    assert flow.qty[~flow.taker_buy].sum() == pytest.approx(sold)
    assert flow.count.sum() == count
    large = np.array(SIZE_CLASSES)[flow.size_class] >= LARGE_TRADE
    assert len(trades.qty) == flow.count[large].sum() > 0
    assert (trades.price * trades.qty >= LARGE_TRADE).all()
    assert (np.diff(trades.known_at) >= 0).all()
    assert trades.qty[trades.taker_buy].sum() == pytest.approx(flow.qty[large & flow.taker_buy].sum())


def test_bracket_tables_without_a_database_are_the_built_in_ones(tmp_path: Path, market_db: Path) -> None:
    assert [t.table_id for t in bracket_tables(tmp_path / "none", "BINANCE", "BTCUSDT")] == [
        t.table_id for t in bracket_tables(market_db, "BINANCE", "BTCUSDT")
    ]
    assert bracket_tables(market_db, "BINANCE", "NOPEUSDT") == ()
