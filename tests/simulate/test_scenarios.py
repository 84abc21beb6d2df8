"""What a market goes through, and its assumptions broken: each as it is named, the books in order in all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import typer
from numpy.typing import NDArray
from typer.testing import CliRunner

from liqserver.cli.simulate import simulate
from liqserver.simulate.archive import write_archive
from liqserver.simulate.config import SimulationConfig, day_ms
from liqserver.simulate.market import CROSS, ISOLATED, METRICS_COLUMNS, SimulatedDay, SimulatedMarket
from liqserver.simulate.scenarios import SCENARIOS, Phase, phase_at
from liqserver.store.database import Database
from liqserver.store.ingest import Status, ingest

SMALL = SimulationConfig(days=9, warmup_days=2, open_interest=600.0, trades_per_day=5_000, seed=21, book_minutes=240)
BEGINS = 6 * 24
"""Hour at which two thirds of the days are over."""


@cache
def run(config: SimulationConfig) -> list[SimulatedDay]:
    return list(SimulatedMarket(config).days())


def scenario(name: str) -> list[SimulatedDay]:
    return run(replace(SMALL, scenario=name))


def marks(days: list[SimulatedDay]) -> NDArray[np.float64]:
    """Mark price at the end of each minute."""
    return np.concatenate([day.mark[:, 3] for day in days])


def volatility(days: list[SimulatedDay], first: int = 0, last: int | None = None) -> float:
    """Of the log mark price per day, between two hours."""
    part = np.diff(np.log(marks(days)))[60 * first : None if last is None else 60 * last]
    return float(np.sqrt(np.square(part).mean() * 1440))


def liquidated(days: list[SimulatedDay], first: int, last: int) -> tuple[int, int]:
    """Lots of longs and shorts liquidated between two hours."""
    start = day_ms(SMALL.start)
    totals = [0, 0]
    for day in days:
        hour = (day.liquidations.ts_ms - start) // 3_600_000
        inside = (hour >= first) & (hour < last)
        for n, side in enumerate((1, -1)):
            totals[n] += int(day.liquidations.qty_lots[inside & (day.liquidations.position_side == side)].sum())
    return totals[0], totals[1]


def traders(days: list[SimulatedDay], of: Callable[[NDArray[np.int64]], float], first: int, last: int) -> float:
    """Mean over snapshots between two hours of a figure of the leverages that traders hold."""
    start = day_ms(SMALL.start)
    shown = [snapshot for day in days for snapshot in day.snapshots]
    found = [
        of(snapshot.leverage[(snapshot.kind == ISOLATED) | (snapshot.kind == CROSS)])
        for snapshot in shown
        if first <= (snapshot.ts_ms - start) / 3_600_000 < last
    ]
    return float(np.mean(found))


# --- scenarios


def test_phases_begin_where_they_say() -> None:
    crash = SCENARIOS["crash"]
    assert phase_at("crash", 9, -1) is crash[0]
    assert phase_at("crash", 9, 143) is crash[0]
    assert phase_at("crash", 9, 144) is crash[1]
    assert phase_at("crash", 9, 153) is crash[1]
    assert phase_at("crash", 9, 154) is crash[2]
    assert phase_at("crash", 9, 215) is crash[2]
    assert phase_at("crash", 30, 20 * 24 + 82) is crash[3]
    assert phase_at("plain", 9, 100) == Phase()


@pytest.mark.parametrize("name", SCENARIOS)
def test_books_stay_in_order_whatever_happens(name: str) -> None:
    days = scenario(name)
    for day in days:
        column = {title: day.metrics[:, n] for n, title in enumerate(METRICS_COLUMNS)}
        np.testing.assert_array_equal(column["long_lots"], column["short_lots"])
        np.testing.assert_array_equal(column["open_long"] + column["close_short"], column["volume"])
        np.testing.assert_array_equal(column["open_short"] + column["close_long"], column["volume"])
        for snapshot in day.snapshots:
            row = int(np.searchsorted(day.metrics_ms, snapshot.ts_ms))
            if snapshot.ts_ms == day.metrics_ms[row]:
                for side in (1, -1):
                    assert snapshot.qty_lots[snapshot.side == side].sum() == column["long_lots"][row]


def test_calm_is_calm() -> None:
    assert volatility(scenario("calm")) < 0.75 * volatility(scenario("plain"))
    assert sum(liquidated(scenario("calm"), 0, 216)) < 0.7 * sum(liquidated(scenario("plain"), 0, 216))


def test_trend_goes_up() -> None:
    """Next to no news but nine days of one percent."""
    quiet = replace(SMALL, daily_volatility=0.002, jumps_per_day=0.0)
    ends = {}
    for name in ("plain", "trend"):
        mark = marks(run(replace(quiet, scenario=name)))
        ends[name] = float(np.log(mark[-1] / mark[0]))
    assert abs(ends["plain"]) < 0.04
    assert 0.06 < ends["trend"] < 0.14


def test_crash_takes_the_longs() -> None:
    days = scenario("crash")
    mark = marks(days)
    assert mark[60 * (BEGINS + 10)] < 0.86 * mark[60 * BEGINS]
    longs, shorts = liquidated(days, BEGINS, BEGINS + 10)
    assert longs > 5 * shorts
    assert longs / 10 > 5 * liquidated(days, 0, BEGINS)[0] / BEGINS
    assert volatility(days, BEGINS + 10, BEGINS + 72) > 1.2 * volatility(scenario("plain"), BEGINS + 10, BEGINS + 72)


def test_squeeze_takes_a_crowd_of_shorts() -> None:
    days = scenario("squeeze")
    snapshot = days[5].snapshots[-1]
    directional = (snapshot.kind == ISOLATED) | (snapshot.kind == CROSS)
    held = {side: int(snapshot.qty_lots[directional & (snapshot.side == side)].sum()) for side in (1, -1)}
    assert held[-1] > 1.2 * held[1]
    mark = marks(days)
    assert mark[60 * (BEGINS + 6)] > 1.08 * mark[60 * BEGINS]
    longs, shorts = liquidated(days, BEGINS, BEGINS + 6)
    assert shorts > 5 * longs


def test_regime_changes_who_trades() -> None:
    days = scenario("regime")
    assert volatility(days, BEGINS) > 1.2 * volatility(days, 0, BEGINS)
    before = traders(days, lambda leverage: float(np.mean(leverage > 15)), 0, BEGINS)
    after = traders(days, lambda leverage: float(np.mean(leverage > 15)), BEGINS + 24, 9 * 24)
    assert after < 0.8 * before
    turnover = [day.metrics[:, METRICS_COLUMNS.index("directional_open_long")].sum() for day in days]
    assert np.mean(turnover[-2:]) > 1.3 * np.mean(turnover[:6])


# --- what was swept


def test_liquidations_are_what_was_swept() -> None:
    """Every liquidation is of a level the book had shown, and no other position is gone by one."""
    config = replace(SMALL, days=2, scenario="crash", book_minutes=5)
    days = run(config)
    shown: dict[int, tuple[int, float, int]] = {}
    known = compared = 0
    for day in days:
        liq = day.liquidations
        period = np.searchsorted(day.metrics_ms, liq.ts_ms, side="right")
        for side, name in ((1, "liquidated_long"), (-1, "liquidated_short")):
            of = liq.position_side == side
            total = np.bincount(period[of], liq.qty_lots[of], minlength=288)
            np.testing.assert_array_equal(total, day.metrics[:, METRICS_COLUMNS.index(name)])
        at = 0
        for snapshot in day.snapshots:
            for n in range(at, int(np.searchsorted(liq.ts_ms, snapshot.ts_ms))):
                before = shown.get(int(liq.position_id[n]))
                known += 1
                # Whose order was still at work, or who has paid funding, has another level by now.
                if before is not None and before[2] == int(liq.qty_lots[n]):
                    compared += 1
                    side = int(liq.position_side[n])
                    assert before[0] == side
                    assert side * liq.mark_price[n] <= side * liq.liquidation_price[n]
                    assert liq.liquidation_price[n] == pytest.approx(before[1], rel=2e-3)
            at = int(np.searchsorted(liq.ts_ms, snapshot.ts_ms))
            gone = set(liq.position_id[:at].tolist())
            assert not gone & set(snapshot.position_id.tolist())
            columns = (snapshot.position_id, snapshot.side, snapshot.liquidation_price, snapshot.qty_lots)
            shown = {
                i: (side, level, lots) for i, side, level, lots in zip(*(c.tolist() for c in columns), strict=True)
            }
    assert known > 100
    assert compared > 0.7 * known


# --- options


def test_book_is_written_as_often_as_asked_and_nothing_else_changes() -> None:
    often, seldom = (run(replace(SMALL, days=1, book_minutes=minutes)) for minutes in (5, 720))
    start = day_ms(SMALL.start)
    assert [(snapshot.ts_ms - start) // 60_000 for snapshot in often[0].snapshots] == list(range(0, 1441, 5))
    assert [(snapshot.ts_ms - start) // 60_000 for snapshot in seldom[0].snapshots] == [0, 720, 1440]
    np.testing.assert_array_equal(often[0].trades.price_ticks, seldom[0].trades.price_ticks)
    for one, other in ((0, 0), (144, 1), (288, 2)):
        np.testing.assert_array_equal(often[0].snapshots[one].qty_lots, seldom[0].snapshots[other].qty_lots)


def test_averaging_down_doubles_positions_that_lose() -> None:
    config = replace(SMALL, days=2, book_minutes=60)
    doubled = {}
    for share in (0.0, 0.8):
        seen: dict[int, tuple[int, float]] = {}
        doubled[share] = 0
        for day in run(replace(config, average_down_share=share)):
            mark = day.metrics_mark
            for snapshot in day.snapshots:
                price = mark[min(int(np.searchsorted(day.metrics_ms, snapshot.ts_ms)), 287)]
                for i, side, lots, entry in zip(
                    snapshot.position_id.tolist(),
                    snapshot.side.tolist(),
                    snapshot.qty_lots.tolist(),
                    snapshot.entry_price.tolist(),
                    strict=True,
                ):
                    before = seen.get(i)
                    if before is not None and lots == 2 * before[0] and lots > 4 and side * (price - before[1]) < 0:
                        doubled[share] += 1
                    seen[i] = (lots, entry)
    assert doubled[0.8] > 30
    assert doubled[0.8] > 5 * doubled[0.0]


def test_volume_noise_changes_volume_and_not_who_holds() -> None:
    quiet, noisy = (run(replace(SMALL, days=6, volume_noise=noise)) for noise in (0.0, 1.5))

    def hourly(days: list[SimulatedDay], name: str) -> NDArray[np.float64]:
        column = np.concatenate([day.metrics[:, METRICS_COLUMNS.index(name)] for day in days])
        return np.asarray(column.reshape(-1, 12).sum(axis=1), dtype=np.float64)

    spread = [float(np.log(hourly(days, "volume")).std()) for days in (quiet, noisy)]
    assert spread[1] > 1.5 * spread[0]
    opened = [float(np.log(hourly(days, "directional_open_long")).std()) for days in (quiet, noisy)]
    assert opened[1] < 1.3 * opened[0]


def test_random_levels_keep_their_distance_and_nobody_is_liquidated(tmp_path: Path) -> None:
    config = replace(SMALL, days=2, random_levels=True)
    first: dict[int, float] = {}
    kept = 0
    for day in run(config):
        assert not len(day.liquidations.ts_ms)
        mark = {int(ms): price for ms, price in zip(day.metrics_ms, day.metrics_mark, strict=True)}
        for snapshot in day.snapshots:
            if snapshot.ts_ms not in mark:
                continue
            away = np.abs(snapshot.liquidation_price / mark[snapshot.ts_ms] - 1)
            for i, distance in zip(snapshot.position_id.tolist(), away.tolist(), strict=True):
                if not np.isnan(distance):
                    kept += i in first
                    assert first.setdefault(i, distance) == pytest.approx(distance, abs=1e-9)
                    assert 0.004 <= distance <= 0.4
    assert kept > 500
    write_archive(replace(config, days=1), tmp_path / "market")
    assert not list(tmp_path.rglob("*liquidationSnapshot*"))
    with Database(tmp_path / "market.duckdb") as database:
        report = ingest(database, [tmp_path / "market"])
    assert not report.of(Status.REJECTED)
    assert len(report.of(Status.INGESTED)) == 5


# --- the configuration and the command


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("scenario", "boom", ValueError),
        ("book_minutes", 7, ValueError),
        ("book_minutes", 2_880, ValueError),
        ("random_levels", 1, TypeError),
        ("volume_noise", -0.1, ValueError),
        ("average_down_share", 1.5, ValueError),
        ("leverage_mix", 3.0, ValueError),
        ("leverage_mix", ((5, "half"),), ValueError),
        ("brackets", ((1e6, 0.01),), ValueError),
    ],
)
def test_bad_configuration_names_the_field(field: str, value: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=rf"{field} was .*allowed"):
        replace(SMALL, **{field: value})  # type: ignore[arg-type]


def command(*arguments: str) -> tuple[int, str]:
    app = typer.Typer()
    app.command()(simulate)
    done = CliRunner().invoke(app, list(arguments))
    return done.exit_code, " ".join(done.output.replace("│", " ").split())


def test_command_takes_scenarios_and_any_number(tmp_path: Path) -> None:
    size = ("--days", "1", "--open-interest", "100", "--trades-per-day", "1000", "--book-minutes", "720")
    mix = "leverage_mix=[[3, 0.5], [30, 0.5]]"
    code, output = command(
        str(tmp_path / "out"), *size, "--scenario", "crash", "--set", mix, "--set", "cross_share=0.25"
    )
    assert code == 0, output
    assert "crash" in output
    settings = (tmp_path / "out/README.md").read_text()
    assert '"scenario": "crash"' in settings
    assert '"cross_share": 0.25' in settings
    assert '"book_minutes": 720' in settings


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--scenario", "boom"], "scenario was 'boom'; allowed: plain, calm"),
        (["--set", "cross=0.5"], "--set was 'cross=0.5'; allowed: NAME=VALUE"),
        (["--set", "days=5"], "--set was 'days=5'"),
        (["--set", "cross_share"], "--set was 'cross_share'; allowed: a value in JSON"),
        (["--set", "cross_share=half"], "a value in JSON"),
        (["--set", "cross_share=2"], "cross_share was 2; allowed: 0 to 1"),
    ],
)
def test_command_names_what_is_wrong(tmp_path: Path, extra: list[str], message: str) -> None:
    code, output = command(str(tmp_path / "market"), *extra)
    assert code == 2
    assert message in output
    assert not (tmp_path / "market").exists()
