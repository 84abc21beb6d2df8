"""What imports what: Nautilus is loaded by those who asked for it, and by nobody else."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import liqclient
import liqserver

ROOM = Path(liqclient.__file__).parent / "nt"


@pytest.mark.parametrize("module", ["liqclient", "liqserver.cli", "liqserver.cli.nt", "liqserver.rpc.server"])
def test_import_does_not_load_nautilus(module: str) -> None:
    code = f"import sys, {module}; sys.exit('nautilus_trader' in sys.modules or 'liqclient.nt' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_server_nowhere_imports_nautilus_but_in_its_command() -> None:
    package = Path(liqserver.__file__).parent
    found = {path.relative_to(package) for path in package.rglob("*.py") if "nautilus_trader" in _imports(path)}
    assert found <= {Path("cli/nt.py")}


CORE = ("_payload", "_codec", "_query", "_constants", "_connect", "_live", "_publisher")


@pytest.mark.parametrize("name", CORE)
def test_core_knows_no_version_of_nautilus(name: str) -> None:
    names = _imports(ROOM / f"{name}.py")
    assert "nautilus_trader" not in names
    core = {f"liqclient.nt.{of}" for of in CORE}
    assert {of for of in names if of.startswith("liqclient.nt")} <= core


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found.add(node.module)
    return {*found, *(of.partition(".")[0] for of in found)}
