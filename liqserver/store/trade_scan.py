"""Scan of trades in compiled code: text to minute × bin × size × taker in one pass, several threads.

It knows the plain form in which the exchange writes trades, in order and without gaps in their ids, and gives up on
anything else: then DuckDB's reader, which is slower and knows every form, takes the file. Both give the same figures
to the last bit.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numba import njit
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]

# Bytes of text that one call scans: its groups fit the cache, and there is work for every thread.
_CHUNK = 4 << 20
# Shortest row there can be, in bytes: six fields, one of them a time of thirteen digits.
_SHORTEST_ROW = 24
# Mantissas up to here are exact in a double, and so is their quotient by a power of ten up to 1e22 rounded once.
_EXACT = 1 << 53
_LARGEST_SUM = 1 << 62
_POWERS = np.array([float(f"1e{n}") for n in range(23)])

# Columns of the groups and of the large trades that a chunk gives.
_KEY, _QTY, _NOTIONAL, _COUNT = range(4)


@dataclass(frozen=True, slots=True)
class TradeGroups:
    """Trades of a file, reduced; rows of one key may occur more than once and are to be added.

    Attributes
    ----------
    groups : dict of str to array
        minute (UNIX), bin, size (size class plus one), is_buyer_maker, qty and notional (whole units of the scales
        that were given), count; all of one length.
    large : dict of str to array
        id, price, qty, ts (as written), minute, is_buyer_maker of the trades of at least the threshold, in order.
    rows : int
        Trades.
    first_id, last_id : int
        Ids of the first and the last; every id between is there once.
    """

    groups: dict[str, NDArray[np.generic]]
    large: dict[str, NDArray[np.generic]]
    rows: int
    first_id: int
    last_id: int


def scan_trades(
    path: Path,
    *,
    header: bool,
    skipped: int,
    minute: int,
    base_bin: float,
    qty_scale: int,
    notional_scale: int,
    large_notional: float,
    threads: int,
) -> TradeGroups | None:
    """Scan a file of trades: id, price, quantity, columns without a use, time, is_buyer_maker.

    Parameters
    ----------
    path : Path
        Text with the columns of the archive.
    header : bool
        Whether to skip the first line.
    skipped : int
        Columns between quantity and time.
    minute : int
        One minute in the unit of the file's times.
    base_bin : float
        Width of a bin, quote units.
    qty_scale, notional_scale : int
        Units in one base unit and one quote unit in which sums are kept.
    large_notional : float
        Least notional of a large trade, quote units.
    threads : int
        Threads to scan with.

    Returns
    -------
    TradeGroups or None
        None when there is anything but plain rows with positive numbers and ids that count up by one.
    """
    text: Bytes = np.memmap(path, dtype=np.uint8, mode="r")
    begin = int(np.argmax(text[:_CHUNK] == ord("\n"))) + 1 if header else 0
    starts = list(range(begin, len(text), _CHUNK))

    def scan(start: int) -> tuple[Ints, Ints, Floats, Ints] | None:
        found: tuple[Ints, Ints, Floats, Ints] = _scan_chunk(
            text,
            start,
            min(start + _CHUNK, len(text)),
            start == begin,
            skipped,
            minute,
            base_bin,
            float(qty_scale),
            float(notional_scale),
            large_notional,
            _POWERS,
        )
        return found if found[0][0] >= 0 else None

    ids: list[tuple[int, int]] = []
    groups, large_numbers, large_keys = [], [], []
    rows = 0
    with ThreadPoolExecutor(threads) as pool:
        for found in pool.map(scan, starts):
            if found is None:
                pool.shutdown(cancel_futures=True)
                return None
            (count, first, last), group, numbers, keys = found
            if not count:
                continue
            if ids and first != ids[-1][1] + 1:
                pool.shutdown(cancel_futures=True)
                return None
            rows += int(count)
            ids.append((int(first), int(last)))
            groups.append(group)
            large_numbers.append(numbers)
            large_keys.append(keys)
    if not ids:
        return None
    group, numbers, keys = np.concatenate(groups), np.concatenate(large_numbers), np.concatenate(large_keys)
    key = group[:, _KEY]
    return TradeGroups(
        groups={
            "minute": key >> 35,
            "bin": ((key >> 4) & 0x7FFFFFFF).astype(np.int32),
            "size": ((key >> 1) & 7).astype(np.uint8),
            "is_buyer_maker": (key & 1).astype(np.bool_),
            "qty": group[:, _QTY].copy(),
            "notional": group[:, _NOTIONAL].copy(),
            "count": group[:, _COUNT].copy(),
        },
        large={
            "id": keys[:, 0].copy(),
            "price": numbers[:, 0].copy(),
            "qty": numbers[:, 1].copy(),
            "ts": keys[:, 1] >> 1,
            "minute": (keys[:, 1] >> 1) // minute,
            "is_buyer_maker": (keys[:, 1] & 1).astype(np.bool_),
        },
        rows=rows,
        first_id=ids[0][0],
        last_id=ids[-1][1],
    )


@njit(cache=True, nogil=True)
def _whole(text: Bytes, at: int, end: int) -> tuple[int, int]:
    """Read digits: return their value and where they stop; -1 without digits or with more than 18."""
    value = 0
    start = at
    while at < end:
        digit = int(text[at]) - 48
        if digit < 0 or digit > 9:
            break
        value = value * 10 + digit
        at += 1
    if at == start or at - start > 18:
        return -1, at
    return value, at


@njit(cache=True, nogil=True)
def _decimal(text: Bytes, at: int, end: int, powers: Floats) -> tuple[float, int]:
    """Read a number such as 12.5 or 1e-05: return it, rounded once, and where it stops; -1.0 if it is not plain."""
    value = 0
    start = at
    point = -1
    while at < end:
        c = text[at]
        digit = int(c) - 48
        if digit >= 0 and digit <= 9:
            value = value * 10 + digit
        elif c == 46 and point < 0:
            point = at
        else:
            break
        at += 1
    digits = at - start - (1 if point >= 0 else 0)
    decimals = at - point - 1 if point >= 0 else 0
    if digits == 0 or digits > 18 or value >= _EXACT:
        return -1.0, at
    if at + 1 < end and text[at] == 101 and text[at + 1] == 45:
        exponent, at = _whole(text, at + 2, end)
        if exponent < 0:
            return -1.0, at
        decimals += exponent
    if decimals > 22:
        return -1.0, at
    return value / powers[decimals], at


@njit(cache=True, nogil=True)
def _scan_chunk(
    text: Bytes,
    start: int,
    stop: int,
    whole_first: bool,
    skipped: int,
    minute: int,
    base_bin: float,
    qty_scale: float,
    notional_scale: float,
    large_notional: float,
    powers: Floats,
) -> tuple[Ints, Ints, Floats, Ints]:
    """Scan the rows that begin in ``[start, stop)``.

    Returns (rows, first id, last id) with rows -1 when it gives up; the groups, shape (g, 4); of large trades price
    and quantity, shape (n, 2), and id and twice the time plus is_buyer_maker, shape (n, 2).
    """
    end = len(text)
    most = (stop - start) // _SHORTEST_ROW + 2
    slots = 1
    while slots < 2 * most:
        slots *= 2
    table = np.zeros(slots, np.int32)
    groups = np.empty((most, 4), np.int64)
    n_groups = 0
    large_numbers = np.empty((1024, 2), np.float64)
    large_keys = np.empty((1024, 2), np.int64)
    n_large = 0
    given_up = np.full(3, -1, np.int64)
    rows = 0
    first_id = 0
    last_id = 0

    at = start
    if not whole_first:
        # The row that reaches into the chunk belongs to the one before.
        at = start - 1
        while at < end and text[at] != 10:
            at += 1
        at += 1
    while at < stop:
        if text[at] == 10:
            at += 1
            continue
        trade_id, at = _whole(text, at, end)
        if trade_id < 0 or at >= end or text[at] != 44:
            return given_up, groups[:0], large_numbers[:0], large_keys[:0]
        if rows == 0:
            first_id = trade_id
        elif trade_id != last_id + 1:
            return given_up, groups[:0], large_numbers[:0], large_keys[:0]
        last_id = trade_id
        price, at = _decimal(text, at + 1, end, powers)
        if not price > 0 or at >= end or text[at] != 44:
            return given_up, groups[:0], large_numbers[:0], large_keys[:0]
        qty, at = _decimal(text, at + 1, end, powers)
        if not qty > 0 or at >= end or text[at] != 44:
            return given_up, groups[:0], large_numbers[:0], large_keys[:0]
        for _ in range(skipped):
            at += 1
            while at < end and text[at] != 44 and text[at] != 10:
                at += 1
            if at >= end or text[at] != 44:
                return given_up, groups[:0], large_numbers[:0], large_keys[:0]
        ts, at = _whole(text, at + 1, end)
        if ts < 0 or at + 4 >= end or text[at] != 44:
            return given_up, groups[:0], large_numbers[:0], large_keys[:0]
        at += 1
        if text[at] == 116 and text[at + 1] == 114 and text[at + 2] == 117 and text[at + 3] == 101:
            maker = 1
            at += 4
        elif (
            text[at] == 102
            and text[at + 1] == 97
            and text[at + 2] == 108
            and text[at + 3] == 115
            and at + 4 < end
            and text[at + 4] == 101
        ):
            maker = 0
            at += 5
        else:
            return given_up, groups[:0], large_numbers[:0], large_keys[:0]
        if at < end and text[at] == 13:
            at += 1
        if at < end and text[at] != 10:
            return given_up, groups[:0], large_numbers[:0], large_keys[:0]
        at += 1

        notional = price * qty
        place = np.floor(price / base_bin + 1e-9)
        scaled_qty = np.rint(qty * qty_scale)
        scaled_notional = np.rint(notional * notional_scale)
        if place >= 2147483647.0 or scaled_qty >= _LARGEST_SUM or scaled_notional >= _LARGEST_SUM:
            return given_up, groups[:0], large_numbers[:0], large_keys[:0]
        moment = ts // minute
        if moment >= 1 << 28:
            return given_up, groups[:0], large_numbers[:0], large_keys[:0]
        size = 1 + (notional >= 1e3) + (notional >= 1e4) + (notional >= 1e5) + (notional >= 1e6)
        key = (moment << 35) | (int(place) << 4) | (size << 1) | maker

        slot = ((key * -7046029254386353131) >> 20) & (slots - 1)
        while True:
            held = table[slot]
            if held == 0:
                if n_groups == most:
                    return given_up, groups[:0], large_numbers[:0], large_keys[:0]
                groups[n_groups, _KEY] = key
                groups[n_groups, _QTY] = int(scaled_qty)
                groups[n_groups, _NOTIONAL] = int(scaled_notional)
                groups[n_groups, _COUNT] = 1
                n_groups += 1
                table[slot] = n_groups
                break
            if groups[held - 1, _KEY] == key:
                groups[held - 1, _QTY] += int(scaled_qty)
                groups[held - 1, _NOTIONAL] += int(scaled_notional)
                groups[held - 1, _COUNT] += 1
                if groups[held - 1, _QTY] >= _LARGEST_SUM or groups[held - 1, _NOTIONAL] >= _LARGEST_SUM:
                    return given_up, groups[:0], large_numbers[:0], large_keys[:0]
                break
            slot = (slot + 1) & (slots - 1)

        if notional >= large_notional:
            if n_large == len(large_numbers):
                numbers, keys = large_numbers, large_keys
                large_numbers = np.empty((2 * n_large, 2), np.float64)
                large_keys = np.empty((2 * n_large, 2), np.int64)
                large_numbers[:n_large] = numbers
                large_keys[:n_large] = keys
            large_numbers[n_large, 0] = price
            large_numbers[n_large, 1] = qty
            large_keys[n_large, 0] = trade_id
            large_keys[n_large, 1] = 2 * ts + maker
            n_large += 1
        rows += 1
    return (
        np.array([rows, first_id, last_id], np.int64),
        groups[:n_groups].copy(),
        large_numbers[:n_large].copy(),
        large_keys[:n_large].copy(),
    )
