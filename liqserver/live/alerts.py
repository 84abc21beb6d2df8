"""Alerts: rules, and the state machine that tells when what they ask for happens.

Everything is told once: a rule speaks again about the same thing only after that has let go (each rule says when) and
its cooldown is over. The same thing is the same kind of event about the same side and, where there is a cluster, about
one whose price range overlaps: a cluster is followed from observation to observation by that overlap.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Protocol

from liqserver.live.answers import AmountUnit, Cluster, LevelsQuery, Sides
from liqserver.live.derived import distance_of, nearest
from liqserver.live.engine import DAY, MINUTE
from liqserver.live.errors import InvalidField
from liqserver.live.observation import Liquidated, Look, Observation
from liqserver.live.question import shown_time
from liqserver.models.registry import DEFAULT_MODEL, MODELS

MAX_RULES = 32
LEAST_GROWTH = 0.05
# A rule about nearness speaks again after the price has been this many times as far away.
_LEFT = 1.5
# Of the least amount: below it a cluster is gone, and liquidations have fallen.
_FALLEN = 0.5
_SIDES = (Sides.LONG, Sides.SHORT)
_NAMES = {Sides.LONG: "longs", Sides.SHORT: "shorts"}


# --- rules -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NearCluster:
    """The price comes within a distance of a cluster; again after it has left by half as much more.

    Attributes
    ----------
    distance : float
        Fraction of the price; 0 if the distance is given in the other unit.
    distance_volatility : float
        In units of the realised volatility of a day; 0 if it is given in the other unit.
    min_amount : float
        Least amount of the cluster.
    sides : Sides
        Of the cluster.
    """

    distance: float = 0.0
    distance_volatility: float = 0.0
    min_amount: float = 0.0
    sides: Sides = Sides.BOTH


@dataclass(frozen=True, slots=True)
class ClusterChange:
    """The nearest cluster of a side, among those that hold the least amount, forms, grows or is swept.

    Attributes
    ----------
    growth : float
        It grew when it holds so much more than at the last alert about it (before the first: than when it was seen
        first), as a fraction.
    min_amount : float
        Least amount of the cluster; it is gone when it holds less than half.
    sides : Sides
        Of the cluster.
    """

    growth: float
    min_amount: float = 0.0
    sides: Sides = Sides.BOTH


@dataclass(frozen=True, slots=True)
class LiquidationBurst:
    """Estimated liquidations of a side within an interval reach an amount; again after they have fallen to half.

    Attributes
    ----------
    interval : int
        Nanoseconds.
    min_amount : float
        Least amount.
    sides : Sides
        Which sides are liquidated, each by itself.
    """

    interval: int
    min_amount: float
    sides: Sides = Sides.BOTH


@dataclass(frozen=True, slots=True)
class StaleData:
    """The oldest input that the model cannot do without is older than ``age`` nanoseconds against the clock."""

    age: int


type Condition = NearCluster | ClusterChange | LiquidationBurst | StaleData


@dataclass(frozen=True, slots=True)
class Rule:
    """When to alert.

    Attributes
    ----------
    name : str
        Name in alerts.
    condition : Condition
        What to look for.
    cooldown : int
        Nanoseconds after an alert during which the rule is silent about the same thing.
    """

    name: str
    condition: Condition
    cooldown: int = 0


# The names of the conditions in requests, which errors name.
CONDITIONS: dict[type[Condition], str] = {
    NearCluster: "near_cluster",
    ClusterChange: "cluster_change",
    LiquidationBurst: "liquidations",
    StaleData: "stale",
}


def check_rules(rules: Sequence[Rule], query: LevelsQuery) -> None:
    """Check rules that are to look at the answers to ``query``; raises InvalidField that names ``rules[i].field``."""
    if not 1 <= len(rules) <= MAX_RULES:
        raise InvalidField("rules", f"{len(rules)} rules", f"must be 1 to {MAX_RULES}")
    names: dict[str, int] = {}
    for i, rule in enumerate(rules):
        if not rule.name:
            raise InvalidField(f"rules[{i}].name", "empty", "must be a name that no other rule has")
        if rule.name in names:
            raise InvalidField(f"rules[{i}].name", rule.name, f"which is the name of rules[{names[rule.name]}] too")
        names[rule.name] = i
        if rule.cooldown < 0:
            raise InvalidField(f"rules[{i}].cooldown", rule.cooldown, "must be at least 0 nanoseconds")
        _check_condition(f"rules[{i}].{CONDITIONS[type(rule.condition)]}", rule.condition, query)


def first_look(query: LevelsQuery, rules: Iterable[Rule]) -> Look:
    """Return what to observe first for rules that look at the answers to ``query``."""
    conditions = [rule.condition for rule in rules]
    model = MODELS.get(query.model or DEFAULT_MODEL)
    return Look(
        query=replace(query, derived=True),
        # Models without a time axis account for no path: there, the prices of the observations are all there is.
        path=model is not None and model.has_time_axis and any(isinstance(of, ClusterChange) for of in conditions),
        burst=max((of.interval for of in conditions if isinstance(of, LiquidationBurst)), default=0),
    )


def _check_condition(within: str, of: Condition, query: LevelsQuery) -> None:
    match of:
        case NearCluster():
            _check_distance(within, of, query)
            _check_amount(within, of.min_amount, positive=False)
        case ClusterChange():
            if not (math.isfinite(of.growth) and of.growth >= LEAST_GROWTH):
                raise InvalidField(f"{within}.growth", f"{of.growth:g}", f"must be a number of at least {LEAST_GROWTH}")
            _check_amount(within, of.min_amount, positive=False)
        case LiquidationBurst():
            model = MODELS.get(query.model or DEFAULT_MODEL)
            if model is not None and not model.has_time_axis:
                raise InvalidField(
                    within, "given", f"but {model.id} has no time axis and estimates no liquidations: ask another model"
                )
            if not MINUTE <= of.interval <= DAY:
                raise InvalidField(
                    f"{within}.interval", of.interval, f"must be from {MINUTE} (a minute) to {DAY} nanoseconds (a day)"
                )
            _check_amount(within, of.min_amount, positive=True)
        case StaleData():
            if of.age < 1:
                raise InvalidField(f"{within}.age", of.age, "must be at least 1 nanosecond")


def _check_distance(within: str, of: NearCluster, query: LevelsQuery) -> None:
    given = [name for name in ("distance", "distance_volatility") if getattr(of, name) != 0]
    if len(given) != 1:
        was = "given together with distance_volatility" if given else "not given, nor was distance_volatility"
        raise InvalidField(f"{within}.distance", was, "one of the two must be given")
    [name] = given
    value = getattr(of, name)
    if not (math.isfinite(value) and value > 0):
        raise InvalidField(f"{within}.{name}", f"{value:g}", "must be a number above 0")
    reach = {Sides.LONG: query.down, Sides.SHORT: query.up, Sides.BOTH: max(query.down, query.up)}[of.sides]
    if of.distance > reach:
        raise InvalidField(
            f"{within}.distance", f"{of.distance:g}", f"must lie within query.price_range, which reaches {reach:g}"
        )


def _check_amount(within: str, amount: float, *, positive: bool) -> None:
    if not (math.isfinite(amount) and amount >= 0 and (amount > 0 or not positive)):
        allowed = "must be a number above 0" if positive else "must be a number of at least 0"
        raise InvalidField(f"{within}.min_amount", f"{amount:g}", allowed)


# --- alerts ----------------------------------------------------------------------------------------------------


class AlertKind(Enum):
    """What an alert is about."""

    NEAR_CLUSTER = "near cluster"
    CLUSTER_FORMED = "cluster formed"
    CLUSTER_GREW = "cluster grew"
    CLUSTER_SWEPT = "cluster swept"
    LIQUIDATIONS = "liquidations"
    STALE = "stale"
    FRESH = "fresh"


@dataclass(frozen=True, slots=True)
class Alert:
    """An event.

    Attributes
    ----------
    rule : str
        Name of the rule.
    kind : AlertKind
        What happened.
    as_of : int
        UNIX nanoseconds: the moment it speaks of; of STALE and FRESH by the clock, else of the data.
    side : Sides or None
        LONG or SHORT; None for STALE and FRESH.
    cluster : Cluster or None
        As it is, of CLUSTER_SWEPT as it was before, with the distance from the current price.
    amount : float
        Of the cluster, or liquidated in the interval, in the query's unit; 0 for STALE and FRESH.
    current_price : float
        Quote units.
    staleness : int
        Nanoseconds, age of the oldest input; 0 unless STALE or FRESH.
    message : str
        One sentence for people.
    """

    rule: str
    kind: AlertKind
    as_of: int
    side: Sides | None
    cluster: Cluster | None
    amount: float
    current_price: float
    staleness: int
    message: str


class Watcher:
    """Turns observations into alerts, by rules; the same observations give the same alerts.

    What holds at the first observation already is told of nearness, liquidations and stale data. Clusters that are
    there then have not formed.

    Parameters
    ----------
    rules : sequence of Rule
        Checked.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._states = [_state(rule) for rule in rules]
        self._last: Observation | None = None

    def observe(self, seen: Observation, now: int) -> list[Alert]:
        """Return the alerts of an observation.

        Parameters
        ----------
        seen : Observation
            Follows on the one before.
        now : int
            UNIX nanoseconds of the clock, which staleness is against.
        """
        before, self._last = self._last, seen
        return [alert for state in self._states for alert in state.observe(seen, before, now)]

    def tick(self, now: int) -> list[Alert]:
        """Return the alerts of time that passes without an observation."""
        seen = self._last
        if seen is None:
            return []
        stale = [state for state in self._states if isinstance(state, _Stale)]
        return [alert for state in stale for alert in state.observe(seen, seen, now)]

    @property
    def wake_at(self) -> int | None:
        """UNIX nanoseconds of the clock at which ``tick`` has something to tell, unless an observation comes before."""
        if self._last is None:
            return None
        at = [state.stale_at(self._last) for state in self._states if isinstance(state, _Stale)]
        return min((moment for moment in at if moment is not None), default=None)


