from collections.abc import Iterator
from pathlib import Path

import pytest

import liqclient
from liqserver.rpc.server import EmbeddedServer
from liqserver.store.database import Database
from liqserver.store.ingest import Status, ingest


@pytest.fixture
def client(market_server: str) -> Iterator[liqclient.Client]:
    """A client of the server on the simulated market."""
    with liqclient.Client(market_server, timeout=60) as asking:
        yield asking


@pytest.fixture(scope="session")
def recorded_server(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a server on real recorded force orders of one day."""
    path = tmp_path_factory.mktemp("recorded") / "recorded.duckdb"
    with Database(path) as database:
        report = ingest(database, [shared_data / "binance-originals" / "force_orders_2025-01-26.csv"])
    assert not report.of(Status.REJECTED)
    with EmbeddedServer(path) as server:
        yield server.target
