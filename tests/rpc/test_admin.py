"""Ingest into a server that goes on answering."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import grpc
import numpy as np
import pytest

import liqclient
from liqserver.rpc.server import EmbeddedServer
from liqserver.store.archive import Kind
from liqserver.store.database import Database
from liqserver.store.ingest import ingest
from liqserver.v1 import admin_pb2, admin_pb2_grpc
from tests.rpc.owned import owned
from tests.store.archive_files import DAY as DECEMBER
from tests.store.archive_files import candle, text_of, write_file

DAY = 86_400_000_000_000
FIRST_DAY, SECOND_DAY = "2025-09-01", "2025-09-02"


@contextmanager
def owning(path: Path) -> Iterator[liqclient.Client]:
    """Yield a client of a server that may write to the database at ``path``."""
    with owned(path) as target, liqclient.Client(target) as client:
        yield client


def files(archive: Path, *days: str) -> list[Path]:
    return [path for path in archive.rglob("*.zip") if any(day in path.name for day in days) or "funding" in path.name]


@pytest.fixture
def first_day(market_archive: Path, tmp_path: Path) -> Path:
    """A database of the first of two simulated days."""
    path = tmp_path / "own.duckdb"
    with Database(path) as database:
        ingest(database, files(market_archive, FIRST_DAY))
    return path


def test_ingest_into_a_running_server_shows_in_its_answers(
    first_day: Path, market_archive: Path, market_server: str
) -> None:
    with owning(first_day) as client:
        before = client.levels("BTCUSDT").provenance.as_of
        progress = list(client.ingest(files(market_archive, SECOND_DAY)))
        after = client.levels("BTCUSDT")
    with liqclient.Client(market_server) as whole:
        expected = whole.levels("BTCUSDT")
    assert after.provenance.as_of == before + DAY == expected.provenance.as_of
    assert after.provenance.inputs_hash == expected.provenance.inputs_hash
    np.testing.assert_array_equal(after.price, expected.price)
    np.testing.assert_array_equal(after.long, expected.long)
    assert progress[0].file is None
    assert [at.files_done for at in progress] == list(range(len(progress)))
    assert progress[-1].files_done == progress[-1].files == len(files(market_archive, SECOND_DAY))
    assert progress[-1].bytes_done == progress[-1].bytes > 0
    statuses = {Path(at.file.path).name: at.file.status for at in progress if at.file}
    assert {status for name, status in statuses.items() if "funding" not in name} == {"ingested"}
    assert {status for name, status in statuses.items() if "funding" in name} == {"already ingested"}


def test_ingest_bad_file_is_rejected_with_its_reason_and_the_others_go_in(
    first_day: Path, market_archive: Path, tmp_path: Path
) -> None:
    good = next(path for path in files(market_archive, SECOND_DAY) if "metrics" in path.name)
    bad = tmp_path / "BTCUSDT-metrics-2025-09-03.zip"
    bad.write_bytes(good.read_bytes()[:-100])
    with owning(first_day) as client:
        done = {at.file.status: at.file for at in client.ingest([bad, good]) if at.file}
    assert set(done) == {"rejected", "ingested"}
    assert done["rejected"].reason
    assert done["ingested"].rows == 288


def test_ingest_goes_on_answering_meanwhile(first_day: Path, market_archive: Path) -> None:
    with owned(first_day) as target, liqclient.Client(target) as client, liqclient.Client(target) as other:
        answered = 0
        for _ in client.ingest(files(market_archive, SECOND_DAY)):
            assert other.levels("BTCUSDT").price.size
            answered += 1
        assert answered > 3


def test_ingest_client_that_leaves_ends_it_after_the_file_under_way(first_day: Path, market_archive: Path) -> None:
    wanted = files(market_archive, SECOND_DAY)
    with owning(first_day) as client:
        progress = client.ingest(wanted)
        next(progress)
        progress.close()
        # The next ingest waits for the end of this one; nothing is half in.
        statuses = [at.file.status for at in client.ingest(wanted) if at.file]
        assert "ingested" in statuses
        assert client.levels("BTCUSDT").provenance.as_of % DAY == 0


def test_two_ingests_at_once_are_done_one_after_the_other(first_day: Path, market_archive: Path) -> None:
    wanted = files(market_archive, SECOND_DAY)
    with owning(first_day) as client:
        done: list[list[str]] = []

        def run() -> None:
            done.append([at.file.status for at in client.ingest(wanted) if at.file])

        threads = [threading.Thread(target=run) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    new = len(wanted) - 1
    assert sorted(statuses.count("ingested") for statuses in done) == [0, new]


@pytest.mark.parametrize(
    ("paths", "field", "said"),
    [
        (["relative.zip"], "paths[0]", "absolute path"),
        ([], "paths", "at least one"),
        (["/nowhere/at/all.zip"], "paths", "cannot be ingested"),
    ],
)
def test_ingest_path_that_is_not_there_is_invalid_argument(
    first_day: Path, paths: list[str], field: str, said: str
) -> None:
    with owning(first_day) as client, pytest.raises(liqclient.InvalidArgument, match=said) as caught:
        list(client.ingest(paths))
    assert [violation.field for violation in caught.value.violations] == [field]


def test_ingest_into_a_server_that_only_reads_is_refused(first_day: Path, market_archive: Path) -> None:
    with (
        EmbeddedServer(first_day) as server,
        liqclient.Client(server.target) as client,
        pytest.raises(liqclient.FailedPrecondition, match="reading only") as caught,
    ):
        list(client.ingest(files(market_archive, SECOND_DAY)))
    assert caught.value.reason == "INGEST_REFUSED"


def test_server_stopped_while_it_ingests_ends_clean(first_day: Path, market_archive: Path) -> None:
    with owning(first_day) as client:
        next(client.ingest(files(market_archive, SECOND_DAY)))
        began = time.monotonic()
    assert time.monotonic() - began < 20
    with Database(first_day) as database:
        report = ingest(database, files(market_archive, SECOND_DAY))
    assert not [file for file in report.files if file.status.value == "rejected"]


def test_files_are_what_was_ingested(first_day: Path, market_archive: Path) -> None:
    wanted = [(path.name, path.read_bytes()) for path in files(market_archive, FIRST_DAY)]
    with owning(first_day) as client:
        before = client.files()
        assert {(file.name, file.sha256, file.bytes) for file in before} == {
            (name, hashlib.sha256(data).hexdigest(), len(data)) for name, data in wanted
        }
        assert {(file.venue, file.symbol) for file in before} == {("BINANCE", "BTCUSDT")}
        [metrics] = [file for file in before if file.kind == "metrics"]
        assert (metrics.rows, metrics.period) == (288, 300_000_000_000)
        assert metrics.ts_end - metrics.ts_start == DAY
        [trades] = [file for file in before if file.kind == "aggTrades"]
        assert trades.period is None
        assert trades.rows > trades.stored_rows > 0

        later = {at.file.path: at.file for at in client.ingest(files(market_archive, SECOND_DAY)) if at.file}
        after = client.files("BTCUSDT", "BINANCE")
        # In the order in which they came in, the former ones first.
        assert after[: len(before)] == before
        new = [of for of in later.values() if of.status == "ingested"]
        assert [(file.name, file.rows, file.ts_end) for file in after[len(before) :]] == [
            (Path(of.path).name, of.rows, of.ts_end) for of in new
        ]


def test_files_of_a_symbol_and_of_a_venue(first_day: Path, tmp_path: Path) -> None:
    other = write_file(tmp_path / "klines", "ETHUSDT-5m-2025-12-01.zip", text_of(Kind.KLINES, [candle(DECEMBER)]))
    with owning(first_day) as client:
        list(client.ingest([other], venue="ELSEWHERE"))
        everything = client.files()
        [eth] = client.files("ETHUSDT")
        assert [eth] == client.files(venue="ELSEWHERE")
        assert (eth.venue, eth.symbol, eth.kind, eth.rows) == ("ELSEWHERE", "ETHUSDT", "klines", 1)
        assert client.files("BTCUSDT") == [file for file in everything if file != eth]
        with pytest.raises(liqclient.NotFound) as caught:
            client.files("ETHUSDT", "BINANCE")
        assert "BINANCE:BTCUSDT" in str(caught.value.known)


def test_files_of_a_long_ledger_come_in_several_messages(first_day: Path) -> None:
    with Database(first_day) as database, database.transaction() as cur:
        [(files_in,)] = cur.execute("SELECT count(*) FROM ledger").fetchall()
        cur.execute("INSERT INTO ledger SELECT l.* REPLACE (100 + i AS file_id) FROM ledger l, range(600) r(i)")
    with owning(first_day) as client:
        assert len(client.files()) == 601 * files_in > 2_000


def test_files_are_listed_while_an_ingest_runs(first_day: Path, market_archive: Path) -> None:
    with owned(first_day) as target, liqclient.Client(target) as client, liqclient.Client(target) as other:
        progress = client.ingest(files(market_archive, SECOND_DAY))
        next(progress)
        assert len(other.files(timeout=5)) >= 5
        list(progress)


def test_raw_trades_are_kept_where_it_is_asked_for(first_day: Path, market_archive: Path) -> None:
    wanted = [path for path in files(market_archive, FIRST_DAY, SECOND_DAY) if "aggTrades" in path.name]
    with owned(first_day) as target, grpc.insecure_channel(target) as channel:
        stub = admin_pb2_grpc.AdminServiceStub(channel)
        request = admin_pb2.IngestRequest(paths=map(str, wanted[-1:]))
        list(stub.Ingest(request))
        assert not list(first_day.parent.rglob("*.parquet"))
        # Of one that was in before and one that is new, each day's by itself.
        request = admin_pb2.IngestRequest(paths=map(str, wanted), keep_raw=True)
        list(stub.Ingest(request))
        rows = {file.name: file.rows for file in next(stub.ListFiles(admin_pb2.ListFilesRequest())).files}
    for path in wanted:
        kept = f"{first_day}.raw/aggTrades/venue=BINANCE/symbol=BTCUSDT/date=*/{path.stem}.parquet"
        assert duckdb.execute(f"SELECT count(*) FROM '{kept}'").fetchall() == [(rows[path.name],)]
