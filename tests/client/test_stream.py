"""The stream of levels as a client follows it, in both flavours, from a real server."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import liqclient
from liqclient import LevelBook, Levels, LevelsUpdate
from liqclient._stream import _of_connection
from liqserver.v1 import liquidation_pb2
from tests.rpc.streaming import SYMBOL, StreamServer, served, until

from .proxy import proxied
from .standin import END, levels_message, provenance

# The width of the bins stays in a stream, whatever suits the price.
ASKED: dict[str, Any] = {"bin_size": 50, "heartbeat": "60s"}
OFTEN = 100_000_000


class Sync:
    """A stream of `Client`."""

    def __init__(self, target: str, **arguments: Any) -> None:
        self.client = liqclient.Client(target)
        self._updates = self.client.stream(SYMBOL, **(ASKED | arguments))

    def next(self) -> LevelsUpdate:
        return next(self._updates)

    def close(self) -> None:
        self._updates.close()

    def close_client(self) -> None:
        self.client.close()


class Async:
    """A stream of `AsyncClient`, in an event loop in a thread."""

    def __init__(self, target: str, **arguments: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.client = liqclient.AsyncClient(target)
        self._updates = self.client.stream(SYMBOL, **(ASKED | arguments))

    def _run(self, coming: Any) -> Any:
        async def run() -> Any:
            return await coming

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(20)

    def next(self) -> LevelsUpdate:
        update: LevelsUpdate = self._run(anext(self._updates))
        return update

    def close(self) -> None:
        self._run(self._updates.aclose())

    def close_client(self) -> None:
        self._run(self.client.close())

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


type Follow = Callable[..., Sync | Async]


@pytest.fixture(params=[Sync, Async], ids=["sync", "async"])
def follow(request: pytest.FixtureRequest) -> Iterator[Follow]:
    """Follows the stream of a server with a client of either flavour."""
    made: list[Sync | Async] = []

    def following(target: str, **arguments: Any) -> Sync | Async:
        made.append(request.param(target, **arguments))
        return made[-1]

    yield following
    for stream in made:
        stream.close()
        stream.close_client()
        if isinstance(stream, Async):
            stream.end()


@pytest.fixture
def server() -> Iterator[StreamServer]:
    with served() as serving:
        yield serving


def newest(server: StreamServer, **query: Any) -> Levels:
    with liqclient.Client(server.target) as client:
        return client.levels(SYMBOL, **({"bin_size": 50} | query))


def same(shown: Levels, expected: Levels) -> None:
    """Compare all there is, but for what differs with the call."""
    for name in ("price", "long", "short"):
        np.testing.assert_array_equal(getattr(shown, name), getattr(expected, name))
        assert not getattr(shown, name).flags.writeable
    assert shown.tiers.keys() == expected.tiers.keys()
    for leverage, tier in expected.tiers.items():
        np.testing.assert_array_equal(shown.tiers[leverage].long, tier.long)
        np.testing.assert_array_equal(shown.tiers[leverage].short, tier.short)
    assert (shown.bin_size, shown.unit, shown.totals) == (expected.bin_size, expected.unit, expected.totals)
    where = dataclasses.replace(expected.provenance, generated_at=shown.provenance.generated_at)
    assert shown.provenance == where
    assert shown.derived is expected.derived is None


def caught_up(stream: Sync | Async, server: StreamServer) -> LevelsUpdate:
    """Follow until the levels are the newest."""
    while (update := stream.next()).kind == "disconnected" or (update.as_of or 0) < server.as_of:
        pass
    return update


@pytest.mark.parametrize("on_credit", [False, True])
@pytest.mark.parametrize(
    "query", [{}, {"per_tier": True, "side": "long"}, {"unit": "qty", "price_range": 0.03, "min_notional": 20_000}]
)
def test_book_is_what_levels_answers_at_the_same_moment(
    server: StreamServer, follow: Follow, on_credit: bool, query: dict[str, Any]
) -> None:
    stream = follow(server.target, on_credit=on_credit, **query)
    first = stream.next()
    assert (first.kind, first.merged, first.disconnects) == ("snapshot", 1, 0)
    same(first.book.levels(), newest(server, **query))
    for _ in range(8):
        server.grow()
        update = stream.next()
        assert (update.kind, update.merged) == ("delta", 1)
        expected = newest(server, **query)
        same(update.book.levels(), expected)
        assert update.as_of == expected.provenance.as_of
        assert update.watermarks == expected.provenance.watermarks
        assert update.book.levels().provenance.generated_at == update.sent_at
        assert update.position == update.book.position
    # What was handed out stays as it was.
    assert first.book.levels().provenance.as_of < update.book.levels().provenance.as_of


async def test_stream_on_credit_leaves_no_task_behind(server: StreamServer) -> None:
    before = asyncio.all_tasks()
    with proxied(server.target) as proxy:
        async with liqclient.AsyncClient(proxy.target) as client:
            updates = client.stream(SYMBOL, on_credit=True, heartbeat=OFTEN)
            await anext(updates)
            proxy.cut()
            with pytest.raises(liqclient.Unavailable):
                [update async for update in updates]
        async with asyncio.timeout(5):
            while [task for task in asyncio.all_tasks() - before if "request_iterator" in repr(task)]:
                await asyncio.sleep(0.01)


def test_who_is_slower_gets_the_newest_and_is_told_how_many_updates_that_is(
    server: StreamServer, follow: Follow
) -> None:
    stream = follow(server.target)
    stream.next()
    counted = 1
    for _ in range(3):
        server.grow(20)
        time.sleep(0.3)
        update = stream.next()
        counted += update.merged
        assert update.kind == "delta"
        assert update.merged > 1
        same(update.book.levels(), newest(server))
    assert update.position is not None
    assert counted == update.position.sequence


def test_on_credit_nothing_is_sent_before_it_is_waited_for(server: StreamServer, follow: Follow) -> None:
    stream = follow(server.target, on_credit=True)
    stream.next()
    server.grow(30)
    time.sleep(0.2)
    update = stream.next()
    asked = time.time_ns()
    assert update.sent_at is not None
    assert 0 <= asked - update.sent_at < 100_000_000
    assert update.kind == "delta"
    assert update.position is not None
    # The server has merged what it was not asked for.
    assert update.merged == update.position.sequence - 1
    same(update.book.levels(), newest(server))


def test_heartbeats_are_handed_on(server: StreamServer, follow: Follow) -> None:
    stream = follow(server.target, heartbeat=OFTEN)
    first = stream.next()
    beats = [stream.next() for _ in range(3)]
    assert {(beat.kind, beat.merged, beat.position) for beat in beats} == {("heartbeat", 0, first.position)}
    assert [beat.as_of for beat in beats] == [first.as_of] * 3
    assert all(mark.staleness > 10**9 for beat in beats for mark in beat.watermarks)
    assert beats[0].book.levels() is first.book.levels()


def test_max_rate_and_min_change_reach_the_server(server: StreamServer, follow: Follow) -> None:
    stream = follow(server.target, max_rate=4, min_change=1.0)
    first = stream.next()
    began = time.monotonic()
    server.grow(10)
    update = caught_up(stream, server)
    assert time.monotonic() - began > 0.2
    # Nothing changes by as much as a whole side, but the figures of the book are told.
    assert update.as_of == newest(server).provenance.as_of
    np.testing.assert_array_equal(update.book.levels().long[-5:], first.book.levels().long[-5:])


def test_closed_stream_is_forgotten_by_the_server(server: StreamServer, follow: Follow) -> None:
    for on_credit in (False, True):
        stream = follow(server.target, on_credit=on_credit)
        stream.next()
        assert len(server.streams) == 1
        stream.close()
        until(lambda: not len(server.streams))
    until(lambda: not [thread for thread in threading.enumerate() if thread.name == "liqclient stream"])


def test_client_that_is_closed_ends_its_streams(server: StreamServer, follow: Follow) -> None:
    stream = follow(server.target, reconnect=True)
    stream.next()
    closing = threading.Timer(0.2, stream.close_client)
    closing.start()
    with pytest.raises(liqclient.Cancelled):
        stream.next()
    closing.join()


def test_resume_goes_on_where_a_book_is(server: StreamServer, follow: Follow) -> None:
    stream = follow(server.target)
    book = stream.next().book
    stream.close()
    server.grow(5)
    again = follow(server.target, resume=book)
    update = again.next()
    assert update.kind == "delta"
    same(update.book.levels(), newest(server))
    # The book that was given stays as it was.
    assert book.position is not None
    assert book.position.sequence == 1


@pytest.mark.parametrize("on_credit", [False, True])
def test_resume_that_is_not_possible_gets_a_snapshot(server: StreamServer, follow: Follow, on_credit: bool) -> None:
    book = follow(server.target).next().book
    with served() as other:
        stream = follow(other.target, resume=book, on_credit=on_credit, heartbeat=OFTEN)
        # A heartbeat may come before the credit has.
        while (update := stream.next()).kind == "heartbeat":
            pass
        assert update.kind == "snapshot"
        assert update.book.position != book.position


def test_connection_that_is_cut_is_made_again_without_a_gap(server: StreamServer, follow: Follow) -> None:
    with proxied(server.target) as proxy:
        stream = follow(proxy.target, reconnect=True)
        stream.next()
        server.grow(2)
        before = caught_up(stream, server)
        proxy.cut()
        lost = stream.next()
        assert (lost.kind, lost.disconnects, lost.merged) == ("disconnected", 1, 0)
        assert isinstance(lost.error, liqclient.Unavailable)
        assert (lost.position, lost.as_of) == (before.position, before.as_of)
        server.grow(3)
        # The numbering goes on: what was missed came merged.
        update = caught_up(stream, server)
        assert update.kind == "delta"
        assert update.position is not None
        assert before.position is not None
        assert update.position.epoch == before.position.epoch
        same(update.book.levels(), newest(server))


def test_internal_error_without_a_reason_is_a_lost_connection() -> None:
    # What grpc makes of a connection that is cut while a request is being sent.
    lost = _of_connection(liqclient.Internal("Internal error from Core"))
    assert type(lost) is liqclient.Unavailable
    for error in (liqclient.Internal("failed", reason="INTERNAL"), liqclient.InvalidAnswer("gap")):
        assert _of_connection(error) is error


def test_loss_that_nobody_waited_for_is_counted(server: StreamServer, follow: Follow) -> None:
    with proxied(server.target) as proxy:
        stream = follow(proxy.target, reconnect=True)
        stream.next()
        proxy.cut()
        until(lambda: len(server.streams) == 0)
        until(lambda: len(server.streams) == 1)
        server.grow()
        time.sleep(1.0)
        update = stream.next()
        assert update.kind == "delta"
        assert update.disconnects >= 1


def test_connection_that_is_cut_raises_where_it_is_not_to_be_made_again(server: StreamServer, follow: Follow) -> None:
    with proxied(server.target) as proxy:
        stream = follow(proxy.target)
        stream.next()
        proxy.cut()
        with pytest.raises(liqclient.Unavailable):
            stream.next()


@pytest.mark.parametrize("reconnect", [False, True])
def test_connection_that_is_silent_counts_as_dead(server: StreamServer, follow: Follow, reconnect: bool) -> None:
    with proxied(server.target) as proxy:
        stream = follow(proxy.target, heartbeat=OFTEN, reconnect=reconnect, timeout=5)
        stream.next()
        proxy.stall()
        began = time.monotonic()
        if not reconnect:

            def read_on() -> None:
                while stream.next().kind == "heartbeat":
                    pass

            with pytest.raises(liqclient.Unavailable, match="nothing was heard"):
                read_on()
        else:
            while (update := stream.next()).kind == "heartbeat":
                pass
            assert update.kind == "disconnected"
            assert "nothing was heard" in str(update.error)
            proxy.flow()
            proxy.cut()
            server.grow()
            assert caught_up(stream, server).kind == "delta"
        assert 2 < time.monotonic() - began < 20


async def test_event_loop_that_stood_still_is_no_silence(server: StreamServer) -> None:
    async with liqclient.AsyncClient(server.target) as client:
        updates = client.stream(SYMBOL, heartbeat=OFTEN)
        await anext(updates)
        time.sleep(4)
        for _ in range(10):
            assert (await anext(updates)).kind == "heartbeat"
        await updates.aclose()


def test_server_that_stops_says_so_and_another_in_its_place_is_found(follow: Follow) -> None:
    with served() as server:
        port = int(server.target.rsplit(":", 1)[1])
        stream = follow(server.target, reconnect=True)
        plain = follow(server.target)
        first = stream.next()
        plain.next()
    with pytest.raises(liqclient.Unavailable) as caught:
        plain.next()
    assert caught.value.reason == "SERVER_STOPS"
    lost = stream.next()
    assert lost.kind == "disconnected"
    with served(port) as server:
        while (update := stream.next()).kind == "disconnected":
            pass
        assert update.kind == "snapshot"
        assert update.position != first.position
        same(update.book.levels(), newest(server))


@pytest.mark.parametrize("reconnect", [False, True])
def test_what_the_server_refuses_raises(server: StreamServer, follow: Follow, reconnect: bool) -> None:
    with pytest.raises(liqclient.InvalidArgument) as caught:
        follow(server.target, bin_size=7, reconnect=reconnect).next()
    assert [violation.field for violation in caught.value.violations] == ["query.bin_size"]
    with pytest.raises(liqclient.NotFound):
        follow(server.target, venue="NOWHERE", reconnect=reconnect).next()


def test_no_server_raises_or_is_told(closed_target: str, follow: Follow) -> None:
    with pytest.raises(liqclient.Unavailable, match="no liqserver reached"):
        follow(closed_target).next()
    update = follow(closed_target, reconnect=True).next()
    assert (update.kind, update.position, update.as_of) == ("disconnected", None, None)
    with pytest.raises(ValueError, match="empty"):
        update.book.levels()


@pytest.mark.parametrize("flavour", [liqclient.Client, liqclient.AsyncClient])
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"heartbeat": 0}, "heartbeat must not be 0"),
        ({"heartbeat": "soon"}, "heartbeat"),
        ({"max_rate": 0}, "max_rate must not be 0"),
        ({"bin_size": 0}, "bin_size"),
        ({"side": "up"}, "side"),
        ({"timeout": 0}, "timeout"),
    ],
)
def test_stream_raises_at_once_for_what_cannot_be_sent(flavour: type, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        flavour("127.0.0.1:1").stream(SYMBOL, **arguments)


def message(sequence: int, epoch: int = 1, **update: Any) -> liquidation_pb2.StreamLevelsResponse:
    return liquidation_pb2.StreamLevelsResponse(
        position=liquidation_pb2.StreamPosition(epoch=epoch, sequence=sequence), sent_at=END + sequence, **update
    )


def delta(after: int, bins: list[tuple[float, float, float]] = [], **changes: Any) -> liquidation_pb2.LevelsDelta:  # noqa: B006
    where = provenance(as_of=END + after)
    live = liquidation_pb2.LiveProvenance()
    for field in live.DESCRIPTOR.fields:
        if field.name != "watermarks":
            setattr(live, field.name, getattr(where, field.name))
    live.watermarks.extend(where.watermarks)
    price, long, short = zip(*bins, strict=True) if bins else ((), (), ())
    fields: dict[str, Any] = {
        "after_sequence": after,
        "levels": liquidation_pb2.LevelColumns(price=price, long=long, short=short),
        "totals": liquidation_pb2.BookTotals(long=7),
        "live": live,
    }
    return liquidation_pb2.LevelsDelta(**(fields | changes))


@pytest.fixture
def book() -> LevelBook:
    """Bins 95 000 (1.5 long) and 105 000 (2.5 short), after update 1 of numbering 1."""
    book = LevelBook()
    book.apply(message(1, snapshot=levels_message()))
    return book


def test_book_changes_adds_and_removes_bins(book: LevelBook) -> None:
    update = book.apply(message(2, delta=delta(1, [(90_000, 4, 0), (95_000, 0, 0), (105_000, 0, 3), (110_000, 0, 1)])))
    levels = update.book.levels()
    assert levels.price.tolist() == [90_000, 105_000, 110_000]
    assert levels.long.tolist() == [4, 0, 0]
    assert levels.short.tolist() == [0, 3, 1]
    assert levels.totals.long == 7
    assert (levels.provenance.as_of, levels.provenance.generated_at) == (END + 1, END + 2)
    assert levels.provenance.notices == ("Trades of one hour are missing.",)
    assert update.position == liqclient.StreamPosition(1, 2)


@pytest.mark.parametrize(
    "bad",
    [
        message(3, delta=delta(2)),
        message(3, delta=delta(0)),
        message(2, 2, delta=delta(1)),
        message(2, heartbeat=liquidation_pb2.Heartbeat(as_of=END)),
        message(2),
        message(2, delta=delta(1, levels=liquidation_pb2.LevelColumns(price=[1.0], long=[1.0]))),
        message(2, delta=delta(1, live=None)),
        message(
            2,
            delta=delta(
                1,
                levels=liquidation_pb2.LevelColumns(
                    price=[1.0],
                    long=[1.0],
                    short=[0.0],
                    tiers=[liquidation_pb2.TierColumns(leverage=5, long=[1.0], short=[0.0])],
                ),
            ),
        ),
    ],
    ids=["gap", "backwards", "other numbering", "heartbeat after a gap", "nothing", "columns", "no figures", "tiers"],
)
def test_book_refuses_what_does_not_follow_and_stays_as_it_was(
    book: LevelBook, bad: liquidation_pb2.StreamLevelsResponse
) -> None:
    before = book.levels()
    with pytest.raises(liqclient.InvalidAnswer):
        book.apply(bad)
    assert book.levels() is before
    assert book.position == liqclient.StreamPosition(1, 1)


def test_empty_book_takes_no_delta_and_shows_nothing() -> None:
    book = LevelBook()
    with pytest.raises(liqclient.InvalidAnswer, match="gap"):
        book.apply(message(2, delta=delta(1)))
    with pytest.raises(ValueError, match="empty"):
        book.levels()
    assert book.position is None
    beat = liquidation_pb2.StreamLevelsResponse(heartbeat=liquidation_pb2.Heartbeat(as_of=END))
    assert book.apply(beat).position is None
