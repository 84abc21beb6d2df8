"""The real server on a real port: every error as a client meets it, health, reflection, start and stop."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

import liqclient
from liqserver.rpc.server import BindError, EmbeddedServer, Server
from liqserver.store.database import Database, StoreError
from liqserver.v1 import liquidation_pb2, liquidation_pb2_grpc

DAY = 86_400_000_000_000


@pytest.fixture
def client(market_server: str) -> Iterator[liqclient.Client]:
    with liqclient.Client(market_server) as asking:
        yield asking


@pytest.mark.parametrize(
    ("query", "field", "said"),
    [
        ({"bin_size": 7.3}, "query.bin_size", "must be a multiple of the base bin"),
        ({"bin_size": -5.0}, "query.bin_size", "must be a positive number"),
        ({"bin_size": float("nan")}, "query.bin_size", "must be a positive number"),
        ({"price_range": 3.0}, "query.price_range.down", r"must be in \[0, 1\]"),
        ({"price_range": (0.1, 11.0)}, "query.price_range.up", r"must be in \[0, 10\]"),
        ({"price_range": 0.0}, "query.price_range", "must reach up or down"),
        ({"min_notional": -1.0}, "query.min_notional", "at least 0"),
        ({"parameters": liqclient.Parameters(kappa=2.0)}, "query.parameters.kappa", r"must be a number in \(0, 1\]"),
        (
            {"parameters": liqclient.Parameters(tiers=[liqclient.LeverageTier(0.5, 1.0)])},
            "query.parameters.tiers",
            "different leverage",
        ),
        ({"symbol": ""}, "query.symbol", "must be one of BTCUSDT"),
    ],
)
def test_levels_field_not_allowed_is_invalid_argument_naming_it(
    client: liqclient.Client, query: dict[str, object], field: str, said: str
) -> None:
    with pytest.raises(liqclient.InvalidArgument, match=said) as caught:
        client.levels(**({"symbol": "BTCUSDT"} | query))  # type: ignore[arg-type]
    assert [violation.field for violation in caught.value.violations] == [field]
    assert caught.value.reason == "FIELD_INVALID"


def test_levels_enum_value_that_is_not_known_is_invalid_argument(market_server: str) -> None:
    request = liquidation_pb2.GetLevelsRequest()
    request.query.symbol = "BTCUSDT"
    request.query.MergeFromString(b"\x38\x63")  # side = 99
    with grpc.insecure_channel(market_server) as channel, pytest.raises(grpc.RpcError) as caught:
        liquidation_pb2_grpc.LiquidationServiceStub(channel).GetLevels(request)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "query.side was 99" in caught.value.details()


def test_levels_before_and_after_the_data_is_out_of_range_with_what_is_covered(client: liqclient.Client) -> None:
    where = client.levels("BTCUSDT").provenance
    for as_of in (where.as_of - 30 * DAY, where.as_of + DAY):
        with pytest.raises(liqclient.OutOfRange) as caught:
            client.levels("BTCUSDT", as_of=as_of)
        assert (caught.value.start, caught.value.end) == (where.history_start, where.as_of)


def test_levels_past_moment_equals_the_answer_of_a_database_that_ends_there(
    client: liqclient.Client, market_archive: Path, tmp_path: Path
) -> None:
    from liqserver.store.ingest import ingest

    first_day = list(market_archive.rglob("*2025-09-01.zip"))
    with Database(tmp_path / "day.duckdb") as database:
        ingest(database, [*first_day, *market_archive.rglob("*fundingRate*.zip")])
    end = 1_756_771_200_000_000_000
    with EmbeddedServer(tmp_path / "day.duckdb") as server, liqclient.Client(server.target) as then_client:
        then = then_client.levels("BTCUSDT", as_of=end, per_tier=True)
    now = client.levels("BTCUSDT", as_of=end, per_tier=True)
    for name in ("price", "long", "short"):
        np.testing.assert_array_equal(getattr(now, name), getattr(then, name))
    assert now.provenance.inputs_hash == then.provenance.inputs_hash
    assert now.totals == then.totals


def test_levels_asked_again_are_the_same_bytes_but_for_the_time_they_left(market_server: str) -> None:
    request = liquidation_pb2.GetLevelsRequest(query=liquidation_pb2.LevelsQuery(symbol="BTCUSDT", per_tier=True))
    with grpc.insecure_channel(market_server) as channel:
        stub = liquidation_pb2_grpc.LiquidationServiceStub(channel)
        first, second = stub.GetLevels(request), stub.GetLevels(request)
    assert 0 < first.provenance.generated_at < second.provenance.generated_at
    assert abs(second.provenance.generated_at - time.time_ns()) < 60_000_000_000
    second.provenance.generated_at = first.provenance.generated_at
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)


def test_levels_without_open_interest_is_failed_precondition_that_says_what_to_ingest(
    market_archive: Path, tmp_path: Path
) -> None:
    from liqserver.store.ingest import ingest

    with Database(tmp_path / "no-oi.duckdb") as database:
        ingest(database, list(market_archive.rglob("*aggTrades*.zip")))
    with EmbeddedServer(tmp_path / "no-oi.duckdb") as server, liqclient.Client(server.target) as asking:
        with pytest.raises(liqclient.FailedPrecondition, match="ingest metrics") as caught:
            asking.levels("BTCUSDT")
        assert caught.value.metadata["what"] == "open_interest"


def test_unforeseen_failure_is_internal_and_keeps_its_text_from_the_client(
    market_db: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def broken_clock() -> int:
        raise RuntimeError("secret path /etc/shadow")

    async def ask() -> grpc.aio.AioRpcError:
        with Database(market_db, read_only=True) as database:
            server = Server(database, "127.0.0.1", 0, clock=broken_clock)
            await server.start()
            try:
                async with grpc.aio.insecure_channel(server.target) as channel:
                    stub = liquidation_pb2_grpc.LiquidationServiceStub(channel)
                    query = liquidation_pb2.LevelsQuery(symbol="BTCUSDT")
                    with pytest.raises(grpc.aio.AioRpcError) as caught:
                        await stub.GetLevels(liquidation_pb2.GetLevelsRequest(query=query))
                return caught.value
            finally:
                await server.stop(0)

    error = asyncio.run(ask())
    assert error.code() == grpc.StatusCode.INTERNAL
    assert "secret" not in str(error.details())
    incident = str(error.details()).rsplit(" ", 1)[-1]
    assert any(incident in record.getMessage() for record in caplog.records)
    assert "secret path" in caplog.text


def test_health_and_reflection_answer(market_server: str) -> None:
    with grpc.insecure_channel(market_server) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert check.status == health_pb2.HealthCheckResponse.SERVING
        asked = [reflection_pb2.ServerReflectionRequest(list_services="")]
        (listed,) = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter(asked))
    names = {service.name for service in listed.list_services_response.service}
    assert {"liqserver.v1.LiquidationService", "liqserver.v1.MarketDataService", "grpc.health.v1.Health"} <= names


def test_models_and_symbols_and_coverage_tell_what_there_is(client: liqclient.Client) -> None:
    models = client.models()
    assert models[0].id == "position_book"
    assert models[0].is_default
    assert "kappa" in [parameter.name for parameter in models[0].parameters]
    assert {model.id: model.required for model in models}["pyliqmap"] == ("trades",)
    (symbol,) = client.symbols()
    assert (symbol.symbol, symbol.tick_size, symbol.base_bin) == ("BTCUSDT", 0.1, 10.0)
    assert symbol.bracket_table == "BINANCE:BTCUSDT:2025-08-21"
    (covered,) = client.coverage("BTCUSDT")
    kinds = {kind.kind: kind for kind in covered.kinds}
    assert set(kinds) == {"trades", "klines", "mark_price", "open_interest", "funding", "liquidations"}
    assert kinds["open_interest"].rows == 576
    assert kinds["trades"].missing == 0


def test_start_on_another_address_than_loopback_is_refused_unless_told(market_db: Path) -> None:
    with Database(market_db, read_only=True) as database:
        with pytest.raises(BindError, match="other machines"):
            Server(database, "0.0.0.0", 0)
        Server(database, "0.0.0.0", 0, allow_remote=True)


@contextmanager
def serving(db: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `liqserver serve` in a process of its own; yield it and its address."""
    command = [sys.executable, "-m", "liqserver.cli", "serve", "--db", str(db), "--print-target", *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"NO_COLOR": "1"}
    ) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def test_serve_answers_until_sigterm_then_ends_with_0(market_db: Path, tmp_path: Path) -> None:
    db = tmp_path / "own.duckdb"
    db.write_bytes(market_db.read_bytes())
    with serving(db, "--port", "0") as (process, target):
        with liqclient.Client(target) as client:
            assert client.levels("BTCUSDT").current_price > 0
        with pytest.raises(StoreError, match="in use by another process"):
            Database(db)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "stopped" in errors
    with Database(db) as database:
        assert database.cursor().execute("SELECT count(*) FROM symbols").fetchall() == [(1,)]


