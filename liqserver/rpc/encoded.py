"""Answers kept as the bytes they are on the wire, so that one computation and one encoding serve all who ask."""

from __future__ import annotations

import asyncio
import math
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

from liqserver.live.engine import LevelsEngine
from liqserver.v1 import liquidation_pb2

# Seconds for which an answer is still given after newer data has come, while the next one is computed.
LAG = 0.1
# Seconds since it was asked for last after which an answer is not made anew until it is asked for again.
KEEP = 1.0
# Most answers that are made anew as events flow; others are computed when they are asked for.
MOST = 32


class EncodedAnswers:
    """Least-recently-used answers by request, bounded in bytes; an answer of an older version is never returned.

    Parameters
    ----------
    max_bytes : int
        Bytes of answers to hold.
    """

    def __init__(self, max_bytes: int = 64 << 20) -> None:
        self._max_bytes = max_bytes
        self._held = 0
        self._answers: OrderedDict[bytes, tuple[int, bytes]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, request: bytes, version: int) -> bytes | None:
        """Return the answer to ``request`` if it was made from data of ``version``."""
        with self._lock:
            found = self._answers.get(request)
            if found is None or found[0] != version:
                return None
            self._answers.move_to_end(request)
            return found[1]

    def put(self, request: bytes, version: int, answer: bytes) -> None:
        """Keep ``answer``; an answer larger than everything that may be held is not kept."""
        if len(answer) > self._max_bytes:
            return
        with self._lock:
            replaced = self._answers.pop(request, None)
            self._held += len(answer) - (len(replaced[1]) if replaced else 0)
            self._answers[request] = (version, answer)
            while self._held > self._max_bytes:
                _, (_, dropped) = self._answers.popitem(last=False)
                self._held -= len(dropped)


@dataclass(slots=True)
class _Newest:
    """A request for the newest levels that was asked lately; times are the event loop's, seconds.

    Attributes
    ----------
    request : GetLevelsRequest
    answer : bytes
        Made of data to which nothing was added before ``outdated``.
    asked : float
        When it was asked for last.
    outdated : float
        Since when there may be newer data; infinite if there is none.
    """

    request: liquidation_pb2.GetLevelsRequest
    answer: bytes
    asked: float
    outdated: float


class LiveAnswers:
    """Encoded answers to ``GetLevels``, kept until data of the symbol changes; for use in one event loop.

    While published events flow, requests for the newest levels that are asked again and again are computed anew in the
    background, one at a time, changes meanwhile taken together, for at most half of the time. A call in between is
    answered at once from data that were the newest ``LAG`` seconds ago or later; ``as_of`` says which. Any other call
    waits for its answer: the first one, one that gives ``as_of``, one after files brought data.

    Parameters
    ----------
    engine : LevelsEngine
        Tells of newer data.
    compute : callable
        Returns the encoded answer to a request.
    executor : Executor
        Where that is called.
    """

    def __init__(
        self,
        engine: LevelsEngine,
        compute: Callable[[liquidation_pb2.GetLevelsRequest], bytes],
        executor: Executor,
    ) -> None:
        self._engine = engine
        self._compute = compute
        self._executor = executor
        self._encoded = EncodedAnswers()
        self._newest: OrderedDict[bytes, _Newest] = OrderedDict()
        self._lineages: dict[tuple[str, str], object] = {}
        # By the symbol's name alone: a venue that is new may make a name ambiguous.
        self._versions: dict[str, int] = {}
        self._lock = threading.Lock()
        self._watching = False
        self._renewing: asyncio.Task[None] | None = None

    async def get(self, request: liquidation_pb2.GetLevelsRequest) -> bytes:
        """Return the encoded answer; raises what computing it raises."""
        loop = asyncio.get_running_loop()
        if not self._watching:
            self._watching = True
            self._engine.watch(partial(self._tell, loop))
        key = request.SerializeToString(deterministic=True)
        now = loop.time()
        held = self._newest.get(key)
        if held is not None:
            held.asked = now
            if now < held.outdated + LAG:
                return held.answer
        symbol = request.query.symbol
        version = self._versions.get(symbol, 0)
        encoded = self._encoded.get(key, version)
        if encoded is None:
            encoded = await loop.run_in_executor(self._executor, self._compute, request)
            self._encoded.put(key, version, encoded)
        if not request.HasField("as_of"):
            outdated = math.inf if version == self._versions.get(symbol, 0) else now
            self._newest[key] = _Newest(request, encoded, now, outdated)
            self._newest.move_to_end(key)
            if len(self._newest) > MOST:
                self._newest.popitem(last=False)
        return encoded

    def _tell(self, loop: asyncio.AbstractEventLoop, venue: str, symbol: str) -> None:
        with self._lock:
            self._versions[symbol] = self._versions.get(symbol, 0) + 1
        loop.call_soon_threadsafe(self._changed, venue, symbol)

    def _changed(self, venue: str, symbol: str) -> None:
        key = (venue, symbol)
        lineage = self._engine.resident(*key).lineage
        grown = self._lineages.get(key) is lineage
        self._lineages[key] = lineage
        now = asyncio.get_running_loop().time()
        for request, held in list(self._newest.items()):
            if held.request.query.symbol != symbol:
                continue
            if not grown or now > held.asked + KEEP:
                del self._newest[request]
            else:
                held.outdated = min(held.outdated, now)
        if self._renewing is None and any(held.outdated < math.inf for held in self._newest.values()):
            self._renewing = asyncio.create_task(self._renew())

    async def _renew(self) -> None:
        """Compute what is outdated, until nothing is."""
        loop = asyncio.get_running_loop()
        try:
            while outdated := [of for of in self._newest.items() if of[1].outdated < math.inf]:
                began = loop.time()
                for key, held in outdated:
                    start, version = loop.time(), self._versions.get(held.request.query.symbol, 0)
                    try:
                        answer = await loop.run_in_executor(self._executor, self._compute, held.request)
                    except Exception:  # for the next to ask, whose own computation meets it
                        self._newest.pop(key, None)
                        continue
                    same = version == self._versions.get(held.request.query.symbol, 0)
                    held.answer, held.outdated = answer, math.inf if same else start
                    self._encoded.put(key, version, answer)
                await asyncio.sleep(loop.time() - began)
        finally:
            self._renewing = None
