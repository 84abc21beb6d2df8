"""Placement skill on real data: hourly liquidations as a model predicts them, against those that happened.

    python -m benchmarks.skill                              # position_book and time_evolving on the shared data
    python -m benchmarks.skill --calibrate --ablations      # and with tiers fitted before the cut, and parts missing
    python -m benchmarks.skill --audit audit.csv            # of `liqserver audit SYMBOL --every 1h --format csv`
    python -m benchmarks.skill --data FOLDER --symbol ETHUSDT --cut 2026-03-01

A folder holds archive files and ``liquidations_1h.csv`` (open_time in milliseconds, liquidation_long_usd,
liquidation_short_usd). The regression is fitted before the cut and scored after it.
"""

from __future__ import annotations

import argparse
import csv
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from liqserver.score import HISTORY, Intervals, Skill, log_amount, path_controls, placement_skill, regroup

if TYPE_CHECKING:
    from liqserver.calibrate import Calibration
    from liqserver.models.market import Market
    from liqserver.models.parameters import Parameters

HOUR, MINUTE, MS = 3_600_000_000_000, 60_000_000_000, 1_000_000
SHARED = Path(os.environ.get("LIQSERVER_SHARED_DATA", Path(__file__).resolve().parents[1] / ".." / "shared" / "data"))
SIDES = ("long", "short")
SMALL = 20_000.0

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Truth:
    """Hours of one market: their prices, controls by side, and what was really liquidated (2, N), quote units."""

    hours: Intervals
    controls: tuple[Floats, Floats]
    liquidated: Floats


def read_truth(candles: Intervals, period: int, liquidations: Path) -> Truth:
    """Join candles with the liquidations of each hour; hours that file lacks are NaN."""
    hours = regroup(candles, period)
    with liquidations.open() as file:
        rows = list(csv.DictReader(file))
    at = np.array([int(row["open_time"]) * MS for row in rows], dtype=np.int64)
    usd = np.array([[float(row[f"liquidation_{side}_usd"]) for row in rows] for side in SIDES])
    return Truth(hours, (path_controls(hours, 0), path_controls(hours, 1)), joined(hours.open_time, at, usd))


def joined(open_time: NDArray[np.int64], at: NDArray[np.int64], values: Floats) -> Floats:
    """Return the columns of ``values`` (k, M) that belong to ``open_time`` (N,), NaN where there is none."""
    order = np.argsort(at)
    found = np.minimum(np.searchsorted(at[order], open_time), len(at) - 1)
    column = order[found]
    return np.where(at[column] == open_time, values[:, column], np.nan)


def read_audit(path: Path) -> tuple[NDArray[np.int64], Floats]:
    """Read hourly rows of `liqserver audit`: UNIX nanoseconds, and liquidated notional (2, M)."""
    with path.open() as file:
        rows = list(csv.DictReader(file))
    at = np.array([int(row["open_time"]) * MS for row in rows], dtype=np.int64)
    if len(at) < 2 or np.any(np.diff(at) != HOUR):
        raise SystemExit(f"{path} must have one row for every hour: use liqserver audit --every 1h --unit notional")
    return at, np.array([[float(row[f"liquidated_{side}"]) for row in rows] for side in SIDES])


def measure(truth: Truth, at: NDArray[np.int64], liquidated: Floats, start: int, cut: int) -> list[Skill | None]:
    """Return the skill of longs and shorts of predictions ``liquidated`` (2, M) at ``at`` (M,)."""
    predicted = joined(truth.hours.open_time, at, liquidated)
    use = truth.hours.open_time >= start
    return [
        placement_skill(
            truth.hours.open_time[use],
            predicted[side][use],
            truth.liquidated[side][use],
            truth.controls[side][use],
            cut,
        )
        for side in range(2)
    ]


def show(name: str, skills: list[Skill | None]) -> None:
    """Print one model's figures, each with its interval."""
    for side, skill in zip(SIDES, skills, strict=True):
        if skill is None:
            print(f"{name:<44}{side + 's':<7}not enough data")
            continue
        cells = [
            f"{e.value:+.3f} [{e.low:+.3f}, {e.high:+.3f}]" if signed else f"{e.value:.3f} [{e.low:.3f}, {e.high:.3f}]"
            for e, signed in ((skill.r, 0), (skill.alone, 0), (skill.gain, 1), (skill.controls, 0))
        ]
        n = f"{skill.scored} ({skill.days} d)"
        print(f"{name:<44}{side + 's':<7}" + "".join(f"{c:<25}" for c in cells) + n, flush=True)


def header() -> str:
    """Return the head of the table that ``show`` fills."""
    names = ("r", "R² of the map alone", "gain over the controls", "R² of the controls")
    return f"{'model':<44}{'side':<7}" + "".join(f"{name:<25}" for name in names) + "n"


