"""The code of docs/nautilus.md runs as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from nautilus_trader.persistence.catalog import ParquetDataCatalog

from tests.nt.engines import QUIET

PAGE = Path(__file__).parents[2] / "docs" / "nautilus.md"


def test_code_of_the_page_runs(
    catalog: ParquetDataCatalog,
    market_server: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    [imports] = [block for block in blocks if block.startswith("from nautilus_trader")]
    strategy, run, node, replay, actor = (block for block in blocks if block is not imports)
    run = run.replace('LoggingConfig(log_level="ERROR")', "QUIET")
    assert "QUIET" in run
    monkeypatch.chdir(tmp_path)
    Path("catalog").symlink_to(catalog.path)
    names: dict[str, Any] = {"QUIET": QUIET}
    exec(imports, names)
    exec(strategy, names)
    exec(run, names)
    # One line for each hour after the first bar's.
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 46
    prepared = run.partition("engine.add_data(catalog.query")[0]
    start = "engine.add_strategy(Watch(StrategyConfig()))\n"
    for block in (replay, actor + "engine.run()\n"):
        block = block.replace("127.0.0.1:50051", market_server)
        assert market_server in block
        exec(prepared + start + block + "engine.dispose()\n", names)
        assert len(capsys.readouterr().out.splitlines()) == 46
    exec(node, names)
    assert names["data"][1].client_id == "LIQSERVER"
