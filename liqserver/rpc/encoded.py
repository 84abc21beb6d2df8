"""``GetLevels`` from bytes: one computation and one encoding serve all who ask the same."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace

from liqserver.live.answers import LevelsQuery
from liqserver.live.engine import LevelsEngine
from liqserver.live.views import View, Views, ViewState
from liqserver.rpc import convert
from liqserver.v1 import liquidation_pb2

# Seconds since the newest levels were asked for last after which they are not kept up any more.
KEEP = 1.0
# Most questions about the newest levels that are kept up at the same time.
MOST = 32


def encoded_whole(state: ViewState) -> bytes:
    """Return the encoded ``GetLevelsResponse`` of a view, without ``generated_at``; encoded once."""
    encoded = state.encodings.get(0)
    if encoded is None:
        encoded = state.encodings[0] = convert.levels_response(state.whole())
    return encoded


class KeptAnswers:
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

    def get(self, request: bytes, version: int) -> bytes | None:
        """Return the answer to ``request`` if it was made from data of ``version``."""
        found = self._answers.get(request)
        if found is None or found[0] != version:
            return None
        self._answers.move_to_end(request)
        return found[1]

    def put(self, request: bytes, version: int, answer: bytes) -> None:
        """Keep ``answer``; an answer larger than everything that may be held is not kept."""
        if len(answer) > self._max_bytes:
            return
        replaced = self._answers.pop(request, None)
        self._held += len(answer) - (len(replaced[1]) if replaced else 0)
        self._answers[request] = (version, answer)
        while self._held > self._max_bytes:
            _, (_, dropped) = self._answers.popitem(last=False)
            self._held -= len(dropped)


class EncodedLevels:
    """Encoded answers to ``GetLevels``; for use in one event loop.

    Answers of the newest data are those of a view (``liqserver.live.views``), which is kept up for as long as it is
    asked for; streams of the same query share it. Answers as of a moment are kept until data of the symbol changes.

    Parameters
    ----------
    engine : LevelsEngine
        Tells of newer data.
    views : Views
        Of the newest data.
    compute : callable
        Returns the encoded answer to a request as of a moment.
    executor : Executor
        Where that is called.
    """

    def __init__(
        self,
        engine: LevelsEngine,
        views: Views,
        compute: Callable[[liquidation_pb2.GetLevelsRequest], bytes],
        executor: Executor,
    ) -> None:
        self._engine = engine
        self._views = views
        self._compute = compute
        self._executor = executor
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._heads: OrderedDict[bytes, _Head] = OrderedDict()
        self._past = KeptAnswers()
        # By the symbol's name alone: a venue that is new may make a name ambiguous.
        self._versions: dict[str, int] = {}
        engine.watch(self._tell)

    async def get(self, request: liquidation_pb2.GetLevelsRequest) -> bytes:
        """Return the encoded answer; raises what computing it raises."""
        if request.HasField("as_of") or request.query.band:
            # Views have no bands.
            return await self._as_of(request)
        key = request.query.SerializeToString(deterministic=True)
        while True:
            head = self._heads.get(key)
            if head is None:
                head = await self._begin(key, convert.levels_query(request.query))
            head.asked = self._loop.time()
            await head.view.newest()
            if head.view.failure is not None:
                # Begins anew, and raises what is wrong if that has not changed.
                self.drop(key, head)
            elif self._heads.get(key) is head:
                return encoded_whole(head.view.state)

    def drop(self, key: bytes, head: _Head) -> None:
        """Keep up ``head`` no more."""
        if self._heads.get(key) is head:
            del self._heads[key]
        head.view.leave(head)

    async def _begin(self, key: bytes, query: LevelsQuery) -> _Head:
        if not query.bin_size:
            # A view keeps the width it began with, an answer has one that suits the price.
            width = await self._loop.run_in_executor(self._executor, self._engine.bin_size, query)
            view = await self._views.open(replace(query, bin_size=width))
        else:
            view = await self._views.open(query)
        head = self._heads.get(key)
        if head is None:
            head = self._heads[key] = _Head(self, key, view, query)
            if len(self._heads) > MOST:
                self.drop(*next(iter(self._heads.items())))
        return head

    async def _as_of(self, request: liquidation_pb2.GetLevelsRequest) -> bytes:
        key = request.SerializeToString(deterministic=True)
        version = self._versions.get(request.query.symbol, 0)
        encoded = self._past.get(key, version)
        if encoded is None:
            encoded = await self._loop.run_in_executor(self._executor, self._compute, request)
            self._past.put(key, version, encoded)
        return encoded

    def suits(self, head: _Head) -> bool:
        """Return whether the view of ``head`` still has the width that suits the price."""
        return bool(head.query.bin_size) or self._engine.bin_size(head.query) == head.view.query.bin_size

    def _tell(self, venue: str, symbol: str) -> None:
        if threading.get_ident() == self._thread:
            self._changed(venue, symbol)
        else:
            self._loop.call_soon_threadsafe(self._changed, venue, symbol)

    def _changed(self, venue: str, symbol: str) -> None:
        self._versions[symbol] = self._versions.get(symbol, 0) + 1
        for key, head in list(self._heads.items()):
            if head.ambiguous(venue, symbol):
                self.drop(key, head)


class _Head:
    """Follows the view of a question about the newest levels while that is asked; see ``live.views.Follower``.

    Attributes
    ----------
    view : View
        What it follows.
    query : LevelsQuery
        As asked.
    asked : float
        When it was asked for last, seconds of the event loop's clock.
    """

    def __init__(self, heads: EncodedLevels, key: bytes, view: View, query: LevelsQuery) -> None:
        self.view = view
        self.query = query
        self.asked = asyncio.get_running_loop().time()
        self._heads = heads
        self._key = key
        view.follow(self)
        view.wait(self)

    def wake(self) -> None:
        """Look whether the view is still wanted, and the right one."""
        if asyncio.get_running_loop().time() > self.asked + KEEP or not self._heads.suits(self):
            self._heads.drop(self._key, self)
        else:
            self.view.wait(self)

    def ambiguous(self, venue: str, symbol: str) -> bool:
        """Return whether the query names no venue and data of the symbol are there at one more than it was of."""
        return not self.query.venue and self.query.symbol == symbol and venue != self.view.query.venue
