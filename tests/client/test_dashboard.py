"""The page in a browser: its HTTP side alone, and as Chromium shows it, against real servers."""

from __future__ import annotations

import base64
import fcntl
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

import liqclient
from liqclient.dashboard import Dashboard
from liqclient.dashboard._question import VIEWS, read_question
from liqclient.plot import CLASSIC_DARK, SAFE
from liqserver.store.events import archive_batches
from liqserver.store.history import MINUTE
from tests.rpc.streaming import served as growing_server
from tests.rpc.streaming import until
from tests.rpc.test_publish import events

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@contextmanager
def showing(target: str) -> Iterator[Dashboard]:
    with liqclient.Client(target) as client, Dashboard(client, port=0) as page:
        thread = threading.Thread(target=page.serve_forever)
        thread.start()
        try:
            yield page
        finally:
            page.shutdown()
            thread.join()


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
        ("map", 400, "symbol must be given"),
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


def test_files_come_from_the_page_alone_and_policy_forbids_anything_else(page: str) -> None:
    for path, least in (("/", 1_000), ("/app.js", 5_000), ("/style.css", 1_000), ("/plotly.min.js", 1_000_000)):
        with got(page, path) as response:
            text = response.read().decode()
            policy = response.getheader("Content-Security-Policy", "")
        assert response.status == 200
        assert len(text) > least
        assert "default-src 'none'" in policy
        assert "http" not in policy
        if path != "/plotly.min.js":
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


# --- the browser -----------------------------------------------------------------------------------------------


