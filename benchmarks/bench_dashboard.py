"""The dashboard in a real Chromium against Plotly alone, in turns in one browser; needs Chromium on the PATH.

``python -m benchmarks dashboard --minutes 15`` takes how long the memory of the live page is watched.
"""

from __future__ import annotations

import functools
import http.server
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import plotly.graph_objects as go
import plotly.offline
from playwright.sync_api import Browser, Page, sync_playwright

import liqclient
from benchmarks.bench_levels import process
from benchmarks.rows import Row, row

DAYS = 30
# Days that are published while the page looks on.
LIVE_DAYS = 3
LOADS, UPDATES, HEATMAPS = 15, 60, 40
MINUTES = 15.0
SYMBOL, CELLS = "BTCUSDT", 500
# Seconds: until the page is warm, and between two looks at its heap.
SETTLE, SAMPLE = 30, 10
# Seconds that a minute of the market takes.
PACE = 0.5
SIZE = {"width": 1200, "height": 900}

# Bare Plotly, from a server of its own that sends the same script.
EMPTY = """<!doctype html><html><head><meta charset="utf-8"><script src="plotly.min.js"></script></head>
<body><div id="chart"></div><script>Plotly.newPlot("chart", [], {}, {displaylogo: false});</script></body></html>"""
# Notes the frame in which something is there for the first time, in milliseconds since the navigation began.
FIRST_FRAME = """
addEventListener("DOMContentLoaded", () => {{
  const look = () => {{
    if (!document.querySelector({selector})) return requestAnimationFrame(look);
    requestAnimationFrame(() => {{ window.firstPicture = performance.now(); }});
  }};
  look();
}});"""
# Notes when each live update came to the dashboard and to the page, and when Plotly had drawn it.
WATCH_UPDATES = """
window.updates = [];
const add = EventTarget.prototype.addEventListener;
EventSource.prototype.addEventListener = function (name, listener) {
  add.call(this, name, name !== "levels" ? listener : event => {
    const came = performance.now();
    chart.once?.("plotly_afterplot", () => {
      const drawn = performance.now(), {figure, facts} = JSON.parse(event.data);
      window.updates.push({page: drawn - came, delta: drawn + performance.timeOrigin - facts.arrived, figure});
    });
    listener(event);
  });
};"""
# Draws the oldest of them with bare Plotly, in a place of its own.
BARE_UPDATE = """() => new Promise(done => {
  const {figure, ...took} = window.updates.shift();
  let bare = document.getElementById("bare");
  if (!bare) {
    bare = Object.assign(document.createElement("div"), {id: "bare"});
    document.body.append(bare);
    Plotly.newPlot(bare, figure.data, figure.layout, {displaylogo: false, responsive: true}).then(() => done(null));
    return;
  }
  const began = performance.now();
  bare.once("plotly_afterplot", () => done({...took, bare: performance.now() - began}));
  Plotly.react(bare, figure.data, figure.layout, {displaylogo: false, responsive: true});
})"""
# From the text of an answer to the frame that shows it: the page, and Plotly alone with the same cells and size.
HEATMAPS_IN_TURNS = """async ([query, text, rounds]) => {
  const answer = await (await fetch(`/api/figure/heatmap?${query}`)).text(), took = {page: [], bare: []};
  const bare = document.createElement("div");
  document.body.append(bare);
  const height = JSON.parse(answer).figure.layout.height;
  const draws = {
    page: () => draw(JSON.parse(answer), query),
    bare: () => {
      const {data} = JSON.parse(text);
      Plotly.newPlot(bare, data, {height, width: chart.clientWidth}, {displaylogo: false});
    },
  };
  for (let i = 0; i <= rounds; i++) {
    for (const [name, draw] of Object.entries(draws)) {
      Plotly.purge(name === "page" ? chart : bare);
      await new Promise(then => setTimeout(then, 50));
      const began = performance.now();
      draw();
      await new Promise(then => requestAnimationFrame(() => setTimeout(then)));
      if (i) took[name].push(performance.now() - began);
    }
  }
  return took;
}"""


def files() -> dict[str, bytes]:
    """Return what the bare server sends."""
    return {"/": EMPTY.encode(), "/plotly.min.js": plotly.offline.get_plotlyjs().encode()}


