"""What failures become."""

import pickle
import threading
import time
from typing import Any, NoReturn

import grpc
import pytest

import liqclient

from .conftest import Ask
from .standin import Standin, bad_request, error_info, levels_message, status

CODES = {
    grpc.StatusCode.INVALID_ARGUMENT: liqclient.InvalidArgument,
    grpc.StatusCode.NOT_FOUND: liqclient.NotFound,
    grpc.StatusCode.OUT_OF_RANGE: liqclient.OutOfRange,
    grpc.StatusCode.FAILED_PRECONDITION: liqclient.FailedPrecondition,
    grpc.StatusCode.RESOURCE_EXHAUSTED: liqclient.ResourceExhausted,
    grpc.StatusCode.UNAUTHENTICATED: liqclient.Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: liqclient.PermissionDenied,
    grpc.StatusCode.UNAVAILABLE: liqclient.Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: liqclient.DeadlineExceeded,
    grpc.StatusCode.CANCELLED: liqclient.Cancelled,
    grpc.StatusCode.UNIMPLEMENTED: liqclient.Unimplemented,
    grpc.StatusCode.INTERNAL: liqclient.Internal,
    grpc.StatusCode.UNKNOWN: liqclient.LiqClientError,
    grpc.StatusCode.ALREADY_EXISTS: liqclient.LiqClientError,
    grpc.StatusCode.ABORTED: liqclient.LiqClientError,
    grpc.StatusCode.DATA_LOSS: liqclient.LiqClientError,
}


def failing(ask: Ask, server: Standin, method: str = "levels", *args: str, **kwargs: Any) -> liqclient.LiqClientError:
    with pytest.raises(liqclient.LiqClientError) as caught:
        ask(server.target, method, *(args or (["BTCUSDT"] if method == "levels" else [])), **kwargs)
    return caught.value


def test_codes_table_is_complete() -> None:
    assert set(CODES) == set(grpc.StatusCode) - {grpc.StatusCode.OK}


@pytest.mark.parametrize("code", CODES, ids=lambda code: code.name)
def test_status_with_details_becomes_its_exception(ask: Ask, server: Standin, code: grpc.StatusCode) -> None:
    server.fail_with(status(code, "what happened", error_info("SOME_REASON", one="1", two="2")))
    error = failing(ask, server)
    assert type(error) is CODES[code]
    assert error.code is code
    assert error.reason == "SOME_REASON"
    assert error.message == str(error) == "what happened"
    assert error.metadata == {"one": "1", "two": "2"}
    assert error.violations == []
    assert isinstance(error.__cause__, grpc.RpcError)


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("levels", {"symbol": "BTCUSDT"}),
        ("heatmap", {"symbol": "BTCUSDT"}),
        ("compare", {"symbol": "BTCUSDT"}),
        ("liquidations", {"symbol": "BTCUSDT"}),
        ("liquidation_pages", {"symbol": "BTCUSDT"}),
        ("audit", {"symbol": "BTCUSDT", "interval": "1h"}),
        ("replay", {"symbol": "BTCUSDT", "every": "1h"}),
        ("coverage", {}),
        ("symbols", {}),
        ("models", {}),
    ],
)
def test_every_method_raises_the_same_way(ask: Ask, server: Standin, method: str, arguments: dict[str, str]) -> None:
    server.fail_with(
        status(
            grpc.StatusCode.PERMISSION_DENIED,
            "no",
            error_info("TOKEN_READS_NOTHING"),
            bad_request(("symbol", "was it")),
        )
    )
    with pytest.raises(liqclient.PermissionDenied) as caught:
        ask(server.target, method, **arguments)
    assert caught.value.reason == "TOKEN_READS_NOTHING"
    assert caught.value.violations == [("symbol", "was it")]
    assert isinstance(caught.value.__cause__, grpc.RpcError)


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN], ids=lambda c: c.name
)
def test_status_without_details_has_code_and_message_only(ask: Ask, server: Standin, code: grpc.StatusCode) -> None:
    server.fail = lambda context: context.abort(code, "plain text")
    error = failing(ask, server)
    assert type(error) is CODES[code]
    assert (error.code, error.message, error.reason, error.metadata) == (code, "plain text", None, {})