class _State(Protocol):
    """What a rule remembers."""

    def observe(self, seen: Observation, before: Observation | None, now: int) -> list[Alert]:
        """Return the alerts of an observation."""


@dataclass(slots=True)
class _Range:
    """A price range on a side that is followed from observation to observation."""

    side: Sides
    low: float
    high: float

    def overlaps(self, side: Sides, cluster: Cluster) -> bool:
        return self.side is side and _overlap(self, cluster)


@dataclass(slots=True)
class _Said(_Range):
    kind: AlertKind
    at: int


class _Silence:
    """What a rule said, and does not say again within its cooldown."""

    def __init__(self, cooldown: int) -> None:
        self._cooldown = cooldown
        self._said: list[_Said] = []

    def follow(self, seen: Observation) -> None:
        """Forget what the cooldown is over of; widen the rest to where its clusters are now."""
        self._said = [of for of in self._said if seen.as_of - of.at < self._cooldown]
        for of in self._said:
            for cluster in seen.clusters[_SIDES.index(of.side)]:
                if _overlap(of, cluster):
                    of.low, of.high = min(of.low, cluster.low), max(of.high, cluster.high)

    def holds(self, kind: AlertKind, side: Sides, cluster: Cluster) -> bool:
        """Return whether nothing may be said; after ``follow``."""
        return any(of.kind is kind and of.overlaps(side, cluster) for of in self._said)

    def say(self, kind: AlertKind, side: Sides, cluster: Cluster, at: int) -> None:
        """Remember what is said."""
        self._said.append(_Said(side, cluster.low, cluster.high, kind, at))


