"""Answers from messages.

Proto3 does not tell a number that is absent from 0. Where 0 cannot be meant (times, prices, open interest),
it becomes None; where an answer makes no sense without the number, it raises `InvalidAnswer`.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf.message import Message
from numpy.typing import NDArray

from liqclient._errors import InvalidAnswer
from liqclient._times import to_datetime
from liqclient._types import DataKind, LeverageTier, MarginFormula, Parameters, Unit
from liqserver.v1 import common_pb2, liquidation_pb2, market_data_pb2

_UNITS: dict[int, Unit] = {common_pb2.UNIT_NOTIONAL: "notional", common_pb2.UNIT_QTY: "qty"}
_MARGIN_FORMULAS: dict[int, MarginFormula] = {
    common_pb2.MARGIN_FORMULA_EXACT: "exact",
    common_pb2.MARGIN_FORMULA_SIMPLIFIED: "simplified",
}
_DATA_KINDS: dict[int, DataKind] = {
    common_pb2.DATA_KIND_TRADES: "trades",
    common_pb2.DATA_KIND_OPEN_INTEREST: "open_interest",
    common_pb2.DATA_KIND_MARK_PRICE: "mark_price",
    common_pb2.DATA_KIND_KLINES: "klines",
    common_pb2.DATA_KIND_FUNDING: "funding",
    common_pb2.DATA_KIND_LIQUIDATIONS: "liquidations",
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
        Hash of the inputs up to ``as_of``, 16 hexadecimal digits.
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
    """

    price: NDArray[np.float64]
    long: NDArray[np.float64]
    short: NDArray[np.float64]
    tiers: Mapping[float, TierLevels]
    bin_size: float
    unit: Unit
    totals: BookTotals
    provenance: Provenance

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
        """Return the columns as CSV with a header: price, long, short and, by tier, long_25x, short_25x.

        Where the numbers come from does not fit a table: keep `to_dict` beside it.
        """
        columns = {"price": self.price, "long": self.long, "short": self.short}
        for tier in self.tiers.values():
            columns[f"long_{tier.leverage:g}x"] = tier.long
            columns[f"short_{tier.leverage:g}x"] = tier.short
        # repr gives the shortest text that reads back as the same number.
        rows = zip(*(map(repr, column.tolist()) for column in columns.values()), strict=True)
        return "".join(f"{','.join(row)}\n" for row in [tuple(columns), *rows])


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
    """

    id: str
    description: str
    source: str
    limits: str
    is_default: bool
    parameters: tuple[ParameterInfo, ...]
    required: tuple[DataKind | None, ...]


def levels_answer(message: liquidation_pb2.GetLevelsResponse) -> Levels:
    """Return the answer of `Client.levels`.

    Raises
    ------
    InvalidAnswer
        If a part that every answer carries is missing, or columns differ in length.
    """
    for part in ("levels", "totals", "provenance"):
        if not _has(message, part):
            raise InvalidAnswer(f"the server's answer lacks {part}")
    columns = message.levels
    price = _column(columns.price)
    n = len(price)
    unit = _UNITS.get(message.unit)
    if unit is None:
        raise InvalidAnswer(f"the server's answer has no unit that this client knows: {message.unit}")
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
        totals=BookTotals(
            long=message.totals.long,
            short=message.totals.short,
            long_in_range=message.totals.long_in_range,
            short_in_range=message.totals.short_in_range,
        ),
        provenance=_provenance(message.provenance),
    )


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
            current_price_source=_DATA_KINDS.get(s.current_price_source),
            bracket_table=s.bracket_table or None,
            watermarks=_watermarks(s.watermarks),
        )
        for s in message.symbols
    ]


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
            required=tuple(_DATA_KINDS.get(kind) for kind in m.required),
        )
        for m in message.models
    ]


def _provenance(message: common_pb2.Provenance) -> Provenance:
    return Provenance(
        venue=message.venue,
        symbol=message.symbol,
        as_of=_needed(message.as_of, "provenance.as_of"),
        generated_at=message.generated_at or None,
        watermarks=_watermarks(message.watermarks),
        staleness=message.staleness,
        model=message.model,
        parameters=_parameters(message.parameters),
        parameters_hash=message.parameters_hash,
        inputs_hash=message.inputs_hash,
        bracket_table=message.bracket_table or None,
        current_price=_needed(message.current_price, "provenance.current_price"),
        current_price_source=_DATA_KINDS.get(message.current_price_source),
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
    )


def _parameters(message: common_pb2.ModelParameters) -> Parameters:
    return Parameters(
        kappa=_given(message, "kappa"),
        taker_tilt=_given(message, "taker_tilt"),
        tiers=tuple(LeverageTier(leverage=t.leverage, weight=t.weight, hazard=t.hazard or None) for t in message.tiers)
        or None,
        no_level_weight=_given(message, "no_level_weight"),
        no_level_hazard=_given(message, "no_level_hazard"),
        hazard_exponent=_given(message, "hazard_exponent"),
        margin_formula=_MARGIN_FORMULAS.get(message.margin_formula),
        funding_erosion=_given(message, "funding_erosion"),
        position_notional=_given(message, "position_notional"),
    )


def _watermarks(messages: Iterable[common_pb2.Watermark]) -> tuple[Watermark, ...]:
    return tuple(
        Watermark(
            kind=_DATA_KINDS.get(m.kind),
            ts_event=m.ts_event or None,
            ts_init=m.ts_init or None,
            staleness=m.staleness,
        )
        for m in messages
    )


def _kind_coverage(message: market_data_pb2.KindCoverage) -> KindCoverage:
    return KindCoverage(
        kind=_DATA_KINDS.get(message.kind),
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
    column = np.asarray(values, dtype=np.float64)
    if n is not None and len(column) != n:
        raise InvalidAnswer(f"the server's answer has {n} prices but {len(column)} values of {name}")
    column.flags.writeable = False
    return column


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
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value
