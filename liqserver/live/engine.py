"""Answers questions about levels from markets held in memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from liqserver.kernel import GrowingHistory, History
from liqserver.live import intervals
from liqserver.live.answers import (
    AmountUnit,
    AuditAnswer,
    ComparedModel,
    ComparisonAnswer,
    HeatmapAnswer,
    LevelsAnswer,
    LevelsQuery,
    ModelChoice,
    Sides,
)
from liqserver.live.calibrations import Calibrations, bands, check_band, given_with
from liqserver.live.comparison import agreement
from liqserver.live.derived import derived_figures, realised_volatility
from liqserver.live.errors import InvalidField, MissingInput, OutsideCoverage, UnknownName
from liqserver.live.names import find_symbol
from liqserver.live.provenance import digest, provenance
from liqserver.live.question import (
    Question,
    SharedTimeline,
    check_data,
    check_inputs,
    check_plain_fields,
    moment_asked,
    window_of,
)
from liqserver.live.resident import ResidentMarket
from liqserver.live.window import Window
from liqserver.models.market import Market, ModelLevels
from liqserver.models.parameters import ParameterError, Parameters
from liqserver.models.registry import DEFAULT_MODEL, MODELS, Model
from liqserver.store.calibrations import StoredCalibration

MINUTE, DAY = 60_000_000_000, 86_400_000_000_000
# Two matrices of this many cells are half of the largest message.
MAX_CELLS = 2_000_000
MAX_INTERVALS = 100_000
MAX_COLUMNS = 500
MODELS_COMPARED = (2, 10)
_STEPS = tuple(MINUTE * minutes for minutes in (1, 2, 5, 10, 15, 30, 60, 120, 240, 360, 720, 1440))
_TIMELINES = 32


class MarketSource(Protocol):
    """Where markets come from."""

    def names(self) -> list[tuple[str, str]]:
        """Return (venue, symbol) of every market, sorted."""

    def market(self, venue: str, symbol: str) -> Market:
        """Return one market."""

    def grown(self, market: Market, history: History) -> Market:
        """Return ``market`` with ``history``, which begins with the one it has."""


class LevelsEngine:
    """Holds markets and their timelines; safe for use by several threads.

    Parameters
    ----------
    source : MarketSource
        Read when a symbol is asked for first, and by ``refresh``.
    calibrations : Calibrations, optional
        Those that may be in force; by default there are none.
    """

    def __init__(self, source: MarketSource, calibrations: Calibrations | None = None) -> None:
        self._source = source
        self._calibrations = calibrations or Calibrations(lambda venue, symbol: ())
        self._lock = threading.Lock()
        self._names: list[tuple[str, str]] | None = None
        self._markets: dict[tuple[str, str], ResidentMarket] = {}
        self._timelines: OrderedDict[tuple[tuple[str, str], str], SharedTimeline] = OrderedDict()
        self._growing: dict[tuple[str, str], GrowingHistory] = {}
        self._watchers: list[Callable[[str, str], None]] = []
        self.version = 0

    def watch(self, changed: Callable[[str, str], None]) -> Callable[[], None]:
        """Have ``changed(venue, symbol)`` called whenever newer data of a market can be answered from.

        It is called in the thread that brought the data, and must return soon.

        Returns
        -------
        callable
            Ends it.
        """
        with self._lock:
            self._watchers.append(changed)

        def end() -> None:
            with self._lock:
                self._watchers.remove(changed)

        return end

    def _tell(self, key: tuple[str, str]) -> None:
        with self._lock:
            watchers = list(self._watchers)
        for changed in watchers:
            changed(*key)

    def refresh(
        self, venue: str, symbol: str, pending: Callable[[History], History | None] = lambda history: None
    ) -> None:
        """Read a market anew; what is asked meanwhile is answered from what was held before.

        What was in use is made ready for the next question before it takes the place of the old.

        Parameters
        ----------
        venue, symbol : str
            The market.
        pending : callable
            Returns the steps of intervals that are still open after the history that was read; see ``extend``.
        """
        key = (venue, symbol)
        with self._lock:
            self._names = None
            if key not in self._markets:
                return
            used = [(name, timeline) for name, timeline in self._timelines.items() if name[0] == key]
        resident = ResidentMarket(self._source.market(*key))
        resident = resident.extended(resident.market, pending(resident.market.history))
        resident.inputs_hash(resident.end)
        ready = {name: timeline.renewed(resident) for name, timeline in used}
        with self._lock:
            self._markets[key] = resident
            self._timelines.update(ready)
            self.version += 1
        self._tell(key)

    def extend(self, venue: str, symbol: str, steps: History | None, pending: History | None) -> None:
        """Answer from newer data of a market from then on.

        Parameters
        ----------
        venue, symbol : str
            The market, which is read from the source if it is not held yet; then ``steps`` are in what is read, or
            follow it.
        steps : History or None
            Steps that follow those held.
        pending : History or None
            Steps after all others, of intervals that are still open; they take the place of those given before.
        """
        key = (venue, symbol)
        resident = self.resident(venue, symbol)
        market = resident.market
        if steps is not None:
            end = int(market.history.step_end[-1]) if len(market.history) else 0
            steps = steps.slice(steps.steps_until(end), len(steps))
        if steps is None or not len(steps):
            extended = resident.extended(market, pending)
        else:
            with self._lock:
                growing = self._growing.get(key)
                if growing is None or growing.history is not market.history:
                    growing = self._growing[key] = GrowingHistory(market.history)
            market = self._source.grown(market, growing.append(steps))
            extended = resident.extended(market, pending)
            with self._lock:
                used = [(name, timeline) for name, timeline in self._timelines.items() if name[0] == key]
            for name, timeline in used:
                if timeline.lineage is not resident.lineage or not timeline.extend(market):
                    with self._lock:
                        self._timelines.pop(name, None)
        with self._lock:
            self._markets[key] = extended
            self.version += 1
        self._tell(key)

    def recalibrated(self, venue: str, symbol: str) -> None:
        """Answer from the calibrations of a market as they are stored now, from then on.

        The book of the newest is made ready before it takes the place of the old.
        """
        key = (venue, symbol)
        self._calibrations.changed(key)
        with self._lock:
            used = key in self._markets
        if used:
            question = self.question(LevelsQuery(symbol, venue))
            # What stands in the way of an answer is for the next question to say.
            with suppress(MissingInput, OutsideCoverage):
                question.levels(question.moment("as_of", None))
        with self._lock:
            self.version += 1
        self._tell(key)

    def resident(self, venue: str, symbol: str) -> ResidentMarket:
        """Return a market as it is known now, read from the source if it is not held yet."""
        key = (venue, symbol)
        with self._lock:
            resident = self._markets.get(key)
        if resident is None:
            resident = ResidentMarket(self._source.market(*key))
            with self._lock:
                resident = self._markets.setdefault(key, resident)
        return resident

    def levels(self, query: LevelsQuery, as_of: int | None = None) -> LevelsAnswer:
        """Answer ``query`` as of a moment.

        Parameters
        ----------
        query : LevelsQuery
            What to show.
        as_of : int, optional
            UNIX nanoseconds; None for the newest data.

        Raises
        ------
        AskError
            See ``liqserver.live.errors``.
        """
        question = self.question(query, moment=as_of)
        return self._answer(question, question.moment("as_of", as_of))

    def bin_size(self, query: LevelsQuery) -> float:
        """Return the width of the bins of an answer to ``query`` as of the newest data; raises as ``levels`` does."""
        question = self.question(query)
        return question.window(question.end).bin_size

    def ready(self, query: LevelsQuery) -> bool:
        """Return whether the newest levels can be had without reading data first or waiting for another question."""
        key = (query.venue, query.symbol)
        with self._lock:
            if key not in self._markets:
                return False
        return self.question(query).timeline.ready

    def replay(self, query: LevelsQuery, start: int | None, end: int | None, every: int) -> Iterator[LevelsAnswer]:
        """Answer ``query`` as of one moment after the other; what is wrong with the question is raised at once.

        Parameters
        ----------
        query : LevelsQuery
            What to show; its model needs a time axis.
        start, end : int, optional
            UNIX nanoseconds: first moment, and what no moment is after; None for the start of the model's history
            and for the newest data.
        every : int
            Nanoseconds between moments, at least a minute.

        Raises
        ------
        AskError
            See ``liqserver.live.errors``.
        """
        question = self.question(query)
        question.need_time_axis()
        if every < MINUTE:
            raise InvalidField("every", every, f"must be at least {MINUTE} nanoseconds (a minute)")
        first, last = question.span(start, end)
        question = self.question(query, moment=first)
        question.window(first)
        return (self._answer(question, moment) for moment in range(first, last + 1, every))

    def heatmap(
        self,
        query: LevelsQuery,
        *,
        start: int | None = None,
        end: int | None = None,
        lookback: int | None = None,
        interval: int = 0,
    ) -> HeatmapAnswer:
        """Answer ``query`` over time on one grid, that of the price at the end.

        Parameters
        ----------
        query : LevelsQuery
            What to show; its model needs a time axis. ``per_tier``, ``min_notional`` and ``derived`` are not looked
            at.
        start, end : int, optional
            UNIX nanoseconds: what no moment is before, and the last moment; None for ``lookback`` before the end,
            and for the newest data.
        lookback : int, optional
            Nanoseconds, instead of ``start``; None for a day, or as much as there is.
        interval : int
            Nanoseconds between moments, a minute to a day; 0 for one that gives at most ``MAX_COLUMNS``.

        Raises
        ------
        AskError
            See ``liqserver.live.errors``.
        """
        question = self.question(query)
        question.need_time_axis()
        last = question.moment("end", end)
        if lookback is not None:
            if start is not None:
                raise InvalidField("lookback", lookback, "may not be given together with start")
            if lookback < MINUTE:
                raise InvalidField("lookback", lookback, f"must be at least {MINUTE} nanoseconds (a minute)")
            start = last - lookback
        first = max(last - DAY, question.start) if start is None else question.moment("start", start)
        if first > last:
            raise InvalidField("start", first, f"must not be after the end, which was {last}")
        if interval == 0:
            interval = next((step for step in _STEPS if (last - first) // step < MAX_COLUMNS), DAY)
        if not MINUTE <= interval <= DAY:
            raise InvalidField("interval", interval, f"must be 0, or from {MINUTE} (a minute) to {DAY} (a day)")
        columns = (last - first) // interval + 1
        ts = last - interval * np.arange(columns - 1, -1, -1, dtype=np.int64)
        question = self.question(query, moment=first)
        window = question.window(last)
        if columns * window.count > MAX_CELLS:
            raise InvalidField(
                "interval",
                interval,
                f"over {window.count} bins that is {columns} columns and {columns * window.count} cells, at most "
                f"{MAX_CELLS} are allowed: ask for fewer columns (interval of at least "
                f"{(last - first) // max(MAX_CELLS // window.count - 1, 1) + 1}), wider bins (query.bin_size, now "
                f"{window.bin_size:g}), a narrower query.price_range or a shorter time",
            )
        amount = np.zeros((2, columns, window.count))
        notional = query.unit is AmountUnit.NOTIONAL
        for column, moment in enumerate(ts.tolist()):
            levels = question.levels(moment)
            amount[:, column] = window.amounts(levels, notional=notional)[0][:, 0]
        where = provenance(question, last, levels)
        edges = np.concatenate([ts[:1] - interval, ts])
        rows = intervals.summed(*question.audit(int(edges[0]), last, query.unit), edges)
        for hidden in _hidden(query.sides):
            amount[hidden] = 0.0
            rows[:, 4 + hidden] = 0.0
        return HeatmapAnswer(
            ts=ts,
            price=window.edges,
            amount=amount,
            path=intervals.price_path(question.resident.market.history, edges),
            liquidated=rows[:, 4:6].T,
            bin_size=window.bin_size,
            interval=interval,
            unit=query.unit,
            provenance=where,
        )

    def compare(
        self, query: LevelsQuery, choices: Sequence[ModelChoice] = (), as_of: int | None = None
    ) -> ComparisonAnswer:
        """Answer ``query`` with several models on one grid.

        Parameters
        ----------
        query : LevelsQuery
            Symbol, venue, bins, range and unit.
        choices : sequence of ModelChoice
            The models, two to ten; empty for every model with its defaults.
        as_of : int, optional
            UNIX nanoseconds; None for the newest data.

        Raises
        ------
        AskError
            See ``liqserver.live.errors``. That one model lacks an input is part of the answer, and no error.
        """
        least, most = MODELS_COMPARED
        if choices and not least <= len(choices) <= most:
            raise InvalidField(
                "models", f"{len(choices)} models", f"must be {least} to {most}, or none for every model"
            )
        chosen = list(choices) or [ModelChoice(model, Parameters()) for model in MODELS]
        key = self._find_symbol(query)
        resident = self.resident(*key)
        check_data(resident)
        history = resident.market.history
        moment = moment_asked("as_of", as_of, int(history.step_end[0]), int(history.step_end[-1]))
        window = window_of(query, resident, moment)
        models = []
        for i, choice in enumerate(chosen):
            own = (choice.model or DEFAULT_MODEL) == DEFAULT_MODEL
            asked = replace(
                query,
                model=choice.model,
                parameters=choice.parameters,
                # Others have none.
                calibration=query.calibration if own else "",
            )
            try:
                question = self.question(asked, f"models[{i}]", grid=window, moment=moment)
                answer = self._answer(question, question.moment("as_of", moment))
            except (MissingInput, OutsideCoverage) as error:
                models.append(ComparedModel(choice.model or DEFAULT_MODEL, None, error.message))
            else:
                models.append(ComparedModel(question.model.id, answer, ""))
        amounts = {i: of.answer.amount for i, of in enumerate(models) if of.answer is not None}
        return ComparisonAnswer(
            price=window.edges,
            bin_size=window.bin_size,
            unit=query.unit,
            models=tuple(models),
            pairs=agreement(window.edges, amounts),
        )

    def audit(self, query: LevelsQuery, interval: int, start: int | None = None, end: int | None = None) -> AuditAnswer:
        """Account for what was opened, closed and liquidated, by whole intervals.

        Parameters
        ----------
        query : LevelsQuery
            Symbol, venue, model, parameters and unit; its model needs a time axis.
        interval : int
            Nanoseconds, a minute to 30 days.
        start, end : int, optional
            UNIX nanoseconds: start of the first interval, and what no interval ends after; None for the first whole
            multiple of the interval in the model's history, and for the newest data.

        Raises
        ------
        AskError
            See ``liqserver.live.errors``.
        """
        question = self.question(query)
        question.need_time_axis()
        if not MINUTE <= interval <= 30 * DAY:
            raise InvalidField("interval", interval, f"must be from {MINUTE} (a minute) to {30 * DAY} (30 days)")
        whole = -(-question.start // interval) * interval
        first, last = question.span(min(whole, question.end) if start is None else start, end)
        count = (last - first) // interval
        if count < 1:
            raise InvalidField("interval", interval, f"must fit between start and end, {first} to {last}")
        if count > MAX_INTERVALS:
            raise InvalidField(
                "interval",
                interval,
                f"gives {count} intervals, at most {MAX_INTERVALS} are allowed: ask for less time",
            )
        question = self.question(query, moment=first)
        edges = first + interval * np.arange(count + 1, dtype=np.int64)
        end = int(edges[-1])
        before, after = question.levels(first), question.levels(end)
        ts, rows = question.audit(first, end, AmountUnit.QTY)
        open_interest = question.resident.open_interest(edges)
        no_level = np.concatenate([before.no_level[None], rows[:, 8:]])[np.searchsorted(ts, edges[1:], side="right")]
        share = np.divide(no_level.mean(axis=1), open_interest[1:], out=np.zeros(count), where=open_interest[1:] > 0)
        price = np.ones(count + 1)
        if query.unit is AmountUnit.NOTIONAL:
            rows = rows * question.resident.prices(ts)[:, None]
            price = question.resident.prices(edges)
        sums = intervals.summed(ts, rows, edges)
        return AuditAnswer(
            open_time=edges[:-1],
            opened=sums[:, 0:2].T,
            closed=sums[:, 2:4].T,
            liquidated=sums[:, 4:6].T,
            unexplained=sums[:, 6:8].T,
            open_interest=open_interest * price,
            no_level_share=share,
            interval=interval,
            unit=query.unit,
            provenance=provenance(question, end, after),
        )

    def question(
        self, query: LevelsQuery, within: str = "query", grid: Window | None = None, moment: int | None = None
    ) -> Question:
        """Return ``query`` with all that its names mean; errors name fields of the model ``within`` the request.

        Its calibration looks no further than ``moment``, the first that will be asked of it; None for the newest.

        Raises
        ------
        AskError
            See ``liqserver.live.errors``.
        """
        key = self._find_symbol(query)
        model = MODELS.get(query.model or DEFAULT_MODEL)
        if model is None:
            raise UnknownName("model", query.model, MODELS)
        resident = self.resident(*key)
        check_data(resident)
        calibration = self._calibrations.chosen(
            key, model.id, query.calibration, resident.end if moment is None else moment
        )
        try:
            parameters, name = _resolved(model.id, calibration, query.parameters)
        except ParameterError as error:
            raise InvalidField(f"{within}.parameters.{error.field}", error.was, error.allowed) from None
        check_plain_fields(query)
        check_band(query.band, calibration, parameters)
        check_inputs(model, resident, parameters.margin_formula)
        timeline = self._timeline(key, name, model, resident, parameters)
        return Question(query, model, parameters, resident, name, timeline, within, grid, calibration)

    def _answer(self, question: Question, moment: int) -> LevelsAnswer:
        query = question.query
        window = question.window(moment)
        levels = question.levels(moment, by_tier=query.per_tier or query.band > 0)
        where = provenance(question, moment, levels)
        valued = query.unit is AmountUnit.NOTIONAL
        whole, total = window.amounts(levels, notional=valued)
        amount = whole[:, 0]
        notional = amount if valued else window.amounts(levels, notional=True)[0][:, 0]
        by_tier = np.empty((2, 0, window.count))
        if query.per_tier:
            by_tier, _ = window.amounts(levels, notional=valued, by_tier=True)
        in_range = amount.sum(axis=1)
        derived = None
        if query.derived:
            history = question.resident.market.history
            middle = np.asarray((levels.first_bin + np.arange(levels.qty.shape[2]) + 0.5) * levels.width, np.float64)
            qty = levels.qty.sum(axis=1)
            derived = derived_figures(
                window,
                amount,
                middle,
                qty * middle if valued else qty,
                where.current_price.value,
                realised_volatility(history, history.steps_until(moment)),
            )
        band = self._band(question, levels, window) if query.band > 0 else None
        for hidden in _hidden(query.sides):
            for side in (amount, by_tier, notional, *(() if derived is None else (derived.cumulative,))):
                side[hidden] = 0.0
            if band is not None:
                band[:, hidden] = 0.0
        keep: NDArray[np.bool_] | slice = slice(None)
        if question.grid is None:
            weight = notional.max(axis=0)
            keep = (weight > 0) & (weight >= query.min_notional)
        return LevelsAnswer(
            price=window.edges[keep],
            amount=amount[:, keep],
            leverage=levels.leverage if query.per_tier else np.empty(0),
            by_tier=by_tier[:, :, keep],
            bin_size=window.bin_size,
            unit=query.unit,
            total=total,
            in_range=in_range,
            provenance=where,
            derived=derived if derived is None else replace(derived, cumulative=derived.cumulative[:, keep]),
            band=None if band is None else band[:, :, keep],
        )

    def _band(self, question: Question, levels: ModelLevels, window: Window) -> NDArray[np.float64]:
        """Return the ends of bands, shape (2, 2, n), in the unit that was asked for."""
        assert question.calibration is not None  # noqa: S101 - checked with the question
        by_tier, _ = window.amounts(levels, notional=True, by_tier=True)
        ends = bands(question.calibration, by_tier, question.query.band)
        if question.query.unit is AmountUnit.NOTIONAL:
            return ends
        notional, qty = (window.amounts(levels, notional=valued)[0][:, 0] for valued in (True, False))
        return ends * np.divide(qty, notional, out=np.zeros_like(qty), where=notional > 0)

    def _find_symbol(self, query: LevelsQuery) -> tuple[str, str]:
        with self._lock:
            if self._names is None:
                self._names = self._source.names()
            names = self._names
        return find_symbol(names, query.venue, query.symbol, "query.")

    def _timeline(
        self, key: tuple[str, str], digest: str, model: Model, resident: ResidentMarket, parameters: Parameters
    ) -> SharedTimeline:
        name = (key, digest)
        with self._lock:
            timeline = self._timelines.get(name)
            if timeline is None or timeline.lineage is not resident.lineage:
                timeline = self._timelines[name] = SharedTimeline(model, resident, parameters)
            self._timelines.move_to_end(name)
            while len(self._timelines) > _TIMELINES:
                self._timelines.popitem(last=False)
        return timeline


@lru_cache(1_024)
def _resolved(model: str, calibration: StoredCalibration | None, given: Parameters) -> tuple[Parameters, str]:
    """Return the parameters in force and their digest; raises ParameterError."""
    parameters = MODELS[model].resolve(given_with(calibration, given))
    return parameters, digest(MODELS[model], parameters)


def _hidden(sides: Sides) -> list[int]:
    """Return the rows of the sides that were not asked for."""
    return {Sides.BOTH: [], Sides.LONG: [1], Sides.SHORT: [0]}[sides]
