"""A dashboard, a server in a process of its own, and a page that shows the one of the other."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Page

import liqclient
from liqclient.dashboard import Dashboard

TITLE = "document.querySelector('#chart .gtitle')?.textContent"
SUBTITLE = "document.querySelector('#chart .gtitle-subtitle').textContent"
SAID = "document.getElementById('words').textContent"
CONNECTION = "document.getElementById('connection').textContent"
# What Plotly draws, of what it has been given: decoded and computed, trace by trace.
DRAWN = """chart.calcdata.map(points => {
    const {type, name, legend, yaxis, x, y, z, base, open, close} = points[0].trace;
    const list = of => of && Array.from(of, one => one?.length === undefined || typeof one === "string"
        ? (typeof one === "number" && !isFinite(one) ? null : one)
        : Array.from(one, value => isFinite(value) ? value : null));
    return {type, name, legend, yaxis, x: list(x), y: list(y), z: list(z), base: list(base), open: list(open),
            close: list(close), height: points.map(of => of.s), shown: points[0].trace.visible === true};
})"""
MARKS = """(() => {
    const count = what => document.querySelectorAll("#chart " + what).length;
    return {bars: count(".barlayer .point path"), cells: count(".heatmaplayer image"),
            candles: count(".boxlayer path.box"), lines: count(".scatterlayer path.js-line"),
            shapes: count(".shapelayer path")};
})()"""


@contextmanager
def showing(target: str) -> Iterator[Dashboard]:
    """Serve a dashboard of ``target``."""
    with liqclient.Client(target) as client, Dashboard(client, port=0) as page:
        thread = threading.Thread(target=page.serve_forever)
        thread.start()
        try:
            yield page
        finally:
            page.shutdown()
            thread.join()


@contextmanager
def serving(db: Path, port: int, *more: str) -> Iterator[subprocess.Popen[str]]:
    """Run a server on ``db``; it is ready."""
    line = [sys.executable, "-m", "liqserver.cli", "serve", "--db", str(db), "--port", str(port), "--print-target"]
    with subprocess.Popen([*line, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            yield process
        finally:
            if process.poll() is None:
                process.kill()


class Shown:
    """What a browser shows, under the page's own policy of content."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.requested: list[str] = []
        self.errors: list[str] = []
        page.on("request", lambda request: self.requested.append(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def open(self, url: str) -> None:
        """Load a page."""
        self.page.goto(url, wait_until="commit")

    def run(self, script: str) -> Any:
        """Return what a script evaluates to."""
        return self.page.evaluate(script)

    def wait(self, script: str, seconds: float = 20) -> Any:
        """Return what a script evaluates to once that is true."""
        end = time.monotonic() + seconds
        while not (value := self.run(f"Boolean(document.body && window.Plotly) && ({script})")):
            words = self.run("document.body?.innerText.slice(0, 1500)")
            assert time.monotonic() < end, f"it did not become so: {script}\n{words}\n{self.errors}"
            time.sleep(0.03)
        return value

    def drawn(self, what: str | None = None) -> list[dict[str, Any]]:
        """Return what is drawn, of one type of traces or of all."""
        self.wait(TITLE)
        return [trace for trace in self.run(DRAWN) if what is None or trace["type"] == what]

    def put(self, name: str, value: str) -> None:
        """Give a field of the controls a value, as a user does."""
        field = self.page.locator(f'#controls [name="{name}"]')
        if field.evaluate("of => of.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(value)
            field.press("Enter")

    def tick(self, name: str, value: bool) -> None:
        """Set a box."""
        self.page.locator(f"#controls {name}").set_checked(value)

    def says(self, text: str) -> None:
        """Wait until the figure's title tells ``text``."""
        self.wait(f"{TITLE} && {SUBTITLE}.includes({json.dumps(text)})")

    @property
    def query(self) -> dict[str, str]:
        """The query of the URL."""
        found: dict[str, str] = self.run("Object.fromEntries(new URLSearchParams(location.search))")
        return found


def by_price(traces: list[dict[str, Any]], legend: str) -> dict[float, float]:
    """Return what bars of a side add up to at each price, by what is drawn of them."""
    sums: dict[float, float] = {}
    for trace in traces:
        if trace["legend"] == legend:
            for price, height in zip(trace["x"], trace["height"], strict=True):
                sums[price] = sums.get(price, 0.0) + height
    return sums


def held(price: NDArray[np.float64], amount: NDArray[np.float64]) -> dict[float, float]:
    """Return the amounts that are above 0 by price."""
    return {float(p): float(a) for p, a in zip(price, amount, strict=True) if a > 0}