class Bare(http.server.BaseHTTPRequestHandler):
    """Sends the empty page and plotly.js."""

    protocol_version = "HTTP/1.1"

    def __init__(self, content: dict[str, bytes], *args: Any) -> None:  # noqa: ANN401
        self.content = content
        super().__init__(*args)

    def do_GET(self) -> None:
        """Answer one request."""
        found = self.content.get(self.path, b"")
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "text/javascript" if self.path.endswith(".js") else "text/html")
        self.send_header("Content-Length", str(len(found)))
        self.end_headers()
        self.wfile.write(found)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: ANN401
        """Write nothing."""


@contextmanager
def bare_page() -> Iterator[str]:
    """Serve the empty page; yield its address."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Bare, files())) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def first_picture(browser: Browser, url: str, selector: str) -> float:
    """Return milliseconds from the navigation of a browser without cache to the first frame with the picture."""
    context = browser.new_context(viewport=SIZE)
    try:
        page = context.new_page()
        page.add_init_script(FIRST_FRAME.format(selector=json.dumps(selector)))
        page.goto(url, wait_until="commit")
        return float(wait(page, "window.firstPicture"))
    finally:
        context.close()


def wait(page: Page, script: str, seconds: float = 60) -> Any:  # noqa: ANN401
    """Return what a script evaluates to once that is true; the page's policy forbids Playwright's own way."""
    end = time.monotonic() + seconds
    while not (value := page.evaluate(script)):
        if time.monotonic() > end:
            raise RuntimeError(f"it did not become so within {seconds:g} s: {script}")
        time.sleep(0.02)
    return value


@contextmanager
def publishing(archive: list[Path], target: str) -> Iterator[subprocess.Popen[bytes]]:
    """Publish files while the block runs, a minute of the market in `PACE` seconds."""
    line = [sys.executable, "-m", "liqserver.cli", "publish", *map(str, archive), "--speed", f"{60 / PACE}x"]
    with subprocess.Popen([*line, "--target", target], stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.terminate()


def updates(browser: Browser, url: str, archive: list[Path], target: str) -> dict[str, list[float]]:
    """Return milliseconds of live updates: from the delta's arrival, from its event in the page, and of bare Plotly."""
    with browser.new_context(viewport=SIZE) as context:
        page = context.new_page()
        page.add_init_script(WATCH_UPDATES)
        page.goto(f"{url}?live=1", wait_until="commit")
        wait(page, "window.Plotly && drawn")
        took: dict[str, list[float]] = {"delta": [], "page": [], "bare": []}
        with publishing(archive, target):
            while len(took["bare"]) < UPDATES:
                wait(page, "window.updates.length")
                one = page.evaluate(BARE_UPDATE)
                for name, values in took.items():
                    if one is not None:
                        values.append(one[name])
        return took


