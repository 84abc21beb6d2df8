"""Small archive files for the tests of the store."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from liqserver.store.archive import COLUMNS, Kind

DAY_MS = 86_400_000
# 2025-12-01 00:00 UTC.
DAY = 1_764_547_200_000
FIVE_MINUTES = 300_000


def text_of(kind: Kind, rows: Iterable[Sequence[object]], *, header: bool = True) -> str:
    """Rows as the archive writes them; True and False in lower case."""
    lines = [",".join(c.name for c in COLUMNS[kind])] if header else []
    lines += [",".join(str(v).lower() if isinstance(v, bool) else str(v) for v in row) for row in rows]
    return "\n".join(lines) + "\n"


def write_file(folder: Path, name: str, text: str, *, checksum: bool = False) -> Path:
    """Write ``name`` below ``folder``: a zip with the text inside, or the text itself for a csv."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            # A fixed date: the same text gives the same bytes.
            archive.writestr(zipfile.ZipInfo(f"{path.stem}.csv", (2026, 1, 1, 0, 0, 0)), text, zipfile.ZIP_DEFLATED)
    else:
        path.write_text(text)
    if checksum:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        path.with_name(path.name + ".CHECKSUM").write_text(f"{digest}  {path.name}\n")
    return path


def trade(trade_id: int, price: object, qty: object, ts: int, *, buyer_maker: bool = False) -> tuple[object, ...]:
    """One row of aggTrades."""
    return trade_id, price, qty, trade_id, trade_id, ts, buyer_maker


def trades(n: int, *, first_id: int = 1, start: int = DAY, step: int = 10_000) -> list[tuple[object, ...]]:
    """``n`` trades around 90 000, one every ``step`` ms, of sizes over several classes."""
    return [
        trade(
            first_id + i,
            round(90_000 + 3.1 * ((i * 7) % 11), 1),
            round(0.001 * 3 ** (i % 10), 3),
            start + i * step,
            buyer_maker=i % 3 == 0,
        )
        for i in range(n)
    ]


def candle(
    start: int,
    prices: tuple[object, object, object, object] = (100.0, 102.5, 99.5, 101.0),
    volume: object = 7.5,
    *,
    period: int = FIVE_MINUTES,
    rest: tuple[object, object, object] = (750.0, 12, 3.5),
) -> tuple[object, ...]:
    """One candle: open, high, low, close; ``rest`` is quote volume, count, taker buy volume."""
    return start, *prices, volume, start + period - 1, *rest, 0, 0


def metric(stamp: str, oi: object, value: object = 1000.0, symbol: str = "BTCUSDT") -> tuple[object, ...]:
    """One row of metrics; ratios empty."""
    return stamp, symbol, oi, value, "", "", "", ""
