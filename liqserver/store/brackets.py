"""Bracket tables from files and in the database.

A file is read whole or not at all: one bad table rejects it, with the line or bracket named.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from liqserver.margin import BracketError, BracketHistory, BracketTable, builtin_tables
from liqserver.margin.brackets import midnight

# Binance writes the largest 64-bit integer where a last bracket has no cap.
_NO_CAP = float(2**63 - 1)
_COLUMNS = ("notional_floor", "notional_cap", "mmr", "cum", "max_leverage")
# Names in the answer of GET /fapi/v1/leverageBracket, in the order of _COLUMNS.
_JSON_FIELDS = ("notionalFloor", "notionalCap", "maintMarginRatio", "cum", "initialLeverage")
_DATE = re.compile(r"(?<!\d)\d{4}-\d{2}-\d{2}(?!\d)")


@dataclass(frozen=True, slots=True)
class _Row:
    """One bracket as a file has it; an empty mmr is None."""

    line: int | None
    symbol: str
    effective_from: int
    bracket: int
    values: tuple[float | None, ...]


def read_brackets(
    path: Path, *, venue: str = "BINANCE", effective_from: int | None = None, skip_without_mmr: bool = False
) -> list[BracketTable]:
    """Read the bracket tables of a file.

    Parameters
    ----------
    path : Path
        ``.csv`` with a header and the columns symbol, bracket (or tier), notional_floor, notional_cap, mmr, cum,
        max_leverage and, if the file holds several dates, observed_on; other columns are not read. Or ``.json``,
        the answer of Binance's ``GET /fapi/v1/leverageBracket``, a list of symbols or a single one.
    venue : str
        Venue of every table.
    effective_from : int, optional
        Date of effect, UNIX ns, for a file that gives none. A file's own date is that of observed_on, else of its
        name (``brackets_2026-09-29.csv``), at midnight UTC.
    skip_without_mmr : bool
        Leave out tables whose mmr is empty in every bracket, as the oldest observations have it, instead of
        rejecting the file.

    Returns
    -------
    list of BracketTable
        In the order of the file. A last cap of 2**63 or so, which stands for none, is inf.

    Raises
    ------
    BracketError
        If the file is not one, a table in it is bad, no date of effect is known, or ``effective_from`` is not
        the date that the file itself gives.
    OSError
        If the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BracketError(f"{path.name} must be UTF-8 text: {error}") from None
    match path.suffix.lower():
        case ".csv":
            try:
                rows = list(_csv_rows(text, path.name, effective_from))
            except csv.Error as error:
                raise BracketError(f"{path.name} must be CSV: {error}") from None
        case ".json":
            rows = list(_json_rows(text, path.name, effective_from))
        case suffix:
            raise BracketError(f"{path.name}: the file's ending must be .csv or .json, was {suffix!r}")
    if not rows:
        raise BracketError(f"{path.name} holds no brackets")
    groups: dict[tuple[str, int], list[_Row]] = {}
    for row in rows:
        groups.setdefault((row.symbol, row.effective_from), []).append(row)
    tables = []
    for group in groups.values():
        if skip_without_mmr and all(row.values[_COLUMNS.index("mmr")] is None for row in group):
            continue
        tables.append(_table(group, path.name, venue))
    return tables


