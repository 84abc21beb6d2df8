"""A database of real data with what was really liquidated."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from liqserver.store.database import Database
from liqserver.store.ingest import Status, ingest

HOUR, DAY = 3_600_000_000_000, 86_400_000_000_000


def day(text: str) -> int:
    """Return UNIX nanoseconds of a date, UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


CUT = day("2026-01-20")


def scored_database(shared_data: Path, path: Path) -> Path:
    """Make the database at ``path``."""
    with Database(path) as database:
        report = ingest(database, [shared_data / "binance-btc-2025-12"], symbol="BTCUSDT")
    assert not report.of(Status.REJECTED)
    assert not report.of(Status.NOT_READ)
    return path
