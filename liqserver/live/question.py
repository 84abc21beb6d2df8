"""A question with all that its names mean, and what is wrong with it."""

from __future__ import annotations

import math
import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

import numpy as np
from numpy.typing import NDArray

from liqserver.kernel import History
from liqserver.live.answers import AmountUnit, LevelsQuery
from liqserver.live.errors import InvalidField, MissingInput, OutsideCoverage
from liqserver.live.resident import Price, ResidentMarket
from liqserver.live.window import Window, window_around
from liqserver.models.market import EvolvingTimeline, Market, ModelLevels, Timeline
from liqserver.models.parameters import MarginFormula, ParameterError, Parameters
from liqserver.models.position_book import BookTimeline
from liqserver.models.registry import MODELS, Model
from liqserver.models.selection import MissingDetail
from liqserver.store.calibrations import StoredCalibration

# An as-of time may lie this far behind the newest data: live inputs arrive late, and the answer states staleness.
AS_OF_GRACE = 3_600_000_000_000


@dataclass(frozen=True, slots=True)
class Question:
    """A query with all that its names mean; computes nothing before it is asked to."""

    query: LevelsQuery
    model: Model
    parameters: Parameters
    resident: ResidentMarket
    digest: str
    timeline: SharedTimeline
    within: str
    grid: Window | None
    calibration: StoredCalibration | None = None

    @property
    def start(self) -> int:
        """UNIX nanoseconds from which the model has an answer."""
        known = self.resident.first_open_interest if self.model.needs_open_interest else None
        return known if known is not None else int(self.resident.market.history.step_end[0])

    @property
    def end(self) -> int:
        """UNIX nanoseconds of the newest data that the model makes use of."""
        if self.model.sees_open_intervals:
            return self.resident.end
        return int(self.resident.market.history.step_end[-1])

    def moment(self, field: str, asked: int | None) -> int:
        """Return the moment that is meant, the newest for None; raises OutsideCoverage."""
        return moment_asked(field, asked, self.start, self.end)

    def span(self, start: int | None, end: int | None) -> tuple[int, int]:
        """Return first and last moment; raises OutsideCoverage, or InvalidField if they are the wrong way round."""
        last = self.moment("end", end)
        first = self.start if start is None else self.moment("start", start)
        if first > last:
            raise InvalidField("start", first, f"must not be after the end, which was {last}")
        return first, last

    def need_time_axis(self) -> None:
        """Raise InvalidField if the model has none."""
        if not self.model.has_time_axis:
            with_one = ", ".join(model.id for model in MODELS.values() if model.has_time_axis)
            raise InvalidField(
                "query.model", self.model.id, f"which has no time axis: it selects anew at each moment; {with_one} have"
            )

    def window(self, moment: int) -> Window:
        """Return the bins of an answer; raises InvalidField or MissingInput."""
        return self.grid if self.grid is not None else window_of(self.query, self.resident, moment)

    def levels(self, moment: int, *, by_tier: bool = False) -> ModelLevels:
        """Return the model's levels, the tiers added up or apart; raises InvalidField or MissingInput."""
        try:
            return self.timeline.at(moment, by_tier=by_tier, pending=self.resident.pending_at(moment))
        except ParameterError as error:
            raise InvalidField(f"{self.within}.parameters.{error.field}", error.was, error.allowed) from None
        except MissingDetail as error:
            raise MissingInput(error.what, error.message) from None

    def audit(self, start: int, end: int, unit: AmountUnit) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the rows of ``EvolvingTimeline.audit`` in ``unit``; for models with a time axis."""
        ts, rows = self.timeline.audit(start, end)
        return ts, rows if unit is AmountUnit.QTY else rows * self.resident.prices(ts)[:, None]


class SharedTimeline:
    """A timeline that several threads may ask; made when it is asked first."""

    def __init__(self, model: Model, resident: ResidentMarket, parameters: Parameters) -> None:
        self.lineage = resident.lineage
        self._market = resident.market
        self._model = model
        self._parameters = parameters
        self._timeline: Timeline | None = None
        self._lock = threading.Lock()

    def at(self, ts: int, *, by_tier: bool, pending: History | None = None) -> ModelLevels:
        """Return the levels as of ``ts``; see ``liqserver.models.market.Timeline``."""
        with self._lock:
            timeline = self._made()
            if pending is not None and isinstance(timeline, BookTimeline):
                return timeline.with_pending(pending, by_tier=by_tier)
            return timeline.at(ts, by_tier=by_tier)

    @property
    def ready(self) -> bool:
        """Whether it is made, and nobody asks it right now."""
        return self._timeline is not None and not self._lock.locked()

    def extend(self, market: Market) -> bool:
        """Go on with ``market``, which begins with the steps known so far; tell whether the model can."""
        with self._lock:
            if self._timeline is not None:
                if not isinstance(self._timeline, BookTimeline):
                    return False
                self._timeline.extend(market)
            self._market = market
            return True

    def audit(self, start: int, end: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return what changed; see ``liqserver.models.market.EvolvingTimeline``."""
        with self._lock:
            return cast(EvolvingTimeline, self._made()).audit(start, end)

    def renewed(self, resident: ResidentMarket) -> SharedTimeline:
        """Return the same for ``resident``, ready to answer as of its end."""
        new = SharedTimeline(self._model, resident, self._parameters)
        # What stands in the way of an answer is for the next question to say.
        with suppress(ParameterError, MissingDetail, ValueError):
            new.at(int(resident.market.history.step_end[-1]), by_tier=False)
        return new

    def _made(self) -> Timeline:
        if self._timeline is None:
            self._timeline = self._model.timeline(self._market, self._parameters)
        return self._timeline