class _Near:
    def __init__(self, rule: Rule, condition: NearCluster) -> None:
        self._rule = rule
        self._condition = condition
        self._silence = _Silence(rule.cooldown)
        # What the price is near to, and was said to be.
        self._within: list[_Range] = []

    def observe(self, seen: Observation, before: Observation | None, now: int) -> list[Alert]:
        self._silence.follow(seen)
        for of in self._within:
            where = [c for c in seen.clusters[_SIDES.index(of.side)] if _overlap(of, c)]
            if where:
                of.low, of.high = min(c.low for c in where), max(c.high for c in where)
        self._within = [of for of in self._within if not self._left(of, seen)]
        out = []
        for side, clusters in _of_sides(self._condition.sides, seen):
            for cluster in sorted(clusters, key=lambda c: c.distance):
                if (
                    cluster.amount < self._condition.min_amount
                    or not self._is_near(cluster)
                    or any(of.overlaps(side, cluster) for of in self._within)
                    or self._silence.holds(AlertKind.NEAR_CLUSTER, side, cluster)
                ):
                    continue
                self._within.append(_Range(side, cluster.low, cluster.high))
                self._silence.say(AlertKind.NEAR_CLUSTER, side, cluster, seen.as_of)
                way = "above" if side is Sides.LONG else "below"
                where_to = f"{cluster.distance:.2%} {way}" if cluster.distance else "at"
                message = f"the price {_price(seen.price)} is {where_to} {_described(side, cluster, seen)}"
                out.append(_alert(self._rule, AlertKind.NEAR_CLUSTER, seen, side, cluster, message))
        return out

    def _is_near(self, cluster: Cluster) -> bool:
        if self._condition.distance:
            return cluster.distance <= self._condition.distance
        away = cluster.distance_volatility
        return away is not None and away <= self._condition.distance_volatility

    def _left(self, of: _Range, seen: Observation) -> bool:
        away = distance_of(of.low, of.high, seen.price)
        if self._condition.distance:
            return away > _LEFT * self._condition.distance
        return bool(seen.volatility) and away > _LEFT * self._condition.distance_volatility * (seen.volatility or 0.0)


