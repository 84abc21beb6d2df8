"""What is delivered, whatever it is delivered through: levels and alerts as plain columns, without Nautilus."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from liqclient._alerts import Alert
from liqclient._answers import Cluster, Levels
from liqclient._errors import InvalidAnswer
from liqclient._types import Unit

type PositionSideName = Literal["long", "short"]

# As the server has it: a bin is dense from so many times the mean of its side's bins on.
_DENSE = 3.0
# Slack of a quotient of two decimal numbers held in binary.
_EPSILON = 1e-9
# Slack for a price at the very end of a range that is stored in whole bins.
_FRACTION_SLACK = 1e-9


class _Payload:
    """Fields that are compared, shown and written out in the order of ``_FIELDS``."""

    _FIELDS: ClassVar[tuple[str, ...]]
    _instrument: str
    _ts_event: int
    _ts_init: int

    @property
    def ts_event(self) -> int:
        """UNIX nanoseconds: the moment this speaks of; nothing that became known later is in it."""
        return self._ts_event

    @property
    def ts_init(self) -> int:
        """UNIX nanoseconds: when this was available, later than ``ts_event``."""
        return self._ts_init

    def _set_times(self, ts_event: int, ts_init: int) -> None:
        if not ts_event < ts_init:
            raise ValueError(f"ts_init must be later than ts_event, which was {ts_event}; ts_init was {ts_init}")
        self._ts_event = int(ts_event)
        self._ts_init = int(ts_init)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as lists, numbers and text, ready for `json.dumps`."""
        plain: dict[str, Any] = {"instrument_id": self._instrument}
        for name in self._FIELDS:
            value = getattr(self, name)
            plain[name] = value.tolist() if isinstance(value, np.ndarray) else value
        return plain

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return what `to_dict` gave; entries with other names are not looked at.

        Raises
        ------
        KeyError
            If a field is missing.
        """
        return cls(values["instrument_id"], **{name: values[name] for name in cls._FIELDS})

    if TYPE_CHECKING:

        def __init__(self, instrument_id: object, **fields: Any) -> None: ...  # noqa: ANN401 - each type has its own

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((type(self).__name__, self._instrument, self._ts_event, self._ts_init))


class LevelsPayload(_Payload):
    """Liquidation levels of one instrument as of one moment. The arrays are read-only float64.

    Parameters
    ----------
    instrument_id
        Instrument the levels are of, as text or as anything whose text is its identifier.

    Attributes
    ----------
    model
        Identifier of the model.
    parameters_hash, inputs_hash
        Hashes of model and parameters, and of the inputs up to ``ts_event``, 16 hexadecimal digits.
    unit
        Unit of the amounts: ``notional`` in quote units, ``qty`` in base units.
    bin_size
        Width of a bin in quote units.
    range_low, range_high
        Left edge of the first and right edge of the last bin of the answered range, quote units.
    prices
        Left edge of each bin that holds anything, quote units, ascending, shape (n,).
    long
        Amount of longs that will be liquidated when the mark price falls into the bin, shape (n,).
    short
        Amount of shorts that will be liquidated when the mark price rises into the bin, shape (n,).
    reference_price
        Price the levels were asked around, quote units.
    open_interest
        Contracts in base units; None when the server gave none.
    no_level_share_long, no_level_share_short
        Share of open interest that has no level because of its kind, in [0, 1].
    unknown_entry_share_long, unknown_entry_share_short
        Share of open interest whose entry lies before the first data: near 1 while a book is cold.
    kline_volume_share, last_price_path_share
        Shares of volume and price path that candles of the last price stand in for.
    staleness
        Nanoseconds from the end of the oldest input the model cannot do without to ``ts_event``.

    Raises
    ------
    ValueError
        If columns differ in length, prices do not ascend, or ``ts_init`` is not later than ``ts_event``.
    """

    _FIELDS = (
        "model",
        "parameters_hash",
        "inputs_hash",
        "unit",
        "bin_size",
        "range_low",
        "range_high",
        "prices",
        "long",
        "short",
        "reference_price",
        "open_interest",
        "no_level_share_long",
        "no_level_share_short",
        "unknown_entry_share_long",
        "unknown_entry_share_short",
        "kline_volume_share",
        "last_price_path_share",
        "staleness",
        "ts_event",
        "ts_init",
    )

    def __init__(
        self,
        instrument_id: object,
        *,
        model: str,
        parameters_hash: str,
        inputs_hash: str,
        unit: Unit,
        bin_size: float,
        range_low: float,
        range_high: float,
        prices: ArrayLike,
        long: ArrayLike,
        short: ArrayLike,
        reference_price: float,
        open_interest: float | None,
        no_level_share_long: float,
        no_level_share_short: float,
        unknown_entry_share_long: float,
        unknown_entry_share_short: float,
        kline_volume_share: float,
        last_price_path_share: float,
        staleness: int,
        ts_event: int,
        ts_init: int,
    ) -> None:
        self._instrument = str(instrument_id)
        self.model = model
        self.parameters_hash = parameters_hash
        self.inputs_hash = inputs_hash
        self.unit: Unit = unit
        self.bin_size = bin_size
        self.range_low = range_low
        self.range_high = range_high
        self.prices = _column(prices)
        self.long = _column(long)
        self.short = _column(short)
        if not len(self.prices) == len(self.long) == len(self.short):
            raise ValueError(
                "prices, long and short must have one length, were of "
                f"{len(self.prices)}, {len(self.long)} and {len(self.short)}"
            )
        if (self.prices[1:] <= self.prices[:-1]).any():
            raise ValueError("prices must ascend")
        self.reference_price = reference_price
        self.open_interest = open_interest
        self.no_level_share_long = no_level_share_long
        self.no_level_share_short = no_level_share_short
        self.unknown_entry_share_long = unknown_entry_share_long
        self.unknown_entry_share_short = unknown_entry_share_short
        self.kline_volume_share = kline_volume_share
        self.last_price_path_share = last_price_path_share
        self.staleness = staleness
        self._set_times(ts_event, ts_init)

    @classmethod
    def from_levels(
        cls, levels: Levels, instrument_id: object, *, price_range: tuple[float, float], ts_init: int
    ) -> Self:
        """Return an answer of `liqclient.Client.levels` or `replay` in this shape.

        Parameters
        ----------
        levels
            The answer, of both sides and without ``min_notional``: clusters are relative to all bins.
        instrument_id
            Instrument the levels are of.
        price_range
            What was asked for: fractions of the price, down and up.
        ts_init
            UNIX nanoseconds: when the levels were available.

        Raises
        ------
        InvalidAnswer
            If the answer used an input that became known only at ``ts_init`` or later.
        """
        where = levels.provenance
        for mark in where.watermarks:
            if mark.ts_init is not None and mark.ts_init >= ts_init:
                raise InvalidAnswer(
                    f"levels as of {where.as_of} use {mark.kind} known at {mark.ts_init}, "
                    f"which is not before they were available at {ts_init}"
                )
        down, up = price_range
        first, last = (
            math.floor(where.current_price * share / levels.bin_size + _EPSILON) for share in (1 - down, 1 + up)
        )
        return cls(
            instrument_id,
            model=where.model,
            parameters_hash=where.parameters_hash,
            inputs_hash=where.inputs_hash,
            unit=levels.unit,
            bin_size=levels.bin_size,
            range_low=_edge(first, levels.bin_size),
            range_high=_edge(last + 1, levels.bin_size),
            prices=levels.price,
            long=levels.long,
            short=levels.short,
            reference_price=where.current_price,
            open_interest=where.open_interest,
            no_level_share_long=where.no_level_share_long,
            no_level_share_short=where.no_level_share_short,
            unknown_entry_share_long=where.unknown_entry_share_long,
            unknown_entry_share_short=where.unknown_entry_share_short,
            kline_volume_share=where.kline_volume_share,
            last_price_path_share=where.last_price_path_share,
            staleness=where.staleness,
            ts_event=where.as_of,
            ts_init=ts_init,
        )

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self._instrument}, {self.model}, {len(self.prices)} bins of {self.bin_size:g}, "
            f"{self.unit}, reference_price={self.reference_price:g}, ts_event={self._ts_event}, "
            f"ts_init={self._ts_init})"
        )

    def cluster_below(self, price: float | None = None) -> Cluster | None:
        """Return the nearest cluster of longs below ``price``; None when there is none in range.

        Of the reference price, it is what the server gives as `DerivedFigures.cluster_below`; a price of a later
        moment takes the mean over the bins below that one. ``distance_volatility`` is None.

        Parameters
        ----------
        price
            Where to look from, quote units; None for the reference price.
        """
        return self._nearest("long", self.reference_price if price is None else price)

    def cluster_above(self, price: float | None = None) -> Cluster | None:
        """Return the nearest cluster of shorts above ``price``; see `cluster_below`."""
        return self._nearest("short", self.reference_price if price is None else price)

    def between(self, low: float, high: float) -> tuple[float, float]:
        """Return the longs and shorts with a level from ``low`` to ``high``, in `unit`.

        What a bin holds counts by the part of its width that lies inside.

        Raises
        ------
        ValueError
            If ``low`` is above ``high``, or one of them lies outside the answered range.
        """
        if not low <= high:
            raise ValueError(f"low must not be above high, which was {high:g}; low was {low:g}")
        self._check_inside(low)
        self._check_inside(high)
        inside = np.minimum(self.prices + self.bin_size, high) - np.maximum(self.prices, low)
        share = np.clip(inside / self.bin_size, 0.0, 1.0)
        return float(share @ self.long), float(share @ self.short)

    def imbalance(self, within: float, price: float | None = None) -> float | None:
        """Return (shorts above - longs below) / (shorts above + longs below): +1 when only shorts are near.

        A bin counts as a whole where its middle lies within the distance.

        Parameters
        ----------
        within
            Distance up and down, as a fraction of ``price``.
        price
            Where to look from, quote units; None for the reference price.

        Returns
        -------
        float or None
            None when there is neither.

        Raises
        ------
        ValueError
            If the distance reaches beyond the answered range.
        """
        price = self.reference_price if price is None else price
        low, high = price * (1 - within), price * (1 + within)
        self._check_inside(low)
        self._check_inside(high)
        middle = self.prices + self.bin_size / 2
        long = float(self.long[(middle >= low) & (middle <= price)].sum())
        short = float(self.short[(middle <= high) & (middle >= price)].sum())
        return (short - long) / (short + long) if long + short > 0 else None

    def _check_inside(self, price: float) -> None:
        slack = _FRACTION_SLACK * self.reference_price
        if not self.range_low - slack <= price <= self.range_high + slack:
            raise ValueError(
                f"price must lie in the answered range of {self.range_low:g} to {self.range_high:g}, was {price:g}"
            )

    def _nearest(self, side: PositionSideName, price: float) -> Cluster | None:
        first = round(self.range_low / self.bin_size)
        count = round(self.range_high / self.bin_size) - first
        # The bin that holds the price belongs to both sides; a price on an edge lies in the bin above it only.
        held = math.floor(price / self.bin_size + _EPSILON)
        on_edge = abs(price / self.bin_size - held) <= _EPSILON
        start, stop = (0, held + (not on_edge) - first) if side == "long" else (held - first, count)
        start, stop = max(start, 0), min(stop, count)
        if start >= stop:
            return None
        amount = np.zeros(count)
        amount[np.rint(self.prices / self.bin_size).astype(np.int64) - first] = getattr(self, side)
        amount = amount[start:stop]
        if not amount.any():
            return None
        dense = np.flatnonzero(amount >= _DENSE * amount.mean())
        # One bin that is not dense may lie between.
        runs = np.split(dense, np.flatnonzero(np.diff(dense) > 2) + 1) if len(dense) else []
        if not runs:
            return None
        # The nearest run is the last of those below and the first of those above.
        run = runs[-1] if side == "long" else runs[0]
        held_by_run = amount[run[0] : run[-1] + 1]
        low, peak, high = (
            _edge(first + start + int(bin_), self.bin_size)
            for bin_ in (run[0], run[0] + held_by_run.argmax(), run[-1] + 1)
        )
        return Cluster(
            low=low,
            high=high,
            peak=peak,
            amount=float(held_by_run.sum()),
            distance=max(low - price, price - high, 0.0) / price,
            distance_volatility=None,
        )


class AlertPayload(_Payload):
    """One event around liquidation levels, as a rule asked for it.

    Parameters
    ----------
    instrument_id
        Instrument it is about, as text or as anything whose text is its identifier.

    Attributes
    ----------
    rule
        Name of the rule.
    kind
        What happened: `liqclient.AlertKind`.
    side
        Side of the positions it is about, ``long`` or ``short``; None for stale and fresh data.
    low, high, peak
        Left edge, right edge and densest price of the cluster it is about, quote units; None where it is of none.
    amount
        What the cluster holds, or was liquidated, in `unit`; None for stale and fresh data.
    unit
        ``notional`` in quote units, ``qty`` in base units.
    distance
        From the reference price to the cluster, as a fraction of the reference price; None where there is none.
    reference_price
        Price at ``ts_event``, quote units.
    staleness
        Nanoseconds, age of the oldest input that the model needs; None unless data are stale or fresh again.
    message
        One sentence for people.

    Raises
    ------
    ValueError
        If ``ts_init`` is not later than ``ts_event``, or ``side`` is none of them.
    """

    _FIELDS = (
        "rule",
        "kind",
        "side",
        "low",
        "high",
        "peak",
        "amount",
        "unit",
        "distance",
        "reference_price",
        "staleness",
        "message",
        "ts_event",
        "ts_init",
    )

    def __init__(
        self,
        instrument_id: object,
        *,
        rule: str,
        kind: str,
        side: PositionSideName | None,
        low: float | None,
        high: float | None,
        peak: float | None,
        amount: float | None,
        unit: Unit,
        distance: float | None,
        reference_price: float,
        staleness: int | None,
        message: str,
        ts_event: int,
        ts_init: int,
    ) -> None:
        if side not in ("long", "short", None):
            raise ValueError(f"side must be long, short or None, was {side!r}")
        self._instrument = str(instrument_id)
        self.rule = rule
        self.kind = kind
        self.side: PositionSideName | None = side
        self.low = low
        self.high = high
        self.peak = peak
        self.amount = amount
        self.unit: Unit = unit
        self.distance = distance
        self.reference_price = reference_price
        self.staleness = staleness
        self.message = message
        self._set_times(ts_event, ts_init)

    @classmethod
    def from_alert(cls, alert: Alert, instrument_id: object, *, unit: Unit, ts_init: int) -> Self:
        """Return an alert of `liqclient.Client.watch` in this shape.

        Parameters
        ----------
        alert
            The alert.
        instrument_id
            Instrument it is about.
        unit
            Unit that was watched in.
        ts_init
            UNIX nanoseconds: when it was available.
        """
        of = alert.cluster
        return cls(
            instrument_id,
            rule=alert.rule,
            kind=alert.kind,
            side=alert.side,
            low=of.low if of else None,
            high=of.high if of else None,
            peak=of.peak if of else None,
            amount=alert.amount,
            unit=unit,
            distance=of.distance if of else None,
            reference_price=alert.current_price,
            staleness=alert.staleness,
            message=alert.message,
            ts_event=alert.as_of,
            ts_init=ts_init,
        )

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self._instrument}, {self.rule}: {self.message!r}, "
            f"ts_event={self._ts_event}, ts_init={self._ts_init})"
        )


def _column(values: ArrayLike) -> NDArray[np.float64]:
    column = np.asarray(values, dtype=np.float64)
    if column.ndim != 1:
        raise ValueError(f"a column must have one dimension, had {column.ndim}")
    if column.flags.writeable:
        column = column.copy()
        column.flags.writeable = False
    return column


def _edge(index: int, bin_size: float) -> float:
    # Written as decimal and read back, so that 863 * 0.1 is 86.3.
    return float(f"{index * bin_size:.12g}")
