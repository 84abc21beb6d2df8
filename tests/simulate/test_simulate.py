"""The simulated market: its books add up, its files are those of the archive, its seed decides all."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from liqserver.cli.simulate import simulate
from liqserver.simulate import archive
from liqserver.simulate.config import BTCUSDT_BRACKETS, SimulationConfig, day_ms
from liqserver.simulate.market import (
    CROSS,
    ISOLATED,
    MAKER,
    METRICS_COLUMNS,
    SimulatedDay,
    SimulatedMarket,
    liquidation_price,
    maintenance_amounts,
    max_notional,
)

SMALL = SimulationConfig(days=2, warmup_days=1, open_interest=400.0, trades_per_day=5_000, seed=11)


@pytest.fixture(scope="module")
def market() -> list[SimulatedDay]:
    return list(SimulatedMarket(SMALL).days())


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("simulated") / "out"
    archive.write_archive(SMALL, out)
    return out


def read_rows(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as packed:
        (name,) = packed.namelist()
        assert name == path.with_suffix(".csv").name
        return packed.read(name).decode().splitlines()


def contents(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def scaled(text: str, decimals: int) -> int:
    whole, _, fraction = text.partition(".")
    assert len(fraction) == decimals
    return int(whole + fraction)


# --- the market


def test_longs_equal_shorts_equal_open_interest(market: list[SimulatedDay]) -> None:
    seen = 0
    for day in market:
        open_interest = dict(zip(day.metrics_ms.tolist(), day.metrics[:, 0].tolist(), strict=True))
        np.testing.assert_array_equal(day.metrics[:, 0], day.metrics[:, 1])
        for snapshot in day.snapshots:
            longs = int(snapshot.qty_lots[snapshot.side > 0].sum())
            shorts = int(snapshot.qty_lots[snapshot.side < 0].sum())
            assert longs == shorts > 0
            assert snapshot.qty_lots.min() > 0
            if snapshot.ts_ms in open_interest:
                assert longs == open_interest[snapshot.ts_ms]
                seen += 1
    assert seen == 24 * len(market)


def test_volume_and_open_interest_obey_the_accounting_identity(market: list[SimulatedDay]) -> None:
    previous = int(market[0].snapshots[0].qty_lots[market[0].snapshots[0].side > 0].sum())
    for day in market:
        column = {name: day.metrics[:, n] for n, name in enumerate(METRICS_COLUMNS)}
        change = np.diff(np.concatenate(([previous], column["long_lots"])))
        np.testing.assert_array_equal(column["open_long"] + column["close_short"], column["volume"])
        np.testing.assert_array_equal(column["open_short"] + column["close_long"], column["volume"])
        np.testing.assert_array_equal(column["open_long"] - column["close_long"], change)
        np.testing.assert_array_equal(column["open_short"] - column["close_short"], change)
        assert np.all(column["directional_open_long"] <= column["open_long"])
        assert np.all(column["liquidated_long"] <= column["directional_close_long"])
        assert column["volume"].sum() == day.trades.qty_lots.sum() == day.klines.volume_lots.sum()
        previous = int(column["long_lots"][-1])


def test_no_open_position_was_swept_by_the_mark(market: list[SimulatedDay]) -> None:
    opens = np.concatenate([day.mark_open_ms for day in market])
    mark = np.concatenate([day.mark for day in market])
    checked = 0
    for day in market:
        for snapshot in day.snapshots:
            # Whole minutes after the last change and before the snapshot, from the back: running extremes.
            done = int(np.searchsorted(opens, snapshot.ts_ms))
            low = np.concatenate((np.minimum.accumulate(mark[:done, 2][::-1])[::-1], [np.inf]))
            high = np.concatenate((np.maximum.accumulate(mark[:done, 1][::-1])[::-1], [-np.inf]))
            first = np.minimum(np.searchsorted(opens, snapshot.changed_ms, side="right"), done)
            level = snapshot.liquidation_price
            has = np.isfinite(level)
            longs, shorts = has & (snapshot.side > 0), has & (snapshot.side < 0)
            assert np.all(level[longs] < low[first[longs]])
            assert np.all(level[shorts] > high[first[shorts]])
            assert np.all(snapshot.opened_ms <= snapshot.changed_ms)
            assert np.all(snapshot.changed_ms <= snapshot.ts_ms)
            checked += int((has & (first < done)).sum())
    assert checked > 1000


def test_levels_exist_only_where_there_is_leverage(market: list[SimulatedDay]) -> None:
    snapshot = market[-1].snapshots[-1]
    directional = (snapshot.kind == ISOLATED) | (snapshot.kind == CROSS)
    assert np.all(np.isnan(snapshot.liquidation_price[~directional]))
    geared = directional & (snapshot.kind == ISOLATED) & (snapshot.leverage > 1)
    assert np.all(np.isfinite(snapshot.liquidation_price[geared]))
    assert np.all(np.isnan(snapshot.entry_price[snapshot.kind == MAKER]))
    for leverage in np.unique(snapshot.leverage[directional]):
        held = snapshot.qty_lots[directional & (snapshot.leverage == leverage)] * SMALL.lot_size
        assert held.max() * 60_000 <= max_notional(BTCUSDT_BRACKETS, int(leverage))


def test_ids_are_contiguous_and_times_ordered(market: list[SimulatedDay]) -> None:
    ids = np.concatenate([day.trades.agg_trade_id for day in market])
    first = np.concatenate([day.trades.first_trade_id for day in market])
    last = np.concatenate([day.trades.last_trade_id for day in market])
    assert np.all(np.diff(ids) == 1)
    np.testing.assert_array_equal(first[1:], last[:-1] + 1)
    assert np.all(last >= first)
    for day in market:
        assert np.all(np.diff(day.trades.ts_ms) >= 0)
        assert day.trades.ts_ms[0] >= day_ms(day.day)
        assert day.trades.ts_ms[-1] < day_ms(day.day) + 86_400_000
        assert day.mark.shape == (1440, 4)


def test_liquidations_happen_at_the_mark_and_print_as_trades(market: list[SimulatedDay]) -> None:
    for day in market:
        liq = day.liquidations
        side = liq.position_side.astype(np.int64)
        assert np.all((liq.mark_price - liq.liquidation_price) * side <= 0)
        assert np.all(np.isin(liq.ts_ms, day.trades.ts_ms))
        # A sell order is limited from below, a buy order from above.
        assert np.all((liq.average_price - liq.limit_ticks * SMALL.tick_size) * side >= -1e-6)
        seconds = liq.ts_ms[liq.in_feed] // 1000
        assert np.unique(seconds).shape == seconds.shape


def test_both_sides_are_liquidated_and_the_market_keeps_its_size() -> None:
    config = replace(SMALL, days=12, open_interest=500.0, seed=5)
    days = list(SimulatedMarket(config).days())
    side = np.concatenate([day.liquidations.position_side for day in days])
    assert (side > 0).sum() >= 10
    assert (side < 0).sum() >= 10
    open_interest = np.concatenate([day.metrics[:, 0] for day in days]) * config.lot_size
    assert 0.5 * 500 < open_interest.min() <= open_interest.max() < 2 * 500
    volume = np.mean([day.trades.qty_lots.sum() for day in days]) * config.lot_size
    assert 1 < volume / open_interest.mean() < 6
    returns = np.diff(np.log(np.concatenate([day.mark[:, 3] for day in days])))
    assert 0.01 < np.sqrt((returns**2).sum() / len(days)) < 0.06


def test_a_market_runs_once() -> None:
    market = SimulatedMarket(replace(SMALL, days=1, warmup_days=0))
    next(market.days())
    with pytest.raises(RuntimeError, match="runs once"):
        next(market.days())


# --- margin


@pytest.mark.parametrize(
    ("leverage", "percent"), [(5, -19.679), (10, -9.639), (25, -3.614), (50, -1.606), (100, -0.602)]
)
def test_isolated_level_of_a_small_long(leverage: int, percent: float) -> None:
    rates = np.array([rate for _, rate, _ in BTCUSDT_BRACKETS])
    amounts = maintenance_amounts(BTCUSDT_BRACKETS)
    price = liquidation_price(1, 0.1, 100_000.0, 10_000.0 / leverage, rates, amounts)
    assert (price / 100_000 - 1) * 100 == pytest.approx(percent, abs=1e-3)


def test_maintenance_amounts_are_the_published_ones() -> None:
    published = [0, 300, 1_500, 12_000, 132_000, 482_000, 2_982_000, 14_482_000, 26_482_000, 41_482_000]
    published += [121_482_000, 421_482_000]
    assert maintenance_amounts(BTCUSDT_BRACKETS).tolist() == published


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize("qty", [0.01, 3.0, 7.9, 8.1, 29.9, 120.0, 700.0, 5_000.0])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.5])
def test_equity_meets_maintenance_margin_at_the_level(side: int, qty: float, share: float) -> None:
    entry = 100_000.0
    rates = np.array([rate for _, rate, _ in BTCUSDT_BRACKETS])
    amounts = maintenance_amounts(BTCUSDT_BRACKETS)
    wallet = share * qty * entry
    price = liquidation_price(side, qty, entry, wallet, rates, amounts)
    equity = wallet + side * qty * (price - entry)
    bracket = int(np.searchsorted([cap for cap, _, _ in BTCUSDT_BRACKETS], qty * price))
    assert equity == pytest.approx(qty * price * rates[bracket] - amounts[bracket], rel=1e-9, abs=1e-6)


def test_a_fully_paid_long_has_no_level() -> None:
    rates = np.array([rate for _, rate, _ in BTCUSDT_BRACKETS])
    assert liquidation_price(1, 0.1, 100_000.0, 10_000.0, rates, maintenance_amounts(BTCUSDT_BRACKETS)) == 0


# --- the files


def test_same_seed_same_bytes_other_seed_other_bytes(written: Path, tmp_path: Path) -> None:
    archive.write_archive(SMALL, tmp_path / "again")
    assert contents(tmp_path / "again") == contents(written)
    other = replace(SMALL, days=1, seed=12)
    archive.write_archive(other, tmp_path / "other")
    differing = contents(tmp_path / "other")
    same = contents(written)
    assert all(differing[name] != same[name] for name in differing if "aggTrades" in name or "book" in name)


def test_layout_headers_and_checksums(written: Path) -> None:
    daily = written / "data/futures/um/daily"
    for folder, kind, header, rows in (
        ("aggTrades/BTCUSDT", "aggTrades", archive.AGG_TRADES_HEADER, None),
        ("klines/BTCUSDT/1m", "1m", archive.KLINES_HEADER, 1440),
        ("markPriceKlines/BTCUSDT/1m", "1m", archive.KLINES_HEADER, 1440),
        ("metrics/BTCUSDT", "metrics", archive.METRICS_HEADER, 288),
        ("liquidationSnapshot/BTCUSDT", "liquidationSnapshot", archive.LIQUIDATIONS_HEADER, None),
    ):
        for day in ("2025-09-01", "2025-09-02"):
            path = daily / folder / f"BTCUSDT-{kind}-{day}.zip"
            lines = read_rows(path)
            assert lines[0] == header
            assert all(line.count(",") == header.count(",") for line in lines)
            assert rows is None or len(lines) == rows + 1
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            assert path.with_name(path.name + ".CHECKSUM").read_text() == f"{digest}  {path.name}\n"
    funding = read_rows(written / "data/futures/um/monthly/fundingRate/BTCUSDT/BTCUSDT-fundingRate-2025-09.zip")
    assert funding[0] == archive.FUNDING_HEADER
    assert len(funding) == 1 + 3 * SMALL.days
    start = day_ms(SMALL.start)
    for n, line in enumerate(funding[1:]):
        when, hours, rate = line.split(",")
        assert 0 <= int(when) - start - n * 8 * 3_600_000 < 1000
        assert hours == "8"
        assert abs(float(rate)) <= 0.003
    assert "simulated" in (written / "README.md").read_text()


def test_headers_are_those_of_the_exchange() -> None:
    assert archive.AGG_TRADES_HEADER.split(",") == [
        "agg_trade_id",
        "price",
        "quantity",
        "first_trade_id",
        "last_trade_id",
        "transact_time",
        "is_buyer_maker",
    ]
    assert archive.KLINES_HEADER == (
        "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
    )


def test_trade_files_hold_the_trades(written: Path, market: list[SimulatedDay]) -> None:
    folder = written / "data/futures/um/daily/aggTrades/BTCUSDT"
    for day in market:
        rows = [line.split(",") for line in read_rows(folder / f"BTCUSDT-aggTrades-{day.day}.zip")[1:]]
        assert [scaled(row[1], 1) for row in rows] == day.trades.price_ticks.tolist()
        assert [scaled(row[2], 3) for row in rows] == day.trades.qty_lots.tolist()
        assert [int(row[5]) for row in rows] == day.trades.ts_ms.tolist()
        assert [row[6] for row in rows] == [str(flag).lower() for flag in day.trades.is_buyer_maker.tolist()]


def test_liquidation_side_is_that_of_the_order(written: Path, market: list[SimulatedDay]) -> None:
    folder = written / "data/futures/um/daily/liquidationSnapshot/BTCUSDT"
    for day in market:
        rows = [line.split(",") for line in read_rows(folder / f"BTCUSDT-liquidationSnapshot-{day.day}.zip")[1:]]
        liq = day.liquidations
        shown = liq.position_side[liq.in_feed].tolist()
        assert [row[2] for row in rows] == ["SELL" if side > 0 else "BUY" for side in shown]
        assert all(row[3:5] == ["LIMIT", "IOC"] and row[8] == "FILLED" and row[5] == row[10] for row in rows)


def truth(written: Path, kind: str) -> list[tuple[Any, ...]]:
    folder = written / "truth"
    with duckdb.connect() as connection:
        return connection.execute(
            "SELECT ts, side, kind, sum(qty), count(liquidation_price) FROM read_parquet(?) GROUP BY ALL",
            [str(folder / f"BTCUSDT-{kind}-*.parquet")],
        ).fetchall()


def test_true_book_on_disk_agrees_with_the_metrics_rows(written: Path) -> None:
    open_interest = {}
    for path in sorted((written / "data/futures/um/daily/metrics/BTCUSDT").glob("*.zip")):
        for line in read_rows(path)[1:]:
            stamp, symbol, contracts, value, *ratios = line.split(",")
            assert (symbol, ratios) == ("BTCUSDT", ["", "", "", ""])
            assert 20_000 < float(value) / float(contracts) < 500_000
            when = datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
            open_interest[int(when.timestamp()) * 10**9] = float(contracts)
    held: dict[tuple[int, str], float] = {}
    kinds = set()
    for ts, side, kind, qty, levels in truth(written, "book"):
        held[ts, side] = held.get((ts, side), 0.0) + qty
        kinds.add(kind)
        assert levels == 0 or kind in {"isolated", "cross"}
    assert kinds == {"isolated", "cross", "hedger", "maker"}
    stamps = {ts for ts, _ in held}
    assert len(stamps) == 24 * SMALL.days + 1
    for ts in stamps & open_interest.keys():
        assert held[ts, "LONG"] == pytest.approx(open_interest[ts], abs=1e-6)
        assert held[ts, "SHORT"] == pytest.approx(open_interest[ts], abs=1e-6)
    assert len(stamps & open_interest.keys()) == 24 * SMALL.days


@pytest.mark.parametrize(
    ("day", "first", "last"),
    [
        (date(2026, 6, 24), "2026-06-24 00:05:00", "2026-06-25 00:00:00"),
        (date(2026, 6, 25), "2026-06-25 00:00:00", "2026-06-25 23:55:00"),
    ],
)
def test_metrics_stamps_moved_in_2026(tmp_path: Path, day: date, first: str, last: str) -> None:
    archive.write_archive(replace(SMALL, start=day, days=1, warmup_days=0), tmp_path)
    rows = read_rows(tmp_path / f"data/futures/um/daily/metrics/BTCUSDT/BTCUSDT-metrics-{day}.zip")
    assert rows[1].startswith(first)
    assert rows[-1].startswith(last)


def test_funding_is_a_file_a_month(tmp_path: Path) -> None:
    archive.write_archive(replace(SMALL, start=date(2025, 9, 30), warmup_days=0, open_interest=50.0), tmp_path)
    folder = tmp_path / "data/futures/um/monthly/fundingRate/BTCUSDT"
    for month, day in (("2025-09", date(2025, 9, 30)), ("2025-10", date(2025, 10, 1))):
        rows = read_rows(folder / f"BTCUSDT-fundingRate-{month}.zip")
        assert len(rows) == 4
        assert all(0 <= int(row.split(",")[0]) - day_ms(day) < 86_400_000 for row in rows[1:])


def test_csv_numbers_have_fixed_decimals() -> None:
    values = np.array([0, 1, -1, 1_005, 123_456_789_012])
    flags = np.array([True, False, True, False, True])
    text = archive.format_csv("a,b,c", [(values, 3), (values, 0), (flags, -1)]).decode()
    assert text.splitlines() == [
        "a,b,c",
        "0.000,0,true",
        "0.001,1,false",
        "-0.001,-1,true",
        "1.005,1005,false",
        "123456789.012,123456789012,true",
    ]
    with pytest.raises(ValueError, match=r"decimals was 19; allowed: -1 to 18"):
        archive.format_csv("a", [(values, 19)])


# --- the configuration


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("days", 0, ValueError),
        ("days", 1.5, TypeError),
        ("days", True, TypeError),
        ("seed", -1, ValueError),
        ("start", date(2024, 12, 31), ValueError),
        ("start", "2025-09-01", TypeError),
        ("symbol", "btcusdt", ValueError),
        ("symbol", "../BTC", ValueError),
        ("start_price", float("nan"), ValueError),
        ("start_price", "1", TypeError),
        ("tick_size", 0.25, ValueError),
        ("trades_per_day", 10, ValueError),
        ("open_interest", 0.0, ValueError),
        ("cross_share", 1.1, ValueError),
        ("trader_share", 0.9, ValueError),
        ("trend_share", 0.8, ValueError),
        ("brackets", (), ValueError),
        ("brackets", ((1e6, 0.01, 50), (1e5, 0.02, 25)), ValueError),
        ("leverage_mix", ((500, 1.0),), ValueError),
        ("leverage_mix", ((10, 0.0),), ValueError),
    ],
)
def test_bad_configuration_names_the_field(field: str, value: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=rf"{field} was .*allowed"):
        replace(SMALL, **{field: value})  # type: ignore[arg-type]


def test_too_little_volume_for_the_holding_times_is_refused() -> None:
    with pytest.raises(ValueError, match=r"turnover was 0\.2; allowed: at least"):
        SimulatedMarket(replace(SMALL, turnover=0.2))


# --- the command


def words(output: str) -> str:
    # Typer wraps its errors in a box of the terminal's width.
    return " ".join(output.replace("│", " ").split())


def test_command_writes_and_refuses_to_mix(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(simulate)
    runner = CliRunner()
    out = tmp_path / "market"
    arguments = [str(out), "--days", "1", "--seed", "3", "--open-interest", "100", "--trades-per-day", "1000"]
    done = runner.invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "liquidated longs" in done.output
    assert (out / "README.md").is_file()
    before = contents(out)
    refused = runner.invoke(app, arguments)
    assert refused.exit_code == 2
    assert "not empty" in words(refused.output)
    assert contents(out) == before
    assert runner.invoke(app, [*arguments, "--force"]).exit_code == 0
    assert contents(out) == before


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--days", "0"], "--days"),
        (["--symbol", "btc"], "symbol was"),
        (["--start", "2020-01-01"], "start was"),
        (["--trades-per-day", "1"], "trades_per_day was"),
    ],
)
def test_command_names_what_is_wrong(tmp_path: Path, extra: list[str], message: str) -> None:
    app = typer.Typer()
    app.command()(simulate)
    done = CliRunner().invoke(app, [str(tmp_path / "market"), *extra])
    assert done.exit_code == 2
    assert message in words(done.output)
    assert not (tmp_path / "market").exists()


def test_command_wants_a_folder(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(simulate)
    (tmp_path / "file").write_text("x")
    done = CliRunner().invoke(app, [str(tmp_path / "file")])
    assert done.exit_code == 2
    assert "is a file" in words(done.output)
