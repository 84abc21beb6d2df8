import csv
import math
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from liqserver.simulate.archive import LIQUIDATIONS_HEADER
from liqserver.store.archive import ALL_SYMBOLS, COLUMNS, Kind, UnreadFile, parse_file
from liqserver.store.coverage import coverage, symbols
from liqserver.store.database import Database, StoreError
from liqserver.store.ingest import FileResult, Status, ingest
from liqserver.store.liquidations import (
    LiquidationRows,
    aggregate_liquidations,
    list_liquidations,
    recorded,
    saturation,
)
from tests.store.archive_files import DAY, candle, text_of, write_file

MS, SECOND, MINUTE, HOUR = 10**6, 10**9, 60 * 10**9, 3600 * 10**9
START = DAY * MS
NAME = "BTCUSDT-liquidationSnapshot-2025-12-01.zip"
RECORDING = "force_orders_2025-12-01.csv"
EVERYTHING: dict[str, None] = {"start": None, "end": None, "side": None}
Row = tuple[object, ...]


def order(
    ts: int,
    side: str = "SELL",
    price: object = 100.0,
    qty: object = 2.0,
    *,
    limit: object = 99.5,
    status: str = "FILLED",
) -> Row:
    """One row of liquidationSnapshot; ``price`` is the average of the fills."""
    return ts, "BTCUSDT", side, "LIMIT", "IOC", qty, limit, price, status, qty, qty


def raw(symbol: str, ts: int, side: str = "SELL", price: object = 100.0, qty: object = 2.0, usd: object = 1) -> Row:
    """One row of a recording."""
    return symbol, side, "LIMIT", "IOC", qty, 99.5, price, "FILLED", qty, qty, ts, usd


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path / "db" / "x.duckdb") as database:
        yield database


def take(
    db: Database, folder: Path, name: str, rows: Sequence[Row], *, header: bool = True, **options: Any
) -> FileResult:
    kind = Kind.FORCE_ORDERS if name.startswith("force_orders") else Kind.LIQUIDATION_SNAPSHOT
    [result] = ingest(db, [write_file(folder, name, text_of(kind, rows, header=header))], **options).files
    return result


def stored(db: Database, symbol: str = "BTCUSDT") -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = (
        db.cursor()
        .execute(
            "SELECT ts_event - ?, side, price, qty FROM liquidations JOIN symbols USING (symbol_id) "
            "WHERE symbol = ? ORDER BY ALL",
            [START, symbol],
        )
        .fetchall()
    )
    return found


def counts(db: Database) -> dict[str, int]:
    tables = ("symbols", "ledger", "liquidations")
    return {t: db.cursor().execute(f"SELECT count(*) FROM {t}").fetchall()[0][0] for t in tables}


def everything(db: Database, symbol_id: int = 1) -> LiquidationRows:
    return list_liquidations(db.cursor(), symbol_id, limit=10**6, after=None, **EVERYTHING)


# --- files of one symbol ---------------------------------------------------------------------------------------


def test_columns_are_those_that_the_simulator_writes() -> None:
    assert [c.name for c in COLUMNS[Kind.LIQUIDATION_SNAPSHOT]] == LIQUIDATIONS_HEADER.split(",")


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("name", [NAME, NAME.replace(".zip", ".csv"), "BTCUSDT-liquidationSnapshot-2025-12.zip"])
def test_side_of_the_order_becomes_side_of_the_position(db: Database, tmp_path: Path, name: str, header: bool) -> None:
    rows = [order(DAY + 5, "SELL", 100.5, 2), order(DAY + 1500, "BUY", 101, 0.25)]
    result = take(db, tmp_path, name, rows, header=header)
    assert (result.status, result.rows, result.stored_rows, result.dropped_rows) == (Status.INGESTED, 2, 2, 0)
    assert (result.kind, result.ts_start, result.ts_end) == ("liquidationSnapshot", START + 5 * MS, START + 1500 * MS)
    assert stored(db) == [(5 * MS, 1, 100.5, 2.0), (1500 * MS, -1, 101.0, 0.25)]
    [(late,)] = db.cursor().execute("SELECT count(*) FROM liquidations WHERE ts_init != ts_event").fetchall()
    assert late == 0