def test_status_without_message_is_named_by_its_code(ask: Ask, server: Standin) -> None:
    server.fail = lambda context: context.abort(grpc.StatusCode.ABORTED, "")
    assert str(failing(ask, server)) == "ABORTED"


def test_invalid_argument_violations_are_read_and_shown(ask: Ask, server: Standin) -> None:
    server.fail_with(
        status(
            grpc.StatusCode.INVALID_ARGUMENT,
            "the request is not allowed",
            bad_request(("query.bin_size", "was 3, must be a multiple of 5"), ("query.side", "was 7")),
            error_info("FIELD_INVALID"),
        )
    )
    error = failing(ask, server)
    assert error.violations == [("query.bin_size", "was 3, must be a multiple of 5"), ("query.side", "was 7")]
    assert error.violations[0].field == "query.bin_size"
    assert error.violations[0].description == "was 3, must be a multiple of 5"
    assert str(error) == (
        "the request is not allowed; query.bin_size: was 3, must be a multiple of 5; query.side: was 7"
    )


def test_invalid_argument_message_that_tells_already_is_not_repeated(ask: Ask, server: Standin) -> None:
    server.fail_with(
        status(grpc.StatusCode.INVALID_ARGUMENT, "query.bin_size: was 3", bad_request(("query.bin_size", "was 3")))
    )
    assert str(failing(ask, server)) == "query.bin_size: was 3"


@pytest.mark.parametrize(
    ("metadata", "known"),
    [({"known": "BTCUSDT,ETHUSDT"}, ["BTCUSDT", "ETHUSDT"]), ({"known": ""}, []), ({}, [])],
)
def test_not_found_known_is_a_list(ask: Ask, server: Standin, metadata: dict[str, str], known: list[str]) -> None:
    server.fail_with(status(grpc.StatusCode.NOT_FOUND, "unknown", error_info("SYMBOL_UNKNOWN", **metadata)))
    error = failing(ask, server)
    assert isinstance(error, liqclient.NotFound)
    assert error.known == known


@pytest.mark.parametrize(
    ("metadata", "start", "end"),
    [
        (
            {"start": "1760000000000000001", "end": "1760086400000000000"},
            1760000000000000001,
            1760086400000000000,
        ),
        ({"end": "5"}, None, 5),
        ({"start": "soon"}, None, None),
        ({}, None, None),
    ],
)
def test_out_of_range_bounds_are_nanoseconds(
    ask: Ask, server: Standin, metadata: dict[str, str], start: int | None, end: int | None
) -> None:
    server.fail_with(status(grpc.StatusCode.OUT_OF_RANGE, "outside", error_info("AS_OF", **metadata)))
    error = failing(ask, server)
    assert isinstance(error, liqclient.OutOfRange)
    assert (error.start, error.end) == (start, end)


def test_error_info_of_another_domain_is_not_the_servers(ask: Ask, server: Standin) -> None:
    server.fail_with(
        status(grpc.StatusCode.NOT_FOUND, "no route", error_info("ROUTE", domain="proxy.test", known="a,b"))
    )
    error = failing(ask, server)
    assert (error.reason, error.metadata) == (None, {})


def test_details_that_cannot_be_read_do_not_hide_the_error(ask: Ask, server: Standin) -> None:
    def fail(context: grpc.ServicerContext) -> NoReturn:
        context.set_trailing_metadata((("grpc-status-details-bin", b"\xff\xff"),))
        context.abort(grpc.StatusCode.NOT_FOUND, "unknown symbol")

    server.fail = fail
    error = failing(ask, server)
    assert isinstance(error, liqclient.NotFound)
    assert error.message == "unknown symbol"


def test_one_detail_that_cannot_be_read_does_not_hide_the_others(ask: Ask, server: Standin) -> None:
    failure = status(grpc.StatusCode.NOT_FOUND, "unknown", error_info("BROKEN"), error_info("SYMBOL_UNKNOWN"))
    failure.details[0].value = b"\xff"
    server.fail_with(failure)
    assert failing(ask, server).reason == "SYMBOL_UNKNOWN"


