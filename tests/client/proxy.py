"""A TCP proxy that can stall or cut what goes through it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Proxy:
    """Passes bytes on, in a thread, until told otherwise."""

    def __init__(self, target: str) -> None:
        self._host, port = target.rsplit(":", 1)
        self._port = int(port)
        self._links: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.target = ""

    def stall(self) -> None:
        """Hold back everything from the server."""
        self._loop.call_soon_threadsafe(self._open.clear)

    def flow(self) -> None:
        """Pass everything on again."""
        self._loop.call_soon_threadsafe(self._open.set)

    def cut(self) -> None:
        """Cut all connections; new ones are let in."""

        def cut() -> None:
            for writer in self._links:
                writer.transport.abort()

        self._loop.call_soon_threadsafe(cut)

    async def run(self, ready: threading.Event, done: asyncio.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._open = asyncio.Event()
        self._open.set()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.target = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        ready.set()
        await done.wait()
        server.close()
        for writer in self._links:
            writer.transport.abort()
        await asyncio.gather(*self._tasks)
        await server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, to = await asyncio.open_connection(self._host, self._port)
        except OSError:
            writer.close()
            return
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._links |= {writer, to}
        await asyncio.gather(self._pass(reader, to, held=False), self._pass(there, writer, held=True))
        self._links -= {writer, to}

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, held: bool) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                if held:
                    await self._open.wait()
                writer.write(data)
                await writer.drain()
        writer.close()


@contextmanager
def proxied(target: str) -> Iterator[Proxy]:
    """Yield a proxy before the server at ``target``."""
    proxy, ready = Proxy(target), threading.Event()
    held: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def run() -> None:
        done = asyncio.Event()
        held.append((asyncio.get_running_loop(), done))
        await proxy.run(ready, done)

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    assert ready.wait(10)
    try:
        yield proxy
    finally:
        [(loop, done)] = held
        loop.call_soon_threadsafe(proxy.flow)
        loop.call_soon_threadsafe(done.set)
        thread.join()
