"""Writes a simulated market as archive files, with the truth beside them.

The layout and the columns are those of the public Binance archive; equal configurations give equal bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import numba
import numpy as np
from numpy.typing import NDArray

from .config import SimulationConfig
from .market import KINDS, METRICS_COLUMNS, BookSnapshot, Liquidations, SimulatedDay, SimulatedMarket

AGG_TRADES_HEADER = "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker"
KLINES_HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)
METRICS_HEADER = (
    "create_time,symbol,sum_open_interest,sum_open_interest_value,count_toptrader_long_short_ratio,"
    "sum_toptrader_long_short_ratio,count_long_short_ratio,sum_taker_long_short_vol_ratio"
)
FUNDING_HEADER = "calc_time,funding_interval_hours,last_funding_rate"
LIQUIDATIONS_HEADER = (
    "time,symbol,side,order_type,time_in_force,original_quantity,price,average_price,order_status,"
    "last_fill_quantity,accumulated_fill_quantity"
)

# From this day on the archive stamps metrics rows at the start of their period instead of the end.
METRICS_STAMPED_AT_START = date(2026, 6, 25)
_METRICS_PERIOD_MS = 300_000
# Width of a decimal column in bytes: 19 digits, sign, point, separator.
_COLUMN_WIDTH = 24
# Decimals of a boolean column, printed as true or false.
_BOOLEAN = -1

OnDay = Callable[[date | None, "Totals"], None]


@dataclass(slots=True)
class Totals:
    """What was written so far; quantities in base units, notionals in quote units."""

    days: int = 0
    trades: int = 0
    volume: float = 0.0
    volume_notional: float = 0.0
    liquidations: int = 0
    liquidated_long: float = 0.0
    liquidated_short: float = 0.0
    low: float = float("inf")
    high: float = 0.0
    open_interest_low: float = float("inf")
    open_interest_high: float = 0.0
    files: int = 0
    bytes: int = 0


@numba.njit(cache=True)
def _format(columns: NDArray[np.int64], decimals: NDArray[np.int64], buffer: NDArray[np.uint8]) -> int:
    """Print ``columns`` (fields, rows) as CSV lines into ``buffer``; return the bytes used."""
    at = 0
    digits = np.empty(32, dtype=np.uint8)
    fields = columns.shape[0]
    for row in range(columns.shape[1]):
        for field in range(fields):
            value = columns[field, row]
            places = decimals[field]
            if places < 0:
                for letter in b"true" if value else b"false":
                    buffer[at] = letter
                    at += 1
            else:
                if value < 0:
                    buffer[at] = 45
                    at += 1
                    value = -value
                n = 0
                while value > 0 or n <= places:
                    digits[n] = 48 + value % 10
                    value //= 10
                    n += 1
                while n > 0:
                    if n == places:
                        buffer[at] = 46
                        at += 1
                    n -= 1
                    buffer[at] = digits[n]
                    at += 1
            buffer[at] = 44 if field < fields - 1 else 10
            at += 1
    return at


def format_csv(header: str, columns: list[tuple[NDArray[Any], int]]) -> bytes:
    """Return a CSV file of whole numbers printed with fixed decimals.

    Parameters
    ----------
    header : str
        First line, without line end.
    columns : list of (ndarray, int)
        Values in units of the last decimal, shape (rows,), and the number of decimals; -1 prints true or false.

    Raises
    ------
    ValueError
        If a column asks for more than 18 decimals.
    """
    decimals = np.array([places for _, places in columns], dtype=np.int64)
    if decimals.max() > 18:
        raise ValueError(f"decimals was {int(decimals.max())}; allowed: -1 to 18")
    table = np.stack([np.asarray(values).astype(np.int64) for values, _ in columns])
    buffer = np.empty(table.size * _COLUMN_WIDTH + 1, dtype=np.uint8)
    used = _format(table, decimals, buffer)
    return header.encode() + b"\n" + buffer[:used].tobytes()


class ArchiveWriter:
    """Writes simulated days below a folder.

    Parameters
    ----------
    out : Path
        Folder that receives ``data``, ``truth`` and ``README.md``; created where missing.
    config : SimulationConfig
        What is simulated; names the files and goes into ``README.md``.

    Notes
    -----
    Call `write_day` for each day in order and `finish` at the end, or use it as a context manager.
    """

    def __init__(self, out: Path, config: SimulationConfig) -> None:
        self.out = out
        self.config = config
        self.totals = Totals()
        self._funding: list[tuple[int, float]] = []
        self._funding_month = ""
        self._sql = duckdb.connect(config={"threads": 1})
        # Milliseconds past the hour at which funding is stamped, as on the exchange: seldom on the dot.
        self._jitter = np.random.Generator(np.random.PCG64([config.seed, 0xF00D]))

    def __enter__(self) -> ArchiveWriter:
        return self

    def __exit__(self, kind: object, value: object, trace: object) -> None:
        if kind is None:
            self.finish()
        else:
            self._sql.close()

    def write_day(self, day: SimulatedDay) -> None:
        """Write the files of one day.

        Parameters
        ----------
        day : SimulatedDay
            The day after the one written before.
        """
        symbol = self.config.symbol
        stamp = day.day.isoformat()
        daily = self.out / "data" / "futures" / "um" / "daily"
        files = [
            ("aggTrades", symbol, f"{symbol}-aggTrades-{stamp}", self._agg_trades(day)),
            ("klines", f"{symbol}/1m", f"{symbol}-1m-{stamp}", self._klines(day)),
            ("markPriceKlines", f"{symbol}/1m", f"{symbol}-1m-{stamp}", self._mark_klines(day)),
            ("metrics", symbol, f"{symbol}-metrics-{stamp}", self._metrics(day)),
        ]
        # As in the archive, a day without liquidations has no file of them.
        if day.liquidations.in_feed.any():
            files.append(
                ("liquidationSnapshot", symbol, f"{symbol}-liquidationSnapshot-{stamp}", self._liquidations(day))
            )
        for kind, folder, name, text in files:
            self._write_zip(daily / kind / folder / f"{name}.zip", f"{name}.csv", text)
        self._take_funding(day)
        self._write_truth(day)
        self._count(day)

    def finish(self) -> Totals:
        """Write what spans days, and ``README.md``; return the totals."""
        self._flush_funding()
        self._write(self.out / "README.md", _readme(self.config).encode())
        self._sql.close()
        return self.totals

    def _agg_trades(self, day: SimulatedDay) -> bytes:
        t = day.trades
        return format_csv(
            AGG_TRADES_HEADER,
            [
                (t.agg_trade_id, 0),
                (t.price_ticks, self.config.price_decimals),
                (t.qty_lots, self.config.qty_decimals),
                (t.first_trade_id, 0),
                (t.last_trade_id, 0),
                (t.ts_ms, 0),
                (t.is_buyer_maker, _BOOLEAN),
            ],
        )

    def _klines(self, day: SimulatedDay) -> bytes:
        k = day.klines
        price, qty = self.config.price_decimals, self.config.qty_decimals
        return format_csv(
            KLINES_HEADER,
            [
                (k.open_ms, 0),
                *((column, price) for column in (k.open, k.high, k.low, k.close)),
                (k.volume_lots, qty),
                (k.open_ms + 59_999, 0),
                (k.quote_volume, price + qty),
                (k.count, 0),
                (k.taker_buy_lots, qty),
                (k.taker_buy_quote, price + qty),
                (np.zeros_like(k.count), 0),
            ],
        )

    def _mark_klines(self, day: SimulatedDay) -> bytes:
        ticks = np.rint(day.mark / self.config.tick_size).astype(np.int64)
        nothing = np.zeros_like(day.mark_open_ms)
        return format_csv(
            KLINES_HEADER,
            [
                (day.mark_open_ms, 0),
                *((ticks[:, column], self.config.price_decimals) for column in range(4)),
                (nothing, 0),
                (day.mark_open_ms + 59_999, 0),
                (nothing, 0),
                (nothing + 60, 0),
                *((nothing, 0) for _ in range(3)),
            ],
        )

    def _metrics(self, day: SimulatedDay) -> bytes:
        c = self.config
        stamps = day.metrics_ms
        if day.day >= METRICS_STAMPED_AT_START:
            stamps = stamps - _METRICS_PERIOD_MS
        lines = [METRICS_HEADER]
        for ms, lots, mark in zip(stamps.tolist(), day.metrics[:, 0].tolist(), day.metrics_mark.tolist(), strict=True):
            when = datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
            open_interest = lots * c.lot_size
            lines.append(f"{when},{c.symbol},{open_interest:.{c.qty_decimals}f},{open_interest * mark:.4f},,,,")
        return ("\n".join(lines) + "\n").encode()

    def _liquidations(self, day: SimulatedDay) -> bytes:
        c = self.config
        liq = day.liquidations
        lines = [LIQUIDATIONS_HEADER]
        for n in np.flatnonzero(liq.in_feed).tolist():
            side = "SELL" if liq.position_side[n] > 0 else "BUY"
            qty = f"{liq.qty_lots[n] * c.lot_size:.{c.qty_decimals}f}"
            last = f"{liq.last_fill_lots[n] * c.lot_size:.{c.qty_decimals}f}"
            limit = f"{liq.limit_ticks[n] * c.tick_size:.{c.price_decimals}f}"
            average = f"{liq.average_price[n]:.{c.price_decimals + 3}f}"
            lines.append(
                f"{liq.ts_ms[n]},{c.symbol},{side},LIMIT,IOC,{qty},{limit},{average},FILLED,{last},{qty}",
            )
        return ("\n".join(lines) + "\n").encode()

    def _take_funding(self, day: SimulatedDay) -> None:
        month = day.day.strftime("%Y-%m")
        if month != self._funding_month:
            self._flush_funding()
            self._funding_month = month
        for ms, rate in zip(day.funding_ms.tolist(), day.funding_rate.tolist(), strict=True):
            late = int(self._jitter.integers(0, 15)) if self._jitter.random() < 0.4 else 0
            self._funding.append((ms + late, rate))

    def _flush_funding(self) -> None:
        if not self._funding:
            return
        lines = [FUNDING_HEADER, *(f"{ms},8,{rate:.8f}" for ms, rate in self._funding)]
        symbol = self.config.symbol
        name = f"{symbol}-fundingRate-{self._funding_month}"
        folder = self.out / "data" / "futures" / "um" / "monthly" / "fundingRate" / symbol
        self._write_zip(folder / f"{name}.zip", f"{name}.csv", ("\n".join(lines) + "\n").encode())
        self._funding = []

    def _write_truth(self, day: SimulatedDay) -> None:
        folder = self.out / "truth"
        folder.mkdir(parents=True, exist_ok=True)
        stem = f"{self.config.symbol}-{{}}-{day.day.isoformat()}.parquet"
        self._write_parquet(folder / stem.format("book"), _BOOK_SQL, self._book_columns(day.snapshots))
        self._write_parquet(folder / stem.format("liquidations"), _LIQUIDATIONS_SQL, self._truth_rows(day.liquidations))
        flow: dict[str, NDArray[Any]] = {"ts": day.metrics_ms * 1_000_000, "mark_price": day.metrics_mark}
        for n, name in enumerate(METRICS_COLUMNS):
            flow[_FLOW_NAMES.get(name, name)] = self._qty(day.metrics[:, n])
        self._write_parquet(folder / stem.format("flow"), "SELECT * FROM columns", flow)

    def _qty(self, lots: NDArray[np.int64]) -> NDArray[np.float64]:
        # Divided, not multiplied: whole lots over a power of ten round to the decimal they mean.
        return lots / float(10**self.config.qty_decimals)

    def _book_columns(self, snapshots: tuple[BookSnapshot, ...]) -> dict[str, NDArray[Any]]:
        def joined(name: str) -> NDArray[Any]:
            return np.concatenate([getattr(snapshot, name) for snapshot in snapshots])

        sizes = [snapshot.position_id.shape[0] for snapshot in snapshots]
        stamps = np.array([snapshot.ts_ms for snapshot in snapshots], dtype=np.int64)
        return {
            "ts": np.repeat(stamps, sizes) * 1_000_000,
            "position_id": joined("position_id"),
            "side": joined("side"),
            "kind": joined("kind"),
            "leverage": joined("leverage").astype(np.int32),
            "entry_price": joined("entry_price"),
            "liquidation_price": joined("liquidation_price"),
            "qty": self._qty(joined("qty_lots")),
            "opened_at": joined("opened_ms") * 1_000_000,
            "changed_at": joined("changed_ms") * 1_000_000,
        }

    def _truth_rows(self, liq: Liquidations) -> dict[str, NDArray[Any]]:
        return {
            "ts": liq.ts_ms * 1_000_000,
            "position_id": liq.position_id,
            "side": liq.position_side,
            "kind": liq.kind,
            "leverage": liq.leverage.astype(np.int32),
            "qty": self._qty(liq.qty_lots),
            "entry_price": liq.entry_price,
            "liquidation_price": liq.liquidation_price,
            "mark_price": liq.mark_price,
            "average_price": liq.average_price,
            "in_feed": liq.in_feed,
        }

    def _write_parquet(self, path: Path, sql: str, columns: dict[str, NDArray[Any]]) -> None:
        self._sql.register("columns", columns)
        target = str(path).replace("'", "''")
        self._sql.execute(f"COPY ({sql}) TO '{target}' (FORMAT parquet, COMPRESSION zstd)")
        self._sql.unregister("columns")
        self.totals.files += 1
        self.totals.bytes += path.stat().st_size

    def _write_zip(self, path: Path, inner: str, text: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        packed = io.BytesIO()
        # A fixed time and system: the zip depends on the text alone.
        entry = zipfile.ZipInfo(inner, date_time=(2020, 1, 1, 0, 0, 0))
        entry.create_system = 3
        entry.external_attr = 0o644 << 16
        entry.compress_type = zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr(entry, text, compresslevel=4)
        content = packed.getvalue()
        self._write(path, content)
        digest = hashlib.sha256(content).hexdigest()
        self._write(path.with_name(path.name + ".CHECKSUM"), f"{digest}  {path.name}\n".encode())

    def _write(self, path: Path, content: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self.totals.files += 1
        self.totals.bytes += len(content)

    def _count(self, day: SimulatedDay) -> None:
        c = self.config
        totals = self.totals
        totals.days += 1
        totals.trades += day.trades.ts_ms.shape[0]
        totals.volume += float(day.trades.qty_lots.sum()) * c.lot_size
        totals.volume_notional += float(day.klines.quote_volume.sum()) * c.lot_size * c.tick_size
        notional = day.liquidations.qty_lots * c.lot_size * day.liquidations.average_price
        longs = day.liquidations.position_side > 0
        totals.liquidations += notional.shape[0]
        totals.liquidated_long += float(notional[longs].sum())
        totals.liquidated_short += float(notional[~longs].sum())
        totals.low = min(totals.low, float(day.klines.low.min()) * c.tick_size)
        totals.high = max(totals.high, float(day.klines.high.max()) * c.tick_size)
        open_interest = day.metrics[:, 0] * c.lot_size
        totals.open_interest_low = min(totals.open_interest_low, float(open_interest.min()))
        totals.open_interest_high = max(totals.open_interest_high, float(open_interest.max()))


def write_archive(config: SimulationConfig, out: Path, on_day: OnDay | None = None) -> Totals:
    """Simulate a market and write it below ``out``.

    Parameters
    ----------
    config : SimulationConfig
        What to simulate.
    out : Path
        Folder that receives ``data``, ``truth`` and ``README.md``.
    on_day : callable, optional
        Called with the day just written (None for a day of warm-up) and the totals so far.

    Returns
    -------
    Totals
        What was written.

    Raises
    ------
    ValueError
        If the configuration contradicts itself.
    OSError
        If a file cannot be written.
    """
    market = SimulatedMarket(config)
    out.mkdir(parents=True, exist_ok=True)
    with ArchiveWriter(out, config) as writer:
        warmed = (lambda: on_day(None, writer.totals)) if on_day is not None else None
        for day in market.days(on_warmup=warmed):
            writer.write_day(day)
            if on_day is not None:
                on_day(day.day, writer.totals)
    return writer.totals


def existing_entries(out: Path) -> int:
    """Return how many entries ``out`` holds, 0 where it does not exist.

    Raises
    ------
    NotADirectoryError
        If ``out`` is a file.
    """
    if not out.exists():
        return 0
    return len(os.listdir(out))


def _case(column: str, words: dict[int, str]) -> str:
    cases = " ".join(f"WHEN {value} THEN '{word}'" for value, word in words.items())
    return f"CASE {column} {cases} END AS {column}"


_SIDE = _case("side", {1: "LONG", -1: "SHORT"})
_KIND = _case("kind", dict(enumerate(KINDS)))
_LEVEL = "CASE WHEN isnan({0}) THEN NULL ELSE {0} END AS {0}"
_BOOK_SQL = (
    f"SELECT ts, position_id, {_SIDE}, {_KIND}, leverage, {_LEVEL.format('entry_price')}, "  # noqa: S608
    f"{_LEVEL.format('liquidation_price')}, qty, opened_at, changed_at FROM columns"
)
_LIQUIDATIONS_SQL = (
    f"SELECT ts, position_id, {_SIDE}, {_KIND}, leverage, qty, entry_price, liquidation_price, "  # noqa: S608
    "mark_price, average_price, in_feed FROM columns"
)
_FLOW_NAMES = {"long_lots": "open_interest_long", "short_lots": "open_interest_short"}


def _readme(config: SimulationConfig) -> str:
    symbol = config.symbol
    last = config.start.toordinal() + config.days - 1
    settings = json.dumps(config.as_dict(), indent=2)
    return f"""# Simulated {symbol} market