@dataclass(slots=True)
class _Known:
    """A cluster that a rule knows.

    Attributes
    ----------
    cluster : Cluster
        As it was seen last.
    reference : float
        Amount at the last alert about it, or when it was seen first.
    entered : bool
        Whether the price was in or beyond it when it was seen last.
    fresh : bool
        Whether it was seen for the first time, where nothing was.
    """

    cluster: Cluster
    reference: float
    entered: bool
    fresh: bool


class _Change:
    def __init__(self, rule: Rule, condition: ClusterChange) -> None:
        self._rule = rule
        self._condition = condition
        self._silence = _Silence(rule.cooldown)
        self._known: dict[Sides, list[_Known]] = {side: [] for side in _SIDES}

    def observe(self, seen: Observation, before: Observation | None, now: int) -> list[Alert]:
        self._silence.follow(seen)
        out = []
        for side, clusters in _of_sides(self._condition.sides, seen):
            out += self._swept(side, seen)
            self._known[side] = self._seen(side, clusters, seen, before)
            out += self._formed_or_grew(side, seen)
        return out

    def _swept(self, side: Sides, seen: Observation) -> list[Alert]:
        out = []
        extreme = seen.path[_SIDES.index(side)]
        # As the price meets them.
        for of in sorted(self._known[side], key=lambda known: known.cluster.distance):
            if of.entered or of.cluster.amount < self._condition.min_amount or not _reached(side, of.cluster, extreme):
                continue
            away = distance_of(of.cluster.low, of.cluster.high, seen.price)
            was = replace(
                of.cluster, distance=away, distance_volatility=away / seen.volatility if seen.volatility else None
            )
            came = "fell to" if side is Sides.LONG else "rose to"
            message = f"the price {came} {_price(extreme)} and swept {_described(side, was, seen)}"
            if self._may_say(AlertKind.CLUSTER_SWEPT, side, of, seen):
                out.append(_alert(self._rule, AlertKind.CLUSTER_SWEPT, seen, side, was, message))
        return out

    def _seen(
        self, side: Sides, clusters: Iterable[Cluster], seen: Observation, before: Observation | None
    ) -> list[_Known]:
        """Return what is known after an observation."""
        out = []
        least = self._condition.min_amount
        for cluster in clusters:
            earlier = [of for of in self._known[side] if _overlap(of.cluster, cluster)]
            if cluster.amount < (_FALLEN * least if earlier else least):
                continue
            out.append(
                _Known(
                    cluster,
                    reference=max((of.reference for of in earlier), default=cluster.amount),
                    entered=_reached(side, cluster, seen.price),
                    # What the range has come to show was there before.
                    fresh=not earlier
                    and before is not None
                    and before.low <= cluster.low
                    and cluster.high <= before.high,
                )
            )
        return out

    def _formed_or_grew(self, side: Sides, seen: Observation) -> list[Alert]:
        counting = [of for of in self._known[side] if of.cluster.amount >= self._condition.min_amount]
        near = nearest([of.cluster for of in counting])
        if near is None:
            return []
        [known] = [of for of in counting if of.cluster is near]
        described = _described(side, near, seen)
        if known.fresh:
            away = f"{near.distance:.2%} {'below' if side is Sides.LONG else 'above'}" if near.distance else "at"
            kind, message = AlertKind.CLUSTER_FORMED, f"{described} formed, {away} the price {_price(seen.price)}"
        elif near.amount >= known.reference * (1 + self._condition.growth):
            kind = AlertKind.CLUSTER_GREW
            message = f"{described} grew from {_amount(known.reference, seen)}"
        else:
            return []
        if not self._may_say(kind, side, known, seen):
            return []
        return [_alert(self._rule, kind, seen, side, near, message)]

    def _may_say(self, kind: AlertKind, side: Sides, of: _Known, seen: Observation) -> bool:
        """Return whether the cooldown is over; if it is, remember what is said."""
        if self._silence.holds(kind, side, of.cluster):
            return False
        self._silence.say(kind, side, of.cluster, seen.as_of)
        of.reference = of.cluster.amount
        return True


