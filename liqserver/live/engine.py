"""Answers questions about levels from markets held in memory."""

from __future__ import annotations

import hashlib
import math
import threading
from collections import OrderedDict
from dataclasses import fields
from datetime import UTC, datetime
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from liqserver import grid
from liqserver.live.answers import AmountUnit, LevelsAnswer, LevelsQuery, Provenance, Sides
from liqserver.live.errors import InvalidField, MissingInput, OutsideCoverage, UnknownName
from liqserver.live.resident import ResidentMarket
from liqserver.models.market import Market, ModelLevels, Timeline
from liqserver.models.parameters import MarginFormula, ParameterError, Parameters
from liqserver.models.registry import DEFAULT_MODEL, MODELS, Model
from liqserver.models.selection import MissingDetail

# An as-of time may lie this far behind the newest data: live inputs arrive late, and the answer states staleness.
AS_OF_GRACE = 3_600_000_000_000
MAX_BINS = 50_000
_TIMELINES = 32


class MarketSource(Protocol):
    """Where markets come from."""

    def names(self) -> list[tuple[str, str]]:
        """Return (venue, symbol) of every market, sorted."""

    def market(self, venue: str, symbol: str) -> Market:
        """Return one market."""


class LevelsEngine:
    """Holds markets and their timelines; safe for use by several threads.

    Parameters
    ----------
    source : MarketSource
        Read when a symbol is asked for first, and again after ``forget``.
    """

    def __init__(self, source: MarketSource) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._names: list[tuple[str, str]] | None = None
        self._markets: dict[tuple[str, str], ResidentMarket] = {}
        self._timelines: OrderedDict[tuple[tuple[str, str], str], _SharedTimeline] = OrderedDict()
        self.version = 0

    def forget(self) -> None:
        """Drop everything held: the next question reads the source anew."""
        with self._lock:
            self._names = None
            self._markets.clear()
            self._timelines.clear()
            self.version += 1

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
        key = self._resolve_symbol(query.venue, query.symbol)
        model = MODELS.get(query.model or DEFAULT_MODEL)
        if model is None:
            raise UnknownName("model", query.model, MODELS)
        try:
            parameters = model.resolve(query.parameters)
        except ParameterError as error:
            raise InvalidField(f"query.parameters.{error.field}", error.was, error.allowed) from None
        _check_plain_fields(query)
        resident = self._resident(key)
        market = resident.market
        _check_inputs(model, resident, parameters.margin_formula)
        history = market.history
        known = resident.first_open_interest if model.needs_open_interest else None
        start = known if known is not None else int(history.step_end[0])
        end = int(history.step_end[-1])
        moment = _moment(as_of, start, end)
        stop = history.steps_until(moment)
        price = resident.price(stop)
        if price is None:
            raise MissingInput("price", f"no price of {key[0]}:{key[1]} is known at {_shown(moment)}")
        multiple = _bin_multiple(query.bin_size, price.value, market.base_bin)
        bin_size = float(f"{multiple * market.base_bin:.12g}")
        low, high = price.value * (1 - query.down), price.value * (1 + query.up)
        if (high - low) / bin_size > MAX_BINS:
            raise InvalidField(
                "query.bin_size",
                f"{bin_size:g}",
                f"over {low:g} to {high:g} that is {(high - low) / bin_size:.0f} bins, at most {MAX_BINS} are allowed: "
                "ask for wider bins or a narrower query.price_range",
            )
        try:
            levels = self._timeline(key, model, resident, parameters).at(moment)
        except ParameterError as error:
            raise InvalidField(f"query.parameters.{error.field}", error.was, error.allowed) from None
        except MissingDetail as error:
            raise MissingInput(error.what, error.message) from None
        watermarks = resident.watermarks(stop)
        held = levels.qty.sum(axis=(1, 2)) + levels.no_level + levels.unknown_entry
        unknown_entry = _shares(levels.unknown_entry, held)
        provenance = Provenance(
            venue=key[0],
            symbol=key[1],
            as_of=moment,
            watermarks=watermarks,
            staleness=_staleness(moment, watermarks, model),
            model=model.id,
            parameters=parameters,
            parameters_hash=_digest(model, parameters),
            inputs_hash=resident.inputs_hash(stop),
            bracket_table=levels.bracket_table,
            current_price=price,
            open_interest=levels.open_interest,
            no_level_share=_shares(levels.no_level, held),
            unknown_entry_share=unknown_entry,
            kline_volume_share=resident.kline_volume_share(stop),
            last_price_path_share=resident.last_price_path_share(stop),
            history_start=start,
            notices=_notices(market, unknown_entry),
        )
        return _columns(query, levels, multiple, low, high, provenance)

    def _resolve_symbol(self, venue: str, symbol: str) -> tuple[str, str]:
        with self._lock:
            if self._names is None:
                self._names = self._source.names()
            names = self._names
        if not symbol:
            raise InvalidField(
                "query.symbol", "empty", f"must be one of {', '.join(s for _, s in names) or 'none yet'}"
            )
        found = [name for name in names if name[1] == symbol and venue in ("", name[0])]
        if not found:
            raise UnknownName("symbol", f"{venue}:{symbol}" if venue else symbol, (f"{v}:{s}" for v, s in names))
        if len(found) > 1:
            raise InvalidField("query.venue", "empty", f"must be one of {', '.join(v for v, _ in found)} for {symbol}")
        return found[0]

    def _resident(self, key: tuple[str, str]) -> ResidentMarket:
        with self._lock:
            resident = self._markets.get(key)
        if resident is None:
            resident = ResidentMarket(self._source.market(*key))
            with self._lock:
                resident = self._markets.setdefault(key, resident)
        return resident

    def _timeline(
        self, key: tuple[str, str], model: Model, resident: ResidentMarket, parameters: Parameters
    ) -> _SharedTimeline:
        name = (key, _digest(model, parameters))
        with self._lock:
            timeline = self._timelines.get(name)
            if timeline is None or timeline.market is not resident.market:
                timeline = self._timelines[name] = _SharedTimeline(model, resident.market, parameters)
            self._timelines.move_to_end(name)
            while len(self._timelines) > _TIMELINES:
                self._timelines.popitem(last=False)
        return timeline


