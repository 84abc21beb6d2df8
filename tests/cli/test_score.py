"""`liqserver score`: a table, CSV, JSON, a report, and what it says when there is too little."""

import json
import re
from pathlib import Path

import pytest

from tests.cli.running import run
from tests.live.scored import scored_database

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(scope="module")
def db(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scored_database(shared_data, tmp_path_factory.mktemp("scored") / "x.duckdb")


def test_a_table_and_a_report(db: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    done = run("score", "BTCUSDT", "--cut", "2026-01-20T00:00Z", "--db", db, "-o", report)
    longs, shorts = re.split(r"\nshorts\n", done.stdout)
    assert "fitted from 2025-12-08 00:00Z, scored from 2026-01-20 00:00Z to 2026-02-19 00:00Z" in longs
    for part in (longs, shorts):
        book = next(line for line in part.splitlines() if line.startswith("   position_book  "))
        figures = re.findall(r"[+-]?\d\.\d{3} \[[+-]?\d\.\d{3}, [+-]?\d\.\d{3}\]", book)
        assert len(figures) == 6
        assert book.rstrip().endswith("719 (30 d)")
        for name in ("controls", "constant flow", "time_evolving, original formula", "distance only"):
            assert f"\n   {name}  " in part
    assert re.search(r"magnet \(position_book\): .*\n  .* n = 1,\d{3} \(\d\d d\)", done.stdout)
    assert "no prediction of binance_standard; funding_adjusted; pyliqmap; ensemble;" in done.stdout
    assert f"report: {report}" in done.stderr
    page = report.read_text()
    assert page.startswith("<!doctype html>")
    assert "<h2>Longs</h2>" in page
    assert page.count("<td title=") == 2 * longs.count("719 (30 d)")
    # Nothing is loaded from elsewhere.
    assert not re.search(r'<(script|link|img)[^>]+(src|href)="http', page)
    assert "Plotly.newPlot" in page


def test_csv_has_a_row_for_each_side(db: Path) -> None:
    done = run(
        *("score", "BTCUSDT", "--cut", "2026-01-20T00:00Z", "--from", "2025-12-10T00:00Z", "--to", "2026-02-15T00:00Z"),
        *("--models", "time_evolving,pyliqmap", "--db", db, "--format", "csv"),
    )
    rows = {(row["name"], row["side"]): row for row in done.rows()}
    of = rows["time_evolving", "long"]
    assert (of["kind"], of["fitted"], of["scored"], of["days"]) == ("model", "982", "623", "26")
    assert float(of["gain_low"]) < float(of["gain"]) < float(of["gain_high"])
    assert len(of["parameters_hash"]) == 16
    missing = rows["pyliqmap", "short"]
    assert "needs trades" in missing["refused"]
    assert missing["gain"] == ""
    assert rows["controls", "short"]["r"] == ""
    assert float(rows["controls", "short"]["alone"]) > 0.5
    # A model that was not asked for has no row; ablations are always of the position book.
    assert not [name for name, _ in rows if name.startswith("position_book") and "as of each start" not in name]
    assert ("constant flow", "long") in rows


def test_too_little_data_is_exit_status_1(db: Path) -> None:
    done = run(
        *(
            "score",
            "BTCUSDT",
            "--cut",
            "2026-02-12T00:00Z",
            "--models",
            "position_book",
            "--db",
            db,
            "--format",
            "json",
        ),
        code=1,
    )
    answer = json.loads(done.stdout)
    assert len(answer["rows"]) > 10
    for side in (row[side] for row in answer["rows"] for side in ("long", "short")):
        assert side["refused"] == "not enough data: 168 intervals to score on, at least 240 must be"
        assert (side["scored"], side["days"], side["r"], side["alone"], side["gain"]) == (168, 7, None, None, None)
    assert "nothing could be scored" in done.said


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--cut", "2026-01-20T00:00Z", "-o", "report.pdf"), 2, "must end in .html"),
        (("--cut", "2026-01-20T00:00Z", "--models", ","), 2, "must be all, or models separated by commas"),
        (("--cut", "2026-01-20"), 2, "must end in Z or an offset"),
        ((), 2, "Missing option '--cut'"),
        (("--cut", "2026-01-20T00:00Z", "--models", "tea_leaves"), 1, "tea_leaves"),
        (("--cut", "2026-01-20T00:30Z"), 1, "must be a multiple of the interval"),
        (("--cut", "2026-01-20T00:00Z", "--every", "7m"), 1, "a part of 4 hours"),
    ],
)
def test_a_wrong_command_says_what_is_wrong(db: Path, options: tuple[str, ...], code: int, words: str) -> None:
    assert words in run("score", "BTCUSDT", "--db", db, *options, code=code).said
