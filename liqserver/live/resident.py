"""One symbol's market held in memory, with what answers say about their inputs."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from liqserver.kernel import History, Source
from liqserver.models.market import Market

# Steps between kept states of the running hash: what is hashed anew for an answer is at most this much.
_HASH_STEPS = 128


@dataclass(frozen=True, slots=True)
class Price:
    """A price, where it comes from and the UNIX nanoseconds at which it was known."""

    value: float
    source: Source
    ts: int


class ResidentMarket:
    """A market as it is known, with running sums over its steps; immutable once made.

    Parameters
    ----------
    market : Market
        As read from the store.
    """

    def __init__(self, market: Market) -> None:
        self.market = market
        self.pending: History | None = None
        # The same for all that grew from one reading.
        self.lineage = object()
        self._sums = _Sums.of(market.history)
        self._known = _known_steps(market.history)
        self._hashes = [_fresh_hash(market)]
        # Of all steps of the history, once asked for.
        self._newest_hash: hashlib.blake2b | None = None
        self._newest_marks: dict[str, int] | None = None

    def extended(self, market: Market, pending: History | None) -> ResidentMarket:
        """Return the same with more steps at the end.

        Parameters
        ----------
        market : Market
            Begins with the steps of this one.
        pending : History or None
            Steps after those, of intervals that are still open: they show, and will be replaced.
        """
        new = copy.copy(self)
        new.market, new.pending = market, pending
        new._newest_marks = None
        done = len(self.market.history)
        if len(market.history) > done:
            tail = market.history.slice(done, len(market.history))
            new._sums = self._sums.extended(tail)
            new._known = {
                kind: np.concatenate([steps, done + more])
                for (kind, steps), more in zip(self._known.items(), _known_steps(tail).values(), strict=True)
            }
            # Hashes of what does not change any more may be shared.
            new._hashes = list(self._hashes)
            new._newest_hash = None
        return new

    @property
    def end(self) -> int:
        """UNIX nanoseconds of the newest data, that of open intervals included; 0 if there is none."""
        newest = self.market.history if self.pending is None else self.pending
        return int(newest.step_end[-1]) if len(newest) else 0

    @property
    def first_open_interest(self) -> int | None:
        """UNIX nanoseconds of the first open interest, or None."""
        known = self._known["open_interest"]
        return int(self.market.history.step_end[known[0]]) if len(known) else None

    def pending_at(self, moment: int) -> History | None:
        """Return the steps of open intervals that end at or before ``moment``, None without any."""
        if self.pending is None or moment < self.pending.step_end[0]:
            return None
        return self.pending.until(moment)

    def watermarks(self, moment: int) -> dict[str, int]:
        """Return the end of the newest step, UNIX nanoseconds, of each input that was known at ``moment``."""
        if moment < self.end:
            return self._watermarks(moment)
        if self._newest_marks is None:
            self._newest_marks = self._watermarks(moment)
        return self._newest_marks

    def _watermarks(self, moment: int) -> dict[str, int]:
        stop = self.market.history.steps_until(moment)
        out = {}
        for kind, steps in self._known.items():
            at = int(np.searchsorted(steps, stop)) - 1
            if at >= 0:
                out[kind] = int(self.market.history.step_end[steps[at]])
        pending = self.pending_at(moment)
        if pending is not None:
            out |= _pending_marks(pending)
        return out

    def price(self, moment: int) -> Price | None:
        """Return the newest price known at ``moment`` (UNIX nanoseconds), or None."""
        for history in (self.pending_at(moment), self.market.history):
            if history is None:
                continue
            # A path is seldom missing for long.
            for step in range(history.steps_until(moment) - 1, -1, -1):
                if history.path_source[step] != Source.NONE:
                    source = Source(int(history.path_source[step]))
                    return Price(float(history.mark_close[step]), source, int(history.step_end[step]))
        return None

    def prices(self, ts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the newest price known at each of ``ts`` (UNIX nanoseconds), quote units; NaN before the first."""
        history = self.market.history
        steps = np.searchsorted(history.step_end, ts, side="right") - 1
        return np.asarray(np.where(steps >= 0, history.mark_close[np.maximum(steps, 0)], np.nan))

    def open_interest(self, ts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the newest open interest known at each of ``ts``, contracts; NaN before the first row."""
        known = self._known["open_interest"]
        rows = np.searchsorted(known, np.searchsorted(self.market.history.step_end, ts, side="right")) - 1
        values = np.concatenate([self.market.history.open_interest[known], [np.nan]])
        return np.asarray(values[rows])

    def kline_volume_share(self, moment: int) -> float:
        """Return the share of the volume known at ``moment`` that candles stand in for, 0 without volume."""
        stop = self.market.history.steps_until(moment)
        return _share(self._sums.kline_volume[stop], self._sums.volume[stop])

    def last_price_path_share(self, moment: int) -> float:
        """Return the share of the paths known at ``moment`` that last prices stand in for, 0 without paths."""
        stop = self.market.history.steps_until(moment)
        return _share(self._sums.last_price_steps[stop], self._sums.path_steps[stop])

    def inputs_hash(self, moment: int) -> str:
        """Return 16 hexadecimal digits of everything known at ``moment``; later data does not change it."""
        stop = self.market.history.steps_until(moment)
        if stop < len(self.market.history):
            return self._hash(stop).hexdigest()
        if self._newest_hash is None:
            self._newest_hash = self._hash(stop)
        state, pending = self._newest_hash, self.pending_at(moment)
        if pending is not None:
            state = _updated(state, pending, 0, len(pending))
        return state.hexdigest()

    def _hash(self, stop: int) -> hashlib.blake2b:
        """Return the state of the hash after the first ``stop`` steps of the history."""
        history = self.market.history
        while len(self._hashes) <= stop // _HASH_STEPS:
            done = (len(self._hashes) - 1) * _HASH_STEPS
            self._hashes.append(_updated(self._hashes[-1], history, done, done + _HASH_STEPS))
        whole = stop // _HASH_STEPS
        return _updated(self._hashes[whole], history, whole * _HASH_STEPS, stop)


@dataclass(frozen=True, slots=True)
class _Sums:
    """Running sums over steps, from 0; entry i is that of the first i steps."""

    volume: NDArray[np.float64]
    kline_volume: NDArray[np.float64]
    path_steps: NDArray[np.float64]
    last_price_steps: NDArray[np.float64]

    @classmethod
    def of(cls, history: History) -> _Sums:
        per_row = np.concatenate([[0.0], np.cumsum(history.flow_buy + history.flow_sell)])
        volume = np.diff(per_row[history.flow_offset])
        last_price = (history.path_source == Source.KLINES) | (history.path_source == Source.TRADES)
        return cls(
            volume=_running(volume),
            kline_volume=_running(volume * (history.flow_source == Source.KLINES)),
            path_steps=_running((history.path_source != Source.NONE).astype(np.float64)),
            last_price_steps=_running(last_price.astype(np.float64)),
        )

    def extended(self, tail: History) -> _Sums:
        more = _Sums.of(tail)
        return _Sums(
            *(
                np.concatenate([getattr(self, of.name), getattr(self, of.name)[-1] + getattr(more, of.name)[1:]])
                for of in fields(self)
            )
        )


def _known_steps(history: History) -> dict[str, NDArray[np.intp]]:
    """Return the steps in which each input became known."""
    return {
        "trades": np.flatnonzero(history.flow_source == Source.TRADES),
        "klines": np.flatnonzero((history.flow_source == Source.KLINES) | (history.path_source == Source.KLINES)),
        "mark_price": np.flatnonzero(history.path_source == Source.MARK_PRICE),
        "open_interest": np.flatnonzero(~np.isnan(history.open_interest)),
        "funding": np.flatnonzero(history.funding_rate != 0),
    }


def _pending_marks(pending: History) -> dict[str, int]:
    """Return the end of the newest step of each input, of a history of few steps: nothing in it is of candles."""
    out = {}
    columns = (pending.flow_source, pending.path_source, pending.open_interest, pending.funding_rate)
    for end, flow, path, oi, rate in zip(
        pending.step_end.tolist(), *(column.tolist() for column in columns), strict=True
    ):
        for kind, known in (
            ("trades", flow == Source.TRADES),
            ("mark_price", path == Source.MARK_PRICE),
            ("open_interest", oi == oi),
            ("funding", rate != 0),
        ):
            if known:
                out[kind] = end
    return out


def _running(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([[0.0], np.cumsum(values)])


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else 0.0


def _fresh_hash(market: Market) -> hashlib.blake2b:
    state = hashlib.blake2b(digest_size=8)
    state.update(f"{market.venue}:{market.symbol}:{market.tick_size!r}:{market.base_bin!r}".encode())
    return state


def _updated(state: hashlib.blake2b, history: History, start: int, stop: int) -> hashlib.blake2b:
    new = state.copy()
    part = history.slice(start, stop)
    # Lengths first, so that no two different histories concatenate to the same bytes.
    new.update(np.array([len(part), len(part.flow_price)], dtype=np.int64).tobytes())
    for column in (
        part.step_end,
        part.mark_low,
        part.mark_high,
        part.mark_close,
        part.open_interest,
        part.funding_rate,
        part.flow_offset,
        part.flow_price,
        part.flow_buy,
        part.flow_sell,
    ):
        new.update(np.ascontiguousarray(column).data)
    return new