def test_unreachable_server_raises_at_once_and_says_how_to_start_one(ask: Ask, closed_target: str) -> None:
    start = time.monotonic()
    with pytest.raises(liqclient.Unavailable) as caught:
        ask(closed_target, "levels", "BTCUSDT", timeout=60)
    assert time.monotonic() - start < 10
    assert closed_target in str(caught.value)
    assert "liqserver serve" in str(caught.value)
    assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.UNAVAILABLE, None)


def test_server_that_does_not_serve_now_is_not_told_to_be_started(ask: Ask, server: Standin) -> None:
    server.fail_with(status(grpc.StatusCode.UNAVAILABLE, "loading the book", error_info("STARTING")))
    error = failing(ask, server)
    assert str(error) == "loading the book"
    assert error.reason == "STARTING"


@pytest.mark.parametrize("where", ["call", "client"])
def test_slow_server_raises_after_the_timeout(ask: Ask, server: Standin, where: str) -> None:
    server.release = threading.Event()
    arguments: dict[str, Any] = {"timeout": 0.2} if where == "call" else {"client": {"timeout": 0.2}}
    error = failing(ask, server, **arguments)
    assert isinstance(error, liqclient.DeadlineExceeded)
    assert str(error) == "no answer within 0.2 s"


def test_answer_beyond_the_cap_raises(ask: Ask, server: Standin) -> None:
    server.answer = levels_message()
    error = failing(ask, server, client={"max_message_bytes": 100})
    assert isinstance(error, liqclient.ResourceExhausted)
    assert "100" in str(error)


def test_invalid_answer_is_an_internal_error(ask: Ask, server: Standin) -> None:
    message = levels_message()
    message.ClearField("provenance")
    server.answer = message
    error = failing(ask, server)
    assert isinstance(error, liqclient.Internal)
    assert (error.code, error.reason, error.metadata) == (grpc.StatusCode.INTERNAL, None, {})


def test_exceptions_go_through_pickle(ask: Ask, server: Standin) -> None:
    error = failing(ask, server, "levels", "NOSUCHUSDT")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is liqclient.NotFound
    assert again.known == ["BINANCE:BTCUSDT"]
    assert (again.code, again.reason, str(again)) == (error.code, error.reason, str(error))


def test_replay_that_fails_on_the_way_gives_what_came_before(server: Standin) -> None:
    server.stream_after = 3
    server.fail_with(status(grpc.StatusCode.RESOURCE_EXHAUSTED, "too much", error_info("TOO_MUCH")))
    with liqclient.Client(server.target) as client:
        replay = client.replay("BTCUSDT", every="1h")
        for _ in range(3):
            assert next(replay).current_price == 100_000.0
        with pytest.raises(liqclient.ResourceExhausted) as caught:
            next(replay)
    assert caught.value.reason == "TOO_MUCH"


async def test_async_replay_that_fails_on_the_way_gives_what_came_before(server: Standin) -> None:
    server.stream_after = 3
    server.fail_with(status(grpc.StatusCode.RESOURCE_EXHAUSTED, "too much", error_info("TOO_MUCH")))
    async with liqclient.AsyncClient(server.target) as client:
        replay = client.replay("BTCUSDT", every="1h")
        for _ in range(3):
            assert (await anext(replay)).current_price == 100_000.0
        with pytest.raises(liqclient.ResourceExhausted) as caught:
            await anext(replay)
    assert caught.value.reason == "TOO_MUCH"


def test_replay_beyond_its_timeout_raises(ask: Ask, server: Standin) -> None:
    server.stream_after, server.release = 1, threading.Event()
    error = failing(ask, server, "replay", "BTCUSDT", every="1h", timeout=0.3)
    assert isinstance(error, liqclient.DeadlineExceeded)
    assert str(error) == "the stream did not end within 0.3 s"


def test_replay_unreachable_server_raises_and_says_how_to_start_one(ask: Ask, closed_target: str) -> None:
    with pytest.raises(liqclient.Unavailable, match="liqserver serve"):
        ask(closed_target, "replay", "BTCUSDT", every="1h")
