"""Numbered views of the newest levels: computed once for all who follow them, told as changes from any update on."""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from liqserver.live.answers import LevelsAnswer, LevelsQuery, Provenance

# Seconds that a view outlives its last follower, who may come back and go on where it was.
KEEP = 60.0

type Key = tuple[LevelsQuery, float]


class LevelsSource(Protocol):
    """What views are of; see ``liqserver.live.engine.LevelsEngine``."""

    def levels(self, query: LevelsQuery, as_of: int | None = None) -> LevelsAnswer:
        """Answer ``query``."""

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
    old, new = _bins(told), _bins(answer)
    bins = np.union1d(old, new)
    at_old, at_new = np.searchsorted(bins, old), np.searchsorted(bins, new)
    was, now = _columns(told, at_old, len(bins)), _columns(answer, at_new, len(bins))
    change = np.abs(now - was)
    least = (min_change * answer.in_range)[:, None, None]
    tell = ((change > 0) & (change >= least)).any(axis=(0, 1)) | (was[:, 0].any(axis=0) & ~now[:, 0].any(axis=0))
    if not tell.any() and _same_figures(told, answer):
        return state
    position = Position(state.position.epoch, state.position.sequence + 1)
    # One number for the edge of a bin as long as the numbering lasts.
    price = np.empty(len(bins))
    price[at_new] = answer.price
    price[at_old] = told.price
    changed = np.zeros(len(bins), dtype=np.int64)
    changed[at_old] = state.changed
    changed[tell] = position.sequence
    held = np.where(tell, now, was)
    columns = replace(answer, price=price, amount=held[:, 0], by_tier=held[:, 1:])
    known = changed > 0
    return ViewState(position, _some(columns, known), changed[known], state.began)


def _some(answer: LevelsAnswer, keep: NDArray[np.bool_]) -> LevelsAnswer:
    return replace(answer, price=answer.price[keep], amount=answer.amount[:, keep], by_tier=answer.by_tier[:, :, keep])


def _bins(answer: LevelsAnswer) -> NDArray[np.int64]:
    return np.rint(answer.price / answer.bin_size).astype(np.int64)


def _columns(answer: LevelsAnswer, at: NDArray[np.int64], bins: int) -> NDArray[np.float64]:
    """Return amounts and tiers in the wider columns, shape (2, 1 + T, bins)."""
    out = np.zeros((2, 1 + len(answer.leverage), bins))
    out[:, 0, at] = answer.amount
    out[:, 1:, at] = answer.by_tier
    return out


def _carried(began: Provenance, now: Provenance) -> bool:
    """Return whether updates carry all that differs between two provenances."""

    def fixed(of: Provenance) -> tuple[object, ...]:
        return of.parameters_hash, of.bracket_table, of.history_start, of.notices

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
        """There is newer data: compute, if anyone follows and no computation is under way."""
        self._stale = True
        if self._followers and self._computing is None:
            self._compute()

    async def refreshed(self) -> None:
        """Return when what had changed while nobody followed has been computed."""
        if not self._stale or self._followers:
            return
        self.end()
        try:
            if self._computing is None:
                self._compute()
            if self._computing is not None:
                await asyncio.shield(self._computing)
        finally:
            if not self._followers and self.failure is None:
                self._wait_for_followers()

    def end(self) -> None:
        """Wait for followers no more."""
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _compute(self) -> None:
        self._stale = False
        self._computing = asyncio.create_task(self._advance())

    async def _advance(self) -> None:
        try:
            state = await self._views.computed(self._advanced)
        except Exception as failure:
            # Handed to all who follow; the next to ask begins anew.
            self.failure = failure
            self._views.forget(self)
            for follower in tuple(self._followers):
                follower.wake()
            return
        finally:
            self._computing = None
        if state is not self.state:
            self.state = state
            waiting, self._waiting = self._waiting, set()
            for follower in waiting:
                follower.wake()
        if self._stale and self._followers:
            self._compute()

    def _advanced(self) -> ViewState:
        return advance(self.state, self._views.source.levels(self.query), self.min_change)

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
        self._views: dict[Key, View] = {}
        self._starting: dict[Key, asyncio.Task[View]] = {}
        self._changes = 0
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
            await view.refreshed()
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

    async def computed[Result](self, compute: Callable[[], Result]) -> Result:
        """Return what ``compute`` returns in a thread of the executor."""
        self.computations += 1
        return await self._loop.run_in_executor(self._executor, compute)

    async def _start(self, key: Key) -> View:
        query, min_change = key
        changes = self._changes
        answer = await self.computed(lambda: self.source.levels(query))
        where = answer.provenance
        # The same view may be asked for in several ways: by a default and by its name.
        plain = replace(
            query,
            venue=where.venue,
            symbol=where.symbol,
            model=where.model,
            parameters=where.parameters,
            bin_size=answer.bin_size,
        )
        view = self._views.get((plain, min_change))
        if view is None:
            view = self._views[plain, min_change] = View(self, plain, min_change, begin(answer))
        else:
            await view.refreshed()
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
        self._loop.call_soon_threadsafe(self._changed, venue, symbol)

    def _changed(self, venue: str, symbol: str) -> None:
        self._changes += 1
        for view in set(self._views.values()):
            if (view.query.venue, view.query.symbol) == (venue, symbol):
                view.outdate()