def heatmaps(browser: Browser, url: str, target: str) -> dict[str, list[float]]:
    """Return milliseconds that 500 moments by 500 bins take the page, and Plotly alone."""
    with liqclient.Client(target, timeout=60) as client:
        levels = client.levels(SYMBOL)
        width = 8 * client.symbols()[0].base_bin
        wide = CELLS * width / levels.current_price / 2
        answer = client.heatmap(
            SYMBOL,
            lookback=f"{CELLS - 1}h",
            interval="1h",
            bin_size=width,
            price_range=wide,
            end=levels.provenance.as_of,
        )
    rows, columns = len(answer.price), len(answer.ts)
    if columns != CELLS or not 0.95 * CELLS <= rows <= 1.05 * CELLS:
        raise RuntimeError(f"the heatmap has {columns} moments and {rows} bins, not {CELLS} of each")
    cells = go.Heatmap(x=answer.ts // 10**6, y=answer.price, z=(answer.long + answer.short).T.astype(np.float32))
    query = f"lookback={CELLS - 1}h&interval=1h&bin_size={width:g}&range={wide}&width={SIZE['width']}"
    with browser.new_context(viewport=SIZE) as context:
        page = context.new_page()
        page.goto(url, wait_until="commit")
        wait(page, "window.Plotly && drawn")
        took: dict[str, list[float]] = page.evaluate(HEATMAPS_IN_TURNS, [query, go.Figure(cells).to_json(), HEATMAPS])
    return took


def memory(browser: Browser, url: str, archive: list[Path], target: str, minutes: float) -> list[float]:
    """Return bytes of the page's heap after a collection, every `SAMPLE` seconds of a live run."""
    with browser.new_context(viewport=SIZE) as context, ExitStack() as stack:
        page = context.new_page()
        session = context.new_cdp_session(page)
        page.goto(f"{url}?live=1", wait_until="commit")
        wait(page, "window.Plotly && drawn")
        publisher = stack.enter_context(publishing(archive, target))
        time.sleep(SETTLE)
        heap = []
        end = time.monotonic() + 60 * minutes
        while time.monotonic() < end:
            session.send("HeapProfiler.collectGarbage")
            heap.append(float(session.send("Runtime.getHeapUsage")["usedSize"]))
            if publisher.poll() is not None:
                raise RuntimeError("there was nothing more to publish before the time was over")
            time.sleep(SAMPLE)
        return heap


def chromium() -> str:
    """Return the path of the system's Chromium."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if (path := shutil.which(name)) is not None:
            return path
    raise RuntimeError("the dashboard is measured in Chromium, which is not on the PATH: `make chromium`")


def market(folder: Path) -> tuple[Path, list[Path]]:
    """Simulate a market; return a database of its first days, and the files of the others."""
    liqserver = [sys.executable, "-m", "liqserver.cli"]
    days = ("--days", str(DAYS + LIVE_DAYS), "--seed", "3")
    subprocess.run([*liqserver, "simulate", str(folder / "market"), *days], check=True, capture_output=True)
    files = sorted((folder / "market" / "data").rglob("*.zip"))
    daily = [file for file in files if "daily" in file.parts]
    last = sorted({file.stem[-10:] for file in daily})[DAYS - 1]
    stored = [file for file in daily if file.stem[-10:] <= last]
    stored += [file for file in files if "monthly" in file.parts and file.stem[-7:] <= last[:7]]
    database = folder / "bench.duckdb"
    subprocess.run([*liqserver, "ingest", *map(str, stored), "--db", str(database)], check=True, capture_output=True)
    return database, [file for file in files if file not in stored]


def run(minutes: float = MINUTES) -> list[Row]:
    """Measure the page on a market of 30 days, and on days that are published while it looks on."""
    with ExitStack() as stack:
        database, archive = market(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        liqserver = ("-m", "liqserver.cli")
        target = stack.enter_context(
            process(*liqserver, "serve", "--db", str(database), "--port", "0", "--print-target")
        )
        page = ("dashboard", "--target", target, "--port", "0", "--print-url")
        url = stack.enter_context(process(*liqserver, *page))
        empty = stack.enter_context(bare_page())
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=chromium(), chromium_sandbox=False)
        stack.callback(browser.close)
        loads: dict[str, list[float]] = {"page": [], "empty": []}
        for _ in range(LOADS + 1):
            loads["page"].append(first_picture(browser, url, "#chart .barlayer .point"))
            loads["empty"].append(first_picture(browser, empty, "#chart .main-svg"))
        cells = heatmaps(browser, url, target)
        live = updates(browser, url, archive, target)
        heap = memory(browser, url, archive, target, minutes)
    third = max(len(heap) // 3, 1)
    drawn, shown = median(live["bare"]), f"first picture of {DAYS} days, against an empty Plotly page"
    return [
        # The first load of each warms the servers.
        row(f"page: {shown}", "ms", median(loads["page"][1:]), median(loads["empty"][1:]), goal=1.5, n=LOADS),
        row("page: live update, from the delta's arrival", "ms", median(live["delta"]), drawn, goal=2, n=UPDATES),
        row("page: live update, from its event in the page", "ms", median(live["page"]), drawn, goal=2, n=UPDATES),
        row(
            f"page: heatmap {CELLS} x {CELLS}", "ms", median(cells["page"]), median(cells["bare"]), goal=1.5, n=HEATMAPS
        ),
        row(
            f"page: heap in the last third of {minutes:g} live minutes, against the first",
            "MB",
            median(heap[-third:]) / 1e6,
            median(heap[:third]) / 1e6,
            goal=1.05,
            n=len(heap),
        ),
    ]
