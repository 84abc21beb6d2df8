"""Figures of docs/accuracy.md on calibrations and bands.

    python -m benchmarks.calibration                             # shared data: bands, what they leave out
    python -m benchmarks.calibration --grid                      # and what other parameters are worth
    python -m benchmarks.calibration --simulated 11 12 13        # simulated markets of these seeds: true books, too
    python -m benchmarks.calibration --data FOLDER --symbol ETHUSDT --cuts 2026-03-01

A folder holds archive files, and ``liquidations_1h.csv`` of what was liquidated by hour.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from liqserver.calibrate import (
    Calibration,
    Evidence,
    calibrate_best,
    fit_scatter,
    fit_weights,
    gather,
    gather_all,
    plausible_weights,
    weight_variance,
)
from liqserver.live.truth import Truth, known_liquidations
from liqserver.models.market import Market, ModelLevels
from liqserver.models.position_book import DEFAULTS, BookTimeline
from liqserver.score import by_interval, log_amount, path_controls, placement_skill
from liqserver.score.bands import Coverage, band_coverage

HOUR, DAY = 3_600_000_000_000, 86_400_000_000_000
SHARED = Path(os.environ.get("LIQSERVER_SHARED_DATA", Path(__file__).resolve().parents[1] / ".." / "shared" / "data"))
CUTS = ("2025-12-28", "2026-01-05", "2026-01-12", "2026-01-20", "2026-02-01")
BAND = 0.9
SIDES = ("longs", "shorts")
# Simulated markets: days, what part of them comes before the cut, how far from price levels count, widths of bins.
DAYS, BEFORE, REACH, WIDTHS = 40, 0.6, 0.12, (100.0, 500.0)

Floats = NDArray[np.float64]


def moment(text: str) -> int:
    """Return UNIX nanoseconds of a date, UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


def stored(folder: Path, database: Path, symbol: str) -> tuple[Market, Truth]:
    """Ingest a folder; return the market and what is known of its liquidations."""
    from liqserver.store.database import Database
    from liqserver.store.ingest import Status, ingest
    from liqserver.store.markets import StoreMarkets

    with Database(database) as opened:
        report = ingest(opened, [folder], symbol=symbol if any(folder.rglob("liquidations_1h.csv")) else "")
        if report.of(Status.REJECTED):
            raise SystemExit(f"rejected: {report.of(Status.REJECTED)}")
        market = StoreMarkets(opened).market("BINANCE", symbol)
        truth = known_liquidations(opened, "BINANCE", symbol, until=int(market.history.step_end[-1]))
    return market, truth


def under(found: Calibration, every: tuple[Evidence, ...]) -> Evidence:
    """Return the evidence that a calibration was made of."""
    [evidence] = [of for of in every if of.prior.hazard_exponent == found.parameters.hazard_exponent]
    return evidence


def by_hour(found: Calibration, evidence: Evidence) -> tuple[Floats, Floats]:
    """Return predicted liquidations, and the variance of their logarithm over plausible weights, both (2, N)."""
    swept = evidence.response * found.fit.weight
    members = plausible_weights(found.shape_covariance)
    return swept.sum(axis=2), weight_variance(np.moveaxis(swept, 2, 1), members)


def shown(of: Coverage | None) -> str:
    """Return a coverage as text."""
    if of is None:
        return f"{'not enough data':<40}"
    e = of.share
    return f"{e.value:.3f} [{e.low:.3f}, {e.high:.3f}]  {of.below:.3f} {of.above:.3f}".ljust(40)


