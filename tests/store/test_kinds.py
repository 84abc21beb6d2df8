"""Kinds of files beside those of test_ingest.py: single trades, prices of the index, depth of the book."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from liqclient import Client
from liqserver.rpc.server import EmbeddedServer
from liqserver.store import loaders
from liqserver.store.archive import ArchiveError, Kind
from liqserver.store.coverage import Reach, coverage, symbols
from liqserver.store.database import Database
from liqserver.store.history import load_history
from liqserver.store.ingest import FileResult, Status, ingest
from tests.store.archive_files import DAY, DAY_MS, candle, text_of, trade, write_file
from tests.store.archive_files import trades as agg_trades

MS = 1_000_000
MINUTE = 60_000 * MS
Row = tuple[Any, ...]


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path / "db" / "test.duckdb") as database:
        yield database


@pytest.fixture(params=["compiled", "DuckDB"])
def scan(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaders, "COMPILED_SCAN_BYTES", 0 if request.param == "compiled" else 1 << 60)


both_scans = pytest.mark.usefixtures("scan")


def take(
    db: Database, folder: Path, name: str, kind: Kind, rows: Sequence[Sequence[object]], **options: Any
) -> FileResult:
    text = text_of(kind, rows, header=options.pop("header", True))
    [result] = ingest(db, [write_file(folder / kind, name, text)], **options).files
    return result


def rows_of(db: Database, sql: str) -> list[Row]:
    rows: list[Row] = db.cursor().execute(sql).fetchall()
    return rows


def single(trade_id: int, price: object, qty: object, ts: int, *, buyer_maker: bool = False) -> tuple[object, ...]:
    """One row of trades."""
    return trade_id, price, qty, float(str(price)) * float(str(qty)), ts, buyer_maker


def singles(n: int, *, first_id: int = 500, start: int = DAY, step: int = 10_000) -> list[tuple[object, ...]]:
    """The same trades as `agg_trades`, each a single fill with an id of its own."""
    return [
        (first_id + i, price, qty, 1.0, ts, maker)
        for i, (_, price, qty, _, _, ts, maker) in enumerate(agg_trades(n, start=start, step=step))
    ]


FLOW = """
    SELECT ts_event, bin, size_class, buy_qty, sell_qty, buy_notional, sell_notional, buy_count, sell_count
    FROM flow ORDER BY ALL
