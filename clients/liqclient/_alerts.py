"""Alerts: the rules that ask for them, and how they come from messages."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from liqclient._answers import Cluster
from liqclient._errors import InvalidAnswer
from liqclient._times import to_datetime, to_duration_nanoseconds
from liqclient._types import Duration, Side
from liqserver.v1 import common_pb2, liquidation_pb2

type AlertKind = Literal[
    "near cluster", "cluster formed", "cluster grew", "cluster swept", "liquidations", "stale", "fresh"
]
"""What an alert is about."""

_KINDS: dict[int, AlertKind] = {
    liquidation_pb2.ALERT_KIND_NEAR_CLUSTER: "near cluster",
    liquidation_pb2.ALERT_KIND_CLUSTER_FORMED: "cluster formed",
    liquidation_pb2.ALERT_KIND_CLUSTER_GREW: "cluster grew",
    liquidation_pb2.ALERT_KIND_CLUSTER_SWEPT: "cluster swept",
    liquidation_pb2.ALERT_KIND_LIQUIDATIONS: "liquidations",
    liquidation_pb2.ALERT_KIND_STALE: "stale",
    liquidation_pb2.ALERT_KIND_FRESH: "fresh",
}
_SIDES: dict[int, Literal["long", "short"]] = {common_pb2.SIDE_LONG: "long", common_pb2.SIDE_SHORT: "short"}
_OF_SIDES: dict[Side, common_pb2.Side.ValueType] = {
    "both": common_pb2.SIDE_UNSPECIFIED,
    "long": common_pb2.SIDE_LONG,
    "short": common_pb2.SIDE_SHORT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class NearCluster:
    """The price comes within a distance of a cluster; again only after it has left by half as much more.

    Attributes
    ----------
    distance
        Distance as a fraction of the price; or
    distance_volatility
        in units of the realised volatility of a day. One of the two.
    min_amount
        Least amount of the cluster, in the unit that is watched in.
    side
        Side of the cluster.
    """

    distance: float | None = None
    distance_volatility: float | None = None
    min_amount: float = 0.0
    side: Side = "both"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterChange:
    """The nearest cluster of a side, among those of at least the amount, forms, grows or is swept.

    Attributes
    ----------
    growth
        It grew when it holds so much more than at the last alert about it, as a fraction, at least 0.05.
    min_amount
        Least amount of the cluster, in the unit that is watched in.
    side
        Side of the cluster.
    """

    growth: float = 0.5
    min_amount: float = 0.0
    side: Side = "both"


@dataclass(frozen=True, slots=True, kw_only=True)
class LiquidationBurst:
    """Estimated liquidations within an interval reach an amount; again only after they have fallen to half of it.

    Attributes
    ----------
    interval
        Length of the interval, 1 minute to 1 day.
    min_amount
        Least amount, in the unit that is watched in.
    side
        Which side is liquidated; both are looked at each by itself.
    """

    interval: Duration
    min_amount: float
    side: Side = "both"


@dataclass(frozen=True, slots=True, kw_only=True)
class StaleData:
    """An input that the model cannot do without is older than ``age`` against the server's clock."""

    age: Duration


