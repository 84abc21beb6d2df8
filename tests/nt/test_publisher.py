"""The publisher, with real servers: what is handed over gets there, though servers die; or it is counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import liqclient
from liqclient.nt._live import Report
from liqclient.nt._publisher import PublishCounts, PublishedSymbol, Publisher
from tests.nt.processes import MINUTE, SECOND, SYMBOL, TICK, VENUE, ServerProcess, market

OF = PublishedSymbol(SYMBOL, VENUE, TICK)
START = time.time_ns() // MINUTE * MINUTE - 30 * MINUTE


class Running:
    """A publisher, and what it reported."""

    def __init__(self, target: str, capacity: int = 100_000, batch: int = 1_000) -> None:
        self.reports: list[Report] = []
        self.it = Publisher(
            [OF],
            lambda: liqclient.Client(target),
            interval=0.02,
            batch=batch,
            capacity=capacity,
            report=self.reports.append,
        )

    def put(self, start: int, end: int) -> int:
        """Hand over the market of some time, event by event; return how many."""
        events = market(start, end)
        rows: list[tuple[int, Any, tuple[Any, ...]]] = []
        for kind in ("trades", "mark_prices", "open_interest"):
            columns = [np.asarray(of).tolist() for of in getattr(events, kind).values()]
            rows += [(row[kind == "trades"], kind, row) for row in zip(*columns, strict=True)]
        for _, kind, row in sorted(rows, key=lambda of: of[0]):
            self.it.put(OF, kind, row)
        return len(rows)

    def until(self, true: Callable[[PublishCounts], bool]) -> PublishCounts:
        end = time.monotonic() + 30
        while not true(self.it.counts):
            assert time.monotonic() < end, f"{self.it.counts} {self.reports}"
            time.sleep(0.01)
        return self.it.counts


@contextmanager
def publishing(target: str, **more: int) -> Iterator[Running]:
    running = Running(target, **more)
    running.it.start()
    try:
        yield running
    finally:
        running.it.close()
        assert running.it.join(20)


def levels_of(target: str, moment: int) -> liqclient.Levels:
    with liqclient.Client(target) as client:
        return client.levels(SYMBOL, as_of=moment, bin_size=100)


def test_symbol_that_is_new_begins_with_its_first_price(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "live.duckdb") as server, publishing(server.target) as running:
        running.it.put(OF, "open_interest", (START, 9_000.0))
        time.sleep(0.3)
        assert running.it.counts.accepted == 0
        count = running.put(START + SECOND, START + 5 * MINUTE)
        counts = running.until(lambda of: of.accepted == count + 1)
        assert counts == PublishCounts(received=count + 1, accepted=count + 1)
        assert levels_of(server.target, START + 4 * MINUTE).long.sum() > 0
    assert running.reports == []


def test_server_that_dies_loses_nothing(tmp_path: Path) -> None:
    end = START + 20 * MINUTE
    with ServerProcess(tmp_path / "whole.duckdb") as server:
        with publishing(server.target) as running:
            running.put(START, end)
        expected = levels_of(server.target, end - 2 * MINUTE)
    database = tmp_path / "live.duckdb"
    with ServerProcess(database) as first, publishing(first.target) as running:
        count = running.put(START, START + 8 * MINUTE)
        running.until(lambda of: of.accepted == count)
        # Only ended minutes are stored by now, if at all.
        first.kill()
        count += running.put(START + 8 * MINUTE, START + 14 * MINUTE)
        with ServerProcess(database, first.port) as second:
            count += running.put(START + 14 * MINUTE, end)
            # What was sent twice is accepted twice, by two servers.
            counts = running.until(lambda of: of.waiting == 0 and of.accepted >= count)
            running.it.close()
            assert running.it.join(20)
            assert (counts.dropped, counts.refused) == (0, 0)
            found = levels_of(second.target, end - 2 * MINUTE)
    for name in ("price", "long", "short"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert [of.kind for of in running.reports if of.kind in ("lost", "resumed")][:1] == ["lost"]
    assert running.reports[-1].kind == "resumed"


def test_what_is_too_much_is_thrown_away_oldest_first_and_counted(unused_port: int) -> None:
    with publishing(f"127.0.0.1:{unused_port}", capacity=100) as running:
        began = time.perf_counter()
        count = running.put(START, START + 10 * MINUTE)
        # Nobody waits for a server that is not there.
        assert time.perf_counter() - began < 2
        counts = running.it.counts
        assert (counts.received, counts.dropped, counts.waiting) == (count, count - 100, 100)
        running.until(lambda _: bool(running.reports))
    assert running.it.counts.dropped == count
    assert [of.kind for of in running.reports] == ["lost"]


def test_closing_sends_what_is_left(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "live.duckdb") as server:
        with publishing(server.target, batch=7) as running:
            count = running.put(START, START + 3 * MINUTE)
        assert running.it.counts == PublishCounts(received=count, accepted=count)
        with liqclient.Client(server.target) as client:
            [coverage] = client.coverage(SYMBOL)
        assert {of.kind: of.rows for of in coverage.kinds}["open_interest"] == 3


def test_what_the_server_refuses_is_counted_and_told(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "live.duckdb") as server, publishing(server.target) as running:
        count = running.put(START, START + 2 * MINUTE)
        running.it.put(OF, "mark_prices", (START + 2 * MINUTE, -5.0))
        counts = running.until(lambda of: of.accepted + of.refused == count + 1)
        assert counts.refused == 1
    [report] = running.reports
    assert "1 events of BTCUSDT were refused, the first: price was -5.0, must be a positive number" in report.message


def test_token_that_does_not_allow_it_ends_it_with_an_error(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("node read s3cret-of-the-node\nfeed publish s3cret-of-the-feed\n")
    tokens.chmod(0o600)
    with ServerProcess(tmp_path / "live.duckdb", 0, "--tokens", str(tokens)) as server:
        running = Running("")
        running.it._connect = lambda: liqclient.Client(server.target, token="s3cret-of-the-node")  # type: ignore[method-assign]
        running.it.start()
        running.put(START, START + MINUTE)
        assert running.it.join(20)
        running.it.put(OF, "mark_prices", (START, 1.0))
        [report] = running.reports
        assert (report.kind, running.it.counts.accepted) == ("refused", 0)
        assert running.it.counts.dropped == running.it.counts.received
        # One that may publish need not be one that may ask.
        running = Running("")
        running.it._connect = lambda: liqclient.Client(server.target, token="s3cret-of-the-feed")  # type: ignore[method-assign]
        running.it.start()
        count = running.put(START, START + MINUTE)
        running.it.close()
        assert running.it.join(20)
        assert running.it.counts.accepted == count


@pytest.mark.parametrize("closing", [False, True])
def test_publisher_that_was_never_started_can_be_closed(closing: bool) -> None:
    running = Running("127.0.0.1:1")
    if closing:
        running.it.close()
    assert running.it.join(1)
