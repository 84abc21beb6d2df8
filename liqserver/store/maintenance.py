"""Upkeep of a database file: made small again, and tables taken out of it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import duckdb
from numpy.typing import NDArray

from liqserver.store.archive import DAY, utc
from liqserver.store.database import Database, StoreError
from liqserver.store.raw import RawTrades


@dataclass(frozen=True, slots=True)
class Compaction:
    """What compacting did: bytes of the file before and after, large trades and days of raw ones dropped."""

    bytes_before: int
    bytes_after: int
    dropped_trades: int
    dropped_raw_days: int


def compact(path: Path, *, keep_days: float | None = None, keep_raw_days: int | None = None) -> Compaction:
    """Drop old large trades, if asked to, and write the file anew without the room that is free in it.

    The new file takes the place of the old one when it is complete: an interruption leaves the old one.

    Parameters
    ----------
    path : Path
        The database; nothing else may have it open.
    keep_days : float, optional
        Keep large trades of so many days before the newest trade of their symbol; all by default. Flow stays. The
        notices of the files they came with say so.
    keep_raw_days : int, optional
        Keep raw trades of so many days up to the newest day of each kind and symbol; all by default.

    Raises
    ------
    StoreError
        If there is no database, it cannot be opened, or ``keep_days`` or ``keep_raw_days`` is not positive.
    """
    if keep_days is not None and not 0 < keep_days < float("inf"):
        raise StoreError(f"keep_days was {keep_days}, must be a positive number")
    if keep_raw_days is not None and keep_raw_days < 1:
        raise StoreError(f"keep_raw_days was {keep_raw_days}, must be at least 1")
    if not path.exists():
        raise StoreError(f"there is no database at {path}")
    before = path.stat().st_size
    anew = path.with_name(path.name + ".compact")
    anew.unlink(missing_ok=True)
    with Database(path) as db:
        dropped = _drop_large_trades(db, keep_days) if keep_days is not None else 0
        dropped_raw = RawTrades(path).drop(keep_raw_days) if keep_raw_days is not None else 0
        cur = db.cursor()
        cur.execute("CHECKPOINT")
        [(name,)] = cur.execute("SELECT current_database()").fetchall()
        try:
            cur.execute(f"ATTACH {_literal(anew)} AS anew")
            # Rows stay in their order: sums over them come out the same to the last bit.
            cur.execute(f'COPY FROM DATABASE "{name}" TO anew')
            cur.execute("DETACH anew")
            after = anew.stat().st_size
            # While the old one is held: nobody else can write to it in between.
            os.replace(anew, path)
        except BaseException:
            cur.close()
            anew.unlink(missing_ok=True)
            raise
    return Compaction(before, after, dropped, dropped_raw)


def _drop_large_trades(db: Database, keep_days: float) -> int:
    with db.transaction() as cur:
        cur.execute(
            """
            CREATE TEMP TABLE old AS
            SELECT symbol_id, max(ts_event) - ?::BIGINT AS since FROM flow GROUP BY symbol_id
            """,
            [round(keep_days * DAY)],
        )
        files = cur.execute(
            """
            SELECT file_id, symbol_id, since, count(*) FROM large_trades JOIN old USING (symbol_id)
            WHERE ts_event < since GROUP BY ALL
            """
        ).fetchall()
        for file_id, symbol_id, since, count in files:
            # A ledger row for each symbol of a file.
            [(notices,)] = cur.execute(
                "SELECT notices FROM ledger WHERE file_id = ? AND symbol_id = ?", [file_id, symbol_id]
            ).fetchall()
            said = f"{count:,} large trades before {utc(since):%F %T} were dropped later; its flow is complete"
            cur.execute(
                "UPDATE ledger SET notices = ? WHERE file_id = ? AND symbol_id = ?",
                [json.dumps([*json.loads(notices), said]), file_id, symbol_id],
            )
        cur.execute("DELETE FROM large_trades t USING old WHERE t.symbol_id = old.symbol_id AND ts_event < since")
    return sum(count for *_, count in files)


class FileFormat(StrEnum):
    """Formats of exported tables."""

    PARQUET = "parquet"
    CSV = "csv"


# What is exported of a table beside its columns, and how its rows are ordered.
_OF_SYMBOLS = {
    "flow": "ts_event, bin, size_class",
    "large_trades": "ts_event, trade_id",
    "open_interest": "ts_event",
    "mark_price": "period, ts_event",
    "index_price": "period, ts_event",
    "premium_index": "period, ts_event",
    "klines": "period, ts_event",
    "funding": "ts_event",
    "book_depth": "ts_event, percentage",
    "liquidations": "ts_event, side, price, qty",
    "liquidation_totals": "period, ts_event",
}
_OTHERS = {
    "symbols": "venue, symbol",
    "instruments": "venue, symbol",
    "brackets": "venue, symbol, effective_from, bracket",
    "ledger": "file_id",
}
TABLES = (*_OF_SYMBOLS, *_OTHERS)
"""Tables that can be exported."""


def export_table(
    path: Path,
    table: str,
    to: Path,
    file_format: FileFormat,
    *,
    venue: str = "",
    symbol: str = "",
    start: int | None = None,
    end: int | None = None,
) -> int:
    """Write a table to a file; return its rows.

    Rows of symbols have venue and symbol in place of their keys; flow has the left edge of its bin as ``price``.

    Parameters
    ----------
    path : Path
        The database; nothing else may have it open for writing.
    table : str
        One of `TABLES`.
    to : Path
        The file; one that exists is refused.
    file_format : FileFormat
        Its format.
    venue, symbol : str
        Only of these; all by default.
    start, end : int, optional
        Only rows with ``start <= ts_event < end``, UNIX nanoseconds.

    Raises
    ------
    StoreError
        If the database cannot be read, there is no such table or nothing of the symbol, the table has no times to
        choose by, or the file cannot be written.
    """
    if table not in TABLES:
        raise StoreError(f"table was {table!r}, must be one of {', '.join(TABLES)}")
    if table in _OTHERS and (start is not None or end is not None):
        raise StoreError(f"{table} has no times to choose by: start and end are for {', '.join(_OF_SYMBOLS)}")
    if table == "ledger":
        source = (
            "(SELECT venue, symbol, l.* EXCLUDE (symbol_id) FROM former.ledger l JOIN former.symbols USING (symbol_id))"
        )
    elif table in _OTHERS:
        source = f"former.{table}"
    else:
        price = ", bin * base_bin AS price" if table == "flow" else ""
        source = (
            f"(SELECT venue, symbol, t.* EXCLUDE (symbol_id, file_id){price} "  # noqa: S608 - names of ours
            f"FROM former.{table} t JOIN former.symbols USING (symbol_id))"
        )
    where, values = ["true"], list[object]()
    for condition, value in (
        ("venue = ?", venue or None),
        ("symbol = ?", symbol or None),
        ("ts_event >= ?", start),
        ("ts_event < ?", end),
    ):
        if value is not None:
            where.append(condition)
            values.append(value)
    # For its checks: of the lock, of the schema.
    Database(path, read_only=True).close()
    order = f"venue, symbol, {_OF_SYMBOLS[table]}" if table in _OF_SYMBOLS else _OTHERS[table]
    with duckdb.connect() as con:
        con.execute(f"ATTACH {_literal(path)} AS former (READ_ONLY)")
        if symbol or venue:
            known = con.execute(
                "SELECT count(*) FROM former.symbols WHERE (? = '' OR venue = ?) AND (? = '' OR symbol = ?)",
                [venue, venue, symbol, symbol],
            ).fetchall()
            if known == [(0,)]:
                raise StoreError(f"{path} holds nothing of {':'.join(name for name in (venue, symbol) if name)}")
        sql = f"SELECT * FROM {source} WHERE {' AND '.join(where)} ORDER BY {order}"  # noqa: S608 - names of ours
        return _write(con, sql, values, to, file_format)


def export_columns(columns: Mapping[str, NDArray], to: Path, file_format: FileFormat) -> int:  # type: ignore[type-arg]
    """Write columns of one length to a file; return its rows.

    Raises
    ------
    StoreError
        If the file exists or cannot be written.
    """
    with duckdb.connect() as con:
        con.register("given", dict(columns))
        return _write(con, "SELECT * FROM given", [], to, file_format)


def _write(con: duckdb.DuckDBPyConnection, sql: str, values: list[object], to: Path, file_format: FileFormat) -> int:
    if to.exists():
        raise StoreError(f"{to} exists; nothing is written over")
    part = to.with_name(to.name + ".part")
    options = "FORMAT parquet, COMPRESSION zstd" if file_format is FileFormat.PARQUET else "FORMAT csv, HEADER true"
    try:
        [(rows,)] = con.execute(f"COPY ({sql}) TO {_literal(part)} ({options})", values).fetchall()
        os.replace(part, to)
    except (duckdb.IOException, OSError) as error:
        part.unlink(missing_ok=True)
        raise StoreError(f"{to} cannot be written: {error}") from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return int(rows)


def _literal(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"
