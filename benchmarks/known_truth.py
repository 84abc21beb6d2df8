"""Known truth: where a model says levels are, against where a simulated market has them.

    python -m benchmarks.known_truth                                  # calm, trend, crash, squeeze, regime; five seeds
    python -m benchmarks.known_truth --markets random --seeds 1 2 3   # the negative control
    python -m benchmarks.known_truth --markets breaks --seeds 1 2     # each assumption broken, one after the other
    python -m benchmarks.known_truth --markets sizes --seeds 1 2      # smaller and larger markets

Each market is simulated, ingested and asked of a server like a real one; what is scored comes after its first 22 days.
One calibration is made on a market of its own, of a seed that is not scored, and one on each market's recorded
liquidations of its first 22 days. The measure is that of ``liqserver.score.truth``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from liqserver.score import truth as known
from liqserver.score.skill import DAY, MIN_DAYS
from liqserver.simulate.config import LEVERAGE_MIX, SimulationConfig

if TYPE_CHECKING:
    import liqclient
    from liqserver.models.market import Market
    from liqserver.models.parameters import Parameters

HOUR, MINUTE = 3_600_000_000_000, 60_000_000_000
SYMBOL = "BTCUSDT"
# A week to fill the book, two to calibrate on; what comes after is scored.
CUT_DAYS = 22
SIDES = ("long", "short")

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# About a quarter of the open interest of BTCUSDT. Traders like round leverages, as the simulator has them unless told
# otherwise. The rest is not what the position book assumes: holding times are lognormal and depend less on leverage,
# makers' volume comes and goes by itself, people average down and add margin.
MARKET: dict[str, Any] = {
    "open_interest": 20_000.0,
    "hold_hours": 16.0,
    "trades_per_day": 40_000,
    "book_minutes": 240,
    "hold_leverage_exponent": 0.4,
    "volume_noise": 0.5,
    "average_down_share": 0.1,
    "add_margin_share": 0.2,
}

SCENARIOS = ("calm", "trend", "crash", "squeeze", "regime")


def mixed_leverages(odd: float) -> tuple[tuple[int, float], ...]:
    """Return a mix in which the share ``odd`` of traders takes any whole leverage, small ones more often."""
    round_ = dict(LEVERAGE_MIX)
    total, of_all = sum(round_.values()), sum(leverage**-0.8 for leverage in range(1, 126))
    return tuple(
        (leverage, odd * leverage**-0.8 / of_all + (1 - odd) * round_.get(leverage, 0.0) / total)
        for leverage in range(1, 126)
    )


# One assumption of the position book broken far beyond what MARKET does.
BREAKS: dict[str, dict[str, Any]] = {
    "as-it-is": {},
    "all-stay-alike": {"hold_leverage_exponent": 0.0},
    "high-leverage-leaves-at-once": {"hold_leverage_exponent": 1.2},
    "some-stay-for-ever": {"hold_sigma": 2.2},
    "stops-and-targets": {"stop_share": 0.9, "take_profit_share": 0.9},
    "cross-margin-only": {"cross_share": 1.0, "cross_wallet_multiple": 8.0},
    "margin-added-by-most": {"add_margin_share": 0.8},
    "averaging-down-by-half": {"average_down_share": 0.5},
    "volume-says-little": {"volume_noise": 1.5},
    "leverage-by-mood": {"leverage_calm_tilt": 2.0},
    "all-follow-the-trend": {"trend_share": 0.8, "contrarian_share": 0.0, "trend_strength": 2.0},
    "all-bet-against-it": {"trend_share": 0.0, "contrarian_share": 0.8, "trend_strength": 2.0},
    "most-are-long": {"long_bias": 1.0},
    "few-are-traders": {"trader_share": 0.2},
    "a-few-large-ones": {"notional_sigma": 2.2},
    "half-choose-odd-leverages": {"leverage_mix": mixed_leverages(0.5)},
    "no-round-leverages": {"leverage_mix": mixed_leverages(1.0)},
    "low-leverage": {"leverage_mix": ((2, 0.3), (4, 0.3), (8, 0.3), (12, 0.1))},
    "high-leverage": {"leverage_mix": ((35, 0.3), (60, 0.4), (90, 0.3)), "turnover": 6.0},
}
SIZES = {f"{size}-btc": {"open_interest": float(size)} for size in (5_000, 20_000, 80_000)}
MARKETS: dict[str, dict[str, Any]] = {
    **{name: {"scenario": name} for name in ("plain", *SCENARIOS)},
    "random": {"random_levels": True},
    **BREAKS,
    **SIZES,
}
GROUPS = {"scenarios": SCENARIOS, "breaks": tuple(BREAKS), "sizes": tuple(SIZES)}

DEFAULT, ELSEWHERE, HERE = "position_book", "  calibrated on another market", "  calibrated before the cut"
CONSTANT, SHIFTED, FOREIGN = "  constant flow", "  shifted by 1 %", "  of another seed's market"
VOLUME = "volume profile of 7 days"
OTHERS = ("time_evolving", "openinterest", "pyliqmap")
FITTED, OPENINGS, CEILING = "tiers fitted to the truth", "true openings, tiers fitted", "positions are few: ceiling"
ROWS = (DEFAULT, ELSEWHERE, HERE, CONSTANT, SHIFTED, FOREIGN, *OTHERS, VOLUME, FITTED, OPENINGS, CEILING)

# What an oracle may choose from beside round leverages: distances of levels and speeds of closing.
_DISTANCES = (0.003, 0.006, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.065, 0.08, 0.1, 0.13, 0.17, 0.25)
_SPEEDS = (0.3, 1.0, 3.0, 10.0)
_TRACE = 2e-4
_VOLUME_DAYS = 7
# Of the current price, which is not quite the mark price that the truth is measured from.
_ASKED_REACH = 0.13


@dataclass(frozen=True)
class Task:
    """One market to simulate and score."""

    market: str
    seed: int
    days: int
    calibrated: Parameters | None
    oracles: bool


@dataclass(frozen=True)
class Scored:
    """Profiles of one market's snapshots by row: (2, S, bins) each; of the truth, and of half of its positions."""

    task: Task
    at: Ints
    true: Floats
    half: Floats
    predicted: dict[str, Floats]
    seconds: float