**Everything here is simulated.** No price, trade or liquidation in this folder ever happened. It is a market of
made-up traders, {config.start.isoformat()} to {date.fromordinal(last).isoformat()}, seed {config.seed}, in the file
layout of the public Binance archive. Equal settings give equal bytes.

- `data/futures/um/daily`: aggTrades, klines and markPriceKlines (1 minute), metrics (open interest every 5 minutes),
  liquidationSnapshot ({"at most one row a second, as the feed shows" if config.liquidation_feed_limit else "all"});
  `data/futures/um/monthly`: fundingRate. Each zip has its `.CHECKSUM`.
- `truth/{symbol}-book-*.parquet`: every open position every {config.book_minutes} minutes: `ts`,
  `position_id`, `side`, `kind` (isolated, cross, hedger, maker), `leverage`, `entry_price`, `liquidation_price` (null:
  no level), `qty`, `opened_at`, `changed_at`. Times in ns, prices in quote units, quantities in base units.
- `truth/{symbol}-liquidations-*.parquet`: every liquidation; `in_feed` marks those the archive shows.
- `truth/{symbol}-flow-*.parquet`: contracts opened, closed and liquidated per 5 minutes, `ts` at the end; columns
  that begin with `directional` count traders with leverage only. Closed includes liquidated.

Settings:

```json
{settings}
```
"""
