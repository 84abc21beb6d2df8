"""`liqserver brackets`: maintenance margin brackets of symbols."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from liqserver.cli.options import DatabaseOption, DataVenueOption, SymbolArgument
from liqserver.cli.output import print_table, say, shown_time, table
from liqserver.config import DEFAULT_VENUE, default_db

app = typer.Typer(help="Maintenance margin brackets: load them from files, show what is known.", no_args_is_help=True)


@app.command()
def load(
    files: Annotated[list[Path], typer.Argument(help="CSV of brackets, or JSON of the exchange's leverageBracket.")],
    db: DatabaseOption = None,
    venue: DataVenueOption = DEFAULT_VENUE,
    effective_from: Annotated[
        str | None, typer.Option(help="Date of effect, YYYY-MM-DD, for files that do not tell.")
    ] = None,
) -> None:
    """Load bracket tables; a table of the same venue, symbol and date is replaced, a bad file is refused whole."""
    from liqserver.store.brackets import read_brackets, save_brackets
    from liqserver.store.database import Database

    since = None
    if effective_from is not None:
        try:
            since = int(datetime.strptime(effective_from, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()) * 1_000_000_000
        except ValueError:
            raise typer.BadParameter(
                f"was {effective_from!r}, must be YYYY-MM-DD", param_hint="--effective-from"
            ) from None
    with Database(db or default_db()) as database:
        for file in files:
            tables = read_brackets(file, venue=venue, effective_from=since)
            save_brackets(database.cursor(), tables)
            symbols = len({of.symbol for of in tables})
            say(f"{file.name}: {len(tables)} tables of {symbols} symbols")


@app.command()
def show(
    symbol: SymbolArgument,
    db: DatabaseOption = None,
    venue: DataVenueOption = DEFAULT_VENUE,
    every: Annotated[bool, typer.Option("--all", help="Every table, not only the newest.")] = False,
) -> None:
    """Show the brackets of a symbol: built in, and loaded into the database if there is one."""
    from liqserver.store.markets import bracket_tables

    tables = bracket_tables(db or default_db(), venue, symbol)
    if not tables:
        say(f"no brackets of {venue}:{symbol} are known; load them with `liqserver brackets load FILE`")
        raise typer.Exit(1)
    for of in tables if every else tables[-1:]:
        say(f"[bold]{of.table_id}[/bold], in force from {shown_time(of.effective_from)} ({of.source})")
        out = table(
            "bracket",
            "notional floor",
            "notional cap",
            "mmr",
            "cum",
            "max leverage",
            right=("bracket", "notional floor", "notional cap", "mmr", "cum", "max leverage"),
        )
        for i in range(len(of)):
            out.add_row(
                str(i + 1),
                f"{of.notional_floor[i]:,.0f}",
                f"{of.notional_cap[i]:,.0f}",
                f"{of.mmr[i]:.2%}",
                f"{of.cum[i]:,.2f}",
                f"{of.max_leverage[i]:g}x",
            )
        print_table(out)
