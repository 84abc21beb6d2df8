"""One symbol's market held in memory, with what answers say about their inputs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from liqserver.kernel import History, Source
from liqserver.models.market import Market

# Steps between kept states of the running hash: what is hashed anew for an answer is at most this much.
_HASH_STEPS = 512


@dataclass(frozen=True, slots=True)
class Price:
    """A price, where it comes from and the UNIX nanoseconds at which it was known."""

    value: float
    source: Source
    ts: int


class ResidentMarket:
    """A market as it was read, with running sums over its steps; immutable once made.

    Parameters
    ----------
    market : Market
        As read from the store.
    """

    def __init__(self, market: Market) -> None:
        self.market = market
        history = market.history
        per_row = np.concatenate([[0.0], np.cumsum(history.flow_buy + history.flow_sell)])
        volume = np.diff(per_row[history.flow_offset])
        self._volume = _running(volume)
        self._kline_volume = _running(volume * (history.flow_source == Source.KLINES))
        last_price = (history.path_source == Source.KLINES) | (history.path_source == Source.TRADES)
        self._path_steps = _running((history.path_source != Source.NONE).astype(np.float64))
        self._last_price_steps = _running(last_price.astype(np.float64))
        self._priced = np.flatnonzero(history.path_source != Source.NONE)
        self._known = {
            "trades": np.flatnonzero(history.flow_source == Source.TRADES),
            "klines": np.flatnonzero((history.flow_source == Source.KLINES) | (history.path_source == Source.KLINES)),
            "mark_price": np.flatnonzero(history.path_source == Source.MARK_PRICE),
            "open_interest": np.flatnonzero(~np.isnan(history.open_interest)),
            "funding": np.flatnonzero(history.funding_rate != 0),
        }
        self._hashes = [_fresh_hash(market)]

    @property
    def first_open_interest(self) -> int | None:
        """UNIX nanoseconds of the first open interest, or None."""
        known = self._known["open_interest"]
        return int(self.market.history.step_end[known[0]]) if len(known) else None

    def watermarks(self, stop: int) -> dict[str, int]:
        """Return the end of the newest step, UNIX nanoseconds, of each input among the first ``stop`` steps."""
        out = {}
        for kind, steps in self._known.items():
            at = int(np.searchsorted(steps, stop)) - 1
            if at >= 0:
                out[kind] = int(self.market.history.step_end[steps[at]])
        return out

    def price(self, stop: int) -> Price | None:
        """Return the newest price among the first ``stop`` steps, or None."""
        at = int(np.searchsorted(self._priced, stop)) - 1
        if at < 0:
            return None
        step = int(self._priced[at])
        history = self.market.history
        return Price(
            float(history.mark_close[step]), Source(int(history.path_source[step])), int(history.step_end[step])
        )

    def prices(self, ts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the newest price known at each of ``ts`` (UNIX nanoseconds), quote units; NaN before the first."""
        history = self.market.history
        steps = np.searchsorted(history.step_end, ts, side="right") - 1
        return np.asarray(np.where(steps >= 0, history.mark_close[np.maximum(steps, 0)], np.nan))

    def open_interest(self, stops: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the newest open interest among the first ``stops`` steps, contracts; NaN before the first row."""
        known = self._known["open_interest"]
        rows = np.searchsorted(known, stops) - 1
        values = np.concatenate([self.market.history.open_interest[known], [np.nan]])
        return np.asarray(values[rows])

    def kline_volume_share(self, stop: int) -> float:
        """Return the share of the volume of the first ``stop`` steps that candles stand in for, 0 without volume."""
        return _share(self._kline_volume[stop], self._volume[stop])

    def last_price_path_share(self, stop: int) -> float:
        """Return the share of the first ``stop`` steps' paths that last prices stand in for, 0 without paths."""
        return _share(self._last_price_steps[stop], self._path_steps[stop])

    def inputs_hash(self, stop: int) -> str:
        """Return 16 hexadecimal digits of everything in the first ``stop`` steps; later data does not change it."""
        history = self.market.history
        while len(self._hashes) <= stop // _HASH_STEPS:
            done = (len(self._hashes) - 1) * _HASH_STEPS
            self._hashes.append(_updated(self._hashes[-1], history, done, done + _HASH_STEPS))
        whole = stop // _HASH_STEPS
        return _updated(self._hashes[whole], history, whole * _HASH_STEPS, stop).hexdigest()


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