class Browser:
    """Chromium, driven over a pipe in its own protocol."""

    def __init__(self, profile: Path) -> None:
        ours, theirs = os.pipe(), os.pipe()
        # Chromium reads 3 and writes 4; high numbers keep the two from lying there already.
        reads, writes = (fcntl.fcntl(fd, fcntl.F_DUPFD, 60) for fd in (ours[0], theirs[1]))
        os.close(ours[0])
        os.close(theirs[1])
        line = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
        line += ["--disable-background-networking", "--remote-debugging-pipe", f"--user-data-dir={profile}"]
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{reads} 4>&{writes}', "bash", *line],
            pass_fds=(reads, writes),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(reads)
        os.close(writes)
        self._write, self._read = os.fdopen(ours[1], "wb"), os.fdopen(theirs[0], "rb")
        self._ids = itertools.count(1)
        self._session: str | None = None
        self._buffer = b""
        self.requested: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Page.enable")
        self.call("Network.enable")
        self.size(1200, 900)

    def call(self, method: str, **parameters: Any) -> Any:
        number = next(self._ids)
        message = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        self._write.write(json.dumps(message).encode() + b"\0")
        self._write.flush()
        while (answer := self._message()).get("id") != number:
            if answer.get("method") == "Network.requestWillBeSent":
                self.requested.append(answer["params"]["request"]["url"])
        assert "error" not in answer, answer
        return answer["result"]

    def size(self, width: int, height: int) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)

    def run(self, script: str) -> Any:
        """Return what a script evaluates to."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, script: str, seconds: float = 20) -> Any:
        """Return what a script evaluates to once that is true."""
        end = time.monotonic() + seconds
        while not (value := self.run(f"Boolean(document.body) && ({script})")):
            words = "document.body?.innerText.slice(0, 1500)"
            assert time.monotonic() < end, f"it did not become so: {script}\n{self.run(words)}"
            time.sleep(0.05)
        return value

    def picture(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def close(self) -> None:
        self._session = None
        self.call("Browser.close")
        self._process.wait(20)
        self._write.close()
        self._read.close()

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            read = os.read(self._read.fileno(), 1 << 16)
            assert read, "the browser has ended"
            self._buffer += read
        one, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(one)
        return message


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("there is no chromium on the PATH to show the page in")
    running = Browser(tmp_path_factory.mktemp("profile"))
    try:
        yield running
    finally:
        running.close()


MARKS = """(() => {
    const count = what => document.querySelectorAll("#chart " + what).length;
    return {bars: count(".barlayer .point path"), cells: count(".heatmaplayer image"),
            lines: count(".scatterlayer path.js-line"), shapes: count(".shapelayer path"),
            words: document.querySelector("#chart")?.textContent ?? "" };
})()"""
DRAWN = "document.querySelector('#chart .gtitle')?.textContent"
SAID = "document.getElementById('words').textContent"
CONNECTION = "document.getElementById('connection').textContent"


@pytest.mark.parametrize(
    ("view", "title", "marks"),
    [
        ("map", "BINANCE:BTCUSDT liquidation levels", {"bars": 100, "lines": 2, "shapes": 1}),
        ("heatmap", "BINANCE:BTCUSDT liquidation levels over time", {"bars": 50, "cells": 2}),
        ("liquidations", "BTCUSDT recorded liquidations", {"bars": 20, "lines": 2}),
        ("compare", "BINANCE:BTCUSDT models compared", {"lines": 8, "cells": 1, "shapes": 5}),
        ("coverage", "BINANCE:BTCUSDT coverage", {"bars": 6}),
    ],
)
def test_every_tab_draws_its_marks(browser: Browser, page: str, view: str, title: str, marks: dict[str, int]) -> None:
    browser.open(f"{page}?range=0.1")
    browser.wait(DRAWN)
    browser.run(f"document.querySelector('[data-view={view}]').click()")
    browser.wait(f"{DRAWN} === {json.dumps(title)}")
    drawn = browser.run(MARKS)
    for kind, least in marks.items():
        assert drawn[kind] >= least, (kind, drawn)
    assert browser.run("document.querySelectorAll('[aria-selected=true]').length") == 1
    # The default view needs no word in the URL.
    assert (f"view={view}" in browser.run("location.search")) == (view != "map")
    assert "Newest trades: 2025-09-03 00:00Z" in browser.run(CONNECTION)
    assert "(stale)" in browser.run(CONNECTION)
    assert browser.run("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    if view == "coverage":
        assert browser.run("document.querySelectorAll('#rows tr').length") == 7
    outside = [url for url in browser.requested if not url.startswith(("data:", "blob:", "http://127.0.0.1:"))]
    assert not outside


def test_state_in_the_url_is_what_is_shown(browser: Browser, page: str) -> None:
    query = "range=0.05&bin_size=100&as_of=2025-09-02T12:00Z&p.kappa=0.5&theme=classic-dark&per_tier=0&unit=qty"
    browser.open(f"{page}?{query}")
    browser.wait(DRAWN)
    words = browser.run(MARKS)["words"]
    assert "as of 2025-09-02 12:00Z" in words
    assert "bins of 100" in words
    assert "contracts, base units" in words
    assert browser.run("chart.data.filter(of => of.type === 'bar').map(of => of.name).join()") == "all,all"
    assert browser.run("chart.data[0].marker.color") == CLASSIC_DARK.long
    assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 28)"
    fields = browser.run("['range','bin_size','as_of','theme','p.kappa'].map(name => form.elements[name].value)")
    assert fields == ["0.05", "100", "2025-09-02T12:00Z", "classic-dark", "0.5"]
    assert browser.run("at('parameters').open")
    assert browser.run("form.per_tier.checked") is False
    # The slider stands where the moment is.
    assert browser.run("+slider.value") == 1_756_814_400_000


def test_controls_change_the_url_and_the_figure(browser: Browser, page: str) -> None:
    browser.open(f"{page}?range=0.1")
    browser.wait(DRAWN)

    def put(name: str, value: str) -> None:
        change = "dispatchEvent(new Event('change', {bubbles: true}))"
        browser.run(f"(of => {{ of.value = {json.dumps(value)}; of.{change}; }})(form.elements[{json.dumps(name)}])")

    put("bin_size", "200")
    browser.wait("document.querySelector('#chart').textContent.includes('bins of 200')")
    put("model", "pyliqmap")
    browser.wait("document.querySelector('#chart').textContent.includes('model pyliqmap')")
    assert browser.run("[...at('fields').querySelectorAll('input')].map(of => of.name)") == [
        f"p.{name}" for name in ("lookback", "gross_value", "top_n", "portion", "tiers", "compat")
    ]
    before = browser.run("document.querySelector('#chart .gtitle-subtitle').textContent")
    put("p.lookback", "4h")
    browser.wait(f"document.querySelector('#chart .gtitle-subtitle').textContent !== {json.dumps(before)}")
    browser.run("slider.value = 1756814400000; slider.dispatchEvent(new Event('change', {bubbles: true}))")
    browser.wait("document.querySelector('#chart').textContent.includes('as of 2025-09-02 12:00Z')")
    query = browser.run("Object.fromEntries(state())")
    assert query == {
        "range": "0.1",
        "bin_size": "200",
        "model": "pyliqmap",
        "p.lookback": "4h",
        "as_of": "2025-09-02T12:00Z",
    }
    browser.run("at('newest').click()")
    browser.wait("document.querySelector('#chart').textContent.includes('as of 2025-09-03 00:00Z')")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("bin_size=7", "must be a multiple of the base bin"),
        ("as_of=yesterday", "as_of: "),
        ("symbol=NONE", "symbol 'NONE' is not known; known: BINANCE:BTCUSDT"),
        ("view=heatmap&model=pyliqmap", "pyliqmap"),
        ("view=pie", "There is no view pie"),
        ("live=1&as_of=2025-09-02T00:00Z", "live: must be off"),
    ],
)
def test_what_cannot_be_shown_is_said_in_words(browser: Browser, page: str, query: str, said: str) -> None:
    browser.open(f"{page}?{query}")
    browser.wait(f"{SAID}.includes({json.dumps(said)})")
    assert browser.run("document.querySelectorAll('#chart .plot').length") == 0


@pytest.mark.parametrize("view", VIEWS)
def test_it_fits_a_phone(browser: Browser, page: str, view: str) -> None:
    browser.size(390, 844)
    try:
        browser.open(f"{page}?view={view}&range=0.1&p.kappa=0.8" if view == "map" else f"{page}?view={view}")
        browser.wait(DRAWN)
        assert browser.run("document.documentElement.scrollWidth") <= 390
        assert browser.run("chart._fullLayout.width") == 390
    finally:
        browser.size(1200, 900)


# --- a server that lives and dies ------------------------------------------------------------------------------


@contextmanager
def serving(db: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    line = [sys.executable, "-m", "liqserver.cli", "serve", "--db", str(db), "--port", str(port), "--print-target"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            yield process
        finally:
            if process.poll() is None:
                process.kill()


@pytest.fixture(scope="module")
def minutes(market_archive: Path) -> list[liqclient.Events]:
    """Two hours of the simulated market, a minute in each batch."""
    batches = itertools.islice(archive_batches([market_archive], MINUTE), 120)
    return [events(batch) for _, batch in batches]


def test_live_updates_arrive_and_a_killed_server_is_told_of_and_found_again(
    browser: Browser, minutes: list[liqclient.Events], closed_target: str, tmp_path: Path
) -> None:
    port, db = int(closed_target.rpartition(":")[2]), tmp_path / "live.duckdb"
    shown = "facts.as_of"
    with showing(closed_target) as running:
        browser.open(f"{running.url}?live=1&range=0.1&bin_size=100")
        browser.wait(f"{CONNECTION}.includes({json.dumps(f'no liqserver reached at {closed_target}')})")
        assert "There is nothing to show yet" in browser.run(SAID)
        with serving(db, port) as process, liqclient.Client(closed_target) as client:
            browser.wait(f"{SAID}.includes('the server has no data of any symbol')")
            list(client.publish(minutes[:60]))
            first = browser.wait(f"{DRAWN} && {shown}")
            list(client.publish(minutes[60:90]))
            newest = client.levels("BTCUSDT").provenance.as_of // 10**6
            assert newest >= first + 30 * 60_000 - 60_000
            browser.wait(f"{shown} === {newest}")
            assert browser.run(MARKS)["bars"] > 10
            assert browser.run(CONNECTION).startswith("Live")
            process.kill()
            process.wait()
            words = browser.wait(f"{CONNECTION}.startsWith('No answer') && {CONNECTION}")
            assert closed_target in words
            assert "What is shown is old, as of " in words
            # The last figure stays, paler.
            assert browser.run(DRAWN)
            assert browser.run("chart.classList.contains('old')")
        with serving(db, port), liqclient.Client(closed_target) as client:
            browser.wait(f"{CONNECTION}.startsWith('Live') && !chart.classList.contains('old')")
            list(client.publish(minutes[89:110]))
            newest = client.levels("BTCUSDT").provenance.as_of // 10**6
            browser.wait(f"{shown} === {newest}")
            # The other views look again when the levels have changed.
            browser.run("document.querySelector('[data-view=heatmap]').click()")
            heatmap = f"{DRAWN} === 'BINANCE:BTCUSDT liquidation levels over time'"
            before = browser.wait(f"{heatmap} && {shown}")
            assert before > first
            list(client.publish(minutes[109:]))
            browser.wait(f"{heatmap} && {shown} > {before}", seconds=30)
    # Now the dashboard itself is gone.
    browser.wait(f"{CONNECTION}.includes('the dashboard itself does not answer')")
