"""``ListLiquidations``: what is recorded of a symbol, in pages."""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from collections.abc import Callable
from datetime import UTC, datetime

import duckdb
import numpy as np

from liqserver.live.errors import InvalidField, MissingInput
from liqserver.live.names import find_symbol
from liqserver.rpc.convert import pack, pack_int64
from liqserver.store.database import Database
from liqserver.store.ledger import symbol_keys
from liqserver.store.liquidations import (
    LiquidationRows,
    LiquidationSums,
    Position,
    Saturation,
    aggregate_liquidations,
    list_liquidations,
    recorded,
    saturation,
)
from liqserver.v1 import common_pb2, liquidation_pb2

DEFAULT_PAGE_SIZE = 10_000
LARGEST_PAGE_SIZE = 100_000
SHORTEST_INTERVAL = 1_000_000_000
LONGEST_INTERVAL = 30 * 86_400 * 1_000_000_000

_SIDES = {common_pb2.SIDE_UNSPECIFIED: None, common_pb2.SIDE_LONG: 1, common_pb2.SIDE_SHORT: -1}
# A token is where the page before ended, and a digest of what was asked, which the next page has to ask as well.
_POSITION = struct.Struct("<qbdd")
_DIGEST_BYTES = 8


class RecordedLiquidations:
    """Answers ``ListLiquidations``; calls may come from several threads.

    Parameters
    ----------
    database : Database
        Open; each call uses a cursor of its own.
    clock : callable
        UNIX nanoseconds of now.
    """

    def __init__(self, database: Database, clock: Callable[[], int]) -> None:
        self._database = database
        self._clock = clock

    def list(self, request: liquidation_pb2.ListLiquidationsRequest) -> liquidation_pb2.ListLiquidationsResponse:
        """Return one page.

        Raises
        ------
        InvalidField
            If a field is not allowed, or the token is not one that an answer to the same question gave.
        UnknownName
            If there is no such symbol.
        MissingInput
            If nothing is recorded of it.
        """
        start = request.start if request.HasField("start") else None
        end = request.end if request.HasField("end") else None
        side = _check(request, start, end)
        cur = self._database.cursor()
        try:
            symbol_id, name = _resolve(cur, request.venue, request.symbol)
            asked = _digest(name, start, end, request)
            after = _read_token(request.page_token, asked)
            there = recorded(cur, symbol_id, start=start, end=end, side=side)
            if there is None:
                raise MissingInput(
                    "liquidations",
                    f"no liquidations of {name} are recorded: ingest liquidationSnapshot files of it, or "
                    "force_orders_DATE.csv recordings",
                )
            response = liquidation_pb2.ListLiquidationsResponse(
                total_rows=there.rows, recorded_start=there.start, recorded_end=there.end
            )
            limit = request.page_size or DEFAULT_PAGE_SIZE
            if request.interval:
                sums = aggregate_liquidations(
                    cur,
                    symbol_id,
                    start=start,
                    end=end,
                    side=side,
                    interval=request.interval,
                    limit=limit,
                    after=after.ts_event if after else None,
                )
                _fill_sums(response, sums)
                last = Position(int(sums.ts[-1]), 0, 0.0, 0.0) if sums.more else None
            else:
                rows = list_liquidations(cur, symbol_id, start=start, end=end, side=side, limit=limit, after=after)
                _fill_rows(response, rows)
                last = rows.last if rows.more else None
            if last is not None:
                response.next_page_token = _token(last, asked)
            full = saturation(cur, symbol_id, start=start, end=end)
            if full is not None:
                response.notices.append(_saturation_notice(full))
        finally:
            cur.close()
        response.generated_at = self._clock()
        return response


