"""From files of liquidations to rows: ``liquidationSnapshot`` of one symbol, recordings of force orders of all.

The side of the file is that of the order; what is stored is the side of the position. What counts is what was filled,
at the average price of the fills. Rows are in many files twice or more: the feed shows at most one order of a symbol
in a second, so rows of one time, side, price and quantity are one liquidation, in whichever file they come.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

import duckdb

from liqserver.store.archive import COLUMNS, Csv, FileRejectedError, Kind, find_fault
from liqserver.store.loaders import COPIES, KNOWN_ROWS, Loaded

LIQUIDATION_KINDS = (Kind.LIQUIDATION_SNAPSHOT, Kind.FORCE_ORDERS)
"""Kinds of files that `load_liquidations` reads."""

DEFAULT_QUOTE_ASSET = "USDT"
"""What symbols are quoted in when a recording does not say it."""

# A recording strips one quote asset only: symbols that are quoted in another keep theirs.
_QUOTE_ASSETS = ("USDT", "USDC", "BUSD", "FDUSD")
_PARSE_ERRORS = (duckdb.ConversionException, duckdb.InvalidInputException, duckdb.OutOfRangeException)

# What becomes of a row, and how a notice says it.
_FATES = {
    "unfilled": "dropped: nothing was filled",
    "unpriced": "dropped: the average price was 0, so what the fills were worth is not known",
    "copy": COPIES,
    "similar": "dropped: time, side, average price and filled quantity are those of another row of the file",
    "known": KNOWN_ROWS,
}
_UNFINISHED = "kept though not of status FILLED: they count with what was filled"


@dataclass(frozen=True, slots=True)
class NewSymbol:
    """A symbol that is not in the database yet, as far as its liquidations tell.

    Attributes
    ----------
    symbol : str
        Its name with the quote asset.
    price : float
        Average price of its first row that has one, quote units.
    decimals : int
        The most decimals that its limit and average prices have.
    """

    symbol: str
    price: float
    decimals: int


def load_liquidations(
    cur: duckdb.DuckDBPyConnection,
    csv: Csv,
    venue: str,
    file_id: int,
    *,
    quote_asset: str,
    register: Callable[[NewSymbol], int],
) -> tuple[Loaded, dict[int, Loaded]]:
    """Check a file and insert its rows.

    Parameters
    ----------
    cur : duckdb.DuckDBPyConnection
        Cursor within a transaction.
    csv : Csv
        The file, unpacked.
    venue : str
        Venue it is of.
    file_id : int
        Key in the ledger of the file's first symbol; the others take the keys that follow.
    quote_asset : str
        What to complete the names of a recording with; a name that ends in a quote asset stays as it is.
    register : callable
        Registers a symbol that is new and returns its key.

    Returns
    -------
    whole : Loaded
        Figures and notices of the file.
    parts : dict of int to Loaded
        The same by key of the symbol, in the order of the keys in the ledger.

    Raises
    ------
    FileRejectedError
        If a row breaks a rule; the reason names the line. Also if no row tells of a liquidation.
    """
    try:
        _stage(cur, csv, quote_asset)
    except _PARSE_ERRORS as error:
        raise FileRejectedError(find_fault(csv) or str(error).splitlines()[0]) from error
    [(bad, first, last)] = cur.execute("SELECT count(*) FILTER (bad), min(ts), max(ts) FROM staged").fetchall()
    if bad or first < csv.file.earliest or last > csv.file.latest:
        raise FileRejectedError(find_fault(csv) or f"{_rows(bad)} with values that are not allowed")
    notices = []
    if csv.file.kind is Kind.FORCE_ORDERS:
        notices.append(f"its symbols are taken for quoted in {quote_asset} where their names do not say it")
    new = _find_symbols(cur, csv, venue, register)
    if new:
        notices.append(
            f"{'1 symbol is' if new == 1 else f'{new:,} symbols are'} new: tick and bins are taken from the prices of "
            "liquidations, which may have more decimals than the tick"
        )
    _judge(cur)
    cur.execute(
        f"""
        INSERT INTO liquidations
        SELECT symbol_id, {file_id} + place, ts, ts, side, price, qty FROM judged JOIN found USING (symbol)
        WHERE fate = 'kept' ORDER BY place, ts, side, price, qty
        """  # noqa: S608 - numbers of ours
    )
    return _figures(cur, notices)


def _stage(cur: duckdb.DuckDBPyConnection, csv: Csv, quote_asset: str) -> None:
    """Make the temporary table ``staged``: the rows as they are meant, with their numbers and whether they are bad."""
    columns = COLUMNS[csv.file.kind]
    good = " AND ".join(c.rule.sql(f'"{c.name}"') for c in columns)
    time, symbol = "trade_time", "trim(symbol)"
    if csv.file.kind is Kind.LIQUIDATION_SNAPSHOT:
        time, good = "time", f"{good} AND symbol = '{csv.file.symbol}'"
    else:
        complete = "|".join(sorted({*_QUOTE_ASSETS, quote_asset}))
        whole = f"regexp_full_match({symbol}, '.+({complete})')"
        symbol = f"CASE WHEN {whole} THEN {symbol} ELSE {symbol} || '{quote_asset}' END"
    # A single reader keeps the order of rows: the first of several copies is the one that stays.
    cur.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE staged AS
        SELECT row_number() OVER () AS row, {symbol} AS symbol, "{time}" * {csv.to_ns} AS ts,
               (CASE trim(side) WHEN 'SELL' THEN 1 ELSE -1 END)::TINYINT AS side,
               average_price AS price, accumulated_fill_quantity AS qty,
               hash({", ".join(f'"{c.name}"' for c in columns)}) AS content,
               trim(order_status) IS DISTINCT FROM 'FILLED' AS unfinished,
               ({good}) IS NOT TRUE AS bad
        FROM {csv.sql(parallel=False)}
        """  # noqa: S608 - names of ours
    )