def report_bands(every: tuple[Evidence, ...], real: Floats, cuts: list[int]) -> None:
    """Print how often the record after each cut lies in bands from before it."""
    print(f"{BAND:.0%} bands: share of hours after the cut within [95 %], below, above")
    print(f"{'cut':<12}{'side':<8}{'bands':<40}{'without what is not known of weights':<40}by third of predicted")
    for cut in cuts:
        found = calibrate_best(every, real, cut)
        evidence = under(found, every)
        predicted, variance = by_hour(found, evidence)
        after = (evidence.open_time >= cut) & np.isfinite(predicted).all(axis=0)
        at = evidence.open_time[after]
        wide = found.scatter.band(predicted[:, after], BAND, variance[:, after])
        narrow = found.scatter.band(predicted[:, after], BAND)
        for side, name in enumerate(SIDES):
            y = real[side, after]
            order = np.argsort(predicted[side, after])
            thirds = [
                float(np.mean((y[part] >= wide[0][side, part]) & (y[part] <= wide[1][side, part])))
                for part in np.array_split(order[np.isfinite(y[order])], 3)
            ]
            print(
                f"{np.datetime64(cut, 'ns').astype('datetime64[D]')!s:<12}{name:<8}"
                + shown(band_coverage(at, wide[0][side], wide[1][side], y))
                + shown(band_coverage(at, narrow[0][side], narrow[1][side], y))
                + " ".join(f"{of:.2f}" for of in thirds)
                + f"  n = {np.isfinite(y).sum()}, hazard exponent {found.parameters.hazard_exponent:g}"
            )


def report_walk_forward(every: tuple[Evidence, ...], real: Floats, first: int) -> None:
    """Print how often the record lies in bands of a calibration of the week before."""
    low, high = np.full_like(real, np.nan), np.full_like(real, np.nan)
    evidence = every[0]
    for cut in range(first, int(evidence.open_time[-1]), 7 * DAY):
        found = calibrate_best(every, real, cut)
        evidence = under(found, every)
        predicted, variance = by_hour(found, evidence)
        week = (evidence.open_time >= cut) & (evidence.open_time < cut + 7 * DAY)
        low[:, week], high[:, week] = found.scatter.band(predicted[:, week], BAND, variance[:, week])
    for side, name in enumerate(SIDES):
        covered = band_coverage(evidence.open_time, low[side], high[side], real[side])
        print(f"calibrated anew each week, {name:<8}{shown(covered)}n = {0 if covered is None else covered.scored}")


def scorer(market: Market, at: NDArray[np.int64], real: Floats, cut: int) -> Callable[[Floats], str]:
    """Return what shows r, R² alone and gain after the cut of predictions (2, N), longs and shorts."""
    history = market.history
    volume = np.concatenate([[0.0], np.cumsum(history.flow_buy + history.flow_sell)])[history.flow_offset]
    hours = by_interval(
        history.step_end, history.mark_high, history.mark_low, history.mark_close, np.diff(volume), at, HOUR
    )
    controls = [path_controls(hours, side) for side in range(2)]

    def scored(predicted: Floats) -> str:
        skills = [placement_skill(at, predicted[s], real[s], controls[s], cut, resamples=2) for s in range(2)]
        return "".join(
            f"{'not enough data':<27}"
            if of is None
            else f"{of.r.value:.3f}  {of.alone.value:.3f}  {of.gain.value:+.3f}".ljust(27)
            for of in skills
        )

    return scored


