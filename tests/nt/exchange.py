"""A stand-in for Binance's USD-M futures on loopback: the REST and WebSocket messages that its adapter needs."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.nt.processes import price_at

# What RFC 6455 has a server mix into its answer.
_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TEXT, _CLOSE, _PING, _PONG = 1, 8, 9, 10

EXCHANGE_INFO: dict[str, Any] = {
    "timezone": "UTC",
    "serverTime": 1_765_000_000_000,
    "rateLimits": [],
    "exchangeFilters": [],
    "assets": [],
    "symbols": [
        {
            "symbol": "BTCUSDT",
            "pair": "BTCUSDT",
            "contractType": "PERPETUAL",
            "deliveryDate": 4_133_404_800_000,
            "onboardDate": 1_569_398_400_000,
            "status": "TRADING",
            "maintMarginPercent": "2.5000",
            "requiredMarginPercent": "5.0000",
            "baseAsset": "BTC",
            "quoteAsset": "USDT",
            "marginAsset": "USDT",
            "pricePrecision": 2,
            "quantityPrecision": 3,
            "baseAssetPrecision": 8,
            "quotePrecision": 8,
            "underlyingType": "COIN",
            "underlyingSubType": ["PoW"],
            "triggerProtect": "0.0500",
            "liquidationFee": "0.012500",
            "marketTakeBound": "0.05",
            "filters": [
                {"filterType": "PRICE_FILTER", "maxPrice": "4529764", "minPrice": "556.80", "tickSize": "0.10"},
                {"filterType": "LOT_SIZE", "maxQty": "1000", "minQty": "0.001", "stepSize": "0.001"},
                {"filterType": "MARKET_LOT_SIZE", "maxQty": "120", "minQty": "0.001", "stepSize": "0.001"},
                {"filterType": "MAX_NUM_ORDERS", "limit": 200},
                {"filterType": "MIN_NOTIONAL", "notional": "100"},
                {
                    "filterType": "PERCENT_PRICE",
                    "multiplierDown": "0.9500",
                    "multiplierUp": "1.0500",
                    "multiplierDecimal": "4",
                },
            ],
            "orderTypes": ["LIMIT", "MARKET", "STOP", "STOP_MARKET"],
            "timeInForce": ["GTC", "IOC", "FOK", "GTX", "GTD"],
        }
    ],
}


class Exchange:
    """Trades ten times a second while someone listens, tells a mark price every second, settles funding once.

    Attributes
    ----------
    http_url, ws_url : str
        Its addresses.
    asked : list of str
        Paths of REST requests, in their order.
    trades : int
        Trades that were sent so far.
    refusing : bool
        Whether questions for open interest are refused.
    """

    OPEN_INTEREST = 12_345.678
    RATE = "0.00012500"

    def __init__(self) -> None:
        self.http_url = self.ws_url = ""
        self.asked: list[str] = []
        self.trades = 0
        self.refusing = False
        # Milliseconds; when it has passed, the funding time that is told changes to the next one.
        self.settles: int | None = None
        self._streams: dict[asyncio.StreamWriter, set[str]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        """Cut all WebSockets; new ones are let in."""

        def cut() -> None:
            for writer in list(self._streams):
                writer.transport.abort()

        self._loop.call_soon_threadsafe(cut)

    @property
    def streams(self) -> set[str]:
        """What is subscribed to."""
        return set().union(*self._streams.values())

    async def run(self, ready: threading.Event, done: asyncio.Event) -> None:
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        self.http_url, self.ws_url = f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{port}"
        ready.set()
        ticking = asyncio.create_task(self._tick())
        await done.wait()
        ticking.cancel()
        server.close()
        # Those who ask keep their connections for the next question.
        for writer in list(self._writers):
            writer.transport.abort()
        await asyncio.gather(ticking, *self._tasks, return_exceptions=True)
        await server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._writers.add(writer)
        try:
            while asked := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = asked.decode().split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                url = urlsplit(first.split(" ")[1])
                if headers.get("upgrade", "").lower() == "websocket":
                    await self._websocket(url.query, headers, reader, writer)
                    return
                self.asked.append(url.path)
                status, answer = self._answer(url.path, parse_qs(url.query))
                body = json.dumps(answer).encode()
                head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
                writer.write(head.encode() + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._streams.pop(writer, None)
            self._writers.discard(writer)
            writer.close()

    def _answer(self, path: str, query: dict[str, list[str]]) -> tuple[str, object]:
        if path == "/fapi/v1/exchangeInfo":
            return "200 OK", EXCHANGE_INFO | {"serverTime": int(time.time() * 1000)}
        if path == "/fapi/v1/openInterest" and query.get("symbol") == ["BTCUSDT"]:
            if self.refusing:
                return "429 Too Many Requests", {"code": -1003, "msg": "Too many requests."}
            now = int(time.time() * 1000)
            return "200 OK", {"openInterest": str(self.OPEN_INTEREST), "symbol": "BTCUSDT", "time": now}
        return "404 Not Found", {"code": -1, "msg": f"the stand-in has no {path}"}

    async def _websocket(
        self, query: str, headers: dict[str, str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        accepted = base64.b64encode(hashlib.sha1(headers["sec-websocket-key"].encode() + _MAGIC).digest()).decode()
        writer.write(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accepted}\r\n\r\n".encode()
        )
        streams = self._streams[writer] = set(parse_qs(query)["streams"][0].split("/"))
        while True:
            opcode, payload = await _frame(reader)
            if opcode == _CLOSE:
                writer.write(_framed(_CLOSE, payload))
                return
            if opcode == _PING:
                writer.write(_framed(_PONG, payload))
            elif opcode == _TEXT:
                order = json.loads(payload)
                changed: Callable[..., None] = (
                    streams.update if order["method"] == "SUBSCRIBE" else streams.difference_update
                )
                changed(order["params"])
                writer.write(_framed(_TEXT, json.dumps({"result": None, "id": order["id"]}).encode()))

    async def _tick(self) -> None:
        beats = 0
        while True:
            await asyncio.sleep(0.1)
            beats += 1
            if "btcusdt@aggTrade" in self.streams:
                self._send("btcusdt@aggTrade", self._trade())
            if beats % 10 == 0 and "btcusdt@markPrice@1s" in self.streams:
                self._send("btcusdt@markPrice@1s", self._mark_price())

    def _trade(self) -> dict[str, Any]:
        self.trades += 1
        now = int(time.time() * 1000)
        price = f"{price_at(now * 1_000_000):.1f}"
        return {
            "e": "aggTrade",
            "E": now,
            "s": "BTCUSDT",
            "a": self.trades,
            "p": price,
            "q": "2.500",
            "f": self.trades,
            "l": self.trades,
            "T": now,
            "m": self.trades % 2 == 0,
        }

    def _mark_price(self) -> dict[str, Any]:
        now = int(time.time() * 1000)
        price = f"{price_at(now * 1_000_000):.8f}"
        if self.settles is None:
            self.settles = now + 2_500
        settled = now >= self.settles
        settles = self.settles + 8 * 3_600_000 if settled else self.settles
        rate = "0.00000100" if settled else self.RATE
        return {
            "e": "markPriceUpdate",
            "E": now,
            "s": "BTCUSDT",
            "p": price,
            "i": price,
            "P": price,
            "r": rate,
            "T": settles,
        }

    def _send(self, stream: str, data: dict[str, Any]) -> None:
        frame = _framed(_TEXT, json.dumps({"stream": stream, "data": data}).encode())
        for writer, streams in self._streams.items():
            if stream in streams:
                writer.write(frame)


async def _frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Return opcode and payload of a client's frame, which is whole and masked."""
    first, second = await reader.readexactly(2)
    length = second & 127
    if length == 126:
        [length] = struct.unpack("!H", await reader.readexactly(2))
    mask = await reader.readexactly(4)
    payload = await reader.readexactly(length)
    return first & 15, bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


def _framed(opcode: int, payload: bytes) -> bytes:
    length = len(payload)
    head = bytes([128 | opcode, length]) if length < 126 else bytes([128 | opcode, 126]) + struct.pack("!H", length)
    return head + payload


@contextmanager
def trading() -> Iterator[Exchange]:
    """Yield a stand-in that runs in a thread."""
    exchange, ready = Exchange(), threading.Event()
    held: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def run() -> None:
        done = asyncio.Event()
        held.append((asyncio.get_running_loop(), done))
        await exchange.run(ready, done)

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    assert ready.wait(10)
    try:
        yield exchange
    finally:
        [(loop, done)] = held
        loop.call_soon_threadsafe(done.set)
        thread.join()
