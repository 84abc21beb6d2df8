"""The newest levels while events flow: answered at once, of data that are the newest or nearly so, and say of which."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import liqclient
from liqserver.live.engine import LevelsEngine
from liqserver.live.errors import InvalidField
from liqserver.live.feed import Feed
from liqserver.rpc import convert
from liqserver.rpc.encoded import LAG, LiveAnswers
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


def test_newest_levels_while_events_flow_lag_little_and_say_what_they_are_of(
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
        time.sleep(2 * LAG)
        last, exact = client.levels(SYMBOL), client.levels(SYMBOL, as_of=sent[-1][1])
    during = [(at, of) for at, of in asked if of.provenance.as_of > start]
    moments = [of.provenance.as_of for _, of in during]
    assert len(set(moments)) > 20
    assert moments == sorted(moments)
    for at, levels in during:
        # What was acknowledged this long before is in it.
        known = [ts for when, ts in sent if when < at - LAG]
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
    """Answers of a real engine that are counted, and may fail."""

    def __init__(self, database: Database, batches: list[Batch]) -> None:
        self.engine = LevelsEngine(StoreMarkets(database))
        self.feed = Feed(database, self.engine, lambda: 1)
        for batch in batches:
            self.feed.publish(VENUE, SYMBOL, TICK, batch)
        self.start = ended(batches)
        self.count = 0
        self.fails = False

    def compute(self, request: liquidation_pb2.GetLevelsRequest) -> bytes:
        self.count += 1
        if self.fails:
            raise InvalidField("query.symbol", SYMBOL, "must not be asked for now")
        return convert.levels_response(self.engine.levels(convert.levels_query(request.query)))

    def tick(self, step: int, symbol: str = SYMBOL) -> int:
        ts = self.start + step * STEP
        batch = Batch(mark_ts=np.array([ts]), mark_price=np.array([price_at(ts)]))
        self.feed.publish(VENUE, symbol, TICK, batch)
        return ts


@pytest.fixture
def counted(batches: list[Batch], tmp_path: Path) -> Iterator[Counted]:
    with Database(tmp_path / "live.duckdb") as database:
        yield Counted(database, batches)


def as_of(encoded: bytes) -> int:
    return liquidation_pb2.GetLevelsResponse.FromString(encoded).provenance.as_of


REQUEST = liquidation_pb2.GetLevelsRequest(query=liquidation_pb2.LevelsQuery(symbol=SYMBOL))


async def test_answer_is_kept_while_only_other_symbols_change(counted: Counted) -> None:
    with ThreadPoolExecutor(1) as executor:
        answers = LiveAnswers(counted.engine, counted.compute, executor)
        first = await answers.get(REQUEST)
        for step in range(1, 4):
            counted.tick(step, "ETHUSDT")
            await asyncio.sleep(0)
            assert await answers.get(REQUEST) is first
        await asyncio.sleep(0.05)
        assert counted.count == 1


async def test_changes_during_a_computation_are_taken_together(counted: Counted) -> None:
    with ThreadPoolExecutor(1) as executor:
        answers = LiveAnswers(counted.engine, counted.compute, executor)
        counted.tick(1)
        await answers.get(REQUEST)
        # The first change that is seen of a market counts as one by files.
        counted.tick(2)
        await asyncio.sleep(0)
        await answers.get(REQUEST)
        before = counted.count
        for step in range(3, 53):
            newest = counted.tick(step)
        await asyncio.sleep(0.09)
        assert as_of(await answers.get(REQUEST)) == newest
        assert counted.count - before <= 3


async def test_data_of_files_show_in_the_next_answer(counted: Counted) -> None:
    with ThreadPoolExecutor(1) as executor:
        answers = LiveAnswers(counted.engine, counted.compute, executor)
        for step in range(1, 4):
            counted.tick(step)
            await answers.get(REQUEST)
        before = counted.count
        counted.feed.refresh(VENUE, SYMBOL)
        await asyncio.sleep(0)
        await answers.get(REQUEST)
        assert counted.count == before + 1


async def test_failure_while_events_flow_is_told_to_who_asks_next(counted: Counted) -> None:
    with ThreadPoolExecutor(1) as executor:
        answers = LiveAnswers(counted.engine, counted.compute, executor)
        for step in range(1, 4):
            counted.tick(step)
            await asyncio.sleep(0)
            await answers.get(REQUEST)
        counted.fails = True
        counted.tick(4)
        await asyncio.sleep(0.05)
        with pytest.raises(InvalidField, match="must not be asked for now"):
            await answers.get(REQUEST)
