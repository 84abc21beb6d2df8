import csv
import io
import json
import re
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from liqserver.cli.ingest import ingest
from liqserver.store.archive import Kind
from liqserver.store.database import Database
from tests.rpc.owned import owned
from tests.store.archive_files import DAY, DAY_MS, candle, text_of, trade, trades, write_file

app = typer.Typer()
app.command()(ingest)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    folder = tmp_path / "archive"
    for day in (1, 2):
        text = text_of(Kind.AGG_TRADES, trades(1500, first_id=1500 * day, start=DAY + (day - 1) * DAY_MS))
        write_file(folder, f"BTCUSDT-aggTrades-2025-12-0{day}.zip", text, checksum=True)
    write_file(folder, "BTCUSDT-5m-2025-12-01.zip", text_of(Kind.KLINES, [candle(DAY)]))
    write_file(folder, "BTCUSDT-bookTicker-2025-12-01.zip", "x")
    return folder


def test_all_in(tmp_path: Path, archive: Path) -> None:
    result = run(archive, "--db", tmp_path / "x.duckdb")
    assert result.exit_code == 0, result.output
    lines = [re.sub(r"\s+", " ", line.strip()) for line in result.stdout.splitlines()]
    assert "symbol kind files rows stored from to" in lines
    assert any(re.fullmatch(r"BTCUSDT aggTrades 2 3,000 [\d,]+ 2025-12-01 2025-12-02", line) for line in lines)
    assert "BTCUSDT klines 5m 1 1 1 2025-12-01 2025-12-01" in lines
    assert "not read: kind bookTicker (1 file)" in lines
    assert any(line.startswith("note BTCUSDT-5m-2025-12-01.zip: taken as candles of the last price") for line in lines)
    assert lines[-1] == "3 files ingested"
    with Database(tmp_path / "x.duckdb", read_only=True) as db:
        assert db.cursor().execute("SELECT count(*) FROM ledger").fetchall() == [(3,)]

    again = run(archive, "--db", tmp_path / "x.duckdb")
    assert again.exit_code == 0
    assert again.stdout.splitlines()[-1] == "3 files already ingested"


def test_a_rejected_file_is_named_with_its_reason(tmp_path: Path, archive: Path) -> None:
    bad = write_file(archive, "BTCUSDT-aggTrades-2025-12-03.zip", text_of(Kind.AGG_TRADES, [trade(1, -3.1, 1, DAY)]))
    result = run(archive, "--db", tmp_path / "x.duckdb")
    assert result.exit_code == 1
    assert f"rejected {bad}\n  line 2: price was -3.1, must be a positive number\n" in result.stdout
    assert result.stdout.splitlines()[-1] == "3 files ingested, 1 file rejected"


def test_nothing_to_read(tmp_path: Path) -> None:
    result = run(tmp_path / "nowhere", "--db", tmp_path / "x.duckdb")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert not (tmp_path / "x.duckdb").exists()
    assert f"error: {tmp_path / 'nowhere'} does not exist" in result.stderr
    assert run("--db", tmp_path / "x.duckdb").exit_code == 2


def test_a_file_that_is_no_database(tmp_path: Path, archive: Path) -> None:
    (tmp_path / "x.duckdb").write_text("no database " * 1000)
    result = run(archive, "--db", tmp_path / "x.duckdb")
    assert result.exit_code == 2
    assert "error: " in result.stderr
    assert "is not a DuckDB database" in result.stderr


def test_json(tmp_path: Path, archive: Path) -> None:
    write_file(archive, "BTCUSDT-aggTrades-2025-12-03.zip", "")
    result = run(archive, "--db", tmp_path / "x.duckdb", "--format", "json")
    assert result.exit_code == 1
    answer = json.loads(result.stdout)
    assert answer["counts"] == {"ingested": 3, "already ingested": 0, "rejected": 1, "not read": 1}
    first = answer["files"][0]
    assert (Path(first["path"]).name, first["status"]) == ("BTCUSDT-aggTrades-2025-12-01.zip", "ingested")
    assert (first["symbol"], first["kind"], first["rows"], first["ts_start"]) == (
        "BTCUSDT",
        "aggTrades",
        1500,
        DAY * 10**6,
    )
    assert answer["files"][2]["reason"] == "the file is empty"


def test_csv_has_a_row_for_each_file(tmp_path: Path, archive: Path) -> None:
    write_file(archive, "BTCUSDT-aggTrades-2025-12-03.zip", "")
    result = run(archive, "--db", tmp_path / "x.duckdb", "--format", "csv")
    assert result.exit_code == 1
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [row["status"] for row in rows] == ["ingested", "ingested", "rejected", "ingested", "not read"]
    assert (rows[0]["symbol"], rows[0]["kind"], rows[0]["rows"]) == ("BTCUSDT", "aggTrades", "1500")
    assert rows[2]["reason"] == "the file is empty"
    assert rows[3]["notices"].startswith("taken as candles of the last price")