def day(text: str) -> int:
    """Return UNIX nanoseconds of a date, UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


def ingested(data: Path, database: Path) -> None:
    """Put the archive files of a folder into a database; ends the program if one is rejected."""
    from liqserver.store.database import Database
    from liqserver.store.ingest import Status, ingest

    with Database(database) as opened:
        report = ingest(opened, [data / "data"])
    if report.of(Status.REJECTED):
        raise SystemExit(f"rejected: {report.of(Status.REJECTED)}")


def stored_candles(database: Path, symbol: str) -> Intervals:
    """Read a symbol's five-minute candles back from a database."""
    import duckdb

    with duckdb.connect(str(database), read_only=True) as connection:
        rows = connection.execute(
            """
            SELECT ts_event - period AS open_time, high, low, close, volume
            FROM klines JOIN symbols USING (symbol_id) WHERE symbol = ? AND period = ? ORDER BY ts_event
            """,
            [symbol, 5 * MINUTE],
        ).fetchnumpy()
    return Intervals(rows["open_time"], rows["high"], rows["low"], rows["close"], rows["volume"])


def stored_market(database: Path, symbol: str) -> Market:
    """Read a symbol's market from a database."""
    from liqserver.store.database import Database
    from liqserver.store.markets import StoreMarkets

    with Database(database, read_only=True) as opened:
        markets = StoreMarkets(opened)
        [venue] = [venue for venue, name in markets.names() if name == symbol]
        return markets.market(venue, symbol)


def walked(market: Market, parameters: Parameters, at: NDArray[np.int64]) -> Floats:
    """Return the notional the book liquidates in the hours that begin ``at`` (N,), by side (2, N)."""
    from liqserver.live.intervals import summed
    from liqserver.models.position_book import begin, drive, epochs

    history = market.history
    steps = epochs(parameters, market.brackets)
    book, start = begin(history, steps, market.base_bin)
    rows = drive(book, history, steps, start, len(history), audit=True)
    notional = np.nan_to_num(rows[:, 4:6] * history.mark_close[start:, None])
    ends, edges = history.step_end[start:], np.append(at, at[-1] + HOUR)
    inside = (ends > edges[0]) & (ends <= edges[-1])
    return summed(ends[inside], notional[inside], edges).T


def _with_flow(market: Market, volume: Callable[[Floats], Floats]) -> Market:
    """Return ``market`` with the volume of each step changed, its prices kept."""
    history = market.history
    step = np.repeat(np.arange(len(history)), np.diff(history.flow_offset))
    before = np.bincount(step, history.flow_buy + history.flow_sell, minlength=len(history))
    factor = np.divide(volume(before), before, out=np.zeros_like(before), where=before > 0)[step]
    changed = replace(history, flow_buy=history.flow_buy * factor, flow_sell=history.flow_sell * factor)
    return replace(market, history=changed)


def _with_open_interest(market: Market, change: Callable[[Floats], Floats]) -> Market:
    history = market.history
    known = ~np.isnan(history.open_interest)
    values = history.open_interest.copy()
    values[known] = change(values[known])
    return replace(market, history=replace(history, open_interest=values))


def ablated(market: Market) -> dict[str, Market]:
    """Return the market with parts of its information taken away."""
    history = market.history
    reach = np.nan_to_num(history.mark_high / history.mark_low - 1)
    days = 10 * 288

    def mean(volume: Floats) -> Floats:
        return np.full(len(volume), volume.mean())

    still = _with_open_interest(market, lambda oi: np.full(len(oi), oi.mean()))
    shifted = _with_open_interest(market, lambda oi: np.roll(oi, days))
    return {
        "open interest constant": still,
        "volume replaced by range": _with_flow(market, lambda volume: reach * (volume.sum() / reach.sum())),
        "constant flow and open interest": _with_flow(still, mean),
        "both shifted by ten days": _with_flow(shifted, lambda volume: np.roll(volume, days)),
    }


