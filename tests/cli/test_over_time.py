"""`liqserver replay`, `audit`, `heatmap`, `compare` against a real server."""

from __future__ import annotations

import itertools
import json
import math
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

import liqclient
from tests.cli.running import run

MS, MINUTE, HOUR = 10**6, 60 * 10**9, 3600 * 10**9
FROM, TO = "2025-09-02T00:00Z", "2025-09-02T06:00Z"
START = 1_756_771_200_000_000_000
SPAN = ("--start", FROM, "--end", TO)


# --- replay ----------------------------------------------------------------------------------------------------


def test_replay_csv_is_the_levels_of_each_moment(market_server: str, client: liqclient.Client) -> None:
    view = ("--bin-size", "100", "--range", "0.1,0.05", "--unit", "qty")
    done = run("replay", "BTCUSDT", "--target", market_server, *SPAN, "--every", "2h", *view, "--format", "csv")
    assert done.columns() == ["ts", "price", "long", "short"]
    by_moment = defaultdict(list)
    for row in done.rows():
        by_moment[int(row["ts"])].append([float(row[name]) for name in ("price", "long", "short")])
    assert list(by_moment) == [(START + n * 2 * HOUR) // MS for n in range(4)]
    for ts, rows in by_moment.items():
        of = client.levels("BTCUSDT", as_of=ts * MS, bin_size=100, price_range=(0.1, 0.05), unit="qty")
        assert len(rows) == len(of.price) > 20
        np.testing.assert_array_equal(np.array(rows).T, [of.price, of.long, of.short])


def test_replay_takes_model_and_parameters(market_server: str, client: liqclient.Client) -> None:
    arguments = ("replay", "BTCUSDT", "--target", market_server, *SPAN, "--every", "6h", "--format", "json")
    lines = run(*arguments, "--model", "position_book", "--kappa", "0.5", "--tier", "10:1", "--side", "long").stdout
    first, last = map(json.loads, lines.splitlines())
    assert (first["provenance"]["as_of"], last["provenance"]["as_of"]) == (START, START + 6 * HOUR)
    assert last["provenance"]["parameters"]["kappa"] == 0.5
    assert not any(last["short"])
    parameters = liqclient.Parameters(kappa=0.5, tiers=[liqclient.LeverageTier(10, 1)])
    of = client.levels("BTCUSDT", as_of=TO, side="long", parameters=parameters)
    assert last["long"] == of.long.tolist()


def test_replay_rows_come_before_the_last_is_asked_for(market_server: str) -> None:
    # Millions of rows in a pipe that is closed after one: it ends at once, and quietly.
    command = [sys.executable, "-m", "liqserver.cli", "replay", "BTCUSDT", "--target", market_server]
    with subprocess.Popen(
        [*command, "--every", "1m", "--format", "csv"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "ts,price,long,short\n"
        process.stdout.close()
        assert process.wait(timeout=60) == 1
        assert process.stderr.read() == ""


def test_replay_shows_its_progress_beside_clean_rows(market_server: str) -> None:
    command = [sys.executable, "-m", "liqserver.cli", "replay", "BTCUSDT", "--target", market_server]
    done = subprocess.run(
        [*command, *SPAN, "--every", "1h", "--format", "csv"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "FORCE_COLOR": "1", "COLUMNS": "100"},
    )
    assert "7/7" in done.stderr
    header, *rows = done.stdout.splitlines()
    assert header == "ts,price,long,short"
    assert len({row.split(",")[0] for row in rows}) == 7
    assert all(len([float(value) for value in row.split(",")]) == 4 for row in rows)


def test_replay_table_has_a_line_for_each_moment(market_server: str, client: liqclient.Client) -> None:
    out = run("replay", "BTCUSDT", "--target", market_server, *SPAN, "--every", "1h").stdout
    lines = [line for line in out.splitlines() if line.startswith(" 2025-09-02")]
    assert [line.split()[1] for line in lines] == [f"0{hour}:00Z" for hour in range(7)]
    of = client.levels("BTCUSDT", as_of=TO, derived=True)
    assert f"{of.current_price:,.10g}" in lines[-1]
    assert of.derived is not None
    for cluster in (of.derived.cluster_below, of.derived.cluster_above):
        assert cluster is None or f"{cluster.peak:,.10g} ({cluster.distance:.2%})" in lines[-1]
    for said in ("as of the last, 2025-09-02 06:00Z", "model position_book", "inputs reach: trades", "staleness"):
        assert said in out


# --- audit -----------------------------------------------------------------------------------------------------

AUDIT = ["opened_long", "opened_short", "closed_long", "closed_short", "liquidated_long", "liquidated_short"]


def test_audit_csv_adds_up(market_server: str) -> None:
    arguments = ("audit", "BTCUSDT", "--target", market_server, *SPAN, "--every", "1h", "--unit", "qty")
    done = run(*arguments, "--format", "csv")
    assert done.columns() == ["open_time", *AUDIT, "open_interest", "no_level_share"]
    rows = [{name: float(value) for name, value in row.items()} for row in done.rows()]
    assert [row["open_time"] for row in rows] == [(START + n * HOUR) // MS for n in range(6)]
    for before, row in itertools.pairwise(rows):
        change = row["open_interest"] - before["open_interest"]
        for side in ("long", "short"):
            flow = row[f"opened_{side}"] - row[f"closed_{side}"] - row[f"liquidated_{side}"]
            assert flow == pytest.approx(change, abs=1e-6)
        assert 0 < row["no_level_share"] < 1


def test_audit_json_has_every_column_and_table_its_totals(market_server: str) -> None:
    arguments = ("audit", "BTCUSDT", "--target", market_server, *SPAN, "--every", "2h")
    answer = json.loads(run(*arguments, "--format", "json").stdout)
    for name in ("unexplained_long", "unexplained_short", "open_interest_start", "open_interest_end"):
        assert len(answer[name]) == 3
    assert answer["provenance"]["model"] == "position_book"
    assert answer["open_time"][0] == START
    lines = run(*arguments).stdout.splitlines()
    [total] = [line.split() for line in lines if line.startswith(" total")]
    assert len(total) == 7
    assert total[1] == f"{sum(answer['opened_long']) / 1e6:.2f}M"
    assert any("model position_book" in line for line in lines)


# --- heatmap ---------------------------------------------------------------------------------------------------


def test_heatmap_csv_holds_the_cells_that_are_not_empty(market_server: str, client: liqclient.Client) -> None:
    view = ("--interval", "1h", "--bin-size", "200", "--range", "0.1")
    done = run("heatmap", "BTCUSDT", "--target", market_server, *SPAN, *view, "--format", "csv")
    assert done.columns() == ["ts", "price", "long", "short"]
    of = client.heatmap("BTCUSDT", start=FROM, end=TO, interval="1h", bin_size=200, price_range=0.1)
    long, short = np.zeros_like(of.long), np.zeros_like(of.short)
    for row in done.rows():
        i, j = (
            np.flatnonzero(axis == value)[0]
            for axis, value in ((of.ts // MS, int(row["ts"])), (of.price, float(row["price"])))
        )
        long[i, j], short[i, j] = float(row["long"]), float(row["short"])
        assert long[i, j] or short[i, j]
    np.testing.assert_array_equal(long, of.long)
    np.testing.assert_array_equal(short, of.short)
    answer = json.loads(run("heatmap", "BTCUSDT", "--target", market_server, *SPAN, *view, "--format", "json").stdout)
    assert np.shape(answer["long"]) == (len(answer["ts"]), len(answer["price"])) == of.long.shape
    assert answer["close"][-1] == of.close[-1]


def test_heatmap_picture_fits_shows_the_path_and_where_it_comes_from(market_server: str) -> None:
    arguments = ("heatmap", "BTCUSDT", "--target", market_server, "--range", "0.05", "--rows", "20")
    lines = run(*arguments, "--end", TO, "--lookback", "6h").stdout.splitlines()
    assert "as of 2025-09-02 06:00Z" in lines[0]
    axis = next(i for i, line in enumerate(lines) if "│09-02 0" in line)
    picture = lines[1:axis]
    assert 12 < len(picture) < 33
    assert {len(line) for line in picture} == {len(picture[0])}
    assert 80 < len(picture[0]) <= 160
    prices = [float(line.split()[0].replace(",", "")) for line in picture]
    steps = {round(above - below, 6) for above, below in itertools.pairwise(prices)}
    assert len(steps) == 1
    assert min(steps) > 0
    # The path of the price is in the picture, and so are full cells.
    assert set("".join(picture)) >= set("┃█▒")
    rest = "\n".join(lines[axis:])
    for said in ("longs, shorts", "liquidated from 2025-09-02 00:00Z", "model position_book", "inputs reach"):
        assert said in rest


def test_heatmap_of_few_moments_is_stretched(market_server: str) -> None:
    arguments = ("heatmap", "BTCUSDT", "--target", market_server, *SPAN, "--interval", "3h", "--range", "0.05")
    row = run(*arguments, "--rows", "20").stdout.splitlines()[1]
    cells = row[len(row) - len(row.lstrip()) + len(row.split()[0]) + 1 :]
    wide = len(cells) // 3
    assert len(cells) == 3 * wide > 140
    assert all(len(set(cells[i * wide : (i + 1) * wide])) == 1 for i in range(3))


# --- compare ---------------------------------------------------------------------------------------------------


def test_compare_csv_has_both_sides_of_each_model(market_server: str, client: liqclient.Client) -> None:
    chosen = ("--model", "position_book", "--model", "openinterest", "--as-of", TO, "--range", "0.1")
    arguments = ("compare", "BTCUSDT", "--target", market_server, *chosen, "--bin-size", "500", "--unit", "qty")
    done = run(*arguments, "--format", "csv")
    names = ["price", "long_position_book", "short_position_book", "long_openinterest", "short_openinterest"]
    assert done.columns() == names
    of = client.compare(
        "BTCUSDT", ["position_book", "openinterest"], as_of=TO, bin_size=500, price_range=0.1, unit="qty"
    )
    rows = np.array([[float(row[name]) for name in names] for row in done.rows()]).T
    expected = [of.price, of.models[0].long, of.models[0].short, of.models[1].long, of.models[1].short]
    np.testing.assert_array_equal(rows, expected)
    answer = json.loads(run(*arguments, "--format", "json").stdout)
    assert answer["pairs"][0]["overlap_long"] == of.pairs[0].overlap_long
    out = run(*arguments).stdout
    pair = of.pairs[0]
    assert f"{pair.overlap_long:.2f} / {pair.overlap_short:.2f}" in out
    assert f"{pair.rank_correlation_long:.2f} / {pair.rank_correlation_short:.2f}" in out
    assert f"{pair.differ_most_price:,.10g}" in out
    assert "as of 2025-09-02 06:00Z" in out
    assert "inputs reach" in out


def test_compare_without_models_compares_all(market_server: str, client: liqclient.Client) -> None:
    out = run("compare", "BTCUSDT", "--target", market_server, "--range", "0.1").stdout
    for of in client.models():
        assert out.count(f" {of.id} ") > 2, of.id


def test_compare_says_why_a_model_has_no_answer(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "binance-btc-2025-12"
    [klines] = folder.rglob("BTCUSDT-5m-2025-12.zip")
    metrics = folder.rglob("BTCUSDT-metrics-2025-12-0[1-3].zip")
    db = tmp_path / "candles.duckdb"
    run("ingest", klines, *metrics, "--db", db)
    out = run("compare", "BTCUSDT", "--db", db).stdout
    assert "pyliqmap has no answer: " in out
    done = run("compare", "BTCUSDT", "--db", db, "--format", "csv")
    assert "left out: pyliqmap: " in done.stderr
    assert "long_pyliqmap" not in done.columns()
    assert "long_time_evolving" in done.columns()
    assert all(math.isfinite(float(value)) for row in done.rows() for value in row.values())


# --- what they have in common ----------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["replay", "audit", "heatmap"])
def test_model_without_time_axis_is_refused_and_named(market_server: str, command: str) -> None:
    done = run(command, "BTCUSDT", "--model", "pyliqmap", "--target", market_server, code=1)
    assert "query.model was pyliqmap, which has no time axis" in done.said
    assert "position_book, time_evolving" in done.said
    assert done.stdout in ("", "ts,price,long,short\n")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("replay", "NOPEUSDT"), 1, "known: BINANCE:BTCUSDT"),
        (("replay", "BTCUSDT", "--every", "5x"), 2, "'--every': length must be a whole number and one of s, m, h, d"),
        (("replay", "BTCUSDT", "--every", "0h"), 2, "was '0h', must be longer than 0"),
        (("replay", "BTCUSDT", "--every", "1s"), 1, "every was 1"),
        (("replay", "BTCUSDT", "--start", "2020-01-01T00:00Z"), 1, "data covers"),
        (("replay", "BTCUSDT", "--start", "2025-09-02T12:00"), 2, "'--start': time must end in Z or an offset"),
        (("replay", "BTCUSDT", "--start", "17568"), 2, "must be 13 digits (UNIX milliseconds) or 19 digits"),
        (("replay", "BTCUSDT", "--tier", "1:0:x"), 2, "'--tier': was '1:0:x', must be leverage:weight"),
        (("replay", "BTCUSDT", "--whale-threshold", "5"), 2, "No such option: --whale-threshold"),
        (("audit", "BTCUSDT", "--every", "31d"), 1, "30 days"),
        (("audit", "BTCUSDT", "--kappa", "2"), 1, "kappa was 2.0, must be a number in (0, 1]"),
        (("audit", "BTCUSDT", "--unit", "coins"), 2, "'coins'"),
        (("heatmap", "BTCUSDT", "--interval", "1s"), 1, "interval was 1"),
        (("heatmap", "BTCUSDT", "--start", FROM, "--lookback", "1d"), 2, "give --start or --lookback, not both"),
        (("heatmap", "BTCUSDT", "--bin-size", "0"), 2, "'--bin-size': was '0', must be a number above 0"),
        (("heatmap", "BTCUSDT", "--range", "1,2,3"), 2, "'--range': was '1,2,3', must be a number or two"),
        (("compare", "BTCUSDT", "--model", "position_book"), 1, "must be 2 to 10"),
        (("compare", "BTCUSDT", "--model", "position_book", "--model", "x"), 1, "model 'x' is not known; known: "),
        (("levels", "BTCUSDT", "--whale-threshold", "5"), 1, "position_book has no use for it"),
    ],
)
def test_bad_question_says_what_is_allowed(
    market_server: str, arguments: tuple[str, ...], code: int, said: str
) -> None:
    assert said in run(*arguments, "--target", market_server, code=code).said


@pytest.mark.parametrize(
    "moment", ["2025-09-02T06:00:00Z", "2025-09-02T08:00+02:00", "1756792800000", "1756792800000000000"]
)
def test_a_moment_can_be_written_in_several_ways(market_server: str, moment: str) -> None:
    answer = json.loads(
        run("levels", "BTCUSDT", "--target", market_server, "--as-of", moment, "--format", "json").stdout
    )
    assert answer["provenance"]["as_of"] == START + 6 * HOUR


@pytest.mark.parametrize("command", ["replay", "audit", "heatmap", "compare"])
def test_db_asks_a_server_in_the_process(market_db: Path, command: str) -> None:
    out = run(command, "BTCUSDT", "--db", market_db, *(("--every", "1d") if command in ("replay", "audit") else ()))
    assert "BINANCE:BTCUSDT" in out.stdout
    assert "give --target or --db, not both" in run(command, "BTCUSDT", "--db", market_db, "-t", "x:1", code=2).said


@pytest.mark.parametrize("command", ["levels", "replay", "audit", "heatmap", "compare", "liquidations"])
def test_help_teaches_with_examples_and_columns(command: str) -> None:
    out = " ".join(run(command, "--help").stdout.split())
    assert f"For example liqserver {command} BTCUSDT" in out
    assert "CSV: " in out
    for panel in ("What to show", "Output", "Where to ask"):
        assert panel in out
