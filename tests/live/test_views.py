"""Numbered views: what is told, by whom it is computed, and that nothing is lost between any two updates."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liqserver.kernel import Source
from liqserver.live.answers import AmountUnit, LevelsAnswer, LevelsQuery, Provenance
from liqserver.live.errors import MissingInput
from liqserver.live.resident import Price
from liqserver.live.views import Position, View, Views, ViewState, advance, begin
from liqserver.models.parameters import Parameters

QUERY = LevelsQuery("BTCUSDT")
WIDTH = 0.1


def provenance(as_of: int = 1, **changes: object) -> Provenance:
    given: dict[str, object] = {
        "venue": "BINANCE",
        "symbol": "BTCUSDT",
        "as_of": as_of,
        "watermarks": {"trades": as_of},
        "staleness": 0,
        "model": "position_book",
        "parameters": Parameters(),
        "parameters_hash": "a",
        "inputs_hash": f"{as_of:x}",
        "bracket_table": "",
        "current_price": Price(100.0, Source.TRADES, as_of),
        "open_interest": float("nan"),
        "no_level_share": (0.0, 0.0),
        "unknown_entry_share": (0.0, 0.0),
        "kline_volume_share": 0.0,
        "last_price_path_share": 0.0,
        "history_start": 0,
        "notices": (),
    }
    return Provenance(**{**given, **changes})  # type: ignore[arg-type]


def answer(
    bins: dict[int, tuple[float, float]],
    as_of: int = 1,
    *,
    in_range: float | None = None,
    tiers: int = 0,
    **changes: object,
) -> LevelsAnswer:
    """Return an answer of bins by index; tiers share the amounts evenly."""
    index = sorted(bins)
    amount = np.array([bins[i] for i in index], dtype=np.float64).reshape(-1, 2).T
    return LevelsAnswer(
        price=np.round(np.array(index, dtype=np.float64) * WIDTH, 6),
        amount=amount,
        leverage=np.arange(1.0, tiers + 1),
        by_tier=np.repeat(amount[:, None] / max(tiers, 1), tiers, axis=1),
        bin_size=WIDTH,
        unit=AmountUnit.NOTIONAL,
        total=amount.sum(axis=1),
        in_range=amount.sum(axis=1) if in_range is None else np.full(2, in_range),
        provenance=provenance(as_of, **changes),
    )


def held(of: LevelsAnswer) -> dict[int, tuple[float, ...]]:
    """Return the bins of an answer with everything in them, tiers included."""
    columns = np.concatenate([of.amount, of.by_tier.reshape(2 * len(of.leverage), len(of.price))])
    bins = np.rint(of.price / WIDTH).astype(int).tolist()
    return dict(zip(bins, map(tuple, columns.T.tolist()), strict=True))


def applied(book: dict[int, tuple[float, ...]], delta: LevelsAnswer) -> dict[int, tuple[float, ...]]:
    """Return what a reader has after a delta."""
    return {i: values for i, values in {**book, **held(delta)}.items() if any(values)}


amounts = st.sampled_from([0.0, 0.5, 1.0, 1.5, 40.0])
books = st.dictionaries(st.integers(990, 1010), st.tuples(amounts, amounts).filter(any), max_size=12)


@given(st.lists(books, min_size=1, max_size=12), st.sampled_from([0.0, 0.02, 0.3]), st.data())
def test_deltas_since_any_update_one_after_the_other_give_what_a_snapshot_shows(
    shown: list[dict[int, tuple[float, float]]], min_change: float, data: st.DataObject
) -> None:
    states = [begin(answer(shown[0], 1, tiers=2))]
    for i, bins in enumerate(shown[1:], 2):
        states.append(advance(states[-1], answer(bins, i, tiers=2), min_change))
    assert [state.position.sequence for state in states] == list(range(1, len(states) + 1))
    # Any reader: which updates it came to see.
    seen = sorted(data.draw(st.sets(st.integers(0, len(states) - 1), min_size=1)))
    book, has = held(states[seen[0]].whole()), states[seen[0]].position
    for i in seen[1:]:
        assert states[i].follows(has)
        book, has = applied(book, states[i].since(has.sequence)), states[i].position
        assert book == held(states[i].whole())
    if not min_change:
        last = answer(shown[seen[-1]], tiers=2)
        assert book == {i: values for i, values in held(last).items() if any(values)}


@given(st.lists(books, min_size=2, max_size=12), st.sampled_from([0.02, 0.3]))
def test_what_was_not_told_is_less_than_the_smallest_change(
    shown: list[dict[int, tuple[float, float]]], min_change: float
) -> None:
    state = begin(answer(shown[0]))
    for i, bins in enumerate(shown[1:], 2):
        now = answer(bins, i)
        state = advance(state, now, min_change)
        told, true = held(state.whole()), held(now)
        # A bin that holds nothing is gone, however small it was.
        assert set(told) <= set(true)
        for at in true:
            off = np.abs(np.subtract(told.get(at, (0.0, 0.0)), true[at]))
            assert np.all((off == 0) | (off < min_change * now.in_range))


def test_small_changes_add_up_until_they_are_told() -> None:
    state = begin(answer({10: (100.0, 0.0)}, in_range=100.0))
    told = []
    for i in range(1, 7):
        state = advance(state, answer({10: (100.0 + 2 * i, 0.0)}, i + 1, in_range=100.0), 0.05)
        told.append(held(state.whole())[10][0])
    assert told == [100.0, 100.0, 106.0, 106.0, 106.0, 112.0]
    # The figures of the whole book are told all the same.
    assert state.position.sequence == 7
    assert state.told.total[0] == 112.0
    assert held(state.since(4)) == {10: (112.0, 0.0)}
    assert held(state.since(7)) == {}


def test_bin_that_leaves_is_removed_and_comes_back() -> None:
    first = begin(answer({10: (1.0, 2.0), 11: (3.0, 0.0)}))
    second = advance(first, answer({11: (3.0, 0.0)}, 2))
    assert held(second.since(1)) == {10: (0.0, 0.0)}
    assert held(second.whole()) == {11: (3.0, 0.0)}
    third = advance(second, answer({10: (5.0, 0.0), 11: (3.0, 0.0)}, 3))
    assert held(third.since(2)) == {10: (5.0, 0.0)} == held(third.since(1))


def test_same_answer_is_no_update_though_open_interest_is_not_known() -> None:
    state = begin(answer({10: (1.0, 2.0)}, open_interest=float("nan")))
    assert advance(state, answer({10: (1.0, 2.0)}, open_interest=float("nan"))) is state
    moved = advance(state, answer({10: (1.0, 2.0)}, 2))
    assert moved.position == Position(state.position.epoch, 2)
    assert held(moved.since(1)) == {}


@pytest.mark.parametrize(
    "changes",
    [
        {"bracket_table": "new"},
        {"notices": ("look out",)},
        {"history_start": 5},
    ],
)
def test_what_updates_do_not_carry_begins_a_new_numbering(changes: dict[str, Any]) -> None:
    state = begin(answer({10: (1.0, 2.0)}))
    new = advance(state, answer({10: (1.0, 2.0)}, 2, **changes))
    assert new.position.epoch != state.position.epoch
    assert new.position.sequence == 1
    assert not new.follows(state.position)


def test_new_tiers_begin_a_new_numbering_and_more_of_a_share_does_not() -> None:
    state = begin(answer({10: (1.0, 2.0)}))
    assert advance(state, answer({10: (1.0, 2.0)}, 2, tiers=1)).position.sequence == 1
    assert advance(state, answer({10: (1.0, 2.0)}, 2, kline_volume_share=0.5)).position.sequence == 2


@pytest.mark.parametrize("sequence", [0, -1, 4])
def test_position_that_never_was_cannot_be_followed(sequence: int) -> None:
    state = begin(answer({10: (1.0, 2.0)}))
    for i in range(2, 4):
        state = advance(state, answer({10: (1.0, 2.0)}, i))
    assert not state.follows(Position(state.position.epoch, sequence))
    assert not state.follows(Position(state.position.epoch + 1, 2))
    assert not state.follows(None)
    assert state.follows(Position(state.position.epoch, 3))


class Fast:
    """A market that changes when told to, and as often; see ``LevelsSource``."""

    def __init__(self) -> None:
        self.bins: dict[int, tuple[float, float]] = {1000: (1.0, 1.0)}
        self.as_of = 1
        self.failure: Exception | None = None
        self.asked: list[LevelsQuery] = []
        self.at_once = self.most_at_once = 0
        self.hold = threading.Event()
        self.hold.set()
        self._rng = np.random.default_rng(3)
        self._lock = threading.Lock()
        self._watchers: list[Callable[[str, str], None]] = []

    def levels(self, query: LevelsQuery, as_of: int | None = None) -> LevelsAnswer:
        with self._lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            self.asked.append(query)
            bins, now = dict(self.bins), self.as_of
        self.hold.wait(10)
        with self._lock:
            self.at_once -= 1
        if self.failure is not None:
            raise self.failure
        return answer(bins, now)

    def ready(self, query: LevelsQuery) -> bool:
        return self.hold.is_set()

    def watch(self, changed: Callable[[str, str], None]) -> Callable[[], None]:
        self._watchers.append(changed)
        return lambda: self._watchers.remove(changed)

    @property
    def watched(self) -> bool:
        return bool(self._watchers)

    def change(self, symbol: str = "BTCUSDT") -> None:
        with self._lock:
            self.as_of += 1
            for i in self._rng.integers(990, 1010, 5).tolist():
                self.bins[i] = (float(self._rng.integers(0, 5)), 1.0)
            self.bins.pop(int(self._rng.integers(990, 1010)), None)
        for changed in self._watchers:
            changed("BINANCE", symbol)


class Eager:
    """A follower that keeps up as well as it can; see ``Follower``."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.seen: list[ViewState] = []
        self._look = asyncio.Event()
        view.follow(self)

    def wake(self) -> None:
        self._look.set()

    async def until(self, as_of: int) -> None:
        """Follow until the view speaks of ``as_of``."""
        while True:
            self._look.clear()
            if not self.seen or self.view.state is not self.seen[-1]:
                self.seen.append(self.view.state)
            if self.view.failure is not None:
                raise self.view.failure
            if self.seen[-1].told.provenance.as_of >= as_of:
                return
            self.view.wait(self)
            async with asyncio.timeout(10):
                await self._look.wait()