def test_options_reach_the_store(tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIQSERVER_DB", str(tmp_path / "named" / "x.duckdb"))
    assert run(archive, "--venue", "BYBIT", "--base-bin", "20").exit_code == 0
    with Database(tmp_path / "named" / "x.duckdb") as db:
        assert db.cursor().execute("SELECT venue, base_bin FROM symbols").fetchall() == [("BYBIT", 20.0)]
    write_file(archive, "BTCUSDT-5m-2025-12-01.zip", text_of(Kind.KLINES, [candle(DAY, volume=8)]))
    refused = run(archive, "--venue", "BYBIT")
    assert refused.exit_code == 1
    assert "--replace" in refused.stdout
    assert run(archive, "--venue", "BYBIT", "--replace").exit_code == 0
    other = run(archive, "--venue", "BYBIT", "--base-bin", "10")
    assert other.exit_code == 2
    assert "has flow bins of 20" in other.stderr


def test_a_server_does_it_and_all_looks_the_same(
    tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_file(archive, "BTCUSDT-aggTrades-2025-12-03.zip", "")
    here = run(archive, "--db", tmp_path / "here.duckdb")
    with Database(tmp_path / "there.duckdb"):
        pass
    monkeypatch.chdir(archive.parent)
    with owned(tmp_path / "there.duckdb") as target:
        # A path from this process's folder is made absolute.
        there = run(archive.name, "--target", target)
        assert there.exit_code == here.exit_code == 1
        assert there.stdout == here.stdout
        again = {of: run(archive, "--target", target, "--format", of) for of in ("json", "csv")}
    counts = json.loads(again["json"].stdout)["counts"]
    assert counts == {"ingested": 0, "already ingested": 3, "rejected": 1, "not read": 1}
    local = run(archive, "--db", tmp_path / "here.duckdb", "--format", "csv")
    without_seconds = [
        [{**row, "seconds": ""} for row in csv.DictReader(io.StringIO(text))]
        for text in (again["csv"].stdout, local.stdout)
    ]
    assert without_seconds[0] == without_seconds[1]
    assert again["csv"].exit_code == again["json"].exit_code == 1
    with Database(tmp_path / "there.duckdb", read_only=True) as db:
        assert db.cursor().execute("SELECT count(*) FROM ledger").fetchall() == [(3,)]


def test_options_reach_the_server(tmp_path: Path, archive: Path) -> None:
    with owned(tmp_path / "x.duckdb") as target:
        assert run(archive, "--target", target, "--venue", "BYBIT", "--base-bin", "20").exit_code == 0
        write_file(archive, "BTCUSDT-5m-2025-12-01.zip", text_of(Kind.KLINES, [candle(DAY, volume=8)]))
        refused = run(archive, "--target", target, "--venue", "BYBIT")
        assert refused.exit_code == 1
        assert "--replace" in refused.stdout
        assert run(archive, "--target", target, "--venue", "BYBIT", "--replace").exit_code == 0
        other = run(archive, "--target", target, "--venue", "BYBIT", "--base-bin", "10")
        assert other.exit_code == 2
        assert "has flow bins of 20" in other.stderr
    with Database(tmp_path / "x.duckdb") as db:
        assert db.cursor().execute("SELECT venue, base_bin FROM symbols").fetchall() == [("BYBIT", 20.0)]


def test_raw_trades_are_kept_by_the_server(tmp_path: Path, archive: Path) -> None:
    with owned(tmp_path / "x.duckdb") as target:
        assert run(archive, "--target", target, "--keep-raw").exit_code == 0
    assert len(list((tmp_path / "x.duckdb.raw").rglob("*.parquet"))) == 2


def test_a_server_that_cannot_do_it(tmp_path: Path, archive: Path) -> None:
    with owned(tmp_path / "x.duckdb") as target:
        missing = run(tmp_path / "nowhere", "--target", target)
        both = run(archive, "--target", target, "--db", tmp_path / "x.duckdb")
    assert missing.exit_code == both.exit_code == 2
    assert f"{tmp_path / 'nowhere'} does not exist" in missing.stderr
    assert "give --target or --db, not both" in both.stderr
    gone = run(archive, "--target", target)
    assert gone.exit_code == 2
    assert "liqserver serve" in gone.stderr
    assert gone.stdout == ""


def test_help_says_what_it_does() -> None:
    text = re.sub(r"\s+", " ", run("--help").stdout)
    assert "Bring archive files (zip or csv) into the database." in text
    assert "0 all in or already there, 1 some file was rejected, 2 there was nothing to do it with" in text
