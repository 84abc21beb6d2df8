"""Raw trades, kept beside the database."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest
import typer
from typer.testing import CliRunner

from liqserver.cli import ingest as ingest_command
from liqserver.cli import maintain
from liqserver.store.archive import Kind
from liqserver.store.database import Database, StoreError
from liqserver.store.ingest import IngestReport, Status, ingest
from liqserver.store.maintenance import compact
from tests.store.archive_files import DAY, DAY_MS, candle, text_of, trade, trades, write_file

MS = 1_000_000
HOUR_MS = 3_600_000
app = typer.Typer()
app.command()(ingest_command.ingest)
app.command()(maintain.compact)


def keep(path: Path, *files: Path, keep_raw: bool = True, **options: Any) -> IngestReport:
    with Database(path) as database:
        report = ingest(database, files, keep_raw=keep_raw, **options)
    assert not report.of(Status.REJECTED), report
    assert not (path.parent / f"{path.name}.tmp").exists()
    return report


def kept(path: Path, kind: Kind = Kind.AGG_TRADES, columns: str = "*") -> list[tuple[Any, ...]]:
    files = f"read_parquet('{path}.raw/{kind}/**/*.parquet', hive_partitioning = true)"
    return duckdb.execute(f"SELECT {columns} FROM {files} ORDER BY ts_event").fetchall()


def places(path: Path) -> list[str]:
    root = Path(f"{path}.raw")
    return sorted(str(of.relative_to(root)) for of in root.rglob("*") if of.is_file())


def day_file(folder: Path, day: int, rows: Sequence[tuple[object, ...]] | None = None, suffix: str = "zip") -> Path:
    rows = trades(100, first_id=1_000 * day, start=DAY + (day - 1) * DAY_MS) if rows is None else rows
    return write_file(folder, f"BTCUSDT-aggTrades-2025-12-{day:02}.{suffix}", text_of(Kind.AGG_TRADES, rows))


@pytest.mark.parametrize("suffix", ["zip", "csv"])
def test_every_row_of_the_file_is_kept(tmp_path: Path, suffix: str) -> None:
    rows = [
        (7, "90000.1", "0.002", 70, 72, DAY + 5, "true"),
        (8, "90000.2", "3", 73, 73, DAY + 6, "false"),
    ]
    keep(tmp_path / "x.duckdb", day_file(tmp_path, 1, rows, suffix))
    assert places(tmp_path / "x.duckdb") == [
        "aggTrades/venue=BINANCE/symbol=BTCUSDT/date=2025-12-01/BTCUSDT-aggTrades-2025-12-01.parquet"
    ]
    columns = (
        "ts_event, trade_id, price, qty, taker_buy, first_trade_id, last_trade_id, venue, symbol, date::VARCHAR AS date"
    )
    assert kept(tmp_path / "x.duckdb", columns=columns) == [
        ((DAY + 5) * MS, 7, 90000.1, 0.002, False, 70, 72, "BINANCE", "BTCUSDT", "2025-12-01"),
        ((DAY + 6) * MS, 8, 90000.2, 3.0, True, 73, 73, "BINANCE", "BTCUSDT", "2025-12-01"),
    ]


def test_trades_of_the_other_kind_and_in_microseconds(tmp_path: Path) -> None:
    rows = [(1, "90000.1", "0.5", "45000.05", DAY * 1_000 + 1, "false"), (2, "90000", "2", "", DAY * 1_000 + 2, "true")]
    keep(tmp_path / "x.duckdb", write_file(tmp_path, "BTCUSDT-trades-2025-12-01.zip", text_of(Kind.TRADES, rows)))
    assert kept(tmp_path / "x.duckdb", Kind.TRADES, "ts_event, trade_id, price, qty, taker_buy, notional") == [
        (DAY * MS + 1_000, 1, 90000.1, 0.5, True, 45000.05),
        (DAY * MS + 2_000, 2, 90000.0, 2.0, False, None),
    ]


def test_a_file_of_several_days_is_kept_by_the_day(tmp_path: Path) -> None:
    # A little before the month, on its first day and on its third: none on the second.
    times = (DAY - 5, DAY, DAY + DAY_MS - 1, DAY + 2 * DAY_MS)
    rows = [trade(n, 90_000.0, 1, ts) for n, ts in enumerate(times, start=1)]
    # A folder whose name is a pattern to DuckDB.
    folder = tmp_path / "[a]*"
    path = folder / "x.duckdb"
    keep(path, write_file(tmp_path, "BTCUSDT-aggTrades-2025-12.zip", text_of(Kind.AGG_TRADES, rows)))
    of_days = {
        place.split("/")[3]: duckdb.from_parquet(f"{tmp_path}/[[]a][*]/x.duckdb.raw/{place}", hive_partitioning=False)
        .project("trade_id")
        .fetchall()
        for place in places(path)
    }
    assert of_days == {"date=2025-11-30": [(1,)], "date=2025-12-01": [(2,), (3,)], "date=2025-12-03": [(4,)]}


def test_other_kinds_are_not_kept_and_nothing_is_without_being_asked_for(tmp_path: Path) -> None:
    candles = write_file(tmp_path / "klines", "BTCUSDT-5m-2025-12-01.zip", text_of(Kind.KLINES, [candle(DAY)]))
    keep(tmp_path / "x.duckdb", candles)
    keep(tmp_path / "x.duckdb", day_file(tmp_path, 1), keep_raw=False)
    assert not (tmp_path / "x.duckdb.raw").exists()


def test_files_that_are_in_already_are_kept_when_it_is_asked_for_later_and_once(tmp_path: Path) -> None:
    path, files = tmp_path / "x.duckdb", [day_file(tmp_path, 1), day_file(tmp_path, 2)]
    keep(path, *files, keep_raw=False)
    again = keep(path, *files)
    assert [file.status for file in again.files] == [Status.ALREADY_INGESTED] * 2
    assert len(kept(path)) == 200
    root = Path(f"{path}.raw")
    before = {place: (root / place).stat().st_mtime_ns for place in places(path)}
    keep(path, *files)
    assert {place: (root / place).stat().st_mtime_ns for place in places(path)} == before
    # What is lost comes back, the rest stays.
    shutil.rmtree(next(root.rglob("date=2025-12-02")))
    keep(path, *files)
    assert len(kept(path)) == 200


def test_of_a_file_that_is_replaced_nothing_is_left(tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    # The former one runs into the next day.
    keep(path, day_file(tmp_path, 1, [trade(1, 90_000.0, 1, DAY), trade(2, 90_000.0, 1, DAY + DAY_MS + HOUR_MS)]))
    assert len(places(path)) == 2
    keep(path, day_file(tmp_path, 1, [trade(1, 90_001.0, 1, DAY)]), replace=True)
    assert kept(path, columns="trade_id, price") == [(1, 90_001.0)]
    assert len(places(path)) == 1
    keep(path, day_file(tmp_path, 1, [trade(1, 90_002.0, 1, DAY)]), replace=True, keep_raw=False)
    assert places(path) == []


def test_a_bad_file_and_one_that_changes_keep_nothing(tmp_path: Path) -> None:
    bad = day_file(tmp_path, 1, [trade(1, 90_000.0, 1, DAY), trade(2, -1, 1, DAY)])
    changing = day_file(tmp_path, 2, suffix="csv")

    def clock() -> int:
        # Asked for the time of ingestion: after the rows went in.
        changing.write_text(changing.read_text() + "\n")
        return 1

    with Database(tmp_path / "x.duckdb") as database:
        report = ingest(database, [bad, changing], keep_raw=True, clock=clock)
    assert [file.status for file in report.files] == [Status.REJECTED] * 2
    assert not (tmp_path / "x.duckdb.raw").exists()


def test_a_place_that_cannot_be_written_to_ends_it_and_the_file_is_not_in(tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    Path(f"{path}.raw").touch()
    with Database(path) as database:
        with pytest.raises(StoreError, match=r"BTCUSDT-aggTrades-2025-12-01.zip could not be written"):
            ingest(database, [day_file(tmp_path, 1)], keep_raw=True)
        assert database.cursor().execute("SELECT count(*) FROM ledger").fetchall() == [(0,)]
        with pytest.raises(StoreError, match=r"venue was '\.\./up', must be letters, digits"):
            ingest(database, [day_file(tmp_path, 1)], keep_raw=True, venue="../up")


def test_compact_drops_old_days(tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    keep(path, *(day_file(tmp_path, day) for day in (1, 2, 3, 5)))
    with pytest.raises(StoreError, match="keep_raw_days was 0, must be at least 1"):
        compact(path, keep_raw_days=0)
    assert compact(path).dropped_raw_days == 0
    # Three days up to the 5th: the 3rd, the 4th, which is not there, and the 5th.
    assert compact(path, keep_raw_days=3).dropped_raw_days == 2
    assert [place.split("/")[3] for place in places(path)] == ["date=2025-12-03", "date=2025-12-05"]
    said = CliRunner().invoke(app, ["compact", "--db", str(path), "--keep-raw-days", "1"])
    assert said.exit_code == 0
    assert "1 day of raw trades dropped" in said.stdout
    assert [place.split("/")[3] for place in places(path)] == ["date=2025-12-05"]
    assert compact(tmp_path / "x.duckdb", keep_raw_days=1).dropped_raw_days == 0


def test_the_command_and_flow_agree(tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    done = CliRunner().invoke(app, ["ingest", str(day_file(tmp_path, 1)), "--db", str(path), "--keep-raw"])
    assert done.exit_code == 0, done.output
    with Database(path, read_only=True) as database:
        flow = database.cursor().execute("SELECT sum(buy_qty), sum(sell_qty), sum(buy_count + sell_count) FROM flow")
        [(bought, sold, count)] = flow.fetchall()
    columns = "sum(qty) FILTER (taker_buy), sum(qty) FILTER (NOT taker_buy), count(*)"
    [(raw_bought, raw_sold, raw_count)] = duckdb.execute(
        f"SELECT {columns} FROM '{path}.raw/aggTrades/**/*.parquet'"
    ).fetchall()
    assert raw_count == count == 100
    assert (raw_bought, raw_sold) == pytest.approx((bought, sold), rel=1e-12)
