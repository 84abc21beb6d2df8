"""What the demo prints last works as it is printed."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path


def test_the_demo_ends_and_offers_the_dashboard_of_its_market(tmp_path: Path) -> None:
    out = tmp_path / "a demo"
    # As a process of its own: what it prints depends on how it was begun.
    demo = [sys.executable, "-m", "liqserver.cli", "demo", "--out", str(out), "--days", "1"]
    printed = subprocess.run(demo, capture_output=True, text=True, check=True, timeout=120).stdout
    [offered] = re.findall(r"^  (.* serve .* --dashboard)$", printed, re.MULTILINE)
    # Elsewhere than where a server of one's own may be.
    line = [*shlex.split(offered), "--port", "0", "--dashboard-port", "0"]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            [port] = next(filter(None, (re.findall(r"127\.0\.0\.1:(\d+)/", text) for text in process.stderr)))
            connection = HTTPConnection("127.0.0.1", int(port), timeout=60)
            connection.request("GET", "/api/figure/map")
            answer = json.loads(connection.getresponse().read())
            connection.close()
        finally:
            process.terminate()
        assert process.wait(20) == 0
    assert sum(trace["type"] == "bar" for trace in answer["figure"]["data"]) > 5
