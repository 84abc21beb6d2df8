import asyncio
import inspect
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

import liqclient

from . import standin


@dataclass(frozen=True)
class Served:
    """A server and what is known of it; the tests of the protocol need nothing else."""

    target: str
    venue: str
    symbol: str
    model: str
    # UNIX nanoseconds: the first and the last moment with an answer.
    start: int
    end: int


type Ask = Callable[..., Any]


def _ask_sync(target: str, method: str, *args: Any, client: dict[str, Any] | None = None, **kwargs: Any) -> Any:
    with liqclient.Client(target, **(client or {})) as asking:
        answer = getattr(asking, method)(*args, **kwargs)
        return list(answer) if inspect.isgenerator(answer) else answer


def _ask_async(target: str, method: str, *args: Any, client: dict[str, Any] | None = None, **kwargs: Any) -> Any:
    async def ask() -> Any:
        async with liqclient.AsyncClient(target, **(client or {})) as asking:
            answer = getattr(asking, method)(*args, **kwargs)
            return [item async for item in answer] if inspect.isasyncgen(answer) else await answer

    return asyncio.run(ask())


@pytest.fixture(params=[_ask_sync, _ask_async], ids=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Calls one method with a client of either flavour: ``ask(target, method, *args, client={}, **kwargs)``.

    What is iterated over becomes a list.
    """
    asking: Ask = request.param
    return asking


@pytest.fixture
def server() -> Iterator[standin.Standin]:
    with standin.serve(standin.Standin()) as serving:
        yield serving


@pytest.fixture(params=["stand-in", "real"])
def served(request: pytest.FixtureRequest) -> Served:
    """The stand-in, and the real server on a simulated market."""
    if request.param == "stand-in":
        target = request.getfixturevalue("server").target
        return Served(target, standin.VENUE, standin.SYMBOL, standin.MODEL, standin.START, standin.END)
    target = request.getfixturevalue("market_server")
    with liqclient.Client(target) as client:
        where = client.levels("BTCUSDT").provenance
    assert where.history_start is not None
    return Served(target, "BINANCE", "BTCUSDT", "position_book", where.history_start, where.as_of)


@pytest.fixture
def closed_target() -> str:
    """An address where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"