class _Burst:
    def __init__(self, rule: Rule, condition: LiquidationBurst) -> None:
        self._rule = rule
        self._condition = condition
        self._minutes: deque[Liquidated] = deque()
        self._sum = dict.fromkeys(_SIDES, 0.0)
        self._armed = dict.fromkeys(_SIDES, True)
        self._said: dict[Sides, int] = {}

    def observe(self, seen: Observation, before: Observation | None, now: int) -> list[Alert]:
        out = []
        # What adding and taking away leaves behind does not add up over observations.
        self._sum = {side: math.fsum(_of(minute, side) for minute in self._minutes) for side in _SIDES}
        for n, minute in enumerate(seen.liquidated, start=1):
            self._minutes.append(minute)
            gone = []
            while self._minutes[0].end <= minute.end - self._condition.interval:
                gone.append(self._minutes.popleft())
            for side in _SIDES:
                self._sum[side] += _of(minute, side) - math.fsum(_of(old, side) for old in gone)
            # What happened before the first observation is no event.
            if before is not None or n == len(seen.liquidated):
                out += [alert for side in _wanted(self._condition.sides) for alert in self._look(side, seen)]
        return out

    def _look(self, side: Sides, seen: Observation) -> list[Alert]:
        amount = self._sum[side]
        if not self._armed[side]:
            self._armed[side] = amount <= _FALLEN * self._condition.min_amount
        if (
            not self._armed[side]
            or amount < self._condition.min_amount
            or (side in self._said and seen.as_of - self._said[side] < self._rule.cooldown)
        ):
            return []
        self._armed[side] = False
        self._said[side] = seen.as_of
        message = (
            f"{_amount(amount, seen)} of {_NAMES[side]} was liquidated in the "
            f"{_span(self._condition.interval)} to {shown_time(self._minutes[-1].end)}, by the model's estimate"
        )
        return [_alert(self._rule, AlertKind.LIQUIDATIONS, seen, side, None, message, amount)]


