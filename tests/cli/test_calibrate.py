"""``liqserver calibrate`` as a user runs it, on a real winter."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.running import run


@pytest.fixture(scope="module")
def winter(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("winter") / "winter.duckdb"
    run("ingest", shared_data / "binance-btc-2025-12", "--symbol", "BTCUSDT", "--db", path)
    return path


def test_a_dry_run_shows_weights_and_stores_nothing(winter: Path) -> None:
    done = run("calibrate", "BTCUSDT", "--until", "2026-01-20T00:00Z", "--dry-run", "--db", winter)
    assert "1,029 intervals of 1 h, 2025-12-08 01:00Z to 2026-01-20 00:00Z" in done.stdout
    assert "not stored: a dry run" in done.stdout
    for leverage in ("150x", "10x", "3x"):
        assert leverage in done.stdout
    assert run("calibrations", "--db", winter).stdout.startswith("no calibration is stored")


def test_weekly_calibrations_are_stored_listed_and_used(winter: Path) -> None:
    made = run("calibrate", "BTCUSDT", "--until", "2026-01-20T00:00Z", "--every", "7d", "--db", winter, "-f", "csv")
    rows = made.rows()
    assert [int(row["until"]) for row in rows] == sorted(int(row["until"]) for row in rows)
    assert len(rows) == 5
    assert run("calibrations", "BTCUSDT", "--db", winter, "-f", "csv").rows() == rows
    shown = run("calibrations", "--db", winter).stdout
    assert rows[-1]["id"] in shown
    [*_, last] = json.loads(run("calibrations", "--db", winter, "-f", "json").stdout)
    assert last["id"] == rows[-1]["id"]
    assert len(last["parameters"]["tiers"]) == len(last["weight_spread"]) == 10

    ask = ("levels", "BTCUSDT", "--db", winter, "--range", "0.02", "--rows", "8", "--as-of", "2026-01-22T00:00Z")
    table = run(*ask, "--band", "0.9").stdout
    assert f"calibration {rows[-1]['id']}" in table
    assert "long band" in table
    assert "calibration" not in run(*ask, "--calibration", "none").stdout
    csv = run(*ask, "--band", "0.9", "-f", "csv")
    assert csv.columns() == ["price", "long", "short", "long_low", "long_high", "short_low", "short_high"]
    held = [row for row in csv.rows() if float(row["long"]) > 0]
    assert held
    assert all(float(row["long_low"]) < float(row["long"]) < float(row["long_high"]) for row in held)
    audit = ("audit", "BTCUSDT", "--db", winter, "--every", "1d", "-f", "json", "--start", "2026-01-21T00:00Z")
    for given, used in (((), rows[-1]["id"]), (("--calibration", rows[0]["id"]), rows[0]["id"])):
        assert json.loads(run(*audit, *given).stdout)["provenance"]["calibration"] == used
    chart = winter.with_name("levels.html")
    plot = ("plot", "levels", "BTCUSDT", "--db", winter, "--range", "0.02", "--output", chart)
    hashes = []
    for of in (rows[0]["id"], "none"):
        run(*plot, "--calibration", of)
        [shown] = set(re.findall(r"position_book \(([0-9a-f]{16})\)", chart.read_text()))
        hashes.append(shown)
    assert hashes[0] != hashes[1]


def test_what_cannot_be_is_said_with_its_status(winter: Path, market_db: Path, tmp_path: Path) -> None:
    assert "336" in run("calibrate", "BTCUSDT", "--until", "2025-12-12T00:00Z", "--db", winter, code=1).said
    assert "covers" in run("calibrate", "BTCUSDT", "--until", "2030-01-01T00:00Z", "--db", winter, code=1).said
    assert "no database" in run("calibrate", "BTCUSDT", "--db", tmp_path / "none.duckdb", code=1).said
    assert not (tmp_path / "none.duckdb").exists()
    assert "calibration" in run("levels", "BTCUSDT", "--db", market_db, "--band", "0.9", code=1).said
    assert "length" in run("calibrate", "BTCUSDT", "--every", "soon", "--db", winter, code=2).said
    assert "not both" in run("calibrate", "BTCUSDT", "--db", winter, "--target", "localhost:1", code=2).said