def report_grid(market: Market, evidence: Evidence, real: Floats, cut: int, scored: Callable[[Floats], str]) -> None:
    """Print what other parameters than weights are worth, before the cut by cross-validation and after it."""
    prior = default_weights()
    end = int(evidence.open_time[-1]) + HOUR
    logs = []
    print("kappa, trend_tilt, hazard_exponent: R² before the cut by cross-validation; after it r, R² alone, gain")
    for kappa, tilt, exponent in product((0.6, 0.8, 1.0), (0.15, 0.25, 0.35), (0.5, 0.7, 0.9)):
        changed = replace(
            DEFAULTS, kappa=kappa, trend_tilt=tilt, hazard_exponent=exponent, no_level_hazard=8.0**exponent
        )
        other = gather(market, evidence.open_time, HOUR, end, prior=changed)
        use = np.flatnonzero(other.usable(real, cut))
        error, variation = np.zeros(2), np.zeros(2)
        for block in np.array_split(use, 6):
            # A day is left out on either side of the block.
            fitted = use[(use < block[0] - 24) | (use > block[-1] + 24)]
            weights = fit_weights(other.response[:, fitted], real[:, fitted], prior).weight
            x, y = log_amount(other.response @ weights), log_amount(real)
            for side in range(2):
                line = np.polyfit(x[side, fitted], y[side, fitted], 1)
                error[side] += np.square(y[side, block] - np.polyval(line, x[side, block])).sum()
                variation[side] += np.square(y[side, block] - y[side, fitted].mean()).sum()
        predicted = other.response @ other.calibrate(real, cut).fit.weight
        logs.append(log_amount(predicted))
        r2 = 1 - error / variation
        print(f"  {kappa:g} {tilt:<5g} {exponent:<5g} {r2[0]:.4f} {r2[1]:.4f}   {scored(predicted)}", flush=True)
    print(f"  {'mean of the logarithms of all':<33}{scored(np.exp(np.mean(logs, axis=0)) * 1e6 - 1e4)}")
    before, after = evidence.usable(real, cut), evidence.usable(real, end) & (evidence.open_time >= cut)
    common = fit_weights(evidence.response[:, before], real[:, before], prior).weight
    for spread in (0.25, 1.0):
        apart = [
            evidence.response[s]
            @ fit_weights(evidence.response[[s, s]][:, before], real[[s, s]][:, before], common, spread=spread).weight
            for s in range(2)
        ]
        print(f"  {f'sides apart, spread {spread:g}':<33}{scored(np.stack(apart))}")
    hindsight = fit_weights(evidence.response[:, after], real[:, after], prior, spread=2.0).weight
    print(f"  {'weights fitted in hindsight':<33}{scored(evidence.response @ hindsight)}")


def default_weights() -> Floats:
    """Return the share of what opens by tier, by default."""
    weight = np.array([tier.weight for tier in DEFAULTS.tiers or ()])
    return weight / (weight.sum() + float(DEFAULTS.no_level_weight or 0.0))


def report_members(market: Market, evidence: Evidence, real: Floats, cut: int) -> None:
    """Print what other parameters than weights move predictions by, beside what the record differs from them."""
    found = evidence.calibrate(real, cut)
    predicted, variance = by_hour(found, evidence)
    known = np.isfinite(predicted).all(axis=0) & np.isfinite(real).all(axis=0) & (evidence.open_time < cut)
    x, y = log_amount(predicted[:, known]), log_amount(real[:, known])
    noise = [np.std(y[s] - np.polyval(np.polyfit(x[s], y[s], 1), x[s])) for s in range(2)]
    price = float(market.history.mark_close[market.history.steps_until(cut) - 1])
    width = WIDTHS[-1]
    first, count = int(price * (1 - REACH) / width), int(2 * REACH * price / width) + 1

    def bins(of: Calibration) -> Floats:
        return _binned(BookTimeline(market, of.parameters).at(cut), first, count, width)

    by_tier = bins(found)
    levels = by_tier.sum(axis=1)
    weights = weight_variance(by_tier, plausible_weights(found.shape_covariance))
    held = levels > levels.max() / 1e3

    def apart(one: Floats, other: Floats) -> float:
        difference = one - other
        return float(np.sqrt(np.mean([np.var(difference[s]) for s in range(2)])))

    print("standard deviation of log predicted by hour | of log levels by bin of 500, up to a common factor")
    print(f"  what the record differs by: {noise[0]:.3f} longs, {noise[1]:.3f} shorts")
    print(f"  plausible weights: {np.sqrt(variance[:, known].mean()):.3f} | {np.sqrt(weights[held].mean()):.3f}")
    for name, values in (("kappa", (0.3, 0.5, 1.0)), ("hazard_exponent", (0.4, 1.0)), ("trend_tilt", (0.15, 0.4))):
        for value in values:
            changed = replace(DEFAULTS, **{name: value})
            if name == "hazard_exponent":
                changed = replace(changed, no_level_hazard=8.0**value)
            other = gather(market, evidence.open_time, HOUR, int(evidence.open_time[-1]) + HOUR, prior=changed)
            moved = other.calibrate(real, cut)
            by_hours = apart(log_amount((other.response @ moved.fit.weight)[:, known]), x)
            ratio = np.where(held, bins(moved).sum(axis=1), 1.0) / np.where(held, levels, 1.0)
            by_bin = float(np.sqrt(np.mean([np.var(np.log(ratio[s, held[s]])) for s in range(2)])))
            print(f"  {name} {value:g}: {by_hours:.3f} | {by_bin:.3f}")