@dataclass(frozen=True)
class Truth:
    """What the simulator wrote beside the archive, at the scored snapshots ``at`` (S,)."""

    folder: Path
    at: Ints
    price: Floats
    true: Floats
    half: Floats


def configuration(name: str, seed: int, days: int) -> SimulationConfig:
    """Return the settings of a market."""
    return SimulationConfig(**(MARKET | MARKETS[name] | {"seed": seed, "days": days}))


def read_truth(folder: Path, cut: int) -> Truth:
    """Read the true levels of traders at the snapshots after ``cut``, by distance from the mark price."""
    import duckdb

    with duckdb.connect() as sql:
        marks = sql.execute(
            "SELECT ts, mark_price FROM read_parquet(?) ORDER BY ts", [f"{folder}/truth/*-flow-*.parquet"]
        ).fetchnumpy()
        rows = sql.execute(
            "SELECT ts, side = 'SHORT' AS short, liquidation_price AS level, qty, hash(position_id) % 2 AS half "
            "FROM read_parquet(?) WHERE liquidation_price IS NOT NULL AND ts > ? ORDER BY ts",
            [f"{folder}/truth/*-book-*.parquet", cut],
        ).fetchnumpy()
    at = np.unique(rows["ts"]).astype(np.int64)
    price = np.asarray(marks["mark_price"][np.searchsorted(marks["ts"], at)], dtype=np.float64)
    true, half = np.zeros((2, 2, len(at), known.BINS))
    edges = np.searchsorted(rows["ts"], np.append(at, at[-1] + 1))
    for n, (first, last) in enumerate(pairwise(edges)):
        part = {name: values[first:last] for name, values in rows.items()}
        for side in range(2):
            of = part["short"] == bool(side)
            some = of & (part["half"] == 0)
            true[side, n] = known.profile_of_levels(part["level"][of], part["qty"][of], price[n], side)
            half[side, n] = known.profile_of_levels(part["level"][some], part["qty"][some], price[n], side)
    return Truth(folder, at, price, true, half)


def asked(parameters: Parameters) -> liqclient.Parameters:
    """Return a book's parameters as a client sends them."""
    import liqclient

    return liqclient.Parameters(
        kappa=parameters.kappa,
        trend_tilt=parameters.trend_tilt,
        tiers=tuple(liqclient.LeverageTier(t.leverage, t.weight, t.hazard) for t in parameters.tiers or ()),
        no_level_weight=parameters.no_level_weight,
        no_level_hazard=parameters.no_level_hazard,
    )


