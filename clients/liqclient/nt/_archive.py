"""Market data from files in the layout of the public archive, as Nautilus has them.

Read are aggTrades, klines, markPriceKlines and fundingRate; open interest has no type in Nautilus. What a row says is
known at the end of its period, or at its time where it has none: ``ts_init`` equals ``ts_event``.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from nautilus_trader.core.data import Data
from nautilus_trader.model.data import BarType, FundingRateUpdate, MarkPriceUpdate
from nautilus_trader.model.instruments import Instrument
from nautilus_trader.model.objects import Price
from nautilus_trader.persistence.wranglers import BarDataWrangler, TradeTickDataWrangler
from numpy.typing import NDArray

type MarketKind = Literal["aggTrades", "klines", "markPriceKlines", "fundingRate"]

_NAME = re.compile(r"(?P<symbol>\w+)-(?P<what>\w+)-(?P<date>\d{4}-\d{2}(?:-\d{2})?)\.(?:zip|csv)")
_INTERVAL = re.compile(r"([1-9]\d*)([mhd])")
_UNITS = {"m": ("MINUTE", 60_000_000_000), "h": ("HOUR", 3_600_000_000_000), "d": ("DAY", 86_400_000_000_000)}
_CANDLE_FOLDERS = ("klines", "markPriceKlines", "indexPriceKlines", "premiumIndexKlines")
# Milliseconds of the year 5138; a larger time is in microseconds.
_LARGEST_MS = 10**14
_MOST_DECIMALS = 9
_CANDLES = ("time", "open", "high", "low", "close", "volume")
_COLUMNS: dict[str, tuple[str, ...]] = {
    "aggTrades": ("trade_id", "price", "quantity", "first_id", "last_id", "time", "buyer_maker"),
    "klines": _CANDLES,
    "markPriceKlines": _CANDLES,
    "fundingRate": ("time", "hours", "rate"),
}


@dataclass(frozen=True, slots=True, order=True)
class MarketFile:
    """A file of market data; files sort by kind, interval and date.

    Attributes
    ----------
    kind
        What is in it.
    interval
        Of candles, such as ``5m``; empty for what has none.
    date
        Day or month of its name.
    path
        The file.
    """

    kind: MarketKind
    interval: str
    date: str
    path: Path


def market_files(folder: Path, symbol: str) -> list[MarketFile]:
    """Return the files of ``symbol`` below a folder that Nautilus has a type for, in the order they are to be read.

    Raises
    ------
    ValueError
        If there are none.
    """
    found = []
    for path in folder.rglob("*"):
        match = _NAME.fullmatch(path.name)
        if match is None or match["symbol"] != symbol:
            continue
        what, interval = match["what"], ""
        if _INTERVAL.fullmatch(what):
            # Candles bear their interval in place of the kind, which the folder above tells.
            what, interval = next((of for of in reversed(path.parts) if of in _CANDLE_FOLDERS), "klines"), what
        if what in _COLUMNS:
            found.append(MarketFile(what, interval, match["date"], path))  # type: ignore[arg-type]
    if not found:
        raise ValueError(f"no {', '.join(_COLUMNS)} of {symbol} below {folder}")
    return sorted(found)


def step_size_of(files: Sequence[MarketFile]) -> Decimal:
    """Return the finest decimal step that quantities in files have.

    Raises
    ------
    ValueError
        If there are neither trades nor candles of traded prices among them, or a file cannot be read.
    """
    columns = {"aggTrades": "quantity", "klines": "volume"}
    decimals = [_decimals(_read(of)[columns[of.kind]].to_numpy()) for of in files if of.kind in columns]
    if not decimals:
        raise ValueError("quantities are in aggTrades and klines only, there are none; give the step size")
    return Decimal(1).scaleb(-max(decimals))


def read_market(
    files: Sequence[MarketFile], instrument: Instrument, *, start: int | None = None, end: int | None = None
) -> Iterator[list[Data]]:
    """Iterate over market data, one list of one type for each file that has any within the bounds.

    Trades become `TradeTick`, klines `Bar` (external, last price), markPriceKlines one `MarkPriceUpdate` each, of the
    close, and fundingRate `FundingRateUpdate`.

    Parameters
    ----------
    files
        As `market_files` gives them.
    instrument
        Whose they become.
    start, end
        Bounds of ``ts_init``, UNIX nanoseconds, both inclusive; None for all.

    Raises
    ------
    ValueError
        If a file cannot be read, is out of order, or begins before another of its kind ends.
    """
    reached: dict[tuple[str, str], int] = {}
    for file in files:
        rows = _read(file)
        ts = _known_at(file, rows)
        if not len(ts):
            raise ValueError(f"{file.path.name} has no rows")
        if (np.diff(ts) < 0).any():
            raise ValueError(f"{file.path.name}: times must not go back, row {int(np.diff(ts).argmin()) + 2} does")
        series = (file.kind, file.interval)
        if ts[0] < reached.get(series, ts[0]):
            raise ValueError(f"{file.path.name} begins before the {file.kind} file before it ends")
        reached[series] = int(ts[-1])
        low = 0 if start is None else int(np.searchsorted(ts, start, side="left"))
        high = len(ts) if end is None else int(np.searchsorted(ts, end, side="right"))
        if low < high:
            yield _built(file, rows.iloc[low:high], ts[low:high], instrument)


def _read(file: MarketFile) -> pd.DataFrame:
    names = _COLUMNS[file.kind]
    try:
        if file.path.suffix == ".zip":
            with zipfile.ZipFile(file.path) as packed:
                [member] = packed.namelist()
                with packed.open(member) as first:
                    header = first.read(1).isalpha()
                with packed.open(member) as text:
                    rows = _parsed(text, names, header)
        else:
            with file.path.open("rb") as text:
                header = text.read(1).isalpha()
                text.seek(0)
                rows = _parsed(text, names, header)
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{file.path.name} cannot be read: {error}") from error
    for name in set(names) & {"price", "quantity", "open", "high", "low", "close"}:
        wrong = np.flatnonzero(~(rows[name].to_numpy() > 0))
        if len(wrong):
            raise ValueError(
                f"{file.path.name}: {name} must be positive, was {rows[name].iloc[wrong[0]]} in row {wrong[0] + 1}"
            )
    return rows


def _parsed(text: Any, names: tuple[str, ...], header: bool) -> pd.DataFrame:  # noqa: ANN401 - any binary file
    whole = {"trade_id", "first_id", "last_id", "time"}
    kinds = {name: np.int64 if name in whole else np.float64 for name in names if name != "buyer_maker"}
    rows = pd.read_csv(
        text,
        header=None,
        skiprows=int(header),
        names=list(names),
        usecols=range(len(names)),
        dtype=kinds | ({"buyer_maker": bool} if "buyer_maker" in names else {}),
        true_values=["true", "True"],
        false_values=["false", "False"],
    )
    rows["time"] *= 1000 if len(rows) and rows["time"].iloc[0] >= _LARGEST_MS else 1_000_000
    return rows


def _known_at(file: MarketFile, rows: pd.DataFrame) -> NDArray[np.int64]:
    ts: NDArray[np.int64] = rows["time"].to_numpy() + (_period(file.interval)[2] if file.interval else 0)
    return ts


def _period(interval: str) -> tuple[int, str, int]:
    count, (unit, length) = int(interval[:-1]), _UNITS[interval[-1]]
    return count, unit, count * length


def _built(file: MarketFile, rows: pd.DataFrame, ts: NDArray[np.int64], instrument: Instrument) -> list[Data]:
    stamps = pd.to_datetime(ts, unit="ns", utc=True)
    times = ts.tolist()
    if file.kind == "aggTrades":
        ticks = rows[["price", "quantity", "trade_id"]].set_index(stamps)
        ticks["side"] = np.where(rows["buyer_maker"], "SELL", "BUY")
        return list(TradeTickDataWrangler(instrument).process(ticks))
    if file.kind == "klines":
        count, unit, _ = _period(file.interval)
        bar_type = BarType.from_str(f"{instrument.id}-{count}-{unit}-LAST-EXTERNAL")
        candles = rows[["open", "high", "low", "close", "volume"]].set_index(stamps)
        return list(BarDataWrangler(bar_type, instrument).process(candles))
    if file.kind == "markPriceKlines":
        precision = instrument.price_precision
        closes = rows["close"].tolist()
        return [MarkPriceUpdate(instrument.id, Price(c, precision), t, t) for c, t in zip(closes, times, strict=True)]
    return [
        FundingRateUpdate(instrument.id, Decimal(str(rate)), t, t, interval=round(hours * 60))
        for rate, hours, t in zip(rows["rate"].tolist(), rows["hours"].tolist(), times, strict=True)
    ]


def _decimals(values: NDArray[np.float64]) -> int:
    for decimals in range(_MOST_DECIMALS):
        if np.allclose(values, np.round(values, decimals), rtol=1e-12, atol=1e-12):
            return decimals
    return _MOST_DECIMALS