def report_open_interest(
    market: Market, evidence: Evidence, real: Floats, cut: int, scored: Callable[[Floats], str]
) -> None:
    """Print what weights are worth that are fitted to falls of open interest, as if nothing were recorded."""
    history, at = market.history, evidence.open_time
    known = np.flatnonzero(~np.isnan(history.open_interest))
    fall = np.maximum(-np.diff(history.open_interest[known]), 0.0) * history.mark_close[known[1:]]
    move = np.diff(np.log(history.mark_close[known]))
    hour = (history.step_end[known[1:]] - 1 - at[0]) // HOUR
    inside = (hour >= 0) & (hour < len(at))

    def summed(amount: Floats) -> Floats:
        return np.bincount(hour[inside], amount[inside], minlength=len(at))

    use = evidence.usable(real, cut)
    response = evidence.response[:, use]
    prior = default_weights()
    drops = np.stack([summed(fall * (move < 0)), summed(fall * (move > 0))])
    moved = np.stack([summed(fall * np.maximum(-move, 0.0)), summed(fall * np.maximum(move, 0.0))])
    moved *= drops.sum() / moved.sum()
    print("weights fitted before the cut to           longs: r, R² alone, gain   shorts: r, R² alone, gain")
    for name, target in (
        ("nothing: the defaults", None),
        ("recorded liquidations", real),
        ("falls of open interest by side of the move", drops),
        ("falls times the move", moved),
    ):
        weights = prior if target is None else fit_weights(response, target[:, use], prior).weight
        x = evidence.response @ weights
        print(f"  {name:<44}" + scored(x))
    both = np.isfinite(real).all(axis=0)
    r = [np.corrcoef(log_amount(drops[s, both]), log_amount(real[s, both]))[0, 1] for s in range(2)]
    print(f"  correlation of log falls and log recorded: {r[0]:.2f}, {r[1]:.2f}")


def report_simulated(seed: int) -> None:
    """Print how bands of a simulated market cover its record and its true book, and what a full feed leaves out."""
    import duckdb

    from liqserver.simulate.archive import write_archive
    from liqserver.simulate.config import SimulationConfig

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "market")
        write_archive(SimulationConfig(days=DAYS, seed=seed, trades_per_day=40_000), folder)
        market, truth = stored(folder, Path(name, "market.duckdb"), "BTCUSDT")
        book = _read(duckdb, folder, "book", "ts, side, liquidation_price, qty")
        orders = _read(duckdb, folder, "liquidations", "ts, side, qty * average_price AS notional, in_feed")
    end = int(market.history.step_end[-1])
    cut = int(truth.open_time[int(len(truth.open_time) * BEFORE)])
    every = gather_all(market, truth.open_time, HOUR, end)
    found = calibrate_best(every, truth.liquidated, cut)
    evidence = under(found, every)
    predicted, variance = by_hour(found, evidence)
    after = evidence.open_time >= cut
    low, high = found.scatter.band(predicted[:, after], BAND, variance[:, after])
    y = truth.liquidated[:, after]
    inside = np.mean((y >= low) & (y <= high), axis=1)
    r = {
        of.prior.hazard_exponent: [
            np.corrcoef(log_amount(x[s, after]), log_amount(y[s]))[0, 1].round(3).item() for s in range(2)
        ]
        for of, x in ((of, by_hour(of.calibrate(truth.liquidated, cut), of)[0]) for of in every)
    }
    print(
        f"seed {seed}: {found.intervals} hours before the cut, found hazard exponent {found.parameters.hazard_exponent}"
    )
    print(f"  r after the cut by exponent: {r}")
    print(f"  within {BAND:.0%} bands: {inside[0]:.3f} of longs, {inside[1]:.3f} of shorts")
    _report_true_book(market, found, book, cut)
    _report_saturation(evidence, truth, orders, cut)


