import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# Before grpc is imported: its handlers of fork() write into the standard error of commands that tests start.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

from liqserver.rpc.server import EmbeddedServer
from liqserver.simulate.archive import write_archive
from liqserver.simulate.config import SimulationConfig
from liqserver.store.database import Database
from liqserver.store.ingest import Status, ingest

# A machine under load is no failure of a property; pytest's own timeout stops what hangs.
settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real market data; tests that need it are skipped where it is missing."""
    folder = Path(os.environ.get("LIQSERVER_SHARED_DATA", REPOSITORY / ".." / "shared" / "data")).resolve()
    if not folder.is_dir():
        pytest.skip(f"no market data at {folder}: set LIQSERVER_SHARED_DATA")
    return folder


@pytest.fixture(scope="session")
def market_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Archive files of two simulated days of BTCUSDT."""
    out = tmp_path_factory.mktemp("market") / "archive"
    write_archive(SimulationConfig(days=2, seed=7, trades_per_day=30_000), out)
    return out


@pytest.fixture(scope="session")
def market_db(market_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of those files."""
    path = tmp_path_factory.mktemp("database") / "market.duckdb"
    with Database(path) as database:
        report = ingest(database, [market_archive])
    assert not report.of(Status.REJECTED)
    return path


@pytest.fixture(scope="session")
def market_server(market_db: Path) -> Iterator[str]:
    """Address of a real server on that database."""
    with EmbeddedServer(market_db) as server:
        yield server.target