def test_serve_on_a_taken_port_says_so_and_ends_with_1(market_db: Path, tmp_path: Path) -> None:
    db = tmp_path / "own.duckdb"
    db.write_bytes(market_db.read_bytes())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with serving(db, "--port", str(port)) as (process, _):
            _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in errors
    assert "Traceback" not in errors


MODELS = (
    "position_book",
    "time_evolving",
    "openinterest",
    "binance_standard",
    "funding_adjusted",
    "pyliqmap",
    "ensemble",
)


@pytest.mark.parametrize("model", MODELS)
def test_levels_of_every_model_answer_at_a_moment_with_their_own_parameters(
    client: liqclient.Client, model: str
) -> None:
    newest = client.levels("BTCUSDT").provenance.as_of
    answer = client.levels("BTCUSDT", model=model, as_of=newest, per_tier=True)
    assert answer.provenance.model == model
    assert len(answer.price) > 0
    assert answer.long[answer.price > answer.current_price].sum() == 0
    assert answer.short[answer.price + answer.bin_size < answer.current_price].sum() == 0
    assert set(answer.tiers)
    again = client.levels("BTCUSDT", model=model, parameters=answer.provenance.parameters, as_of=newest)
    np.testing.assert_array_equal(again.price, answer.price)


def test_levels_parameter_the_model_has_no_use_for_is_refused(client: liqclient.Client) -> None:
    with pytest.raises(liqclient.InvalidArgument, match="no use for it") as caught:
        client.levels("BTCUSDT", model="pyliqmap", parameters=liqclient.Parameters(kappa=0.3))
    assert caught.value.violations[0].field == "query.parameters.kappa"


