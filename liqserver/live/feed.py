"""Published events in: what is open shows at once, what has ended is stored and joins the history."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liqserver.kernel import History
from liqserver.live.engine import LevelsEngine
from liqserver.live.errors import InvalidField, Refused
from liqserver.live.intake import Added, Intake
from liqserver.live.names import find_symbol
from liqserver.store.database import Database, StoreError
from liqserver.store.events import Batch
from liqserver.store.history import MINUTE, history_of
from liqserver.store.ingest import register_symbol
from liqserver.store.ledger import symbol_keys
from liqserver.store.live_rows import (
    LiveRows,
    settlements_after,
    stored_symbol,
    write_live,
)

# Most events that are taken at once.
FEW = 64


@dataclass(frozen=True, slots=True)
class Position:
    """How far a symbol is; UNIX nanoseconds.

    Attributes
    ----------
    venue, symbol : str
        Which.
    durable : int
        Every event before this moment is stored and need never be sent again.
    accepts_from : int
        Events before this moment are refused.
    watermarks : dict of str to int
        Newest moment of each input.
    """

    venue: str
    symbol: str
    durable: int
    accepts_from: int
    watermarks: dict[str, int]


class _Symbol:
    """One symbol's intake and what its history needs; ``begin`` comes before all else."""

    def __init__(self, key: tuple[str, str]) -> None:
        self.key = key
        self.lock = threading.Lock()
        self.begun = False

    def begin(self, database: Database, history: History) -> None:
        """Go on after what is stored, of which ``history`` was made; what is open beyond that stays."""
        stored = stored_symbol(database, *self.key)
        end = int(history.step_end[-1]) if len(history) else 0
        until = -(-max(end, stored.until) // MINUTE) * MINUTE
        self.symbol_id = stored.symbol_id
        self.base_bin = stored.base_bin
        if not self.begun:
            self.intake = Intake(stored.base_bin, until)
            self.durable = until
        elif until > self.intake.closed_until:
            self.intake.leave_out(until)
            self.durable = until
        # Newest price of what has ended: what the next steps begin with.
        self.close = float(history.mark_close[-1]) if len(history) else np.nan
        # Settlements after the last step: they belong to the step that follows.
        self.unsettled = settlements_after(database, stored.symbol_id, end)
        self.begun = True


class Feed:
    """Takes batches of any symbol, from several threads; owns what is written of them.

    Parameters
    ----------
    database : Database
        Open for writing.
    engine : LevelsEngine
        Answers from what was taken.
    clock : callable
        UNIX nanoseconds of now.
    """

    def __init__(self, database: Database, engine: LevelsEngine, clock: Callable[[], int]) -> None:
        self._database = database
        self._engine = engine
        self._clock = clock
        self._lock = threading.Lock()
        self._symbols: dict[tuple[str, str], _Symbol] = {}
        self._unwritten: list[tuple[_Symbol, LiveRows]] = []
        self._writing = threading.Lock()

    def publish(self, venue: str, symbol: str, tick_size: float, batch: Batch) -> tuple[Added, Position]:
        """Take a batch; what it changes can be asked for when this returns.

        Raises
        ------
        InvalidField, UnknownName
            If the symbol is not known and venue or tick size are missing, or are not allowed.
        Refused
            If the database is only read.
        """
        of = self._symbol(venue, symbol, tick_size, batch)
        with of.lock:
            return self._take(of, batch)

    def publish_at_once(self, venue: str, symbol: str, batch: Batch) -> tuple[Added, Position] | None:
        """Take a batch as ``publish`` does if that is little work and nothing has to be waited for; else return None.

        Little work is at most ``FEW`` events by which no minute ends.
        """
        of = self._symbols.get((venue, symbol))
        if of is None or not of.begun or len(batch) > FEW or not of.lock.acquire(blocking=False):
            return None
        try:
            return None if of.intake.would_end_minute(batch) else self._take(of, batch)
        finally:
            of.lock.release()

    def position(self, venue: str, symbol: str) -> Position:
        """Return how far a symbol is; raises as `publish` does."""
        of = self._symbol(venue, symbol, 0.0, None)
        with of.lock:
            return self._position(of)

    def refresh(self, venue: str, symbol: str) -> None:
        """Have a market read anew, of which files brought data; see ``LevelsEngine.refresh``."""
        with self._lock:
            of = self._symbols.get((venue, symbol))
        if of is None or not of.begun:
            self._engine.refresh(venue, symbol)
            return

        def pending(history: History) -> History | None:
            of.begin(self._database, history)
            return self._pending(of)

        with of.lock:
            self.write()
            self._engine.refresh(venue, symbol, pending)

    def write(self) -> list[Position]:
        """Store what has ended since the last call, and return the symbols it is of with how far they are then."""
        with self._writing:
            with self._lock:
                rows, self._unwritten = self._unwritten, []
            if not rows:
                return []
            by_symbol: dict[_Symbol, list[LiveRows]] = {}
            for of, ended in rows:
                by_symbol.setdefault(of, []).append(ended)
            try:
                joined = [(of.symbol_id, _joined(spans)) for of, spans in by_symbol.items()]
                write_live(self._database, joined, self._clock())
            except BaseException:
                with self._lock:
                    self._unwritten = rows + self._unwritten
                raise
            for of, spans in by_symbol.items():
                of.durable = max(of.durable, spans[-1].end)
            return [self._position(of) for of in by_symbol]

    def _take(self, of: _Symbol, batch: Batch) -> tuple[Added, Position]:
        added = of.intake.add(batch)
        ended = of.intake.close()
        steps = None
        if ended is not None:
            steps = self._steps(of, ended)
            with self._lock:
                self._unwritten.append((of, ended))
        if added.accepted or ended is not None:
            self._engine.extend(*of.key, steps, self._pending(of))
        return added, self._position(of)

    def _symbol(self, venue: str, symbol: str, tick_size: float, batch: Batch | None) -> _Symbol:
        with self._lock:
            held = self._symbols.get((venue, symbol))
        if held is not None and held.begun:
            return held
        if self._database.read_only:
            raise Refused("READ_ONLY", "this server holds its database for reading only")
        key = self._known(venue, symbol, tick_size, batch)
        with self._lock:
            of = self._symbols.setdefault(key, _Symbol(key))
        with of.lock:
            if not of.begun:
                of.begin(self._database, self._engine.resident(*key).market.history)
        with self._lock:
            self._symbols[venue, symbol] = of
        return of

    def _known(self, venue: str, symbol: str, tick_size: float, batch: Batch | None) -> tuple[str, str]:
        names = list(symbol_keys(self._database.cursor()))
        if any(of[1] == symbol and venue in ("", of[0]) for of in names) or not (venue and symbol and batch):
            return find_symbol(names, venue, symbol)
        prices = np.concatenate([batch.trade_price, batch.mark_price])
        prices = prices[np.isfinite(prices) & (prices > 0)]
        if not (np.isfinite(tick_size) and tick_size > 0):
            raise InvalidField("tick_size", tick_size, f"must be a positive number: {venue}:{symbol} is new")
        if not len(prices):
            raise InvalidField(
                "trades", "without prices", f"but {venue}:{symbol} is new: its first batch needs trades or mark prices"
            )
        try:
            register_symbol(self._database, venue, symbol, float(prices[0]), tick_size, "published")
        except StoreError as error:
            raise Refused("SYMBOL_REFUSED", str(error)) from None
        self._engine.refresh(venue, symbol)
        return venue, symbol

    def _steps(self, of: _Symbol, rows: LiveRows) -> History | None:
        """Return the steps of rows that have ended, None if there are none."""
        steps = history_of(rows.rows(), of.base_bin, before=of.close, unsettled=of.unsettled)
        settled = [*of.unsettled, *zip(*(rows.funding[name].tolist() for name in ("ts_event", "rate")), strict=True)]
        if len(steps):
            of.close = float(steps.mark_close[-1])
            settled = [row for row in settled if row[0] > int(steps.step_end[-1])]
        of.unsettled = settled
        return steps if len(steps) else None

    def _pending(self, of: _Symbol) -> History | None:
        return of.intake.pending(of.close, of.unsettled)

    def _position(self, of: _Symbol) -> Position:
        resident = self._engine.resident(*of.key)
        return Position(*of.key, of.durable, of.intake.ended(), resident.watermarks(resident.end))


def _joined(spans: list[LiveRows]) -> LiveRows:
    """Return rows of spans that follow each other as those of one: what is written costs by the span, not by the row.

    Ids of trades ascend in each, not from one to the next.
    """
    if len(spans) == 1:
        return spans[0]
    columns: dict[str, dict[str, NDArray[Any]]] = {
        of: {name: np.concatenate([getattr(span, of)[name] for span in spans]) for name in getattr(spans[0], of)}
        for of in ("flow", "large", "mark", "open_interest", "funding", "liquidations")
    }
    by_id = np.argsort(columns["large"]["trade_id"], kind="stable")
    columns["large"] = {name: values[by_id] for name, values in columns["large"].items()}
    trade_ids = np.sort(np.concatenate([span.trade_ids for span in spans]))
    return LiveRows(start=spans[0].start, end=spans[-1].end, **columns, trade_ids=trade_ids)
