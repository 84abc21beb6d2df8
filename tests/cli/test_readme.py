"""What the README shows is what the command prints."""

from __future__ import annotations

import re
from pathlib import Path

from tests.cli.running import run
from tests.conftest import REPOSITORY


def test_readme_excerpt_is_what_the_command_prints_after_the_demo(tmp_path: Path) -> None:
    readme = (REPOSITORY / "README.md").read_text()
    found = re.search(r"```console\n\$ \.venv/bin/liqserver ([^\n]+)\n(.*?)```", readme, re.DOTALL)
    assert found is not None
    run("demo", "--out", tmp_path / "demo")
    command = found[1].replace("build/demo", str(tmp_path / "demo")).split()
    printed = [line.rstrip() for line in run(*command).stdout.rstrip().splitlines()]
    assert printed == found[2].rstrip().splitlines()
