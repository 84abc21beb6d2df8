"""`liqserver dashboard`."""

from __future__ import annotations

import logging
import signal
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from liqserver.cli.options import TargetOption, client_of
from liqserver.cli.output import errors_console
from liqserver.config import DEFAULT_DASHBOARD_PORT, DEFAULT_TARGET

if TYPE_CHECKING:
    from liqclient.dashboard import Dashboard


def dashboard(
    target: TargetOption = None,
    port: Annotated[
        int, typer.Option(help="Port of this machine to listen on; 0 for a free one.", min=0, max=65535)
    ] = DEFAULT_DASHBOARD_PORT,
    open_it: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    print_url: Annotated[
        bool, typer.Option("--print-url", help="Print the address to standard output once ready, for scripts.")
    ] = False,
) -> None:
    """Show maps, heatmaps, recorded liquidations, models and coverage in the browser, live if wanted.

    Reachable from this machine only. Asks a running server, which may be started later. Ends with Ctrl-C or SIGTERM.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    with dashboard_of(target, port) as page:

        def stop(number: int, frame: FrameType | None) -> None:
            # It waits for the loop that this handler interrupts, so it needs a thread of its own.
            threading.Thread(target=page.shutdown).start()

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)
        errors_console.print(
            f"the dashboard of {target or DEFAULT_TARGET} is at [bold]{page.url}[/bold] (Ctrl-C ends it)"
        )
        if print_url:
            print(page.url, flush=True)  # noqa: T201 - what a script reads
        if open_it and not webbrowser.open(page.url):
            errors_console.print("[yellow]found no browser to open it in[/yellow]")
        page.serve_forever()
    errors_console.print("stopped")


@contextmanager
def dashboard_of(target: str | None, port: int) -> Iterator[Dashboard]:
    """Yield a dashboard of ``target`` that listens and does not serve yet.

    Raises
    ------
    typer.Exit
        If plotly is not there or the port cannot be listened on, which is printed.
    """
    try:
        from liqclient.dashboard import Dashboard
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "plotly":
            raise
        raise _failure('the dashboard needs plotly: pip install "liqserver[plot]"') from None
    # A view over a long time takes some seconds.
    with client_of(target, timeout=60) as client:
        try:
            page = Dashboard(client, port=port)
        except OSError as error:
            reason = f"cannot listen on port {port} of this machine: {error.strerror}; give another"
            raise _failure(reason) from None
        with page:
            yield page


def _failure(message: str) -> typer.Exit:
    errors_console.print(f"[red]error:[/red] {escape(message)}")
    return typer.Exit(1)
