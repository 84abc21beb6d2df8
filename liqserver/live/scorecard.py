"""Scorecards: how well models predict where was really liquidated, with what they are compared with.

Each row is a prediction of what is liquidated in each interval, from what was known when it began (models that evolve
also use what happened in it until a level was swept). ``liqserver.score`` measures all of them in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from liqserver.calibrate import NotEnoughData, calibrate
from liqserver.kernel import Source
from liqserver.live import intervals
from liqserver.live.answers import LevelsQuery, ModelChoice
from liqserver.live.calibrations import NONE
from liqserver.live.engine import LevelsEngine
from liqserver.live.errors import InvalidField, MissingInput, OutsideCoverage
from liqserver.live.provenance import digest
from liqserver.live.question import Question, shown_time
from liqserver.live.resident import ResidentMarket
from liqserver.live.truth import HOUR, Truth, known_liquidations
from liqserver.models import ablations, position_book
from liqserver.models.market import EvolvingTimeline, Market, ModelLevels
from liqserver.models.parameters import Compat, Parameters
from liqserver.models.registry import DEFAULT_MODEL, MODELS
from liqserver.score import (
    HISTORY,
    Estimate,
    Intervals,
    Skill,
    by_interval,
    controls_skill,
    parts_of,
    path_controls,
    placement_skill,
)
from liqserver.score.effects import BANDS, HORIZON, Effect, bands_around, impact, in_bands, magnet, moved_usually
from liqserver.score.sweep import Path, by_distance, swept, swept_profile, swept_volume
from liqserver.store.calibrations import identified
from liqserver.store.database import Database

MINUTE, DAY = 60_000_000_000, 86_400_000_000_000
MAX_INTERVALS = 10_000
BOOK = position_book.ID
NULL = "constant flow"
"""Name of the row that has to be beaten."""

SHIFT = 0.01
"""How far the map is moved to be in the wrong place, as a fraction of price."""

_SHIFT_OF_INPUTS = 10 * DAY
_FINE = 5 * MINUTE

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class RowKind(StrEnum):
    """What a row is."""

    CONTROLS = "controls"
    MODEL = "model"
    ABLATION = "ablation"
    BASELINE = "baseline"


@dataclass(frozen=True, slots=True)
class ScorecardQuery:
    """What is asked.

    Attributes
    ----------
    symbol, venue : str
        The market; the venue may be empty where one only has the symbol.
    cut : int
        UNIX nanoseconds: what begins before it is fitted on, the rest is scored.
    start, end : int or None
        UNIX nanoseconds; None for as early as possible, and for the newest data.
    models : tuple of ModelChoice
        Empty for all.
    interval : int
        Nanoseconds; 0 for an hour.
    calibration : str
        Of the position book, as in ``LevelsQuery``: none that looks beyond the cut.
    """

    symbol: str
    venue: str
    cut: int
    start: int | None = None
    end: int | None = None
    models: tuple[ModelChoice, ...] = ()
    interval: int = 0
    calibration: str = ""


@dataclass(frozen=True, slots=True)
class SideScore:
    """Score of one side; ``refused`` says why there is none, and is empty where there is one."""

    fitted: int
    scored: int
    days: int
    refused: str
    skill: Skill | None = None
    # Of the row of the controls.
    controls: Estimate | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One row.

    Attributes
    ----------
    name, description : str
        For people.
    kind : RowKind
        What it is.
    model, parameters_hash, calibration : str
        Model, hash of it and its parameters, id of the calibration they are from; empty where there is none.
    unavailable : str
        Why there is no prediction; empty where there is one.
    sides : tuple of SideScore
        Longs, shorts; empty without a prediction.
    predicted : float64, shape (2, N), or None
        Quote units; None but for models.
    """

    name: str
    description: str
    kind: RowKind
    model: str = ""
    parameters_hash: str = ""
    calibration: str = ""
    unavailable: str = ""
    sides: tuple[SideScore, ...] = ()
    predicted: Floats | None = None


@dataclass(frozen=True, slots=True)
class NamedEffect:
    """What came out of a test of what levels do to price."""

    name: str
    description: str
    unit: str
    model: str
    effect: Effect


