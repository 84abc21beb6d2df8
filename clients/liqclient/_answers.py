"""Answers from messages.

Proto3 does not tell a number that is absent from 0. Where 0 cannot be meant (times, prices, open interest),
it becomes None; where an answer makes no sense without the number, it raises `InvalidAnswer`.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from google.protobuf.message import Message
from numpy.typing import NDArray

from liqclient._errors import InvalidAnswer
from liqclient._times import to_datetime
from liqclient._types import (
    Compat,
    DataKind,
    IngestStatus,
    LeverageTier,
    MarginFormula,
    Parameters,
    PositionSide,
    Unit,
)
from liqserver.v1 import admin_pb2, common_pb2, liquidation_pb2, market_data_pb2

_UNITS: dict[int, Unit] = {common_pb2.UNIT_NOTIONAL: "notional", common_pb2.UNIT_QTY: "qty"}
_MARGIN_FORMULAS: dict[int, MarginFormula] = {
    common_pb2.MARGIN_FORMULA_EXACT: "exact",
    common_pb2.MARGIN_FORMULA_SIMPLIFIED: "simplified",
}
_COMPATS: dict[int, Compat] = {common_pb2.COMPAT_NONE: "none", common_pb2.COMPAT_ORIGINAL: "original"}
_SIDES: dict[int, Literal["long", "short"]] = {common_pb2.SIDE_LONG: "long", common_pb2.SIDE_SHORT: "short"}
_INGEST_STATUSES: dict[int, IngestStatus] = {
    admin_pb2.INGEST_STATUS_INGESTED: "ingested",
    admin_pb2.INGEST_STATUS_ALREADY_INGESTED: "already ingested",
    admin_pb2.INGEST_STATUS_REJECTED: "rejected",
    admin_pb2.INGEST_STATUS_NOT_READ: "not read",
}
DATA_KINDS: dict[int, DataKind] = {
    common_pb2.DATA_KIND_TRADES: "trades",
    common_pb2.DATA_KIND_OPEN_INTEREST: "open_interest",
    common_pb2.DATA_KIND_MARK_PRICE: "mark_price",
    common_pb2.DATA_KIND_KLINES: "klines",
    common_pb2.DATA_KIND_FUNDING: "funding",
    common_pb2.DATA_KIND_LIQUIDATIONS: "liquidations",
    common_pb2.DATA_KIND_INDEX_PRICE: "index_price",
    common_pb2.DATA_KIND_PREMIUM_INDEX: "premium_index",
    common_pb2.DATA_KIND_BOOK_DEPTH: "book_depth",
    common_pb2.DATA_KIND_LIQUIDATION_TOTALS: "liquidation_totals",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Watermark:
    """How far one input reaches.

    Attributes
    ----------
    kind
        Which input; None for one that this client does not know.
    ts_event
        UNIX nanoseconds: end of the newest period in use.
    ts_init
        UNIX nanoseconds: when that row could be known.
    staleness
        Nanoseconds from ``ts_event`` to the moment the answer speaks of.
    """

    kind: DataKind | None
    ts_event: int | None
    ts_init: int | None
    staleness: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where numbers come from.

    Attributes
    ----------
    venue, symbol
        As stored, for example ``BINANCE`` and ``BTCUSDT``.
    as_of
        UNIX nanoseconds: the moment the answer speaks of. Nothing later was used.
    generated_at
        UNIX nanoseconds of the server's clock when the answer left.
    watermarks
        How far each input in use reaches.
    staleness
        Largest staleness among the inputs the model cannot do without, nanoseconds.
    model
        Identifier of the model.
    parameters
        Parameters in force.
    parameters_hash
        Hash of model and parameters, 16 hexadecimal digits.
    inputs_hash
        Hash of the inputs up to ``as_of``, 16 hexadecimal digits; empty after a stream's delta, which has none.
    bracket_table
        Bracket table in force at ``as_of``; None when none was used.
    current_price
        Reference price in quote units.
    current_price_source
        Where it comes from.
    current_price_ts
        UNIX nanoseconds of it.
    open_interest
        Contracts in base units, as of the newest row; None when the server gave none.
    no_level_share_long, no_level_share_short
        Share of open interest that has no level because of its kind, in [0, 1].
    unknown_entry_share_long, unknown_entry_share_short
        Share of open interest whose entry lies before the first data, in [0, 1].
    kline_volume_share
        Share of the volume in use that stems from candles because trades are missing, in [0, 1].
    last_price_path_share
        Share of the price path in use that stems from last prices because mark prices are missing, in [0, 1].
    history_start
        UNIX nanoseconds: start of the history in use.
    notices
        Things a reader of the numbers should know, one sentence each.
    calibration
        Id of the calibration that parameters were taken from; None for none.
    """

    venue: str
    symbol: str
    as_of: int
    generated_at: int | None
    watermarks: tuple[Watermark, ...]
    staleness: int
    model: str
    parameters: Parameters
    parameters_hash: str
    inputs_hash: str
    bracket_table: str | None
    current_price: float
    current_price_source: DataKind | None
    current_price_ts: int | None
    open_interest: float | None
    no_level_share_long: float
    no_level_share_short: float
    unknown_entry_share_long: float
    unknown_entry_share_short: float
    kline_volume_share: float
    last_price_path_share: float
    history_start: int | None
    notices: tuple[str, ...]
    calibration: str | None = None

    @property
    def as_of_datetime(self) -> dt.datetime:
        """``as_of`` in UTC, cut to microseconds."""
        return to_datetime(self.as_of)