def test_liquidations_that_were_recorded_are_listed(client: liqclient.Client) -> None:
    page = client.liquidations("BTCUSDT", page_size=5)
    assert page.total_rows > 0
    assert sum(len(part.liquidations.price) for part in client.liquidation_pages("BTCUSDT") if part.liquidations) == (
        page.total_rows
    )


HOUR = 3_600_000_000_000


@pytest.mark.parametrize(
    ("call", "field", "said"),
    [
        (lambda c: c.heatmap("BTCUSDT", interval=30), "interval", "a minute"),
        (lambda c: c.heatmap("BTCUSDT", interval="2d"), "interval", "a day"),
        (lambda c: c.heatmap("BTCUSDT", lookback=5), "lookback", "at least"),
        (lambda c: c.heatmap("BTCUSDT", lookback="1h", start=1), "lookback", "together with start"),
        (lambda c: c.heatmap("BTCUSDT", interval="1m", bin_size=10.0), "interval", "ask for fewer columns"),
        (lambda c: c.heatmap("BTCUSDT", model="pyliqmap"), "query.model", "has no time axis.*position_book"),
        (lambda c: c.heatmap("BTCUSDT", bin_size=7.3), "query.bin_size", "multiple of the base bin"),
        (lambda c: c.audit("BTCUSDT", interval=30), "interval", "a minute"),
        (lambda c: c.audit("BTCUSDT", interval="30d"), "interval", "must fit between"),
        (lambda c: c.audit("BTCUSDT", interval="1h", model="ensemble"), "query.model", "no time axis"),
        (lambda c: list(c.replay("BTCUSDT", every=30)), "every", "a minute"),
        (lambda c: list(c.replay("BTCUSDT", every="1h", bin_size=7.3)), "query.bin_size", "multiple of the base bin"),
        (lambda c: list(c.replay("BTCUSDT", every="1h", model="ensemble")), "query.model", "no time axis"),
        (lambda c: c.compare("BTCUSDT", ["position_book"]), "models", "1 models, must be 2 to 10"),
        (lambda c: c.compare("BTCUSDT", ["position_book"] * 11), "models", "must be 2 to 10"),
        (
            lambda c: c.compare("BTCUSDT", ["position_book", ("pyliqmap", liqclient.Parameters(kappa=0.1))]),
            "models[1].parameters.kappa",
            "no use for it",
        ),
        (lambda c: c.compare("BTCUSDT", price_range=3.0), "query.price_range.down", r"must be in \[0, 1\]"),
    ],
)
def test_call_field_not_allowed_is_invalid_argument_naming_it(
    client: liqclient.Client, call: Callable[[liqclient.Client], object], field: str, said: str
) -> None:
    with pytest.raises(liqclient.InvalidArgument, match=said) as caught:
        call(client)
    assert [violation.field for violation in caught.value.violations] == [field]


