"""`liqserver demo`: the whole path once, from archive files to levels, chart and latencies."""

from __future__ import annotations

import shlex
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

import liqclient
from liqserver.cli.output import console, errors_console, print_table, table


def demo(
    data: Annotated[
        Path | None, typer.Option(help="Folder of archive files; a market is simulated if not given.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for database and chart; made anew.")] = Path("build/demo"),
    days: Annotated[int, typer.Option(help="Days to simulate.", min=1, max=60)] = 3,
    seed: Annotated[int, typer.Option(help="Seed of the simulation.")] = 1,
) -> None:
    """Archive files in, liquidation levels out over gRPC, once from end to end; ends by itself.

    Its last lines are commands to go on with, the dashboard first.
    """
    from liqserver.cli.ingest import ingest
    from liqserver.cli.query import ladder_bin_size, print_levels
    from liqserver.rpc.server import EmbeddedServer

    began = time.perf_counter()
    if out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True)
    if data is None:
        from liqserver.cli.simulate import simulate

        _step(f"1  a simulated market of {days} days, as the exchange would publish it")
        data = out / "market"
        simulate(data, days=days, seed=seed)
    else:
        _step(f"1  archive files of {data}")
    _step("2  into a database")
    database = out / "demo.duckdb"
    try:
        ingest([data], db=database)
    except typer.Exit as ended:
        if ended.exit_code:
            errors_console.print("[yellow]some files were rejected; the demo goes on with the others[/yellow]")
    _step("3  a server on a port of this machine, asked through the client")
    with EmbeddedServer(database) as server, liqclient.Client(server.target, timeout=120) as client:
        console.print(f"serving {database} on {server.target}")
        symbol = client.symbols()[0]
        answer = client.levels(symbol.symbol, venue=symbol.venue, per_tier=True, derived=True)
        ladder_bin = ladder_bin_size(client, symbol.symbol, symbol.venue, 0.2, 24)
        print_levels(client.levels(symbol.symbol, venue=symbol.venue, bin_size=ladder_bin))
        _step("4  a chart")
        chart = out / "levels.html"
        from liqclient.plot import levels_figure

        levels_figure(answer).write_html(chart, include_plotlyjs=True, full_html=True)
        console.print(f"{chart} ({chart.stat().st_size / 1e6:.1f} MB, opens without a network)")
        _step("5  how long a call takes, milliseconds")
        _latencies(client, symbol, answer)
    console.print(f"\ndone in {time.perf_counter() - began:.0f} s. Look at the chart: [bold]{chart}[/bold]")
    command, there = _command(), shlex.quote(str(database))
    console.print("See it all in the browser, map, heatmap, liquidations and models, until Ctrl-C:", highlight=False)
    # One line each, however narrow the terminal: they are to be copied.
    for line in (
        f"serve --db {there} --dashboard",
        "",
        f"levels {symbol.symbol} --db {there} --range 0.05",
        f"levels {symbol.symbol} --db {there} --per-tier --format csv",
        "--help",
    ):
        text = f"  {command} {line}" if line else "Or in the terminal:"
        console.print(text, markup=False, highlight=False, soft_wrap=True)


def _command() -> str:
    """Return what runs liqserver from here, as this run was begun."""
    began = Path(sys.argv[0])
    return shlex.quote(str(began)) if began.stem == "liqserver" else f"{shlex.quote(sys.executable)} -m liqserver.cli"


def _step(text: str) -> None:
    console.print(f"\n[bold cyan]{text}[/bold cyan]")


def _latencies(client: liqclient.Client, symbol: liqclient.SymbolInfo, newest: liqclient.Levels) -> None:
    """Print a table of latencies: four calls, three percentiles each."""
    start, end = newest.provenance.history_start, newest.provenance.as_of
    moments = np.random.default_rng(0).integers(start or end, end, 60, endpoint=True)
    calls: tuple[tuple[str, int, Callable[[int], object]], ...] = (
        ("list models (no data touched)", 200, lambda i: client.models()),
        ("levels, newest data", 200, lambda i: client.levels(symbol.symbol, venue=symbol.venue)),
        (
            "levels, newest data, by tier",
            200,
            lambda i: client.levels(symbol.symbol, venue=symbol.venue, per_tier=True),
        ),
        (
            "levels as of a moment never asked for",
            len(moments),
            lambda i: client.levels(symbol.symbol, venue=symbol.venue, as_of=int(moments[i])),
        ),
    )
    out = table("call", "n", "p50", "p90", "p99", right=("n", "p50", "p90", "p99"))
    for name, n, call in calls:
        call(0)
        took = []
        for i in range(n):
            t0 = time.perf_counter()
            call(i)
            took.append(1e3 * (time.perf_counter() - t0))
        out.add_row(name, str(n), *(f"{value:.2f}" for value in np.percentile(took, [50, 90, 99])))
    print_table(out)
