"""One Chromium for the tests of a module, a page of its own for each test."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.chromium import CHROMIUM
from tests.browser.pages import Shown, showing


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    assert CHROMIUM, "LIQSERVER_NEED_CHROMIUM is set, and there is no Chromium on the PATH"
    # Containers often have no sandbox to give, and the pages are ours.
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, chromium_sandbox=False)
        try:
            yield browser
        finally:
            browser.close()


@pytest.fixture
def shown(chromium: Browser) -> Iterator[Shown]:
    """A page without a past; what it throws fails the test."""
    with chromium.new_context(viewport={"width": 1200, "height": 900}) as context:
        page = Shown(context.new_page())
        yield page
        assert not page.errors


@pytest.fixture(scope="module")
def dashboard(market_server: str) -> Iterator[str]:
    """Address of a dashboard on the simulated market."""
    with showing(market_server) as running:
        yield running.url


@pytest.fixture
def closed_target() -> str:
    """An address where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"