@pytest.mark.parametrize(
    ("method", "request_", "field"),
    [
        ("GetHeatmap", liquidation_pb2.GetHeatmapRequest, "per_tier"),
        ("GetHeatmap", liquidation_pb2.GetHeatmapRequest, "derived"),
        ("CompareModels", liquidation_pb2.CompareModelsRequest, "model"),
        ("CompareModels", liquidation_pb2.CompareModelsRequest, "min_notional"),
        ("GetAudit", liquidation_pb2.GetAuditRequest, "bin_size"),
        ("GetAudit", liquidation_pb2.GetAuditRequest, "side"),
    ],
)
def test_call_field_without_use_is_refused_not_ignored(
    market_server: str, method: str, request_: Callable[..., object], field: str
) -> None:
    given = {"model": "pyliqmap", "side": 1, "bin_size": 5.0, "min_notional": 5.0}.get(field, True)
    query = liquidation_pb2.LevelsQuery(symbol="BTCUSDT", **{field: given})  # type: ignore[arg-type]
    with grpc.insecure_channel(market_server) as channel, pytest.raises(grpc.RpcError) as caught:
        getattr(liquidation_pb2_grpc.LiquidationServiceStub(channel), method)(request_(query=query))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert f"query.{field} was" in caught.value.details()
    assert "has no use" in caught.value.details()


@pytest.mark.parametrize(
    "call",
    [
        lambda c, **a: c.heatmap("BTCUSDT", **a),
        lambda c, **a: c.audit("BTCUSDT", interval="1h", **a),
        lambda c, **a: list(c.replay("BTCUSDT", every="1h", **a)),
    ],
    ids=["heatmap", "audit", "replay"],
)
def test_call_start_after_end_is_invalid_and_beyond_the_data_out_of_range(
    client: liqclient.Client, call: Callable[..., object]
) -> None:
    newest = client.levels("BTCUSDT").provenance.as_of
    with pytest.raises(liqclient.InvalidArgument, match="must not be after the end"):
        call(client, start=newest - HOUR, end=newest - 2 * HOUR)
    with pytest.raises(liqclient.OutOfRange) as caught:
        call(client, end=newest + 2 * HOUR)
    assert caught.value.end == newest


def test_compare_model_that_lacks_an_input_says_so_and_the_others_answer(market_archive: Path, tmp_path: Path) -> None:
    from liqserver.store.ingest import ingest

    kinds = ("aggTrades", "markPrice")
    with Database(tmp_path / "no-oi.duckdb") as database:
        ingest(database, [path for path in market_archive.rglob("*.zip") if any(kind in str(path) for kind in kinds)])
    with EmbeddedServer(tmp_path / "no-oi.duckdb") as server, liqclient.Client(server.target) as asking:
        comparison = asking.compare("BTCUSDT", ["position_book", "binance_standard", "pyliqmap"])
    without, standard, trades = comparison.models
    assert without.model == "position_book"
    assert "ingest metrics" in (without.unavailable or "")
    assert standard.unavailable is None
    assert trades.unavailable is None
    assert [(pair.a, pair.b) for pair in comparison.pairs] == [(1, 2)]


def test_audit_of_every_step_adds_up_to_that_of_a_day(client: liqclient.Client) -> None:
    start = client.levels("BTCUSDT").provenance.history_start
    assert start is not None
    whole = client.audit("BTCUSDT", interval="24h", start=start, end=start + 24 * HOUR)
    fine = client.audit("BTCUSDT", interval="1m", start=start, end=start + 24 * HOUR)
    assert len(fine.open_time) == 1440
    for name in ("opened", "closed", "liquidated", "unexplained"):
        for side in ("long", "short"):
            column = getattr(fine, f"{name}_{side}")
            assert column.sum() == pytest.approx(getattr(whole, f"{name}_{side}")[0])
    assert fine.no_level_share[-1] == whole.no_level_share[0]


def test_audit_starts_at_a_whole_interval_and_leaves_out_what_is_not_complete(client: liqclient.Client) -> None:
    where = client.levels("BTCUSDT").provenance
    audit = client.audit("BTCUSDT", interval="1h")
    assert audit.open_time[0] % HOUR == 0
    assert 0 <= audit.open_time[0] - (where.history_start or 0) < HOUR
    assert 0 <= where.as_of - (audit.open_time[-1] + HOUR) < HOUR
    assert audit.provenance.as_of == audit.open_time[-1] + HOUR


