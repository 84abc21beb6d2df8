"""``liqserver simulate``: a made-up market as archive files, with its true position book beside them."""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from liqserver.cli.output import errors_console, print_table, say, table
from liqserver.simulate.config import SimulationConfig
from liqserver.simulate.scenarios import SCENARIOS

if TYPE_CHECKING:
    from liqserver.simulate.archive import Totals

_DEFAULTS = SimulationConfig()


def simulate(
    out: Annotated[
        Path,
        typer.Argument(help="Folder to write. It gets data/ (archive files), truth/ (the true book) and README.md."),
    ],
    days: Annotated[int, typer.Option(help="UTC days to write.", min=1, max=3660)] = _DEFAULTS.days,
    seed: Annotated[
        int, typer.Option(help="Seed of all random draws. The same seed and options give the same bytes.", min=0)
    ] = _DEFAULTS.seed,
    start: Annotated[
        datetime, typer.Option(help="First UTC day. From 2025-01-01 on, when files have headers.", formats=["%Y-%m-%d"])
    ] = datetime(2025, 9, 1),
    symbol: Annotated[
        str, typer.Option(help="Symbol in file names and rows. Brackets are those of BTCUSDT whatever it is.")
    ] = _DEFAULTS.symbol,
    start_price: Annotated[
        float, typer.Option(help="Price where the unwritten warm-up begins, quote units.")
    ] = _DEFAULTS.start_price,
    open_interest: Annotated[
        float, typer.Option(help="Contracts open on average, base units. The size of the market.")
    ] = _DEFAULTS.open_interest,
    trades_per_day: Annotated[
        int,
        typer.Option(
            help="Aggregated trades on an average day. More trades are smaller trades: volume stays with open interest."
        ),
    ] = _DEFAULTS.trades_per_day,
    scenario: Annotated[str, typer.Option(help=f"What the market goes through: {', '.join(SCENARIOS)}.")] = "plain",
    book_minutes: Annotated[
        int, typer.Option(help="Minutes between records of the true book; a divisor of 1440.")
    ] = _DEFAULTS.book_minutes,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Any other number of the market, as often as wanted, such as cross_share=0.9; docs/simulate.md has "
            "their names. Values are JSON: 0.5, true, [[5, 0.7], [50, 0.3]].",
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Write into a folder that is not empty. Files of the same name are replaced."),
    ] = False,
) -> None:
    """Simulate a market of leveraged traders and write it in the layout of the public Binance archive.

    Nothing in it ever happened. Ingest OUT like a real archive, then compare what the server answers with the true
    positions in OUT/truth.
    """
    # Numba is loaded by who simulates, not by every command.
    from liqserver.simulate.archive import existing_entries, write_archive

    try:
        config = SimulationConfig(
            symbol=symbol,
            start=date(start.year, start.month, start.day),
            days=days,
            seed=seed,
            start_price=start_price,
            open_interest=open_interest,
            trades_per_day=trades_per_day,
            scenario=scenario,
            book_minutes=book_minutes,
            **_settings(set_ or []),
        )
        entries = existing_entries(out)
    except NotADirectoryError as error:
        raise typer.BadParameter(f"{out} is a file; name a folder") from error
    except (ValueError, TypeError) as error:
        raise typer.BadParameter(str(error)) from error
    if entries and not force:
        raise typer.BadParameter(
            f"{out} is not empty ({entries} entries); name a new folder, or add --force to replace equal names"
        )
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("days"),
        TimeElapsedColumn(),
        console=errors_console,
    ) as progress:
        task = progress.add_task("warm-up", total=config.days + config.warmup_days)

        def on_day(day: date | None, _: Totals) -> None:
            progress.update(task, advance=1, description=day.isoformat() if day is not None else "warm-up")

        try:
            totals = write_archive(config, out, on_day)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
        except OSError as error:
            errors_console.print(f"[red]error:[/red] cannot write below {escape(str(out))}: {escape(str(error))}")
            raise typer.Exit(1) from error
    _print_summary(config, totals, out)


def _settings(given: list[str]) -> dict[str, Any]:
    """Return what ``--set`` says of the configuration; raises ValueError."""
    own = {"symbol", "start", "days", "seed", "start_price", "open_interest", "trades_per_day", "scenario"}
    allowed = [field.name for field in fields(SimulationConfig) if field.name not in own | {"book_minutes"}]
    out: dict[str, Any] = {}
    for text in given:
        name, _, value = text.partition("=")
        if name not in allowed:
            raise ValueError(f"--set was {text!r}; allowed: NAME=VALUE with NAME of {', '.join(allowed)}")
        try:
            read = json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"--set was {text!r}; allowed: a value in JSON, such as 0.5, true, [[5, 1.0]]") from error
        if isinstance(read, list):
            read = tuple(tuple(row) if isinstance(row, list) else row for row in read)
        out[name] = read
    return out


def _print_summary(config: SimulationConfig, totals: Totals, out: Path) -> None:
    quote = "USDT"
    say(
        f"[bold]Simulated {escape(config.symbol)}[/bold], {config.days} days from {config.start}, {config.scenario}, "
        f"seed {config.seed}"
    )
    figures = table("figure", "value", right=("value",))
    for name, value in (
        ("trades", f"{totals.trades:,}"),
        ("volume", f"{totals.volume:,.0f} contracts, {totals.volume_notional / 1e6:,.0f} M {quote}"),
        ("liquidations", f"{totals.liquidations:,}"),
        ("liquidated longs", f"{totals.liquidated_long / 1e6:,.2f} M {quote}"),
        ("liquidated shorts", f"{totals.liquidated_short / 1e6:,.2f} M {quote}"),
        ("price", f"{totals.low:,.1f} to {totals.high:,.1f}"),
        ("open interest", f"{totals.open_interest_low:,.0f} to {totals.open_interest_high:,.0f} contracts"),
        ("files", f"{totals.files:,}, {totals.bytes / 1e6:,.1f} MB"),
    ):
        figures.add_row(name, value)
    print_table(figures)
    say(f"in {escape(str(out))}")