def report_book(database: Path, truth: Truth, given: argparse.Namespace, start: int) -> None:
    """Print the skill of calibrated books, and of books without parts of the information."""
    from liqserver.calibrate import calibrate
    from liqserver.models.parameters import with_hazards
    from liqserver.models.position_book import DEFAULTS

    market, at = stored_market(database, given.symbol), truth.hours.open_time
    prior = with_hazards(DEFAULTS)
    markets = {"": market, **(ablated(market) if given.ablations else {})}
    changed = {"no trend tilt": replace(prior, trend_tilt=0.0), "flow of |dOI| alone": replace(prior, kappa=1e-9)}
    for name, of in markets.items():
        if name:
            show(f"default, {name}", measure(truth, at, walked(of, prior, at), start, given.cut))
        if given.calibrate:
            fitted = calibrate(of, at, HOUR, truth.liquidated, given.cut, start=start)
            predicted = walked(of, fitted.parameters, at)
            show(f"calibrated, {name}" if name else "calibrated", measure(truth, at, predicted, start, given.cut))
            if not name:
                hindsight = calibrate(of, at, HOUR, truth.liquidated, int(at[-1]) + HOUR, start=given.cut).parameters
                predicted = walked(of, hindsight, at)
                show("fitted on the scored part, in hindsight", measure(truth, at, predicted, start, given.cut))
                if given.verbose:
                    print_calibration(fitted)
    if given.ablations:
        for name, parameters in changed.items():
            show(f"default, {name}", measure(truth, at, walked(market, parameters, at), start, given.cut))
        predicted = walked(market, prior, at)
        for factor in (0.25, 4.0, 16.0):
            show(f"default, amounts times {factor:g}", measure(truth, at, factor * predicted, start, given.cut))
        print_small(truth, predicted, start, given.cut)
        known = np.isfinite(truth.liquidated).all(axis=0) & np.isfinite(predicted).all(axis=0) & (at >= start)
        for part, inside in (("before", known & (at < given.cut)), ("from", known & (at >= given.cut))):
            shares = predicted[:, inside].sum(axis=1) / truth.liquidated[:, inside].sum(axis=1)
            print(f"predicted over real total {part} the cut: longs {shares[0]:.2f}, shorts {shares[1]:.2f}")


def print_small(truth: Truth, predicted: Floats, start: int, cut: int) -> None:
    """Print how much of the squared error after the cut is in hours with next to no predicted liquidations."""
    x, y = log_amount(predicted), log_amount(truth.liquidated)
    at = truth.hours.open_time
    for side, name in enumerate(SIDES):
        known = np.isfinite(x[side]) & np.isfinite(y[side]) & (at >= start)
        fit, scored = known & (at < cut), known & (at >= cut)
        slope, at_zero = np.polyfit(x[side][fit], y[side][fit], 1)
        error = np.square(y[side] - at_zero - slope * x[side])
        small = scored & (predicted[side] < SMALL)
        print(
            f"{name}s: {small.sum()} of {scored.sum()} hours have predictions below {SMALL:,.0f}, "
            f"with {error[small].sum() / error[scored].sum():.0%} of the squared error"
        )


def print_calibration(found: Calibration) -> None:
    """Print the weights of tiers and how well they are known."""
    print(f"  {'leverage':>9} {'share of openings':>18}   within a factor of (one standard deviation)")
    for tier, share, deviation in zip(found.parameters.tiers or (), found.fit.weight, found.fit.spread, strict=True):
        print(f"  {tier.leverage:>8g}x {share:>18.4%}   {np.exp(deviation):.2f}")


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=SHARED / "binance-btc-2025-12", help="folder of archive files")
    parser.add_argument("--symbol", default="BTCUSDT")
    parser.add_argument("--start", type=day, help="first day fitted on; the default is a week after the first candle")
    parser.add_argument("--cut", type=day, default=day("2026-01-20"), help="first day scored on")
    parser.add_argument("--audit", type=Path, action="append", default=[], help="hourly audit as CSV, notional")
    parser.add_argument("--calibrate", action="store_true", help="tiers fitted before the cut, too")
    parser.add_argument("--ablations", action="store_true", help="parts of the information taken away, too")
    parser.add_argument("--verbose", action="store_true", help="print the fitted weights")
    parser.add_argument("--models", nargs="*", default=["time_evolving", "position_book"])
    given = parser.parse_args(arguments)

    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder, "skill.duckdb")
        ingested(given.data, database)
        truth = read_truth(stored_candles(database, given.symbol), 5 * MINUTE, given.data / "liquidations_1h.csv")
        start = given.start if given.start is not None else int(truth.hours.open_time[0]) + HISTORY * HOUR
        print(header())
        for path in given.audit:
            show(path.name, measure(truth, *read_audit(path), start, given.cut))
        if given.audit:
            return

        import liqclient
        from liqserver.rpc.server import EmbeddedServer

        with EmbeddedServer(database) as server, liqclient.Client(server.target, timeout=120) as client:
            for model in given.models:
                answer = client.audit(given.symbol, model=model, interval=HOUR)
                liquidated = np.stack([answer.liquidated_long, answer.liquidated_short])
                show(model, measure(truth, answer.open_time, liquidated, start, given.cut))
        if given.calibrate or given.ablations:
            report_book(database, truth, given, start)


if __name__ == "__main__":
    main()