@dataclass(frozen=True, slots=True)
class ScorecardAnswer:
    """A scorecard; N intervals.

    Attributes
    ----------
    venue, symbol : str
        The market.
    start, cut, end, interval : int
        UNIX nanoseconds and nanoseconds; nothing after ``end`` was used.
    truth_source : str
        Where real liquidations are from.
    rows, effects : tuple
        What came out.
    open_time : int64, shape (N,)
        UNIX nanoseconds.
    liquidated : float64, shape (2, N)
        Really, longs and shorts, quote units; NaN where not known.
    watermarks : dict of int by str
        UNIX nanoseconds up to which each input reaches.
    notices : tuple of str
        What a reader should know.
    """

    venue: str
    symbol: str
    start: int
    cut: int
    end: int
    interval: int
    truth_source: str
    rows: tuple[Row, ...]
    effects: tuple[NamedEffect, ...]
    open_time: Ints
    liquidated: Floats
    watermarks: dict[str, int]
    notices: tuple[str, ...]


class Scorecards:
    """Makes scorecards; calls may come from several threads.

    Parameters
    ----------
    engine : LevelsEngine
        Has the markets and their timelines.
    database : Database
        Has what was really liquidated.
    """

    def __init__(self, engine: LevelsEngine, database: Database) -> None:
        self._engine = engine
        self._database = database

    def scorecard(self, query: ScorecardQuery) -> ScorecardAnswer:
        """Answer ``query``; it takes some seconds.

        Raises
        ------
        AskError
            See ``liqserver.live.errors``. That a model lacks an input, or that there is too little data for a score, is
            part of the answer, and no error.
        """
        for i, choice in enumerate(query.models):
            # What is wrong with a question is said before anything is computed.
            with suppress(MissingInput):
                self._engine.question(_asked(query, choice), f"models[{i}]", moment=query.cut)
        own = [choice for choice in query.models if (choice.model or DEFAULT_MODEL) == BOOK]
        choice = own[0] if own else ModelChoice(BOOK, Parameters())
        book = self._engine.question(_asked(query, choice), "models", moment=query.cut)
        ground = ground_of(query, book.resident, self._database)
        # What is fitted here begins where every calibration does.
        prior = self._engine.question(replace(_asked(query, choice), calibration=NONE), "models").parameters
        still = _still(ground, book)
        rows = [_controls_row(ground), *_rows(self._engine, query, ground, book, prior, still)]
        return ScorecardAnswer(
            venue=ground.market.venue,
            symbol=ground.market.symbol,
            start=int(ground.open_time[0]),
            cut=query.cut,
            end=ground.end,
            interval=ground.period,
            truth_source=ground.truth.source,
            rows=tuple(rows),
            effects=tuple(_effects(ground, book, still.held)),
            open_time=ground.open_time,
            liquidated=ground.real,
            watermarks=book.resident.watermarks(ground.end),
            notices=tuple(_notices(ground, book.resident)),
        )


# --- what rows are measured on ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ground:
    """What all rows of a scorecard have in common; N intervals, of M with those that controls look back at.

    ``market`` ends where the last interval does, ``lead`` are all M intervals with their prices, ``start_price`` (N,)
    is the newest price at the start of each of the N.
    """

    resident: ResidentMarket
    market: Market
    truth: Truth
    lead: Intervals
    open_time: Ints
    period: int
    cut: int
    end: int
    start_price: Floats
    real: Floats
    controls: tuple[Floats, Floats]

    @property
    def edges(self) -> Ints:
        """UNIX nanoseconds between intervals, shape (N + 1,)."""
        return np.append(self.open_time, self.end)

    @property
    def high(self) -> Floats:
        """Highest price of each interval, shape (N,)."""
        return self.lead.high[-len(self.open_time) :]

    @property
    def low(self) -> Floats:
        """Lowest price of each interval, shape (N,)."""
        return self.lead.low[-len(self.open_time) :]

    def paths(self) -> Iterator[tuple[int, int, Path]]:
        """Yield number, start (UNIX nanoseconds) and path of each interval whose prices are known."""
        for i in np.flatnonzero(np.isfinite(self.start_price + self.high + self.low)).tolist():
            path = Path(float(self.start_price[i]), float(self.high[i]), float(self.low[i]))
            yield i, int(self.open_time[i]), path

    def liquidated(self, audit: Audit, edges: Ints) -> Floats:
        """Return what an account of changes says was liquidated between ``edges`` (K + 1,), quote units, (2, K)."""
        ts, rows = audit(int(edges[0]), int(edges[-1]))
        notional = np.nan_to_num(rows[:, 4:6] * self.resident.prices(ts)[:, None])
        return intervals.summed(ts, notional, edges).T

    def scores(self, predicted: Floats, null: Floats | None) -> tuple[SideScore, ...]:
        """Return the score of longs and shorts of a prediction (2, N), against the null's (2, N) where one is given."""
        return tuple(self._score(side, predicted[side], None if null is None else null[side]) for side in range(2))

    def _score(self, side: int, predicted: Floats, null: Floats | None) -> SideScore:
        controls, real = self.controls[side], self.real[side]
        others = () if null is None else (null,)
        parts = parts_of(self.open_time, controls, self.cut, predicted, real, *others)
        skill = placement_skill(self.open_time, predicted, real, controls, self.cut, null=null)
        refused = ""
        if skill is None:
            refused = parts.shortage or "what is predicted or what is known does not vary"
        return SideScore(parts.fitted, parts.scored, parts.days, refused, skill)


