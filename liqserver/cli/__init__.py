"""The command line: one file per group of commands."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.markup import escape

import liqclient
from liqserver import __version__
from liqserver.cli import (
    audit,
    calibrate,
    check,
    compare,
    dashboard,
    demo,
    download,
    heatmap,
    ingest,
    liquidations,
    maintain,
    nt,
    publish,
    query,
    replay,
    score,
    serve,
    simulate,
    symbols,
    watch,
)
from liqserver.cli import brackets as brackets_commands
from liqserver.cli import plot as plot_commands
from liqserver.cli.output import errors_console

app = typer.Typer(
    name="liqserver",
    help="At which prices will how much leveraged long and short interest be liquidated?\n\n"
    "Get data in with `ingest` (or make some with `simulate`), then ask `levels`. `serve` answers others over gRPC.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"liqserver {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


app.command(rich_help_panel="Data")(ingest.ingest)
app.command(rich_help_panel="Data")(download.download)
app.command(rich_help_panel="Data")(download.update)
app.command(rich_help_panel="Data")(simulate.simulate)
app.command(rich_help_panel="Data")(check.check)
app.add_typer(symbols.app, name="exchange-info", rich_help_panel="Data")
app.add_typer(brackets_commands.app, name="brackets", rich_help_panel="Data")
app.add_typer(nt.app, name="nt", rich_help_panel="Data")
app.command(rich_help_panel="Data")(maintain.compact)
app.command(rich_help_panel="Data")(maintain.export)
app.command(rich_help_panel="Data")(calibrate.calibrate)
app.command(rich_help_panel="Start here")(demo.demo)
app.command(rich_help_panel="Server")(serve.serve)
app.command(rich_help_panel="Server")(dashboard.dashboard)
app.command(rich_help_panel="Server")(publish.publish)
app.command(rich_help_panel="Ask")(query.levels)
app.command(rich_help_panel="Ask")(heatmap.heatmap)
app.command(rich_help_panel="Ask")(replay.replay)
app.command(rich_help_panel="Ask")(audit.audit)
app.command(rich_help_panel="Ask")(compare.compare)
app.command(rich_help_panel="Ask")(liquidations.liquidations)
app.command(rich_help_panel="Ask")(score.score)
app.command(rich_help_panel="Ask")(watch.watch)
app.add_typer(plot_commands.app, name="plot", rich_help_panel="Ask")
app.command(rich_help_panel="Ask")(query.coverage)
app.command(rich_help_panel="Ask")(query.symbols)
app.command(rich_help_panel="Ask")(query.models)
app.command(rich_help_panel="Ask")(calibrate.calibrations)


def main() -> None:
    """Run the command line; what a user can do something about ends in one line, not in a traceback."""
    from liqserver.margin import BracketError
    from liqserver.rpc.server import BindError
    from liqserver.store.database import StoreError

    try:
        app()
    except (liqclient.LiqClientError, StoreError, BindError, BracketError) as error:
        errors_console.print(f"[red]error:[/red] {escape(str(error))}")
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(1)
