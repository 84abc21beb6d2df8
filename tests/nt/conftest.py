import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from nautilus_trader.model.data import Bar
from nautilus_trader.model.instruments import CryptoPerpetual
from nautilus_trader.persistence.catalog import ParquetDataCatalog

import liqclient
from liqclient.nt import LevelsQuery, export_levels, market_files, perpetual, read_market, write_data


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            # Nautilus asks pandas for the time in a way that a later pandas will not have.
            item.add_marker(pytest.mark.filterwarnings("ignore:Timestamp.utcnow is deprecated"))


@pytest.fixture(scope="session")
def instrument() -> CryptoPerpetual:
    return perpetual("BTCUSDT", "BINANCE", tick_size="0.1", step_size="0.001", taker_fee="0.0005")


@pytest.fixture(scope="session")
def query() -> LevelsQuery:
    return LevelsQuery(instrument_id="BTCUSDT-PERP.BINANCE", every="1h")


@pytest.fixture(scope="session")
def client(market_server: str) -> Iterator[liqclient.Client]:
    """A client of the server on the simulated market."""
    with liqclient.Client(market_server, timeout=60) as asking:
        yield asking


@pytest.fixture(scope="session")
def bars(market_archive: Path, instrument: CryptoPerpetual) -> list[Bar]:
    """Bars of a minute of the simulated market, from the second hour on, when its book has begun."""
    files = [of for of in market_files(market_archive, "BTCUSDT") if of.kind == "klines"]
    found = [bar for part in read_market(files, instrument) for bar in part]
    return found[60:]


@pytest.fixture(scope="session")
def catalog(
    client: liqclient.Client,
    query: LevelsQuery,
    bars: list[Bar],
    instrument: CryptoPerpetual,
    tmp_path_factory: pytest.TempPathFactory,
) -> ParquetDataCatalog:
    """A catalogue of those bars, and of hourly levels."""
    made = ParquetDataCatalog(str(tmp_path_factory.mktemp("catalog")))
    made.write_data([instrument])
    write_data(made, bars)
    export_levels(made, client, query, start=bars[0].ts_init, end=bars[-1].ts_init)
    return made


@pytest.fixture
def unused_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
