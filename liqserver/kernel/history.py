"""What happened on one market, in the columns the kernel walks."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray


class HistoryError(ValueError):
    """Columns that do not fit together; the message names the column."""


class Source(IntEnum):
    """Where a step's numbers come from."""

    NONE = 0
    TRADES = 1
    MARK_PRICE = 2
    KLINES = 3


@dataclass(frozen=True, slots=True)
class History:
    """Market history of one symbol as steps in time order (S steps, F flow rows).

    A step is the time since the step before; everything in it was known at its end.

    Attributes
    ----------
    step_end : int64, shape (S,)
        UNIX nanoseconds, strictly ascending.
    mark_low, mark_high : float64, shape (S,)
        Range of the price that triggers liquidations, quote units; NaN where none became known in the step.
    mark_close : float64, shape (S,)
        Newest price known at the end of the step; NaN only before the first.
    path_source : uint8, shape (S,)
        ``Source`` of the step's range: MARK_PRICE, or last prices (KLINES, TRADES) where those are missing.
    open_interest : float64, shape (S,)
        Contracts, newest row that became known in the step; NaN where none did.
    funding_rate : float64, shape (S,)
        Sum of the rates settled in the step, as fractions; 0 where none was.
    flow_offset : int64, shape (S + 1,)
        Rows ``flow_offset[s]:flow_offset[s + 1]`` of the flow columns belong to step s.
    flow_price : float64, shape (F,)
        Mean price of the row's trades, quote units.
    flow_buy, flow_sell : float64, shape (F,)
        Contracts bought and sold by takers, base units.
    flow_source : uint8, shape (S,)
        ``Source`` of the step's flow: TRADES, or KLINES spread over their range where those are missing.
    """

    step_end: NDArray[np.int64]
    mark_low: NDArray[np.float64]
    mark_high: NDArray[np.float64]
    mark_close: NDArray[np.float64]
    path_source: NDArray[np.uint8]
    open_interest: NDArray[np.float64]
    funding_rate: NDArray[np.float64]
    flow_offset: NDArray[np.int64]
    flow_price: NDArray[np.float64]
    flow_buy: NDArray[np.float64]
    flow_sell: NDArray[np.float64]
    flow_source: NDArray[np.uint8]

    def __post_init__(self) -> None:
        """Check shapes and order once, so that the kernel need not.

        Raises
        ------
        HistoryError
            If a column has another length than its neighbours, or steps are out of order.
        """
        steps, rows = len(self.step_end), len(self.flow_price)
        for name in _STEP_COLUMNS:
            if len(getattr(self, name)) != steps:
                raise HistoryError(f"{name} has {len(getattr(self, name))} entries, step_end has {steps}")
        for name in ("flow_buy", "flow_sell"):
            if len(getattr(self, name)) != rows:
                raise HistoryError(f"{name} has {len(getattr(self, name))} entries, flow_price has {rows}")
        if len(self.flow_offset) != steps + 1 or self.flow_offset[-1] > rows:
            raise HistoryError(
                f"flow_offset has {len(self.flow_offset)} entries and ends at {self.flow_offset[-1]}; "
                f"expected {steps + 1} entries and an end of at most {rows}"
            )
        if steps > 1 and not bool(np.all(self.step_end[1:] > self.step_end[:-1])):
            raise HistoryError("step_end must ascend strictly")
        if steps and not bool(np.all(self.flow_offset[1:] >= self.flow_offset[:-1])):
            raise HistoryError("flow_offset must not descend")
        for column in fields(self):
            getattr(self, column.name).flags.writeable = False

    def __len__(self) -> int:
        """Return the number of steps."""
        return len(self.step_end)

    def steps_until(self, ts: int) -> int:
        """Return how many steps end at or before ``ts`` (UNIX nanoseconds)."""
        return int(self.step_end.searchsorted(ts, "right"))

    def until(self, ts: int) -> History:
        """Return the history that was known at ``ts``: views on the steps that end at or before it."""
        return self.slice(0, self.steps_until(ts))

    def slice(self, start: int, stop: int) -> History:
        """Return views on steps ``start:stop``, ``0 <= start <= stop <= len(self)``."""
        if start == 0 and stop == len(self):
            return self
        first, last = int(self.flow_offset[start]), int(self.flow_offset[stop])
        # Part of what was checked needs no check.
        part = object.__new__(History)
        for name in ("step_end", *_STEP_COLUMNS):
            object.__setattr__(part, name, getattr(self, name)[start:stop])
        for name in _FLOW_COLUMNS:
            object.__setattr__(part, name, getattr(self, name)[first:last])
        offset = self.flow_offset[start : stop + 1] - first
        offset.flags.writeable = False
        object.__setattr__(part, "flow_offset", offset)
        return part

    def first_open_interest(self) -> int | None:
        """Return the index of the first step that has open interest, or None."""
        known = np.flatnonzero(~np.isnan(self.open_interest))
        return int(known[0]) if len(known) else None


class GrowingHistory:
    """A history that steps are appended to; what was handed out before stays as it was.

    Appending costs what is appended, and now and then a copy of everything into more room.

    Parameters
    ----------
    history : History
        What there is already.
    """

    def __init__(self, history: History) -> None:
        self.history = history
        self._room: dict[str, NDArray[Any]] = {}

    def append(self, steps: History) -> History:
        """Return the history with ``steps`` at its end.

        Raises
        ------
        HistoryError
            If they do not follow it in time.
        """
        history = self.history
        if len(history) and len(steps) and int(steps.step_end[0]) <= int(history.step_end[-1]):
            raise HistoryError(
                f"steps from {int(steps.step_end[0])} do not follow a history until {int(history.step_end[-1])}"
            )
        rows = len(history.flow_price)
        columns = {name: self._longer(name, getattr(steps, name)) for name in _STEP_COLUMNS}
        columns["step_end"] = self._longer("step_end", steps.step_end)
        columns["flow_offset"] = self._longer("flow_offset", steps.flow_offset[1:] + rows)
        for name in _FLOW_COLUMNS:
            columns[name] = self._longer(name, getattr(steps, name))
        self.history = History(**columns)
        return self.history

    def _longer(self, name: str, tail: NDArray[Any]) -> NDArray[Any]:
        held = getattr(self.history, name)
        room = self._room.get(name)
        size = len(held) + len(tail)
        if room is None or len(room) < size:
            # Read-only columns that others hold are never written to: they lie below what is appended.
            room = self._room[name] = np.empty(size + size // 2 + 64, dtype=held.dtype)
            room[: len(held)] = held
        room[len(held) : size] = tail
        return room[:size]


_STEP_COLUMNS = (
    "mark_low",
    "mark_high",
    "mark_close",
    "path_source",
    "open_interest",
    "funding_rate",
    "flow_source",
)
_FLOW_COLUMNS = ("flow_price", "flow_buy", "flow_sell")
