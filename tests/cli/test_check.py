import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from liqserver.cli.check import check
from liqserver.store.archive import Kind
from liqserver.store.database import Database
from liqserver.store.ingest import ingest
from tests.store.archive_files import DAY, candle, text_of, trade, trades, write_file

app = typer.Typer()
app.command()(check)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def lines(result: Result) -> list[str]:
    return [re.sub(r"\s+", " ", line.strip()) for line in result.stdout.splitlines()]


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """BTCUSDT with a gap in its candles, APEUSDT with nothing amiss."""
    folder = tmp_path / "archive" / "klines"
    candles = [candle(DAY + n * 300_000) for n in (0, 1, 4)]
    write_file(folder, "BTCUSDT-5m-2025-12-01.zip", text_of(Kind.KLINES, candles))
    write_file(folder, "APEUSDT-aggTrades-2025-12-01.zip", text_of(Kind.AGG_TRADES, [trade(7, "0.7097", 10, DAY)]))
    path = tmp_path / "x.duckdb"
    with Database(path) as database:
        ingest(database, [folder])
    return path


def test_a_finding_has_its_place_and_a_sentence(db: Path) -> None:
    result = run("--db", db)
    assert result.exit_code == 1, result.output
    assert lines(result)[0:2] == ["", "symbol severity check data from to count what"]
    row = (
        "BTCUSDT warning missing_minutes klines 5m 2025-12-01 00:10Z 2025-12-01 00:20Z 2 2 periods of 5m without a row"
    )
    assert row in lines(result)
    assert lines(result)[-1] == "2 symbols; 1 warning"


def test_exit_codes(db: Path, tmp_path: Path) -> None:
    assert run("APEUSDT", "--db", db).exit_code == 0
    assert lines(run("APEUSDT", "--db", db)) == ["1 symbol; nothing found"]
    assert run("BTCUSDT", "--db", db).exit_code == 1
    assert run("BTCUSDT", "--db", db, "--fail-on", "error").exit_code == 0
    nowhere = run("--db", tmp_path / "nowhere.duckdb")
    assert nowhere.exit_code == 2
    assert "error: there is no database at" in nowhere.stderr
    unknown = run("XYZUSDT", "--db", db)
    assert unknown.exit_code == 2
    assert "holds nothing of BINANCE:XYZUSDT; it has APEUSDT, BTCUSDT of BINANCE" in unknown.stderr
    assert run("--db", db, "--venue", "BYBIT").exit_code == 2
    assert run("BTCUSDT", "--db", db, "--dry-run", tmp_path).exit_code == 2


def test_what_is_merely_worth_knowing_is_shown_when_asked_for(db: Path, tmp_path: Path) -> None:
    folder = tmp_path / "archive" / "klines"
    write_file(folder, "APEUSDT-aggTrades-2025-12.zip", text_of(Kind.AGG_TRADES, [trade(7, "0.7097", 10, DAY)]))
    with Database(db) as database:
        ingest(database, [folder])
    assert lines(run("APEUSDT", "--db", db)) == ["1 symbol; 1 info (--info shows them)"]
    shown = run("APEUSDT", "--db", db, "--info")
    assert shown.exit_code == 0
    assert any(line.startswith("APEUSDT info duplicates_dropped aggTrades 2025-12-01 00:00Z") for line in lines(shown))
    assert lines(shown)[-1] == "1 symbol; 1 info"


def test_json(db: Path) -> None:
    result = run("BTCUSDT", "APEUSDT", "--db", db, "--format", "json")
    assert result.exit_code == 1
    answer = json.loads(result.stdout)
    assert answer["checked"] == {"symbols": 2}
    assert answer["counts"] == {"info": 0, "warning": 1, "error": 0}
    assert answer["bounds"]["price_jump"] == 0.1
    assert answer["findings"] == [
        {
            "venue": "BINANCE",
            "symbol": "BTCUSDT",
            "check": "missing_minutes",
            "data": "klines 5m",
            "severity": "warning",
            "start": (DAY + 600_000) * 10**6,
            "end": (DAY + 1_200_000) * 10**6,
            "count": 2,
            "text": "2 periods of 5m without a row",
        }
    ]


def test_bounds_are_options(db: Path) -> None:
    # Candles go from 99.5 to 102.5.
    found = json.loads(run("BTCUSDT", "--db", db, "--format", "json", "--price-jump", 0.03).stdout)["findings"]
    assert [f["check"] for f in found] == ["missing_minutes", "price_jump", "price_jump"]
    assert run("--db", db, "--price-jump", -1).exit_code == 2


def test_dry_run(db: Path, tmp_path: Path) -> None:
    before = db.read_bytes()
    folder = tmp_path / "archive" / "klines"
    write_file(
        folder, "BTCUSDT-aggTrades-2025-12-02.zip", text_of(Kind.AGG_TRADES, [trade(1, -5, 1, DAY + 86_400_000)])
    )
    write_file(folder, "APEUSDT-aggTrades-2025-12-02.zip", "")
    write_file(folder, "BTCUSDT-aggTrades-2025-12-01.zip", text_of(Kind.AGG_TRADES, trades(5)))
    result = run("--db", db, "--dry-run", folder, "--format", "json")
    assert result.exit_code == 1, result.output
    answer = json.loads(result.stdout)
    assert answer["checked"] == {"already ingested": 2, "rejected": 2, "ingested": 1}
    errors = [f["text"] for f in answer["findings"] if f["severity"] == "error"]
    assert len(errors) == 2
    assert "BTCUSDT-aggTrades-2025-12-02.zip: line 2: price was -5, must be a positive number" in errors
    shown = run("--db", db, "--dry-run", folder)
    assert lines(shown)[-1].startswith("5 files: 2 there already, 2 would be rejected, 1 would go in; 2 errors")
    assert db.read_bytes() == before
    missing = run("--db", db, "--dry-run", tmp_path / "nowhere")
    assert missing.exit_code == 2
    assert "nowhere does not exist" in missing.stderr


def test_dry_run_with_no_database_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIQSERVER_DB", str(tmp_path / "later.duckdb"))
    write_file(tmp_path / "in", "BTCUSDT-aggTrades-2025-12-01.zip", text_of(Kind.AGG_TRADES, trades(5)))
    result = run("--dry-run", tmp_path / "in")
    assert result.exit_code == 0, result.output
    assert lines(result) == ["1 file: 1 would go in; nothing found"]
    assert not (tmp_path / "later.duckdb").exists()
    assert run("--dry-run", tmp_path / "in", "--db", tmp_path / "named.duckdb").exit_code == 2


def test_a_database_that_a_server_has_open(db: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom liqserver.store.database import Database\n"
        "with Database(Path(sys.argv[1])):\n    print('open', flush=True)\n    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(db)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        for arguments in (["--db", db], ["--db", db, "--dry-run", db.parent / "archive"]):
            result = run(*arguments)
            assert result.exit_code == 2
            assert "is in use by another process" in result.stderr
        holder.communicate("")


def test_help() -> None:
    text = re.sub(r"\s+", " ", run("--help").stdout)
    assert "Look for gaps, impossible values, jumps and sources that disagree." in text
    assert "0 nothing at or above --fail-on, 1 some finding is, 2 it could not be checked" in text
