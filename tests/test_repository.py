"""The repository itself: its layout, its generated code, its documents."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def tracked() -> list[str]:
    return subprocess.run(
        ["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.splitlines()


def test_top_level_holds_what_is_agreed_and_nothing_else() -> None:
    agreed = {
        *("pyproject.toml", "README.md", "Makefile", "proto", "liqserver", "clients", "tests", "benchmarks", "docs"),
        *("LICENSE", "CONTRIBUTING.md", "CHANGELOG.md", "requirements.txt"),
    }
    found = {name.split("/")[0] for name in tracked()}
    assert {name for name in found if not name.startswith(".")} == agreed


def test_generated_code_is_what_the_protocol_generates(tmp_path: Path) -> None:
    subprocess.run(["make", "--silent", "proto", f"PROTO_OUT={tmp_path}"], cwd=REPOSITORY, check=True)
    made = {path.name: path.read_text() for path in (tmp_path / "liqserver" / "v1").iterdir()}
    kept = {path.name: path.read_text() for path in (REPOSITORY / "liqserver" / "v1").glob("*_pb2*")}
    assert made == kept


def test_requirements_pin_with_hashes_and_name_no_index() -> None:
    text = (REPOSITORY / "requirements.txt").read_text()
    assert not re.search(r"https?://|file://|--(index|extra|find|trusted)", text)
    for pin in re.findall(r"^[a-z].*?(?=^[a-z#]|\Z)", text, flags=re.MULTILINE | re.DOTALL):
        assert "==" in pin
        assert "--hash=sha256:" in pin


def test_generated_messages_stay_light() -> None:
    script = (
        "import json, sys, liqserver.v1.liquidation_pb2, liqserver.v1.market_data_pb2_grpc;"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout))
    assert not loaded & {"duckdb", "numba", "typer", "rich", "plotly", "nautilus_trader"}


def test_every_dependency_says_why_it_is_there() -> None:
    said = (REPOSITORY / "docs" / "dependencies.md").read_text()
    text = (REPOSITORY / "pyproject.toml").read_text()
    block = text.split("dependencies = [", 1)[1].split("[project.scripts]")[0]
    for name in re.findall(r'"([a-zA-Z_-]+)', block):
        assert name in said or (name.startswith("types-") and "types-*" in said), name


def test_readme_names_commands_that_exist_and_the_disclaimer() -> None:
    readme = (REPOSITORY / "README.md").read_text()
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"make ([a-z-]+)", readme))
    assert named <= targets
    assert {"demo", "test"} <= named
    assert "not affiliated with, endorsed or supported by Nautech Systems Pty Ltd" in readme