def _read(duckdb: object, folder: Path, kind: str, columns: str) -> dict[str, NDArray[np.generic]]:
    files = str(folder / "truth" / f"*-{kind}-*.parquet")
    sql = f"SELECT {columns} FROM '{files}'"
    return duckdb.connect().execute(sql).fetchnumpy()  # type: ignore[attr-defined, no-any-return]


def _report_true_book(market: Market, found: Calibration, book: dict[str, NDArray[np.generic]], cut: int) -> None:
    """Print the coverage of bins, the true book brought to the scale of the map by its total before the cut."""
    timeline = BookTimeline(market, found.parameters)
    members = plausible_weights(found.shape_covariance)
    level = np.ma.filled(book["liquidation_price"], np.nan).astype(np.float64)
    qty, side = np.asarray(book["qty"], np.float64), np.where(np.asarray(book["side"]) == "LONG", 0, 1)
    times = np.unique(book["ts"])
    for width in WIDTHS:
        ratio: list[Floats] = []
        inside: list[NDArray[np.bool_]] = []
        above: list[NDArray[np.bool_]] = []
        # Every six hours: the days before the cut for the scale, then those after it.
        for ts in times[(times >= cut - 5 * DAY)][::6]:
            levels = timeline.at(int(ts))
            price = float(market.history.mark_close[market.history.steps_until(int(ts)) - 1])
            first, count = int(price * (1 - REACH) / width), int(2 * REACH * price / width) + 1
            by_tier = _binned(levels, first, count, width)
            there = (book["ts"] == ts) & np.isfinite(level)
            true = np.zeros((2, count))
            at = (level[there] / width).astype(np.int64) - first
            near = (at >= 0) & (at < count)
            np.add.at(true, (side[there][near], at[near]), (level[there] * qty[there])[near])
            edge = width * (first + np.arange(count))
            held = by_tier.sum(axis=1)
            shown = np.stack([edge + width <= price, edge >= price]) & (held > 0)
            if ts < cut:
                ratio.append(np.where(shown, true, 0).sum(axis=1) / np.where(shown, held, 0).sum(axis=1))
                continue
            low, high = found.scatter.band(held, BAND, weight_variance(by_tier, members))
            scale = (np.mean(ratio, axis=0) / found.scatter.scale)[:, None]
            inside.append(((true >= low * scale) & (true <= high * scale))[shown])
            above.append((true > high * scale)[shown])
        share, over = np.concatenate(inside), np.concatenate(above)
        print(
            f"  true book, bins of {width:g}: {share.mean():.3f} within, {over.mean():.3f} above, {len(share):,} bins; "
            f"it holds {np.mean(ratio, axis=0).round(1)} times the map"
        )


def _binned(levels: ModelLevels, first: int, count: int, width: float) -> Floats:
    """Return notional by side, tier and bin."""
    middle = (levels.first_bin + np.arange(levels.qty.shape[2]) + 0.5) * levels.width
    at = (middle / width).astype(np.int64) - first
    near = (at >= 0) & (at < count)
    out = np.zeros((*levels.qty.shape[:2], count))
    np.add.at(out, (slice(None), slice(None), at[near]), (levels.qty * middle)[:, :, near])
    return out


