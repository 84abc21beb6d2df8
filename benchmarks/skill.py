"""What `liqserver score` does not show of the position book's placement skill on real data.

    python -m benchmarks.skill                              # what limits it, on the shared data
    python -m benchmarks.skill --audit audit.csv            # of `liqserver audit SYMBOL --every 1h --format csv`
    python -m benchmarks.skill --data FOLDER --symbol ETHUSDT --cut 2026-03-01

A folder holds archive files and ``liquidations_1h.csv``. Regressions are fitted before the cut and scored after it, on
the same intervals and controls as those of `liqserver score`.
"""

from __future__ import annotations

import argparse
import csv
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from liqserver.score import Estimate, log_amount

if TYPE_CHECKING:
    from liqserver.calibrate import Calibration
    from liqserver.live.scorecard import Ground, SideScore
    from liqserver.models.parameters import Parameters

HOUR, MS = 3_600_000_000_000, 1_000_000
SHARED = Path(os.environ.get("LIQSERVER_SHARED_DATA", Path(__file__).resolve().parents[1] / ".." / "shared" / "data"))
SIDES = ("long", "short")
SMALL = 20_000.0

Floats = NDArray[np.float64]


def day(text: str) -> int:
    """Return UNIX nanoseconds of a date, UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


@contextmanager
def ground_on(data: Path, symbol: str, start: int | None, cut: int) -> Iterator[Ground]:
    """Yield what a folder's predictions are measured on; ends the program if a file is rejected."""
    from liqserver.live.engine import LevelsEngine
    from liqserver.live.scorecard import ScorecardQuery, ground_of
    from liqserver.store.database import Database
    from liqserver.store.ingest import Status, ingest
    from liqserver.store.markets import StoreMarkets

    with tempfile.TemporaryDirectory() as folder, Database(Path(folder, "skill.duckdb")) as database:
        report = ingest(database, [data / "data", data / "liquidations_1h.csv"], symbol=symbol)
        if report.of(Status.REJECTED):
            raise SystemExit(f"rejected: {report.of(Status.REJECTED)}")
        source = StoreMarkets(database)
        [venue] = [venue for venue, name in source.names() if name == symbol]
        resident = LevelsEngine(source).resident(venue, symbol)
        yield ground_of(ScorecardQuery(symbol, venue, cut, start), resident, database)


def walked(ground: Ground, parameters: Parameters) -> Floats:
    """Return the notional the book liquidates in each interval, by side (2, N)."""
    from liqserver.models.position_book import BookTimeline

    return ground.liquidated(BookTimeline(ground.market, parameters).audit, ground.edges)


def read_audit(path: Path) -> tuple[NDArray[np.int64], Floats]:
    """Read hourly rows of `liqserver audit`: UNIX nanoseconds, and liquidated notional (2, M)."""
    with path.open() as file:
        rows = list(csv.DictReader(file))
    at = np.array([int(row["open_time"]) * MS for row in rows], dtype=np.int64)
    if len(at) < 2 or np.any(np.diff(at) != HOUR):
        raise SystemExit(f"{path} must have one row for every hour: use liqserver audit --every 1h --unit notional")
    return at, np.array([[float(row[f"liquidated_{side}"]) for row in rows] for side in SIDES])


def joined(open_time: NDArray[np.int64], at: NDArray[np.int64], values: Floats) -> Floats:
    """Return the columns of ``values`` (k, M) that belong to ``open_time`` (N,), NaN where there is none."""
    order = np.argsort(at)
    found = np.minimum(np.searchsorted(at[order], open_time), len(at) - 1)
    column = order[found]
    return np.where(at[column] == open_time, values[:, column], np.nan)


def show(name: str, scores: tuple[SideScore, ...]) -> None:
    """Print one prediction's figures, each with its interval."""
    for side, score in zip(SIDES, scores, strict=True):
        skill = score.skill
        if skill is None:
            print(f"{name:<44}{side + 's':<7}{score.refused}")
            continue
        cells = [shown(skill.r), shown(skill.alone), shown(skill.gain, "+"), shown(skill.share)]
        print(f"{name:<44}{side + 's':<7}" + "".join(f"{c:<25}" for c in cells) + f"{skill.scored} ({skill.days} d)")


def shown(of: Estimate, sign: str = "") -> str:
    """Return a figure and its interval."""
    return f"{of.value:{sign}.3f} [{of.low:{sign}.3f}, {of.high:{sign}.3f}]"


def header() -> str:
    """Return the head of the table that ``show`` fills."""
    names = ("r", "R² of the map alone", "gain over the controls", "predicted / real")
    return f"{'prediction':<44}{'side':<7}" + "".join(f"{name:<25}" for name in names) + "n"


def report_limits(ground: Ground) -> None:
    """Print what a book fitted in hindsight reaches, what other amounts cost, and where the errors are."""
    from liqserver.calibrate import calibrate
    from liqserver.models.parameters import with_hazards
    from liqserver.models.position_book import DEFAULTS

    predicted = walked(ground, with_hazards(DEFAULTS))
    show("defaults", ground.scores(predicted, None))
    first, last = int(ground.open_time[0]), ground.end
    for name, start, until in (
        ("fitted before the cut", first, ground.cut),
        ("fitted on the scored part, in hindsight", ground.cut, last),
    ):
        found = calibrate(ground.market, ground.open_time, ground.period, ground.real, until, start=start)
        show(name, ground.scores(walked(ground, found.parameters), None))
        if until == ground.cut:
            print_calibration(found)
    for factor in (0.25, 4.0, 16.0):
        show(f"defaults, amounts times {factor:g}", ground.scores(factor * predicted, None))
    print_small(ground, predicted)
    known = np.isfinite(ground.real).all(axis=0) & (ground.open_time < ground.cut)
    shares = predicted[:, known].sum(axis=1) / ground.real[:, known].sum(axis=1)
    print(f"predicted over real total before the cut: longs {shares[0]:.2f}, shorts {shares[1]:.2f}")


def print_small(ground: Ground, predicted: Floats) -> None:
    """Print how much of the squared error after the cut is in hours with next to no predicted liquidations."""
    x, y = log_amount(predicted), log_amount(ground.real)
    for side, name in enumerate(SIDES):
        known = np.isfinite(x[side]) & np.isfinite(y[side])
        fit, scored = known & (ground.open_time < ground.cut), known & (ground.open_time >= ground.cut)
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
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=SHARED / "binance-btc-2025-12", help="folder of archive files")
    parser.add_argument("--symbol", default="BTCUSDT")
    parser.add_argument("--start", type=day, help="first day fitted on; the default is a week after the first candle")
    parser.add_argument("--cut", type=day, default=day("2026-01-20"), help="first day scored on")
    parser.add_argument("--audit", type=Path, action="append", default=[], help="hourly audit as CSV, notional")
    given = parser.parse_args(arguments)

    with ground_on(given.data, given.symbol, given.start, given.cut) as ground:
        print(header())
        for path in given.audit:
            show(path.name, ground.scores(joined(ground.open_time, *read_audit(path)), None))
        if not given.audit:
            report_limits(ground)


if __name__ == "__main__":
    main()
