import csv
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from liqclient import Client
from liqserver.cli import maintain
from liqserver.rpc.server import EmbeddedServer
from liqserver.store.archive import Kind
from liqserver.store.coverage import coverage
from liqserver.store.database import Database, StoreError
from liqserver.store.ingest import Status, ingest
from liqserver.store.maintenance import TABLES, FileFormat, compact, export_columns, export_table
from tests.store.archive_files import DAY, DAY_MS, candle, text_of, trade, write_file

MS = 1_000_000
app = typer.Typer()
app.command()(maintain.compact)
app.command()(maintain.export)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def rows_of(sql: str) -> list[tuple[Any, ...]]:
    return duckdb.execute(sql).fetchall()


def names_of(sql: str) -> list[str]:
    return [name for name, *_ in duckdb.execute(sql).description or []]


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """Three days of large trades of BTCUSDT and one of APEUSDT, long ago."""
    folder = tmp_path / "klines"
    for day in range(3):
        rows = [trade(10 * day + i, 90_000.0 + 5 * i, 2, DAY + day * DAY_MS + i * 60_000) for i in range(10)]
        write_file(folder, f"BTCUSDT-aggTrades-2025-12-0{day + 1}.zip", text_of(Kind.AGG_TRADES, rows))
    write_file(folder, "APEUSDT-aggTrades-2025-11-01.zip",
               text_of(Kind.AGG_TRADES, [trade(1, "0.7097", 500_000, DAY - 30 * DAY_MS)]))  # fmt: skip
    write_file(folder, "BTCUSDT-5m-2025-12-01.zip", text_of(Kind.KLINES, [candle(DAY), candle(DAY + 300_000)]))
    path = tmp_path / "x.duckdb"
    with Database(path) as database:
        assert not ingest(database, [folder], clock=lambda: 1).of(Status.REJECTED)
    return path


def content(path: Path, *, without: tuple[str, ...] = ()) -> dict[str, list[tuple[Any, ...]]]:
    with Database(path, read_only=True) as database:
        cur = database.cursor()
        tables = [name for (name,) in cur.execute("SELECT table_name FROM duckdb_tables() ORDER BY 1").fetchall()]
        return {t: cur.execute(f"SELECT x::VARCHAR FROM {t} x").fetchall() for t in tables if t not in without}


# --- compact ---------------------------------------------------------------------------------------------


def test_compacting_gives_room_back_and_changes_nothing(db: Path) -> None:
    with Database(db) as database:
        cur = database.cursor()
        cur.execute("CREATE TABLE ballast AS SELECT random() AS x FROM range(2_000_000)")
        # After it, so that its room lies within the file.
        cur.execute("CREATE TABLE after AS SELECT random() AS x FROM range(300_000)")
        cur.execute("CHECKPOINT")
        cur.execute("DROP TABLE ballast")
    before = content(db)
    done = compact(db)
    # Every row, in the order it was in.
    assert content(db) == before
    assert done.bytes_before > 10_000_000
    assert done.bytes_after < done.bytes_before / 2
    assert db.stat().st_size == done.bytes_after
    assert done.dropped_trades == 0
    assert sorted(p.name for p in db.parent.glob("x.duckdb*")) == ["x.duckdb"]
    with Database(db) as database:
        assert ingest(database, [db.parent / "klines"]).of(Status.ALREADY_INGESTED)


def test_old_large_trades_are_dropped_and_it_is_said(db: Path) -> None:
    before = content(db, without=("large_trades", "ledger"))
    done = compact(db, keep_days=1)
    # A day before the newest trade of BTCUSDT, in its tenth minute; the only one of APEUSDT is its newest.
    assert done.dropped_trades == 20
    assert content(db, without=("large_trades", "ledger")) == before
    with Database(db, read_only=True) as database:
        cur = database.cursor()
        assert cur.execute("SELECT symbol_id, count(*) FROM large_trades GROUP BY 1 ORDER BY 1").fetchall() == [
            (1, 1),
            (2, 10),
        ]
        of = {c.kind: c for c in coverage(cur, "BINANCE", "BTCUSDT")}[Kind.AGG_TRADES]
    assert of.notices == tuple(
        f"BTCUSDT-aggTrades-2025-12-0{day}.zip: 10 large trades before 2025-12-02 00:10:00 were dropped later; "
        "its flow is complete"
        for day in (1, 2)
    )
    assert compact(db, keep_days=1).dropped_trades == 0


def test_what_cannot_be_compacted(db: Path, tmp_path: Path) -> None:
    for bad in (0, -1, float("nan"), float("inf")):
        with pytest.raises(StoreError, match="must be a positive number"):
            compact(db, keep_days=bad)
    with pytest.raises(StoreError, match="there is no database"):
        compact(tmp_path / "nowhere.duckdb")
    assert not (tmp_path / "nowhere.duckdb").exists()


