"""Servers and nodes in processes of their own, and a market that happens now."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import numpy as np

import liqclient

REPOSITORY = Path(__file__).resolve().parents[2]
SECOND, MINUTE = 1_000_000_000, 60_000_000_000
SYMBOL, VENUE, TICK = "BTCUSDT", "BINANCE", 0.1


class Process:
    """A process whose output is read line by line as it comes."""

    def __init__(self, *command: str, python: str = sys.executable) -> None:
        self._process = subprocess.Popen(
            [python, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=REPOSITORY,
            env=os.environ | {"PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore"},
        )
        self.lines: list[str] = []
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.rstrip("\n"))

    @property
    def text(self) -> str:
        """All it has said so far."""
        return "\n".join(self.lines)

    @property
    def told(self) -> list[dict[str, Any]]:
        """What it has said in JSON so far."""
        return [json.loads(line) for line in list(self.lines) if line.startswith("{")]

    def until[Found](self, found: Callable[[], Found], seconds: float = 30) -> Found:
        """Wait until something is so, and return what was found; ends the process and fails if it does not."""
        end = time.monotonic() + seconds
        while not (it := found()):
            if time.monotonic() > end or self._process.poll() is not None:
                code = self._process.poll()
                self.kill()
                what = "it did not become so" if code is None else f"it has ended with {code}"
                raise AssertionError(f"{what}:\n{self.text}")
            time.sleep(0.02)
        return it

    def say(self, **order: Any) -> None:
        """Write a line of JSON to its input."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def finish(self, seconds: float = 30) -> int:
        """Close its input, and return the code it ends with."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        code = self._process.wait(seconds)
        self._reading.join()
        return code

    def signal(self, number: int, seconds: float = 30) -> int:
        """Send a signal, and return the code it ends with."""
        self._process.send_signal(number)
        code = self._process.wait(seconds)
        self._reading.join()
        return code

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()
        self._reading.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()


class ServerProcess(Process):
    """A real server that owns its database."""

    def __init__(self, database: Path, port: int = 0, *options: str) -> None:
        command = ("-m", "liqserver.cli", "serve", "--db", str(database), "--port", str(port), "--print-target")
        # Nodes of another version of Nautilus Trader run in an environment without a server.
        super().__init__(*command, *options, python=os.environ.get("LIQSERVER_PYTHON", sys.executable))
        self.target: str = self.until(lambda: next((of for of in self.lines if of.startswith("127.")), ""))
        self.port = int(self.target.rpartition(":")[2])


class Node(Process):
    """A live node; see ``tests.nt.node``."""

    def __init__(self, **config: Any) -> None:
        super().__init__("-m", "tests.nt.node", json.dumps({"spectators": ["one"]} | config))
        names = config.get("spectators", ["one"])
        self.until(lambda: len([of for of in self.told if of["what"] == "started"]) == len(names), 60)

    def given(self, who: str = "one", what: str = "data") -> list[dict[str, Any]]:
        """Return what a spectator was given so far."""
        return [of for of in self.told if of["who"] == who and of["what"] == what]

    def states(self, of: str = "LIQSERVER") -> list[str]:
        """Return the states that a component went through."""
        return [it["state"] for it in self.told if it["what"] == "state" and it["of"] == of and it["who"] == "one"]


def price_at(ts: int) -> float:
    """Return the price of the market at a moment: it swings by 1 % in twenty minutes."""
    return round(100_000 * (1 + 0.01 * math.sin(ts / (1200 * SECOND) * 2 * math.pi)), 1)


def market(start: int, end: int, step: int = SECOND, symbol: str = SYMBOL) -> liqclient.Events:
    """Return the events of the market from ``start`` up to ``end``: trades, mark prices, open interest each minute."""
    ts = np.arange(-(-start // step) * step, end, step)
    price = [price_at(int(of)) for of in ts]
    minutes = np.arange(-(-start // MINUTE) * MINUTE, end, MINUTE)
    return liqclient.Events(
        symbol=symbol,
        venue=VENUE,
        tick_size=TICK,
        trades={
            "id": ts // step,
            "ts_event": ts,
            "price": price,
            "qty": 1.0 + (ts // step) % 7,
            "taker_buy": (ts // step) % 2 == 0,
        },
        mark_prices={"ts_event": ts, "price": price},
        open_interest={"ts_event": minutes, "open_interest": 10_000.0 + (minutes // MINUTE) % 60 * 20},
    )


class Flow:
    """A market that happens now, or faster: what has been since ``start``, then more each tenth of a second.

    With a speed, it goes on from ten minutes after its start.
    """

    def __init__(self, target: str, start: int, symbols: Sequence[str] = (SYMBOL,), speed: int = 1) -> None:
        self._target, self._start, self._symbols, self._speed = target, start, symbols, speed
        self._began = time.time_ns()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.begun = threading.Event()

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                with liqclient.Client(self._target) as client:
                    client.wait_ready(20)
                    for _ in client.publish(self._batches()):
                        self.begun.set()
            except liqclient.Unavailable:
                self._ended.wait(0.1)

    def _now(self) -> int:
        if self._speed == 1:
            return time.time_ns()
        return self._start + 10 * MINUTE + (time.time_ns() - self._began) * self._speed

    def _batches(self) -> Iterator[liqclient.Events]:
        at = self._start
        while not self._ended.wait(0.1):
            now = self._now()
            step = SECOND if at == self._start else SECOND * self._speed // 10
            for symbol in self._symbols:
                yield market(at, now, step, symbol)
            at = now

    def __enter__(self) -> Self:
        self._thread.start()
        assert self.begun.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


@contextmanager
def flowing(database: Path, minutes: int = 10, symbols: Sequence[str] = (SYMBOL,)) -> Iterator[ServerProcess]:
    """Serve a market that happens now and began some minutes ago."""
    start = (time.time_ns() // MINUTE - minutes) * MINUTE
    with ServerProcess(database) as server, Flow(server.target, start, symbols):
        yield server
