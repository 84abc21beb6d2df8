"""The commands that ask, as a user runs them."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import liqclient
from tests.cli.running import run


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


def test_levels_derived_figures_in_every_format(market_server: str, client: liqclient.Client) -> None:
    arguments = ("levels", "BTCUSDT", "--target", market_server, "--derived", "--bin-size", "200", "--range", "0.15")
    of = client.levels("BTCUSDT", derived=True, bin_size=200, price_range=0.15)
    assert of.derived is not None
    out = run(*arguments).stdout
    for name, cluster in (("below", of.derived.cluster_below), ("above", of.derived.cluster_above)):
        [line] = [line for line in out.splitlines() if line.startswith(f"nearest cluster {name}: ")]
        if cluster is None:
            assert line.endswith("none in range")
        else:
            assert f"in {cluster.low:,.10g} to {cluster.high:,.10g}, densest {cluster.peak:,.10g}" in line
            assert f"{cluster.distance:.2%} away" in line
    for imbalance in of.derived.imbalances:
        assert imbalance.imbalance is None or f"{imbalance.imbalance:+.3f}" in out
    assert of.derived.realised_volatility is not None
    assert f"realised volatility of a day: {of.derived.realised_volatility:.2%}" in out
    done = run(*arguments, "--format", "csv")
    assert done.columns() == ["price", "long", "short", "cumulative_long", "cumulative_short"]
    assert [float(row["cumulative_long"]) for row in done.rows()] == of.derived.cumulative_long.tolist()
    assert [float(row["cumulative_short"]) for row in done.rows()] == of.derived.cumulative_short.tolist()
    answer = json.loads(run(*arguments, "--format", "json").stdout)
    assert answer["derived"]["imbalances"][0]["range"] == 0.01
    assert json.loads(run(*arguments[:4], "--format", "json").stdout)["derived"] is None


def test_levels_takes_the_parameters_of_every_model(market_server: str) -> None:
    arguments = ("levels", "BTCUSDT", "--target", market_server, "--format", "json")
    chosen = ("--model", "pyliqmap", "--top-n", "5", "--lookback", "6h", "--compat", "original")
    parameters = json.loads(run(*arguments, *chosen).stdout)["provenance"]["parameters"]
    assert (parameters["top_n"], parameters["lookback"], parameters["compat"]) == (5, 6 * 3600 * 10**9, "original")


@pytest.mark.parametrize(("rows", "least", "most"), [(10, 6, 17), (30, 18, 49), (100, 60, 163)])
def test_rows_of_a_table_are_about_as_many_as_asked_for(market_server: str, rows: int, least: int, most: int) -> None:
    out = run("levels", "BTCUSDT", "--target", market_server, "--range", "0.1", "--rows", rows).stdout
    assert least <= len([line for line in out.splitlines() if "+" in line or " -" in line]) <= most


@pytest.mark.parametrize("command", ["coverage", "symbols", "audit", "compare"])
def test_nothing_of_a_table_is_cut_in_a_narrow_terminal(market_server: str, command: str) -> None:
    words = [sys.executable, "-m", "liqserver.cli", command, *(["BTCUSDT"] if command in ("audit", "compare") else [])]
    narrow = {**os.environ, "FORCE_COLOR": "1", "NO_COLOR": "1", "COLUMNS": "60"}
    wide = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "COLUMNS")}
    shown = [
        subprocess.run([*words, "-t", market_server], capture_output=True, text=True, check=True, env=env).stdout
        for env in (narrow, wide)
    ]
    # The terminal wraps, the command does not: the words are those of a pipe.
    plain = [text.replace("\x1b[1m", "").replace("\x1b[0m", "").split() for text in shown]
    assert "…" not in shown[0]
    assert [word for word in plain[0] if "─" not in word] == [word for word in plain[1] if "─" not in word]


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
    assert said in run(*arguments, "--target", market_server, code=code).said


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
    for command in ("demo", "ingest", "simulate", "brackets", "serve", "coverage", "symbols", "models"):
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


def test_levels_preset_is_a_lookback_with_its_bins(market_db: Path) -> None:
    asked = ("levels", "BTCUSDT", "--db", str(market_db), "--model", "openinterest", "--format", "json")
    preset = json.loads(run(*asked, "--preset", "1d").stdout)
    written_out = json.loads(run(*asked, "--lookback", "1d", "--bin-size", "200").stdout)
    assert preset["bin_size"] == 200.0
    for answer in (preset, written_out):
        del answer["provenance"]["generated_at"]
    assert preset == written_out
    both = run(*asked, "--preset", "1d", "--lookback", "7d", code=2)
    assert "not both" in both.said