@asynccontextmanager
async def views(source: Fast, keep: float = 60.0) -> AsyncIterator[Views]:
    with ThreadPoolExecutor(4) as executor:
        made = Views(source, executor, keep=keep)
        try:
            yield made
        finally:
            source.hold.set()
            made.close()


async def test_followers_of_one_view_share_its_computations_and_miss_nothing() -> None:
    source = Fast()
    async with views(source) as shared:
        opened = await asyncio.gather(*(shared.open(QUERY) for _ in range(200)))
        assert len({id(view) for view in opened}) == 1
        assert shared.computations == len(source.asked) == 1
        followers = [Eager(view) for view in opened]
        following = [asyncio.create_task(follower.until(201)) for follower in followers]

        def change() -> None:
            for _ in range(200):
                source.change()

        await asyncio.to_thread(change)
        await asyncio.gather(*following)
        assert source.most_at_once == 1
        assert shared.computations <= 201
        for follower in followers:
            book = held(follower.seen[0].whole())
            for before, after in zip(follower.seen, follower.seen[1:], strict=False):
                book = applied(book, after.since(before.position.sequence))
            assert book == {i: values for i, values in source.bins.items() if any(values)}


async def test_changes_during_a_computation_are_one_more_computation() -> None:
    source = Fast()
    async with views(source) as shared:
        follower = Eager(await shared.open(QUERY))
        source.hold.clear()
        source.change()
        while len(source.asked) < 2:
            await asyncio.sleep(0.001)
        for _ in range(49):
            source.change()
            await asyncio.sleep(0)
        source.hold.set()
        await follower.until(51)
        assert shared.computations == 3


