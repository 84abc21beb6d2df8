"""Numbered views of the newest levels: computed once for all who follow them, told as changes from any update on."""

from __future__ import annotations

import asyncio
import math
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from liqserver.live.answers import LevelsAnswer, LevelsQuery, Provenance

# Seconds that a view outlives its last follower, who may come back and go on where it was.
KEEP = 60.0
# Seconds of computing that are done in the event loop: handing so little to a thread would take as long.
LITTLE = 0.001

type Key = tuple[LevelsQuery, float]


class LevelsSource(Protocol):
    """What views are of; see ``liqserver.live.engine.LevelsEngine``."""

    def levels(self, query: LevelsQuery, as_of: int | None = None) -> LevelsAnswer:
        """Answer ``query``."""

    def ready(self, query: LevelsQuery) -> bool:
        """Return whether ``query`` would be answered without reading data first or waiting for another question."""

    def watch(self, changed: Callable[[str, str], None]) -> Callable[[], None]:
        """Have ``changed(venue, symbol)`` called when there is newer data."""


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the updates of a view: update ``sequence`` (from 1) of the numbering ``epoch``."""

    epoch: int
    sequence: int


@dataclass(frozen=True, slots=True, eq=False)
class ViewState:
    """A view after one update; immutable.

    Attributes
    ----------
    position : Position
        Of the update.
    told : LevelsAnswer
        The newest answer, with every bin told since the numbering began and what was told of it; one that was removed
        holds nothing.
    changed : int64, shape (n,)
        Sequence at which each of these bins was told last.
    began : Provenance
        That of the update the numbering began with.
    encodings : dict
        Kept by whom encodes the state, so that it is done once: bytes by the sequence they follow.
    """

    position: Position
    told: LevelsAnswer
    changed: NDArray[np.int64]
    began: Provenance
    encodings: dict[int, bytes] = field(default_factory=dict)

    def whole(self) -> LevelsAnswer:
        """Return all bins that hold something."""
        return _some(self.told, self.told.amount.any(axis=0))

    def since(self, sequence: int) -> LevelsAnswer:
        """Return the bins that were told after update ``sequence``; those removed hold nothing."""
        return _some(self.told, self.changed > sequence)

    def follows(self, position: Position | None) -> bool:
        """Return whether a reader at ``position`` can be told the changes since."""
        return (
            position is not None
            and position.epoch == self.position.epoch
            and 1 <= position.sequence <= self.position.sequence
        )


def begin(answer: LevelsAnswer) -> ViewState:
    """Return the first state of a new numbering."""
    position = Position(secrets.randbits(64), 1)
    return ViewState(position, answer, np.ones(len(answer.price), dtype=np.int64), answer.provenance)


def advance(state: ViewState, answer: LevelsAnswer, min_change: float = 0.0) -> ViewState:
    """Return the state after ``answer``: the same one if there is nothing to tell.

    Parameters
    ----------
    state : ViewState
        What was told so far.
    answer : LevelsAnswer
        The newest answer, with bins of the same width.
    min_change : float
        Smallest change of a bin that is told, as a fraction of the side's amount in range; smaller ones add up until
        they are. A bin that holds nothing any more is told whatever it held.

    Returns
    -------
    ViewState
        Of a new numbering if something changed that updates do not carry: brackets, notices, tiers.
    """
    told = state.told
    if answer.bin_size != told.bin_size or not np.array_equal(answer.leverage, told.leverage):
        return begin(answer)
    if not _carried(state.began, answer.provenance):
        return begin(answer)
    at = told.price.searchsorted(answer.price)
    if at[-1:].sum() < len(told.price) and np.array_equal(told.price[at], answer.price):
        # The usual case: no bin that was never told.
        price, last, was = told.price, state.changed, _columns(told)
        now = np.zeros_like(was)
        now[:, :, at] = _columns(answer)
    else:
        price, last, was, now = _aligned(told, state.changed, answer)
    change = np.abs(now - was)
    least = (min_change * answer.in_range)[:, None, None]
    tell = ((change > 0) & (change >= least)).any(axis=(0, 1)) | (was[:, 0].any(axis=0) & ~now[:, 0].any(axis=0))
    if not tell.any() and _same_figures(told, answer):
        return state
    position = Position(state.position.epoch, state.position.sequence + 1)
    changed = np.where(tell, position.sequence, last)
    held = np.where(tell, now, was)
    known = changed > 0
    columns = replace(answer, price=price[known], amount=held[:, 0, known], by_tier=held[:, 1:, known])
    return ViewState(position, columns, changed[known], state.began)


def _aligned(
    told: LevelsAnswer, changed: NDArray[np.int64], answer: LevelsAnswer
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return all bins of both: edges, when they were told last (0: never), and what they held and hold."""
    old, new = _bins(told), _bins(answer)
    bins = np.union1d(old, new)
    at_old, at_new = np.searchsorted(bins, old), np.searchsorted(bins, new)
    # One number for the edge of a bin as long as the numbering lasts.
    price, last = np.empty(len(bins)), np.zeros(len(bins), dtype=np.int64)
    price[at_new], price[at_old], last[at_old] = answer.price, told.price, changed
    was, now = np.zeros((2, 2, 1 + len(answer.leverage), len(bins)))
    was[:, :, at_old], now[:, :, at_new] = _columns(told), _columns(answer)
    return price, last, was, now