def answered(levels: Iterable[liqclient.Levels], truth: Truth) -> Floats:
    """Return the profiles (2, S, bins) of a server's answers, one for each snapshot."""
    out = np.zeros(truth.true.shape)
    count = 0
    for n, answer in enumerate(levels):
        if answer.provenance.as_of != truth.at[n]:
            raise RuntimeError(f"answer {n} is as of {answer.provenance.as_of}, asked was {truth.at[n]}")
        index = np.rint(answer.price / answer.bin_size).astype(np.int64)
        if len(index):
            edges = np.arange(index[0], index[-1] + 2) * answer.bin_size
            for side, held in enumerate((answer.long, answer.short)):
                filled = np.bincount(index - index[0], held)
                out[side, n] = known.profile_of_bins(edges, filled, float(truth.price[n]), side)
        count = n + 1
    if count != len(truth.at):
        raise RuntimeError(f"{count} answers to {len(truth.at)} questions")
    return out


def ask(client: liqclient.Client, model: str, truth: Truth, parameters: Parameters | None = None) -> Floats:
    """Return what the server says at the snapshots, shape (2, S, bins): replayed where the model can be."""
    given = asked(parameters) if parameters else None
    first, last, every = int(truth.at[0]), int(truth.at[-1]), int(truth.at[1] - truth.at[0])
    if next(known_model for known_model in client.models() if known_model.id == model).has_time_axis:
        levels: Iterable[liqclient.Levels] = client.replay(
            SYMBOL,
            model=model,
            start=first,
            end=last,
            every=every,
            price_range=_ASKED_REACH,
            unit="qty",
            parameters=given,
        )
    else:
        levels = (
            client.levels(SYMBOL, model=model, as_of=int(ts), price_range=_ASKED_REACH, unit="qty", parameters=given)
            for ts in truth.at
        )
    return answered(levels, truth)


def recorded(client: liqclient.Client, open_time: Ints) -> Floats:
    """Return the recorded liquidations of the hours that begin at ``open_time`` (N,), quote units (2, N)."""
    out = np.zeros((2, len(open_time)))
    first = int(open_time[0])
    for page in client.liquidation_pages(SYMBOL, interval=HOUR, start=first, end=int(open_time[-1]) + HOUR):
        if page.buckets is not None:
            place = (page.buckets.ts - first) // HOUR
            out[0, place], out[1, place] = page.buckets.long_notional, page.buckets.short_notional
    return out


def stored(folder: Path, database: Path) -> Market:
    """Ingest the archive files of ``folder``; return the market as the server's models see it."""
    from liqserver.store.database import Database
    from liqserver.store.ingest import Status, ingest
    from liqserver.store.markets import StoreMarkets

    with Database(database) as opened:
        rejected = ingest(opened, [folder / "data"]).of(Status.REJECTED)
    if rejected:
        raise RuntimeError(f"rejected: {rejected}")
    with Database(database, read_only=True) as opened:
        markets = StoreMarkets(opened)
        [(venue, symbol)] = markets.names()
        return markets.market(venue, symbol)


def book_profiles(market: Market, parameters: Parameters, truth: Truth, *, by_tier: bool = False) -> Floats:
    """Return the kernel's profiles at the snapshots: (2, S, bins), or (T, 2, S, bins) by tier."""
    from liqserver.models.position_book import begin, drive, epochs

    history, steps = market.history, epochs(parameters, market.brackets)
    book, start = begin(history, steps, market.base_bin)
    tiers = len(parameters.tiers or ()) if by_tier else 1
    out = np.zeros((tiers, *truth.true.shape))
    for n, ts in enumerate(truth.at):
        stop = history.steps_until(int(ts))
        drive(book, history, steps, start, stop)
        start = stop
        first, qty = book.levels(by_tier=by_tier)
        edges = (first + np.arange(qty.shape[2] + 1)) * book.width
        for side in range(2):
            for tier in range(tiers):
                out[tier, side, n] = known.profile_of_bins(edges, qty[side, tier], float(truth.price[n]), side)
    return out if by_tier else out[0]


