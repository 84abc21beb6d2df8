"""Into a catalogue: from Python and from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from nautilus_trader.model.data import Bar, FundingRateUpdate, MarkPriceUpdate, TradeTick
from nautilus_trader.model.instruments import CryptoPerpetual
from nautilus_trader.persistence.catalog import ParquetDataCatalog
from typer.testing import CliRunner, Result

import liqclient
from liqclient.nt import (
    CatalogConflictError,
    LevelsQuery,
    LiquidationLevels,
    _catalog,
    export_levels,
    replay_levels,
    write_data,
)
from liqserver.cli import nt

HOUR = 3_600_000_000_000


def run(*arguments: object, code: int = 0) -> Result:
    done = CliRunner().invoke(nt.app, ["export", *map(str, arguments)])
    assert done.exit_code == code, done.output
    return done


def test_files_of_an_export_together_hold_what_a_replay_gives(
    client: liqclient.Client, query: LevelsQuery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_catalog, "_FILE_ROWS", 20)
    catalog = ParquetDataCatalog(str(tmp_path))
    seen: list[int] = []
    assert export_levels(catalog, client, query, on_levels=lambda of: seen.append(of.ts_init)) == 48
    assert len(list(tmp_path.rglob("*.parquet"))) == 3
    read = [of.data for of in catalog.query(LiquidationLevels)]
    assert read == list(replay_levels(client, query))
    assert seen == [of.ts_init for of in read]


def test_export_of_no_moment_writes_nothing(client: liqclient.Client, query: LevelsQuery, tmp_path: Path) -> None:
    start = next(replay_levels(client, query)).ts_init + 1
    assert export_levels(ParquetDataCatalog(str(tmp_path)), client, query, start=start, end=start + 1) == 0
    assert list(tmp_path.rglob("*.parquet")) == []


def test_export_goes_on_where_another_ended_and_refuses_to_overlap_it(
    client: liqclient.Client, query: LevelsQuery, tmp_path: Path
) -> None:
    catalog = ParquetDataCatalog(str(tmp_path))
    moments = [of.ts_init for of in replay_levels(client, query)]
    export_levels(catalog, client, query, end=moments[9])
    with pytest.raises(CatalogConflictError, match=f"which overlaps {moments[9]} to {moments[-1]}"):
        export_levels(catalog, client, query, start=moments[9])
    # Nautilus itself passes over a file of the same bounds in silence.
    with pytest.raises(CatalogConflictError, match=r"LiquidationLevels of BTCUSDT-PERP\.BINANCE"):
        export_levels(catalog, client, query, end=moments[9])
    export_levels(catalog, client, query, start=moments[9] + 1)
    assert [of.ts_init for of in catalog.query(LiquidationLevels)] == moments


def test_market_data_are_not_written_twice(catalog: ParquetDataCatalog, bars: list[Bar]) -> None:
    with pytest.raises(CatalogConflictError, match=r"the catalogue has Bar of BTCUSDT-PERP\.BINANCE-1-MINUTE-LAST"):
        write_data(catalog, bars[:5])


def test_command_writes_instrument_levels_and_market_data(
    market_server: str, market_archive: Path, client: liqclient.Client, tmp_path: Path
) -> None:
    done = run(
        *("BTCUSDT", "--catalog", tmp_path / "new" / "catalog", "--archive", market_archive, "--target", market_server),
        *("--every", "2h", "--bin-size", "500", "--unit", "qty", "--range", "0.1,0.05", "--taker-fee", "0.0004"),
    )
    assert "24 LiquidationLevels, as of 2025-09-01 02:00Z to 2025-09-03 00:00Z, every 2 h" in done.output
    assert "model position_book" in done.output
    catalog = ParquetDataCatalog(str(tmp_path / "new" / "catalog"))
    [instrument] = catalog.instruments()
    assert isinstance(instrument, CryptoPerpetual)
    assert (str(instrument.price_increment), str(instrument.size_increment)) == ("0.1", "0.001")
    assert (str(instrument.maker_fee), str(instrument.taker_fee)) == ("0.0002", "0.0004")
    levels = [of.data for of in catalog.query(LiquidationLevels)]
    assert {(of.bin_size, of.unit) for of in levels} == {(500.0, "qty")}
    answer = client.levels("BTCUSDT", as_of=levels[-1].ts_event, bin_size=500, unit="qty", price_range=(0.1, 0.05))
    assert levels[-1].prices.tolist() == answer.price.tolist()
    assert levels[-1].long.tolist() == answer.long.tolist()
    assert len(catalog.bars()) == 2 * 1440
    assert len(catalog.query(MarkPriceUpdate)) == 2 * 1440
    assert len(catalog.query(FundingRateUpdate)) == 6
    trades = catalog.query(TradeTick)
    [coverage] = client.coverage("BTCUSDT")
    assert len(trades) == next(of.rows for of in coverage.kinds if of.kind == "trades")


def test_command_leaves_an_instrument_that_is_there(
    market_server: str, instrument: CryptoPerpetual, tmp_path: Path
) -> None:
    ParquetDataCatalog(str(tmp_path)).write_data([instrument])
    run("BTCUSDT", "--catalog", tmp_path, "--target", market_server, "--every", "1d")
    assert ParquetDataCatalog(str(tmp_path)).instruments() == [instrument]


def test_command_bounds_levels_and_market_data(market_server: str, market_archive: Path, tmp_path: Path) -> None:
    bounds = ("--start", "2025-09-02T00:00Z", "--end", "2025-09-02T02:00Z")
    where = ("--catalog", tmp_path, "--archive", market_archive, "--target", market_server)
    done = run("BTCUSDT", *where, *bounds)
    # Levels as of 02:00 are available a nanosecond too late.
    assert "2 LiquidationLevels, as of 2025-09-02 00:00Z to 2025-09-02 01:00Z" in done.output
    bars = ParquetDataCatalog(str(tmp_path)).bars()
    assert [bars[0].ts_init, bars[-1].ts_init] == [1_756_771_200_000_000_000, 1_756_778_400_000_000_000]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("BTCUSDT",), 2, "nothing tells the step of its quantity"),
        (("NOSUCH", "--step-size", "1"), 2, "the server has no NOSUCH"),
        (("BTCUSDT", "--step-size", "x"), 2, "must be a decimal number"),
        (("BTCUSDT", "--step-size", "1", "--every", "10s"), 2, "every must be at least 60 s, was 10 s"),
        (("BTCUSDT", "--step-size", "1", "--instrument-id", "BTC"), 2, "a symbol, a dot and a venue"),
        (("BTCUSDT", "--step-size", "0"), 1, "step_size must be above 0, was 0"),
    ],
)
def test_command_says_what_is_wrong(
    arguments: tuple[str, ...], code: int, message: str, market_server: str, tmp_path: Path
) -> None:
    done = run(*arguments, "--catalog", tmp_path / "c", "--target", market_server, code=code)
    assert message in " ".join(done.output.replace("│", " ").split())


def test_command_refuses_to_write_the_same_again(market_server: str, tmp_path: Path) -> None:
    arguments = ("BTCUSDT", "--catalog", tmp_path, "--target", market_server, "--every", "1d", "--step-size", "0.001")
    run(*arguments)
    done = run(*arguments, code=1)
    assert "the catalogue has LiquidationLevels of BTCUSDT-PERP.BINANCE from" in done.output