def test_microseconds(db: Database, tmp_path: Path) -> None:
    result = take(db, tmp_path, NAME, [order(DAY * 1000 + 7)])
    assert "its times are in microseconds" in result.notices
    assert stored(db) == [(7000, 1, 100.0, 2.0)]


def test_rows_that_are_left_out_are_counted_by_reason(db: Database, tmp_path: Path) -> None:
    rows = [
        order(DAY + 1),
        order(DAY + 1),
        order(DAY + 1),
        order(DAY + 1, limit=98),
        order(DAY + 2000, qty=0, price=0, status="EXPIRED"),
        order(DAY + 3000, price=0),
        order(DAY + 4000, status="PARTIALLY_FILLED"),
        order(DAY + 1, "BUY"),
        order(DAY + 1, price=100.5),
    ]
    result = take(db, tmp_path, NAME, rows)
    assert (result.rows, result.stored_rows, result.dropped_rows) == (9, 4, 5)
    assert result.notices[1:] == (
        "1 row dropped: nothing was filled",
        "1 row dropped: the average price was 0, so what the fills were worth is not known",
        "2 rows dropped: identical copies of other rows of the file",
        "1 row dropped: time, side, average price and filled quantity are those of another row of the file",
        "1 row kept though not of status FILLED: they count with what was filled",
    )
    assert [row[0] for row in stored(db)] == [MS, MS, MS, 4000 * MS]


def test_the_same_rows_of_another_file_are_left_out(db: Database, tmp_path: Path) -> None:
    rows = [order(DAY + 1000 * n, price=100 + n) for n in range(6)]
    take(db, tmp_path, NAME, rows[:4])
    result = take(db, tmp_path, "BTCUSDT-liquidationSnapshot-2025-12.zip", rows[2:])
    assert (result.rows, result.stored_rows, result.dropped_rows) == (4, 2, 2)
    assert result.notices == ("2 rows left out: another file brought in the same",)
    # Also of a recording; another symbol's rows are its own.
    result = take(db, tmp_path, RECORDING, [raw(s, DAY + 1000, price=101) for s in ("BTC", "ETH")])
    assert (result.stored_rows, result.dropped_rows) == (1, 1)
    assert len(stored(db)) == 6
    assert len(stored(db, "ETHUSDT")) == 1


def test_again_is_no_change_and_other_content_needs_replace(db: Database, tmp_path: Path) -> None:
    take(db, tmp_path / "a", NAME, [order(DAY + 1), order(DAY + 2000)])
    before = counts(db)
    assert take(db, tmp_path / "b", NAME, [order(DAY + 1), order(DAY + 2000)]).status is Status.ALREADY_INGESTED
    result = take(db, tmp_path / "c", NAME, [order(DAY + 1)])
    assert result.status is Status.REJECTED
    assert "--replace" in result.reason
    assert counts(db) == before
    result = take(db, tmp_path / "c", NAME, [order(DAY + 1)], replace=True)
    assert result.notices[0].startswith("it replaces a file of the same name")
    assert counts(db) == before | {"liquidations": 1}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (order(DAY, "LONG"), "line 3: side was 'LONG', must be BUY or SELL"),
        (order(DAY, ""), "line 3: side was empty, must be BUY or SELL"),
        (order(DAY, price=-1), "line 3: average_price was -1, must be a number, not negative"),
        (order(DAY, price=""), "line 3: average_price was empty, must be a number, not negative"),
        (order(DAY, qty="nan"), "line 3: accumulated_fill_quantity was nan, must be a number, not negative"),
        (order(DAY, qty="inf"), "line 3: accumulated_fill_quantity was inf, must be a number, not negative"),
        (order(DAY, limit="x"), "line 3: price was 'x', must be a number, not negative"),
        (order("yesterday"), "line 3: time was 'yesterday', must be a time in milliseconds or microseconds"),  # type: ignore[arg-type]
        (
            order(DAY // 1000),
            "line 3: time was 1764547200 (1970-01-21 10:09:07 UTC), more than a day outside 2025-12-01",
        ),
        (order(1 << 61), f"line 3: time was {1 << 61}, more than a day outside 2025-12-01"),
        ((DAY, "ETHUSDT", *order(DAY)[2:]), "line 3: symbol was 'ETHUSDT', must be BTCUSDT as in the file's name"),
        (order(DAY)[:-1], "line 3: number of columns was 10, must be 11"),
    ],
)
def test_a_bad_row_rejects_the_file_with_its_line(db: Database, tmp_path: Path, row: Row, said: str) -> None:
    result = take(db, tmp_path, NAME, [order(DAY + 1), row])
    assert result.status is Status.REJECTED
    assert said in result.reason
    assert set(counts(db).values()) == {0}


