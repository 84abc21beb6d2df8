"""Market events in columns, and archive files read as such, in the order in which they happened."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from liqserver.store.archive import METRICS_PERIOD, ArchiveFile, Kind, find_files, unpack
from liqserver.store.loaders import STAMP_CHANGE

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_MS = 1_000_000
# Kinds of files that events are made of.
EVENT_KINDS = (Kind.AGG_TRADES, Kind.MARK_PRICE_KLINES, Kind.METRICS, Kind.FUNDING_RATE)


def _no_ints() -> Ints:
    return np.empty(0, dtype=np.int64)


def _no_floats() -> Floats:
    return np.empty(0, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Batch:
    """Events of one symbol in columns, those of one kind of equal length; times are UNIX nanoseconds.

    Attributes
    ----------
    trade_id, trade_ts : int64
    trade_price, trade_qty : float64
        Quote units, base units.
    taker_buy : bool
    mark_ts : int64
    mark_price : float64
    oi_ts : int64
    open_interest : float64
        Contracts.
    funding_ts : int64
    funding_rate, funding_hours : float64
        Rate that was settled, as a fraction, and the hours it is for.
    liquidation_ts : int64
    liquidation_side : int8
        Of the position: +1 a long was liquidated, -1 a short.
    liquidation_price, liquidation_qty : float64
    complete_until : int, optional
        No event before this moment follows.
    """

    trade_id: Ints = field(default_factory=_no_ints)
    trade_ts: Ints = field(default_factory=_no_ints)
    trade_price: Floats = field(default_factory=_no_floats)
    trade_qty: Floats = field(default_factory=_no_floats)
    taker_buy: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, dtype=np.bool_))
    mark_ts: Ints = field(default_factory=_no_ints)
    mark_price: Floats = field(default_factory=_no_floats)
    oi_ts: Ints = field(default_factory=_no_ints)
    open_interest: Floats = field(default_factory=_no_floats)
    funding_ts: Ints = field(default_factory=_no_ints)
    funding_rate: Floats = field(default_factory=_no_floats)
    funding_hours: Floats = field(default_factory=_no_floats)
    liquidation_ts: Ints = field(default_factory=_no_ints)
    liquidation_side: NDArray[np.int8] = field(default_factory=lambda: np.empty(0, dtype=np.int8))
    liquidation_price: Floats = field(default_factory=_no_floats)
    liquidation_qty: Floats = field(default_factory=_no_floats)
    complete_until: int | None = None

    def __len__(self) -> int:
        """Return the number of events."""
        return sum(map(len, (self.trade_ts, self.mark_ts, self.oi_ts, self.funding_ts, self.liquidation_ts)))


def archive_batches(paths: Iterable[Path], span: int) -> Iterator[tuple[str, Batch]]:
    """Read archive files as events: trades, mark prices, open interest and funding, a day of files at a time.

    A candle of mark prices is told by its open at its start, its high and low, and its close at its end.

    Parameters
    ----------
    paths : iterable of Path
        Files, and folders with everything below them.
    span : int
        Nanoseconds of events in a batch.

    Yields
    ------
    symbol, batch
        By symbol and time; each batch says that it is complete.

    Raises
    ------
    ArchiveError
        If a path does not exist or holds nothing of the archive.
    FileRejectedError
        If a file cannot be read.
    """
    readable, _ = find_files(paths)
    by_symbol: dict[str, list[ArchiveFile]] = {}
    for file in readable:
        if file.kind in EVENT_KINDS:
            by_symbol.setdefault(file.symbol, []).append(file)
    for symbol, files in by_symbol.items():
        with tempfile.TemporaryDirectory() as folder, duckdb.connect() as connection:
            events = {kind: _read(connection, files, kind, Path(folder)) for kind in EVENT_KINDS}
        moments = [of["ts"] for of in events.values() if len(of["ts"])]
        if not moments:
            continue
        start, end = min(int(ts[0]) for ts in moments), max(int(ts[-1]) for ts in moments)
        for at in range(start // span * span, end + 1, span):
            part = {kind: _between(of, at, at + span) for kind, of in events.items()}
            trades, mark = part[Kind.AGG_TRADES], part[Kind.MARK_PRICE_KLINES]
            metrics, funding = part[Kind.METRICS], part[Kind.FUNDING_RATE]
            batch = Batch(
                trade_id=trades["id"],
                trade_ts=trades["ts"],
                trade_price=trades["price"],
                trade_qty=trades["qty"],
                taker_buy=trades["taker_buy"],
                mark_ts=mark["ts"],
                mark_price=mark["price"],
                oi_ts=metrics["ts"],
                open_interest=metrics["open_interest"],
                funding_ts=funding["ts"],
                funding_rate=funding["rate"],
                funding_hours=funding["hours"],
                complete_until=at + span,
            )
            if len(batch):
                yield symbol, batch


_SELECTS = {
    Kind.AGG_TRADES: (
        "SELECT agg_trade_id AS id, transact_time * {to_ns} AS ts, price, quantity AS qty, "
        "NOT is_buyer_maker AS taker_buy FROM {csv}"
    ),
    Kind.METRICS: "SELECT epoch_ns(create_time) AS ts, sum_open_interest AS open_interest FROM {csv}",
    Kind.FUNDING_RATE: (
        "SELECT calc_time * {to_ns} AS ts, last_funding_rate AS rate, funding_interval_hours::DOUBLE AS hours "
        "FROM {csv}"
    ),
    # Four prices a candle, in the order open, high, low, close: its range is what liquidates.
    Kind.MARK_PRICE_KLINES: (
        "SELECT open_time * {to_ns} + offset_ns AS ts, price FROM (SELECT open_time, unnest([{{o: 0, p: open}}, "
        "{{o: 1000000, p: high}}, {{o: 2000000, p: low}}, {{o: 59999000000, p: close}}], recursive := true) "
        "FROM {csv}) AS t(open_time, offset_ns, price)"
    ),
}
_EMPTY: dict[Kind, dict[str, NDArray[Any]]] = {
    Kind.AGG_TRADES: {
        "id": _no_ints(),
        "ts": _no_ints(),
        "price": _no_floats(),
        "qty": _no_floats(),
        "taker_buy": np.empty(0, dtype=np.bool_),
    },
    Kind.METRICS: {"ts": _no_ints(), "open_interest": _no_floats()},
    Kind.FUNDING_RATE: {"ts": _no_ints(), "rate": _no_floats(), "hours": _no_floats()},
    Kind.MARK_PRICE_KLINES: {"ts": _no_ints(), "price": _no_floats()},
}


def _read(
    connection: duckdb.DuckDBPyConnection, files: list[ArchiveFile], kind: Kind, folder: Path
) -> dict[str, NDArray[Any]]:
    """Return all rows of a kind, by time."""
    parts = []
    for file in files:
        if file.kind is not kind or (kind is Kind.MARK_PRICE_KLINES and file.period != 60_000 * _MS):
            continue
        csv = unpack(file, folder)
        columns = connection.execute(_SELECTS[kind].format(csv=csv.sql(), to_ns=csv.to_ns)).fetchnumpy()
        if csv.path != file.path:
            csv.path.unlink()
        if kind is Kind.METRICS:
            ts = columns["ts"]
            columns["ts"] = np.where(ts >= STAMP_CHANGE, ts + METRICS_PERIOD, ts)
            known = columns["open_interest"] > 0
            columns = {name: values[known] for name, values in columns.items()}
        parts.append(columns)
    if not parts:
        return _EMPTY[kind]
    together = {name: np.concatenate([np.asarray(part[name]) for part in parts]) for name in parts[0]}
    order = np.argsort(together["ts"], kind="stable")
    return {name: values[order] for name, values in together.items()}


def _between(columns: dict[str, NDArray[Any]], start: int, end: int) -> dict[str, NDArray[Any]]:
    first, last = np.searchsorted(columns["ts"], [start, end])
    return {name: values[first:last] for name, values in columns.items()}