def check_plain_fields(query: LevelsQuery) -> None:
    """Check what can be checked without data; raises InvalidField."""
    for name, value, most in (("down", query.down, 1.0), ("up", query.up, 10.0)):
        if not (math.isfinite(value) and 0 <= value <= most):
            raise InvalidField(f"query.price_range.{name}", value, f"must be in [0, {most:g}]")
    if query.down == query.up == 0:
        raise InvalidField("query.price_range", "empty", "must reach up or down")
    if not (math.isfinite(query.min_notional) and query.min_notional >= 0):
        raise InvalidField("query.min_notional", query.min_notional, "must be a number of at least 0")
    if not (math.isfinite(query.bin_size) and query.bin_size >= 0):
        raise InvalidField("query.bin_size", query.bin_size, "must be a positive number, or 0 for a suitable one")


def check_data(resident: ResidentMarket) -> None:
    """Check that the market has any data; raises MissingInput."""
    market = resident.market
    if not len(market.history):
        raise MissingInput("data", f"{market.venue}:{market.symbol} has no data: ingest trades or klines, and metrics")


def check_inputs(model: Model, resident: ResidentMarket, formula: MarginFormula | None) -> None:
    """Check that the market has what the model cannot do without; raises MissingInput."""
    market = resident.market
    name = f"{market.venue}:{market.symbol}"
    if model.needs_open_interest and resident.first_open_interest is None:
        raise MissingInput("open_interest", f"{model.id} needs open interest and {name} has none: ingest metrics files")
    if formula is MarginFormula.EXACT and not market.brackets:
        raise MissingInput(
            "brackets",
            f"the exact margin formula needs the brackets of {name} and none are known: load them with "
            "`liqserver brackets load FILE`, or ask for the simplified formula",
        )


def moment_asked(field: str, asked: int | None, start: int, end: int) -> int:
    """Return the moment to answer for; raises OutsideCoverage."""
    if asked is None:
        return end
    covered = f"data covers {start} to {end} ({shown_time(start)} to {shown_time(end)})"
    if asked < start:
        raise OutsideCoverage(field, asked, start, end, f"that is before the data: {covered}")
    if asked > end + AS_OF_GRACE:
        raise OutsideCoverage(
            field,
            asked,
            start,
            end,
            f"more than an hour after the data: {covered}; leave it out for the newest",
        )
    return asked


def newest_price(resident: ResidentMarket, moment: int) -> Price:
    """Return the newest price; raises MissingInput."""
    price = resident.price(moment)
    if price is None:
        name = f"{resident.market.venue}:{resident.market.symbol}"
        raise MissingInput("price", f"no price of {name} is known at {shown_time(moment)}")
    return price


def window_of(query: LevelsQuery, resident: ResidentMarket, moment: int) -> Window:
    """Return the bins around the price of a moment; raises InvalidField or MissingInput."""
    price = newest_price(resident, moment)
    return window_around(price.value, query.down, query.up, query.bin_size, resident.market.base_bin)


def shown_time(ts: int) -> str:
    """Return UNIX nanoseconds as people read them."""
    return datetime.fromtimestamp(ts / 1e9, tz=UTC).strftime("%Y-%m-%d %H:%M:%SZ")
