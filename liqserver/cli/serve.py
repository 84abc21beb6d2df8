"""`liqserver serve`."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from liqserver.cli.ingest import MemoryOption
from liqserver.cli.options import DatabaseOption
from liqserver.cli.output import errors_console
from liqserver.config import DEFAULT_DASHBOARD_PORT, DEFAULT_HOST, DEFAULT_PORT, default_db
from liqserver.store.database import DEFAULT_MEMORY_LIMIT

if TYPE_CHECKING:
    from liqserver.rpc.server import Server

_SECURITY_PANEL = "Who may ask"
_DASHBOARD_PANEL = "In the browser"


def _file(text: str) -> Any:  # noqa: ANN401 - what typer returns for an option
    return typer.Option(metavar="FILE", help=text, rich_help_panel=_SECURITY_PANEL)


def serve(
    db: DatabaseOption = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = DEFAULT_HOST,
    port: Annotated[int, typer.Option(help="Port to listen on; 0 for a free one.", min=0, max=65535)] = DEFAULT_PORT,
    tls_cert: Annotated[Path | None, _file("Encrypt: certificate in PEM, with its chain.")] = None,
    tls_key: Annotated[Path | None, _file("Its key in PEM, not readable by others.")] = None,
    tls_client_ca: Annotated[
        Path | None, _file("Let in only clients with a certificate signed by one of these (PEM).")
    ] = None,
    tokens: Annotated[
        Path | None,
        _file(
            r"Let in only callers with a token of this file, NAME SCOPE\[,SCOPE] TOKEN a line; SIGHUP reads it anew."
        ),
    ] = None,
    allow_remote: Annotated[
        bool,
        typer.Option(
            "--allow-remote",
            help="Listen where others can reach it without TLS, or without tokens and certificates of clients.",
            rich_help_panel=_SECURITY_PANEL,
        ),
    ] = False,
    dashboard: Annotated[
        bool,
        typer.Option(
            "--dashboard",
            help="Serve the dashboard to browsers of this machine as well; see `liqserver dashboard`.",
            rich_help_panel=_DASHBOARD_PANEL,
        ),
    ] = False,
    dashboard_port: Annotated[
        int,
        typer.Option(
            help="Port of the dashboard; 0 for a free one.", min=0, max=65535, rich_help_panel=_DASHBOARD_PANEL
        ),
    ] = DEFAULT_DASHBOARD_PORT,
    memory_limit: MemoryOption = DEFAULT_MEMORY_LIMIT,
    print_target: Annotated[
        bool, typer.Option("--print-target", help="Print the address to standard output once ready, for scripts.")
    ] = False,
) -> None:
    """Answer questions over gRPC until stopped (Ctrl-C or SIGTERM).

    Standard health, reflection: `buf curl`, `grpcurl` and every gRPC client can look around.
    """
    from liqserver.rpc.auth import AuthError, Tls, Tokens
    from liqserver.rpc.server import Server, serve_until_signalled
    from liqserver.store.database import Database

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    path = db or default_db()
    if (tls_cert is None) != (tls_key is None) or (tls_client_ca is not None and tls_cert is None):
        raise typer.BadParameter("give --tls-cert and --tls-key together, and both with --tls-client-ca")

    if dashboard:
        _check_dashboard(tls_cert, tls_client_ca, tokens)
    pages = ExitStack()
    without_page = False

    def started(server: Server) -> None:
        nonlocal without_page
        errors_console.print(f"liqserver listens on [bold]{server.target}[/bold], database {path}")
        if dashboard:
            try:
                pages.enter_context(_page(server, host, dashboard_port))
            except typer.Exit:
                without_page = True
                os.kill(os.getpid(), signal.SIGTERM)
                return
        if print_target:
            print(server.target, flush=True)  # noqa: T201 - what a script reads

    lost = False

    def stop() -> None:
        nonlocal lost
        lost = True
        # As whoever runs it would end it; from whichever thread writes.
        os.kill(os.getpid(), signal.SIGTERM)

    with Database(path, memory_limit=memory_limit) as database, pages:
        database.when_lost = stop
        try:
            server = Server(
                database,
                host,
                port,
                allow_remote=allow_remote,
                tls=Tls(tls_cert, tls_key, tls_client_ca) if tls_cert is not None and tls_key is not None else None,
                tokens=Tokens(tokens) if tokens is not None else None,
            )
        except AuthError as error:
            raise typer.BadParameter(str(error)) from error
        asyncio.run(serve_until_signalled(server, started))
    if lost:
        errors_console.print(
            f"[red]error:[/red] {path} could not be written to and had to be given up: make room on its disk and start "
            "the server again; nothing that was in is lost"
        )
        raise typer.Exit(1)
    if without_page:
        raise typer.Exit(1)
    errors_console.print("stopped")


def _check_dashboard(tls_cert: Path | None, tls_client_ca: Path | None, tokens: Path | None) -> None:
    """Refuse what the dashboard could not ask the server for: it is a client like any other."""
    if tls_client_ca is not None:
        raise typer.BadParameter("--dashboard has no certificate of a client to show: leave it or --tls-client-ca out")
    for given, option, name in ((tls_cert, "--tls-cert", "LIQSERVER_TLS_CA"), (tokens, "--tokens", "LIQSERVER_TOKEN")):
        if given is not None and not os.environ.get(name):
            raise typer.BadParameter(f"--dashboard asks as a client does: with {option} it needs {name} set")


@contextmanager
def _page(server: Server, host: str, port: int) -> Iterator[None]:
    """Serve the dashboard from a thread of this process while the block runs."""
    from liqserver.cli.dashboard import dashboard_of

    # Who listens on every address is on this one too.
    at = DEFAULT_HOST if host in ("0.0.0.0", "::", "[::]") else server.target.rpartition(":")[0]  # noqa: S104
    with dashboard_of(f"{at}:{server.target.rpartition(':')[2]}", port) as page:
        thread = threading.Thread(target=page.serve_forever, name="dashboard")
        thread.start()
        errors_console.print(f"its dashboard is at [bold]{page.url}[/bold]")
        try:
            yield
        finally:
            page.shutdown()
            thread.join()
