"""What to ask a server for, and when: the same for every way levels come into a backtest or a live node."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from liqclient._aio import AsyncClient
from liqclient._alerts import (
    Alert,
    AlertRule,
    ClusterChange,
    LiquidationBurst,
    NearCluster,
    StaleData,
    rule_messages,
)
from liqclient._answers import Levels
from liqclient._client import Client
from liqclient._stream import LevelBook, LevelsUpdate
from liqclient._times import to_duration_nanoseconds
from liqclient._types import Duration, LeverageTier, Parameters, PriceRange, Unit
from liqclient.nt._payload import LevelsPayload

_PERPETUAL = "-PERP"


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelsQuery:
    """Which levels of which instrument, and how often.

    Moments are the whole multiples of ``every`` since 1970-01-01 UTC, whatever a backtest begins with. Levels as of
    a moment have it as ``ts_event``, and ``ts_init`` ``delay`` later.

    Attributes
    ----------
    instrument_id
        Instrument in Nautilus, as text, such as ``BTCUSDT-PERP.BINANCE``.
    symbol, venue
        What the server calls it; empty for the parts of ``instrument_id``, without ``-PERP``.
    model
        Identifier of a model with a time axis; empty for the server's default.
    parameters
        Parameters of the model; None for its defaults.
    bin_size
        Width of a price bin in quote units; None for the server's choice, which may change as the price does.
    price_range
        How far around the price of each moment, as fractions of it: one number, or (down, up).
    unit
        Amounts in quote units (``notional``) or in base units (``qty``).
    every
        Length of time between moments, at least a minute: nanoseconds, a timedelta, or text such as ``1h``.
    delay
        How long after its moment an answer is available, at least a nanosecond. Set it to what a live route takes.

    Raises
    ------
    TypeError
        If ``every`` or ``delay`` is of no type that names a length of time.
    ValueError
        If ``instrument_id`` has no venue, ``every`` is shorter than a minute, or ``delay`` is not positive.
    """

    instrument_id: str
    symbol: str = ""
    venue: str = ""
    model: str = ""
    parameters: Parameters | None = None
    bin_size: float | None = None
    price_range: PriceRange = 0.2
    unit: Unit = "notional"
    every: Duration = "1h"
    delay: Duration = 1

    def __post_init__(self) -> None:
        symbol, dot, venue = str(self.instrument_id).rpartition(".")
        if not (symbol and dot and venue):
            raise ValueError(f"instrument_id must be a symbol, a dot and a venue, was {str(self.instrument_id)!r}")
        every = to_duration_nanoseconds(self.every, "every")
        if every < 60_000_000_000:
            raise ValueError(f"every must be at least 60 s, was {every / 1e9:g} s")
        delay = to_duration_nanoseconds(self.delay, "delay")
        if delay < 1:
            raise ValueError(f"delay must be at least a nanosecond, was {self.delay!r}")
        around = self.price_range
        down, up = around if isinstance(around, tuple) else (around, around)
        for name, value in (
            ("instrument_id", str(self.instrument_id)),
            ("symbol", self.symbol or symbol.removesuffix(_PERPETUAL)),
            ("venue", self.venue or venue),
            ("price_range", (float(down), float(up))),
            ("every", every),
            ("delay", delay),
        ):
            object.__setattr__(self, name, value)

    @property
    def every_ns(self) -> int:
        """``every`` in nanoseconds."""
        return to_duration_nanoseconds(self.every)

    @property
    def delay_ns(self) -> int:
        """``delay`` in nanoseconds."""
        return to_duration_nanoseconds(self.delay)

    def first_moment(self, ts: int) -> int:
        """Return the first moment whose answer is available at ``ts`` or later, all UNIX nanoseconds."""
        return -((self.delay_ns - ts) // self.every_ns) * self.every_ns

    def last_moment(self, ts: int) -> int:
        """Return the last moment whose answer is available at ``ts`` or earlier, all UNIX nanoseconds."""
        return (ts - self.delay_ns) // self.every_ns * self.every_ns

    def levels[P: LevelsPayload](self, client: Client, moment: int, to: type[P]) -> P:
        """Ask for the levels as of one moment.

        Raises
        ------
        LiqClientError
            If the call fails.
        """
        answer = client.levels(self.symbol, as_of=moment, unit=self.unit, **self._view())
        return self._payload(answer, to)

    def replay[P: LevelsPayload](
        self, client: Client, start: int | None, end: int | None, to: type[P]
    ) -> Generator[P, None, None]:
        """Iterate over the levels that are available from ``start`` to ``end``, as the server computes them.

        Parameters
        ----------
        client
            Whom to ask.
        start, end
            UNIX nanoseconds, both inclusive; None for all that the server's data allow.
        to
            Type to make of each answer.

        Raises
        ------
        LiqClientError
            While iterating, if the call fails.
        """
        first = self.first_moment(self._history_start(client) + self.delay_ns if start is None else start)
        last = None if end is None else self.last_moment(end)
        if last is not None and last < first:
            return
        answers = client.replay(self.symbol, every=self.every, start=first, end=last, unit=self.unit, **self._view())
        try:
            for answer in answers:
                yield self._payload(answer, to)
        finally:
            answers.close()

    async def history[P: LevelsPayload](
        self, client: AsyncClient, start: int, end: int, to: type[P], limit: int = 0
    ) -> list[P]:
        """Return the levels that are available from ``start`` to ``end``, UNIX nanoseconds, both inclusive.

        Parameters
        ----------
        client
            Whom to ask.
        start, end
            Bounds of ``ts_init``.
        to
            Type to make of each answer.
        limit
            Return the last so many only; 0 for all.

        Raises
        ------
        LiqClientError
            If the call fails.
        """
        first, last = self.first_moment(start), self.last_moment(end)
        if limit > 0:
            first = max(first, last - (limit - 1) * self.every_ns)
        if last < first:
            return []
        answers = client.replay(self.symbol, every=self.every, start=first, end=last, unit=self.unit, **self._view())
        async with aclosing(answers):
            return [self._payload(answer, to) async for answer in answers]

    def stream(
        self,
        client: AsyncClient,
        *,
        max_rate: float | None,
        min_change: float,
        heartbeat: Duration | None,
        resume: LevelBook | None,
    ) -> AsyncGenerator[LevelsUpdate, None]:
        """Iterate over the newest levels as they change, through lost connections; see `liqclient.Client.stream`."""
        return client.stream(
            self.symbol,
            unit=self.unit,
            max_rate=max_rate,
            min_change=min_change,
            heartbeat=heartbeat,
            resume=resume,
            reconnect=True,
            **self._view(),
        )

    def watch(self, client: AsyncClient, rules: Sequence[AlertRule]) -> AsyncGenerator[Alert, None]:
        """Iterate over the events that rules ask for; see `liqclient.Client.watch`."""
        return client.watch(self.symbol, rules, unit=self.unit, **self._view())

    def live[P: LevelsPayload](self, answer: Levels, ts_init: int, to: type[P]) -> P:
        """Return levels of a stream that were available at ``ts_init``, UNIX nanoseconds."""
        return to.from_levels(answer, self.instrument_id, price_range=self._around(), ts_init=ts_init)

    def _view(self) -> dict[str, Any]:
        return {
            "venue": self.venue,
            "model": self.model,
            "bin_size": self.bin_size,
            "price_range": self.price_range,
            "parameters": self.parameters,
        }

    def _around(self) -> tuple[float, float]:
        around = self.price_range
        return around if isinstance(around, tuple) else (around, around)

    def _history_start(self, client: Client) -> int:
        newest = client.levels(self.symbol, **self._view()).provenance
        return newest.history_start if newest.history_start is not None else newest.as_of

    def _payload[P: LevelsPayload](self, answer: Levels, to: type[P]) -> P:
        return self.live(answer, answer.provenance.as_of + self.delay_ns, to)


def parameters_of(given: Mapping[str, Any] | None) -> Parameters | None:
    """Return parameters of a model by name, ``tiers`` as a list of mappings; None for none.

    Raises
    ------
    TypeError, ValueError
        If there is no such parameter, or its value is none.
    """
    if not given:
        return None
    values = dict(given)
    if values.get("tiers"):
        values["tiers"] = [LeverageTier(**tier) for tier in values["tiers"]]
    return Parameters(**values)


_CONDITIONS: dict[str, type[NearCluster | ClusterChange | LiquidationBurst | StaleData]] = {
    "near_cluster": NearCluster,
    "cluster_change": ClusterChange,
    "liquidation_burst": LiquidationBurst,
    "stale_data": StaleData,
}


def alert_rules_of(given: Sequence[Mapping[str, Any]]) -> list[AlertRule]:
    """Return rules of alerts that are written as plain values.

    Parameters
    ----------
    given
        One mapping for each rule: its ``name``, ``cooldown`` if it has one, and one of ``near_cluster``,
        ``cluster_change``, ``liquidation_burst``, ``stale_data`` with the fields of the class of that name.

    Raises
    ------
    ValueError
        If a rule has no name, no condition or several, or a field that there is none of.
    """
    rules = []
    for i, rule in enumerate(given):
        found = [name for name in _CONDITIONS if name in rule]
        unknown = sorted(set(rule) - {"name", "cooldown", *_CONDITIONS})
        if unknown:
            raise ValueError(f"alert_rules[{i}] has {unknown[0]!r}, must have name, cooldown and a condition")
        if len(found) != 1 or not rule.get("name"):
            raise ValueError(
                f"alert_rules[{i}] must have a name and one of {', '.join(_CONDITIONS)}, "
                f"had {', '.join(rule) or 'nothing'}"
            )
        try:
            condition = _CONDITIONS[found[0]](**rule[found[0]])
        except TypeError as error:
            raise ValueError(f"alert_rules[{i}].{found[0]} was {rule[found[0]]!r}: {error}") from None
        rules.append(AlertRule(rule["name"], condition, rule.get("cooldown", 0)))
    # What cannot be sent is told now rather than by a node that runs.
    rule_messages(rules)
    return rules
