"""`liqserver serve`."""

from __future__ import annotations

import asyncio
import logging
from typing import Annotated

import typer

from liqserver.cli.options import DatabaseOption
from liqserver.cli.output import errors_console
from liqserver.config import DEFAULT_HOST, DEFAULT_PORT, default_db


def serve(
    db: DatabaseOption = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = DEFAULT_HOST,
    port: Annotated[int, typer.Option(help="Port to listen on; 0 for a free one.", min=0, max=65535)] = DEFAULT_PORT,
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="Listen on an address others can reach, unencrypted.")
    ] = False,
    print_target: Annotated[
        bool, typer.Option("--print-target", help="Print the address to standard output once ready, for scripts.")
    ] = False,
) -> None:
    """Answer questions over gRPC until stopped (Ctrl-C or SIGTERM).

    Standard health, reflection: `buf curl`, `grpcurl` and every gRPC client can look around.
    """
    from liqserver.rpc.server import Server, serve_until_signalled
    from liqserver.store.database import Database

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    path = db or default_db()

    def started(server: Server) -> None:
        errors_console.print(f"liqserver listens on [bold]{server.target}[/bold], database {path}")
        if print_target:
            print(server.target, flush=True)  # noqa: T201 - what a script reads

    with Database(path) as database:
        server = Server(database, host, port, allow_remote=allow_remote)
        asyncio.run(serve_until_signalled(server, started))
    errors_console.print("stopped")
