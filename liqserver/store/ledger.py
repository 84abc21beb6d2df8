"""What is in: the symbols, and the files or events they came with."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import duckdb


def symbol_keys(cur: duckdb.DuckDBPyConnection) -> dict[tuple[str, str], int]:
    """Return the key of every (venue, symbol), sorted by these."""
    rows = cur.execute("SELECT venue, symbol, symbol_id FROM symbols ORDER BY venue, symbol").fetchall()
    return {(venue, symbol): key for venue, symbol, key in rows}


def stored_files(cur: duckdb.DuckDBPyConnection, keys: Iterable[int]) -> list[dict[str, Any]]:
    """Return the ledger of some symbols in the order in which files came in: a dict of its columns for each."""
    cur.execute(
        """
        SELECT venue, symbol, kind, period, name, sha256, bytes, rows, stored_rows, dropped_rows, ts_start, ts_end,
               notices, ingested_at
        FROM ledger JOIN symbols USING (symbol_id)
        WHERE symbol_id IN (SELECT unnest(?::INTEGER[])) ORDER BY file_id
        """,
        [list(keys)],
    )
    names = [column[0] for column in cur.description or ()]
    files = (dict(zip(names, row, strict=True)) for row in cur.fetchall())
    return [{**of, "notices": json.loads(of["notices"])} for of in files]