def test_an_interrupted_compaction_leaves_the_old_file(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = content(db)

    def fail(*_: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr("liqserver.store.maintenance.os.replace", fail)
        with pytest.raises(OSError, match="no space left"):
            compact(db)
    assert content(db) == before
    assert sorted(p.name for p in db.parent.glob("x.duckdb*")) == ["x.duckdb"]


def test_the_command(db: Path) -> None:
    result = run("compact", "--db", db, "--keep-large-trades", 1)
    assert result.exit_code == 0, result.output
    first, second = result.stdout.splitlines()
    assert first == "20 large trades dropped"
    assert second.endswith("MB now")


# --- export ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("file_format", FileFormat)
def test_every_table_in_every_format(db: Path, tmp_path: Path, table: str, file_format: FileFormat) -> None:
    to = tmp_path / f"out.{file_format}"
    rows = export_table(db, table, to, file_format)
    with Database(db, read_only=True) as database:
        assert database.cursor().execute(f"SELECT count(*) FROM {table}").fetchall() == [(rows,)]
    assert rows_of(f"SELECT count(*) FROM '{to}'") == [(rows,)]
    if table not in ("symbols", "instruments", "brackets"):
        columns = names_of(f"FROM '{to}'")
        assert columns[:2] == ["venue", "symbol"]
        assert "symbol_id" not in columns


def test_exported_flow_has_its_prices(db: Path, tmp_path: Path) -> None:
    to = tmp_path / "flow.csv"
    start = DAY * MS + DAY_MS * MS
    rows = export_table(db, "flow", to, FileFormat.CSV, symbol="BTCUSDT", start=start, end=start + 180_000 * MS)
    with to.open() as stream:
        found = list(csv.DictReader(stream))
    assert rows == len(found) == 2
    assert [(row["ts_event"], float(row["price"]), float(row["buy_qty"])) for row in found] == [
        (str(start + 60_000 * MS), 90_000.0, 2.0),
        (str(start + 120_000 * MS), 90_005.0, 2.0),
    ]
    assert {(row["venue"], row["symbol"]) for row in found} == {("BINANCE", "BTCUSDT")}


def test_what_cannot_be_exported(db: Path, tmp_path: Path) -> None:
    to = tmp_path / "x.csv"
    with pytest.raises(StoreError, match=r"table was 'meta', must be one of flow, "):
        export_table(db, "meta", to, FileFormat.CSV)
    with pytest.raises(StoreError, match="holds nothing of BINANCE:XYZUSDT"):
        export_table(db, "flow", to, FileFormat.CSV, venue="BINANCE", symbol="XYZUSDT")
    with pytest.raises(StoreError, match="symbols has no times to choose by"):
        export_table(db, "symbols", to, FileFormat.CSV, start=1)
    with pytest.raises(StoreError, match="cannot be written"):
        export_table(db, "flow", tmp_path / "nowhere" / "x.csv", FileFormat.CSV)
    assert not to.exists()
    to.write_text("mine")
    with pytest.raises(StoreError, match="exists; nothing is written over"):
        export_table(db, "flow", to, FileFormat.CSV)
    assert to.read_text() == "mine"


def test_columns(tmp_path: Path) -> None:
    to = tmp_path / "x.parquet"
    columns = {"a": np.arange(3), "b": np.array([0.1, np.nan, 0.3]), "c": np.array(["x", "y", "z"], dtype=object)}
    assert export_columns(columns, to, FileFormat.PARQUET) == 3
    assert [row[0] for row in rows_of(f"SELECT c FROM '{to}'")] == ["x", "y", "z"]
    assert rows_of(f"SELECT sum(a) FROM '{to}' WHERE b IS NULL") == [(1,)]


def test_the_export_command(db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("export", "klines", "--db", db)
    assert result.exit_code == 0, result.output
    assert result.stderr == "2 rows written to klines.parquet\n"
    assert rows_of("SELECT count(*) FROM 'klines.parquet'") == [(2,)]
    assert run("export", "levels", "--db", db).exit_code == 2
    assert run("export", "klines", "--db", db, "--model", "x", "--out", "y.csv").exit_code == 2


def test_levels_are_those_of_the_server(market_db: Path, tmp_path: Path) -> None:
    to = tmp_path / "levels.parquet"
    result = run("export", "levels", "BTCUSDT", "--db", market_db, "--out", to, "--range", "0.05")
    assert result.exit_code == 0, result.output
    with EmbeddedServer(market_db) as server, Client(server.target) as client:
        answer = client.levels("BTCUSDT", price_range=0.05)
    found = duckdb.execute(f"SELECT price, long, short FROM '{to}' ORDER BY price").fetchnumpy()
    assert len(answer.price) > 10
    for name in ("price", "long", "short"):
        np.testing.assert_array_equal(found[name], getattr(answer, name))
    [row] = rows_of(f"SELECT DISTINCT venue, symbol, model, as_of, bin_size FROM '{to}'")
    assert row == ("BINANCE", "BTCUSDT", answer.provenance.model, answer.provenance.as_of, answer.bin_size)
    # Tiers add up.
    columns = names_of(f"FROM '{to}'")
    tiers = " + ".join(f'"{c}"' for c in columns if c.startswith("long_"))
    assert rows_of(f"SELECT max(abs({tiers} - long) / greatest(long, 1)) < 1e-9 FROM '{to}'") == [(True,)]
