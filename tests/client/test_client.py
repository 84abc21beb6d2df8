"""Connections, and what belongs to one flavour of client only."""

import asyncio
import contextlib
import inspect
import threading
import time
from typing import Any

import grpc
import grpc.aio
import pytest

import liqclient

from .conftest import Ask
from .standin import Standin, error_info, serve, status

METHODS = [
    "levels",
    "heatmap",
    "compare",
    "liquidations",
    "audit",
    "files",
    "coverage",
    "symbols",
    "models",
    "calibrations",
    "scorecard",
    "wait_ready",
    "close",
]
ITERATORS = ["replay", "liquidation_pages", "ingest", "calibrate", "stream", "watch", "publish"]


@pytest.mark.parametrize("method", METHODS)
def test_both_flavours_take_the_same_arguments(method: str) -> None:
    ours, theirs = (inspect.signature(getattr(c, method)) for c in (liqclient.Client, liqclient.AsyncClient))
    assert ours == theirs
    assert inspect.iscoroutinefunction(getattr(liqclient.AsyncClient, method))


@pytest.mark.parametrize("method", ITERATORS)
def test_both_flavours_of_iterators_take_the_same_arguments(method: str) -> None:
    ours, theirs = (inspect.signature(getattr(c, method)) for c in (liqclient.Client, liqclient.AsyncClient))
    # What is published may come asynchronously where that can be waited for.
    assert str(ours.replace(return_annotation=None)) == str(theirs.replace(return_annotation=None)).replace(
        " | AsyncIterable[Events]", ""
    )
    assert ours.return_annotation == theirs.return_annotation.replace("Async", "").replace(", None]", ", None, None]")


def test_both_flavours_are_made_alike() -> None:
    ours, theirs = (inspect.signature(c).parameters for c in (liqclient.Client, liqclient.AsyncClient))
    assert {n: p.default for n, p in ours.items()} == {n: p.default for n, p in theirs.items()}
    public = [{n for n in vars(c) if not n.startswith("_")} for c in (liqclient.Client, liqclient.AsyncClient)]
    assert public == [{*METHODS, *ITERATORS}] * 2


