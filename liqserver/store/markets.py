"""Markets as models want them, read from the database."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from liqserver.kernel import History
from liqserver.margin import BracketTable, builtin_tables
from liqserver.models.market import Market
from liqserver.store.brackets import bracket_history
from liqserver.store.database import Database
from liqserver.store.details import StoreDetails
from liqserver.store.history import load_history
from liqserver.store.ledger import symbol_keys


class StoreMarkets:
    """The markets of one database; see ``liqserver.live.engine.MarketSource``.

    Parameters
    ----------
    database : Database
        Open; each call uses a cursor of its own.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def names(self) -> list[tuple[str, str]]:
        """Return (venue, symbol) of every market, sorted."""
        return list(symbol_keys(self._database.cursor()))

    def market(self, venue: str, symbol: str) -> Market:
        """Return one market with everything that is stored of it.

        Raises
        ------
        KeyError
            If there is no such market.
        """
        cur = self._database.cursor()
        row = cur.execute(
            "SELECT symbol_id, tick_size, tick_size_source, base_bin FROM symbols WHERE venue = ? AND symbol = ?",
            [venue, symbol],
        ).fetchone()
        if row is None:
            raise KeyError(f"{venue}:{symbol}")
        symbol_id, tick_size, tick_size_source, base_bin = row
        brackets = bracket_history(cur, venue, symbol)
        history = load_history(cur, symbol_id, base_bin)
        return Market(
            venue=venue,
            symbol=symbol,
            tick_size=tick_size,
            tick_size_source=tick_size_source,
            base_bin=base_bin,
            history=history,
            brackets=tuple(brackets.tables) if brackets is not None else (),
            details=StoreDetails(self._database.cursor, symbol_id, history),
        )

    def grown(self, market: Market, history: History) -> Market:
        """Return ``market`` with ``history``, which begins with the one it has; details are read anew when needed."""
        cur = self._database.cursor()
        [(symbol_id,)] = cur.execute(
            "SELECT symbol_id FROM symbols WHERE venue = ? AND symbol = ?", [market.venue, market.symbol]
        ).fetchall()
        return replace(market, history=history, details=StoreDetails(self._database.cursor, symbol_id, history))


def bracket_tables(path: Path, venue: str, symbol: str) -> tuple[BracketTable, ...]:
    """Return what is known of a symbol's brackets: built in, and stored in the database at ``path`` if it is there."""
    if not path.exists():
        return tuple(table for table in builtin_tables() if (table.venue, table.symbol) == (venue, symbol))
    with Database(path, read_only=True) as database:
        history = bracket_history(database.cursor(), venue, symbol)
    return tuple(history.tables) if history is not None else ()