def test_a_symbol_without_prices_is_registered_by_its_liquidations(db: Database, tmp_path: Path) -> None:
    text = text_of(Kind.LIQUIDATION_SNAPSHOT, [(DAY, "APEUSDT", *order(DAY, price="0.7097", limit="0.712")[2:])])
    [result] = ingest(db, [write_file(tmp_path, "APEUSDT-liquidationSnapshot-2025-12-01.zip", text)]).files
    [info] = symbols(db.cursor())
    assert (info.symbol, info.tick_size, info.base_bin) == ("APEUSDT", 0.0001, 0.0001)
    assert info.tick_size_source == "inferred from APEUSDT-liquidationSnapshot-2025-12-01.zip"
    assert result.notices[0].startswith("1 symbol is new: tick and bins are taken from the prices of liquidations")


def test_prices_of_other_files_register_first(db: Database, tmp_path: Path) -> None:
    write_file(tmp_path, "APEUSDT-5m-2025-12-01.zip", text_of(Kind.KLINES, [candle(DAY)]))
    write_file(tmp_path, RECORDING, text_of(Kind.FORCE_ORDERS, [raw("APE", DAY, price="101.2345678")], header=False))
    ingest(db, [tmp_path])
    [info] = symbols(db.cursor())
    assert (info.tick_size, info.tick_size_source) == (0.1, "inferred from APEUSDT-5m-2025-12-01.zip")


def test_a_file_in_which_nothing_was_filled_is_rejected(db: Database, tmp_path: Path) -> None:
    result = take(db, tmp_path, NAME, [order(DAY, qty=0)])
    assert result.status is Status.REJECTED
    assert result.reason == "no row tells of a liquidation: a filled quantity with an average price"


def test_simulated_files(market_db: Path, market_archive: Path) -> None:
    expected = []
    for path in sorted(market_archive.rglob("BTCUSDT-liquidationSnapshot-*.zip")):
        with zipfile.ZipFile(path) as archive:
            lines = archive.read(archive.namelist()[0]).decode().splitlines()[1:]
        for line in lines:
            of = line.split(",")
            expected.append((int(of[0]) * MS, 1 if of[2] == "SELL" else -1, float(of[7]), float(of[10])))
    assert len(expected) > 50
    with Database(market_db, read_only=True) as db:
        rows = everything(db)
        [of_kind] = [of for of in coverage(db.cursor(), "BINANCE", "BTCUSDT") if of.kind is Kind.LIQUIDATION_SNAPSHOT]
        [info] = symbols(db.cursor())
    columns = zip(rows.ts_event.tolist(), rows.side.tolist(), rows.price.tolist(), rows.qty.tolist(), strict=True)
    assert list(columns) == sorted(expected)
    assert (of_kind.rows, of_kind.stored_rows, of_kind.files) == (len(expected), len(expected), 2)
    assert (of_kind.missing_periods, of_kind.missing_ids, of_kind.period) == (0, 0, 0)
    assert (of_kind.start, of_kind.end) == (rows.ts_event[0], rows.ts_event[-1])
    [reach] = [of for of in info.reach if of.kind is Kind.LIQUIDATION_SNAPSHOT]
    assert reach.ts_event == rows.ts_event[-1]


# --- recordings of all symbols ---------------------------------------------------------------------------------


def test_names_of_recordings() -> None:
    for name in ("force_orders_2025-01-26.csv", "force_orders_2025-01-26.zip", "force_orders_mine.csv"):
        file = parse_file(Path(name))
        assert file is not None
        assert not isinstance(file, UnreadFile)
        assert (file.symbol, file.kind, file.period) == (ALL_SYMBOLS, Kind.FORCE_ORDERS, 0)
    assert isinstance(parse_file(Path("force_orders_2025-02-30.csv")), UnreadFile)
    assert parse_file(Path("force_orders.csv")) is None


