"""What the exchange says of its contracts: ``exchangeInfo``, from a file into the database.

The tick is in the price filter: the precision of prices beside it is finer than the tick for many symbols.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from liqserver import grid
from liqserver.store.database import StoreError

SOURCE = "exchangeInfo"
"""Name of this source of tick sizes."""


@dataclass(frozen=True, slots=True)
class Instrument:
    """A contract that is margined in its quote asset.

    Attributes
    ----------
    symbol, contract_type, status, base_asset, quote_asset : str
        As the exchange writes them.
    tick_size : float
        Smallest price step, quote units.
    step_size : float
        Smallest step of quantity, base units.
    onboard_ts, delivery_ts : int
        UNIX nanoseconds: begin of trading, and its end (far in the future for perpetuals).
    """

    symbol: str
    contract_type: str
    status: str
    base_asset: str
    quote_asset: str
    tick_size: float
    step_size: float
    onboard_ts: int
    delivery_ts: int


@dataclass(frozen=True, slots=True)
class Saved:
    """What saving instruments did.

    Attributes
    ----------
    ticks : tuple of str
        Sentences: symbols of the database whose tick is another now.
    conflicts : tuple of str
        Sentences: symbols whose tick stays as it is, since their stored bins are no multiple of the exchange's.
    """

    ticks: tuple[str, ...]
    conflicts: tuple[str, ...]


def read_exchange_info(path: Path) -> list[Instrument]:
    """Read the answer of ``GET /fapi/v1/exchangeInfo`` from a file.

    Raises
    ------
    StoreError
        If the file cannot be read, is none or is of other contracts, or if a value of a symbol is missing or
        impossible: then nothing of it is taken.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        info = json.loads(text)
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error}") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise StoreError(f"{path.name} must be JSON: {error}") from error
    symbols = info.get("symbols") if isinstance(info, dict) else None
    if not isinstance(symbols, list) or not symbols:
        raise StoreError(f"{path.name} must be an object with a list `symbols`, as exchangeInfo has it")
    found: dict[str, Instrument] = {}
    for n, entry in enumerate(symbols):
        instrument = _instrument(entry, f"{path.name}: symbols[{n}]")
        if instrument.symbol in found:
            raise StoreError(f"{path.name}: symbols[{n}]: {instrument.symbol} is there twice")
        found[instrument.symbol] = instrument
    return list(found.values())


def save_instruments(cur: duckdb.DuckDBPyConnection, venue: str, instruments: Sequence[Instrument], now: int) -> Saved:
    """Put instruments in the place of former ones of the same names, and give their ticks to symbols with data.

    The bins of stored flow stay; those of a symbol without flow are sized anew where they do not fit the tick.

    Parameters
    ----------
    cur : duckdb.DuckDBPyConnection
        Cursor within a transaction.
    venue : str
        Venue of all of them.
    instruments : sequence of Instrument
        What to save.
    now : int
        UNIX nanoseconds: the time of loading.
    """
    by_name = {instrument.symbol: instrument for instrument in instruments}
    cur.execute("DELETE FROM instruments WHERE venue = ? AND symbol IN (SELECT unnest(?))", [venue, list(by_name)])
    cur.executemany(
        "INSERT INTO instruments VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                *(venue, of.symbol, of.contract_type, of.status, of.base_asset, of.quote_asset),
                *(of.tick_size, of.step_size, of.onboard_ts, of.delivery_ts, now),
            )
            for of in instruments
        ],
    )
    ticks, conflicts = [], []
    rows = cur.execute(
        """
        SELECT symbol_id, symbol, tick_size, base_bin, EXISTS (FROM flow f WHERE f.symbol_id = s.symbol_id)
        FROM symbols s WHERE venue = ? ORDER BY symbol
        """,
        [venue],
    ).fetchall()
    for symbol_id, symbol, tick_size, base_bin, has_flow in rows:
        if symbol not in by_name:
            continue
        new = by_name[symbol].tick_size
        fits = grid.multiple_of(base_bin, new) is not None
        if not fits and has_flow:
            conflicts.append(
                f"{venue} {symbol}: its flow is stored in bins of {base_bin:g}, which is no multiple of the tick "
                f"{new:g}: it keeps the tick {tick_size:g}"
            )
            continue
        width = base_bin if fits else grid.base_bin(base_bin / grid.BASE_BIN_FRACTION, new)
        cur.execute(
            "UPDATE symbols SET tick_size = ?, tick_size_source = ?, base_bin = ? WHERE symbol_id = ?",
            [new, SOURCE, width, symbol_id],
        )
        if new != tick_size or width != base_bin:
            bins = "" if width == base_bin else f", its bins are {width:g} instead of {base_bin:g}"
            ticks.append(f"{venue} {symbol}: its tick is {new:g}, it was taken for {tick_size:g}{bins}")
    return Saved(tuple(ticks), tuple(conflicts))


def tick_size_of(cur: duckdb.DuckDBPyConnection, venue: str, symbol: str) -> float | None:
    """Return the tick size that the exchange states, None when it has not been loaded."""
    rows = cur.execute("SELECT tick_size FROM instruments WHERE venue = ? AND symbol = ?", [venue, symbol]).fetchall()
    return rows[0][0] if rows else None


def _instrument(entry: Any, where: str) -> Instrument:  # noqa: ANN401 - JSON
    if not isinstance(entry, dict):
        raise StoreError(f"{where} must be an object")
    symbol = _text(entry, "symbol", where)
    where = f"{where} ({symbol})"
    if "contractSize" in entry:
        raise StoreError(f"{where}: contracts of a fixed size in dollars (COIN-M) are not supported")
    if "contractType" not in entry:
        raise StoreError(f"{where}: contractType is missing: exchangeInfo of USD-M futures has it, of spot has not")
    return Instrument(
        symbol=symbol,
        contract_type=str(entry["contractType"]),
        status=_text(entry, "status", where),
        base_asset=_text(entry, "baseAsset", where),
        quote_asset=_text(entry, "quoteAsset", where),
        tick_size=_filter(entry, "PRICE_FILTER", "tickSize", where),
        step_size=_filter(entry, "LOT_SIZE", "stepSize", where),
        onboard_ts=_time(entry, "onboardDate", where),
        delivery_ts=_time(entry, "deliveryDate", where),
    )


def _text(entry: dict[str, Any], name: str, where: str) -> str:
    value = entry.get(name)
    if not isinstance(value, str) or not value:
        raise StoreError(f"{where}: {name} was {value!r}, must be a name")
    return value


def _time(entry: dict[str, Any], name: str, where: str) -> int:
    value = entry.get(name)
    # Milliseconds; nanoseconds of later years do not fit 64 bits.
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 9_223_372_036_854:
        raise StoreError(f"{where}: {name} was {value!r}, must be a time in milliseconds")
    return value * 1_000_000


def _filter(entry: dict[str, Any], kind: str, name: str, where: str) -> float:
    filters: Iterable[Any] = entry.get("filters") or ()
    value = next((f.get(name) for f in filters if isinstance(f, dict) and f.get("filterType") == kind), None)
    try:
        number = float("nan" if value is None else value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 < number < math.inf:
        raise StoreError(f"{where}: {name} of the filter {kind} was {value!r}, must be a positive number")
    return number
