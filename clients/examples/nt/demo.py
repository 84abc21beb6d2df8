"""Backtest `SweepFade` with levels and without, on a simulated market or archive files of your own.

Archive files become a database, a server on it fills a catalogue with levels and market data, and the backtests then
run on the catalogue alone. Writes the catalogue, report.json and tearsheet.html; ends by itself.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
import warnings
from dataclasses import asdict
from pathlib import Path

from nautilus_trader.backtest.config import BacktestEngineConfig
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.config import LoggingConfig
from nautilus_trader.model.data import Bar, BarType, TradeTick
from nautilus_trader.model.enums import AccountType, OmsType
from nautilus_trader.model.identifiers import ClientId
from nautilus_trader.model.instruments import CryptoPerpetual
from nautilus_trader.model.objects import Money
from nautilus_trader.persistence.catalog import ParquetDataCatalog
from rich.console import Console
from rich.table import Table
from sweep_fade import SweepFade, SweepFadeConfig
from tearsheet import STATEMENT, Result, page

import liqclient
from liqclient.nt import (
    CLIENT_ID,
    LevelsQuery,
    LiquidationLevels,
    export_levels,
    market_files,
    perpetual,
    read_market,
    step_size_of,
    write_data,
)
from liqserver.rpc.server import EmbeddedServer
from liqserver.simulate.archive import write_archive
from liqserver.simulate.config import SimulationConfig
from liqserver.store.database import Database
from liqserver.store.ingest import Status, ingest

# Nautilus asks pandas for the time in a way that a later pandas will not have.
warnings.filterwarnings("ignore", message="Timestamp.utcnow is deprecated")
# What a regular user of Binance USD-M pays.
MAKER_FEE, TAKER_FEE = "0.0002", "0.0005"
console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)


def fill_catalog(
    archive: Path, symbol: str, database: Path, folder: Path, every: str, around: float
) -> tuple[ParquetDataCatalog, str]:
    """Ingest archive files, ask a server on them for levels, and write those and market data to a catalogue."""
    with Database(database) as db:
        report = ingest(db, [archive])
    if rejected := report.of(Status.REJECTED):
        console.print(f"[yellow]{len(rejected)} files were rejected; liqserver ingest tells why[/yellow]")
    catalog = ParquetDataCatalog(str(folder.absolute()))
    folder.mkdir(parents=True)
    with EmbeddedServer(database) as server, liqclient.Client(server.target, timeout=120) as client:
        [known] = [of for of in client.symbols() if of.symbol == symbol]
        files = market_files(archive, symbol)
        # Klines if there are any, the shortest; trades otherwise.
        candles = [of for of in files if of.kind == "klines"]
        chosen = [of for of in candles if of.interval == candles[0].interval] if candles else files
        instrument = perpetual(
            symbol,
            known.venue,
            tick_size=known.tick_size,
            step_size=step_size_of(chosen),
            maker_fee=MAKER_FEE,
            taker_fee=TAKER_FEE,
            # A fifth of notional must be there as margin; nothing is liquidated here.
            margin_init="0.2",
            margin_maint="0.1",
        )
        catalog.write_data([instrument])
        for data in read_market(chosen, instrument):
            if isinstance(data[0], Bar | TradeTick):
                write_data(catalog, data)
        query = LevelsQuery(instrument_id=str(instrument.id), every=every, price_range=around)
        written = export_levels(catalog, client, query)
        answer = client.levels(symbol)
    console.print(f"{written:,} levels, every {every}, of {answer.provenance.model}")
    for notice in answer.provenance.notices:
        console.print(f"[yellow]{notice}[/yellow]")
    return catalog, str(instrument.id)


def backtest(catalog: ParquetDataCatalog, instrument: CryptoPerpetual, *, with_levels: bool) -> Result:
    """Run the strategy once on a catalogue."""
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True)))
    quote = instrument.quote_currency
    engine.add_venue(
        venue=instrument.id.venue,
        oms_type=OmsType.HEDGING,
        account_type=AccountType.MARGIN,
        starting_balances=[Money(100_000, quote)],
        base_currency=quote,
    )
    engine.add_instrument(instrument)
    bars = catalog.bars()
    levels = catalog.query(LiquidationLevels)
    if bars:
        bar_type = bars[0].bar_type
        engine.add_data(bars)
    else:
        bar_type = BarType.from_str(f"{instrument.id}-1-MINUTE-LAST-INTERNAL")
        engine.add_data(catalog.trade_ticks())
    if with_levels and levels:
        engine.add_data(levels, client_id=ClientId(CLIENT_ID))
    day = 86_400 // bar_type.spec.timedelta.seconds
    config = SweepFadeConfig(
        instrument_id=instrument.id,
        bar_type=bar_type,
        with_levels=with_levels,
        lookback=day,
        most_bars=day // 2,
    )
    engine.add_strategy(SweepFade(config))
    engine.run()
    result = Result.of("with levels" if with_levels else "without levels", engine)
    engine.dispose()
    return result


def price_path(catalog: ParquetDataCatalog) -> list[tuple[int, float]]:
    """Return the price over time, of bars or of the last trade of each minute."""
    bars = catalog.bars()
    if bars:
        return [(bar.ts_init, float(bar.close)) for bar in bars]
    last = {tick.ts_init // 60_000_000_000: (tick.ts_init, float(tick.price)) for tick in catalog.trade_ticks()}
    return list(last.values())


def main() -> None:
    """Run the demonstration."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of archive files; a market is simulated if not given")
    parser.add_argument("--symbol", default="BTCUSDT", help="symbol of the files (default: %(default)s)")
    parser.add_argument("--days", type=int, default=10, help="days to simulate (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the simulation (default: %(default)s)")
    parser.add_argument("--every", default="1h", help="length of time between levels (default: %(default)s)")
    parser.add_argument(
        "--range", type=float, default=0.05, help="of levels, as a fraction of price (default: %(default)s)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("build/nt-demo"), help="folder, made anew (default: %(default)s)"
    )
    given = parser.parse_args()
    if given.data is not None and not given.data.is_dir():
        parser.error(f"--data must be a folder, was {given.data}")
    began = time.perf_counter()
    if given.out.exists():
        shutil.rmtree(given.out)
    given.out.mkdir(parents=True)
    archive: Path | None = given.data
    if archive is None:
        console.print(f"[bold cyan]a simulated market of {given.days} days[/bold cyan]")
        archive = given.out / "market"
        write_archive(SimulationConfig(symbol=given.symbol, days=given.days, seed=given.seed), archive)
    console.print(f"[bold cyan]{archive} into a catalogue[/bold cyan]")
    catalog, instrument_id = fill_catalog(
        archive, given.symbol, given.out / "market.duckdb", given.out / "catalog", given.every, given.range
    )
    [instrument] = catalog.instruments(instrument_ids=[instrument_id])
    console.print("[bold cyan]two backtests, without a server[/bold cyan]")
    results = [backtest(catalog, instrument, with_levels=of) for of in (True, False)]
    table = Table("", *(of.name for of in results), title=f"fade sweeps of {instrument_id}, quote units")
    figures = [of.figures() for of in results]
    for name in figures[0]:
        table.add_row(name, *(of[name] for of in figures))
    console.print(table)
    console.print(f"[bold]{STATEMENT}[/bold]")
    (given.out / "report.json").write_text(json.dumps([asdict(of) for of in results], indent=1) + "\n")
    levels = [of.data for of in catalog.query(LiquidationLevels)]
    path = price_path(catalog)
    about = f"{instrument_id}, {len(levels):,} levels every {given.every}; fees {MAKER_FEE} maker, {TAKER_FEE} taker."
    sheet = given.out / "tearsheet.html"
    sheet.write_text(page("Fade after a sweep: a backtest with levels and without", about, results, path, levels))
    console.print(f"{sheet} ({time.perf_counter() - began:.0f} s in all)")


if __name__ == "__main__":
    main()
