"""Draws the dashboard: every view and theme, wide and on a phone, into build/screenshots, some into docs/dashboard.

python docs/draw_dashboard.py DATABASE; needs chromium.
"""

from __future__ import annotations

import shutil
import sys
import threading
import time
from itertools import product
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

import liqclient
from liqclient.dashboard import Dashboard
from liqclient.dashboard._question import VIEWS
from liqclient.plot import THEMES
from liqserver.rpc.server import EmbeddedServer

ALL, KEPT = Path("build/screenshots"), Path(__file__).parent / "dashboard"
WIDTHS = {"wide": 1200, "phone": 390}
QUERY = "range=0.1&lookback=2d"
# Those that the documentation shows.
SHOWN = {
    "map-safe-wide": "map.png",
    "heatmap-classic-dark-wide": "heatmap.png",
    "liquidations-safe-wide": "liquidations.png",
    "map-classic-dark-phone": "phone.png",
}


def draw(database: Path) -> None:
    """Write the pictures."""
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("drawing needs chromium on the PATH: there is none")
    for folder in (ALL, KEPT):
        folder.mkdir(parents=True, exist_ok=True)
    with (
        EmbeddedServer(database) as server,
        liqclient.Client(server.target, timeout=120) as client,
        Dashboard(client, port=0) as dashboard,
        sync_playwright() as playwright,
    ):
        thread = threading.Thread(target=dashboard.serve_forever)
        thread.start()
        browser = playwright.chromium.launch(executable_path=chromium, chromium_sandbox=False)
        for name, width in WIDTHS.items():
            page = browser.new_page(viewport={"width": width, "height": 700}, is_mobile=width < 500)
            for view, theme in product(VIEWS, THEMES):
                page.goto(f"{dashboard.url}?view={view}&theme={theme}&{QUERY}")
                _wait(page)
                picture = f"{view}-{theme}-{name}"
                page.screenshot(path=ALL / f"{picture}.png", full_page=True)
                if picture in SHOWN:
                    shutil.copy(ALL / f"{picture}.png", KEPT / SHOWN[picture])
        browser.close()
        dashboard.shutdown()
        thread.join()
    print(f"{len(WIDTHS) * len(VIEWS) * len(THEMES)} pictures in {ALL}, {len(SHOWN)} of them in {KEPT}")  # noqa: T201


def _wait(page: Page) -> None:
    end = time.monotonic() + 60
    while not page.evaluate("window.Plotly && server && drawn"):
        if time.monotonic() > end:
            sys.exit(f"nothing was drawn: {page.evaluate('document.body.innerText')}")
        time.sleep(0.05)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    draw(Path(sys.argv[1]))