async def test_change_during_the_first_computation_is_not_missed() -> None:
    source = Fast()
    source.hold.clear()
    async with views(source) as shared:
        opening = asyncio.create_task(shared.open(QUERY))
        while not source.asked:
            await asyncio.sleep(0.001)
        source.change()
        await asyncio.sleep(0)
        source.hold.set()
        await Eager(await opening).until(2)


async def test_view_is_the_same_whichever_way_it_is_asked_for() -> None:
    source = Fast()
    async with views(source) as shared:
        view = await shared.open(QUERY)
        view.follow(Eager(view))
        assert await shared.open(replace(QUERY, venue="BINANCE", model="position_book")) is view
        assert await shared.open(replace(QUERY, bin_size=WIDTH)) is view
        assert await shared.open(QUERY, 0.1) is not view
        assert await shared.open(replace(QUERY, up=0.1)) is not view
        assert len(shared) == 3
        # The width of the bins stays as it was at first.
        source.change()
        await Eager(view).until(2)
        assert source.asked[-1].bin_size == WIDTH


async def test_other_markets_do_not_concern_a_view() -> None:
    source = Fast()
    async with views(source) as shared:
        follower = Eager(await shared.open(QUERY))
        source.change("ETHUSDT")
        await asyncio.sleep(0.05)
        assert shared.computations == 1
        assert follower.view.state.position.sequence == 1