@pytest.mark.parametrize("header", [True, False])
def test_a_recording_becomes_one_entry_for_each_symbol(db: Database, tmp_path: Path, header: bool) -> None:
    rows = [raw("LRC", DAY, qty=3), raw("BTC", DAY + 7, "BUY"), raw("BTCUSDC", DAY), raw("LRC", DAY), raw("LRC", DAY)]
    result = take(db, tmp_path, RECORDING, rows, header=header)
    assert (result.symbol, result.kind, result.rows, result.stored_rows) == ("*", "forceOrders", 5, 4)
    assert result.notices[0] == "its symbols are taken for quoted in USDT where their names do not say it"
    ledger = db.cursor().execute(
        "SELECT symbol, file_id, kind, name, rows, stored_rows, dropped_rows, ts_start - ?, ts_end - ? "
        "FROM ledger JOIN symbols USING (symbol_id) ORDER BY file_id",
        [START, START],
    )
    same = ("liquidationSnapshot", RECORDING)
    assert ledger.fetchall() == [
        ("BTCUSDC", 1, *same, 1, 1, 0, 0, 0),
        ("BTCUSDT", 2, *same, 1, 1, 0, 7 * MS, 7 * MS),
        ("LRCUSDT", 3, *same, 3, 2, 1, 0, 0),
    ]
    files = db.cursor().execute("SELECT symbol_id, file_id FROM liquidations ORDER BY ALL").fetchall()
    assert files == [(1, 1), (2, 2), (3, 3), (3, 3)]
    [of] = coverage(db.cursor(), "BINANCE", "LRCUSDT")
    assert (of.kind, of.rows, of.dropped_rows) == (Kind.LIQUIDATION_SNAPSHOT, 3, 1)
    assert any("identical copies" in notice for notice in of.notices)
    assert take(db, tmp_path / "again", RECORDING, rows, header=header).status is Status.ALREADY_INGESTED


def test_replacing_a_recording_removes_it_for_all_symbols(db: Database, tmp_path: Path) -> None:
    take(db, tmp_path / "a", RECORDING, [raw("LRC", DAY), raw("BTC", DAY)])
    assert take(db, tmp_path / "b", RECORDING, [raw("BTC", DAY + 1)]).status is Status.REJECTED
    result = take(db, tmp_path / "b", RECORDING, [raw("BTC", DAY + 1)], replace=True)
    assert sum("it replaces" in notice for notice in result.notices) == 1
    assert (stored(db, "LRCUSDT"), stored(db, "BTCUSDT")) == ([], [(MS, 1, 100.0, 2.0)])
    assert counts(db)["ledger"] == 1


def test_quote_asset(db: Database, tmp_path: Path) -> None:
    result = take(db, tmp_path, RECORDING, [raw("BTC", DAY), raw("ETHUSDT", DAY)], quote_asset="USDC")
    assert "quoted in USDC" in result.notices[0]
    assert [info.symbol for info in symbols(db.cursor())] == ["BTCUSDC", "ETHUSDT"]
    for wrong in ("", "usdt", "US'DT"):
        with pytest.raises(StoreError, match="quote_asset was"):
            take(db, tmp_path, RECORDING, [raw("BTC", DAY)], quote_asset=wrong)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (raw("B-C", DAY), "line 2: symbol was 'B-C', must be a symbol of letters and digits"),
        (raw("", DAY), "line 2: symbol was empty, must be a symbol of letters and digits"),
        (raw("BTC", DAY, "sell"), "line 2: side was 'sell', must be BUY or SELL"),
        (raw("BTC", DAY, qty=-1), "line 2: accumulated_fill_quantity was -1"),
        (
            raw("BTC", DAY // 1000),
            "line 2: trade_time was 1764547200 (1970-01-21 10:09:07 UTC), more than a day outside",
        ),
        (raw("BTC", 1 << 61), f"line 2: trade_time was {1 << 61}, more than a day outside"),
        (raw("BTC", DAY)[:-1], "line 2: number of columns was 11, must be 12"),
    ],
)
def test_a_bad_row_rejects_the_recording_of_all_symbols(db: Database, tmp_path: Path, row: Row, said: str) -> None:
    result = take(db, tmp_path, RECORDING, [raw("LRC", DAY), row], header=False)
    assert result.status is Status.REJECTED
    assert said in result.reason
    assert set(counts(db).values()) == {0}


