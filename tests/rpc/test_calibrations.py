"""Calibrating through a server, on the liquidations of three venues of a real winter, and what its answers say then."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import grpc
import numpy as np
import pytest

import liqclient
from liqserver.rpc.server import EmbeddedServer
from liqserver.store.database import Database
from liqserver.store.ingest import Status, ingest
from liqserver.v1 import liquidation_pb2, liquidation_pb2_grpc

HOUR = 3_600_000_000_000
DAY = 24 * HOUR
FIRST, SECOND = "2026-01-06T00:00Z", "2026-01-20T00:00Z"


def at(text: str) -> int:
    return int(np.datetime64(text.removesuffix("Z"), "ns").astype(np.int64))


@pytest.fixture(scope="module")
def winter(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of the shared data, without calibrations."""
    path = tmp_path_factory.mktemp("winter") / "winter.duckdb"
    with Database(path) as database:
        report = ingest(database, [shared_data / "binance-btc-2025-12"], symbol="BTCUSDT")
    assert not report.of(Status.REJECTED)
    return path


@pytest.fixture(scope="module")
def calibrated(winter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with two, each from what was known at its moment."""
    path = tmp_path_factory.mktemp("calibrated") / "winter.duckdb"
    shutil.copy(winter, path)
    with EmbeddedServer(path, writable=True) as server, liqclient.Client(server.target, timeout=60) as client:
        for until in (SECOND, FIRST):
            for _ in client.calibrate("BTCUSDT", until=until):
                pass
    return path


@pytest.fixture(scope="module")
def client(calibrated: Path) -> Iterator[liqclient.Client]:
    with EmbeddedServer(calibrated) as server, liqclient.Client(server.target, timeout=60) as asking:
        yield asking


@pytest.fixture(scope="module")
def stored(client: liqclient.Client) -> list[liqclient.CalibrationInfo]:
    return client.calibrations("BTCUSDT")


def test_calibrations_tell_what_they_are_from(stored: list[liqclient.CalibrationInfo]) -> None:
    assert [of.until for of in stored] == [at(FIRST), at(SECOND)]
    first, second = stored
    assert (first.venue, first.symbol, first.model, first.period) == ("BINANCE", "BTCUSDT", "position_book", HOUR)
    assert first.data_start == second.data_start == at("2025-12-08T01:00Z")
    assert (first.data_end, second.data_end) == (at(FIRST), at(SECOND))
    # Hours from data_start on, less those that the totals lack.
    assert (first.data_end - first.data_start) // HOUR - 8 <= first.intervals <= 694
    assert min(first.r2_long, first.r2_short, second.r2_long, second.r2_short) > 0.75
    assert len(first.weight_spread) == len(first.parameters.tiers or ()) == 10
    # What sweeps often is known better than what hardly ever does.
    assert second.weight_spread[0] < 0.25 < second.weight_spread[-1]
    assert "totals" in first.truth
    assert first.created is not None


def test_walking_forward_finds_what_each_moment_finds_by_itself(
    winter: Path, stored: list[liqclient.CalibrationInfo]
) -> None:
    with EmbeddedServer(winter) as server, liqclient.Client(server.target, timeout=60) as client:
        steps = list(client.calibrate("BTCUSDT", until=SECOND, every="7d", dry_run=True))
        assert client.calibrations() == []
    # Five weeks before the last cut are four, with two weeks of data or more before them.
    assert [(of.done, of.cuts) for of in steps] == [(done, 6) for done in range(7)]
    found = {of.calibration.until: of.calibration for of in steps if of.calibration is not None}
    assert sorted(found) == [at(SECOND) - 7 * DAY * weeks for weeks in range(4, -1, -1)]
    assert [found[of.until].id for of in stored] == [of.id for of in stored]
    assert {of.created for of in found.values()} == {None}


def test_answers_use_the_newest_that_knew_no_more(
    client: liqclient.Client, stored: list[liqclient.CalibrationInfo]
) -> None:
    for as_of, used in (
        ("2025-12-31T00:00Z", None),
        (at(FIRST) - 1, None),
        (FIRST, stored[0]),
        (at(SECOND) - 1, stored[0]),
        (SECOND, stored[1]),
        (None, stored[1]),
    ):
        where = client.levels("BTCUSDT", as_of=as_of, price_range=0.02).provenance
        assert where.calibration == (None if used is None else used.id)
        if used is not None:
            assert where.parameters == used.parameters


def test_none_is_the_model_as_it_is_and_a_name_takes_an_older_one(
    client: liqclient.Client, winter: Path, stored: list[liqclient.CalibrationInfo]
) -> None:
    plain = client.levels("BTCUSDT", calibration="none")
    older = client.levels("BTCUSDT", calibration=stored[0].id)
    newest = client.levels("BTCUSDT")
    assert plain.provenance.calibration is None
    assert older.provenance.calibration == stored[0].id
    hashes = {of.provenance.parameters_hash for of in (plain, older, newest)}
    assert len(hashes) == 3
    with EmbeddedServer(winter) as server, liqclient.Client(server.target, timeout=60) as without:
        never = without.levels("BTCUSDT")
    np.testing.assert_array_equal(never.long, plain.long)
    assert never.provenance.parameters_hash == plain.provenance.parameters_hash


def test_one_that_knows_the_future_is_refused(
    client: liqclient.Client, stored: list[liqclient.CalibrationInfo]
) -> None:
    late = stored[1].id
    for ask in (
        lambda: client.levels("BTCUSDT", as_of=at(SECOND) - 1, calibration=late),
        lambda: client.heatmap("BTCUSDT", start=at(SECOND) - DAY, end=at(SECOND) + DAY, calibration=late),
        lambda: client.audit("BTCUSDT", interval="1h", start=at(SECOND) - DAY, calibration=late),
        lambda: next(client.replay("BTCUSDT", every="1d", start=at(SECOND) - DAY, calibration=late)),
    ):
        with pytest.raises(liqclient.InvalidArgument, match="knows what came after"):
            ask()
    with pytest.raises(liqclient.NotFound, match="not known"):
        client.levels("BTCUSDT", calibration="abc")


def test_ranges_use_what_was_known_at_their_start(
    client: liqclient.Client, stored: list[liqclient.CalibrationInfo]
) -> None:
    around = {"start": at(SECOND) - DAY, "end": at(SECOND) + DAY}
    assert client.heatmap("BTCUSDT", **around).provenance.calibration == stored[0].id
    assert client.audit("BTCUSDT", interval="1h", **around).provenance.calibration == stored[0].id
    assert {of.provenance.calibration for of in client.replay("BTCUSDT", every="12h", **around)} == {stored[0].id}
    assert client.audit("BTCUSDT", interval="1d").provenance.calibration is None
    later = {"start": SECOND, "end": at(SECOND) + DAY}
    assert client.audit("BTCUSDT", interval="1h", **later).provenance.calibration == stored[1].id
    assert client.audit("BTCUSDT", interval="1h", calibration="none", **later).provenance.calibration is None


def test_parameters_of_the_request_go_before(client: liqclient.Client, stored: list[liqclient.CalibrationInfo]) -> None:
    where = client.levels("BTCUSDT", parameters=liqclient.Parameters(kappa=0.5)).provenance
    assert where.calibration == stored[1].id
    assert where.parameters.kappa == 0.5
    assert where.parameters.tiers == stored[1].parameters.tiers


def test_a_later_calibration_changes_no_answer_of_before(winter: Path, tmp_path: Path) -> None:
    path = tmp_path / "own.duckdb"
    shutil.copy(winter, path)
    moments = [at(FIRST) + hours * HOUR for hours in (-30, 0, 5, 14 * 24 - 1)]
    with EmbeddedServer(path, writable=True) as server, liqclient.Client(server.target, timeout=60) as client:

        def asked() -> list[liqclient.Levels]:
            return [client.levels("BTCUSDT", as_of=moment) for moment in moments]

        def calibrated(until: str) -> str:
            *_, last = client.calibrate("BTCUSDT", until=until)
            assert last.calibration is not None
            return last.calibration.id

        before = client.levels("BTCUSDT")
        first = calibrated(FIRST)
        then = asked()
        second = calibrated(SECOND)
        after, newest = asked(), client.levels("BTCUSDT")
    assert [of.provenance.calibration for of in then] == [None, first, first, first]
    for one, other in pairwise([then, after]):
        for a, b in zip(one, other, strict=True):
            assert a.provenance.calibration == b.provenance.calibration
            assert a.provenance.parameters_hash == b.provenance.parameters_hash
            np.testing.assert_array_equal(a.long, b.long)
            np.testing.assert_array_equal(a.short, b.short)
    # The live book follows.
    assert (before.provenance.calibration, newest.provenance.calibration) == (None, second)
    assert newest.provenance.parameters_hash != before.provenance.parameters_hash


def test_bands_lie_around_the_levels_and_wider_ones_further_out(client: liqclient.Client) -> None:
    plain = client.levels("BTCUSDT", bin_size=250, price_range=0.05)
    assert plain.long_low is None
    narrow, wide = (client.levels("BTCUSDT", bin_size=250, price_range=0.05, band=share) for share in (0.5, 0.9))
    for side in ("long", "short"):
        amount = getattr(wide, side)
        np.testing.assert_allclose(amount, getattr(plain, side), rtol=1e-12)
        low, high = getattr(wide, f"{side}_low"), getattr(wide, f"{side}_high")
        holds = amount > 0
        assert not low[~holds].any()
        assert not high[~holds].any()
        assert np.all(low[holds] < amount[holds])
        assert np.all(amount[holds] < high[holds])
        inner_low, inner_high = getattr(narrow, f"{side}_low"), getattr(narrow, f"{side}_high")
        assert np.all(low[holds] <= inner_low[holds])
        assert np.all(inner_high[holds] < high[holds])
    # A few times up and down, not orders of magnitude: hours of a million varied that much.
    large = wide.long > 1e6
    assert large.any()
    assert np.all(wide.long_high[large] / wide.long_low[large] < 20)  # type: ignore[index, operator]


def test_bands_of_contracts_are_those_of_notional_at_the_price_of_the_bin(client: liqclient.Client) -> None:
    notional, qty = (
        client.levels("BTCUSDT", bin_size=250, price_range=0.05, band=0.8, unit=unit) for unit in ("notional", "qty")
    )
    held = notional.long > 0
    for name in ("long_low", "long_high"):
        of_notional, of_qty = getattr(notional, name)[held], getattr(qty, name)[held]
        np.testing.assert_allclose(of_notional / notional.long[held], of_qty / qty.long[held], rtol=1e-12)
    one_side = client.levels("BTCUSDT", bin_size=250, price_range=0.05, band=0.8, side="short")
    assert not one_side.long_high.any()  # type: ignore[union-attr]


def test_bands_are_refused_where_nothing_says_how_wide_they_are(client: liqclient.Client) -> None:
    with pytest.raises(liqclient.FailedPrecondition, match="bands need a calibration"):
        client.levels("BTCUSDT", as_of="2025-12-31T00:00Z", band=0.9)
    with pytest.raises(liqclient.FailedPrecondition, match="bands need a calibration"):
        client.levels("BTCUSDT", calibration="none", band=0.9)
    with pytest.raises(liqclient.InvalidArgument, match=r"must be in \[0.1, 0.99\]"):
        client.levels("BTCUSDT", band=1.5)
    with pytest.raises(liqclient.InvalidArgument, match=r"query\.parameters differ"):
        client.levels("BTCUSDT", band=0.9, parameters=liqclient.Parameters(trend_tilt=0.0))
    with pytest.raises(ValueError, match="band must not be 0"):
        client.levels("BTCUSDT", band=0)


def test_replayed_levels_have_bands(client: liqclient.Client) -> None:
    [first, *_] = client.replay("BTCUSDT", every="1d", start=SECOND, end=at(SECOND) + DAY, band=0.9, price_range=0.02)
    asked = client.levels("BTCUSDT", as_of=SECOND, band=0.9, price_range=0.02)
    np.testing.assert_array_equal(first.short_high, asked.short_high)


def test_calibrate_says_what_stands_in_its_way(winter: Path, market_db: Path) -> None:
    with EmbeddedServer(winter) as server, liqclient.Client(server.target, timeout=60) as client:
        for arguments, error, said in (
            ({"symbol": "BTCUSDT"}, liqclient.FailedPrecondition, "reading only"),
            ({"symbol": "ABC", "dry_run": True}, liqclient.NotFound, "ABC"),
            ({"symbol": "BTCUSDT", "until": "2025-12-15T00:00Z", "dry_run": True}, liqclient.FailedPrecondition, "336"),
            ({"symbol": "BTCUSDT", "until": "2027-01-01T00:00Z", "dry_run": True}, liqclient.OutOfRange, "until"),
            ({"symbol": "BTCUSDT", "every": "5m", "dry_run": True}, liqclient.InvalidArgument, "every"),
        ):
            with pytest.raises(error, match=said):
                list(client.calibrate(**arguments))  # type: ignore[arg-type]
    with EmbeddedServer(market_db) as server, liqclient.Client(server.target, timeout=60) as client:
        # Two simulated days with recorded liquidations: too short.
        with pytest.raises(liqclient.FailedPrecondition, match="cannot be calibrated"):
            list(client.calibrate("BTCUSDT", dry_run=True))
        with pytest.raises(liqclient.NotFound, match="ETHUSDT"):
            client.calibrations("ETHUSDT")


def test_where_nothing_is_recorded_open_interest_does_not_stand_in(shared_data: Path, tmp_path: Path) -> None:
    path = tmp_path / "silent.duckdb"
    with Database(path) as database:
        ingest(database, [shared_data / "binance-btc-2025-12" / "data"])
    with (
        EmbeddedServer(path) as server,
        liqclient.Client(server.target, timeout=60) as client,
        pytest.raises(liqclient.FailedPrecondition, match="Falls of open interest do not stand in"),
    ):
        list(client.calibrate("BTCUSDT", dry_run=True))


async def test_the_asynchronous_client_does_the_same(
    winter: Path, stored: list[liqclient.CalibrationInfo], calibrated: Path
) -> None:
    with EmbeddedServer(calibrated) as server:
        async with liqclient.AsyncClient(server.target, timeout=60) as client:
            assert await client.calibrations("BTCUSDT") == stored
            steps = [of async for of in client.calibrate("BTCUSDT", until=FIRST, dry_run=True)]
            levels = await client.levels("BTCUSDT", band=0.9, calibration=stored[0].id, price_range=0.02)
    assert steps[-1].calibration is not None
    assert steps[-1].calibration.id == stored[0].id
    assert levels.long_high is not None


def test_a_stream_begins_anew_with_what_was_found(winter: Path, tmp_path: Path) -> None:
    path = tmp_path / "own.duckdb"
    shutil.copy(winter, path)
    with EmbeddedServer(path, writable=True) as server, liqclient.Client(server.target, timeout=60) as client:
        updates = client.stream("BTCUSDT", price_range=0.02, bin_size=250, heartbeat="60s", timeout=60)
        first = next(updates)
        *_, last = client.calibrate("BTCUSDT", until=SECOND)
        second = next(updates)
        updates.close()
    assert last.calibration is not None
    assert (first.kind, second.kind) == ("snapshot", "snapshot")
    assert first.book.levels().provenance.calibration is None
    assert second.book.levels().provenance.calibration == last.calibration.id
    assert second.book.levels().provenance.parameters == last.calibration.parameters


def test_calls_without_a_use_for_bands_refuse_them(calibrated: Path) -> None:
    query = liquidation_pb2.LevelsQuery(symbol="BTCUSDT", band=0.9)
    with EmbeddedServer(calibrated) as server, grpc.insecure_channel(server.target) as channel:
        ask = liquidation_pb2_grpc.LiquidationServiceStub(channel)
        for call in (
            lambda: ask.GetHeatmap(liquidation_pb2.GetHeatmapRequest(query=query), timeout=60),
            lambda: ask.CompareModels(liquidation_pb2.CompareModelsRequest(query=query), timeout=60),
            lambda: ask.GetAudit(liquidation_pb2.GetAuditRequest(query=query, interval=HOUR), timeout=60),
            lambda: next(ask.StreamLevels(liquidation_pb2.StreamLevelsRequest(query=query), timeout=60)),
        ):
            with pytest.raises(grpc.RpcError, match=r"query\.band") as failed:
                call()
            assert failed.value.code() is grpc.StatusCode.INVALID_ARGUMENT
