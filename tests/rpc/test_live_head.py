"""The newest levels while events flow: of what was acknowledged before they were asked for, computed once for all."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import liqclient
from liqserver.live.answers import LevelsAnswer, LevelsQuery
from liqserver.live.engine import LevelsEngine
from liqserver.live.errors import InvalidField
from liqserver.live.feed import Feed
from liqserver.live.views import Views
from liqserver.rpc import convert, encoded
from liqserver.rpc.encoded import EncodedLevels
from liqserver.store.database import Database
from liqserver.store.events import Batch, archive_batches
from liqserver.store.history import MINUTE
from liqserver.store.markets import StoreMarkets
from liqserver.v1 import liquidation_pb2
from tests.rpc.owned import owned
from tests.rpc.test_publish import SYMBOL, TICK, VENUE, events

# Time of the market between two events, and seconds between publishing them.
STEP, PACE = 20_000_000, 0.02


@pytest.fixture(scope="module")
def batches(market_archive: Path) -> list[Batch]:
    """An hour of a simulated market, a minute in each batch."""
    return [batch for _, batch in archive_batches([market_archive], MINUTE)][:60]


def ended(batches: list[Batch]) -> int:
    """Return the moment that batches reach to."""
    moment = batches[-1].complete_until
    assert moment is not None
    return moment


def price_at(ts: int) -> float:
    """Return a price that tells its time."""
    return 100_000 + ts // STEP % 1_000 / 10


def tick(ts: int) -> liqclient.Events:
    return liqclient.Events(symbol=SYMBOL, mark_prices={"ts_event": [ts], "price": [price_at(ts)]})


def test_newest_levels_while_events_flow_hold_all_that_was_acknowledged_and_say_what_they_are_of(
    batches: list[Batch], tmp_path: Path
) -> None:
    sent: list[tuple[float, int]] = []
    with owned(tmp_path / "live.duckdb") as target, liqclient.Client(target) as client:
        list(client.publish([events(batch) for batch in batches]))
        start = ended(batches)

        def flow() -> Iterator[liqclient.Events]:
            for i in range(1, 101):
                time.sleep(PACE)
                yield tick(start + i * STEP)

        def publish() -> None:
            sent.extend(
                (time.monotonic(), start + answer.sequence * STEP)
                for answer in client.publish(flow())
                if answer.sequence is not None
            )

        publishing = threading.Thread(target=publish)
        publishing.start()
        asked: list[tuple[float, liqclient.Levels]] = []
        while publishing.is_alive():
            asked.append((time.monotonic(), client.levels(SYMBOL)))
            time.sleep(0.003)
        publishing.join()
        last, exact = client.levels(SYMBOL), client.levels(SYMBOL, as_of=sent[-1][1])
    during = [(at, of) for at, of in asked if of.provenance.as_of > start]
    moments = [of.provenance.as_of for _, of in during]
    assert len(set(moments)) > 20
    assert moments == sorted(moments)
    for at, levels in during:
        known = [ts for when, ts in sent if when < at]
        assert levels.provenance.as_of >= max(known, default=0)
        [mark] = [of for of in levels.provenance.watermarks if of.kind == "mark_price"]
        assert mark.ts_event == levels.provenance.as_of
        assert levels.current_price == price_at(levels.provenance.as_of)
    assert last.provenance.as_of == sent[-1][1]
    for name in ("price", "long", "short"):
        assert getattr(last, name).tobytes() == getattr(exact, name).tobytes()


def test_levels_as_of_an_acknowledged_moment_are_of_it_at_once(batches: list[Batch], tmp_path: Path) -> None:
    with owned(tmp_path / "live.duckdb") as target, liqclient.Client(target) as client:
        list(client.publish([events(batch) for batch in batches]))
        start = ended(batches)
        for i in range(1, 21):
            client.levels(SYMBOL)
            ts = start + i * STEP
            list(client.publish([tick(ts)]))
            levels = client.levels(SYMBOL, as_of=ts)
            assert levels.provenance.as_of == ts
            assert levels.current_price == price_at(ts)


class Counted:
    """A real engine whose answers of the newest data are counted, and may fail; see ``live.views.LevelsSource``."""

    def __init__(self, database: Database, batches: list[Batch]) -> None:
        self.engine = LevelsEngine(StoreMarkets(database))
        self.feed = Feed(database, self.engine, lambda: 1)
        for batch in batches:
            self.feed.publish(VENUE, SYMBOL, TICK, batch)
        self.start = ended(batches)
        self.count = 0
        self.fails = False
        self.ready = self.engine.ready
        self.watch = self.engine.watch

    def levels(self, query: LevelsQuery, as_of: int | None = None) -> LevelsAnswer:
        self.count += 1
        if self.fails:
            raise InvalidField("query.symbol", SYMBOL, "must not be asked for now")
        return self.engine.levels(query, as_of)

    def tick(self, step: int, symbol: str = SYMBOL, venue: str = VENUE) -> int:
        ts = self.start + step * STEP
        batch = Batch(mark_ts=np.array([ts]), mark_price=np.array([price_at(ts)]))
        self.feed.publish(venue, symbol, TICK, batch)
        return ts

    @contextmanager
    def served(self) -> Iterator[EncodedLevels]:
        with ThreadPoolExecutor(1) as executor:
            views = Views(self, executor)
            try:
                yield EncodedLevels(self.engine, views, self._encoded, executor)
            finally:
                views.close()

    def _encoded(self, request: liquidation_pb2.GetLevelsRequest) -> bytes:
        return convert.levels_response(self.levels(convert.levels_query(request.query), request.as_of))


@pytest.fixture
def counted(batches: list[Batch], tmp_path: Path) -> Iterator[Counted]:
    with Database(tmp_path / "live.duckdb") as database:
        yield Counted(database, batches)


def as_of(encoded: bytes) -> int:
    return liquidation_pb2.GetLevelsResponse.FromString(encoded).provenance.as_of


REQUEST = liquidation_pb2.GetLevelsRequest(query=liquidation_pb2.LevelsQuery(symbol=SYMBOL, derived=True))


async def test_answer_is_kept_while_only_other_symbols_change(counted: Counted) -> None:
    with counted.served() as answers:
        first = await answers.get(REQUEST)
        for step in range(1, 4):
            counted.tick(step, "ETHUSDT")
            await asyncio.sleep(0)
            assert await answers.get(REQUEST) is first
        await asyncio.sleep(0.05)
        assert counted.count == 1


async def test_newest_answer_is_to_the_byte_that_as_of_its_moment(counted: Counted) -> None:
    with counted.served() as answers:
        for step in range(1, 30):
            ts = counted.tick(step)
            await asyncio.sleep(0)
            newest = await answers.get(REQUEST)
            assert as_of(newest) == ts
            past = liquidation_pb2.GetLevelsRequest(query=REQUEST.query, as_of=ts)
            assert await answers.get(past) == newest


async def test_who_asks_the_same_shares_one_computation(counted: Counted) -> None:
    with counted.served() as answers:
        counted.tick(1)
        found = await asyncio.gather(*(answers.get(REQUEST) for _ in range(50)))
        assert len({id(answer) for answer in found}) == 1
        assert counted.count == 1
        # Many changes before anyone has the time to look.
        for step in range(2, 52):
            newest = counted.tick(step)
        await asyncio.sleep(0)
        assert as_of(await answers.get(REQUEST)) == newest
        assert counted.count <= 3


async def test_data_of_files_show_in_the_next_answer(counted: Counted) -> None:
    with counted.served() as answers:
        counted.tick(1)
        await answers.get(REQUEST)
        before = counted.count
        counted.feed.refresh(VENUE, SYMBOL)
        await asyncio.sleep(0)
        await answers.get(REQUEST)
        assert counted.count == before + 1


async def test_question_that_is_not_asked_any_more_is_not_computed(counted: Counted, monkeypatch: Any) -> None:
    monkeypatch.setattr(encoded, "KEEP", 0.02)
    with counted.served() as answers:
        await answers.get(REQUEST)
        await asyncio.sleep(0.05)
        for step in range(1, 20):
            counted.tick(step)
            await asyncio.sleep(0)
        assert counted.count <= 2
        assert as_of(await answers.get(REQUEST)) == counted.start + 19 * STEP


async def test_bins_suit_the_price_of_the_moment(counted: Counted) -> None:
    with counted.served() as answers:
        before = liquidation_pb2.GetLevelsResponse.FromString(await answers.get(REQUEST))
        # The price falls to a seventh.
        ts = counted.start + STEP
        batch = Batch(mark_ts=np.array([ts]), mark_price=np.array([price_at(ts) / 7]))
        counted.feed.publish(VENUE, SYMBOL, TICK, batch)
        await asyncio.sleep(0)
        after = liquidation_pb2.GetLevelsResponse.FromString(await answers.get(REQUEST))
        assert after.bin_size < before.bin_size
        past = liquidation_pb2.GetLevelsRequest(query=REQUEST.query, as_of=ts)
        assert liquidation_pb2.GetLevelsResponse.FromString(await answers.get(past)) == after


async def test_symbol_that_a_second_venue_gains_must_be_named_with_its_venue(counted: Counted) -> None:
    with counted.served() as answers:
        await answers.get(REQUEST)
        counted.tick(1, venue="OTHER")
        await asyncio.sleep(0)
        with pytest.raises(InvalidField, match="must be one of"):
            await answers.get(REQUEST)


async def test_failure_while_events_flow_is_told_to_who_asks_next(counted: Counted) -> None:
    with counted.served() as answers:
        for step in range(1, 4):
            counted.tick(step)
            await asyncio.sleep(0)
            await answers.get(REQUEST)
        counted.fails = True
        counted.tick(4)
        await asyncio.sleep(0.05)
        with pytest.raises(InvalidField, match="must not be asked for now"):
            await answers.get(REQUEST)