def test_one_width_of_bins_does_not_fit_all_symbols(db: Database, tmp_path: Path) -> None:
    result = take(db, tmp_path, RECORDING, [raw("LRC", DAY)], base_bin=5.0)
    assert result.status is Status.REJECTED
    assert "base_bin was 5, but LRCUSDT" in result.reason


def test_a_symbol_of_which_nothing_was_filled_stays_out(db: Database, tmp_path: Path) -> None:
    result = take(db, tmp_path, RECORDING, [raw("LRC", DAY), raw("BTC", DAY, qty=0)])
    assert (result.rows, result.stored_rows, result.dropped_rows) == (2, 1, 1)
    assert [info.symbol for info in symbols(db.cursor())] == ["LRCUSDT"]


def test_real_recording(db: Database, shared_data: Path) -> None:
    path = shared_data / "binance-originals" / "force_orders_2025-01-26.csv"
    [result] = ingest(db, [path]).files
    with path.open() as lines:
        rows = list(csv.reader(lines))
    # As the facts have it: copies are rows of one symbol, time, side, average price and filled quantity.
    once = {(r[0], int(r[10]), r[1], float(r[6]), float(r[9])): r for r in rows}
    assert (len(rows), len(set(map(tuple, rows))), len(once)) == (3510, 1842, 1837)
    assert (result.status, result.rows, result.stored_rows, result.dropped_rows) == (Status.INGESTED, 3510, 1837, 1673)
    names = {r[0] if r[0].endswith("USDC") else f"{r[0]}USDT" for r in rows}
    assert len(names) == 221
    infos = symbols(db.cursor())
    assert {info.symbol for info in infos} == names

    expected = defaultdict(list)
    for name, _, side, price, qty in once:
        expected[side, name].append(price * qty)
    for side, sign in (("SELL", 1), ("BUY", -1)):
        cur = db.cursor()
        found = cur.execute("SELECT count(*), sum(price * qty) FROM liquidations WHERE side = ?", [sign]).fetchall()
        of_side = [usd for (of, _), all_usd in expected.items() if of == side for usd in all_usd]
        assert found == [(len(of_side), pytest.approx(math.fsum(of_side), rel=1e-12))]
    assert len([r for r in once if r[2] == "SELL"]) == 1228
    btc = next(info.symbol_id for info in infos if info.symbol == "BTCUSDT")
    held = everything(db, btc)
    assert held.price[held.side > 0] @ held.qty[held.side > 0] == pytest.approx(math.fsum(expected["SELL", "BTC"]))
    assert saturation(db.cursor(), btc, start=None, end=None) is None

    # The file's own column of USD is at the limit price (of five rows a millionth of it, and those are copies).
    usd = [(float(r[11]), float(r[5]), float(r[6]), float(r[9])) for r in rows]
    at_limit = [of for of in usd if math.isclose(of[0], of[1] * of[3], rel_tol=1e-9)]
    assert len(at_limit) == len(rows) - 5
    assert all(math.isclose(of[0], of[2] * of[3], rel_tol=0.03) for of in at_limit)


# --- questions -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """Two symbols with many rows of the same time."""
    random = np.random.default_rng(5)
    folder = tmp_path_factory.mktemp("many")
    rows = [
        raw(
            symbol,
            DAY + int(random.integers(0, 40)) * 60_000,
            ("SELL", "BUY")[int(random.integers(2))],
            round(float(random.uniform(90, 110)), int(random.integers(0, 3))),
            round(float(random.uniform(0.1, 9)), 1),
        )
        for symbol in ("BTC", "ETH")
        for _ in range(300)
    ]
    write_file(folder, RECORDING, text_of(Kind.FORCE_ORDERS, rows))
    with Database(folder / "x.duckdb") as database:
        ingest(database, [folder / RECORDING])
        yield database


def as_rows(of: LiquidationRows) -> list[tuple[Any, ...]]:
    return list(zip(of.ts_event.tolist(), of.side.tolist(), of.price.tolist(), of.qty.tolist(), strict=True))