@pytest.mark.parametrize("flavour", [liqclient.Client, liqclient.AsyncClient])
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"target": ""}, "target"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"max_message_bytes": 0}, "max_message_bytes"),
    ],
)
def test_impossible_settings_raise(flavour: type, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        flavour(**arguments)


def test_default_deadline_is_the_clients_and_a_calls_own_wins(ask: Ask, server: Standin) -> None:
    ask(server.target, "symbols", client={"timeout": 100})
    ask(server.target, "symbols", client={"timeout": 100}, timeout=5)
    first, second = server.deadlines
    assert first is not None
    assert second is not None
    assert 50 < first < 110
    assert second < 6


def test_wait_ready_server_is_there_returns(ask: Ask, server: Standin) -> None:
    assert ask(server.target, "wait_ready", 10) is None


def test_wait_ready_no_server_raises_after_the_timeout(ask: Ask, closed_target: str) -> None:
    with pytest.raises(liqclient.Unavailable, match=r"no answer within 0.2 s.*liqserver serve"):
        ask(closed_target, "wait_ready", 0.2)


def test_wait_ready_server_that_refuses_raises_what_it_says(ask: Ask, server: Standin) -> None:
    server.fail_with(status(grpc.StatusCode.UNAUTHENTICATED, "no token", error_info("TOKEN_MISSING")))
    with pytest.raises(liqclient.Unauthenticated, match="no token"):
        ask(server.target, "wait_ready", 10)


def test_wait_ready_server_comes_later_returns(ask: Ask, closed_target: str) -> None:
    stop = threading.Event()

    def serve_later() -> None:
        time.sleep(0.3)
        with serve(Standin(), port=int(closed_target.rpartition(":")[2])):
            stop.wait(30)

    serving = threading.Thread(target=serve_later)
    serving.start()
    try:
        ask(closed_target, "wait_ready", 20)
    finally:
        stop.set()
        serving.join()


def test_server_that_comes_back_is_found_again(closed_target: str) -> None:
    port = int(closed_target.rpartition(":")[2])
    with liqclient.Client(closed_target) as client:
        with serve(Standin(), port=port):
            client.symbols()
        with pytest.raises(liqclient.Unavailable):
            client.symbols()
        with serve(Standin(), port=port):
            client.wait_ready(20)
            assert client.symbols()


def test_proxy_of_the_environment_is_not_asked_for_loopback(
    ask: Ask, server: Standin, closed_target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://{closed_target}")
    assert ask(server.target, "symbols")


def test_credentials_are_used(ask: Ask) -> None:
    with serve(Standin(), grpc.local_server_credentials()) as server:
        credentials = grpc.local_channel_credentials()
        assert ask(server.target, "symbols", client={"credentials": credentials})


def test_credentials_with_a_channel_raise() -> None:
    with grpc.insecure_channel("127.0.0.1:1") as channel, pytest.raises(ValueError, match="credentials"):
        liqclient.Client(credentials=grpc.local_channel_credentials(), channel=channel)


def test_given_channel_is_used_and_stays_open(server: Standin) -> None:
    with grpc.insecure_channel(server.target) as channel:
        for _ in range(2):
            with liqclient.Client(channel=channel) as client:
                assert client.symbols()
                client.wait_ready(10)


async def test_given_aio_channel_is_used_and_stays_open(server: Standin) -> None:
    async with grpc.aio.insecure_channel(server.target) as channel:
        for _ in range(2):
            async with liqclient.AsyncClient(channel=channel) as client:
                assert await client.symbols()
                await client.wait_ready(10)


def test_client_makes_no_connection_before_the_first_call(closed_target: str) -> None:
    with liqclient.Client(closed_target) as client:
        assert repr(client) == f"<Client {closed_target}>"
    assert repr(client) == f"<Client {closed_target} closed>"


def test_closed_client_raises_and_may_be_closed_again(server: Standin) -> None:
    client = liqclient.Client(server.target)
    client.close()
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.symbols()
    with pytest.raises(RuntimeError, match="closed"):
        client.wait_ready()
    with pytest.raises(RuntimeError, match="closed"), client:
        pass


async def test_closed_async_client_raises_and_may_be_closed_again(server: Standin) -> None:
    client = liqclient.AsyncClient(server.target)
    await client.symbols()
    await client.close()
    await client.close()
    with pytest.raises(RuntimeError, match="closed"):
        await client.symbols()
    with pytest.raises(RuntimeError, match="closed"):
        await client.wait_ready()
    assert repr(client) == f"<AsyncClient {server.target} closed>"


async def test_async_client_never_used_closes() -> None:
    await liqclient.AsyncClient().close()


def test_threads_share_a_client(server: Standin) -> None:
    with liqclient.Client(server.target) as client:
        prices: list[float] = []
        threads = [
            threading.Thread(target=lambda: prices.append(client.levels("BTCUSDT").current_price)) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert prices == [100_000.0] * 8


async def test_tasks_share_an_async_client(server: Standin) -> None:
    async with liqclient.AsyncClient(server.target) as client:
        answers = await asyncio.gather(*(client.levels("BTCUSDT") for _ in range(8)))
    assert [levels.current_price for levels in answers] == [100_000.0] * 8


def test_async_client_in_another_loop_raises(server: Standin) -> None:
    # Made outside of any loop, which must work.
    client = liqclient.AsyncClient(server.target)

    async def elsewhere() -> None:
        with pytest.raises(RuntimeError, match="another event loop"):
            await client.symbols()

    with asyncio.Runner() as runner:
        runner.run(client.symbols())
        with asyncio.Runner() as other:
            other.run(elsewhere())
        runner.run(client.close())


def test_closing_ends_a_call_under_way(server: Standin) -> None:
    server.release = threading.Event()
    client = liqclient.Client(server.target)

    def close() -> None:
        server.arrived.wait(10)
        client.close()

    closing = threading.Thread(target=close)
    closing.start()
    with pytest.raises(liqclient.Cancelled):
        client.symbols()
    closing.join()


async def test_closing_ends_an_async_call_under_way(server: Standin) -> None:
    server.release = threading.Event()
    client = liqclient.AsyncClient(server.target)
    call = asyncio.create_task(client.symbols())
    await asyncio.to_thread(server.arrived.wait, 10)
    await client.close()
    with pytest.raises(liqclient.Cancelled):
        await call


async def test_cancelled_task_stays_a_cancelled_task(server: Standin) -> None:
    server.release = threading.Event()
    async with liqclient.AsyncClient(server.target) as client:
        call = asyncio.create_task(client.symbols())
        await asyncio.to_thread(server.arrived.wait, 10)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert call.cancelled()


def hanging(server: Standin, after: int = 2) -> None:
    """Make a replay hang after so many moments."""
    server.stream_after, server.release = after, threading.Event()


def test_replay_broken_out_of_is_cancelled_at_the_server(server: Standin) -> None:
    hanging(server)
    with liqclient.Client(server.target) as client:
        for levels in client.replay("BTCUSDT", every="1h"):
            assert levels.current_price == 100_000.0
            break
        assert server.left.wait(10)
        server.release = None
        assert client.symbols()


class Keeping(grpc.UnaryStreamClientInterceptor):
    """Keeps every call, as grpc cancels one that nothing refers to any more."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        self.calls.append(continuation(client_call_details, request))
        return self.calls[-1]


def test_replay_closed_is_cancelled_at_the_server(server: Standin) -> None:
    hanging(server)
    keeping = Keeping()
    with (
        grpc.insecure_channel(server.target) as channel,
        liqclient.Client(channel=grpc.intercept_channel(channel, keeping)) as client,
    ):
        replay = client.replay("BTCUSDT", every="1h")
        next(replay)
        replay.close()
        assert server.left.wait(10)
        assert len(keeping.calls) == 1
        assert list(replay) == []


def test_replay_loop_that_fails_is_cancelled_at_the_server(server: Standin) -> None:
    hanging(server)
    with liqclient.Client(server.target) as client:
        replay = client.replay("BTCUSDT", every="1h")
        with contextlib.suppress(ZeroDivisionError), contextlib.closing(replay):
            for _ in replay:
                raise ZeroDivisionError
        assert server.left.wait(10)


async def test_async_replay_broken_out_of_is_cancelled_at_the_server(server: Standin) -> None:
    hanging(server)
    async with liqclient.AsyncClient(server.target) as client:
        async for levels in client.replay("BTCUSDT", every="1h"):
            assert levels.current_price == 100_000.0
            break
        assert await asyncio.to_thread(server.left.wait, 10)
        server.release = None
        assert await client.symbols()


async def test_async_replay_closed_is_cancelled_at_the_server(server: Standin) -> None:
    hanging(server)
    async with liqclient.AsyncClient(server.target) as client:
        async with contextlib.aclosing(client.replay("BTCUSDT", every="1h")) as replay:
            await anext(replay)
        assert await asyncio.to_thread(server.left.wait, 10)


async def test_async_replay_in_a_cancelled_task_is_cancelled_at_the_server(server: Standin) -> None:
    hanging(server)

    async def read() -> None:
        async for _ in client.replay("BTCUSDT", every="1h"):
            pass

    async with liqclient.AsyncClient(server.target) as client:
        reading = asyncio.create_task(read())
        await asyncio.to_thread(server.arrived.wait, 10)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert await asyncio.to_thread(server.left.wait, 10)


def test_closing_ends_a_replay_under_way(server: Standin) -> None:
    hanging(server)
    client = liqclient.Client(server.target)

    def close() -> None:
        server.arrived.wait(10)
        client.close()

    closing = threading.Thread(target=close)
    closing.start()
    with pytest.raises(liqclient.Cancelled):
        list(client.replay("BTCUSDT", every="1h"))
    closing.join()


async def test_closing_ends_an_async_replay_under_way(server: Standin) -> None:
    hanging(server)
    client = liqclient.AsyncClient(server.target)

    async def read() -> None:
        async for _ in client.replay("BTCUSDT", every="1h"):
            pass

    reading = asyncio.create_task(read())
    await asyncio.to_thread(server.arrived.wait, 10)
    await client.close()
    with pytest.raises(liqclient.Cancelled):
        await reading


def test_replay_makes_no_call_before_its_first_moment_is_asked_for(server: Standin) -> None:
    with liqclient.Client(server.target) as client:
        client.replay("BTCUSDT", every="1h").close()
        client.liquidation_pages("BTCUSDT").close()
    assert server.requests == []


def test_replay_has_no_deadline_but_its_own(ask: Ask, server: Standin) -> None:
    for timeout in (None, 50):
        ask(server.target, "replay", "BTCUSDT", every="1d", client={"timeout": 100}, timeout=timeout)
    first, second = server.deadlines
    # Without a deadline, the server sees one that is centuries away or none.
    assert first is None or first > 1e6
    assert second is not None
    assert second < 51


def test_liquidation_pages_are_asked_for_one_by_one(server: Standin) -> None:
    with liqclient.Client(server.target) as client:
        pages = client.liquidation_pages("BTCUSDT", page_size=10)
        next(pages)
        assert len(server.requests) == 1
        assert len(list(pages)) == 2
    assert len(server.requests) == 3


def test_closed_client_iterates_over_nothing(server: Standin) -> None:
    client = liqclient.Client(server.target)
    replay = client.replay("BTCUSDT", every="1h")
    client.close()
    for iterate in (
        lambda: list(replay),
        lambda: client.replay("BTCUSDT", every="1h"),
        lambda: client.liquidation_pages("BTCUSDT"),
    ):
        with pytest.raises(RuntimeError, match="closed"):
            iterate()


async def test_closed_async_client_iterates_over_nothing(server: Standin) -> None:
    client = liqclient.AsyncClient(server.target)
    await client.close()
    with pytest.raises(RuntimeError, match="closed"):
        await anext(client.replay("BTCUSDT", every="1h"))
    with pytest.raises(RuntimeError, match="closed"):
        await anext(client.liquidation_pages("BTCUSDT"))
