"""What the shell offers after a tab."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

RUN = "import sys; sys.argv[0] = 'liqserver'; from liqserver.cli import main; main()"


def offered(*words: str) -> list[str]:
    """Return what bash is offered for the last word."""
    asking = {
        "_LIQSERVER_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(("liqserver", *words)),
        "COMP_CWORD": str(len(words)),
    }
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env={**os.environ, **asking},
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_commands_and_enum_values() -> None:
    assert {"levels", "liquidations"} == set(offered("l"))
    assert offered("levels", "BTCUSDT", "--unit", "n") == ["notional"]
    assert set(offered("compare", "BTCUSDT", "--format", "")) == {"table", "csv", "json"}


@pytest.mark.parametrize("command", ["levels", "replay", "audit", "heatmap", "compare"])
def test_models(command: str) -> None:
    assert offered(command, "BTCUSDT", "--model", "p") == ["position_book", "pyliqmap"]


def test_symbols_of_a_server_or_a_database(market_server: str, market_db: Path, tmp_path: Path) -> None:
    assert offered("levels", "--target", market_server, "B") == ["BTCUSDT"]
    # The server has the database itself for its own.
    copy = shutil.copy(market_db, tmp_path / "copy.duckdb")
    assert offered("heatmap", "--db", str(copy), "BT") == ["BTCUSDT"]
    assert offered("coverage", "--target", market_server, "X") == []
    assert offered("replay", "--db", str(tmp_path / "none.duckdb"), "B") == []
    assert offered("audit", "--target", "127.0.0.1:1", "B") == []
