"""A server in this process that may write to its database."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from liqserver.rpc.server import Server
from liqserver.store.database import Database


@contextmanager
def owned(path: Path) -> Iterator[str]:
    """Yield the address of a server that owns the database at ``path`` while the block runs."""
    started, done = threading.Event(), asyncio.Event()
    held: list[tuple[Server, asyncio.AbstractEventLoop]] = []

    async def run() -> None:
        with Database(path) as database:
            server = Server(database, "127.0.0.1", 0)
            await server.start()
            held.append((server, asyncio.get_running_loop()))
            started.set()
            await done.wait()
            await server.stop(1.0)

    serving = threading.Thread(target=lambda: asyncio.run(run()))
    serving.start()
    assert started.wait(30)
    [(server, loop)] = held
    try:
        yield server.target
    finally:
        loop.call_soon_threadsafe(done.set)
        serving.join()