def volume_profiles(market: Market, truth: Truth) -> Floats:
    """Return what traded at each distance in the last days, on both sides of price."""
    history = market.history
    order = np.arange(len(history.flow_price))
    volume = history.flow_buy + history.flow_sell
    out = np.zeros(truth.true.shape)
    for n, ts in enumerate(truth.at):
        first, last = (history.steps_until(int(x)) for x in (ts - _VOLUME_DAYS * DAY, ts))
        rows = order[history.flow_offset[first] : history.flow_offset[last]]
        for side in range(2):
            out[side, n] = known.profile_of_levels(history.flow_price[rows], volume[rows], float(truth.price[n]), side)
    return out


def mixture(market: Market) -> Parameters:
    """Return a book with traces of every leverage and speed: they do not get in each other's way."""
    from liqserver.calibrate import distance_tiers
    from liqserver.models.parameters import Tier, with_hazards
    from liqserver.models.position_book import DEFAULTS

    prior = replace(with_hazards(DEFAULTS), trend_tilt=0.0)
    leverage = distance_tiers(_DISTANCES, prior, market.brackets[-1]).tolist()
    # Tiers of one book differ in leverage: by next to nothing where only speed is meant to differ.
    tiers = tuple(
        Tier(of * (1 + 1e-6 * k), _TRACE, speed)
        for of in (*leverage, *(float(of) for of, _ in LEVERAGE_MIX if of > 1))
        for k, speed in enumerate(_SPEEDS)
    )
    return replace(prior, tiers=tiers, no_level_weight=1.0, no_level_hazard=1.0)


def best_mixture(responses: Floats, truth: Truth) -> Floats:
    """Return the mixture of ``responses`` (T, 2, S, bins), common to both sides, that comes closest to the truth."""
    from scipy.optimize import nnls

    # Every snapshot and side counts the same, as in the measure.
    weight = 1 / np.maximum(truth.true.sum(axis=2, keepdims=True), 1e-9)
    found = nnls((responses * weight).reshape(len(responses), -1).T, (truth.true * weight).ravel())[0]
    return np.asarray(np.tensordot(found, responses, axes=1))


def true_openings(market: Market, truth: Truth, side: int) -> Market:
    """Return ``market`` with the traders' own openings and closings of one side in place of volume."""
    import duckdb

    name = SIDES[side]
    with duckdb.connect() as sql:
        flow = sql.execute(
            f"SELECT ts, directional_open_{name} AS opened, directional_close_{name} AS closed "
            "FROM read_parquet(?) ORDER BY ts",
            [f"{truth.folder}/truth/*-flow-*.parquet"],
        ).fetchnumpy()
        [(held,)] = sql.execute(
            "SELECT sum(qty) FROM read_parquet(?) WHERE side = ? AND kind IN ('isolated', 'cross') "
            "GROUP BY ts ORDER BY ts LIMIT 1",
            [f"{truth.folder}/truth/*-book-*.parquet", name.upper()],
        ).fetchall()
    history = market.history
    period = np.minimum(np.searchsorted(flow["ts"], history.step_end), len(flow["ts"]) - 1)
    step = np.repeat(np.arange(len(history)), np.diff(history.flow_offset))
    volume = history.flow_buy + history.flow_sell
    traded = np.bincount(period[step], volume, minlength=len(flow["ts"]))
    moved = flow["opened"] + flow["closed"]
    factor = np.divide(moved, traded, out=np.zeros(len(moved)), where=traded > 0)[period[step]]
    open_interest = np.full(len(history), np.nan)
    ends = np.searchsorted(history.step_end, flow["ts"])
    whole = ends < len(history)
    whole[whole] &= history.step_end[ends[whole]] == flow["ts"][whole]
    open_interest[ends[whole]] = (held + np.cumsum(flow["opened"] - flow["closed"]))[whole]
    changed = replace(
        history,
        open_interest=open_interest,
        flow_buy=history.flow_buy * factor,
        flow_sell=history.flow_sell * factor,
    )
    return replace(market, history=changed)


def oracle_profiles(market: Market, truth: Truth) -> dict[str, Floats]:
    """Return what is reached by who is told the truth, as far as the kernel can express it."""
    parameters = mixture(market)
    own = np.stack(
        [
            book_profiles(true_openings(market, truth, side), replace(parameters, kappa=1.0), truth, by_tier=True)[
                :, side
            ]
            for side in range(2)
        ],
        axis=1,
    )
    return {
        FITTED: best_mixture(book_profiles(market, parameters, truth, by_tier=True), truth),
        OPENINGS: best_mixture(own, truth),
    }