def _report_saturation(evidence: Evidence, truth: Truth, orders: dict[str, NDArray[np.generic]], cut: int) -> None:
    """Print what it changes to make up for orders that the feed left out, by occupied seconds, against all orders."""
    ts, notional = np.asarray(orders["ts"], np.int64), np.asarray(orders["notional"], np.float64)
    side = np.where(np.asarray(orders["side"]) == "LONG", 0, 1)
    shown = np.asarray(orders["in_feed"], bool)
    hour = (ts - 1 - truth.open_time[0]) // HOUR
    inside = (hour >= 0) & (hour < len(truth.open_time))

    def summed(use: NDArray[np.bool_], factor: Floats | float = 1.0) -> Floats:
        out = np.zeros((2, len(truth.open_time)))
        use = use & inside
        np.add.at(out, (side[use], hour[use]), (notional * factor)[use])
        return out

    def stands_for(seconds: int) -> Floats:
        """Return how many orders each shown one stands for: -ln(1 - occupied / all) is the rate they come at."""
        second, of_order = np.unique(ts[shown] // 10**9, return_inverse=True)
        _, part, occupied = np.unique(second // seconds, return_inverse=True, return_counts=True)
        rate = -np.log1p(-np.minimum(occupied, seconds - 0.5) / seconds)
        out = np.ones(len(ts))
        out[shown] = (seconds * rate / occupied)[part][of_order]
        return out

    every = summed(np.ones(len(ts), bool))
    after = evidence.open_time >= cut
    use = evidence.usable(truth.liquidated, cut)
    prior = default_weights()
    for name, target in (
        ("as the feed has it", summed(shown)),
        ("made up by 5 s", summed(shown, stands_for(5))),
        ("made up by 60 s", summed(shown, stands_for(60))),
        ("all orders", every),
    ):
        fit = fit_weights(evidence.response[:, use], target[:, use], prior)
        x = evidence.response @ fit.weight
        r = [np.corrcoef(log_amount(x[s, after]), log_amount(every[s, after]))[0, 1] for s in range(2)]
        scale = fit_scatter(x[:, use], target[:, use]).scale
        print(
            f"  fitted to {name:<20} {target.sum() / every.sum():.2f} of the notional, r with all orders after the cut "
            f"{r[0]:.3f}, {r[1]:.3f}, scale {scale[0]:.2f}, {scale[1]:.2f}"
        )


def main(arguments: list[str] | None = None) -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=SHARED / "binance-btc-2025-12", help="folder of archive files")
    parser.add_argument("--symbol", default="BTCUSDT")
    parser.add_argument("--cuts", nargs="+", type=moment, default=[moment(of) for of in CUTS], help="first days scored")
    parser.add_argument("--simulated", nargs="+", type=int, default=[], help="seeds of simulated markets, instead")
    parser.add_argument("--grid", action="store_true", help="other parameters than weights, too; takes a minute")
    given = parser.parse_args(arguments)
    for seed in given.simulated:
        report_simulated(seed)
    if given.simulated:
        return
    with tempfile.TemporaryDirectory() as folder:
        market, truth = stored(given.data, Path(folder, "market.duckdb"), given.symbol)
    start, end = int(market.history.step_end[0]) // HOUR * HOUR, int(market.history.step_end[-1])
    hours = np.arange(start, end - HOUR + 1, HOUR, dtype=np.int64)
    every, real = gather_all(market, hours, HOUR, end), truth.at(hours)
    report_bands(every, real, given.cuts)
    report_walk_forward(every, real, given.cuts[0])
    evidence = every[0]
    chosen = given.cuts[len(given.cuts) * 3 // 4]
    report_members(market, evidence, real, chosen)
    scored = scorer(market, hours, real, chosen)
    report_open_interest(market, evidence, real, chosen, scored)
    if given.grid:
        report_grid(market, evidence, real, chosen, scored)


if __name__ == "__main__":
    main()
