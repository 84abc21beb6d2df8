"""StreamLevels and StreamLevelsOnCredit as they come over the wire."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

import liqclient
from liqclient import LevelBook
from liqserver.rpc.server import Server
from liqserver.store.database import Database
from liqserver.store.ingest import ingest
from liqserver.v1 import liquidation_pb2, liquidation_pb2_grpc
from tests.kernel.markets import MINUTE
from tests.rpc.streaming import SYMBOL, StreamServer, serving, soon, until_async
from tests.rpc.test_admin import FIRST_DAY, SECOND_DAY, files

TENTH = 100_000_000
# The width of the bins stays in a stream, whatever suits the price.
QUERY = liquidation_pb2.LevelsQuery(symbol=SYMBOL, bin_size=50)

type Request = liquidation_pb2.StreamLevelsRequest
type Message = liquidation_pb2.StreamLevelsResponse


def ask(**fields: Any) -> Request:
    # Heartbeats are rare unless they are what is tested.
    given: dict[str, Any] = {"query": QUERY, "heartbeat": 60 * 10**9}
    return liquidation_pb2.StreamLevelsRequest(**(given | fields))


def credit(n: int) -> liquidation_pb2.StreamLevelsOnCreditRequest:
    return liquidation_pb2.StreamLevelsOnCreditRequest(credit=n)


def opening(request: Request) -> liquidation_pb2.StreamLevelsOnCreditRequest:
    return liquidation_pb2.StreamLevelsOnCreditRequest(open=request)


@asynccontextmanager
async def stub_of(target: str) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(target) as channel:
        yield liquidation_pb2_grpc.LiquidationServiceStub(channel)


async def newest(stub: Any) -> liquidation_pb2.GetLevelsResponse:
    answer: liquidation_pb2.GetLevelsResponse = await stub.GetLevels(liquidation_pb2.GetLevelsRequest(query=QUERY))
    return answer


async def read(call: Any) -> Message:
    message = await soon(call.read())
    assert message is not grpc.aio.EOF, "the stream ended"
    return message.message if isinstance(message, liquidation_pb2.StreamLevelsOnCreditResponse) else message


async def failure(call: Any) -> tuple[grpc.StatusCode, str, list[str]]:
    """Read until the call fails; return code, reason and the fields that are objected to."""

    async def read_on() -> None:
        while await soon(call.read()) is not grpc.aio.EOF:
            pass

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await read_on()
    status = rpc_status.from_call(caught.value)
    assert status is not None
    info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    status.details[0].Unpack(info)
    for detail in status.details[1:]:
        detail.Unpack(request)
    return caught.value.code(), info.reason, [violation.field for violation in request.field_violations]


def same_levels(book: LevelBook, answer: liquidation_pb2.GetLevelsResponse) -> None:
    levels = book.levels()
    np.testing.assert_array_equal(levels.price, answer.levels.price)
    np.testing.assert_array_equal(levels.long, answer.levels.long)
    np.testing.assert_array_equal(levels.short, answer.levels.short)
    assert levels.totals.long_in_range == answer.totals.long_in_range
    assert levels.provenance.as_of == answer.provenance.as_of
    assert levels.provenance.open_interest == answer.provenance.open_interest


async def test_snapshot_then_numbered_deltas_that_add_up_to_what_get_levels_answers() -> None:
    async with serving() as server, stub_of(server.target) as stub:
        call = stub.StreamLevels(ask())
        book = LevelBook()
        before = time.time_ns()
        snapshot = await read(call)
        assert snapshot.WhichOneof("update") == "snapshot"
        assert before <= snapshot.snapshot.provenance.generated_at == snapshot.sent_at <= time.time_ns()
        book.apply(snapshot)
        same_levels(book, await newest(stub))
        changed = []
        for sequence in range(2, 30):
            server.grow()
            message = await read(call)
            assert message.position == liquidation_pb2.StreamPosition(epoch=snapshot.position.epoch, sequence=sequence)
            assert message.delta.after_sequence == sequence - 1
            book.apply(message)
            same_levels(book, await newest(stub))
            changed.append(len(message.delta.levels.price))
        assert max(changed) > 0
        assert sum(changed) < 28 * len(book.levels().price)


async def test_bins_that_leave_the_range_are_told_to_be_removed() -> None:
    async with serving() as server, stub_of(server.target) as stub:
        query = liquidation_pb2.LevelsQuery(
            symbol=SYMBOL, bin_size=50, price_range=liquidation_pb2.PriceRange(down=0.02, up=0.02)
        )
        call = stub.StreamLevels(ask(query=query))
        await read(call)
        removed = 0
        for _ in range(15):
            server.grow()
            columns = (await read(call)).delta.levels
            removed += sum(not (long or short) for long, short in zip(columns.long, columns.short, strict=True))
        assert removed


async def test_tiers_come_with_the_changed_bins() -> None:
    async with serving() as server, stub_of(server.target) as stub:
        query = liquidation_pb2.LevelsQuery(symbol=SYMBOL, bin_size=50, per_tier=True)
        call = stub.StreamLevels(ask(query=query))
        book = LevelBook()
        book.apply(await read(call))
        for _ in range(3):
            server.grow()
            book.apply(await read(call))
        expected = await stub.GetLevels(liquidation_pb2.GetLevelsRequest(query=query))
        assert len(expected.levels.tiers) > 3
        for tier in expected.levels.tiers:
            np.testing.assert_array_equal(book.levels().tiers[tier.leverage].long, tier.long)
            np.testing.assert_array_equal(book.levels().tiers[tier.leverage].short, tier.short)


async def test_heartbeats_tell_how_far_the_inputs_reach_by_the_servers_clock() -> None:
    async with serving() as server, stub_of(server.target) as stub:
        call = stub.StreamLevels(ask(heartbeat=TENTH))
        snapshot = await read(call)
        began = time.monotonic()
        beats = [await read(call) for _ in range(5)]
        assert 0.4 < time.monotonic() - began < 2
        for beat in beats:
            assert beat.WhichOneof("update") == "heartbeat"
            assert beat.position == snapshot.position
            assert beat.heartbeat.as_of == snapshot.snapshot.provenance.as_of
            for mark in beat.heartbeat.watermarks:
                assert mark.staleness == beat.sent_at - mark.ts_event


async def test_most_updates_a_second_are_kept_and_the_newest_comes_in_the_end() -> None:
    async with serving() as server, stub_of(server.target) as stub:
        call = stub.StreamLevels(ask(max_rate=10))
        book = LevelBook()
        book.apply(await read(call))

        def grow() -> None:
            for _ in range(60):
                server.grow()
                time.sleep(0.01)

        began, last = time.monotonic(), server.as_of + 60 * MINUTE
        growing = asyncio.create_task(asyncio.to_thread(grow))
        messages: list[Message] = []
        while not messages or messages[-1].delta.live.as_of < last:
            messages.append(await read(call))
            book.apply(messages[-1])
            assert len(messages) <= 2 + 10 * (time.monotonic() - began)
        await growing
        assert max(message.position.sequence - message.delta.after_sequence for message in messages) > 3
        same_levels(book, await newest(stub))
        gaps = np.diff([message.sent_at for message in messages]) / 1e9
        assert gaps.min() > 0.09


async def test_reader_without_credit_is_sent_one_merged_update_when_it_has_some() -> None:
    async with serving() as server, stub_of(server.target) as stub:
        call = stub.StreamLevelsOnCredit()
        await call.write(opening(ask(heartbeat=TENTH)))
        assert (await read(call)).WhichOneof("update") == "heartbeat"
        await call.write(credit(1))
        book = LevelBook()
        while not book.position:
            message = await read(call)
            if message.WhichOneof("update") == "snapshot":
                book.apply(message)
        await asyncio.to_thread(server.grow, 40)
        began = time.monotonic()
        while time.monotonic() - began < 0.5:
            assert (await read(call)).WhichOneof("update") == "heartbeat"
        await call.write(credit(1))
        while (message := await read(call)).WhichOneof("update") == "heartbeat":
            pass
        assert (message.delta.after_sequence, message.delta.live.as_of) == (
            1,
            (await newest(stub)).provenance.as_of,
        )
        book.apply(message)
        same_levels(book, await newest(stub))


async def test_credit_adds_up() -> None:
    async with serving() as server, stub_of(server.target) as stub:
        call = stub.StreamLevelsOnCredit()
        await call.write(opening(ask(heartbeat=TENTH)))
        await call.write(credit(2))
        await call.write(credit(1))
        updates = beats = 0
        while beats < 5:
            if (await read(call)).WhichOneof("update") == "heartbeat":
                beats += 1
                if beats < 4:
                    server.grow()
            else:
                updates += 1
        assert updates == 3


async def test_reader_that_can_give_no_more_credit_gets_what_it_asked_for_and_the_end() -> None:
    async with serving() as server, stub_of(server.target) as stub:
        call = stub.StreamLevelsOnCredit()
        await call.write(opening(ask()))
        await call.write(credit(2))
        await call.done_writing()
        assert (await read(call)).WhichOneof("update") == "snapshot"
        server.grow()
        assert (await read(call)).WhichOneof("update") == "delta"
        assert await soon(call.read()) is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        ([], "open"),
        ([credit(1)], "open"),
        ([liquidation_pb2.StreamLevelsOnCreditRequest(open=ask(), credit=1)], "credit"),
        ([opening(ask()), opening(ask())], "open"),
        ([opening(ask()), credit(0)], "credit"),
        ([opening(ask()), credit(1), credit(-3)], "credit"),
        ([opening(ask(max_rate=-1))], "max_rate"),
    ],
)
async def test_violation_of_the_credit_protocol_names_the_field(
    messages: list[liquidation_pb2.StreamLevelsOnCreditRequest], field: str
) -> None:
    async with serving() as server, stub_of(server.target) as stub:
        call = stub.StreamLevelsOnCredit()
        for message in messages:
            await call.write(message)
        if not messages:
            await call.done_writing()
        assert await failure(call) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID", [field])
        await until_async(lambda: not len(server.streams))


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"max_rate": -0.1}, "max_rate"),
        ({"max_rate": float("nan")}, "max_rate"),
        ({"max_rate": float("inf")}, "max_rate"),
        ({"min_change": 1.1}, "min_change"),
        ({"min_change": -0.1}, "min_change"),
        ({"min_change": float("nan")}, "min_change"),
        ({"heartbeat": TENTH - 1}, "heartbeat"),
        ({"heartbeat": 60 * 10**9 + 1}, "heartbeat"),
        ({"heartbeat": -1}, "heartbeat"),
        ({"query": liquidation_pb2.LevelsQuery(symbol=SYMBOL, derived=True)}, "query.derived"),
        ({"query": liquidation_pb2.LevelsQuery(symbol=SYMBOL, bin_size=7)}, "query.bin_size"),
        ({"query": liquidation_pb2.LevelsQuery()}, "query.symbol"),
    ],
)
async def test_field_that_is_not_allowed_is_named(fields: dict[str, Any], named: str) -> None:
    async with serving() as server, stub_of(server.target) as stub:
        call = stub.StreamLevels(ask(**fields))
        assert await failure(call) == (grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID", [named])


async def test_unknown_symbol_is_not_found() -> None:
    async with serving() as server, stub_of(server.target) as stub:
        code, reason, _ = await failure(stub.StreamLevels(ask(query=liquidation_pb2.LevelsQuery(symbol="NONE"))))
        assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "SYMBOL_UNKNOWN")


@pytest.mark.parametrize("form", ["plain", "on credit"])
async def test_reader_that_cancels_is_forgotten(form: str) -> None:
    async with serving() as server, stub_of(server.target) as stub:
        if form == "plain":
            call = stub.StreamLevels(ask())
        else:
            call = stub.StreamLevelsOnCredit()
            await call.write(opening(ask()))
            await call.write(credit(5))
        await read(call)
        assert len(server.streams) == 1
        call.cancel()
        await until_async(lambda: not len(server.streams))
        computed = server.streams.views.computations
        server.grow()
        await asyncio.sleep(0.1)
        assert server.streams.views.computations == computed


async def test_two_hundred_readers_of_one_view_share_one_computation_and_one_encoding() -> None:
    async with serving() as server, stub_of(server.target) as stub:
        calls = [stub.StreamLevels(ask()) for _ in range(200)]
        books = [LevelBook() for _ in calls]
        for call, book in zip(calls, books, strict=True):
            book.apply(await read(call))
        assert len(server.streams) == 200
        assert len(server.streams.views) == 1
        for _ in range(5):
            server.grow()
            for call, book in zip(calls, books, strict=True):
                book.apply(await read(call))
        assert server.streams.views.computations == 6
        view = await server.streams.views.open(liquidation_query(server))
        assert len(view.state.encodings) == 1
        expected = await newest(stub)
        for book in books:
            same_levels(book, expected)


def liquidation_query(server: StreamServer) -> Any:
    [query] = {view.query for view in server.streams.views._views.values()}
    return query


async def test_resumed_reader_gets_what_it_missed_in_one_update() -> None:
    async with serving() as server, stub_of(server.target) as stub:
        call = stub.StreamLevels(ask())
        book = LevelBook()
        for _ in range(3):
            book.apply(await read(call))
            server.grow()
        has = book.position
        assert has is not None
        call.cancel()
        await until_async(lambda: not len(server.streams))
        server.grow(4)
        again = stub.StreamLevels(
            ask(resume_from=liquidation_pb2.StreamPosition(epoch=has.epoch, sequence=has.sequence))
        )
        message = await read(again)
        assert message.delta.after_sequence == has.sequence
        book.apply(message)
        same_levels(book, await newest(stub))


@pytest.mark.parametrize(("epoch", "sequence"), [(1, 0), (0, 2), (0, 0), (0, -5)])
async def test_reader_that_cannot_be_resumed_gets_a_snapshot(epoch: int, sequence: int) -> None:
    async with serving() as server, stub_of(server.target) as stub:
        first = await read(stub.StreamLevels(ask()))
        where = liquidation_pb2.StreamPosition(
            epoch=(first.position.epoch + epoch) % 2**64, sequence=sequence if not epoch else 1
        )
        message = await read(stub.StreamLevels(ask(resume_from=where)))
        assert message.WhichOneof("update") == "snapshot"


async def test_view_of_another_smallest_change_is_another_view() -> None:
    async with serving() as server, stub_of(server.target) as stub:
        fine, coarse = stub.StreamLevels(ask()), stub.StreamLevels(ask(min_change=0.2))
        first = [await read(fine), await read(coarse)]
        assert first[0].position.epoch != first[1].position.epoch
        told = [0, 0]
        for _ in range(5):
            server.grow()
            for i, call in enumerate((fine, coarse)):
                delta = (await read(call)).delta
                told[i] += len(delta.levels.price)
                assert delta.totals.long > 0
        assert told[1] < told[0]


async def test_stop_ends_streams_with_its_reason() -> None:
    async with serving() as server, stub_of(server.target) as stub:
        plain, on_credit = stub.StreamLevels(ask()), stub.StreamLevelsOnCredit()
        await on_credit.write(opening(ask(heartbeat=TENTH)))
        await read(plain)
        await read(on_credit)
        server.streams.stop()
        began = time.monotonic()
        for call in (plain, on_credit, stub.StreamLevels(ask())):
            assert await failure(call) == (grpc.StatusCode.UNAVAILABLE, "SERVER_STOPS", [])
        assert time.monotonic() - began < 2


async def test_server_stops_at_once_though_streams_are_open(market_db: Path) -> None:
    with Database(market_db, read_only=True) as database:
        server = Server(database, "127.0.0.1", 0)
        await server.start()
        async with stub_of(server.target) as stub:
            calls = [stub.StreamLevels(ask()) for _ in range(20)]
            for call in calls:
                await read(call)
            began = time.monotonic()
            stopping = asyncio.create_task(server.stop(grace=20))
            for call in calls:
                assert (await failure(call))[:2] == (grpc.StatusCode.UNAVAILABLE, "SERVER_STOPS")
            await stopping
            assert time.monotonic() - began < 5


async def test_ingest_into_the_running_server_comes_as_deltas(market_archive: Path, tmp_path: Path) -> None:
    path = tmp_path / "own.duckdb"
    with Database(path) as database:
        ingest(database, files(market_archive, FIRST_DAY))
        server = Server(database, "127.0.0.1", 0)
        await server.start()
        try:
            async with stub_of(server.target) as stub, liqclient.AsyncClient(server.target) as client:
                # The width of the bins stays as it was, whatever becomes of the price.
                call = stub.StreamLevels(ask(query=liquidation_pb2.LevelsQuery(symbol=SYMBOL, bin_size=100)))
                book = LevelBook()
                book.apply(await read(call))
                for file in sorted(files(market_archive, SECOND_DAY)):
                    before = book.levels().provenance.as_of
                    async for _ in client.ingest([file]):
                        pass
                    expected = await client.levels(SYMBOL, bin_size=100)
                    while book.levels().provenance.as_of < expected.provenance.as_of:
                        book.apply(await read(call))
                    if expected.provenance.as_of > before:
                        break
                # What comes later is not newer, but more.
                for file in sorted(files(market_archive, SECOND_DAY)):
                    async for _ in client.ingest([file]):
                        pass
                expected = await client.levels(SYMBOL, bin_size=100)
                async with asyncio.timeout(20):
                    while not np.array_equal(book.levels().long, expected.long):
                        book.apply(await read(call))
                np.testing.assert_array_equal(book.levels().price, expected.price)
                np.testing.assert_array_equal(book.levels().short, expected.short)
        finally:
            await server.stop(1.0)


async def test_update_of_no_bin_still_has_its_columns() -> None:
    async with serving() as server, stub_of(server.target) as stub:
        query = liquidation_pb2.LevelsQuery(symbol=SYMBOL, bin_size=50, min_notional=1e12)
        call = stub.StreamLevels(ask(query=query))
        await read(call)
        server.grow()
        delta = (await read(call)).delta
        assert delta.HasField("levels")
        assert not len(delta.levels.price)
        assert delta.totals.long > 0