@dataclass(frozen=True, slots=True)
class AlertRule:
    """When to alert.

    Attributes
    ----------
    name
        Name of the rule in alerts; must differ from rule to rule.
    condition
        What to look for.
    cooldown
        Length of time after an alert during which the rule is silent about the same thing.
    """

    name: str
    condition: NearCluster | ClusterChange | LiquidationBurst | StaleData
    cooldown: Duration = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """An event.

    Attributes
    ----------
    sequence
        Number in its stream, from 1.
    sent_at
        UNIX nanoseconds of the server's clock when it left.
    rule
        Name of the rule.
    kind
        What happened.
    as_of
        UNIX nanoseconds: the moment it speaks of; of ``stale`` and ``fresh`` by the server's clock.
    side
        Side of the positions; None for stale and fresh data.
    cluster
        The cluster, where there is one; when it was swept, as it was before.
    amount
        Of the cluster, or liquidated in the interval; None for stale and fresh data.
    current_price
        Quote units.
    staleness
        Nanoseconds, age of the oldest input; None unless data are stale or fresh again.
    message
        One sentence for people.
    """

    sequence: int
    sent_at: int
    rule: str
    kind: AlertKind
    as_of: int
    side: Literal["long", "short"] | None
    cluster: Cluster | None
    amount: float | None
    current_price: float
    staleness: int | None
    message: str

    @property
    def as_of_datetime(self) -> dt.datetime:
        """The moment it speaks of, UTC, cut to microseconds."""
        return to_datetime(self.as_of)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, ready for JSON."""
        return dataclasses.asdict(self)


def rule_messages(rules: Sequence[AlertRule]) -> list[liquidation_pb2.AlertRule]:
    """Return the rules of a request.

    Raises
    ------
    TypeError
        If a rule is no `AlertRule`, or a length of time is of no type that names one.
    ValueError
        If a length of time cannot be read, or a distance is 0.
    """
    return [_rule_message(f"rules[{i}]", rule) for i, rule in enumerate(rules)]


def _rule_message(within: str, rule: AlertRule) -> liquidation_pb2.AlertRule:
    if not isinstance(rule, AlertRule):
        raise TypeError(f"{within} must be an AlertRule, was {rule!r}")
    message = liquidation_pb2.AlertRule(
        name=rule.name, cooldown=to_duration_nanoseconds(rule.cooldown, f"{within}.cooldown")
    )
    match of := rule.condition:
        case NearCluster():
            for name, value in (("distance", of.distance), ("distance_volatility", of.distance_volatility)):
                if value == 0:
                    raise ValueError(f"{within}.{name} must not be 0, which the server reads as not given")
            message.near_cluster.CopyFrom(
                liquidation_pb2.NearCluster(
                    distance=of.distance or 0.0,
                    distance_volatility=of.distance_volatility or 0.0,
                    min_amount=of.min_amount,
                    side=_side(within, of.side),
                )
            )
        case ClusterChange():
            message.cluster_change.CopyFrom(
                liquidation_pb2.ClusterChange(min_amount=of.min_amount, growth=of.growth, side=_side(within, of.side))
            )
        case LiquidationBurst():
            message.liquidations.CopyFrom(
                liquidation_pb2.LiquidationBurst(
                    interval=to_duration_nanoseconds(of.interval, f"{within}.interval"),
                    min_amount=of.min_amount,
                    side=_side(within, of.side),
                )
            )
        case StaleData():
            message.stale.CopyFrom(liquidation_pb2.StaleData(age=to_duration_nanoseconds(of.age, f"{within}.age")))
        case _:
            raise TypeError(
                f"{within}.condition must be NearCluster, ClusterChange, LiquidationBurst or StaleData, was {of!r}"
            )
    return message


def _side(within: str, side: Side) -> common_pb2.Side.ValueType:
    try:
        return _OF_SIDES[side]
    except KeyError:
        raise ValueError(f"{within}.side must be one of {', '.join(_OF_SIDES)}, was {side!r}") from None


def alert_answer(message: liquidation_pb2.WatchAlertsResponse) -> Alert | None:
    """Return an alert, None for a heartbeat.

    Raises
    ------
    InvalidAnswer
        If the answer is neither, or an alert of a kind that this client does not know.
    """
    event = message.WhichOneof("event")
    if event == "heartbeat":
        return None
    if event is None:
        raise InvalidAnswer("the server's answer is neither an alert nor a heartbeat that this client knows")
    of = message.alert
    kind = _KINDS.get(of.kind)
    if kind is None:
        raise InvalidAnswer(f"the server's answer is an alert of a kind this client does not know: {of.kind}")
    of_data = kind in ("stale", "fresh")
    return Alert(
        sequence=message.sequence,
        sent_at=message.sent_at,
        rule=of.rule,
        kind=kind,
        as_of=of.as_of,
        side=_SIDES.get(of.side),
        cluster=_cluster(of.cluster) if of.HasField("cluster") else None,
        amount=None if of_data else of.amount,
        current_price=of.current_price,
        staleness=of.staleness if of_data else None,
        message=of.message,
    )


def _cluster(of: liquidation_pb2.Cluster) -> Cluster:
    return Cluster(
        low=of.low,
        high=of.high,
        peak=of.peak,
        amount=of.amount,
        distance=of.distance,
        distance_volatility=of.distance_volatility if of.HasField("distance_volatility") else None,
    )