"""
LARGE = "SELECT ts_event, ts_init, price, qty, taker_buy FROM large_trades ORDER BY ALL"


# --- trades ----------------------------------------------------------------------------------------------


@both_scans
@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("suffix", ["zip", "csv"])
def test_trades_become_the_same_flow_as_agg_trades_of_single_fills(tmp_path: Path, header: bool, suffix: str) -> None:
    found = []
    for kind, rows in ((Kind.AGG_TRADES, agg_trades(500)), (Kind.TRADES, singles(500))):
        with Database(tmp_path / f"{kind}.duckdb") as db:
            result = take(db, tmp_path, f"BTCUSDT-{kind}-2025-12-01.{suffix}", kind, rows, header=header)
            assert (result.status, result.rows, result.dropped_rows) == (Status.INGESTED, 500, 0), result.reason
            found.append((rows_of(db, FLOW), rows_of(db, LARGE)))
            ids = rows_of(
                db, "SELECT kind, l.first_id, l.last_id, r.first_id FROM ledger l JOIN trade_ranges r USING (file_id)"
            )
    assert found[0] == found[1]
    assert len(found[0][1]) > 5
    assert ids == [("trades", 500, 999, 500)]
    assert result.notices[0].startswith("each fill counts by itself")


def test_a_new_symbol_takes_its_tick_from_trades(db: Database, tmp_path: Path) -> None:
    take(db, tmp_path, "XYZUSDT-trades-2025-12.zip", Kind.TRADES, [single(7, "0.7097", 5, DAY)])
    assert rows_of(db, "SELECT tick_size, base_bin FROM symbols") == [(0.0001, 0.0001)]


@both_scans
@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([single(1, 0, 1, DAY)], "line 2: price was 0, must be a positive number"),
        ([single(1, 9e4, -1, DAY)], "line 2: qty was -1, must be a positive number"),
        ([single(1, 9e4, 1, DAY), single(1, 9e4, 2, DAY)], "line 3: id 1 is that of line 2, with other values"),
        ([single(1, 9e4, 1, DAY - 2 * DAY_MS)], "line 2: time was 1764374400000 (2025-11-29 00:00:00 UTC), more than"),
        ([("x", 9e4, 1, 1, DAY, True)], "line 2: id was 'x', must be a whole number, not negative"),
    ],
)
def test_bad_trades(db: Database, tmp_path: Path, rows: list[Row], reason: str) -> None:
    result = take(db, tmp_path, "BTCUSDT-trades-2025-12-01.zip", Kind.TRADES, rows)
    assert result.status is Status.REJECTED
    assert result.reason.startswith(reason)
    assert rows_of(db, "FROM flow") == []


@both_scans
def test_copies_and_gaps_of_trades(db: Database, tmp_path: Path) -> None:
    rows = singles(100, first_id=1)
    result = take(db, tmp_path, "BTCUSDT-trades-2025-12-01.zip", Kind.TRADES, rows[:50] + rows[45:70] + rows[80:])
    assert (result.rows, result.dropped_rows) == (95, 5)
    assert result.notices[1:] == (
        "5 rows dropped: identical copies of other rows of the file",
        "10 trade ids are missing in the file, in 1 gap, the first after id 70",
    )
    assert rows_of(db, "SELECT sum(buy_count + sell_count) FROM flow") == [(90,)]


@both_scans
@pytest.mark.parametrize("first", [Kind.AGG_TRADES, Kind.TRADES])
def test_of_one_minute_the_kind_that_came_first_stays(db: Database, tmp_path: Path, first: Kind) -> None:
    # Six trades a minute; the first kind has minutes 0 to 9, the second 5 to 14.
    early, late = slice(0, 60), slice(30, 90)
    rows = {Kind.AGG_TRADES: agg_trades(90), Kind.TRADES: singles(90)}
    second = Kind.TRADES if first is Kind.AGG_TRADES else Kind.AGG_TRADES
    take(db, tmp_path, f"BTCUSDT-{first}-2025-12-01.zip", first, rows[first][early])
    result = take(db, tmp_path, f"BTCUSDT-{second}-2025-12-01.zip", second, rows[second][late])
    assert (result.status, result.rows, result.dropped_rows) == (Status.INGESTED, 60, 30)
    assert f"30 rows left out: the minutes came in with {first}" in result.notices
    assert rows_of(db, "SELECT sum(buy_count + sell_count), count(DISTINCT ts_event) FROM flow") == [(90, 15)]
    with Database(tmp_path / "clean.duckdb") as clean:
        take(clean, tmp_path / "clean", "BTCUSDT-aggTrades-2025-12-01.zip", Kind.AGG_TRADES, rows[Kind.AGG_TRADES])
        assert rows_of(db, FLOW) == rows_of(clean, FLOW)
        assert rows_of(db, LARGE) == rows_of(clean, LARGE)
    # What was left out is not missing: the file had it.
    found = {c.kind: c for c in coverage(db.cursor(), "BINANCE", "BTCUSDT")}
    assert [(found[kind].missing_ids, found[kind].dropped_rows) for kind in (first, second)] == [(0, 0), (0, 30)]


@both_scans
def test_ids_of_the_two_kinds_are_not_confused(db: Database, tmp_path: Path) -> None:
    take(db, tmp_path, "BTCUSDT-aggTrades-2025-12-01.zip", Kind.AGG_TRADES, agg_trades(60, first_id=1))
    later = singles(60, first_id=1, start=DAY + DAY_MS)
    result = take(db, tmp_path, "BTCUSDT-trades-2025-12-02.zip", Kind.TRADES, later)
    assert (result.rows, result.dropped_rows) == (60, 0)
    assert rows_of(db, "SELECT sum(buy_count + sell_count) FROM flow") == [(120,)]


@both_scans
def test_a_minute_without_agg_trades_is_filled_by_trades(db: Database, tmp_path: Path) -> None:
    rows = agg_trades(90)
    take(db, tmp_path, "BTCUSDT-aggTrades-2025-12-01.zip", Kind.AGG_TRADES, rows[:30] + rows[36:])
    result = take(db, tmp_path, "BTCUSDT-trades-2025-12-01.zip", Kind.TRADES, singles(90))
    assert result.dropped_rows == 84
    assert rows_of(db, "SELECT sum(buy_count + sell_count), count(DISTINCT ts_event) FROM flow") == [(90, 15)]


def test_a_folder_with_both_takes_agg_trades_first(db: Database, tmp_path: Path) -> None:
    write_file(tmp_path / "in", "BTCUSDT-trades-2025-12-01.zip", text_of(Kind.TRADES, singles(60)))
    write_file(tmp_path / "in", "BTCUSDT-aggTrades-2025-12-01.zip", text_of(Kind.AGG_TRADES, agg_trades(60)))
    first, second = ingest(db, [tmp_path / "in"]).files
    assert (first.kind, first.dropped_rows) == ("aggTrades", 0)
    assert (second.kind, second.stored_rows, second.dropped_rows) == ("trades", 0, 60)


def test_the_reach_of_trades_goes_by_the_kind_that_there_is(db: Database, tmp_path: Path) -> None:
    take(db, tmp_path, "BTCUSDT-trades-2025-12-01.zip", Kind.TRADES, [single(1, 90_000, 1, DAY)])
    assert symbols(db.cursor())[0].reach == (Reach(Kind.TRADES, DAY * MS + MINUTE, DAY * MS + MINUTE),)


# --- index price, premium index --------------------------------------------------------------------------


def test_candles_of_one_name_go_by_their_folder(db: Database, tmp_path: Path) -> None:
    name = "BTCUSDT-1m-2025-12-01.zip"
    prices = {
        Kind.KLINES: (90.0, 91.0, 89.0, 90.5),
        Kind.MARK_PRICE_KLINES: (90.1, 90.9, 89.1, 90.4),
        Kind.INDEX_PRICE_KLINES: (90.2, 90.8, 89.2, 90.3),
        # A discount: below zero.
        Kind.PREMIUM_INDEX_KLINES: (-0.0005, 0.0, -0.0006, -0.0002),
    }
    tables = ("klines", "mark_price", "index_price", "premium_index")
    for (kind, of), table in zip(prices.items(), tables, strict=True):
        result = take(db, tmp_path, name, kind, [candle(DAY, of, period=60_000)])
        assert (result.status, result.kind, result.stored_rows) == (Status.INGESTED, kind, 1), result.reason
        start = DAY * MS
        assert rows_of(db, f"SELECT period, ts_event, ts_init, open, high, low, close FROM {table}") == [
            (MINUTE, start + MINUTE, start + MINUTE, *of)
        ]
    [info] = symbols(db.cursor())
    assert [r.kind for r in info.reach] == list(prices)
    assert info.last_price is not None
    assert info.last_price.kind is Kind.MARK_PRICE_KLINES


@pytest.mark.parametrize(
    ("kind", "prices", "reason"),
    [
        (Kind.INDEX_PRICE_KLINES, (0, 1, 0, 1), "line 2: open was 0, must be a positive number"),
        (Kind.PREMIUM_INDEX_KLINES, ("nan", 1, 0, 1), "line 2: open was nan, must be a finite number"),
        (Kind.PREMIUM_INDEX_KLINES, (0, -1, -2, -1.5), "line 2: open was 0, must lie between low -2 and high -1"),
    ],
)
def test_bad_candles_of_the_index(
    db: Database, tmp_path: Path, kind: Kind, prices: tuple[object, object, object, object], reason: str
) -> None:
    take(db, tmp_path, "BTCUSDT-5m-2025-12-01.zip", Kind.KLINES, [candle(DAY)])
    result = take(db, tmp_path, "BTCUSDT-5m-2025-12-01.zip", kind, [candle(DAY, prices)])
    assert result.reason.startswith(reason)


# --- depth -----------------------------------------------------------------------------------------------


def test_depth_has_rows_of_one_time(db: Database, tmp_path: Path) -> None:
    take(db, tmp_path, "BTCUSDT-5m-2025-12-01.zip", Kind.KLINES, [candle(DAY)])
    first, second = "2025-12-01 00:00:09", "2025-12-01 00:00:39"
    picture = [(first, p, 7.5, 600.5) for p in (-5, "-1.00", "-0.20", "0.20", 1, 5)]
    result = take(
        db,
        tmp_path,
        "BTCUSDT-bookDepth-2025-12-01.zip",
        Kind.BOOK_DEPTH,
        [*picture, picture[2], (second, -5, 8, 610), (second, 5, 0, 0)],
    )
    assert (result.status, result.rows, result.stored_rows, result.dropped_rows) == (Status.INGESTED, 9, 8, 1)
    at = DAY * MS + 9_000 * MS
    assert rows_of(db, "SELECT ts_event, ts_init, percentage, depth, notional FROM book_depth")[:3] == [
        (at, at, -5.0, 7.5, 600.5),
        (at, at, -1.0, 7.5, 600.5),
        (at, at, -0.2, 7.5, 600.5),
    ]
    found = {c.kind: c for c in coverage(db.cursor(), "BINANCE", "BTCUSDT")}[Kind.BOOK_DEPTH]
    assert (found.start, found.end, found.stored_rows, found.missing_periods) == (at, at + 30_000 * MS, 8, 0)
    # The month says the same again, and a row more.
    month = [*picture, (second, -1, 8, 610)]
    again = take(db, tmp_path, "BTCUSDT-bookDepth-2025-12.zip", Kind.BOOK_DEPTH, month)
    assert (again.stored_rows, again.dropped_rows) == (1, 6)
    # Another content of the same row is refused.
    odd = take(db, tmp_path, "BTCUSDT-bookDepth-2025-12-02.csv", Kind.BOOK_DEPTH, [(first, 1, 9, 600.5)])
    assert odd.reason == (
        "line 2: depth was 9.0, but 7.5 in BTCUSDT-bookDepth-2025-12-01.zip, "
        "for the period that ends 2025-12-01 00:00:09"
    )


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (("2025-12-01 00:00:09", 1, -1, 1), "line 2: depth was -1, must be a number, not negative"),
        (("2025-12-01 00:00:09", 1, 1, "nan"), "line 2: notional was nan, must be a number, not negative"),
        (("2025-12-01 00:00:09", "", 1, 1), "line 2: percentage was empty, must be a finite number"),
        ((DAY, 1, 1, 1), f"line 2: timestamp was {DAY}, must be a UTC time as YYYY-MM-DD HH:MM:SS"),
    ],
)
def test_bad_depth(db: Database, tmp_path: Path, row: Row, reason: str) -> None:
    take(db, tmp_path, "BTCUSDT-5m-2025-12-01.zip", Kind.KLINES, [candle(DAY)])
    assert take(db, tmp_path, "BTCUSDT-bookDepth-2025-12-01.zip", Kind.BOOK_DEPTH, [row]).reason == reason


# --- COIN-M ----------------------------------------------------------------------------------------------


def test_coin_margined_contracts_are_refused_with_the_reason(db: Database, tmp_path: Path) -> None:
    text = text_of(Kind.AGG_TRADES, [trade(1, 90_000.0, 10, DAY)])
    path = write_file(tmp_path / "in", "BTCUSD_PERP-aggTrades-2025-12-01.zip", text)
    with pytest.raises(ArchiveError, match="open interest in coins moves with price alone"):
        ingest(db, [path])
    write_file(tmp_path / "in", "BTCUSDT-aggTrades-2025-12-01.zip", text)
    first, second = ingest(db, [tmp_path / "in"]).files
    assert (first.status, second.status) == (Status.INGESTED, Status.NOT_READ)
    assert second.reason.startswith("COIN-M: its contracts are worth a fixed sum of dollars")


# --- what is made of them --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Kind.AGG_TRADES, Kind.TRADES])
def test_candles_do_not_stand_in_where_trades_of_either_kind_are(db: Database, tmp_path: Path, kind: Kind) -> None:
    rows = agg_trades(60, step=60_000) if kind is Kind.AGG_TRADES else singles(60, step=60_000)
    take(db, tmp_path, f"BTCUSDT-{kind}-2025-12-01.zip", kind, rows)
    candles = [candle(DAY + n * 300_000, (90_000.0,) * 4, 10, rest=("", "", "")) for n in range(12)]
    take(db, tmp_path, "BTCUSDT-5m-2025-12-01.zip", Kind.KLINES, candles)
    history = load_history(db.cursor(), 1, 5.0)
    traded = sum(float(str(row[2])) for row in agg_trades(60, step=60_000))
    assert history.flow_buy.sum() + history.flow_sell.sum() == pytest.approx(traded)


def test_a_server_tells_of_every_kind(tmp_path: Path) -> None:
    place = tmp_path / "x.duckdb"
    with Database(place) as db:
        take(db, tmp_path, "BTCUSDT-trades-2025-12-01.zip", Kind.TRADES, singles(60))
        for kind in (Kind.INDEX_PRICE_KLINES, Kind.PREMIUM_INDEX_KLINES):
            take(db, tmp_path, "BTCUSDT-1m-2025-12-01.zip", kind, [candle(DAY, (0.5,) * 4, period=60_000)])
        depth = [("2025-12-01 00:00:09", -1, 5, 450_000)]
        take(db, tmp_path, "BTCUSDT-bookDepth-2025-12-01.zip", Kind.BOOK_DEPTH, depth)
    with EmbeddedServer(place) as server, Client(server.target) as client:
        [info] = client.symbols()
        [of] = client.coverage("BTCUSDT")
    assert len(info.watermarks) == len(of.kinds) == 4
    assert len({kind.kind for kind in of.kinds}) == 4
