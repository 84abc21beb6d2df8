"""The code of docs/nautilus.md runs as it stands there."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any

import pytest
from nautilus_trader.persistence.catalog import ParquetDataCatalog

from tests.nt.engines import QUIET
from tests.nt.processes import REPOSITORY, Process

PAGE = REPOSITORY / "docs" / "nautilus.md"


def blocks() -> dict[str, str]:
    """Return the Python of the page by what it is."""
    found = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    return dict(zip(("strategy", "live", "run", "imports", "node", "replay", "actor"), found, strict=True))


def test_backtests_of_the_page_run(
    catalog: ParquetDataCatalog,
    market_server: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    of = blocks()
    run = of["run"].replace('LoggingConfig(log_level="ERROR")', "QUIET")
    assert "QUIET" in run
    monkeypatch.chdir(tmp_path)
    Path("catalog").symlink_to(catalog.path)
    names: dict[str, Any] = {"QUIET": QUIET}
    exec(of["imports"], names)
    exec(of["strategy"], names)
    exec(run, names)
    # One line for each hour after the first bar's.
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 46
    prepared = run.partition("engine.add_data(catalog.query")[0]
    start = "engine.add_strategy(Watch(StrategyConfig()))\n"
    for block in (of["replay"], of["actor"] + "engine.run()\n"):
        block = block.replace("127.0.0.1:50051", market_server)
        assert market_server in block
        exec(prepared + start + block + "engine.dispose()\n", names)
        assert len(capsys.readouterr().out.splitlines()) == 46
    exec(of["node"], names)
    assert names["data"][1].client_id == "LIQSERVER"


def test_live_node_of_the_page_runs(market_server: str) -> None:
    of = blocks()
    live = of["live"].replace("127.0.0.1:50051", market_server)
    assert market_server in live
    with Process("-c", of["imports"] + of["strategy"] + live) as node:
        # The server's data have ended: there is one to print.
        node.until(lambda: [line for line in node.lines if "Cluster(low=" in line], 60)
        assert node.signal(signal.SIGINT) == 0, node.text
        assert "Traceback" not in node.text