type Audit = Callable[[int, int], tuple[Ints, Floats]]


def ground_of(query: ScorecardQuery, resident: ResidentMarket, database: Database) -> Ground:
    """Return what rows are measured on; raises AskError."""
    period = query.interval or HOUR
    if not (MINUTE <= period <= 4 * HOUR and 4 * HOUR % period == 0):
        raise InvalidField(
            "interval", period, f"must be 0, or from {MINUTE} (a minute) to {4 * HOUR} (4 hours), a part of 4 hours"
        )
    history = resident.market.history
    step = int(np.median(np.diff(history.step_end))) if len(history) > 1 else period
    first = -(-(int(history.step_end[0]) - step) // period) * period
    newest = int(history.step_end[-1])
    end = newest if query.end is None else query.end
    if end > newest:
        raise OutsideCoverage(
            "end", end, first, newest, f"after the data, which ends at {newest} ({shown_time(newest)}): leave it out"
        )
    end = end // period * period
    truth = known_liquidations(database, resident.market.venue, resident.market.symbol, until=end, period=period)
    earliest = first + HISTORY * HOUR
    if earliest >= end:
        raise MissingInput(
            "data",
            f"controls look back {HISTORY} hours, and there are {(end - first) // HOUR} until {shown_time(end)} of "
            f"{resident.market.venue}:{resident.market.symbol}: ingest more",
        )
    start = max(earliest, int(truth.open_time[0])) if query.start is None else -(-query.start // period) * period
    if start < earliest:
        raise OutsideCoverage(
            "start",
            start,
            earliest,
            newest,
            f"less than {HISTORY} hours after the data begins, which is how far controls look back: it must be "
            f"{earliest} ({shown_time(earliest)}) or later",
        )
    if query.cut % period or not start < query.cut < end:
        raise InvalidField(
            "cut",
            query.cut,
            f"must be a multiple of the interval {period} between start {start} ({shown_time(start)}) and end {end} "
            f"({shown_time(end)})",
        )
    if (end - start) // period > MAX_INTERVALS:
        raise InvalidField(
            "interval",
            period,
            f"gives {(end - start) // period} intervals, at most {MAX_INTERVALS} are allowed: ask for less time",
        )
    grid = np.arange(first, end, period, dtype=np.int64)
    flow = np.concatenate([[0.0], np.cumsum(history.flow_buy + history.flow_sell)])[history.flow_offset]
    known = history.until(end)
    lead = by_interval(
        known.step_end,
        known.mark_high,
        known.mark_low,
        known.mark_close,
        np.diff(flow)[: len(known)],
        grid,
        period,
    )
    open_time = grid[grid >= start]
    controls = [path_controls(lead, side, period)[-len(open_time) :] for side in range(2)]
    return Ground(
        resident=resident,
        market=replace(resident.market, history=known),
        truth=truth,
        lead=lead,
        open_time=open_time,
        period=period,
        cut=query.cut,
        end=end,
        start_price=resident.prices(open_time),
        real=truth.at(open_time),
        controls=(controls[0], controls[1]),
    )


def _notices(ground: Ground, resident: ResidentMarket) -> Iterator[str]:
    unknown = int(np.isnan(ground.real).any(axis=0).sum())
    if unknown:
        yield (f"real liquidations are not known in {unknown:,} of {len(ground.open_time):,} intervals: left out")
    if share := resident.kline_volume_share(ground.end):
        yield (f"trades are missing: candles stand in for {share:.1%} of the volume")
    if share := resident.last_price_path_share(ground.end):
        yield (f"mark prices are missing: last prices stand in for {share:.1%} of the path")


# --- rows -------------------------------------------------------------------------------------------------------


def _asked(query: ScorecardQuery, choice: ModelChoice) -> LevelsQuery:
    # Other models have none.
    own = query.calibration if (choice.model or DEFAULT_MODEL) == BOOK else ""
    return LevelsQuery(query.symbol, query.venue, choice.model, choice.parameters, calibration=own)


def _choices(query: ScorecardQuery) -> list[tuple[str, ModelChoice]]:
    """Return the models to score by name."""
    if not query.models:
        out = [(model.id, ModelChoice(model.id, Parameters())) for model in MODELS.values()]
        original = Parameters(compat=Compat.ORIGINAL)
        return out + [
            (f"{model.id}, original formula", ModelChoice(model.id, original))
            for model in MODELS.values()
            if model.original is not None
        ]
    names = [choice.model or DEFAULT_MODEL for choice in query.models]
    return [
        (name if names.count(name) == 1 else f"{name} ({names[: i + 1].count(name)})", choice)
        for i, (name, choice) in enumerate(zip(names, query.models, strict=True))
    ]


def _controls_row(ground: Ground) -> Row:
    sides = []
    for side in range(2):
        controls, real = ground.controls[side], ground.real[side]
        parts = parts_of(ground.open_time, controls, ground.cut, real)
        alone = controls_skill(ground.open_time, real, controls, ground.cut)
        refused = "" if alone is not None else parts.shortage or "what is known does not vary"
        sides.append(SideScore(parts.fitted, parts.scored, parts.days, refused, controls=alone))
    return Row(
        "controls",
        "Range, volume, move against the side and beyond the extremes of 4 to 168 hours: no map at all.",
        RowKind.CONTROLS,
        sides=tuple(sides),
    )


def _rows(
    engine: LevelsEngine, query: ScorecardQuery, ground: Ground, book: Question, prior: Parameters, still: _Still
) -> Iterator[Row]:
    """Yield models, ablations, baselines; ``book`` is what the last two begin with, ``prior`` what is fitted."""
    null = ground.liquidated(_without_flow(ground.market, book).audit, ground.edges)
    for i, (name, choice) in enumerate(_choices(query)):
        try:
            question = engine.question(_asked(query, choice), f"models[{i}]", moment=query.cut)
            predicted = _predicted(ground, question)
        except (MissingInput, OutsideCoverage, InvalidField) as error:
            if query.models and isinstance(error, InvalidField):
                raise
            model = choice.model or DEFAULT_MODEL
            yield Row(name, _how(model), RowKind.MODEL, model=model, unavailable=error.message)
            continue
        yield Row(
            name,
            _how(question.model.id),
            RowKind.MODEL,
            model=question.model.id,
            parameters_hash=question.digest,
            calibration=question.calibration.id if question.calibration is not None else "",
            sides=ground.scores(predicted, null),
            predicted=predicted,
        )
    constant = ablations.constant_flow(ablations.constant_open_interest(ground.market))
    if any((choice.model or DEFAULT_MODEL) == BOOK for _, choice in _choices(query)):
        yield _fitted(f"{BOOK}, fitted before the cut", RowKind.MODEL, ground, ground.market, prior, null)
    yield Row(
        NULL,
        "The position book with as much volume in every step and open interest that never changes: prices alone.",
        RowKind.ABLATION,
        model=BOOK,
        parameters_hash=book.digest,
        sides=ground.scores(null, None),
    )
    yield _fitted(f"{NULL}, fitted before the cut", RowKind.ABLATION, ground, constant, prior, null)
    yield from _ablated(ground, book, null)
    yield from _baselines(ground, book, still, null)


def _how(model: str) -> str:
    if MODELS[model].has_time_axis:
        return "What the model itself takes out of its levels as the path of the interval sweeps them."
    return "Levels as of the start of each interval, swept by its path."


def _predicted(ground: Ground, question: Question) -> Floats:
    """Return what a model says is liquidated in each interval, (2, N); raises MissingInput, InvalidField."""
    if question.model.has_time_axis:
        predicted = ground.liquidated(question.timeline.audit, ground.edges)
        predicted[:, ground.open_time < question.start] = np.nan
        return predicted
    out = np.full((2, len(ground.open_time)), np.nan)
    missing: MissingInput | None = None
    if question.model.needs_trades and not np.any(ground.market.history.flow_source == Source.TRADES):
        # At every moment the same: once is enough.
        question.levels(int(ground.open_time[-1]))
    for i, at, path in ground.paths():
        try:
            out[:, i] = swept(*_by_price(question.levels(at)), path)
        except MissingInput as error:
            missing = error
    if missing is not None and np.isnan(out).all():
        raise missing
    return out


def _by_price(levels: ModelLevels) -> tuple[Floats, Floats]:
    """Return prices of levels (n,) and their notional, longs and shorts (2, n)."""
    price = np.asarray((levels.first_bin + np.arange(levels.qty.shape[2]) + 0.5) * levels.width, dtype=np.float64)
    return price, levels.qty.sum(axis=1) * price


def _book(market: Market, parameters: Parameters) -> EvolvingTimeline:
    return position_book.BookTimeline(market, parameters)


def _hash(parameters: Parameters) -> str:
    return digest(MODELS[BOOK], parameters)


def _without_flow(market: Market, book: Question) -> EvolvingTimeline:
    return _book(ablations.constant_flow(ablations.constant_open_interest(market)), book.parameters)


def _fitted(name: str, kind: RowKind, ground: Ground, market: Market, prior: Parameters, null: Floats) -> Row:
    """Return the row of a book whose weights are fitted to what was liquidated before the cut."""
    how = "The weights of tiers are fitted to what was liquidated before the cut, then walked through all of it."
    try:
        found = calibrate(
            market,
            ground.open_time,
            ground.period,
            ground.real,
            ground.cut,
            start=int(ground.open_time[0]),
            prior=prior,
        )
    except NotEnoughData as error:
        return Row(name, how, kind, model=BOOK, unavailable=f"not enough data: {error}")
    predicted = ground.liquidated(_book(market, found.parameters).audit, ground.edges)
    of = identified(market.venue, market.symbol, found, period=ground.period, truth=ground.truth.source)
    return Row(
        name,
        how,
        kind,
        model=BOOK,
        parameters_hash=_hash(found.parameters),
        calibration=of.id,
        sides=ground.scores(predicted, null),
        predicted=predicted if kind is RowKind.MODEL else None,
    )


def _ablated(ground: Ground, book: Question, null: Floats) -> Iterator[Row]:
    """Yield the book without parts of its inputs."""
    market, parameters = ground.market, book.parameters
    still = ablations.constant_open_interest(market)
    untilted = replace(parameters, trend_tilt=0.0, taker_tilt=0.0)
    rows: list[tuple[str, str, Callable[[], Market], Parameters]] = [
        ("volume only", "Volume at its price: constant open interest, no tilts.", lambda: still, untilted),
        ("open interest constant", "Nothing is known of changes of open interest.", lambda: still, parameters),
        (
            "volume replaced by range",
            "Volume of each step in proportion to its range.",
            lambda: ablations.flow_by_range(market),
            parameters,
        ),
        (
            "change of open interest only",
            "What opens and closes is the change of open interest alone.",
            lambda: market,
            replace(parameters, kappa=1e-9),
        ),
        (
            "inputs shifted by ten days",
            "Volume and open interest of ten days before.",
            lambda: ablations.shifted_inputs(market, _SHIFT_OF_INPUTS),
            parameters,
        ),
    ]
    if parameters.trend_tilt or parameters.taker_tilt:
        rows.insert(1, ("no tilts", "Openings on both sides alike, whatever price did.", lambda: market, untilted))
    for name, how, changed, given in rows:
        try:
            without = changed()
        except ValueError as error:
            yield Row(name, how, RowKind.ABLATION, model=BOOK, unavailable=f"not enough data: {error}")
            continue
        predicted = ground.liquidated(_book(without, given).audit, ground.edges)
        yield Row(
            name,
            how,
            RowKind.ABLATION,
            model=BOOK,
            parameters_hash=_hash(given),
            sides=ground.scores(predicted, null),
        )


@dataclass(frozen=True, slots=True)
class _Still:
    """What the book's levels are as of the start of each interval.

    ``swept`` (3, 2, N) is what the path of the interval sweeps of them where they are, moved up and moved down;
    ``profile`` (2, B) their mean by distance before the cut, None where none is known; ``held`` (M, 2, bands) what the
    bands around price hold.
    """

    swept: Floats
    profile: Floats | None
    held: Floats


def _still(ground: Ground, book: Question) -> _Still:
    count, lead = len(ground.open_time), ground.lead
    shifts = (0.0, SHIFT, -SHIFT)
    still = np.full((len(shifts), 2, count), np.nan)
    held = np.full((len(lead), 2, len(BANDS) - 1), np.nan)
    moves = moved_usually(lead.close, ground.period)
    profile: list[Floats] = []
    for i, at, path in ground.paths():
        if at < book.start:
            continue
        price, notional = _by_price(book.levels(at))
        for k, shift in enumerate(shifts):
            still[k, :, i] = swept(price, notional, path, shift)
        if at < ground.cut:
            profile.append(by_distance(price, notional, path.start))
        row = len(lead) - count + i
        if np.isfinite(moves[row]):
            held[row] = in_bands(price, notional, bands_around(path.start, float(moves[row])))
    return _Still(still, np.mean(profile, axis=0) if profile else None, held)


def _baselines(ground: Ground, book: Question, still: _Still, null: Floats) -> Iterator[Row]:
    names = (
        (f"{BOOK}, as of each start", "Its levels as of the start of each interval, swept by its path."),
        (f"map moved up by {SHIFT:.0%}", "The same, every level at a higher price."),
        (f"map moved down by {SHIFT:.0%}", "The same, every level at a lower price."),
    )
    predictions = list(zip(names, still.swept, strict=True))
    if still.profile is not None:
        how = "The position book's mean profile by distance from price before the cut, the same at every moment."
        profile = swept_profile(still.profile, ground.start_price, ground.high, ground.low)
        predictions.append((("distance only", how), profile))
    for (name, how), predicted in predictions:
        yield Row(
            name,
            how,
            RowKind.BASELINE,
            model=BOOK,
            parameters_hash=book.digest,
            sides=ground.scores(predicted, null),
        )
    history = ground.market.history
    step = np.repeat(np.arange(len(history)), np.diff(history.flow_offset))
    predicted = swept_volume(
        history.step_end[step],
        history.flow_price,
        history.flow_price * (history.flow_buy + history.flow_sell),
        ground.open_time,
        ground.start_price,
        ground.high,
        ground.low,
    )
    yield Row(
        "raw volume profile",
        "What was traded in the 30 days before at the prices that the path goes through.",
        RowKind.BASELINE,
        sides=ground.scores(predicted, null),
    )


# --- effects ----------------------------------------------------------------------------------------------------


def _effects(ground: Ground, book: Question, held: Floats) -> Iterator[NamedEffect]:
    lead = ground.lead
    yield NamedEffect(
        "magnet",
        f"Of two bands of levels at the same distance below and above price, is the denser one reached more often "
        f"within {HORIZON} hours? Distance and volatility are the same for both; moves of the hour, the 6 and the 24 "
        "hours before are controls.",
        "chance of reaching the band above less that below, for all of the mass above instead of half of it",
        book.model.id,
        magnet(lead.open_time, lead.close, lead.high, lead.low, held, ground.period),
    )
    history = ground.market.history
    fine = min(_FINE, ground.period)
    if len(history) > 1 and int(np.median(np.diff(history.step_end))) > fine:
        fine = ground.period
    grid = np.arange(lead.open_time[0], ground.end, fine, dtype=np.int64)
    steps = by_interval(
        history.step_end, history.mark_high, history.mark_low, history.mark_close, np.zeros(len(history)), grid, fine
    )
    predicted = np.full((2, len(grid)), np.nan)
    inside = grid >= max(int(ground.open_time[0]), book.start)
    predicted[:, inside] = ground.liquidated(book.timeline.audit, np.append(grid[inside], ground.end))
    yield NamedEffect(
        "impact",
        f"Does price go on in the {fine / MINUTE:g} minutes after levels were swept, to where the forced trades push "
        "it? The move of the sweep itself, how far price had gone beyond its close and moves of up to 24 hours before "
        "are controls.",
        "basis points for each tenfold of what was liquidated, below 0 where price comes back",
        book.model.id,
        impact(steps.open_time, steps.close, steps.high, steps.low, predicted, fine),
    )
