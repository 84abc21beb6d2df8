"""The dashboard's HTTP side and its command, against real servers; `tests.browser` has the page."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

import liqclient
from liqclient.dashboard._question import VIEWS, read_question
from liqclient.plot import CLASSIC_DARK, SAFE
from liqserver.store.database import Database
from liqserver.store.history import MINUTE
from liqserver.store.ingest import ingest
from tests.browser.pages import showing
from tests.rpc.streaming import served as growing_server
from tests.rpc.streaming import until


@pytest.fixture(scope="module")
def page(market_server: str) -> Iterator[str]:
    """Address of a page on the simulated market."""
    with showing(market_server) as running:
        yield running.url


@contextmanager
def got(url: str, path: str, **headers: str) -> Iterator[HTTPResponse]:
    where = urlsplit(url)
    assert where.hostname is not None
    connection = HTTPConnection(where.hostname, where.port, timeout=30)
    try:
        connection.request("GET", path, headers=headers)
        yield connection.getresponse()
    finally:
        connection.close()


def asked(url: str, path: str) -> tuple[int, Any]:
    with got(url, path) as response:
        return response.status, json.loads(response.read())


def column(values: Any) -> np.ndarray[Any, Any]:
    """Return a column of a figure, which Plotly writes as bytes where it can."""
    if isinstance(values, dict):
        return np.frombuffer(base64.b64decode(values["bdata"]), dtype=values["dtype"])
    return np.array(values)


# --- HTTP ------------------------------------------------------------------------------------------------------


def test_the_map_holds_what_the_server_answers(page: str, market_server: str) -> None:
    status, answer = asked(page, "/api/figure/map?symbol=BTCUSDT&range=0.1,0.05&bin_size=100&p.kappa=0.5&unit=qty")
    assert status == 200
    with liqclient.Client(market_server) as client:
        parameters = liqclient.Parameters(kappa=0.5)
        levels = client.levels(
            "BTCUSDT", price_range=(0.1, 0.05), bin_size=100, unit="qty", per_tier=True, parameters=parameters
        )
    bars = [trace for trace in answer["figure"]["data"] if trace["type"] == "bar"]
    assert len(bars) > 5
    drawn = sum(column(trace["y"]).sum() for trace in bars)
    assert drawn == pytest.approx(levels.long.sum() + levels.short.sum())
    assert len([trace for trace in answer["figure"]["data"] if trace["type"] == "scatter"]) == 2
    assert answer["facts"]["as_of"] == levels.provenance.as_of // 10**6
    assert answer["facts"]["as_of_shown"] == "2025-09-03 00:00Z"
    assert f"({levels.provenance.parameters_hash})" in answer["figure"]["layout"]["title"]["subtitle"]["text"]


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_is_a_figure_with_marks(page: str, view: str) -> None:
    status, answer = asked(page, f"/api/figure/{view}?symbol=BTCUSDT&venue=BINANCE&range=0.1&theme=classic-dark")
    assert status == 200
    assert answer["figure"]["data"]
    assert answer["figure"]["layout"]["paper_bgcolor"] == CLASSIC_DARK.background


def test_recorded_liquidations_reach_back_from_the_newest_or_from_a_moment(page: str, market_server: str) -> None:
    with liqclient.Client(market_server) as client:
        rows = client.liquidations("BTCUSDT", page_size=1_000)
    assert rows.liquidations is not None
    recorded, amounts = rows.liquidations.ts_event, rows.liquidations.notional

    def drawn(more: str) -> float:
        answer = asked(page, f"/api/figure/liquidations?symbol=BTCUSDT&interval=1h{more}")[1]
        return float(sum(column(of["y"]).sum() for of in answer["figure"]["data"] if of["type"] == "bar"))

    newest, hour = int(recorded[-1]), 60 * MINUTE
    last = (newest - 6 * hour) // hour * hour
    assert drawn("&lookback=6h") == pytest.approx(amounts[recorded >= last].sum())
    noon = 1_756_814_400_000_000_000
    chosen = (recorded >= noon - 6 * hour) & (recorded <= noon)
    assert 0 < chosen.sum() < len(recorded)
    assert drawn("&lookback=6h&as_of=2025-09-02T12:00Z") == pytest.approx(amounts[chosen].sum())


def test_coverage_says_of_each_kind_what_there_is_and_how_old(page: str, market_server: str) -> None:
    answer = asked(page, "/api/figure/coverage?symbol=BTCUSDT")[1]
    with liqclient.Client(market_server) as client:
        [coverage] = client.coverage("BTCUSDT")
    rows = answer["facts"]["rows"]
    assert [row["kind"] for row in rows] == [(of.kind or "").replace("_", " ") for of in coverage.kinds]
    assert rows[0]["from"] == "2025-09-01 00:00Z"
    assert rows[0]["rows"] == f"{coverage.kinds[0].rows:,}"
    assert all(re.fullmatch(r"[\d.]+ d", row["age"]) for row in rows)


def test_state_lists_symbols_with_their_age_and_models_with_their_parameters(page: str) -> None:
    status, answer = asked(page, "/api/state")
    assert status == 200
    [symbol] = answer["symbols"]
    assert (symbol["symbol"], symbol["kind"], symbol["newest_shown"]) == ("BTCUSDT", "trades", "2025-09-03 00:00Z")
    assert symbol["age_seconds"] > 86_400
    models = {model["id"]: model for model in answer["models"]}
    assert models["position_book"]["is_default"]
    lookback = next(of for of in models["pyliqmap"]["parameters"] if of["name"] == "lookback")
    assert lookback["default_value"] == "1d"


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("map?symbol=NONE", 404, "symbol 'NONE' is not known; known: BINANCE:BTCUSDT"),
        ("map?symbol=BTCUSDT&bin_size=7", 400, "bin_size was 7, must be a multiple"),
        ("map?symbol=BTCUSDT&bin_size=-5", 400, "bin_size: must be a number above 0, was '-5'"),
        ("map?symbol=BTCUSDT&as_of=2001-01-01T00:00Z", 400, "before the data: data covers"),
        ("map?symbol=BTCUSDT&as_of=yesterday", 400, "as_of: "),
        ("map?symbol=BTCUSDT&p.kappa=2", 400, "kappa"),
        ("map?symbol=BTCUSDT&p.tiers=10", 400, "p.tiers: must be leverage:weight"),
        ("map?symbol=BTCUSDT&theme=pink", 400, "theme: must be one of safe, safe-dark, classic, classic-dark"),
        ("map?symbol=BTCUSDT&binsize=5", 400, "binsize is no field of the page"),
        ("map?symbol=BTCUSDT&unit=qty&unit=qty", 400, "unit must be given once"),
        ("map?width=20", 400, "width: must be 200 to 20000 pixels, was 20"),
        ("compare?p.nosuch.kappa=0.5", 400, "p.nosuch: nosuch is not compared, must be one of position_book, "),
        ("compare?p.position_book.kapa=0.5", 400, "p.position_book.kapa is no field of the page"),
        ("heatmap?symbol=BTCUSDT&model=pyliqmap", 400, "pyliqmap"),
        ("heatmap?symbol=BTCUSDT&lookback=1y", 400, "lookback: "),
        ("pie?symbol=BTCUSDT", 400, "view must be one of map, heatmap, liquidations, compare, coverage, was 'pie'"),
    ],
)
def test_what_cannot_be_answered_says_why(page: str, path: str, status: int, said: str) -> None:
    got_status, answer = asked(page, f"/api/figure/{path}")
    assert got_status == status
    assert said in answer["error"]["message"]


def test_a_query_becomes_a_question() -> None:
    bare = read_question("symbol=X&view=map&live=1&model=")
    assert (bare.symbol, bare.model, bare.lookback, bare.theme, bare.parameters) == ("X", "", None, SAFE, None)
    full = read_question("symbol=X&range=0.1&p.tiers=10:0.5+25:0.5:2&p.lookback=4h&p.top_n=7&models=a,b&per_tier=0")
    assert full.price_range == 0.1
    assert full.parameters == liqclient.Parameters(
        tiers=[liqclient.LeverageTier(10, 0.5), liqclient.LeverageTier(25, 0.5, 2)], lookback="4h", top_n=7
    )
    assert full.models == ("a", "b")
    assert not full.per_tier
    compared = read_question("p.pyliqmap.lookback=4h&p.kappa=0.5&p.ensemble.top_n=")
    assert compared.compared == {"pyliqmap": liqclient.Parameters(lookback="4h")}
    assert compared.parameters == liqclient.Parameters(kappa=0.5)


def test_the_first_symbol_is_shown_where_none_is_named(page: str) -> None:
    answer = asked(page, "/api/figure/map")[1]
    assert (answer["facts"]["venue"], answer["facts"]["symbol"]) == ("BINANCE", "BTCUSDT")


def test_a_wide_figure_has_fewer_lines_above_it_and_the_same_marks(page: str) -> None:
    narrow, wide = (asked(page, f"/api/figure/map?width={width}")[1]["figure"] for width in (390, 1200))
    lines = [of["layout"]["title"]["subtitle"]["text"].split("<br>") for of in (narrow, wide)]
    assert " ".join(lines[0]) == " ".join(lines[1])
    assert len(lines[0]) > len(lines[1])
    assert narrow["data"] == wide["data"]


def plotly_script(page: str) -> str:
    with got(page, "/") as response:
        found = re.search(r'src="(/plotly-[0-9.]+\.min\.js)"', response.read().decode())
    assert found is not None
    return found[1]


def test_files_come_from_the_page_alone_and_policy_forbids_anything_else(page: str) -> None:
    for path, least in (("/", 1_000), ("/app.js", 5_000), ("/style.css", 1_000), (plotly_script(page), 1_000_000)):
        with got(page, path) as response:
            text = response.read().decode()
            policy = response.getheader("Content-Security-Policy", "")
        assert response.status == 200
        assert len(text) > least
        assert "default-src 'none'" in policy
        assert "http" not in policy
        # plotly.js names another file in another version, and may be kept; all else is asked for anew.
        assert response.getheader("Cache-Control", "").endswith("immutable" if "plotly" in path else "no-store")
        if "plotly" not in path:
            assert "http://" not in text
            assert "https://" not in text
    with got(page, "/../_server.py") as response:
        assert response.status == 404


def test_only_this_machine_is_served_and_only_by_its_own_name(page: str) -> None:
    port = urlsplit(page).port
    with got(page, "/api/state", Host=f"evil.example:{port}") as response:
        assert response.status == 403
    with got(page, "/api/state", Host=f"localhost:{port}") as response:
        assert response.status == 200
    listening = Path("/proc/net/tcp")
    if not listening.exists():
        pytest.skip("there is no /proc/net/tcp to see who listens where")
    local = [line.split()[1] for line in listening.read_text().splitlines()[1:]]
    assert {at for at in local if at.endswith(f":{port:04X}")} == {f"0100007F:{port:04X}"}


def test_a_server_that_is_not_there_is_told_with_its_address(closed_target: str) -> None:
    with showing(closed_target) as running:
        for path in ("/api/state", "/api/figure/map?symbol=BTCUSDT"):
            status, answer = asked(running.url, path)
            assert status == 503
            assert answer["error"]["code"] == "UNAVAILABLE"
            assert closed_target in answer["error"]["message"]


def read_event(response: HTTPResponse) -> tuple[str, Any]:
    name = response.readline().decode().removeprefix("event: ").strip()
    data = json.loads(response.readline().decode().removeprefix("data: "))
    assert response.readline() == b"\n"
    return name, data


def next_event(response: HTTPResponse, wanted: str) -> Any:
    return next(data for name, data in (read_event(response) for _ in range(100)) if name == wanted)


def test_live_events_hold_the_newest_figure_and_end_with_the_reader() -> None:
    with growing_server() as server, showing(server.target) as running:
        with got(running.url, "/api/live?symbol=BTCUSDT&bin_size=50&view=map") as response:
            assert response.getheader("Content-Type") == "text/event-stream"
            assert next_event(response, "levels")["facts"]["as_of"] == server.as_of // 10**6
            server.grow(3)
            until(lambda: next_event(response, "levels")["facts"]["as_of"] == server.as_of // 10**6)
            assert next_event(response, "heartbeat")["age"]
        with got(running.url, "/api/live?symbol=BTCUSDT&bin_size=50&view=heatmap") as response:
            assert "figure" not in next_event(response, "moved")


def test_live_says_why_it_cannot_be() -> None:
    with growing_server() as server, showing(server.target) as running:
        for query, said in (
            ("symbol=NONE", "NONE"),
            ("symbol=BTCUSDT&as_of=2025-09-02T00:00Z", "live: must be off where as_of is given"),
            ("symbol=BTCUSDT&view=pie", "was 'pie'"),
        ):
            with got(running.url, f"/api/live?{query}") as response:
                assert said in next_event(response, "failed")["error"]["message"]


def test_live_tells_of_a_server_that_went_away() -> None:
    with ExitStack() as alive:
        server = alive.enter_context(growing_server())
        with showing(server.target) as running, got(running.url, "/api/live?symbol=BTCUSDT") as response:
            next_event(response, "levels")
            alive.close()
            assert next_event(response, "lost")["error"]["code"] == "UNAVAILABLE"


# --- the command -----------------------------------------------------------------------------------------------

COMMAND = (
    "import typer\nfrom liqserver.cli.dashboard import dashboard\napp = typer.Typer()\napp.command()(dashboard)\napp()"
)


@contextmanager
def command(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    line = [sys.executable, "-c", COMMAND, *arguments]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_it_is_stopped(market_server: str, how: signal.Signals) -> None:
    with command("--target", market_server, "--port", "0", "--print-url") as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert asked(url, "/api/state")[0] == 200
        with got(url, "/api/live?symbol=BTCUSDT") as response:
            next_event(response, "levels")
            process.send_signal(how)
            assert process.wait(10) == 0
        assert process.stderr is not None
        said = process.stderr.read()
    assert url in said
    assert "Traceback" not in said


def test_a_port_in_use_is_an_error(market_server: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with command("--target", market_server, "--port", str(port)) as process:
            assert process.wait(30) == 1
            assert process.stderr is not None
            assert f"cannot listen on port {port}" in process.stderr.read()


# --- beside a server -------------------------------------------------------------------------------------------


@contextmanager
def served_with_page(db: Path, *more: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    line = [sys.executable, "-m", "liqserver.cli", "serve", "--db", str(db), "--port", "0", "--print-target"]
    line += ["--dashboard", *more]
    variables = {**os.environ, "COLUMNS": "200", **environment}
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=variables) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def page_of(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r"its dashboard is at (http://127\.0\.0\.1:\d+/)", line):
            return found[1]
    raise AssertionError("it named no dashboard")


def test_a_server_serves_its_dashboard_until_it_is_stopped(market_archive: Path, tmp_path: Path) -> None:
    db = tmp_path / "own.duckdb"
    with Database(db) as database:
        ingest(database, [market_archive])
    with served_with_page(db, "--dashboard-port", "0") as process:
        url = page_of(process)
        status, answer = asked(url, "/api/figure/map")
        assert status == 200
        assert answer["figure"]["data"]
        with got(url, "/api/live?symbol=BTCUSDT") as response:
            next_event(response, "levels")
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        assert process.stderr is not None
        said = process.stderr.read()
    assert "stopped" in said
    assert "Traceback" not in said


def test_a_server_whose_dashboard_has_no_port_does_not_start(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with served_with_page(tmp_path / "own.duckdb", "--dashboard-port", str(port)) as process:
            assert process.wait(60) == 1
            assert process.stdout is not None
            # Nobody is told of a server that ends.
            assert process.stdout.read() == ""
            assert process.stderr is not None
            assert f"cannot listen on port {port}" in process.stderr.read()


def test_a_dashboard_that_its_server_would_turn_away_is_refused(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("me read secret-of-mine-that-is-long-enough\n")
    tokens.chmod(0o600)
    with served_with_page(tmp_path / "own.duckdb", "--tokens", str(tokens), LIQSERVER_TOKEN="") as process:
        assert process.wait(60) == 2
        assert process.stderr is not None
        assert "with --tokens it needs LIQSERVER_TOKEN set" in process.stderr.read()