class _SharedTimeline:
    """A timeline that several threads may ask; made when it is asked first."""

    def __init__(self, model: Model, market: Market, parameters: Parameters) -> None:
        self.market = market
        self._model = model
        self._parameters = parameters
        self._timeline: Timeline | None = None
        self._lock = threading.Lock()

    def at(self, ts: int) -> ModelLevels:
        with self._lock:
            if self._timeline is None:
                self._timeline = self._model.timeline(self.market, self._parameters)
            return self._timeline.at(ts)


def _digest(model: Model, parameters: Parameters) -> str:
    """Return 16 hexadecimal digits of the model and all parameters in force."""
    # Only what is in force: a parameter that some other model gains changes no hash of this one.
    held = {field.name: getattr(parameters, field.name) for field in fields(parameters)}
    text = f"{model.id}:{ {name: value for name, value in held.items() if value is not None}!r}"
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _check_plain_fields(query: LevelsQuery) -> None:
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


def _check_inputs(model: Model, resident: ResidentMarket, formula: MarginFormula | None) -> None:
    """Check that the market has what the model cannot do without; raises MissingInput."""
    market = resident.market
    name = f"{market.venue}:{market.symbol}"
    if not len(market.history):
        raise MissingInput("data", f"{name} has no data: ingest trades or klines, and metrics")
    if model.needs_open_interest and resident.first_open_interest is None:
        raise MissingInput("open_interest", f"{model.id} needs open interest and {name} has none: ingest metrics files")
    if formula is MarginFormula.EXACT and not market.brackets:
        raise MissingInput(
            "brackets",
            f"the exact margin formula needs the brackets of {name} and none are known: load them with "
            "`liqserver brackets load FILE`, or ask for the simplified formula",
        )


def _moment(as_of: int | None, start: int, end: int) -> int:
    """Return the moment to answer for; raises OutsideCoverage."""
    if as_of is None:
        return end
    covered = f"data covers {start} to {end} ({_shown(start)} to {_shown(end)})"
    if as_of < start:
        raise OutsideCoverage("as_of", as_of, start, end, f"that is before the data: {covered}")
    if as_of > end + AS_OF_GRACE:
        raise OutsideCoverage(
            "as_of",
            as_of,
            start,
            end,
            f"that is more than an hour after the data: {covered}; leave it out for the newest",
        )
    return as_of


