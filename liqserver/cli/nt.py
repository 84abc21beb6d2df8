"""`liqserver nt`: levels for backtests of Nautilus Trader."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

import liqclient
from liqserver.cli.options import (
    DEFAULT_RANGE,
    HOUR,
    OF_SELECTIONS,
    OUTPUT_PANEL,
    BinSizeOption,
    DbOption,
    EndOption,
    ModelOption,
    RangeOption,
    StartOption,
    SymbolArgument,
    TargetOption,
    UnitChoice,
    UnitOption,
    VenueOption,
    connected,
    length,
    with_parameters,
)
from liqserver.cli.output import errors_console, print_provenance, say, shown_span, shown_time

if TYPE_CHECKING:
    from nautilus_trader.persistence.catalog import ParquetDataCatalog

    from liqclient.nt import LevelsQuery, LiquidationLevels

app = typer.Typer(help="Backtests of Nautilus Trader: levels and market data into its catalogue.", no_args_is_help=True)

_INSTRUMENT_PANEL = "Instrument, unless the catalogue has it"


@app.callback()
def _group() -> None:
    pass


def _read_decimal(text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        raise typer.BadParameter(f"was {text!r}, must be a decimal number")
    return number


@app.command()
@with_parameters(leave_out=OF_SELECTIONS)
def export(
    symbol: SymbolArgument,
    catalog: Annotated[
        Path,
        typer.Option(help="Folder of the catalogue; made if it is not there.", rich_help_panel=OUTPUT_PANEL),
    ],
    venue: VenueOption = "",
    start: StartOption = None,
    end: EndOption = None,
    every: Annotated[int, length("Length of time between moments, such as 5m, 1h; at least 1m.", "1h")] = HOUR,
    bin_size: BinSizeOption = None,
    price_range: RangeOption = DEFAULT_RANGE,
    unit: UnitOption = UnitChoice.NOTIONAL,
    model: ModelOption = "",
    *,
    parameters: liqclient.Parameters,
    delay_ns: Annotated[int, typer.Option(help="Nanoseconds from a moment until its levels are available.", min=1)] = 1,
    archive: Annotated[
        Path | None,
        typer.Option(
            help="Folder of archive files (aggTrades, klines, markPriceKlines, fundingRate) to write as market data.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    instrument_id: Annotated[
        str, typer.Option(help="Identifier. [default: SYMBOL-PERP.VENUE]", rich_help_panel=_INSTRUMENT_PANEL)
    ] = "",
    step_size: Annotated[
        Decimal | None,
        typer.Option(
            parser=_read_decimal,
            metavar="NUMBER",
            help="Smallest step of quantity; that of the archive files if not given.",
            rich_help_panel=_INSTRUMENT_PANEL,
        ),
    ] = None,
    maker_fee: Annotated[
        Decimal,
        typer.Option(
            parser=_read_decimal, metavar="NUMBER", help="Fraction of notional.", rich_help_panel=_INSTRUMENT_PANEL
        ),
    ] = Decimal("0.0002"),
    taker_fee: Annotated[
        Decimal,
        typer.Option(
            parser=_read_decimal, metavar="NUMBER", help="Fraction of notional.", rich_help_panel=_INSTRUMENT_PANEL
        ),
    ] = Decimal("0.0005"),
    target: TargetOption = None,
    db: DbOption = None,
) -> None:
    """Write levels as of one moment after the other to a catalogue, and market data of archive files beside them.

    A backtest of the catalogue then needs no server. Times of --start and --end bound when levels are available.

    For example `liqserver nt export BTCUSDT --catalog catalog --every 5m --archive data`.
    """
    try:
        from nautilus_trader.persistence.catalog import ParquetDataCatalog

        from liqclient import nt
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "nautilus_trader":
            raise
        raise _failure('catalogues need Nautilus Trader: pip install "liqserver[nt]"') from None
    with connected(target, db) as client:
        known = _symbol(client, symbol, venue)
        try:
            query = nt.LevelsQuery(
                instrument_id=instrument_id or f"{symbol}-PERP.{known.venue}",
                symbol=symbol,
                venue=known.venue,
                model=model,
                parameters=parameters,
                bin_size=bin_size,
                price_range=(price_range.down, price_range.up),
                unit=unit.value,
                every=every,
                delay=delay_ns,
            )
            files = nt.market_files(archive, symbol) if archive is not None else []
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
        try:
            catalog.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _failure(f"cannot write {catalog}: {error.strerror}") from None
        store = ParquetDataCatalog(str(catalog.absolute()))
        try:
            instruments = store.instruments(instrument_ids=[query.instrument_id])
            if not instruments:
                if step_size is None:
                    if not files:
                        raise typer.BadParameter(
                            f"the catalogue has no {query.instrument_id}, and nothing tells the step of its quantity: "
                            "give --step-size or --archive"
                        )
                    step_size = nt.step_size_of(files)
                if known.tick_size is None:
                    raise _failure(f"the server knows no tick size of {symbol}")
                instruments = [
                    nt.perpetual(
                        symbol,
                        known.venue,
                        tick_size=known.tick_size,
                        step_size=step_size,
                        instrument_id=query.instrument_id,
                        maker_fee=maker_fee,
                        taker_fee=taker_fee,
                    )
                ]
                store.write_data(instruments)
            last = _export_levels(store, client, query, start, end)
            for data in nt.read_market(files, instruments[0], start=start, end=end):
                nt.write_data(store, data)
                kind = getattr(data[0], "bar_type", type(data[0]).__name__)
                say(f"{len(data):,} {kind}, {shown_time(data[0].ts_init)} to {shown_time(data[-1].ts_init)}")
        except ValueError as error:
            raise _failure(str(error)) from None
        say(f"in {escape(str(catalog))}, instrument {query.instrument_id}")
        if last is not None:
            answer = client.levels(
                symbol, venue=known.venue, model=model, as_of=last, bin_size=bin_size, parameters=parameters
            )
            say(f"as of the last levels, {shown_time(last)}:")
            print_provenance(answer.provenance)


def _export_levels(
    store: ParquetDataCatalog, client: liqclient.Client, query: LevelsQuery, start: int | None, end: int | None
) -> int | None:
    """Write levels, say how many, and return the moment of the last; None if there was none."""
    from liqclient import nt

    moments: list[int] = []
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=errors_console, transient=True) as progress:
        task = progress.add_task("waiting", total=None)

        def on_levels(levels: LiquidationLevels) -> None:
            moments[:] = [moments[0] if moments else levels.ts_event, levels.ts_event]
            progress.update(task, description=f"levels as of {shown_time(levels.ts_event)}")

        written = nt.export_levels(store, client, query, start=start, end=end, on_levels=on_levels)
    if not moments:
        say("no moment lies between start and end")
        return None
    span = f"{shown_time(moments[0])} to {shown_time(moments[-1])}"
    say(f"{written:,} {nt.LiquidationLevels.__name__}, as of {span}, every {shown_span(query.every_ns)}")
    return moments[-1]


def _symbol(client: liqclient.Client, symbol: str, venue: str) -> liqclient.SymbolInfo:
    found = [of for of in client.symbols() if of.symbol == symbol and venue in ("", of.venue)]
    if not found:
        raise typer.BadParameter(f"the server has no {symbol}; `liqserver symbols` lists what it has")
    if len(found) > 1:
        venues = ", ".join(of.venue for of in found)
        raise typer.BadParameter(f"several venues have {symbol}: name one of {venues} with --venue")
    return found[0]


def _failure(message: str) -> typer.Exit:
    errors_console.print(f"[red]error:[/red] {escape(message)}")
    return typer.Exit(1)
