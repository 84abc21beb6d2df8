"""Which symbol is meant: every call that takes one finds it here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from liqserver.live.errors import InvalidField, UnknownName


def find_symbol(names: Sequence[tuple[str, str]], venue: str, symbol: str, within: str = "") -> tuple[str, str]:
    """Return the (venue, symbol) that is meant.

    Parameters
    ----------
    names : sequence of (venue, symbol)
        Those there are.
    venue, symbol : str
        As asked; the venue may be empty where one venue only has the symbol.
    within : str
        What stands before the names of the fields in errors, for example "query.".

    Raises
    ------
    InvalidField
        If the symbol is empty, or several venues have it and none is named.
    UnknownName
        If there is no such symbol.
    """
    if not symbol:
        raise InvalidField(
            f"{within}symbol", "empty", f"must be one of {', '.join(s for _, s in names) or 'none yet: ingest data'}"
        )
    found = [name for name in names if name[1] == symbol and venue in ("", name[0])]
    if not found:
        raise UnknownName("symbol", f"{venue}:{symbol}" if venue else symbol, (f"{v}:{s}" for v, s in names))
    if len(found) > 1:
        raise InvalidField(f"{within}venue", "empty", f"must be one of {', '.join(v for v, _ in found)} for {symbol}")
    return found[0]


def find_symbols(names: Iterable[tuple[str, str]], venue: str, symbol: str) -> list[tuple[str, str]]:
    """Return every (venue, symbol) that is meant, an empty name meaning all; raises UnknownName if there is none."""
    known = list(names)
    found = [of for of in known if venue in ("", of[0]) and symbol in ("", of[1])]
    if not found and (venue or symbol):
        asked = ":".join(name for name in (venue, symbol) if name)
        raise UnknownName("symbol", asked, map(":".join, known))
    return found