def _bin_multiple(bin_size: float, price: float, base_bin: float) -> int:
    """Return the bin size as a multiple of the base bin; raises InvalidField."""
    if bin_size == 0:
        bin_size = grid.default_bin_size(price, base_bin)
    multiple = grid.multiple_of(bin_size, base_bin)
    if multiple is None:
        raise InvalidField("query.bin_size", f"{bin_size:g}", f"must be a multiple of the base bin {base_bin:g}")
    return multiple


def _notices(market: Market, unknown_entry: tuple[float, float]) -> tuple[str, ...]:
    """Return what a reader of the numbers should know."""
    out = []
    tables = market.brackets
    start = int(market.history.step_end[0])
    if tables and start < tables[0].effective_from:
        out.append(
            f"brackets before {_shown(tables[0].effective_from)} are not known: "
            f"those of {tables[0].table_id} stand in for positions opened earlier"
        )
    if max(unknown_entry) > 0.5:
        out.append(
            f"{max(unknown_entry):.0%} of open interest was opened before the data begins and has no level: "
            "the history is short"
        )
    if market.tick_size_source.startswith("inferred"):
        out.append(f"the tick size {market.tick_size:g} was {market.tick_size_source}")
    return tuple(out)


def _shares(part: NDArray[np.float64], whole: NDArray[np.float64]) -> tuple[float, float]:
    """Return part / whole for longs and shorts; 0 where there is nothing."""
    share = np.divide(part, whole, out=np.zeros(2), where=whole > 0)
    return float(share[0]), float(share[1])


def _shown(ts: int) -> str:
    return datetime.fromtimestamp(ts / 1e9, tz=UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _staleness(moment: int, watermarks: dict[str, int], model: Model) -> int:
    """Return the age of the oldest input among those the model cannot do without, nanoseconds."""
    flow = [ts for kind, ts in watermarks.items() if kind in ("trades", "klines")]
    path = [ts for kind, ts in watermarks.items() if kind in ("mark_price", "trades", "klines")]
    newest = [max(kinds) for kinds in (flow, path) if kinds]
    if model.needs_open_interest:
        newest.append(watermarks["open_interest"])
    return moment - min(newest)


def _columns(
    query: LevelsQuery, levels: ModelLevels, multiple: int, low: float, high: float, provenance: Provenance
) -> LevelsAnswer:
    """Cut the model's levels to the range, bins, sides and unit that were asked for."""
    bin_size = float(f"{multiple * levels.width:.12g}")
    first, last = grid.bin_index(low, bin_size), grid.bin_index(high, bin_size)
    count = last - first + 1
    tiers, bins = levels.qty.shape[1:]
    # The part of the model's grid that lies inside, and where it stands in the answer's.
    start = max(first * multiple, levels.first_bin)
    stop = max(min((last + 1) * multiple, levels.first_bin + bins), start)
    inside = levels.qty[:, :, start - levels.first_bin : stop - levels.first_bin]
    qty = np.zeros((2, tiers, count * multiple))
    qty[:, :, start - first * multiple : stop - first * multiple] = inside
    middle = (np.arange(first * multiple, (last + 1) * multiple) + 0.5) * levels.width
    notional = (qty * middle).reshape(2, tiers, count, multiple).sum(axis=3)
    if query.unit is AmountUnit.QTY:
        by_tier = qty.reshape(2, tiers, count, multiple).sum(axis=3)
        total = levels.qty.sum(axis=(1, 2))
    else:
        by_tier = notional
        total = (levels.qty * ((levels.first_bin + np.arange(bins) + 0.5) * levels.width)).sum(axis=(1, 2))
    in_range = by_tier.sum(axis=(1, 2))
    if query.sides is not Sides.BOTH:
        other = 1 if query.sides is Sides.LONG else 0
        notional[other] = 0.0
        by_tier[other] = 0.0
    weight = notional.sum(axis=1).max(axis=0)
    keep = (weight > 0) & (weight >= query.min_notional)
    return LevelsAnswer(
        price=grid.bin_edges(first, count, bin_size)[keep],
        amount=by_tier.sum(axis=1)[:, keep],
        leverage=levels.leverage if query.per_tier else np.empty(0),
        by_tier=by_tier[:, :, keep] if query.per_tier else np.empty((2, 0, int(keep.sum()))),
        bin_size=bin_size,
        unit=query.unit,
        total=total,
        in_range=in_range,
        provenance=provenance,
    )