def score(task: Task) -> Scored:
    """Simulate, ingest, ask and measure one market."""
    import liqclient
    from liqserver.calibrate import calibrate
    from liqserver.models.ablations import constant_flow, constant_open_interest
    from liqserver.models.parameters import with_hazards
    from liqserver.models.position_book import DEFAULTS
    from liqserver.rpc.server import EmbeddedServer
    from liqserver.simulate.archive import write_archive

    begun = time.monotonic()
    config = configuration(task.market, task.seed, task.days)
    start = config.start_ms * 1_000_000
    cut = start + CUT_DAYS * DAY
    with tempfile.TemporaryDirectory() as name:
        folder, database = Path(name, "market"), Path(name, "market.duckdb")
        write_archive(config, folder)
        market = stored(folder, database)
        truth = read_truth(folder, cut)
        predicted: dict[str, Floats] = {}
        with EmbeddedServer(database) as server, liqclient.Client(server.target, timeout=600) as client:
            predicted[DEFAULT] = ask(client, "position_book", truth)
            if task.calibrated:
                predicted[ELSEWHERE] = ask(client, "position_book", truth, task.calibrated)
            # Nobody is liquidated where levels keep their distance: there is nothing to calibrate on.
            if not config.random_levels:
                hours = np.arange(start, cut, HOUR)
                liquidated = recorded(client, hours)
                found = calibrate(market, hours, HOUR, liquidated, cut)
                predicted[HERE] = ask(client, "position_book", truth, found.parameters)
            predicted |= {model: ask(client, model, truth) for model in OTHERS}
        predicted[CONSTANT] = book_profiles(
            constant_flow(constant_open_interest(market)), with_hazards(DEFAULTS), truth
        )
        # A step away from price on both sides.
        predicted[SHIFTED] = np.roll(predicted[DEFAULT], round(0.01 * known.BINS / known.REACH), axis=2)
        predicted[VOLUME] = volume_profiles(market, truth)
        if task.oracles:
            predicted |= oracle_profiles(market, truth)
    return Scored(task, truth.at, truth.true, truth.half, predicted, time.monotonic() - begun)


def calibrated_elsewhere(seed: int, days: int) -> Parameters:
    """Return parameters calibrated on the whole of a plain market that is not scored."""
    import liqclient
    from liqserver.calibrate import calibrate
    from liqserver.rpc.server import EmbeddedServer
    from liqserver.simulate.archive import write_archive

    config = configuration("plain", seed, days)
    start = config.start_ms * 1_000_000
    with tempfile.TemporaryDirectory() as name:
        folder, database = Path(name, "market"), Path(name, "market.duckdb")
        write_archive(config, folder)
        market = stored(folder, database)
        hours = np.arange(start, start + days * DAY, HOUR)
        with EmbeddedServer(database) as server, liqclient.Client(server.target, timeout=600) as client:
            liquidated = recorded(client, hours)
        return calibrate(market, hours, HOUR, liquidated, start + days * DAY).parameters