def _check(request: liquidation_pb2.ListLiquidationsRequest, start: int | None, end: int | None) -> int | None:
    """Check what can be checked without data; return the side."""
    if request.side not in _SIDES:
        raise InvalidField("side", int(request.side), f"must be one of {', '.join(map(str, sorted(_SIDES)))}")
    if request.interval and not SHORTEST_INTERVAL <= request.interval <= LONGEST_INTERVAL:
        raise InvalidField(
            "interval",
            request.interval,
            f"must be 0, or from {SHORTEST_INTERVAL} (1 second) to {LONGEST_INTERVAL} (30 days) nanoseconds",
        )
    if not 0 <= request.page_size <= LARGEST_PAGE_SIZE:
        raise InvalidField(
            "page_size", request.page_size, f"must be 1 to {LARGEST_PAGE_SIZE}, or 0 for {DEFAULT_PAGE_SIZE}"
        )
    if start is not None and end is not None and not start < end:
        raise InvalidField("start", start, f"must be before end, which was {end}")
    return _SIDES[request.side]


def _resolve(cur: duckdb.DuckDBPyConnection, venue: str, symbol: str) -> tuple[int, str]:
    """Return the key and the full name of a symbol."""
    keys = symbol_keys(cur)
    found = find_symbol(list(keys), venue, symbol)
    return keys[found], ":".join(found)


# --- pages -----------------------------------------------------------------------------------------------------


def _digest(name: str, start: int | None, end: int | None, request: liquidation_pb2.ListLiquidationsRequest) -> bytes:
    """Return a digest of all that must stay the same from page to page; the size of a page may change."""
    asked = (name, start, end, int(request.side), request.interval)
    return hashlib.blake2b(repr(asked).encode(), digest_size=_DIGEST_BYTES).digest()


def _token(last: Position, asked: bytes) -> str:
    packed = _POSITION.pack(last.ts_event, last.side, last.price, last.qty)
    return base64.urlsafe_b64encode(packed + asked).rstrip(b"=").decode()


def _read_token(token: str, asked: bytes) -> Position | None:
    if not token:
        return None
    try:
        data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if len(data) != _POSITION.size + _DIGEST_BYTES:
        raise InvalidField("page_token", repr(token[:80]), "must be empty or the next_page_token of an answer")
    if data[_POSITION.size :] != asked:
        raise InvalidField(
            "page_token",
            repr(token),
            "must be from an answer to the same question: symbol, venue, start, end, side and interval may not change "
            "from page to page",
        )
    return Position(*_POSITION.unpack(data[: _POSITION.size]))


# --- columns ---------------------------------------------------------------------------------------------------


def _fill_rows(response: liquidation_pb2.ListLiquidationsResponse, rows: LiquidationRows) -> None:
    columns = response.liquidations
    columns.SetInParent()
    pack_int64(columns, "ts_event", rows.ts_event)
    columns.side.extend(np.where(rows.side > 0, common_pb2.SIDE_LONG, common_pb2.SIDE_SHORT).tolist())
    pack(columns, "price", rows.price)
    pack(columns, "qty", rows.qty)
    pack(columns, "notional", rows.price * rows.qty)


def _fill_sums(response: liquidation_pb2.ListLiquidationsResponse, sums: LiquidationSums) -> None:
    columns = response.buckets
    columns.SetInParent()
    pack_int64(columns, "ts", sums.ts)
    for n, side in enumerate(("long", "short")):
        pack(columns, f"{side}_notional", sums.notional[n])
        pack(columns, f"{side}_qty", sums.qty[n])
        pack_int64(columns, f"{side}_count", sums.count[n])


def _saturation_notice(of: Saturation) -> str:
    worst = datetime.fromtimestamp(of.worst_ts // SHORTEST_INTERVAL, tz=UTC)
    return (
        "amounts are lower bounds: the feed shows at most one order of a symbol in a second, and in "
        f"{of.minutes:,} {'minute' if of.minutes == 1 else 'minutes'} there is one in more than half of the seconds "
        f"(most in {worst:%Y-%m-%d %H:%M} UTC, {of.worst_seconds} of 60); from first to last {of.occupied_seconds:,} "
        f"of {of.total_seconds:,} seconds hold one"
    )
