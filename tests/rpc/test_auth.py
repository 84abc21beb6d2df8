"""Who may ask what: real servers, certificates made on the spot, both flavours of client."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

import liqclient
from liqserver.live.errors import ScopeMissing, TokenRefused
from liqserver.rpc.auth import AuthError, Scope, Tls, Tokens, scope_of
from liqserver.rpc.server import BindError, Server
from liqserver.store.database import Database
from liqserver.v1 import admin_pb2, liquidation_pb2, market_data_pb2
from tests.cli.running import run

from .test_server import serving

# The same in every process: they are part of the names of tests.
READER, FEED, OPERATOR, HASHED = (
    f"{name}-{ord(name) * 0x1F3C_95A7_0B6D_E841_7729:032x}" for name in ("r", "p", "a", "h")
)
TOKENS = f"""
# who may ask
grafana  read          {READER}
feed     publish       {FEED}
ops      read,admin    {OPERATOR}
phone    read          sha256:{hashlib.sha256(HASHED.encode()).hexdigest()}
"""
METHODS = [
    f"/{service.full_name}/{method.name}"
    for file in (admin_pb2, liquidation_pb2, market_data_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
REFUSED = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)


def write_tokens(path: Path, text: str = TOKENS) -> Path:
    path.touch(mode=0o600)
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("tokens") / "tokens")


@contextmanager
def running(db: Path, **protection: Any) -> Iterator[str]:
    """Yield the address of a server on ``db``, held for reading only, while the block runs."""
    started, done = threading.Event(), asyncio.Event()
    held: list[tuple[str, asyncio.AbstractEventLoop]] = []

    async def serve() -> None:
        with Database(db, read_only=True) as database:
            server = Server(database, "127.0.0.1", 0, **protection)
            await server.start()
            held.append((server.target, asyncio.get_running_loop()))
            started.set()
            await done.wait()
            await server.stop(1.0)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(30)
    [(target, loop)] = held
    try:
        yield target
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join()


@pytest.fixture(scope="module")
def guarded(market_db: Path, tokens: Path) -> Iterator[str]:
    """Address of a server that wants tokens."""
    with running(market_db, tokens=Tokens(tokens)) as target:
        yield target


def answer_to(target: str, method: str, metadata: Any = (), body: bytes = b"") -> tuple[grpc.StatusCode, str]:
    """Return the status code and message of a call of any method with one request."""
    with grpc.insecure_channel(target) as channel:
        # On the wire all methods are streams; so the codes of all can be had in one way.
        method_of: Any = channel.stream_stream(method)
        call = method_of(iter([body]), metadata=metadata, timeout=20)
        try:
            for _ in call:
                pass
        except grpc.RpcError:
            pass
        return call.code(), call.details()


# --- scopes ----------------------------------------------------------------------------------------------------


def test_scopes_of_all_methods() -> None:
    needed = {method.partition("liqserver.v1.")[2]: scope_of(method) for method in METHODS}
    assert {name for name, scope in needed.items() if scope is Scope.ADMIN} == {
        "AdminService/Calibrate",
        "AdminService/Ingest",
        "AdminService/ListFiles",
    }
    assert [name for name, scope in needed.items() if scope is Scope.PUBLISH] == ["MarketDataService/Publish"]
    assert list(needed.values()).count(Scope.READ) == len(METHODS) - 4 == 14


def test_scope_of_a_service_that_is_not_named_is_admin() -> None:
    assert scope_of("/liqserver.v1.LaterService/Do") is Scope.ADMIN


@pytest.mark.parametrize("method", METHODS)
def test_each_method_asks_for_its_scope_and_no_other(guarded: str, method: str) -> None:
    allowed = {
        token
        for token in (READER, FEED, OPERATOR, HASHED)
        if answer_to(guarded, method, [("authorization", f"Bearer {token}")])[0] not in REFUSED
    }
    assert (
        allowed
        == {
            Scope.READ: {READER, OPERATOR, HASHED},
            Scope.PUBLISH: {FEED},
            Scope.ADMIN: {OPERATOR},
        }[scope_of(method)]
    )
    assert answer_to(guarded, method)[0] is grpc.StatusCode.UNAUTHENTICATED


async def test_refused_stream_does_not_wait_for_its_first_request(guarded: str) -> None:
    async def nothing() -> AsyncIterator[liqclient.Events]:
        await asyncio.sleep(60)
        yield liqclient.Events(symbol="BTCUSDT")

    async with liqclient.AsyncClient(guarded, token=READER) as client:
        began = time.monotonic()
        with pytest.raises(liqclient.PermissionDenied):
            await anext(client.publish(nothing()))
        assert time.monotonic() - began < 10


async def test_refused_publisher_is_told_so_however_much_it_sends(guarded: str) -> None:
    for _ in range(10):
        async with liqclient.AsyncClient(guarded, token=READER) as client:
            with pytest.raises(liqclient.PermissionDenied):
                await anext(client.publish([liqclient.Events(symbol="BTCUSDT")] * 50))


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ([], "TOKEN_MISSING"),
        ([("authorization", READER)], "TOKEN_MISSING"),
        ([("authorization", f"Basic {READER}")], "TOKEN_MISSING"),
        ([("authorization", "Bearer ")], "TOKEN_MISSING"),
        ([("authorization", f"Bearer {READER}"), ("authorization", f"Bearer {OPERATOR}")], "TOKEN_MISSING"),
        ([("authorization", f"Bearer {READER}x")], "TOKEN_UNKNOWN"),
        ([("authorization", f"Bearer {READER[:-1]}")], "TOKEN_UNKNOWN"),
        ([("authorization", f"Bearer {hashlib.sha256(HASHED.encode()).hexdigest()}")], "TOKEN_UNKNOWN"),
        ([("authorization", "Bearer \u00e9".encode("latin-1"))], "TOKEN_UNKNOWN"),
    ],
)
def test_metadata_without_a_known_token_is_refused_with_a_reason(
    tokens: Path, metadata: list[tuple[str, Any]], reason: str
) -> None:
    metadata = [(key, value.decode("latin-1") if isinstance(value, bytes) else value) for key, value in metadata]
    with pytest.raises(TokenRefused) as caught:
        Tokens(tokens).check(METHODS[0], metadata)
    assert caught.value.reason == reason


def test_scheme_may_be_written_small(tokens: Path) -> None:
    Tokens(tokens).check("/liqserver.v1.LiquidationService/GetLevels", [("authorization", f"bearer {READER}")])
    with pytest.raises(ScopeMissing):
        Tokens(tokens).check("/liqserver.v1.AdminService/Ingest", [("authorization", f"bearer {READER}")])


def test_health_and_reflection_are_free(guarded: str) -> None:
    with grpc.insecure_channel(guarded) as channel:
        checked = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert checked.status == health_pb2.HealthCheckResponse.SERVING
        requests = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        [answer] = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(requests)
    assert "liqserver.v1.AdminService" in {of.name for of in answer.list_services_response.service}


def test_method_that_is_not_there_is_refused_as_any(guarded: str) -> None:
    assert answer_to(guarded, "/liqserver.v1.AdminService/None")[0] is grpc.StatusCode.UNAUTHENTICATED


def test_server_without_tokens_takes_any_caller(market_server: str) -> None:
    with liqclient.Client(market_server, token=READER) as client:
        assert client.symbols()
        assert client.files() is not None


# --- clients ---------------------------------------------------------------------------------------------------

type AskAs = Callable[..., Any]


def ask_sync(target: str, call: Callable[[Any], Any], **made: Any) -> Any:
    with liqclient.Client(target, **made) as client:
        answer = call(client)
        return answer if isinstance(answer, list) or not hasattr(answer, "__next__") else next(answer)


def ask_async(target: str, call: Callable[[Any], Any], **made: Any) -> Any:
    async def ask() -> Any:
        async with liqclient.AsyncClient(target, **made) as client:
            answer = call(client)
            return await (answer if isinstance(answer, Awaitable) else anext(answer))

    return asyncio.run(ask())


@pytest.fixture(params=[ask_sync, ask_async], ids=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> AskAs:
    return request.param  # type: ignore[no-any-return]


CALLS: dict[str, Callable[[Any], Any]] = {
    "levels": lambda c: c.levels("BTCUSDT"),
    "replay": lambda c: c.replay("BTCUSDT", every="1d"),
    "stream": lambda c: c.stream("BTCUSDT"),
    "stream on credit": lambda c: c.stream("BTCUSDT", on_credit=True),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_client_with_a_token_is_answered_and_without_refused(
    guarded: str, ask: AskAs, call: Callable[[Any], Any]
) -> None:
    assert ask(guarded, call, token=READER) is not None
    with pytest.raises(liqclient.Unauthenticated, match="wants a token") as caught:
        ask(guarded, call)
    assert caught.value.reason == "TOKEN_MISSING"
    with pytest.raises(liqclient.PermissionDenied, match="the scope read, and the token has publish") as denied:
        ask(guarded, call, token=FEED)
    assert denied.value.reason == "SCOPE_MISSING"
    assert denied.value.metadata == {"needed": "read", "has": "publish"}


@pytest.mark.parametrize(
    ("call", "token"),
    [
        (lambda c: c.files(), OPERATOR),
        (lambda c: c.ingest(["/none"]), OPERATOR),
        (lambda c: c.publish([liqclient.Events(symbol="BTCUSDT")]), FEED),
        (lambda c: c.watch("BTCUSDT", [liqclient.AlertRule("late", liqclient.StaleData(age="1s"))]), READER),
    ],
)
def test_call_of_another_scope_is_denied(guarded: str, ask: AskAs, call: Callable[[Any], Any], token: str) -> None:
    # Let in, and then perhaps refused for another reason: the server only reads.
    with suppress(liqclient.FailedPrecondition, liqclient.InvalidArgument):
        ask(guarded, call, token=token)
    for other in {READER, FEED} - {token}:
        with pytest.raises(liqclient.PermissionDenied):
            ask(guarded, call, token=other)


def test_token_is_in_no_log_and_no_message(guarded: str, ask: AskAs, caplog: pytest.LogCaptureFixture) -> None:
    unknown = secrets.token_hex(16)
    said = [repr(liqclient.Client(guarded, token=READER)), repr(liqclient.Client(guarded, token=READER)._settings)]
    with caplog.at_level(logging.DEBUG):
        for token in (unknown, FEED):
            with pytest.raises(liqclient.LiqClientError) as caught:
                ask(guarded, CALLS["levels"], token=token)
            said += [str(caught.value), repr(caught.value.metadata), repr(caught.value.__cause__)]
    for secret in (unknown, FEED, READER):
        assert secret not in caplog.text + "".join(said)


@pytest.mark.parametrize("flavour", [liqclient.Client, liqclient.AsyncClient])
@pytest.mark.parametrize(
    ("made", "said"),
    [
        ({"target": "10.0.0.7:50051", "token": READER}, "token would go to 10.0.0.7:50051 unencrypted"),
        ({"target": "localhost.example:50051", "token": READER}, "unencrypted"),
        ({"target": "127.0.0.1:1", "token": "two words"}, "token must be of letters"),
        ({"target": "127.0.0.1:1", "token": "line\n"}, "token must be of letters"),
        ({"target": "127.0.0.1:1", "token": ""}, "token must be of letters"),
        ({"tls": True, "credentials": grpc.ssl_channel_credentials()}, "credentials or tls, not both"),
    ],
)
def test_client_that_cannot_be_made_says_why(flavour: Any, made: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        flavour(**made)
    assert READER not in str(caught.value)
    assert "two words" not in str(caught.value)


def test_channel_of_ones_own_carries_the_token(guarded: str) -> None:
    with (
        grpc.insecure_channel(guarded) as channel,
        liqclient.Client(guarded, channel=channel, token=READER) as client,
    ):
        assert client.symbols()
        with pytest.raises(ValueError, match="belong to the channel"):
            liqclient.Client(guarded, channel=channel, tls=True)


# --- the file --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no token"),
        ("# nobody\n", "holds no token"),
        (f"grafana {READER}", "line 1: 2 fields"),
        (f"\ngrafana read {READER} x", "line 2: 4 fields"),
        (f"grafana write {READER}", "line 1: SCOPE must be read, publish, admin"),
        (f"grafana {READER} read", "line 1: SCOPE must be"),
        (f"grafana read, {READER}", "line 1: SCOPE must be"),
        (f"a/b read {READER}", "line 1: NAME must be"),
        (f"a read {READER}\na read {FEED}", "line 2: NAME must be a name of its own"),
        (f"a read {READER}\nb admin {READER}", "line 2: an earlier line has the same TOKEN"),
        ("a read short", "TOKEN must be 16 to 512"),
        ("a read sha256:12", "64 hexadecimal digits"),
        (f"a read {READER}é", "is not ASCII"),
    ],
)
def test_file_that_is_wrong_is_refused_by_line_without_a_secret(tmp_path: Path, text: str, said: str) -> None:
    path = write_tokens(tmp_path / "tokens", text)
    with pytest.raises(AuthError, match=said) as caught:
        Tokens(path)
    assert READER not in str(caught.value)
    assert FEED not in str(caught.value)


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o620, 0o644])
def test_file_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    path = write_tokens(tmp_path / "tokens")
    path.chmod(mode)
    with pytest.raises(AuthError, match=f"open to others, mode {mode:o}.*chmod 600"):
        Tokens(path)
    path.chmod(0o640)
    assert len(Tokens(path)) == 4


def test_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(AuthError, match="none cannot be read: No such file"):
        Tokens(tmp_path / "none")


def test_reload_takes_new_tokens_and_keeps_old_ones_if_the_file_is_wrong(tmp_path: Path) -> None:
    def known(token: str) -> bool:
        try:
            read.check("/liqserver.v1.LiquidationService/GetLevels", [("authorization", f"Bearer {token}")])
        except TokenRefused:
            return False
        return True

    read = Tokens(write_tokens(tmp_path / "tokens"))
    write_tokens(tmp_path / "tokens", "oops")
    with pytest.raises(AuthError):
        read.reload()
    assert known(READER)
    write_tokens(tmp_path / "tokens", f"new read {FEED}")
    read.reload()
    assert (known(READER), known(FEED)) == (False, True)


# --- TLS -------------------------------------------------------------------------------------------------------


class Certificates(NamedTuple):
    """Files of an authority, of a server on loopback, of a client, and of a client nobody vouches for."""

    ca: Path
    server: Tls
    client: Tls
    stranger: Tls


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make certificates with")
    folder = tmp_path_factory.mktemp("certificates")

    def make(name: str, *more: str) -> Tls:
        cert, key = folder / f"{name}.pem", folder / f"{name}.key"
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
        command = ["openssl", "req", "-x509", *curve, "-subj", f"/CN={name}", "-keyout", key, "-out", cert, *more]
        subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True)
        key.chmod(0o600)
        return Tls(cert, key)

    ca = make("authority")
    signed = ("-CA", str(ca.cert), "-CAkey", str(ca.key), "-addext", "basicConstraints=critical,CA:FALSE")
    names = ("-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost")
    return Certificates(ca.cert, make("server", *signed, *names), make("client", *signed), make("stranger"))


@pytest.fixture(scope="module")
def encrypted(market_db: Path, tokens: Path, certificates: Certificates) -> Iterator[str]:
    """Address of a server with TLS that wants tokens."""
    with running(market_db, tokens=Tokens(tokens), tls=certificates.server) as target:
        yield target


def test_tls_client_that_knows_the_authority_is_answered(
    encrypted: str, ask: AskAs, certificates: Certificates
) -> None:
    assert ask(encrypted, CALLS["levels"], tls=certificates.ca, token=READER).current_price > 0
    assert ask(encrypted, CALLS["stream"], tls=str(certificates.ca), token=READER) is not None
    with pytest.raises(liqclient.Unauthenticated):
        ask(encrypted, CALLS["levels"], tls=certificates.ca)
    credentials = grpc.ssl_channel_credentials(certificates.ca.read_bytes())
    assert ask(encrypted, CALLS["levels"], credentials=credentials, token=HASHED).current_price > 0
    composite = grpc.composite_channel_credentials(credentials, grpc.access_token_call_credentials(READER))
    assert ask(encrypted, CALLS["levels"], credentials=composite).current_price > 0


@pytest.mark.parametrize("tls", ["none", "stranger", "system"])
def test_tls_client_that_does_not_know_the_authority_is_unavailable(
    encrypted: str, ask: AskAs, certificates: Certificates, tls: str
) -> None:
    made = {"none": False, "stranger": certificates.stranger.cert, "system": True}[tls]
    with pytest.raises(liqclient.Unavailable):
        ask(encrypted, CALLS["levels"], tls=made, token=READER)


def test_tls_file_of_the_client_that_is_not_there_raises(ask: AskAs, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ask("127.0.0.1:1", CALLS["levels"], tls=tmp_path / "none")


def test_client_ca_lets_in_only_clients_with_a_certificate(
    market_db: Path, ask: AskAs, certificates: Certificates
) -> None:
    def as_(who: Tls) -> grpc.ChannelCredentials:
        return grpc.ssl_channel_credentials(certificates.ca.read_bytes(), who.key.read_bytes(), who.cert.read_bytes())

    tls = Tls(certificates.server.cert, certificates.server.key, client_ca=certificates.ca)
    with running(market_db, tls=tls) as target:
        assert ask(target, CALLS["levels"], credentials=as_(certificates.client)).current_price > 0
        for made in ({"credentials": as_(certificates.stranger)}, {"tls": certificates.ca}):
            with pytest.raises(liqclient.Unavailable):
                ask(target, CALLS["levels"], **made)


def test_tls_files_that_cannot_be_used_are_named(tmp_path: Path, certificates: Certificates) -> None:
    server, other = certificates.server, certificates.client
    empty, open_, locked = tmp_path / "empty", tmp_path / "open.key", tmp_path / "locked.key"
    empty.touch(mode=0o600)
    open_.write_bytes(server.key.read_bytes())
    open_.chmod(0o644)
    lock = ["openssl", "pkey", "-in", server.key, "-aes256", "-passout", "pass:secret", "-out", locked]
    subprocess.run(list(map(str, lock)), check=True, capture_output=True)
    locked.chmod(0o600)
    for tls, said in (
        (Tls(server.cert, other.key), "no certificate with its key: key values mismatch"),
        (Tls(empty, server.key), "empty and .* are no certificate"),
        (Tls(server.cert, empty), "are no certificate with its key"),
        (Tls(server.cert, open_), "open.key is open to others"),
        (Tls(server.cert, locked), "is encrypted"),
        (Tls(tmp_path / "none", server.key), "none cannot be read"),
        (Tls(server.cert, server.key, empty), "empty holds no certificate"),
    ):
        with pytest.raises(AuthError, match=said):
            tls.credentials()


# --- where to listen -------------------------------------------------------------------------------------------


def test_address_that_others_reach_needs_tls_and_somebody_at_the_door(
    market_db: Path, tokens: Path, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    read, server = Tokens(tokens), certificates.server
    mutual = Tls(server.cert, server.key, certificates.ca)
    with Database(market_db, read_only=True) as database:

        def made(**protection: Any) -> str:
            caplog.clear()
            Server(database, "0.0.0.0", 0, **protection)
            return caplog.text

        assert made(tls=server, tokens=read) == made(tls=mutual) == ""
        for lacking, said in (({}, "not encrypted"), ({"tls": server}, "may do everything")):
            with pytest.raises(BindError, match=f"other machines and .*{said}.*--allow-remote"):
                made(**lacking)
            assert said in made(**lacking, allow_remote=True)
        assert "may do everything" in made(allow_remote=True)
        for allow in (False, True):
            with pytest.raises(BindError, match="tokens would cross the network unencrypted: give --tls-cert"):
                made(tokens=read, allow_remote=allow)


# --- the command line ------------------------------------------------------------------------------------------


def test_serve_takes_flags_reads_tokens_anew_at_sighup_and_drains_at_sigterm(
    market_db: Path, tmp_path: Path, certificates: Certificates
) -> None:
    db, path = tmp_path / "own.duckdb", write_tokens(tmp_path / "tokens")
    db.write_bytes(market_db.read_bytes())
    server = certificates.server
    flags = ["--tls-cert", server.cert, "--tls-key", server.key, "--tokens", path, "--host", "0.0.0.0", "--port", "0"]
    with serving(db, *map(str, flags)) as (process, shown):
        target = shown.replace("0.0.0.0", "127.0.0.1")

        def symbols(token: str) -> list[str]:
            with liqclient.Client(target, tls=certificates.ca, token=token) as client:
                return [of.symbol for of in client.symbols()]

        assert symbols(READER) == ["BTCUSDT"]
        new = secrets.token_hex(16)
        for text in ("oops", f"new read {new}"):
            write_tokens(path, text)
            process.send_signal(signal.SIGHUP)
        ends = time.monotonic() + 10
        while True:
            try:
                assert symbols(new) == ["BTCUSDT"]
                break
            except liqclient.Unauthenticated:
                assert time.monotonic() < ends
                time.sleep(0.05)
        with pytest.raises(liqclient.Unauthenticated):
            symbols(READER)

        with liqclient.Client(target, tls=certificates.ca, token=new) as client:
            updates = client.stream("BTCUSDT")
            assert next(updates).book is not None
            process.send_signal(signal.SIGTERM)
            with pytest.raises(liqclient.Unavailable) as caught:
                for _ in updates:
                    pass
            assert caught.value.reason == "SERVER_STOPS"
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "tokens read again: 1" in errors
    assert "WARNING" not in errors
    for secret in (READER, FEED, OPERATOR, HASHED, new):
        assert secret not in errors


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (["--tls-cert", "a.pem"], 2, "--tls-cert and --tls-key together"),
        (["--tls-client-ca", "a.pem"], 2, "both with --tls-client-ca"),
        (["--tokens", "none"], 2, "none cannot be read"),
        (["--host", "0.0.0.0"], 1, "say --allow-remote"),
    ],
)
def test_serve_flags_that_do_not_go_together_are_refused(
    tmp_path: Path, flags: list[str], code: int, said: str
) -> None:
    assert said in run("serve", "--db", tmp_path / "new.duckdb", *flags, code=code).said


def test_commands_take_token_and_authority_from_the_environment(
    encrypted: str, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIQSERVER_TLS_CA", str(certificates.ca))
    assert "this server wants a token" in run("symbols", "--target", encrypted, code=1).stderr
    monkeypatch.setenv("LIQSERVER_TOKEN", READER)
    assert [row["symbol"] for row in run("symbols", "-f", "csv", "--target", encrypted).rows()] == ["BTCUSDT"]
    monkeypatch.setenv("LIQSERVER_TLS_CA", "none.pem")
    assert "none.pem cannot be read" in run("symbols", "--target", encrypted, code=2).said
    monkeypatch.delenv("LIQSERVER_TLS_CA")
    assert "would go to 10.0.0.7:1 unencrypted" in run("symbols", "--target", "10.0.0.7:1", code=2).said


# --- sizes -----------------------------------------------------------------------------------------------------


def test_request_above_4_mib_is_resource_exhausted(market_server: str) -> None:
    request = liquidation_pb2.GetLevelsRequest()
    request.query.symbol = "X" * (5 << 20)
    code, details = answer_to(
        market_server, "/liqserver.v1.LiquidationService/GetLevels", body=request.SerializeToString()
    )
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in details