def figures(runs: list[Scored]) -> dict[str, dict[tuple[str, int], Floats]]:
    """Return the lift of longs and shorts (2,) by row and by market and seed; NaN where there is too little."""
    out: dict[str, dict[tuple[str, int], Floats]] = {}
    by_market = {(run.task.market, run.task.seed): run for run in runs}
    for key, run in by_market.items():
        rows = dict(run.predicted)
        # The map of the next seed, around this market's price.
        others = [seed for market, seed in by_market if market == key[0] and seed != key[1]]
        if others:
            after = [seed for seed in others if seed > key[1]]
            rows[FOREIGN] = by_market[key[0], min(after or others)].predicted[DEFAULT]
        for row, predicted in rows.items():
            skills = [known.truth_skill(predicted[side], run.true[side], run.at // DAY) for side in range(2)]
            out.setdefault(row, {})[key] = np.array([skill.lift.value if skill else np.nan for skill in skills])
        out.setdefault(CEILING, {})[key] = np.array(
            [known.ceiling(run.half[side], run.true[side] - run.half[side]) for side in range(2)]
        )
    return out


def show(found: dict[str, dict[tuple[str, int], Floats]]) -> None:
    """Print a table of the models over all markets, and one of the markets."""
    print(f"{'lift':<34}{'all':>6}  {'95 % over markets':<16}{'longs':>8}{'shorts':>8}   markets")
    for row in (row for row in ROWS if row in found):
        values = np.array(list(found[row].values()))
        if np.isnan(values).any():
            print(f"{row:<34}not enough data")
            continue
        over = known.mean_estimate(values.mean(axis=1), np.arange(len(values)))
        between = f"[{over.low:.3f}, {over.high:.3f}]" if len(values) >= MIN_DAYS else ""
        longs, shorts = values.mean(axis=0)
        print(f"{row:<34}{over.value:>6.3f}  {between:<16}{longs:>8.3f}{shorts:>8.3f}   {len(values)}")
    heads = {DEFAULT: "book", ELSEWHERE: "elsewhere", HERE: "before", "openinterest": "openint.", FITTED: "fitted"}
    heads = {row: head for row, head in {**heads, CEILING: "ceiling"}.items() if row in found}
    print(f"\n{'market':<34}" + "".join(f"{head:>10}" for head in heads.values()) + "   seeds")
    for market in dict.fromkeys(market for market, _ in found[DEFAULT]):
        cells = ""
        for row in heads:
            own = [values.mean() for (name, _), values in found[row].items() if name == market]
            cells += f"{np.mean(own):>10.3f}" if own else f"{'':>10}"
        print(f"{market:<34}{cells}   {len([name for name, _ in found[DEFAULT] if name == market])}", flush=True)


def write(path: Path, found: dict[str, dict[tuple[str, int], Floats]]) -> None:
    """Write the lift of longs and shorts of every market and seed."""
    plain = {
        row: [{"market": market, "seed": seed, "lift": values.tolist()} for (market, seed), values in of.items()]
        for row, of in found.items()
    }
    path.write_text(json.dumps(plain, indent=1))


def run(given: argparse.Namespace, progress: Callable[[str], None]) -> list[Scored]:
    """Score every market with every seed."""
    calibrated = None
    if given.calibration_seed in given.seeds:
        raise SystemExit(f"--calibration-seed was {given.calibration_seed}; it must be none of the seeds scored")
    if given.calibrate:
        calibrated = calibrated_elsewhere(given.calibration_seed, given.days)
        progress(f"calibrated on seed {given.calibration_seed}, plain")
        if given.verbose:
            progress(str(calibrated))
    tasks = [
        Task(market, seed, given.days, calibrated, given.oracles) for seed in given.seeds for market in given.markets
    ]
    done: list[Scored] = []
    with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
        for future in as_completed([pool.submit(score, task) for task in tasks]):
            scored = future.result()
            done.append(scored)
            if given.json:
                write(given.json, figures(done))
            lift = figures([scored])
            progress(
                f"{len(done)} of {len(tasks)}: {scored.task.market}, seed {scored.task.seed}, {scored.seconds:.0f} s, "
                f"lift {lift[DEFAULT][scored.task.market, scored.task.seed].mean():.3f} "
                f"of at most {lift[CEILING][scored.task.market, scored.task.seed].mean():.3f}"
            )
    return sorted(done, key=lambda scored: (given.markets.index(scored.task.market), scored.task.seed))


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--markets",
        nargs="+",
        default=["scenarios"],
        help=f"of {', '.join((*GROUPS, *MARKETS))}; a group stands for all of its own",
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4, 5])
    parser.add_argument(
        "--days", type=int, default=34, help=f"of each market; what is after the first {CUT_DAYS} is scored"
    )
    parser.add_argument("--calibration-seed", type=int, default=1001)
    parser.add_argument("--no-calibration", dest="calibrate", action="store_false", help="none on another market")
    parser.add_argument("--no-oracles", dest="oracles", action="store_false")
    parser.add_argument("--jobs", type=int, default=1, help="markets at a time")
    parser.add_argument("--json", type=Path, help="write the lift of every market and seed to this file, too")
    parser.add_argument("--verbose", action="store_true", help="print calibrated parameters")
    given = parser.parse_args(arguments)
    given.markets = [name for market in given.markets for name in GROUPS.get(market, (market,))]
    unknown = [name for name in given.markets if name not in MARKETS]
    if unknown:
        parser.error(f"--markets was {unknown[0]!r}; allowed: {', '.join((*GROUPS, *MARKETS))}")
    if given.days < CUT_DAYS + MIN_DAYS:
        parser.error(f"--days was {given.days}; allowed: at least {CUT_DAYS + MIN_DAYS}")

    found = figures(run(given, lambda text: print(text, file=sys.stderr, flush=True)))
    show(found)


if __name__ == "__main__":
    main()