def _some(answer: LevelsAnswer, keep: NDArray[np.bool_]) -> LevelsAnswer:
    return replace(answer, price=answer.price[keep], amount=answer.amount[:, keep], by_tier=answer.by_tier[:, :, keep])


def _bins(answer: LevelsAnswer) -> NDArray[np.int64]:
    return np.rint(answer.price / answer.bin_size).astype(np.int64)


def _columns(answer: LevelsAnswer) -> NDArray[np.float64]:
    """Return amounts and those of the tiers, shape (2, 1 + T, n)."""
    whole = answer.amount[:, None]
    return np.concatenate([whole, answer.by_tier], axis=1) if len(answer.leverage) else whole


def _carried(began: Provenance, now: Provenance) -> bool:
    """Return whether updates carry all that differs between two provenances."""

    def fixed(of: Provenance) -> tuple[object, ...]:
        return of.parameters_hash, of.calibration, of.bracket_table, of.history_start, of.notices

    return fixed(began) == fixed(now)


def _same_figures(told: LevelsAnswer, answer: LevelsAnswer) -> bool:
    """Return whether what goes with every update is the same."""

    def comparable(of: Provenance) -> Provenance:
        # Not known is NaN, which differs from itself.
        return of if not math.isnan(of.open_interest) else replace(of, open_interest=-1.0)

    return (
        np.array_equal(told.total, answer.total)
        and np.array_equal(told.in_range, answer.in_range)
        and comparable(told.provenance) == comparable(answer.provenance)
    )


class Follower(Protocol):
    """Who follows a view."""

    def wake(self) -> None:
        """Be told, in the event loop, that there is something to look at; must return at once."""


class View:
    """The updates of one query; for use in one event loop. Made by ``Views``.

    Attributes
    ----------
    query : LevelsQuery
        With all names and the width of the bins as they are.
    min_change : float
        See ``advance``.
    state : ViewState
        After the newest update.
    failure : Exception or None
        Why there will be no more updates.
    """

    def __init__(self, views: Views, query: LevelsQuery, min_change: float, state: ViewState) -> None:
        self.query = query
        self.min_change = min_change
        self.state = state
        self.failure: Exception | None = None
        self._views = views
        self._followers: set[Follower] = set()
        self._waiting: set[Follower] = set()
        self._stale = False
        self._computing: asyncio.Task[None] | None = None
        # Seconds of computing that the newest update took.
        self._took = math.inf
        self._idle: asyncio.TimerHandle | None = None
        self._wait_for_followers()

    def follow(self, follower: Follower) -> None:
        """Keep the view going until ``leave``; ``follower`` is woken when it fails."""
        self.end()
        self._followers.add(follower)
        if self._stale:
            self.outdate()

    def leave(self, follower: Follower) -> None:
        """Undo ``follow``."""
        self._followers.discard(follower)
        self._waiting.discard(follower)
        if not self._followers and self.failure is None:
            self._wait_for_followers()

    def wait(self, follower: Follower) -> None:
        """Have ``follower`` woken by the next update, once."""
        self._waiting.add(follower)

    def outdate(self) -> None:
        """There is newer data: have it computed in turn, if anyone follows."""
        self._stale = True
        if self._followers:
            self._views.put_in_line(self)

    async def newest(self) -> None:
        """Return when the view is of data that were the newest when this was called, or newer, or has failed."""
        if not self._stale and self._computing is None:
            return
        self.end()
        try:
            # What is under way may have begun before them.
            for _ in range(2):
                self.compute()
                if self._computing is not None:
                    await asyncio.shield(self._computing)
        finally:
            if not self._followers and self.failure is None:
                self._wait_for_followers()

    def compute(self) -> None:
        """Compute if there is newer data and no computation is under way; what takes little is done on return."""
        if not self._stale or self._computing is not None or self.failure is not None:
            return
        self._stale = False
        try:
            if self._took > LITTLE or not self._views.source.ready(self.query):
                self._computing = asyncio.create_task(self._compute_elsewhere())
                return
            self._views.computations += 1
            state = self._advanced()
        except Exception as failure:  # handed to all who follow
            self._fail(failure)
        else:
            self._show(state)

    def end(self) -> None:
        """Wait for followers no more."""
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    async def _compute_elsewhere(self) -> None:
        try:
            state = await self._views.computed(self._advanced)
        except Exception as failure:  # handed to all who follow
            self._fail(failure)
        else:
            self._show(state)
        finally:
            self._computing = None
        if self._stale:
            self.outdate()

    def _advanced(self) -> ViewState:
        start = time.thread_time()
        state = advance(self.state, self._views.source.levels(self.query), self.min_change)
        self._took = time.thread_time() - start
        return state

    def _show(self, state: ViewState) -> None:
        if state is not self.state:
            self.state = state
            waiting, self._waiting = self._waiting, set()
            for follower in waiting:
                follower.wake()

    def _fail(self, failure: Exception) -> None:
        """End the view; the next to ask begins anew."""
        self.failure = failure
        self._views.forget(self)
        for follower in tuple(self._followers):
            follower.wake()

    def _wait_for_followers(self) -> None:
        self.end()
        self._idle = asyncio.get_running_loop().call_later(self._views.keep, self._views.forget, self)


