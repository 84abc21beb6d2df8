"""Raw trades, kept as Parquet beside the database: every row of the files they came in, for what flow does not tell.

``DATABASE.raw/KIND/venue=…/symbol=…/date=…/FILE.parquet``: of each file of trades one file for each UTC day it has
trades of, in its order. No answer uses them.
"""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path

import duckdb

from liqserver.store.archive import DAY, TRADE_KINDS, ArchiveFile, Csv, Kind, utc

# Columns of each kind; those that ingest has no use for are not checked by it: NULL where they are no number.
_COLUMNS = {
    Kind.AGG_TRADES: """
        transact_time * {to_ns} AS ts_event, agg_trade_id AS trade_id, price, quantity AS qty,
        NOT is_buyer_maker AS taker_buy,
        try_cast(first_trade_id AS BIGINT) AS first_trade_id, try_cast(last_trade_id AS BIGINT) AS last_trade_id
    """,
    Kind.TRADES: """
        time * {to_ns} AS ts_event, id AS trade_id, price, qty, NOT is_buyer_maker AS taker_buy,
        try_cast(quote_qty AS DOUBLE) AS notional
    """,
}


class RawTrades:
    """The raw trades of one database.

    Parameters
    ----------
    database : Path
        Path of the database; what is kept is beside it.
    """

    def __init__(self, database: Path) -> None:
        self.root = database.with_name(f"{database.name}.raw")

    def has(self, venue: str, file: ArchiveFile, ts_start: int) -> bool:
        """Return whether the trades of a file are kept, whose first one is of the day of ``ts_start``."""
        return self._path(venue, file, utc(ts_start).date()).exists()

    def write(
        self,
        cur: duckdb.DuckDBPyConnection,
        csv: Csv,
        venue: str,
        ts_start: int,
        ts_end: int,
        folder: Path,
        check: Callable[[], None],
    ) -> None:
        """Keep the trades of a file, in the place of what was kept of it.

        Parameters
        ----------
        cur : duckdb.DuckDBPyConnection
            Runs the queries; nothing of the database is read.
        csv : Csv
            A file of trades, unpacked and found good.
        venue : str
            Venue it is of.
        ts_start, ts_end : int
            UNIX nanoseconds that its trades are within, ``ts_end`` exclusive.
        folder : Path
            Where to write, on the file system of the database, before it is moved to its place.
        check : callable
            Called when all is read and nothing moved; what it raises leaves things as they were.
        """
        first, last = utc(ts_start).date(), utc(ts_end - 1).date()
        whole = folder / f"raw-{uuid.uuid4().hex}.parquet"
        days: dict[date, Path] = {}
        try:
            select = _COLUMNS[csv.file.kind].format(to_ns=csv.to_ns)
            _copy(cur, f"SELECT {select} FROM {csv.sql()}", whole)  # noqa: S608 - names of ours
            if first == last:
                days[first] = whole
            else:
                self._split(cur, whole, first, last, days)
            check()
            # The first day last: where it is, all are.
            for day, part in sorted(days.items(), reverse=True):
                place = self._path(venue, csv.file, day)
                place.parent.mkdir(parents=True, exist_ok=True)
                os.replace(part, place)
        finally:
            for path in (whole, *days.values()):
                path.unlink(missing_ok=True)
        for path in self._of_file(venue, csv.file):
            if path not in {self._path(venue, csv.file, day) for day in days}:
                path.unlink()

    def remove(self, venue: str, file: ArchiveFile) -> None:
        """Remove what is kept of a file, if anything is."""
        for path in self._of_file(venue, file):
            path.unlink()

    def drop(self, keep_days: int) -> int:
        """Keep the last ``keep_days`` days up to the newest of each kind and symbol; return the days dropped."""
        dropped = 0
        for symbol in self.root.glob("*/venue=*/symbol=*"):
            days = {date.fromisoformat(path.name.removeprefix("date=")): path for path in symbol.glob("date=*")}
            for day in sorted(days)[:-1]:
                if day <= max(days) - timedelta(days=keep_days):
                    shutil.rmtree(days[day])
                    dropped += 1
        return dropped

    @staticmethod
    def _split(cur: duckdb.DuckDBPyConnection, whole: Path, first: date, last: date, days: dict[date, Path]) -> None:
        """Write the trades of each day by themselves and put the paths into ``days``; a day without trades has none."""
        for n in range((last - first).days + 1):
            day = first + timedelta(days=n)
            begin = (day - date(1970, 1, 1)).days * DAY
            part = whole.with_name(f"{whole.stem}-{day}.parquet")
            days[day] = part
            # The path is a glob to DuckDB: brackets make its characters plain.
            plain = Path(re.sub(r"[*?\[]", r"[\g<0>]", str(whole)))
            source = f"FROM read_parquet({_literal(plain)}) WHERE ts_event >= {begin} AND ts_event < {begin + DAY}"
            if not _copy(cur, source, part):
                days.pop(day).unlink()

    def _path(self, venue: str, file: ArchiveFile, day: date) -> Path:
        return self._folder(venue, file) / f"date={day}" / f"{file.stem}.parquet"

    def _of_file(self, venue: str, file: ArchiveFile) -> Iterator[Path]:
        return self._folder(venue, file).glob(f"date=*/{file.stem}.parquet")

    def _folder(self, venue: str, file: ArchiveFile) -> Path:
        return self.root / file.kind / f"venue={venue}" / f"symbol={file.symbol}"


def has_raw(file: ArchiveFile) -> bool:
    """Return whether a file is of trades, which can be kept."""
    return file.kind in TRADE_KINDS


def _copy(cur: duckdb.DuckDBPyConnection, sql: str, to: Path) -> int:
    """Write rows to a file; return how many."""
    [(rows,)] = cur.execute(f"COPY ({sql}) TO {_literal(to)} (FORMAT parquet, COMPRESSION zstd)").fetchall()
    return int(rows)


def _literal(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"
