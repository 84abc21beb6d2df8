"""Events published to a real server: acknowledged, answered from, kept through its death."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import cast

import grpc
import numpy as np
import pytest

import liqclient
from liqserver.kernel import History
from liqserver.live.engine import LevelsEngine
from liqserver.rpc.server import EmbeddedServer, Server
from liqserver.store.database import Database
from liqserver.store.events import Batch, archive_batches
from liqserver.store.history import MINUTE
from liqserver.store.ingest import ingest
from liqserver.store.markets import StoreMarkets
from liqserver.v1 import market_data_pb2, market_data_pb2_grpc
from tests.rpc.owned import owned


@contextmanager
def owning(path: Path) -> Iterator[liqclient.Client]:
    """Yield a client of a server that may write to the database at ``path``."""
    with owned(path) as target, liqclient.Client(target) as client:
        yield client


VENUE, SYMBOL, TICK = "BINANCE", "BTCUSDT", 0.1


def events(batch: Batch) -> liqclient.Events:
    return liqclient.Events(
        symbol=SYMBOL,
        venue=VENUE,
        tick_size=TICK,
        trades={
            "id": batch.trade_id,
            "ts_event": batch.trade_ts,
            "price": batch.trade_price,
            "qty": batch.trade_qty,
            "taker_buy": batch.taker_buy,
        },
        mark_prices={"ts_event": batch.mark_ts, "price": batch.mark_price},
        open_interest={"ts_event": batch.oi_ts, "open_interest": batch.open_interest},
        funding={
            "ts_event": batch.funding_ts,
            "rate": batch.funding_rate,
            "interval_hours": batch.funding_hours,
        },
        complete_until=batch.complete_until,
    )


@pytest.fixture(scope="module")
def published(market_archive: Path) -> list[liqclient.Events]:
    """Three hours of a simulated market, a minute in each batch."""
    return [events(batch) for _, batch in archive_batches([market_archive], MINUTE)][:180]


@pytest.fixture(scope="module")
def from_files(market_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "files.duckdb"
    with Database(path) as database:
        ingest(database, [market_archive])
    return path


def same_levels(one: liqclient.Levels, other: liqclient.Levels) -> None:
    for name in ("price", "long", "short"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert one.totals == other.totals


def test_published_market_answers_as_the_one_of_files(
    published: list[liqclient.Events], from_files: Path, tmp_path: Path
) -> None:
    with owning(tmp_path / "live.duckdb") as client:
        answers = list(client.publish(published))
        batches = [answer for answer in answers if answer.sequence is not None]
        assert [answer.sequence for answer in batches] == list(range(1, 181))
        assert not [refused for answer in batches for refused in answer.refused]
        # The newest minute is still open; all before it is stored when the stream ends.
        assert answers[-1].durable == published[-2].complete_until
        newest = client.levels(SYMBOL)
        assert newest.provenance.as_of > answers[-1].durable
        moment = answers[-1].durable
        live = client.levels(SYMBOL, as_of=moment)
        [coverage] = client.coverage(SYMBOL)
        assert {of.kind for of in coverage.kinds} == {"trades", "mark_price", "open_interest", "funding"}
    with owning(from_files) as client:
        same_levels(live, client.levels(SYMBOL, as_of=moment))


def same_history(one: History, other: History) -> None:
    for of in fields(History):
        a, b = np.asarray(getattr(one, of.name)), np.asarray(getattr(other, of.name))
        assert (a.dtype, a.shape) == (b.dtype, b.shape), of.name
        assert a.tobytes() == b.tobytes(), of.name


async def test_published_real_day_is_the_day_of_files_bit_for_bit(shared_data: Path, tmp_path: Path) -> None:
    day = list((shared_data / "hyperliquid-btc-ticks").rglob("*2026-06-13.zip"))
    assert len(day) == 3
    with Database(tmp_path / "files.duckdb") as database:
        ingest(database, day)
        built = StoreMarkets(database).market(VENUE, SYMBOL).history
    assert len(built) == 1_440
    batches = [events(batch) for _, batch in archive_batches(day, MINUTE)]
    whole = liqclient.Events(symbol=SYMBOL, complete_until=int(built.step_end[-1]) + 1)
    with Database(tmp_path / "live.duckdb") as database:
        server = Server(database, "127.0.0.1", 0)
        await server.start()
        async with liqclient.AsyncClient(server.target) as client:
            answers = [answer async for answer in client.publish([*batches, whole])]
            assert not [refused for answer in answers for refused in answer.refused]
            end = answers[-1].durable
            assert end == int(built.step_end[-1])
            ours = await client.levels(SYMBOL, as_of=end, per_tier=True)
        live = cast(LevelsEngine, server.streams.views.source).resident(VENUE, SYMBOL).market.history
        await server.stop(1.0)
        same_history(live, built)
        same_history(StoreMarkets(database).market(VENUE, SYMBOL).history, built)
    with EmbeddedServer(tmp_path / "files.duckdb") as files, liqclient.Client(files.target) as asking:
        theirs = asking.levels(SYMBOL, as_of=end, per_tier=True)
    assert ours.long.sum() > 0
    assert ours.short.sum() > 0
    for name in ("price", "long", "short"):
        assert getattr(ours, name).tobytes() == getattr(theirs, name).tobytes(), name
    assert ours.tiers.keys() == theirs.tiers.keys()
    for leverage, tier in ours.tiers.items():
        assert tier.long.tobytes() == theirs.tiers[leverage].long.tobytes()
        assert tier.short.tobytes() == theirs.tiers[leverage].short.tobytes()
    assert ours.totals == theirs.totals
    assert ours.provenance.inputs_hash == theirs.provenance.inputs_hash


@pytest.mark.parametrize("kind", ["trades", "mark_prices"])
async def test_publish_async_client_says_the_same(published: list[liqclient.Events], tmp_path: Path, kind: str) -> None:
    with owned(tmp_path / "live.duckdb") as target:
        async with liqclient.AsyncClient(target) as asking:
            answers = [answer async for answer in asking.publish(published[:5])]
    assert [answer.sequence for answer in answers if answer.sequence] == [1, 2, 3, 4, 5]
    assert {mark.kind for mark in answers[-1].watermarks} >= {kind.removesuffix("s") if "mark" in kind else kind}


def test_publish_late_events_are_refused_one_by_one(published: list[liqclient.Events], tmp_path: Path) -> None:
    with owning(tmp_path / "live.duckdb") as client:
        until = list(client.publish(published[:20]))[-1].accepts_from
        late = liqclient.Events(
            symbol=SYMBOL, mark_prices={"ts_event": [until - 1, until + 1], "price": [100_000.0, 100_001.0]}
        )
        [answer] = [of for of in client.publish([late]) if of.sequence]
    assert answer.accepted == 1
    [refused] = answer.refused
    assert (refused.kind, refused.index, refused.ts_event) == ("mark_price", 0, until - 1)
    assert f"must be at least {until}" in refused.reason


def test_publish_again_counts_nothing_twice(published: list[liqclient.Events], tmp_path: Path) -> None:
    with owning(tmp_path / "live.duckdb") as client:
        list(client.publish(published[:30]))
        before = client.levels(SYMBOL)
        again = [answer for answer in client.publish(published[29:30]) if answer.sequence]
        after = client.levels(SYMBOL)
    assert again[0].accepted == 0
    assert again[0].repeated_events > 0
    same_levels(before, after)


@pytest.mark.parametrize(
    ("batch", "field", "said"),
    [
        (liqclient.Events(symbol="NEWUSDT", mark_prices={"ts_event": [10**18], "price": [1.0]}), None, "not known"),
        (
            liqclient.Events(symbol="NEWUSDT", venue=VENUE, mark_prices={"ts_event": [10**18], "price": [1.0]}),
            "tick_size",
            "must be a positive number",
        ),
        (liqclient.Events(symbol=""), "symbol", "must be one of"),
        (
            liqclient.Events(symbol=SYMBOL, mark_prices={"ts_event": [10**18, 2], "price": [1.0]}),
            "mark_prices.price",
            "1 values, must be as many as mark_prices.ts_event, 2",
        ),
    ],
)
def test_publish_bad_batch_ends_the_stream_and_names_the_field(
    published: list[liqclient.Events], tmp_path: Path, batch: liqclient.Events, field: str | None, said: str
) -> None:
    with owning(tmp_path / "live.duckdb") as client:
        list(client.publish(published[:2]))
        with pytest.raises(liqclient.LiqClientError, match=said) as caught:
            list(client.publish([batch]))
        if field is not None:
            assert isinstance(caught.value, liqclient.InvalidArgument)
            assert caught.value.violations[0].field == field
        # The server goes on.
        assert client.coverage(SYMBOL)


@pytest.mark.parametrize(
    ("columns", "error", "said"),
    [
        ({"price": [1.0]}, ValueError, "must have the columns ts_event, price, had price"),
        ({"ts_event": [0.5], "price": [1.0]}, TypeError, "must be whole numbers"),
    ],
)
def test_publish_what_cannot_be_sent_raises_at_the_publisher(
    tmp_path: Path, columns: dict[str, list[float]], error: type[Exception], said: str
) -> None:
    with owning(tmp_path / "live.duckdb") as client, pytest.raises(error, match=said):
        list(client.publish([liqclient.Events(symbol=SYMBOL, mark_prices=columns)]))


def test_publish_sequence_must_ascend(tmp_path: Path) -> None:
    request = market_data_pb2.PublishRequest(symbol=SYMBOL, sequence=0)
    with owned(tmp_path / "live.duckdb") as target, grpc.insecure_channel(target) as channel:
        stub = market_data_pb2_grpc.MarketDataServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            next(stub.Publish(iter([request])))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "sequence was 0" in (caught.value.details() or "")


@contextmanager
def serving(database: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "liqserver.cli", "serve", "--db", str(database), "--port", "0", "--print-target"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def test_server_killed_in_the_middle_loses_and_doubles_nothing(
    published: list[liqclient.Events], from_files: Path, tmp_path: Path
) -> None:
    path = tmp_path / "live.duckdb"
    durable = 0
    with serving(path) as (process, target), liqclient.Client(target) as client:
        answers = client.publish(published)
        for answer in answers:
            durable = max(durable, answer.durable)
            if answer.sequence == 90:
                process.send_signal(signal.SIGKILL)
                break
    with serving(path) as (_, target), liqclient.Client(target) as client:
        client.wait_ready(30)
        [answer] = list(client.publish([liqclient.Events(symbol=SYMBOL, venue=VENUE, tick_size=TICK)]))
        # What was told to be stored is; what was not is sent again.
        assert answer.durable >= durable
        rest = [of for of in published if of.complete_until is not None and of.complete_until > answer.durable]
        resent = list(client.publish(rest))
        # What is true of the very moment is stored with the minute that ended then.
        assert {refused.ts_event for of in resent for refused in of.refused} <= {answer.durable}
        assert not [refused for of in resent for refused in of.refused if refused.kind == "trades"]
        moment = resent[-1].durable
        live = client.levels(SYMBOL, as_of=moment)
    with owning(from_files) as client:
        same_levels(live, client.levels(SYMBOL, as_of=moment))


def test_server_that_stops_ends_publishers_with_its_reason(published: list[liqclient.Events], tmp_path: Path) -> None:
    ended = threading.Event()

    def until_ended() -> Iterator[liqclient.Events]:
        yield from published[:3]
        ended.wait(60)

    def stop_at_third(process: subprocess.Popen[str], client: liqclient.Client) -> None:
        for answer in client.publish(until_ended()):
            if answer.sequence == 3:
                process.send_signal(signal.SIGTERM)

    with serving(tmp_path / "live.duckdb") as (process, target), liqclient.Client(target) as client:
        try:
            with pytest.raises(liqclient.Unavailable) as caught:
                stop_at_third(process, client)
        finally:
            ended.set()
    assert caught.value.reason == "SERVER_STOPS"
