"""The commands that ask, as a user runs them."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest


def run(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "liqserver.cli", *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_levels_table_shows_price_both_sides_and_where_the_numbers_come_from(market_server: str) -> None:
    out = run("levels", "BTCUSDT", "--target", market_server).stdout
    for said in ("current price", "long", "short", "BINANCE:BTCUSDT", "2025-09-03 00:00Z", "position_book"):
        assert said in out
    for said in ("no level", "inputs reach", "BINANCE:BTCUSDT:2025-08-21", "staleness"):
        assert said in out
    assert 15 < len([line for line in out.splitlines() if "%" in line and ("k" in line or "M" in line)]) < 70


def test_levels_csv_of_a_past_moment_has_plain_columns_that_add_up(market_server: str) -> None:
    arguments = ("levels", "BTCUSDT", "--target", market_server, "--as-of", "2025-09-02T06:00Z", "--bin-size", "100")
    rows = list(csv.DictReader(io.StringIO(run(*arguments, "--per-tier", "--format", "csv").stdout)))
    assert {"price", "long", "short", "long_150x", "short_3x"} <= set(rows[0])
    for row in rows:
        assert float(row["price"]) % 100 == 0
        tiers = sum(float(value) for name, value in row.items() if name.startswith("long_"))
        assert tiers == pytest.approx(float(row["long"]))


def test_levels_json_carries_everything(market_server: str) -> None:
    arguments = ("levels", "BTCUSDT", "--target", market_server, "--format", "json", "--kappa", "0.5", "--tier", "10:1")
    answer = json.loads(run(*arguments, "--unit", "qty", "--side", "long", "--range", "0.1,0.05").stdout)
    assert answer["unit"] == "qty"
    assert answer["provenance"]["parameters"]["kappa"] == 0.5
    assert answer["provenance"]["parameters"]["tiers"][0]["leverage"] == 10
    assert not any(answer["short"])
    assert min(answer["price"]) > 0.89 * answer["provenance"]["current_price"]


def test_levels_with_db_asks_a_server_in_the_process(market_db: Path) -> None:
    assert "current price" in run("levels", "BTCUSDT", "--db", str(market_db)).stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("levels", "NOPEUSDT"), 1, "known: BINANCE:BTCUSDT"),
        (("levels", "BTCUSDT", "--bin-size", "7"), 1, "query.bin_size was 7, must be a multiple of the base bin"),
        (("levels", "BTCUSDT", "--as-of", "2020-01-01T00:00Z"), 1, "data covers"),
        (("levels", "BTCUSDT", "--as-of", "yesterday"), 2, "yesterday"),
        (("levels", "BTCUSDT", "--range", "wide"), 2, "--range"),
        (("levels", "BTCUSDT", "--tier", "10"), 2, "leverage:weight"),
        (("levels", "BTCUSDT", "--model", "x"), 1, "'x' is not known"),
        (("models", "x"), 2, "is not a model"),
    ],
)
def test_bad_question_says_what_is_allowed_without_a_traceback(
    market_server: str, arguments: tuple[str, ...], code: int, said: str
) -> None:
    errors = run(*arguments, "--target", market_server, code=code).stderr
    assert said in errors.replace("\n", " ").replace("│", "").replace("  ", " ")
    assert "Traceback" not in errors


def test_no_server_says_how_to_start_one(tmp_path: Path) -> None:
    errors = run("levels", "BTCUSDT", "--target", "127.0.0.1:1", code=1).stderr
    assert "liqserver serve" in errors
    assert "there is no database" in run("symbols", "--db", str(tmp_path / "none.duckdb"), code=1).stderr


def test_coverage_symbols_and_models_in_every_format(market_server: str) -> None:
    for command, said in (("coverage", "open_interest"), ("symbols", "BTCUSDT"), ("models", "position_book")):
        assert said in run(command, "--target", market_server).stdout
        parsed = json.loads(run(command, "--target", market_server, "--format", "json").stdout)
        rows = list(csv.reader(io.StringIO(run(command, "--target", market_server, "--format", "csv").stdout)))
        assert len(parsed) == len(rows) - 1
        assert list(parsed[0]) == rows[0]


def test_help_of_every_command_teaches() -> None:
    out = run("--help").stdout
    for command in ("demo", "ingest", "simulate", "brackets", "serve", "levels", "coverage", "symbols", "models"):
        assert command in out
        assert len(run(command, "--help").stdout) > 300
    assert "0.1.0" in run("--version").stdout


def test_brackets_load_then_show_and_a_bad_file_is_refused_whole(shared_data: Path, tmp_path: Path) -> None:
    db = str(tmp_path / "b.duckdb")
    file = str(shared_data / "brackets" / "brackets_2026-09-29.csv")
    assert "858 symbols" in run("brackets", "load", file, "--db", db).stdout
    assert "BINANCE:APEUSDT:2026-09-29" in run("brackets", "show", "APEUSDT", "--db", db).stdout
    bad = tmp_path / "brackets_2026-01-01.csv"
    bad.write_text("symbol,bracket,notional_floor,notional_cap,mmr,cum,max_leverage\nX,1,0,100,-1,0,10\n")
    assert "mmr" in run("brackets", "load", str(bad), "--db", db, code=1).stderr
    assert "no brackets" in run("brackets", "show", "XUSDT", "--db", db, code=1).stdout