@dataclass(frozen=True, slots=True, kw_only=True)
class BookTotals:
    """Sums over the whole book, whatever the range of the answer; in the answer's unit.

    Attributes
    ----------
    long, short
        Positions with a level anywhere.
    long_in_range, short_in_range
        Positions with a level inside the answered range, before ``min_notional``.
    """

    long: float
    short: float
    long_in_range: float
    short_in_range: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TierLevels:
    """One leverage tier's part of the levels.

    Attributes
    ----------
    leverage
        Leverage of the tier.
    long, short
        As in `Levels`, shape (n,).
    """

    leverage: float
    long: NDArray[np.float64]
    short: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A run of dense bins: each holds at least three times the mean of the side's bins in the answered range.

    One bin that does not may lie between.

    Attributes
    ----------
    low, high
        Left edge of the first bin and right edge of the last, quote units.
    peak
        Left edge of the densest bin.
    amount
        What the cluster holds, in the answer's unit.
    distance
        From the current price to the nearer edge, as a fraction of the current price, not negative.
    distance_volatility
        The same in units of realised volatility of one day; None while that is not known.
    """

    low: float
    high: float
    peak: float
    amount: float
    distance: float
    distance_volatility: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Imbalance:
    """Longs and shorts within a distance of the current price.

    Attributes
    ----------
    range
        Distance up and down, as a fraction of the current price.
    long
        Longs with a level within the distance below, in the answer's unit.
    short
        Shorts with a level within the distance above.
    imbalance
        (short - long) / (short + long): +1 when only shorts are near; None when there is neither.
    """

    range: float
    long: float
    short: float
    imbalance: float | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DerivedFigures:
    """What strategies derive from levels.

    Attributes
    ----------
    cluster_below
        Nearest cluster of longs below the current price; None when there is none in range.
    cluster_above
        Nearest cluster of shorts above the current price; None when there is none in range.
    cumulative_long
        Longs met on the way from the current price down to each bin, that bin included; as `Levels.price`.
    cumulative_short
        Shorts met on the way up.
    imbalances
        Within 1, 2, 5 and 10 % of the current price.
    realised_volatility
        Standard deviation of a day's log return, from the steps of the 24 hours before; None below 30 steps.
    """

    cluster_below: Cluster | None
    cluster_above: Cluster | None
    cumulative_long: NDArray[np.float64]
    cumulative_short: NDArray[np.float64]
    imbalances: tuple[Imbalance, ...]
    realised_volatility: float | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Levels:
    """Liquidation levels in columns. The arrays are read-only.

    Attributes
    ----------
    price
        Left edge of each bin in quote units, ascending, shape (n,). Bins that hold nothing are left out.
    long
        Amount of longs that will be liquidated when the mark price falls into the bin, shape (n,).
    short
        Amount of shorts that will be liquidated when the mark price rises into the bin, shape (n,).
    tiers
        The same by leverage; they add up to ``long`` and ``short``. Empty unless asked for.
    bin_size
        Width of a bin in quote units.
    unit
        Unit of the amounts.
    totals
        Sums in that unit.
    provenance
        Where the numbers come from.
    derived
        What derives from them; None unless asked for.
    long_low, long_high, short_low, short_high
        Ends of bands, shape (n,); None unless asked for. Of sweeps of as much as the bin holds, the asked share
        liquidated between them before the calibration's cut, brought to the scale of the map.
    """

    price: NDArray[np.float64]
    long: NDArray[np.float64]
    short: NDArray[np.float64]
    tiers: Mapping[float, TierLevels]
    bin_size: float
    unit: Unit
    totals: BookTotals
    provenance: Provenance
    derived: DerivedFigures | None
    long_low: NDArray[np.float64] | None = None
    long_high: NDArray[np.float64] | None = None
    short_low: NDArray[np.float64] | None = None
    short_high: NDArray[np.float64] | None = None

    @property
    def current_price(self) -> float:
        """Reference price in quote units; `Provenance` tells its source and time."""
        return self.provenance.current_price

    def __repr__(self) -> str:
        where = self.provenance
        return (
            f"<Levels {where.symbol}.{where.venue} {where.model} as of {where.as_of_datetime.isoformat()}: "
            f"{len(self.price)} bins of {self.bin_size:g}, {self.unit}, price {where.current_price:g}>"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return everything as lists, dicts, numbers and text, ready for `json.dumps`.

        Keys are the attributes; ``tiers`` is a list, as JSON has no numbers for keys.
        """
        plain: dict[str, Any] = _plain(self)
        plain["tiers"] = list(plain["tiers"].values())
        return plain

    def to_csv(self) -> str:
        """Return the columns as CSV with a header: price, long, short, ends of bands, by tier long_25x, short_25x.

        Where the numbers come from does not fit a table: keep `to_dict` beside it.
        """
        columns = {"price": self.price, "long": self.long, "short": self.short}
        for name in ("long_low", "long_high", "short_low", "short_high"):
            end = getattr(self, name)
            if end is not None:
                columns[name] = end
        for tier in self.tiers.values():
            columns[f"long_{tier.leverage:g}x"] = tier.long
            columns[f"short_{tier.leverage:g}x"] = tier.short
        # repr gives the shortest text that reads back as the same number.
        rows = zip(*(map(repr, column.tolist()) for column in columns.values()), strict=True)
        return "".join(f"{','.join(row)}\n" for row in [tuple(columns), *rows])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Heatmap:
    """Levels over time: T columns of time by B bins of price. The arrays are read-only.

    Attributes
    ----------
    ts
        UNIX nanoseconds of each column: levels as of then, shape (T,).
    price
        Left edge of each bin in quote units, ascending, shape (B,).
    long, short
        Amounts as in `Levels`, shape (T, B).
    open, high, low, close
        Path of the price that liquidates, in the interval up to each column; NaN where none is known. Shape (T,).
    liquidated_long, liquidated_short
        What was liquidated in the interval up to each column, in the answer's unit, shape (T,).
    bin_size
        Width of a bin in quote units.
    interval
        Nanoseconds between columns.
    unit
        Unit of the amounts.
    provenance
        Where the numbers come from, as of the last column.
    """

    ts: NDArray[np.int64]
    price: NDArray[np.float64]
    long: NDArray[np.float64]
    short: NDArray[np.float64]
    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    liquidated_long: NDArray[np.float64]
    liquidated_short: NDArray[np.float64]
    bin_size: float
    interval: int
    unit: Unit
    provenance: Provenance

    def __repr__(self) -> str:
        where = self.provenance
        return (
            f"<Heatmap {where.symbol}.{where.venue} {where.model} up to {where.as_of_datetime.isoformat()}: "
            f"{len(self.ts)} moments every {self.interval / 1e9:g} s, {len(self.price)} bins of {self.bin_size:g}, "
            f"{self.unit}>"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return everything as lists, dicts, numbers and text, ready for `json.dumps`; NaN becomes None."""
        plain: dict[str, Any] = _plain(self)
        return plain


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ComparedModel:
    """One model's levels on the grid of a `Comparison`. Without an answer, it has ``model`` and ``unavailable`` only.

    Attributes
    ----------
    long, short
        Amounts by bin, read-only, as long as `Comparison.price`; None without an answer.
    totals
        Sums in the answer's unit; None without an answer.
    provenance
        Where the numbers come from; None without an answer.
    unavailable
        Why the model has no answer; None when it has one.
    model
        The model.
    """

    long: NDArray[np.float64] | None
    short: NDArray[np.float64] | None
    totals: BookTotals | None
    provenance: Provenance | None
    unavailable: str | None
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPair:
    """How much two models agree within the range, each side's amounts taken as shares of their sum.

    Attributes
    ----------
    a, b
        Where the two stand in `Comparison.models`.
    overlap_long, overlap_short
        1 - total variation of the side, in [0, 1]; None when one of them is empty there.
    rank_correlation_long, rank_correlation_short
        Spearman's rank correlation over the bins; None when one of them does not vary there.
    differ_most_price
        Left edge of the bin where the shares differ most; None when there is none.
    differ_most_side
        On which side; None when there is none.
    differ_most
        Share of ``a`` minus share of ``b`` in that bin; None when there is none.
    """

    a: int
    b: int
    overlap_long: float | None
    overlap_short: float | None
    rank_correlation_long: float | None
    rank_correlation_short: float | None
    differ_most_price: float | None
    differ_most_side: Literal["long", "short"] | None
    differ_most: float | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Comparison:
    """Several models on one grid at one moment. The arrays are read-only.

    Attributes
    ----------
    price
        Left edge of each bin in quote units, ascending: every bin of the range, shape (n,).
    bin_size
        Width of a bin in quote units.
    unit
        Unit of the amounts.
    models
        The models in the order asked; all of them, in the server's order, when none was named.
    pairs
        Every pair of models that have an answer.
    """

    price: NDArray[np.float64]
    bin_size: float
    unit: Unit
    models: tuple[ComparedModel, ...]
    pairs: tuple[ModelPair, ...]

    def __repr__(self) -> str:
        names = (m.model if m.unavailable is None else f"{m.model} (unavailable)" for m in self.models)
        return f"<Comparison {', '.join(names)}: {len(self.price)} bins of {self.bin_size:g}, {self.unit}>"

    def to_dict(self) -> dict[str, Any]:
        """Return everything as lists, dicts, numbers and text, ready for `json.dumps`."""
        plain: dict[str, Any] = _plain(self)
        return plain


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LiquidationColumns:
    """Recorded liquidations in read-only columns of equal length, by time.

    Attributes
    ----------
    ts_event
        UNIX nanoseconds, int64.
    side
        Side of the position that was liquidated, as int8: `PositionSide`, +1 for a long and -1 for a short.
    price
        Average price of the fills, quote units.
    qty
        Filled contracts, base units.
    notional
        price * qty, quote units.
    """

    ts_event: NDArray[np.int64]
    side: NDArray[np.int8]
    price: NDArray[np.float64]
    qty: NDArray[np.float64]
    notional: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LiquidationBuckets:
    """Recorded liquidations by interval, in read-only columns; intervals without any are left out.

    Attributes
    ----------
    ts
        UNIX nanoseconds, int64: start of each interval.
    long_notional, short_notional
        Notional of what was liquidated, quote units.
    long_qty, short_qty
        The same in base units.
    long_count, short_count
        Number of recorded liquidations, int64.
    """

    ts: NDArray[np.int64]
    long_notional: NDArray[np.float64]
    short_notional: NDArray[np.float64]
    long_qty: NDArray[np.float64]
    short_qty: NDArray[np.float64]
    long_count: NDArray[np.int64]
    short_count: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Liquidations:
    """A page of recorded liquidations: one by one or, when asked for an interval, added up.

    Attributes
    ----------
    liquidations
        One by one; None when they are added up.
    buckets
        By interval; None when they are one by one.
    next_page_token
        For ``page_token``, to get the page that follows; empty on the last.
    total_rows
        Recorded rows from start to end, all pages.
    recorded_start, recorded_end
        UNIX nanoseconds of the first and the last recorded liquidation of the symbol; None when there is none.
    notices
        Things a reader of the numbers should know, one sentence each.
    generated_at
        UNIX nanoseconds of the server's clock when the answer left.
    """

    liquidations: LiquidationColumns | None
    buckets: LiquidationBuckets | None
    next_page_token: str
    total_rows: int
    recorded_start: int | None
    recorded_end: int | None
    notices: tuple[str, ...]
    generated_at: int | None

    def __repr__(self) -> str:
        parts = []
        if self.liquidations is not None:
            parts.append(f"{len(self.liquidations.ts_event)} one by one")
        if self.buckets is not None:
            parts.append(f"{len(self.buckets.ts)} intervals")
        parts.append(f"{self.total_rows} rows in all")
        return f"<Liquidations {', '.join(parts)}{', more pages follow' if self.next_page_token else ''}>"

    def to_dict(self) -> dict[str, Any]:
        """Return everything as lists, dicts, numbers and text, ready for `json.dumps`."""
        plain: dict[str, Any] = _plain(self)
        return plain


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Audit:
    """What was opened, closed and liquidated by interval, according to a model. The arrays are read-only.

    opened - closed - liquidated is the change of what is open, on either side. All columns have shape (N,), and
    amounts are in the answer's unit.

    Attributes
    ----------
    open_time
        UNIX nanoseconds, int64: start of each interval.
    opened_long, opened_short
        Opened in the interval.
    closed_long, closed_short
        Closed voluntarily.
    liquidated_long, liquidated_short
        Liquidated.
    unexplained_long, unexplained_short
        Part of what was opened that the model cannot explain.
    open_interest_start, open_interest_end
        Open interest at the start and at the end of the interval.
    no_level_share
        Share of open interest without a level because of its kind at the end, mean of both sides.
    interval
        Nanoseconds of an interval.
    unit
        Unit of the amounts; ``notional`` is contracts times the newest price in their step.
    provenance
        Where the numbers come from, as of the end.
    """

    open_time: NDArray[np.int64]
    opened_long: NDArray[np.float64]
    opened_short: NDArray[np.float64]
    closed_long: NDArray[np.float64]
    closed_short: NDArray[np.float64]
    liquidated_long: NDArray[np.float64]
    liquidated_short: NDArray[np.float64]
    unexplained_long: NDArray[np.float64]
    unexplained_short: NDArray[np.float64]
    open_interest_start: NDArray[np.float64]
    open_interest_end: NDArray[np.float64]
    no_level_share: NDArray[np.float64]
    interval: int
    unit: Unit
    provenance: Provenance

    def __repr__(self) -> str:
        where = self.provenance
        return (
            f"<Audit {where.symbol}.{where.venue} {where.model} up to {where.as_of_datetime.isoformat()}: "
            f"{len(self.open_time)} intervals of {self.interval / 1e9:g} s, {self.unit}>"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return everything as lists, dicts, numbers and text, ready for `json.dumps`; NaN becomes None."""
        plain: dict[str, Any] = _plain(self)
        return plain


type RowKind = Literal["controls", "model", "ablation", "baseline"]
"""What a row of a scorecard is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A figure and its interval of confidence.

    Attributes
    ----------
    value
        The figure.
    low, high
        Ends of the interval.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SideScore:
    """Score of one side; amounts enter as log(x + 0.01) in millions of quote units.

    Attributes
    ----------
    fitted, scored, days
        Intervals fitted on, intervals scored on, UTC days among the latter.
    refused
        Why there is no score, one sentence; None if there is one. Then the figures below are None.
    r
        Correlation of predicted and real liquidations; None in the row of the controls.
    alone
        R² of a regression on predicted liquidations alone, out of sample; in the row of the controls on those alone.
    gain
        What predicted liquidations add to the R² of the controls; None in the row of the controls.
    gain_over_null
        That less the gain of the null, on the intervals and days of both; None in the rows of the null and the
        controls, and where the null has no score.
    slope
        Slope of real on predicted liquidations in the scored part: 1 where a row's differences are as large as real
        ones. None in the row of the controls.
    predicted_share
        Predicted over real total of the scored part; None in the row of the controls.
    """

    fitted: int
    scored: int
    days: int
    refused: str | None
    r: Estimate | None
    alone: Estimate | None
    gain: Estimate | None
    gain_over_null: Estimate | None
    slope: Estimate | None
    predicted_share: Estimate | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScorecardRow:
    """One row of a scorecard. The arrays are read-only.

    Attributes
    ----------
    name
        Name.
    kind
        "controls" (what the path of price and the volume say without any map), "model", "ablation" (the position book
        without a part of its inputs; the first is the null that has to be beaten, constant flow) or "baseline"
        (something simpler than a model, or a map in the wrong place).
    description
        How the prediction comes about, one sentence.
    model, parameters_hash
        Model, and 16 hexadecimal digits of model and parameters; None where there is no model behind it.
    calibration
        Id of the calibration that the parameters are from; None without one.
    unavailable
        Why there is no prediction, one sentence; None if there is one.
    long, short
        Score of each side; None without a prediction.
    predicted_long, predicted_short
        Predicted liquidations by interval, quote units, NaN where there is none, shape (N,); None but for models.
    """

    name: str
    kind: RowKind
    description: str
    model: str | None
    parameters_hash: str | None
    calibration: str | None
    unavailable: str | None
    long: SideScore | None
    short: SideScore | None
    predicted_long: NDArray[np.float64] | None
    predicted_short: NDArray[np.float64] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorecardEffect:
    """What levels do to price, as it comes out.

    Attributes
    ----------
    name
        Name of the test.
    description
        What is estimated and how.
    unit
        Unit of the estimate.
    refused
        Why there is no estimate, one sentence; None if there is one.
    estimate
        The estimate; None if there is none.
    observations, days
        Observations, and UTC days among them.
    model
        Model whose levels are meant.
    """

    name: str
    description: str
    unit: str
    refused: str | None
    estimate: Estimate | None
    observations: int
    days: int
    model: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Scorecard:
    """How well models predict where was really liquidated. The arrays are read-only.

    Attributes
    ----------
    venue, symbol
        As stored.
    start, cut, end
        UNIX nanoseconds: intervals from ``start`` to ``cut`` were fitted on, those from there to ``end`` scored.
    interval
        Nanoseconds of an interval.
    truth_source
        Where real liquidations are from, one sentence.
    rows
        The controls, models in the order asked, ablations, baselines.
    effects
        What levels do to price.
    min_intervals, min_days
        Fewer intervals to fit or to score on, or fewer UTC days to score on, give no score.
    confidence
        Share of resamples that lie within an interval of confidence.
    open_time
        UNIX nanoseconds, int64: start of each interval.
    liquidated_long, liquidated_short
        Real liquidations by interval, quote units, NaN where they are not known, shape (N,).
    watermarks
        One entry per input that was in use.
    notices
        Things a reader of the numbers should know, one sentence each.
    generated_at
        UNIX nanoseconds of the server's clock when the answer left; None if it does not say.
    """

    venue: str
    symbol: str
    start: int
    cut: int
    end: int
    interval: int
    truth_source: str
    rows: tuple[ScorecardRow, ...]
    effects: tuple[ScorecardEffect, ...]
    min_intervals: int
    min_days: int
    confidence: float
    open_time: NDArray[np.int64]
    liquidated_long: NDArray[np.float64]
    liquidated_short: NDArray[np.float64]
    watermarks: tuple[Watermark, ...]
    notices: tuple[str, ...]
    generated_at: int | None

    def __repr__(self) -> str:
        return (
            f"<Scorecard {self.symbol}.{self.venue} {to_datetime(self.start).isoformat()} to "
            f"{to_datetime(self.end).isoformat()}, cut {to_datetime(self.cut).isoformat()}: {len(self.rows)} rows>"
        )

    def row(self, name: str) -> ScorecardRow:
        """Return the row of a name; raises KeyError if there is none."""
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(name)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as lists, dicts, numbers and text, ready for `json.dumps`; NaN becomes None."""
        plain: dict[str, Any] = _plain(self)
        return plain


@dataclass(frozen=True, slots=True, kw_only=True)
class KindCoverage:
    """Data of one kind for one symbol.

    Attributes
    ----------
    kind
        Which kind; None for one that this client does not know.
    start, end
        UNIX nanoseconds: start of the first period and end of the last.
    rows
        Rows of the source files.
    stored_rows
        Rows as stored.
    files
        Files that were ingested.
    interval
        Length of the period of one row in nanoseconds; None where rows are single events.
    missing
        Periods between start and end that have no row; trades: ids that are missing.
    dropped_rows
        Rows of the source files that were left out; ``notices`` say why.
    notices
        What was left out and other things worth knowing, one sentence each.
    """

    kind: DataKind | None
    start: int | None
    end: int | None
    rows: int
    stored_rows: int
    files: int
    interval: int | None
    missing: int
    dropped_rows: int
    notices: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestedFile:
    """What became of one file that a server was asked to ingest.

    Attributes
    ----------
    path
        Path on the server's machine.
    status
        "ingested", "already ingested", "rejected" (bad, and nothing of it is in) or "not read" (of no use here).
    symbol, kind
        From its name; empty where it is not read.
    period
        Nanoseconds of a row's period, None where rows are single events.
    rows, stored_rows, dropped_rows
        Rows of the file, added to the table, left out; 0 unless it was ingested.
    ts_start, ts_end
        UNIX nanoseconds: start of the first period and end of the last; None unless it was ingested.
    notices
        What was dropped, assumed or found odd, one sentence each.
    reason
        Why it was rejected or not read; None otherwise.
    bytes
        Its size.
    seconds
        How long it took.
    """

    path: str
    status: IngestStatus
    symbol: str
    kind: str
    period: int | None
    rows: int
    stored_rows: int
    dropped_rows: int
    ts_start: int | None
    ts_end: int | None
    notices: tuple[str, ...]
    reason: str | None
    bytes: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestProgress:
    """How far an ingest is.

    Attributes
    ----------
    files_done, files
        Files done and in all.
    bytes_done, bytes
        Bytes done and in all.
    file
        The file just done; None at the start.
    """

    files_done: int
    files: int
    bytes_done: int
    bytes: int
    file: IngestedFile | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationInfo:
    """Parameters of a model that were fitted to recorded liquidations.

    Attributes
    ----------
    id
        Identifier.
    venue, symbol, model
        Whose they are.
    until
        UNIX nanoseconds: nothing later was used; answers as of earlier moments do not use it.
    data_start, data_end
        UNIX nanoseconds: start of the first interval fitted on, end of the last.
    period
        Length of an interval, nanoseconds.
    intervals
        How many were fitted on.
    truth
        Where the recorded liquidations are from, a sentence.
    parameters
        What was found; complete.
    weight_spread
        Standard deviation of the log weight of each tier of ``parameters``: exp of it is the factor within which the
        weight is known.
    r2_long, r2_short
        R² of log recorded on log predicted liquidations, in the sample fitted on.
    scale_long, scale_short
        Total recorded over total predicted in the sample fitted on. Bands are in the scale of the map: times this they
        are in that of the record.
    created
        UNIX nanoseconds at which it was stored; None if it was not.
    """

    id: str
    venue: str
    symbol: str
    model: str
    until: int
    data_start: int
    data_end: int
    period: int
    intervals: int
    truth: str
    parameters: Parameters
    weight_spread: tuple[float, ...]
    r2_long: float
    r2_short: float
    scale_long: float
    scale_short: float
    created: int | None

    def to_dict(self) -> dict[str, Any]:
        """Return everything as lists, dicts, numbers and text, ready for `json.dumps`."""
        plain: dict[str, Any] = _plain(self)
        return plain


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationProgress:
    """How far a calibration is.

    Attributes
    ----------
    done, cuts
        Cuts done and in all.
    calibration
        What was found at the cut just done; None at the start, and where there is too little before the cut.
    """

    done: int
    cuts: int
    calibration: CalibrationInfo | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """A file that is in; one of several symbols is there once for each of them.

    Attributes
    ----------
    venue, symbol
        As stored.
    kind
        As the archive names it; recordings of force orders are of kind liquidationSnapshot.
    period
        Nanoseconds of a row's period, None where rows are single events.
    name
        Its name without folder.
    sha256
        Of the file, hexadecimal.
    bytes
        Its size.
    rows, stored_rows, dropped_rows
        Rows of the file, added to the table, left out.
    ts_start, ts_end
        UNIX nanoseconds: start of the first period and end of the last.
    notices
        What was dropped, assumed or found odd, one sentence each.
    ingested_at
        UNIX nanoseconds of the server's clock when it came in.
    """

    venue: str
    symbol: str
    kind: str
    period: int | None
    name: str
    sha256: str
    bytes: int
    rows: int
    stored_rows: int
    dropped_rows: int
    ts_start: int
    ts_end: int
    notices: tuple[str, ...]
    ingested_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolCoverage:
    """Data of one symbol.

    Attributes
    ----------
    venue, symbol
        As stored.
    kinds
        Kind by kind; kinds without data are absent.
    """

    venue: str
    symbol: str
    kinds: tuple[KindCoverage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolInfo:
    """A symbol the server has data for.

    Attributes
    ----------
    venue, symbol
        As stored.
    tick_size
        Smallest price step in quote units.
    base_bin
        Width of the bins in which flow is stored; ``bin_size`` must be a multiple of it.
    current_price
        Newest price in quote units; None when there is none yet.
    current_price_ts
        UNIX nanoseconds of it.
    current_price_source
        Where it comes from.
    bracket_table
        Bracket table in force now; None when there is none.
    watermarks
        How far each input reaches; staleness is against the server's clock.
    """

    venue: str
    symbol: str
    tick_size: float | None
    base_bin: float | None
    current_price: float | None
    current_price_ts: int | None
    current_price_source: DataKind | None
    bracket_table: str | None
    watermarks: tuple[Watermark, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterInfo:
    """A parameter of a model.

    Attributes
    ----------
    name
        As the attribute of `Parameters`.
    description
        What it does.
    default_value
        Default, as text.
    allowed
        What is allowed, as text.
    """

    name: str
    description: str
    default_value: str
    allowed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """A model.

    Attributes
    ----------
    id
        Identifier, as for ``model``.
    description
        What it is, a few sentences.
    source
        Where it comes from.
    limits
        What is known to be wrong with it.
    is_default
        Whether it is the default.
    parameters
        Its parameters.
    required
        Inputs it cannot do without; None stands for one that this client does not know.
    has_time_axis
        Whether it answers `Client.heatmap`, `Client.audit` and `Client.replay`.
    """

    id: str
    description: str
    source: str
    limits: str
    is_default: bool
    parameters: tuple[ParameterInfo, ...]
    required: tuple[DataKind | None, ...]
    has_time_axis: bool


def levels_answer(message: liquidation_pb2.GetLevelsResponse) -> Levels:
    """Return the answer of `Client.levels`.

    Raises
    ------
    InvalidAnswer
        If a part that every answer carries is missing, or columns differ in length.
    """
    _check_parts(message, "levels", "totals", "provenance")
    columns = message.levels
    price = _column(columns.price)
    n = len(price)
    unit = _unit(message.unit)
    tiers: dict[float, TierLevels] = {}
    for tier in columns.tiers:
        if tier.leverage in tiers:
            raise InvalidAnswer(f"the server's answer has two tiers of leverage {tier.leverage:g}")
        name = f"tiers[{tier.leverage:g}]"
        tiers[tier.leverage] = TierLevels(
            leverage=tier.leverage,
            long=_column(tier.long, n, f"{name}.long"),
            short=_column(tier.short, n, f"{name}.short"),
        )
    return Levels(
        price=price,
        long=_column(columns.long, n, "long"),
        short=_column(columns.short, n, "short"),
        tiers=tiers,
        bin_size=_needed(message.bin_size, "bin_size"),
        unit=unit,
        totals=_totals(message.totals),
        provenance=_provenance(message.provenance),
        derived=_derived(message.derived, n) if _has(message, "derived") else None,
        **{
            name: _column(getattr(columns, name), n, name)
            for name in ("long_low", "long_high", "short_low", "short_high")
            if columns.long_low
        },
    )


def heatmap_answer(message: liquidation_pb2.GetHeatmapResponse) -> Heatmap:
    """Return the answer of `Client.heatmap`.

    Raises
    ------
    InvalidAnswer
        If a part that every answer carries is missing, or columns differ in length.
    """
    _check_parts(message, "provenance")
    ts, price = _int_column(message.ts), _column(message.price)
    moments, shape = len(ts), (len(ts), len(price))
    return Heatmap(
        ts=ts,
        price=price,
        long=_column(message.long, shape[0] * shape[1], "long").reshape(shape),
        short=_column(message.short, shape[0] * shape[1], "short").reshape(shape),
        open=_column(message.open, moments, "open"),
        high=_column(message.high, moments, "high"),
        low=_column(message.low, moments, "low"),
        close=_column(message.close, moments, "close"),
        liquidated_long=_column(message.liquidated_long, moments, "liquidated_long"),
        liquidated_short=_column(message.liquidated_short, moments, "liquidated_short"),
        bin_size=_needed(message.bin_size, "bin_size"),
        interval=_needed(message.interval, "interval"),
        unit=_unit(message.unit),
        provenance=_provenance(message.provenance),
    )


def compare_answer(message: liquidation_pb2.CompareModelsResponse) -> Comparison:
    """Return the answer of `Client.compare`.

    Raises
    ------
    InvalidAnswer
        If a part that every answer carries is missing, columns differ in length, or a pair names a model that has
        no answer.
    """
    price = _column(message.price)
    models = tuple(_compared_model(m, len(price), f"models[{i}]") for i, m in enumerate(message.models))
    return Comparison(
        price=price,
        bin_size=_needed(message.bin_size, "bin_size"),
        unit=_unit(message.unit),
        models=models,
        pairs=tuple(_model_pair(pair, models) for pair in message.pairs),
    )


def liquidations_answer(message: liquidation_pb2.ListLiquidationsResponse) -> Liquidations:
    """Return the answer of `Client.liquidations`.

    Raises
    ------
    InvalidAnswer
        If not exactly one of the two column sets is there, columns differ in length, or a side is neither.
    """
    one_by_one, added_up = _has(message, "liquidations"), _has(message, "buckets")
    if one_by_one == added_up:
        raise InvalidAnswer("the server's answer must have either liquidations or buckets")
    return Liquidations(
        liquidations=_liquidation_columns(message.liquidations) if one_by_one else None,
        buckets=_liquidation_buckets(message.buckets) if added_up else None,
        next_page_token=message.next_page_token,
        total_rows=message.total_rows,
        recorded_start=message.recorded_start or None,
        recorded_end=message.recorded_end or None,
        notices=tuple(message.notices),
        generated_at=message.generated_at or None,
    )


def audit_answer(message: liquidation_pb2.GetAuditResponse) -> Audit:
    """Return the answer of `Client.audit`.

    Raises
    ------
    InvalidAnswer
        If a part that every answer carries is missing, or columns differ in length.
    """
    _check_parts(message, "provenance")
    open_time = _int_column(message.open_time)
    n = len(open_time)
    return Audit(
        open_time=open_time,
        opened_long=_column(message.opened_long, n, "opened_long"),
        opened_short=_column(message.opened_short, n, "opened_short"),
        closed_long=_column(message.closed_long, n, "closed_long"),
        closed_short=_column(message.closed_short, n, "closed_short"),
        liquidated_long=_column(message.liquidated_long, n, "liquidated_long"),
        liquidated_short=_column(message.liquidated_short, n, "liquidated_short"),
        unexplained_long=_column(message.unexplained_long, n, "unexplained_long"),
        unexplained_short=_column(message.unexplained_short, n, "unexplained_short"),
        open_interest_start=_column(message.open_interest_start, n, "open_interest_start"),
        open_interest_end=_column(message.open_interest_end, n, "open_interest_end"),
        no_level_share=_column(message.no_level_share, n, "no_level_share"),
        interval=_needed(message.interval, "interval"),
        unit=_unit(message.unit),
        provenance=_provenance(message.provenance),
    )


_ROW_KINDS: dict[int, RowKind] = {
    liquidation_pb2.SCORECARD_ROW_KIND_CONTROLS: "controls",
    liquidation_pb2.SCORECARD_ROW_KIND_MODEL: "model",
    liquidation_pb2.SCORECARD_ROW_KIND_ABLATION: "ablation",
    liquidation_pb2.SCORECARD_ROW_KIND_BASELINE: "baseline",
}


def scorecard_answer(message: liquidation_pb2.GetScorecardResponse) -> Scorecard:
    """Return the answer of `Client.scorecard`.

    Raises
    ------
    InvalidAnswer
        If a part that every answer carries is missing, columns differ in length, or a row is of a kind that this client
        does not know.
    """
    open_time = _int_column(message.open_time)
    n = len(open_time)
    return Scorecard(
        venue=message.venue,
        symbol=message.symbol,
        start=_needed(message.start, "start"),
        cut=_needed(message.cut, "cut"),
        end=_needed(message.end, "end"),
        interval=_needed(message.interval, "interval"),
        truth_source=message.truth_source,
        rows=tuple(_scorecard_row(row, n, f"rows[{i}]") for i, row in enumerate(message.rows)),
        effects=tuple(
            ScorecardEffect(
                name=of.name,
                description=of.description,
                unit=of.unit,
                refused=of.refused or None,
                estimate=_estimate(of, "estimate"),
                observations=of.observations,
                days=of.days,
                model=of.model,
            )
            for of in message.effects
        ),
        min_intervals=_needed(message.min_intervals, "min_intervals"),
        min_days=_needed(message.min_days, "min_days"),
        confidence=_needed(message.confidence, "confidence"),
        open_time=open_time,
        liquidated_long=_column(message.liquidated_long, n, "liquidated_long"),
        liquidated_short=_column(message.liquidated_short, n, "liquidated_short"),
        watermarks=read_watermarks(message.watermarks),
        notices=tuple(message.notices),
        generated_at=message.generated_at or None,
    )


def _scorecard_row(message: liquidation_pb2.ScorecardRow, n: int, name: str) -> ScorecardRow:
    kind = _ROW_KINDS.get(message.kind)
    if kind is None:
        raise InvalidAnswer(f"the server's answer has {name} of a kind this client does not know: {message.kind}")
    if not message.unavailable:
        _check_parts(message, "long", "short")
    predicted = len(message.predicted_long) > 0
    return ScorecardRow(
        name=message.name,
        kind=kind,
        description=message.description,
        model=message.model or None,
        parameters_hash=message.parameters_hash or None,
        calibration=message.calibration or None,
        unavailable=message.unavailable or None,
        long=_side_score(message.long) if _has(message, "long") else None,
        short=_side_score(message.short) if _has(message, "short") else None,
        predicted_long=_column(message.predicted_long, n, f"{name}.predicted_long") if predicted else None,
        predicted_short=_column(message.predicted_short, n, f"{name}.predicted_short") if predicted else None,
    )


def _side_score(message: liquidation_pb2.SideScore) -> SideScore:
    return SideScore(
        fitted=message.fitted,
        scored=message.scored,
        days=message.days,
        refused=message.refused or None,
        r=_estimate(message, "r"),
        alone=_estimate(message, "alone"),
        gain=_estimate(message, "gain"),
        gain_over_null=_estimate(message, "gain_over_null"),
        slope=_estimate(message, "slope"),
        predicted_share=_estimate(message, "predicted_share"),
    )


def _estimate(message: Message, field: str) -> Estimate | None:
    if not _has(message, field):
        return None
    of: liquidation_pb2.Estimate = getattr(message, field)
    return Estimate(value=of.value, low=of.low, high=of.high)


def replay_answer(message: liquidation_pb2.ReplayLevelsResponse) -> Levels:
    """Return one moment of `Client.replay`.

    Raises
    ------
    InvalidAnswer
        As `levels_answer`.
    """
    _check_parts(message, "levels")
    return levels_answer(message.levels)


def changed_levels(levels: Levels, delta: liquidation_pb2.LevelsDelta, sent_at: int) -> Levels:
    """Return ``levels`` after an update of `Client.stream`; deltas do not tell the hash of the inputs.

    Raises
    ------
    InvalidAnswer
        If a part that every delta carries is missing, columns differ in length, or tiers are others.
    """
    _check_parts(delta, "levels", "totals", "live")
    columns = delta.levels
    changed = _column(columns.price)
    n = len(changed)
    told = {tier.leverage: tier for tier in columns.tiers}
    if n and told.keys() != levels.tiers.keys():
        raise InvalidAnswer(f"the server's update has tiers {[*told]}, the levels have {[*levels.tiers]}")
    price = np.union1d(levels.price, changed)
    at, at_changed = np.searchsorted(price, levels.price), np.searchsorted(price, changed)

    def merged(old: NDArray[np.float64], new: Iterable[float], name: str) -> NDArray[np.float64]:
        column = np.zeros(len(price))
        column[at] = old
        column[at_changed] = _column(new, n, name)
        return column

    long, short = merged(levels.long, columns.long, "long"), merged(levels.short, columns.short, "short")
    held = (long != 0) | (short != 0)
    tiers = levels.tiers
    if n:
        tiers = {
            leverage: TierLevels(
                leverage=leverage,
                long=_checked(merged(tier.long, told[leverage].long, f"tiers[{leverage:g}].long")[held]),
                short=_checked(merged(tier.short, told[leverage].short, f"tiers[{leverage:g}].short")[held]),
            )
            for leverage, tier in levels.tiers.items()
        }
    live = delta.live
    return dataclasses.replace(
        levels,
        price=_checked(price[held]),
        long=_checked(long[held]),
        short=_checked(short[held]),
        tiers=tiers,
        totals=_totals(delta.totals),
        provenance=dataclasses.replace(
            levels.provenance,
            as_of=_needed(live.as_of, "live.as_of"),
            generated_at=sent_at or None,
            watermarks=read_watermarks(live.watermarks),
            staleness=live.staleness,
            inputs_hash=live.inputs_hash,
            current_price=_needed(live.current_price, "live.current_price"),
            current_price_source=DATA_KINDS.get(live.current_price_source),
            current_price_ts=live.current_price_ts or None,
            open_interest=live.open_interest or None,
            no_level_share_long=live.no_level_share_long,
            no_level_share_short=live.no_level_share_short,
            unknown_entry_share_long=live.unknown_entry_share_long,
            unknown_entry_share_short=live.unknown_entry_share_short,
            kline_volume_share=live.kline_volume_share,
            last_price_path_share=live.last_price_path_share,
        ),
    )


def heartbeat_watermarks(message: liquidation_pb2.Heartbeat) -> tuple[Watermark, ...]:
    """Return how far the inputs reach, staleness against the server's clock."""
    return read_watermarks(message.watermarks)


def coverage_answer(message: market_data_pb2.GetCoverageResponse) -> list[SymbolCoverage]:
    """Return the answer of `Client.coverage`."""
    return [
        SymbolCoverage(venue=s.venue, symbol=s.symbol, kinds=tuple(map(_kind_coverage, s.kinds)))
        for s in message.symbols
    ]


def symbols_answer(message: market_data_pb2.ListSymbolsResponse) -> list[SymbolInfo]:
    """Return the answer of `Client.symbols`."""
    return [
        SymbolInfo(
            venue=s.venue,
            symbol=s.symbol,
            tick_size=s.tick_size or None,
            base_bin=s.base_bin or None,
            current_price=s.current_price or None,
            current_price_ts=s.current_price_ts or None,
            current_price_source=DATA_KINDS.get(s.current_price_source),
            bracket_table=s.bracket_table or None,
            watermarks=read_watermarks(s.watermarks),
        )
        for s in message.symbols
    ]


def calibrations_answer(message: market_data_pb2.ListCalibrationsResponse) -> list[CalibrationInfo]:
    """Return the answer of `Client.calibrations`."""
    return [_calibration(of) for of in message.calibrations]


def calibrate_answer(message: admin_pb2.CalibrateResponse) -> CalibrationProgress:
    """Return one answer of `Client.calibrate`."""
    found = _calibration(message.calibration) if _has(message, "calibration") else None
    return CalibrationProgress(done=message.done, cuts=message.cuts, calibration=found)


def _calibration(message: common_pb2.CalibrationInfo) -> CalibrationInfo:
    return CalibrationInfo(
        id=message.id,
        venue=message.venue,
        symbol=message.symbol,
        model=message.model,
        until=_needed(message.until, "calibration.until"),
        data_start=_needed(message.data_start, "calibration.data_start"),
        data_end=_needed(message.data_end, "calibration.data_end"),
        period=_needed(message.period, "calibration.period"),
        intervals=message.intervals,
        truth=message.truth,
        parameters=_parameters(message.parameters),
        weight_spread=tuple(message.weight_spread),
        r2_long=message.r2_long,
        r2_short=message.r2_short,
        scale_long=message.scale_long,
        scale_short=message.scale_short,
        created=message.created or None,
    )


def models_answer(message: market_data_pb2.ListModelsResponse) -> list[ModelInfo]:
    """Return the answer of `Client.models`."""
    return [
        ModelInfo(
            id=m.id,
            description=m.description,
            source=m.source,
            limits=m.limits,
            is_default=m.is_default,
            parameters=tuple(
                ParameterInfo(
                    name=p.name,
                    description=p.description,
                    default_value=p.default_value,
                    allowed=p.allowed,
                )
                for p in m.parameters
            ),
            required=tuple(DATA_KINDS.get(kind) for kind in m.required),
            has_time_axis=m.has_time_axis,
        )
        for m in message.models
    ]


def _totals(message: liquidation_pb2.BookTotals) -> BookTotals:
    return BookTotals(
        long=message.long,
        short=message.short,
        long_in_range=message.long_in_range,
        short_in_range=message.short_in_range,
    )


def _derived(message: liquidation_pb2.DerivedFigures, n: int) -> DerivedFigures:
    return DerivedFigures(
        cluster_below=_cluster(message.cluster_below, "cluster_below") if _has(message, "cluster_below") else None,
        cluster_above=_cluster(message.cluster_above, "cluster_above") if _has(message, "cluster_above") else None,
        cumulative_long=_column(message.cumulative_long, n, "derived.cumulative_long"),
        cumulative_short=_column(message.cumulative_short, n, "derived.cumulative_short"),
        imbalances=tuple(
            Imbalance(
                range=_needed(m.range, "derived.imbalances.range"),
                long=m.long,
                short=m.short,
                imbalance=_given(m, "imbalance"),
            )
            for m in message.imbalances
        ),
        realised_volatility=_given(message, "realised_volatility"),
    )


def _cluster(message: liquidation_pb2.Cluster, name: str) -> Cluster:
    return Cluster(
        # A first bin may begin at 0, but none ends there.
        low=message.low,
        high=_needed(message.high, f"derived.{name}.high"),
        peak=message.peak,
        amount=_needed(message.amount, f"derived.{name}.amount"),
        distance=message.distance,
        distance_volatility=_given(message, "distance_volatility"),
    )


def _compared_model(message: liquidation_pb2.ComparedModel, n: int, name: str) -> ComparedModel:
    if message.unavailable:
        return ComparedModel(
            long=None, short=None, totals=None, provenance=None, unavailable=message.unavailable, model=message.model
        )
    _check_parts(message, "totals", "provenance")
    return ComparedModel(
        long=_column(message.long, n, f"{name}.long"),
        short=_column(message.short, n, f"{name}.short"),
        totals=_totals(message.totals),
        provenance=_provenance(message.provenance),
        unavailable=None,
        model=message.model,
    )


def _model_pair(message: liquidation_pb2.ModelPair, models: tuple[ComparedModel, ...]) -> ModelPair:
    for index in (message.a, message.b):
        if not 0 <= index < len(models) or models[index].unavailable is not None:
            raise InvalidAnswer(f"the server's answer has a pair with model {index}, which has no answer")
    differ = _has(message, "differ_most_price")
    side = _SIDES.get(message.differ_most_side)
    if differ and side is None:
        raise InvalidAnswer("the server's answer does not say on which side two models differ most")
    return ModelPair(
        a=message.a,
        b=message.b,
        overlap_long=_given(message, "overlap_long"),
        overlap_short=_given(message, "overlap_short"),
        rank_correlation_long=_given(message, "rank_correlation_long"),
        rank_correlation_short=_given(message, "rank_correlation_short"),
        differ_most_price=message.differ_most_price if differ else None,
        differ_most_side=side if differ else None,
        differ_most=message.differ_most if differ else None,
    )


def _liquidation_columns(message: liquidation_pb2.LiquidationColumns) -> LiquidationColumns:
    ts_event = _int_column(message.ts_event)
    n = len(ts_event)
    return LiquidationColumns(
        ts_event=ts_event,
        side=_side_column(message.side, n),
        price=_column(message.price, n, "liquidations.price"),
        qty=_column(message.qty, n, "liquidations.qty"),
        notional=_column(message.notional, n, "liquidations.notional"),
    )


def _liquidation_buckets(message: liquidation_pb2.LiquidationBuckets) -> LiquidationBuckets:
    ts = _int_column(message.ts)
    n = len(ts)
    return LiquidationBuckets(
        ts=ts,
        long_notional=_column(message.long_notional, n, "buckets.long_notional"),
        short_notional=_column(message.short_notional, n, "buckets.short_notional"),
        long_qty=_column(message.long_qty, n, "buckets.long_qty"),
        short_qty=_column(message.short_qty, n, "buckets.short_qty"),
        long_count=_int_column(message.long_count, n, "buckets.long_count"),
        short_count=_int_column(message.short_count, n, "buckets.short_count"),
    )


def _provenance(message: common_pb2.Provenance) -> Provenance:
    return Provenance(
        venue=message.venue,
        symbol=message.symbol,
        as_of=_needed(message.as_of, "provenance.as_of"),
        generated_at=message.generated_at or None,
        watermarks=read_watermarks(message.watermarks),
        staleness=message.staleness,
        model=message.model,
        parameters=_parameters(message.parameters),
        parameters_hash=message.parameters_hash,
        inputs_hash=message.inputs_hash,
        bracket_table=message.bracket_table or None,
        current_price=_needed(message.current_price, "provenance.current_price"),
        current_price_source=DATA_KINDS.get(message.current_price_source),
        current_price_ts=message.current_price_ts or None,
        open_interest=message.open_interest or None,
        no_level_share_long=message.no_level_share_long,
        no_level_share_short=message.no_level_share_short,
        unknown_entry_share_long=message.unknown_entry_share_long,
        unknown_entry_share_short=message.unknown_entry_share_short,
        kline_volume_share=message.kline_volume_share,
        last_price_path_share=message.last_price_path_share,
        history_start=message.history_start or None,
        notices=tuple(message.notices),
        calibration=message.calibration or None,
    )


def _parameters(message: common_pb2.ModelParameters) -> Parameters:
    return Parameters(
        kappa=_given(message, "kappa"),
        taker_tilt=_given(message, "taker_tilt"),
        trend_tilt=_given(message, "trend_tilt"),
        tiers=tuple(LeverageTier(leverage=t.leverage, weight=t.weight, hazard=t.hazard or None) for t in message.tiers)
        or None,
        no_level_weight=_given(message, "no_level_weight"),
        no_level_hazard=_given(message, "no_level_hazard"),
        hazard_exponent=_given(message, "hazard_exponent"),
        margin_formula=_MARGIN_FORMULAS.get(message.margin_formula),
        funding_erosion=_given(message, "funding_erosion"),
        position_notional=_given(message, "position_notional"),
        lookback=message.lookback if _has(message, "lookback") else None,
        whale_threshold=_given(message, "whale_threshold"),
        gross_value=_given(message, "gross_value"),
        top_n=message.top_n if _has(message, "top_n") else None,
        portion=_given(message, "portion"),
        funding_tilt=_given(message, "funding_tilt"),
        compat=_COMPATS.get(message.compat),
    )


def read_watermarks(messages: Iterable[common_pb2.Watermark]) -> tuple[Watermark, ...]:
    """Return how far inputs reach."""
    return tuple(
        Watermark(
            kind=DATA_KINDS.get(m.kind),
            ts_event=m.ts_event or None,
            ts_init=m.ts_init or None,
            staleness=m.staleness,
        )
        for m in messages
    )


def ingest_answer(message: admin_pb2.IngestResponse) -> IngestProgress:
    """Return how far an ingest is.

    Raises
    ------
    InvalidAnswer
        If the answer has a file without a status that this client knows.
    """
    return IngestProgress(
        files_done=message.files_done,
        files=message.files,
        bytes_done=message.bytes_done,
        bytes=message.bytes,
        file=_ingested_file(message.file) if _has(message, "file") else None,
    )


def _ingested_file(message: admin_pb2.IngestedFile) -> IngestedFile:
    status = _INGEST_STATUSES.get(message.status)
    if status is None:
        raise InvalidAnswer(f"the server's answer has a file of a status this client does not know: {message.status}")
    return IngestedFile(
        path=message.path,
        status=status,
        symbol=message.symbol,
        kind=message.kind,
        period=message.period or None,
        rows=message.rows,
        stored_rows=message.stored_rows,
        dropped_rows=message.dropped_rows,
        ts_start=message.ts_start or None,
        ts_end=message.ts_end or None,
        notices=tuple(message.notices),
        reason=message.reason or None,
        bytes=message.bytes,
        seconds=message.seconds,
    )


def files_answer(message: admin_pb2.ListFilesResponse) -> list[StoredFile]:
    """Return some of the files that are in."""
    return [
        StoredFile(
            venue=file.venue,
            symbol=file.symbol,
            kind=file.kind,
            period=file.period or None,
            name=file.name,
            sha256=file.sha256,
            bytes=file.bytes,
            rows=file.rows,
            stored_rows=file.stored_rows,
            dropped_rows=file.dropped_rows,
            ts_start=file.ts_start,
            ts_end=file.ts_end,
            notices=tuple(file.notices),
            ingested_at=file.ingested_at,
        )
        for file in message.files
    ]


def _kind_coverage(message: market_data_pb2.KindCoverage) -> KindCoverage:
    return KindCoverage(
        kind=DATA_KINDS.get(message.kind),
        start=message.start or None,
        end=message.end or None,
        rows=message.rows,
        stored_rows=message.stored_rows,
        files=message.files,
        interval=message.interval or None,
        missing=message.missing,
        dropped_rows=message.dropped_rows,
        notices=tuple(message.notices),
    )


def _column(values: Iterable[float], n: int | None = None, name: str = "") -> NDArray[np.float64]:
    # Copies the packed field at once instead of number by number.
    return _checked(np.asarray(values, dtype=np.float64), n, name)


def _int_column(values: Iterable[int], n: int | None = None, name: str = "") -> NDArray[np.int64]:
    return _checked(np.asarray(values, dtype=np.int64), n, name)


def _side_column(values: Iterable[int], n: int) -> NDArray[np.int8]:
    sides = _int_column(values, n, "liquidations.side")
    longs = sides == common_pb2.SIDE_LONG
    if not np.all(longs | (sides == common_pb2.SIDE_SHORT)):
        raise InvalidAnswer("the server's answer has a liquidation that is neither of a long nor of a short")
    return _checked(np.where(longs, np.int8(PositionSide.LONG), np.int8(PositionSide.SHORT)))


def _checked[A: NDArray[Any]](column: A, n: int | None = None, name: str = "") -> A:
    if n is not None and len(column) != n:
        raise InvalidAnswer(f"the server's answer must have {n} values of {name}, has {len(column)}")
    column.flags.writeable = False
    return column


def _unit(value: int) -> Unit:
    unit = _UNITS.get(value)
    if unit is None:
        raise InvalidAnswer(f"the server's answer has no unit that this client knows: {value}")
    return unit


def _check_parts(message: Message, *parts: str) -> None:
    for part in parts:
        if not _has(message, part):
            raise InvalidAnswer(f"the server's answer lacks {part}")


def _has(message: Message, field: str) -> bool:
    return message.HasField(field)


def _given(message: Message, field: str) -> float | None:
    return getattr(message, field) if _has(message, field) else None


def _needed[N: (int, float)](value: N, name: str) -> N:
    if not value > 0:
        raise InvalidAnswer(f"the server's answer lacks {name}")
    return value


def _plain(value: Any) -> Any:  # noqa: ANN401
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "f" and (unknown := np.isnan(value)).any():
            plain = value.astype(object)
            plain[unknown] = None
            return plain.tolist()
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value