class _Stale:
    def __init__(self, rule: Rule, condition: StaleData) -> None:
        self._rule = rule
        self._age = condition.age
        self._is_stale = False
        self._said: int | None = None

    def stale_at(self, seen: Observation) -> int | None:
        """Return when staleness will be told if nothing newer comes, None when it has been told."""
        if self._is_stale:
            return None
        silent = 0 if self._said is None else self._said + self._rule.cooldown
        return max(seen.oldest_input + self._age + 1, silent)

    def observe(self, seen: Observation, before: Observation | None, now: int) -> list[Alert]:
        age = now - seen.oldest_input
        if age <= self._age:
            if not self._is_stale:
                return []
            self._is_stale = False
            message = f"data are fresh again: the oldest input that the model needs is {_span(max(age, 0))} old"
            return [self._alert(AlertKind.FRESH, seen, now, age, message)]
        silent = self._said is not None and now - self._said < self._rule.cooldown
        if self._is_stale or silent:
            return []
        self._is_stale, self._said = True, now
        message = f"data are stale: the oldest input that the model needs is {_span(age)} old"
        return [self._alert(AlertKind.STALE, seen, now, age, message)]

    def _alert(self, kind: AlertKind, seen: Observation, now: int, age: int, message: str) -> Alert:
        return replace(_alert(self._rule, kind, seen, None, None, message), as_of=now, staleness=age)


def _state(rule: Rule) -> _State:
    match rule.condition:
        case NearCluster():
            return _Near(rule, rule.condition)
        case ClusterChange():
            return _Change(rule, rule.condition)
        case LiquidationBurst():
            return _Burst(rule, rule.condition)
        case StaleData():
            return _Stale(rule, rule.condition)


def _wanted(sides: Sides) -> tuple[Sides, ...]:
    return _SIDES if sides is Sides.BOTH else (sides,)


def _of(minute: Liquidated, side: Sides) -> float:
    return minute.long if side is Sides.LONG else minute.short


def _of_sides(sides: Sides, seen: Observation) -> list[tuple[Sides, tuple[Cluster, ...]]]:
    return [(side, seen.clusters[_SIDES.index(side)]) for side in _wanted(sides)]


def _overlap(a: _Range | Cluster, b: Cluster) -> bool:
    return a.low < b.high and b.low < a.high


def _reached(side: Sides, cluster: Cluster, price: float) -> bool:
    """Return whether a price is in the cluster or beyond it; a price on an edge is in the bin above."""
    return price < cluster.high if side is Sides.LONG else price >= cluster.low


def _alert(
    rule: Rule,
    kind: AlertKind,
    seen: Observation,
    side: Sides | None,
    cluster: Cluster | None,
    message: str,
    amount: float = 0.0,
) -> Alert:
    return Alert(
        rule=rule.name,
        kind=kind,
        as_of=seen.as_of,
        side=side,
        cluster=cluster,
        amount=amount if cluster is None else cluster.amount,
        current_price=seen.price,
        staleness=0,
        message=f"{seen.symbol}: {message}",
    )


# --- sentences -------------------------------------------------------------------------------------------------


def _described(side: Sides, cluster: Cluster, seen: Observation) -> str:
    where = f"{_price(cluster.low)} to {_price(cluster.high)}"
    return f"a cluster of {_amount(cluster.amount, seen)} of {_NAMES[side]} at {where}"


def _price(value: float) -> str:
    return f"{value:,.10g}"


def _amount(value: float, seen: Observation) -> str:
    shown = f"{value:,.4g}"
    for letter, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            shown = f"{value / size:.2f}{letter}"
            break
    return f"{shown} {'notional' if seen.unit is AmountUnit.NOTIONAL else 'contracts'}"


def _span(ns: int) -> str:
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        if ns >= size * 1_000_000_000:
            return f"{ns / size / 1e9:.3g} {unit}"
    return f"{ns / 1e6:.3g} ms"