@pytest.mark.parametrize("limit", [1, 7, 100, 10_000])
@pytest.mark.parametrize("side", [None, 1, -1])
def test_pages_hold_every_row_once(many: Database, limit: int, side: int | None) -> None:
    cur = many.cursor()
    span: dict[str, Any] = {"start": START + 5 * MINUTE, "end": START + 30 * MINUTE, "side": side}
    expected = sorted(
        cur.execute(
            "SELECT ts_event, side, price, qty FROM liquidations "
            "WHERE symbol_id = 1 AND ts_event >= $1 AND ts_event < $2 AND side = coalesce($3, side)",
            list(span.values()),
        ).fetchall()
    )
    got: list[tuple[Any, ...]] = []
    page = list_liquidations(cur, 1, limit=limit, after=None, **span)
    while True:
        assert len(page) <= limit
        got += as_rows(page)
        if not page.more:
            break
        page = list_liquidations(cur, 1, limit=limit, after=page.last, **span)
    assert got == expected
    there = recorded(cur, 1, **span)
    assert there is not None
    assert there.rows == len(expected) > 50
    assert (there.start, there.end) == (everything(many).ts_event[0], everything(many).ts_event[-1])


@pytest.mark.parametrize("limit", [1, 3, 1000])
@pytest.mark.parametrize("interval", [SECOND, 7 * MINUTE, HOUR, 720 * HOUR])
def test_sums_are_those_of_the_rows(many: Database, interval: int, limit: int) -> None:
    cur = many.cursor()
    span: dict[str, Any] = {"start": START + 3 * MINUTE, "end": START + 31 * MINUTE}
    expected: dict[int, dict[int, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for ts, side, price, qty in as_rows(list_liquidations(cur, 2, limit=10**6, after=None, side=None, **span)):
        expected[ts // interval * interval][side].append((price * qty, qty))
    for asked in (None, 1, -1):
        after, seen = None, []
        while True:
            page = aggregate_liquidations(cur, 2, side=asked, interval=interval, limit=limit, after=after, **span)
            for n, ts in enumerate(page.ts.tolist()):
                seen.append(ts)
                for row, side in enumerate((1, -1)):
                    of = expected[ts][side] if asked in (None, side) else []
                    assert page.count[row, n] == len(of)
                    assert page.notional[row, n] == pytest.approx(math.fsum(usd for usd, _ in of), rel=1e-14)
                    assert page.qty[row, n] == pytest.approx(math.fsum(qty for _, qty in of), rel=1e-14)
            if not page.more:
                break
            assert len(page) == limit
            after = int(page.ts[-1])
        assert seen == sorted(ts for ts, of in expected.items() if asked is None or of.get(asked))


def test_a_span_without_any_is_empty(many: Database) -> None:
    cur = many.cursor()
    span: dict[str, Any] = {"start": START + HOUR, "end": None, "side": None}
    assert len(list_liquidations(cur, 1, limit=5, after=None, **span)) == 0
    sums = aggregate_liquidations(cur, 1, interval=HOUR, limit=5, after=None, **span)
    assert (len(sums), sums.notional.shape, sums.count.shape, sums.more) == (0, (2, 0), (2, 0), False)
    there = recorded(cur, 1, **span)
    assert there is not None
    assert there.rows == 0
    assert recorded(cur, 99, **span) is None
    assert saturation(cur, 1, start=START + HOUR, end=None) is None


def test_saturation_is_more_than_half_of_the_seconds_of_a_minute(db: Database, tmp_path: Path) -> None:
    quiet = [order(DAY + 1000 * n, ("SELL", "BUY")[n % 2]) for n in range(30)]
    take(db, tmp_path / "a", NAME, [*quiet, order(DAY + 500)])
    assert saturation(db.cursor(), 1, start=None, end=None) is None
    full = [order(DAY + 120_000 + 1000 * n) for n in range(31)]
    take(db, tmp_path / "b", "BTCUSDT-liquidationSnapshot-2025-12.zip", full)
    found = saturation(db.cursor(), 1, start=None, end=None)
    assert found is not None
    assert (found.minutes, found.worst_ts, found.worst_seconds) == (1, START + 2 * MINUTE, 31)
    assert (found.occupied_seconds, found.total_seconds) == (61, 151)
    assert saturation(db.cursor(), 1, start=None, end=START + 2 * MINUTE) is None
