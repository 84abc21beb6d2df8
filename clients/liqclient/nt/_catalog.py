"""Levels and market data into a catalogue, for backtests without a server."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import batched

from nautilus_trader.backtest.config import BacktestDataConfig
from nautilus_trader.core.data import Data
from nautilus_trader.model.data import Bar
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.persistence.catalog import ParquetDataCatalog

from liqclient._client import Client
from liqclient._types import Time
from liqclient.nt._constants import CLIENT_ID
from liqclient.nt._data import LiquidationLevels
from liqclient.nt._feed import replay_levels
from liqclient.nt._query import LevelsQuery

# Levels of a month by the minute are several files of some 10 MB.
_FILE_ROWS = 4096


class CatalogConflictError(ValueError):
    """A catalogue holds data of the same type and instrument for the same time already."""


def levels_data_config(
    catalog_path: str,
    instrument_id: InstrumentId | str,
    *,
    start_time: str | int | None = None,
    end_time: str | int | None = None,
) -> BacktestDataConfig:
    """Return the configuration by which a `BacktestNode` reads levels from a catalogue.

    Parameters
    ----------
    catalog_path
        Folder of the catalogue.
    instrument_id
        Instrument; the catalogue must hold it too.
    start_time, end_time
        Bounds of ``ts_init``, ISO 8601 text or UNIX nanoseconds; None for all.
    """
    return BacktestDataConfig(
        catalog_path=catalog_path,
        data_cls=f"liqclient.nt:{LiquidationLevels.__name__}",
        client_id=CLIENT_ID,
        instrument_id=InstrumentId.from_str(str(instrument_id)),
        start_time=start_time,
        end_time=end_time,
    )


def export_levels(
    catalog: ParquetDataCatalog,
    client: Client,
    query: LevelsQuery,
    *,
    start: Time | None = None,
    end: Time | None = None,
    on_levels: Callable[[LiquidationLevels], None] = lambda _: None,
) -> int:
    """Write the levels that are available from ``start`` to ``end`` to a catalogue.

    Parameters
    ----------
    catalog
        Where to.
    client
        Whom to ask.
    query
        What to ask for.
    start, end
        As in `replay_levels`.
    on_levels
        Called with each, as it comes.

    Returns
    -------
    int
        How many were written.

    Raises
    ------
    CatalogConflictError
        If the catalogue holds levels of the instrument for some of that time; what came before is written.
    LiqClientError
        If the call fails; what came before is written.
    """
    written = 0
    # Levels that come one after the other are never held for more than one file.
    for part in batched(replay_levels(client, query, start=start, end=end), _FILE_ROWS):
        for levels in part:
            on_levels(levels)
        write_data(catalog, list(part))
        written += len(part)
    return written


def write_data(catalog: ParquetDataCatalog, data: list[Data]) -> None:
    """Write data of one type and instrument to a catalogue, in one file.

    Raises
    ------
    CatalogConflictError
        If the catalogue holds such data for some of that time already; its own check would pass over a file of the
        same bounds without a word.
    """
    first = data[0]
    identifier = str(first.bar_type) if isinstance(first, Bar) else str(first.instrument_id)
    start, end = first.ts_init, data[-1].ts_init
    intervals: Iterable[tuple[int, int]] = catalog.get_intervals(type(first), identifier)
    for low, high in intervals:
        if start <= high and low <= end:
            raise CatalogConflictError(
                f"the catalogue has {type(first).__name__} of {identifier} from {low} to {high} (UNIX nanoseconds of "
                f"ts_init) already, which overlaps {start} to {end}; name a new folder, or another start or end"
            )
    catalog.write_data(data)