def test_audit_notional_is_contracts_at_the_price_of_their_step(client: liqclient.Client) -> None:
    notional, qty = (client.audit("BTCUSDT", interval="1h", unit=unit) for unit in ("notional", "qty"))
    heatmap = client.heatmap("BTCUSDT", start=int(qty.open_time[0]) + HOUR, end=qty.provenance.as_of, interval="1h")
    price = notional.opened_long / qty.opened_long
    assert (price <= heatmap.high * (1 + 1e-12)).all()
    assert (price >= heatmap.low * (1 - 1e-12)).all()
    np.testing.assert_allclose(notional.open_interest_end, qty.open_interest_end * heatmap.close)


@pytest.mark.parametrize("model", ["position_book", "time_evolving"])
def test_heatmap_sweeps_are_those_of_the_audit_and_columns_those_of_levels(
    client: liqclient.Client, model: str
) -> None:
    newest = client.levels("BTCUSDT").provenance.as_of // HOUR * HOUR
    arguments = {"model": model, "unit": "qty"}
    heatmap = client.heatmap(
        "BTCUSDT", start=newest - 6 * HOUR, end=newest, interval="1h", bin_size=100.0, price_range=0.1, **arguments
    )
    audit = client.audit("BTCUSDT", interval="1h", start=newest - 7 * HOUR, end=newest, **arguments)
    np.testing.assert_allclose(heatmap.liquidated_long, audit.liquidated_long)
    np.testing.assert_allclose(heatmap.liquidated_short, audit.liquidated_short)
    assert heatmap.liquidated_long.sum() + heatmap.liquidated_short.sum() > 0
    for column, moment in enumerate(heatmap.ts.tolist()):
        levels = client.levels("BTCUSDT", as_of=moment, bin_size=100.0, price_range=0.5, **arguments)
        within = np.isin(levels.price, heatmap.price)
        at = np.searchsorted(heatmap.price, levels.price[within])
        for side in ("long", "short"):
            shown = getattr(heatmap, side)[column]
            np.testing.assert_allclose(shown[at], getattr(levels, side)[within], atol=1e-9)
            assert shown.sum() == pytest.approx(getattr(levels, side)[within].sum())


@pytest.mark.parametrize("side", ["long", "short"])
def test_heatmap_one_side_leaves_the_other_empty(client: liqclient.Client, side: str) -> None:
    other = {"long": "short", "short": "long"}[side]
    heatmap = client.heatmap("BTCUSDT", lookback="6h", interval="1h", side=side)  # type: ignore[arg-type]
    assert getattr(heatmap, side).any()
    assert not getattr(heatmap, other).any()
    assert not getattr(heatmap, f"liquidated_{other}").any()


@pytest.mark.parametrize("model", ["position_book", "time_evolving"])
def test_replay_every_moment_equals_levels_asked_alone(client: liqclient.Client, model: str) -> None:
    newest = client.levels("BTCUSDT").provenance.as_of
    # Steps of seven minutes fall between rows of open interest as well as on them.
    replayed = list(
        client.replay("BTCUSDT", model=model, start=newest - 2 * HOUR, every="7m", per_tier=True, derived=True)
    )
    assert len(replayed) == 18
    for levels in replayed:
        alone = client.levels("BTCUSDT", model=model, as_of=levels.provenance.as_of, per_tier=True, derived=True)
        assert levels.provenance.generated_at > 0
        ours, theirs = levels.to_dict(), alone.to_dict()
        ours["provenance"]["generated_at"] = theirs["provenance"]["generated_at"] = 0
        assert ours == theirs


def test_replay_slow_reader_is_waited_for_and_others_are_served(client: liqclient.Client) -> None:
    replay = client.replay("BTCUSDT", every="1m")
    next(replay)
    time.sleep(0.3)
    assert client.levels("BTCUSDT").price.size
    moments = [next(replay).provenance.as_of for _ in range(100)]
    assert np.diff(moments).tolist() == [60_000_000_000] * 99
    replay.close()


def test_levels_derived_distances_and_volatility(client: liqclient.Client) -> None:
    two = liqclient.Parameters(tiers=[liqclient.LeverageTier(50.0, 1.0), liqclient.LeverageTier(20.0, 1.0)])
    levels = client.levels("BTCUSDT", derived=True, price_range=0.1, parameters=two)
    derived = levels.derived
    assert derived is not None
    assert 0.001 < (derived.realised_volatility or 0) < 1
    for cluster, side in ((derived.cluster_below, levels.long), (derived.cluster_above, levels.short)):
        assert cluster is not None
        inside = (levels.price >= cluster.low) & (levels.price < cluster.high)
        assert cluster.amount == pytest.approx(side[inside].sum())
        assert cluster.distance_volatility == pytest.approx(cluster.distance / derived.realised_volatility)