def save_brackets(con: duckdb.DuckDBPyConnection, tables: Sequence[BracketTable]) -> None:
    """Write ``tables`` to the database; one that is stored under the same ``table_id`` is replaced.

    One statement, so all or nothing, within the caller's transaction if there is one.

    Raises
    ------
    BracketError
        If two of ``tables`` have the same ``table_id``.
    """
    if not tables:
        return
    ids = [table.table_id for table in tables]
    if len(set(ids)) < len(ids):
        raise BracketError(f"tables must differ in table_id, was {max(ids, key=ids.count)} more than once")
    sizes = [len(table) for table in tables]

    def per_bracket(values: list[Any], dtype: type) -> np.ndarray[Any, Any]:
        return np.repeat(np.array(values, dtype=dtype), sizes)

    rows = {
        "table_id": per_bracket(ids, object),
        "venue": per_bracket([table.venue for table in tables], object),
        "symbol": per_bracket([table.symbol for table in tables], object),
        "effective_from": per_bracket([table.effective_from for table in tables], np.int64),
        "bracket": np.concatenate([np.arange(1, size + 1, dtype=np.int32) for size in sizes]),
        **{name: np.concatenate([getattr(table, name) for table in tables]) for name in _COLUMNS},
        "source": per_bracket([table.source for table in tables], object),
    }
    con.register("new_brackets", rows)
    try:
        con.execute(
            """
            MERGE INTO brackets AS old USING new_brackets AS new
                ON old.table_id = new.table_id AND old.bracket = new.bracket
            WHEN MATCHED THEN UPDATE BY NAME
            WHEN NOT MATCHED BY SOURCE AND list_contains(?, old.table_id) THEN DELETE
            WHEN NOT MATCHED THEN INSERT BY NAME
            """,
            [ids],
        )
    finally:
        con.unregister("new_brackets")


def load_brackets(
    con: duckdb.DuckDBPyConnection, venue: str | None = None, symbol: str | None = None
) -> list[BracketTable]:
    """Return the stored tables, of one venue or symbol if given, by venue, symbol and date of effect.

    Raises
    ------
    BracketError
        If what is stored is not a bracket table.
    """
    columns = con.execute(
        """
        SELECT * FROM brackets
        WHERE ($venue IS NULL OR venue = $venue) AND ($symbol IS NULL OR symbol = $symbol)
        ORDER BY venue, symbol, effective_from, table_id, bracket
        """,
        {"venue": venue, "symbol": symbol},
    ).fetchnumpy()
    ids = columns["table_id"]
    starts = [0, *(np.flatnonzero(ids[1:] != ids[:-1]) + 1).tolist(), len(ids)] if len(ids) else [0]
    tables = []
    for start, stop in pairwise(starts):
        table_id = str(ids[start])
        numbers = columns["bracket"][start:stop]
        if not np.array_equal(numbers, np.arange(1, stop - start + 1)):
            raise BracketError(f"{table_id}: stored brackets must be numbered 1 to n, were {numbers.tolist()}")
        table = BracketTable(
            str(columns["venue"][start]),
            str(columns["symbol"][start]),
            int(columns["effective_from"][start]),
            str(columns["source"][start]),
            *(columns[name][start:stop] for name in _COLUMNS),
        )
        if table.table_id != table_id:
            raise BracketError(f"table_id must be {table.table_id} as its columns have it, was {table_id}")
        tables.append(table)
    return tables


def bracket_history(con: duckdb.DuckDBPyConnection, venue: str, symbol: str) -> BracketHistory | None:
    """Return every known table of a symbol, built in or stored; of two with one ``table_id`` the stored one.

    None if no table is known.

    Raises
    ------
    BracketError
        If a stored one is bad.
    """
    tables = {t.table_id: t for t in builtin_tables() if (t.venue, t.symbol) == (venue, symbol)}
    tables |= {t.table_id: t for t in load_brackets(con, venue, symbol)}
    return BracketHistory(tuple(tables.values())) if tables else None


def _csv_rows(text: str, file: str, given: int | None) -> Iterator[_Row]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    header = reader.fieldnames or []
    number_column = "tier" if "tier" in header else "bracket"
    missing = [name for name in ("symbol", number_column, *_COLUMNS) if name not in header]
    if missing:
        raise BracketError(f"{file}: the header must name {', '.join(missing)}, was {','.join(header)!r}")
    date_of_file = None if "observed_on" in header else _date_of_effect(file, given)
    for cells in reader:
        line = reader.line_num
        where = f"{file}, line {line}"
        if None in cells or None in cells.values():
            raise BracketError(f"{where}: must have {len(header)} cells as the header has")
        date = date_of_file
        if date is None:
            date = _date(where, "observed_on", cells["observed_on"], given)
        number = _number(where, number_column, cells[number_column])
        values = [
            None if name == "mmr" and cells[name] == "" else _number(where, name, cells[name]) for name in _COLUMNS
        ]
        yield _Row(line, cells["symbol"], date, _whole(where, number_column, number), tuple(values))


