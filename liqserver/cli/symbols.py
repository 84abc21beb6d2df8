"""`liqserver exchange-info`: what the exchange says of its contracts."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from liqserver.cli.options import DatabaseOption, DataVenueOption
from liqserver.cli.output import console, errors_console
from liqserver.config import DEFAULT_VENUE, default_db

app = typer.Typer(help="Contracts of the exchange: their ticks, steps and first days.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Contracts of the exchange: their ticks, steps and first days."""


@app.command()
def load(
    file: Annotated[Path, typer.Argument(help="JSON of the exchange's exchangeInfo.")],
    db: DatabaseOption = None,
    venue: DataVenueOption = DEFAULT_VENUE,
) -> None:
    """Load tick sizes, steps and dates of all symbols; symbols that are ingested later take their ticks from here.

    Exit status: 0 all loaded, 1 loaded, but the stored bins of some symbol do not fit its tick, 2 the file or the
    database cannot be used.
    """
    from liqserver.store.database import Database, StoreError
    from liqserver.store.instruments import read_exchange_info, save_instruments

    try:
        # Before the database: a slip of the pen makes no file.
        instruments = read_exchange_info(file)
        with Database(db or default_db()) as database, database.transaction() as cur:
            saved = save_instruments(cur, venue, instruments, time.time_ns())
    except StoreError as error:
        errors_console.print(f"[red]error:[/] {escape(str(error))}")
        raise typer.Exit(2) from error
    perpetual = sum(of.contract_type == "PERPETUAL" for of in instruments)
    console.print(f"{file.name}: {len(instruments):,} symbols, {perpetual:,} of them perpetual")
    for text in saved.ticks:
        console.print(escape(text), soft_wrap=True)
    for text in saved.conflicts:
        console.print(f"[yellow]warning:[/] {escape(text)}", soft_wrap=True)
    raise typer.Exit(1 if saved.conflicts else 0)