class Views:
    """All views; for use in the event loop in which it was made.

    Parameters
    ----------
    source : LevelsSource
        What they are of; asked in the threads of ``executor``.
    executor : Executor
        Where answers are computed, for one view one at a time.
    keep : float
        Seconds that a view outlives its last follower.

    Attributes
    ----------
    computations : int
        How many answers were computed.
    """

    def __init__(self, source: LevelsSource, executor: Executor, *, keep: float = KEEP) -> None:
        self.source = source
        self.keep = keep
        self.computations = 0
        self._executor = executor
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._views: dict[Key, View] = {}
        self._starting: dict[Key, asyncio.Task[View]] = {}
        self._changes = 0
        # Views that are to be computed, one in each turn of the loop, so that others have theirs in between.
        self._line: dict[View, None] = {}
        self._unwatch = source.watch(self._tell)

    def __len__(self) -> int:
        """Return how many views there are."""
        return len(set(self._views.values()))

    async def open(self, query: LevelsQuery, min_change: float = 0.0) -> View:
        """Return the view of ``query``, which must be followed before anything else is awaited.

        Raises
        ------
        AskError
            See ``liqserver.live.errors``.
        """
        key = (query, min_change)
        view = self._views.get(key)
        if view is not None:
            await view.newest()
            if view.failure is None:
                return view
        start = self._starting.get(key)
        if start is None:
            start = self._starting[key] = asyncio.create_task(self._start(key))
            start.add_done_callback(lambda done: self._started(key, done))
        # Who asks may go away; others wait for the same.
        return await asyncio.shield(start)

    def forget(self, view: View) -> None:
        """Serve ``view`` to nobody new."""
        for key in [key for key, held in self._views.items() if held is view]:
            del self._views[key]
        view.end()

    def close(self) -> None:
        """Follow the source no more; what views hold stays."""
        self._unwatch()
        for view in set(self._views.values()):
            view.end()

    def put_in_line(self, view: View) -> None:
        """Have ``view`` compute soon."""
        if not self._line:
            self._loop.call_soon(self._turn)
        self._line[view] = None

    def _turn(self) -> None:
        if not self._line:
            return
        view = next(iter(self._line))
        del self._line[view]
        if self._line:
            self._loop.call_soon(self._turn)
        view.compute()

    async def computed[Result](self, compute: Callable[[], Result]) -> Result:
        """Return what ``compute`` returns in a thread of the executor."""
        self.computations += 1
        return await self._loop.run_in_executor(self._executor, compute)

    async def _start(self, key: Key) -> View:
        query, min_change = key
        changes = self._changes
        answer = await self.computed(lambda: self.source.levels(query))
        where = answer.provenance
        # The same view may be asked for in several ways: by a default and by its name. Parameters stay as given: those
        # in force may come from a calibration, and change with the next one.
        plain = replace(query, venue=where.venue, symbol=where.symbol, model=where.model, bin_size=answer.bin_size)
        view = self._views.get((plain, min_change))
        if view is None:
            view = self._views[plain, min_change] = View(self, plain, min_change, begin(answer))
        else:
            await view.newest()
        self._views[key] = view
        if changes != self._changes:
            view.outdate()
        return view

    def _started(self, key: Key, done: asyncio.Task[View]) -> None:
        del self._starting[key]
        if not done.cancelled():
            # Looked at by whom waits for it, if anyone still does.
            done.exception()

    def _tell(self, venue: str, symbol: str) -> None:
        if threading.get_ident() == self._thread:
            self._changed(venue, symbol)
        else:
            self._loop.call_soon_threadsafe(self._changed, venue, symbol)

    def _changed(self, venue: str, symbol: str) -> None:
        self._changes += 1
        for view in set(self._views.values()):
            if (view.query.venue, view.query.symbol) == (venue, symbol):
                view.outdate()
        # The first need not wait for a turn.
        self._turn()