def _json_rows(text: str, file: str, given: int | None) -> Iterator[_Row]:
    try:
        answer = json.loads(text)
    except json.JSONDecodeError as error:
        raise BracketError(f"{file} must be JSON: {error}") from None
    date = _date_of_effect(file, given)
    seen = set()
    for i, item in enumerate(answer if isinstance(answer, list) else [answer]):
        where = f"{file}, entry {i + 1}"
        match item:
            case {"symbol": str(symbol), "brackets": [_, *_] as brackets}:
                where = f"{file}, {symbol}"
            case _:
                raise BracketError(f"{where}: must have a symbol and its brackets, was {str(item)[:200]}")
        if symbol in seen:
            raise BracketError(f"{where}: must stand in the file once")
        seen.add(symbol)
        # Brackets scaled for one account are not those of the market.
        coefficient = item.get("notionalCoef", 1)
        if coefficient != 1:
            raise BracketError(
                f"{where}: notionalCoef must be 1 or absent, was {coefficient!r}: adjusted for one account"
            )
        for number, bracket in enumerate(brackets, 1):
            where_bracket = f"{where}, bracket {number}"
            if not isinstance(bracket, dict):
                raise BracketError(f"{where_bracket}: must be an object, was {bracket!r}")
            values = [_number(where_bracket, name, bracket.get(name)) for name in _JSON_FIELDS]
            own_number = _number(where_bracket, "bracket", bracket.get("bracket"))
            yield _Row(None, symbol, date, _whole(where_bracket, "bracket", own_number), tuple(values))


def _table(rows: list[_Row], file: str, venue: str) -> BracketTable:
    lines = [row.line for row in rows if row.line is not None]
    where = f"{file}, lines {min(lines)} to {max(lines)}" if lines else f"{file}, {rows[0].symbol}"
    rows = sorted(rows, key=lambda row: row.bracket)
    numbers = [row.bracket for row in rows]
    if numbers != list(range(1, len(rows) + 1)):
        raise BracketError(f"{where}: brackets must be numbered 1 to n, each once, were {numbers}")
    for row in rows:
        if None in row.values:
            everywhere = all(None in other.values for other in rows)
            hint = "; skip_without_mmr leaves out tables that have none" if everywhere else ""
            raise BracketError(
                f"{file}, line {row.line}: bracket {row.bracket} of {row.symbol}: mmr must be a number, was empty{hint}"
            )
    columns = dict(zip(_COLUMNS, np.array([row.values for row in rows], dtype=np.float64).T, strict=True))
    cap = columns["notional_cap"]
    cap[cap >= _NO_CAP] = np.inf
    try:
        return BracketTable(venue, rows[0].symbol, rows[0].effective_from, file, **columns)
    except BracketError as error:
        raise BracketError(f"{where}: {error}") from None


def _date_of_effect(file: str, given: int | None) -> int:
    dates = _DATE.findall(file)
    if len(dates) > 1:
        raise BracketError(f"{file}: the file's name must hold one date, holds {', '.join(dates)}")
    if dates:
        return _date(file, "the date in the name", dates[0], given)
    if given is None:
        raise BracketError(
            f"{file}: no date of effect: the file has no column observed_on, its name no date (YYYY-MM-DD), "
            f"and effective_from was not given"
        )
    return given


def _date(where: str, name: str, text: str, given: int | None) -> int:
    try:
        date = midnight(text)
    except ValueError:
        raise BracketError(f"{where}: {name} must be a date (YYYY-MM-DD), was {text!r}") from None
    if given is not None and given != date:
        raise BracketError(f"{where}: effective_from must be {date}, as {name} is {text}, was {given}")
    return date


def _number(where: str, name: str, value: object) -> float:
    # bool is an int to Python, but true is no number.
    if isinstance(value, str) or (isinstance(value, int | float) and not isinstance(value, bool)):
        try:
            return float(value)
        except (ValueError, OverflowError):
            pass
    raise BracketError(f"{where}: {name} must be a number, was {value!r}")


def _whole(where: str, name: str, value: float) -> int:
    if not value.is_integer():
        raise BracketError(f"{where}: {name} must be a whole number, was {value!r}")
    return int(value)
