"""`liqserver watch` against a real server: alerts as lines, the ladder on a terminal, a server that goes away."""

from __future__ import annotations

import itertools
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import grpc
import pytest

import liqclient
from liqserver.v1 import liquidation_pb2
from tests.cli.running import run
from tests.client import standin
from tests.client.test_alerts import SWEPT, Alerting, alert

MINUTE, SECOND = 60 * 10**9, 10**9
CLI = [sys.executable, "-m", "liqserver.cli"]


@contextmanager
def running(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A command with pipes, which is killed if it has not ended."""
    command = [*CLI, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def lines(of: IO[str] | None, count: int) -> list[str]:
    assert of is not None
    return [of.readline() for _ in range(count)]


# --- options become rules --------------------------------------------------------------------------------------


def rules(*options: str, events: tuple[Any, ...] = ()) -> tuple[list[liquidation_pb2.AlertRule], str]:
    """Return the rules a server is asked for, and what the command prints of the events it tells."""
    told = Alerting(events=list(events))  # type: ignore[abstract]
    told.end_with(standin.status(grpc.StatusCode.INTERNAL, "enough"))
    with standin.serve(told):
        done = run("watch", "BTCUSDT", "--target", told.target, *options, code=1)
    assert "enough" in done.said
    [request] = [of for of in told.requests if isinstance(of, liquidation_pb2.WatchAlertsRequest)]
    return list(request.rules), done.stdout


def test_rules_are_those_of_the_defaults_where_none_is_asked_for() -> None:
    near, cluster, stale = rules()[0]
    assert near.near_cluster == liquidation_pb2.NearCluster(distance=0.01)
    assert cluster.WhichOneof("condition") == "cluster_change"
    assert stale.stale.age == 15 * MINUTE
    assert {near.cooldown, cluster.cooldown, stale.cooldown} == {5 * MINUTE}


def test_rules_are_only_those_asked_for() -> None:
    assert [of.WhichOneof("condition") for of in rules("--stale", "2h")[0]] == ["stale"]
    options = ("--near", "0.02", "--near-volatility", "0.25", "--grown", "0.3", "--min-amount", "2e6")
    bursts = ("--liquidations", "5m:1e6", "--liquidations", "1h:5e6", "--cooldown", "1m")
    near, volatility, cluster, five, hour = rules(*options, *bursts)[0]
    assert near.near_cluster == liquidation_pb2.NearCluster(distance=0.02, min_amount=2e6)
    assert volatility.near_cluster == liquidation_pb2.NearCluster(distance_volatility=0.25, min_amount=2e6)
    assert cluster.cluster_change == liquidation_pb2.ClusterChange(growth=0.3, min_amount=2e6)
    assert five.liquidations == liquidation_pb2.LiquidationBurst(interval=5 * MINUTE, min_amount=1e6)
    assert hour.liquidations == liquidation_pb2.LiquidationBurst(interval=60 * MINUTE, min_amount=5e6)
    assert len({of.name for of in (near, volatility, cluster, five, hour)}) == 5
    assert near.cooldown == MINUTE


def test_changes_of_clusters_are_shown_only_if_asked_for() -> None:
    formed = alert(2, liquidation_pb2.ALERT_KIND_CLUSTER_FORMED, message="formed one")
    grew = alert(3, liquidation_pb2.ALERT_KIND_CLUSTER_GREW, message="grew one")
    events = (SWEPT, formed, grew)

    def kinds(*options: str) -> list[str]:
        return [json.loads(line)["kind"] for line in rules(*options, "-f", "json", events=events)[1].splitlines()]

    assert kinds("--formed") == ["cluster formed"]
    assert kinds("--swept") == ["cluster swept"]
    assert kinds("--grown", "0.5") == ["cluster grew"]
    assert kinds("--swept", "--grown", "0.5") == ["cluster swept", "cluster grew"]
    assert kinds() == ["cluster swept", "cluster formed"]


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--liquidations", "5m"), 2, "must be a length of time and an amount, such as 5m:1e6"),
        (("--liquidations", "x:1"), 2, "such as 5m:1e6"),
        (("--stale", "soon"), 2, "soon"),
        (("--refresh", "0"), 2, "refresh"),
        (("--grown", "0.01"), 1, "rules[0].cluster_change.growth was 0.01, must be a number of at least 0.05"),
        (("--near", "0.5"), 1, "rules[0].near_cluster.distance was 0.5"),
        (("--liquidations", "1m:5", "--model", "binance_standard"), 1, "has no time axis"),
    ],
)
def test_what_is_wrong_with_an_option_ends_it(
    market_server: str, options: tuple[str, ...], code: int, said: str
) -> None:
    done = run("watch", "BTCUSDT", "--target", market_server, *options, code=code)
    assert said in done.said


def test_unknown_symbol_and_no_server_end_it(market_server: str) -> None:
    assert "DOGEUSDT" in run("watch", "DOGEUSDT", "--target", market_server, code=1).said
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        target = f"127.0.0.1:{probe.getsockname()[1]}"
    assert "liqserver serve" in run("watch", "BTCUSDT", "--target", target, code=1).said


# --- lines -----------------------------------------------------------------------------------------------------


def test_json_is_one_alert_a_line_until_interrupted(market_server: str) -> None:
    options = ("--near", "0.2", "--stale", "1d", "--format", "json")
    with running("watch", "BTCUSDT", "--target", market_server, *options) as process:
        first, second = (json.loads(line) for line in lines(process.stdout, 2))
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert (first["sequence"], second["sequence"]) == (1, 2)
    assert {"near cluster", "stale"} >= {first["kind"], second["kind"]}
    with liqclient.Client(market_server) as client:
        price = client.levels("BTCUSDT").current_price
    assert first["current_price"] == price
    assert first["message"].startswith("BTCUSDT: ")


def test_without_a_terminal_alerts_are_sentences(market_server: str) -> None:
    with running("watch", "BTCUSDT", "--target", market_server, "--stale", "1d") as process:
        [line] = lines(process.stdout, 1)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    assert re.fullmatch(
        r"\d\d:\d\d:\d\dZ stale: BTCUSDT: data are stale: the oldest input .* is [\d.]+ days old\n", line
    )


def test_server_that_goes_is_told_of_and_found_again(market_db: Path, tmp_path: Path) -> None:
    # One of its own, as a server that may write shares it with nobody.
    own = shutil.copy(market_db, tmp_path / "own.duckdb")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    @contextmanager
    def serving() -> Iterator[None]:
        with running("serve", "--db", own, "--port", port) as server:
            with liqclient.Client(f"127.0.0.1:{port}") as client:
                client.wait_ready(30)
            yield
            server.terminate()
            assert server.wait(20) == 0

    watching = ("watch", "BTCUSDT", "--target", f"127.0.0.1:{port}", "--stale", "1d", "-f", "json")
    with serving():
        process = subprocess.Popen(
            [*CLI, *watching], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=wide()
        )
        assert json.loads(lines(process.stdout, 1)[0])["kind"] == "stale"
    try:
        assert re.match(r"server gone: .*; trying again in 1 s$", lines(process.stderr, 1)[0])
        with serving():
            while (said := lines(process.stderr, 1)[0]) != "server is back\n":
                assert re.match(r"server gone: .*; trying again in (2|4|8) s$", said)
            assert json.loads(lines(process.stdout, 1)[0])["kind"] == "stale"
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()


def wide() -> dict[str, str]:
    return {**os.environ, "COLUMNS": "200"}


# --- on a terminal ---------------------------------------------------------------------------------------------


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, *arguments: object, columns: int = 110, rows: int = 40) -> None:
        self.written = b""
        self._fd, inside = pty.openpty()
        self._process = subprocess.Popen(
            [*CLI, *map(str, arguments)],
            stdin=inside,
            stdout=inside,
            stderr=inside,
            env={**os.environ, "COLUMNS": str(columns), "LINES": str(rows), "TERM": "xterm-256color"},
        )
        os.close(inside)

    def read_until(self, wanted: str, seconds: float = 40.0) -> str:
        """Return what was shown so far, without colours, as soon as ``wanted`` was."""
        end = time.monotonic() + seconds
        while not re.search(wanted, self.text):
            if time.monotonic() > end:
                self._process.kill()
                raise AssertionError(self.text)
            self._read(0.2)
        return self.text

    def interrupt(self) -> int:
        """Send what Ctrl-C sends and return the exit code."""
        self._process.send_signal(signal.SIGINT)
        end = time.monotonic() + 20
        while self._process.poll() is None:
            if time.monotonic() > end:
                self._process.kill()
            self._read(0.1)
        os.close(self._fd)
        return self._process.wait()

    @property
    def text(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.written.decode(errors="replace")).replace("\r", "")

    def _read(self, seconds: float) -> None:
        if select.select([self._fd], [], [], seconds)[0]:
            try:
                self.written += os.read(self._fd, 65_536)
            except OSError:
                # The command has ended.
                time.sleep(seconds)


def test_ladder_shows_price_levels_figures_and_alerts_until_interrupted(market_server: str) -> None:
    options = ("--near", "0.2", "--stale", "1d", "--range", "0.2", "--bin-size", "100", "--refresh", "0.3")
    with liqclient.Client(market_server) as client:
        levels = client.levels("BTCUSDT", bin_size=100, derived=True)
    terminal = Terminal("watch", "BTCUSDT", "--target", market_server, *options)
    text = terminal.read_until(r"alerts: (?:[2-9]|\d\d)[\s\S]*data are stale")
    assert terminal.interrupt() == 0
    price = f"{levels.current_price:,.10g}"
    assert f"BINANCE:BTCUSDT {price} mark_price, as of 2025-09-03 00:00Z" in text
    assert f"◂ {price}" in text
    # Rows of a nice multiple of the bins, which add up to what is in range.
    frame = text[text.rindex("BINANCE:BTCUSDT") :]
    rows = re.findall(r"^ +([\d,.]+) +([+-][\d.]+%) (.{9}) (.{9})", frame, re.MULTILINE)
    edges = [float(row[0].replace(",", "")) for row in rows]
    assert 8 < len(rows) <= 40 - 20
    assert len({round(a - b, 6) for a, b in itertools.pairwise(edges)}) == 1
    for column, total in ((2, levels.totals.long_in_range), (3, levels.totals.short_in_range)):
        assert sum(amount(row[column]) for row in rows) == pytest.approx(total, rel=0.01)
    assert levels.derived is not None
    for cluster in (levels.derived.cluster_below, levels.derived.cluster_above):
        assert cluster is not None
        assert f"at {cluster.low:,.10g} to {cluster.high:,.10g}, {cluster.distance:.2%} away" in frame
    for of in levels.derived.imbalances:
        assert f"{of.range:.0%} {'-' if of.imbalance is None else f'{of.imbalance:+.2f}'}" in frame
    assert re.search(r"oldest input that the model needs: \d+ d old", frame)
    # The frame fits the terminal, in height and in width.
    assert frame.rstrip().count("\n") < 40
    assert max(map(len, frame.splitlines())) <= 110


def amount(text: str) -> float:
    text = text.strip()
    return float(text.rstrip("kMB") or 0) * {"k": 1e3, "M": 1e6, "B": 1e9}.get(text[-1:], 1.0)


def test_ladder_on_a_database_needs_no_server(market_db: Path) -> None:
    terminal = Terminal("watch", "BTCUSDT", "--db", market_db, "--rows", "8", rows=24)
    frame = terminal.read_until(r"alerts: 1")
    assert "nearest cluster above" in frame
    assert terminal.interrupt() == 0