async def test_view_nobody_follows_computes_nothing_and_goes_on_when_followed_again() -> None:
    source = Fast()
    async with views(source) as shared:
        follower = Eager(await shared.open(QUERY))
        left = follower.view.state.position
        follower.view.leave(follower)
        for _ in range(3):
            source.change()
        await asyncio.sleep(0.05)
        assert shared.computations == 1
        view = await shared.open(QUERY)
        assert shared.computations == 2
        assert view.state.told.provenance.as_of == 4
        assert view.state.follows(left)


async def test_view_is_forgotten_some_time_after_its_last_follower() -> None:
    source = Fast()
    async with views(source, keep=0.05) as shared:
        follower = Eager(await shared.open(QUERY))
        await asyncio.sleep(0.1)
        assert len(shared) == 1
        follower.view.leave(follower)
        await asyncio.sleep(0.1)
        assert len(shared) == 0
        assert (await shared.open(QUERY)).state.position.epoch != follower.view.state.position.epoch


async def test_view_that_cannot_be_computed_any_more_tells_its_followers_and_begins_anew() -> None:
    source = Fast()
    async with views(source) as shared:
        follower = Eager(await shared.open(QUERY))
        source.failure = MissingInput("price", "no price")
        source.change()
        with pytest.raises(MissingInput, match="no price"):
            await follower.until(2)
        with pytest.raises(MissingInput, match="no price"):
            await shared.open(QUERY)
        source.failure = None
        assert await shared.open(QUERY) is not follower.view


async def test_reader_that_leaves_during_the_first_computation_does_not_spoil_it_for_others() -> None:
    source = Fast()
    source.hold.clear()
    async with views(source) as shared:
        first, second = (asyncio.create_task(shared.open(QUERY)) for _ in range(2))
        while not source.asked:
            await asyncio.sleep(0.001)
        first.cancel()
        source.hold.set()
        assert (await second).state.position.sequence == 1
        assert shared.computations == 1


async def test_closed_views_follow_the_source_no_more() -> None:
    source = Fast()
    async with views(source) as shared:
        assert source.watched
        await shared.open(QUERY)
    assert not source.watched