def _find_symbols(cur: duckdb.DuckDBPyConnection, csv: Csv, venue: str, register: Callable[[NewSymbol], int]) -> int:
    """Make the temporary table ``found``, the file's symbols with key and place; return how many are new.

    A symbol that is new and of which nothing was liquidated stays out.
    """
    named = cur.execute(
        """
        SELECT symbol, arg_min(price, row) FILTER (price > 0 AND qty > 0), list(row ORDER BY row)
        FROM staged GROUP BY symbol ORDER BY symbol
        """
    ).fetchall()
    keys: dict[str, int] = dict(
        cur.execute("SELECT symbol, symbol_id FROM symbols WHERE venue = ?", [venue]).fetchall()
    )
    new = [(symbol, price, rows) for symbol, price, rows in named if symbol not in keys and price is not None]
    if new:
        decimals = _decimals(csv)
        for symbol, price, rows in new:
            keys[symbol] = register(NewSymbol(symbol, price, max(decimals[row - 1] for row in rows)))
    there = [(symbol, keys[symbol]) for symbol, _, _ in named if symbol in keys]
    if not there:
        raise FileRejectedError("no row tells of a liquidation: a filled quantity with an average price")
    cur.execute("CREATE OR REPLACE TEMP TABLE found (symbol VARCHAR, symbol_id INTEGER, place INTEGER)")
    cur.executemany("INSERT INTO found VALUES (?, ?, ?)", [(*of, place) for place, of in enumerate(there)])
    return len(new)


def _decimals(csv: Csv) -> list[int]:
    """Return the most decimals of the prices of each row."""
    names = [c.name for c in COLUMNS[csv.file.kind]]
    at = names.index("price"), names.index("average_price")
    return [max(_decimals_of(fields[n]) for n in at) for _, fields in csv.rows()]


def _decimals_of(text: str) -> int:
    try:
        exponent = Decimal(text.strip()).normalize().as_tuple().exponent
    except InvalidOperation:
        return 0
    return max(-exponent, 0) if isinstance(exponent, int) else 0


def _judge(cur: duckdb.DuckDBPyConnection) -> None:
    """Make the temporary table ``judged``: the staged rows, each with its fate."""
    cur.execute(
        """
        CREATE OR REPLACE TEMP TABLE judged AS
        WITH counted AS (
            SELECT *,
                   row_number() OVER (PARTITION BY symbol, ts, side, price, qty, content ORDER BY row) AS nth,
                   row_number() OVER (PARTITION BY symbol, ts, side, price, qty ORDER BY row) AS nth_alike
            FROM staged
        ), there AS (
            SELECT DISTINCT symbol, ts_event AS ts, side, price, qty FROM liquidations JOIN found USING (symbol_id)
            WHERE ts_event BETWEEN (SELECT min(ts) FROM staged) AND (SELECT max(ts) FROM staged)
        )
        SELECT c.*,
               CASE WHEN qty = 0 THEN 'unfilled' WHEN price = 0 THEN 'unpriced' WHEN nth > 1 THEN 'copy'
                    WHEN nth_alike > 1 THEN 'similar'
                    WHEN EXISTS (SELECT 1 FROM there t WHERE (t.symbol, t.ts, t.side, t.price, t.qty)
                                 = (c.symbol, c.ts, c.side, c.price, c.qty)) THEN 'known'
                    ELSE 'kept' END AS fate
        FROM counted c
        """
    )


def _figures(cur: duckdb.DuckDBPyConnection, notices: list[str]) -> tuple[Loaded, dict[int, Loaded]]:
    """Return the figures of the judged rows: of all, and by symbol."""
    fates = ", ".join(f"count(*) FILTER (fate = '{fate}')" for fate in ("kept", *_FATES))
    found = cur.execute(
        f"""
        SELECT symbol_id, count(*), min(ts), max(ts), count(*) FILTER (fate = 'kept' AND unfinished), {fates}
        FROM judged LEFT JOIN found USING (symbol) GROUP BY GROUPING SETS ((), (symbol_id, place))
        ORDER BY grouping(symbol_id) DESC, place
        """  # noqa: S608 - names of ours
    ).fetchall()
    figures = []
    for symbol_id, rows, first, last, unfinished, kept, *dropped in found:
        said = [f"{_rows(n)} {words}" for n, words in zip(dropped, _FATES.values(), strict=True) if n]
        if unfinished:
            said.append(f"{_rows(unfinished)} {_UNFINISHED}")
        figures.append((symbol_id, Loaded(rows, kept, rows - kept, first, last, notices=[*notices, *said])))
    # First all together, then by symbol; rows of symbols that stay out have no key.
    return figures[0][1], {key: loaded for key, loaded in figures[1:] if key is not None}


def _rows(n: int) -> str:
    return "1 row" if n == 1 else f"{n:,} rows"
