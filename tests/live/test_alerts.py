"""The state machine of alerts on sequences of observations worked out by hand, and its properties."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liqserver.kernel import History
from liqserver.live.alerts import (
    Alert,
    AlertKind,
    ClusterChange,
    Condition,
    LiquidationBurst,
    NearCluster,
    Rule,
    StaleData,
    Watcher,
    check_rules,
    first_look,
)
from liqserver.live.answers import AmountUnit, Cluster, LevelsQuery, Sides
from liqserver.live.derived import distance_of
from liqserver.live.engine import LevelsEngine
from liqserver.live.errors import InvalidField
from liqserver.live.observation import Liquidated, Observation, observe
from liqserver.models.parameters import Parameters, Tier
from tests.kernel.markets import history
from tests.live.test_engine import START as MARKET_START
from tests.live.test_engine import Markets, market, replace_sources

MINUTE = 60_000_000_000
START = 1_756_684_800_000_000_000  # 2025-09-01T00:00Z

type Band = tuple[float, float, float]


def seen(
    minute: float,
    price: float,
    longs: Iterable[Band] = (),
    shorts: Iterable[Band] = (),
    *,
    path: tuple[float, float] | None = None,
    volatility: float | None = None,
    liquidated: tuple[Liquidated, ...] = (),
    old: float = 0.0,
    reach: float = 0.5,
) -> Observation:
    """Return what is seen at a minute: clusters as (low, high, amount), the oldest input ``old`` minutes old."""

    def clusters(bands: Iterable[Band]) -> tuple[Cluster, ...]:
        out = []
        for low, high, amount in bands:
            away = distance_of(low, high, price)
            out.append(Cluster(low, high, low, amount, away, away / volatility if volatility else None))
        return tuple(out)

    as_of = START + round(minute * MINUTE)
    return Observation(
        symbol="BTCUSDT",
        as_of=as_of,
        price=price,
        low=price * (1 - reach),
        high=price * (1 + reach),
        clusters=(clusters(longs), clusters(shorts)),
        path=path or (price, price),
        volatility=volatility,
        liquidated=liquidated,
        oldest_input=as_of - round(old * MINUTE),
    )


def run(condition: Condition, *observations: Observation, cooldown: float = 0.0) -> list[list[Alert]]:
    """Return the alerts of each observation, by a clock that stands where the data are."""
    watcher = Watcher([Rule("r", condition, round(cooldown * MINUTE))])
    return [watcher.observe(of, of.as_of) for of in observations]


def kinds(alerts: Sequence[Sequence[Alert]]) -> list[list[str]]:
    return [[alert.kind.value for alert in at] for at in alerts]


def counts(alerts: Sequence[Sequence[Alert]]) -> list[int]:
    return [len(at) for at in alerts]


# --- near a cluster --------------------------------------------------------------------------------------------

# Longs from 98 to 99: the price is within 1 % up to 99 / 0.99 = 100, and has left beyond 99 / 0.985 = 100.507...
LONGS = [(98.0, 99.0, 5.0)]
NEAR = NearCluster(distance=0.01)


def test_near_alert_says_what_which_side_how_much_and_where() -> None:
    [[alert]] = run(NEAR, seen(0, 99.5, LONGS))
    assert alert == Alert(
        rule="r",
        kind=AlertKind.NEAR_CLUSTER,
        as_of=START,
        side=Sides.LONG,
        cluster=Cluster(98.0, 99.0, 98.0, 5.0, 0.5 / 99.5, None),
        amount=5.0,
        current_price=99.5,
        staleness=0,
        message="BTCUSDT: the price 99.5 is 0.50% above a cluster of 5 notional of longs at 98 to 99",
    )


@pytest.mark.parametrize(
    ("prices", "told"),
    [
        ([101, 100.01, 100.0, 99.5], [0, 0, 1, 0]),
        # Out of 1 %, not out of 1.5 %: not again.
        ([100.0, 100.4, 99.9], [1, 0, 0]),
        ([100.0, 100.5, 99.9], [1, 0, 0]),
        ([100.0, 100.51, 99.9], [1, 0, 1]),
        # On the way through it the price never leaves it; below it, it leaves by 1.5 % of 96.5 = 1.4475.
        ([99.5, 98.5, 97.0, 98.5], [1, 0, 0, 0]),
        ([99.5, 96.5, 98.5], [1, 0, 1]),
    ],
)
def test_near_again_only_after_it_has_left_by_half_as_much_more(prices: list[float], told: list[int]) -> None:
    assert counts(run(NEAR, *(seen(i, price, LONGS) for i, price in enumerate(prices)))) == told


def test_near_in_units_of_volatility_needs_it_to_be_known() -> None:
    near = NearCluster(distance_volatility=0.5)
    # A day moves 2 %: within 1 %, left beyond 1.5 %.
    rows = [(100.0, None), (100.0, 0.02), (100.4, 0.02), (99.9, 0.02), (102.0, None), (99.9, 0.02), (100.51, 0.02)]
    watched = run(near, *(seen(i, price, LONGS, volatility=of) for i, (price, of) in enumerate(rows)))
    # Without volatility nobody can tell whether it left.
    assert counts(watched) == [0, 1, 0, 0, 0, 0, 0]
    assert counts(run(near, *(seen(i, p, LONGS, volatility=0.02) for i, p in enumerate([100.0, 100.51, 100.0])))) == [
        1,
        0,
        1,
    ]


def test_near_least_amount_and_side() -> None:
    both = seen(0, 100.0, [(98, 99, 5.0), (99.2, 99.4, 2.0)], [(100.5, 101, 5.0)])
    assert [a.cluster.low for a in run(NEAR, both)[0] if a.cluster] == [99.2, 98.0, 100.5]
    assert [a.cluster.low for a in run(replace(NEAR, min_amount=5.0), both)[0] if a.cluster] == [98.0, 100.5]
    assert [a.side for a in run(replace(NEAR, sides=Sides.SHORT), both)[0]] == [Sides.SHORT]
    assert [a.side for a in run(replace(NEAR, sides=Sides.LONG, min_amount=3.0), both)[0]] == [Sides.LONG]


def test_near_cluster_that_moves_or_vanishes_for_a_while_is_the_same_one_as_long_as_it_overlaps() -> None:
    moved = [seen(0, 100, [(98, 99, 5.0)]), seen(1, 100, [(98.5, 99.5, 5.0)]), seen(2, 100, [(99.2, 99.8, 5.0)])]
    assert counts(run(NEAR, *moved)) == [1, 0, 0]
    gone = [seen(0, 100, LONGS), seen(1, 100), seen(2, 100, LONGS)]
    assert counts(run(NEAR, *gone)) == [1, 0, 0]
    split = [seen(0, 100, [(98, 99.9, 9.0)]), seen(1, 100, [(98, 99, 5), (99.5, 99.9, 4)])]
    assert counts(run(NEAR, *split, replace(split[1], as_of=START + 2 * MINUTE))) == [1, 0, 0]
    # Another one, beside it, is another.
    assert counts(run(NEAR, seen(0, 100, LONGS), seen(1, 100, [(99, 99.5, 5.0)]))) == [1, 1]


def test_near_is_measured_from_where_the_cluster_is_now() -> None:
    # It shrank to its far end: from 100 the price is 9 % away from it, which has left it.
    rows = [seen(0, 100, [(90, 99.5, 9.0)]), seen(1, 100, [(90, 91, 2.0)]), seen(2, 91.5, [(90, 91, 2.0)])]
    assert counts(run(NEAR, *rows)) == [1, 0, 1]


def test_near_cooldown_puts_off_what_comes_back_and_drops_what_leaves() -> None:
    away, near = 102.0, 99.5
    prices = [near, away, near, near, near]
    rows = [seen(i, price, LONGS) for i, price in enumerate(prices)]
    assert counts(run(NEAR, *rows)) == [1, 0, 1, 0, 0]
    assert counts(run(NEAR, *rows, cooldown=3)) == [1, 0, 0, 1, 0]
    assert counts(run(NEAR, *rows, cooldown=2)) == [1, 0, 1, 0, 0]
    brief = [seen(i, price, LONGS) for i, price in enumerate([near, away, near, away, away])]
    assert counts(run(NEAR, *brief, cooldown=3)) == [1, 0, 0, 0, 0]
    # About another cluster it is not silent.
    other = seen(1, 100.0, [(98, 99, 5.0), (99.2, 99.4, 5.0)])
    assert counts(run(NEAR, seen(0, 100, LONGS), other, cooldown=60)) == [1, 1]


# --- a cluster forms, grows, is swept --------------------------------------------------------------------------

CHANGE = ClusterChange(growth=0.5, min_amount=4.0)


def test_formed_is_what_was_not_there_before() -> None:
    first, second = seen(0, 100, LONGS), seen(1, 100, LONGS, [(103, 104, 4.0)])
    told = run(CHANGE, first, second, second)
    # What is there at first has not formed.
    assert kinds(told) == [[], ["cluster formed"], []]
    assert (told[1][0].side, told[1][0].amount) == (Sides.SHORT, 4.0)
    assert told[1][0].message == (
        "BTCUSDT: a cluster of 4 notional of shorts at 103 to 104 formed, 3.00% above the price 100"
    )


def test_formed_only_the_nearest_of_a_side_among_those_of_the_least_amount() -> None:
    far, near, small = (80.0, 81.0, 9.0), (90.0, 91.0, 4.0), (95.0, 96.0, 3.9)
    told = run(CHANGE, seen(0, 100), seen(1, 100, [far, near, small]))
    assert [[a.cluster.low for a in at if a.cluster] for at in told] == [[], [90.0]]
    # The far one was there when the near one went: it is nearest now, and has not formed.
    assert kinds(run(CHANGE, seen(0, 100), seen(1, 100, [far, near]), seen(2, 100, [far]))) == [
        [],
        ["cluster formed"],
        [],
    ]


def test_formed_not_what_the_range_of_the_answer_comes_to_show() -> None:
    # Up to 5 % around 100 is 95 to 105; when the price is 99 that reaches down to 94.05.
    band = (94.5, 95.5, 5.0)
    assert kinds(run(CHANGE, seen(0, 100, reach=0.05), seen(1, 99, [band], reach=0.05))) == [[], []]
    assert kinds(run(CHANGE, seen(0, 100, reach=0.06), seen(1, 99, [band], reach=0.06))) == [[], ["cluster formed"]]


def test_formed_cluster_is_gone_below_half_of_the_least_amount() -> None:
    def at(minute: int, amount: float) -> Observation:
        return seen(minute, 100, [(90, 91, amount)])

    assert kinds(run(CHANGE, seen(0, 100), at(1, 4), at(2, 2), at(3, 4))) == [[], ["cluster formed"], [], []]
    again = [seen(0, 100), at(1, 4), at(2, 1.9), at(3, 4)]
    assert kinds(run(CHANGE, *again)) == [[], ["cluster formed"], [], ["cluster formed"]]
    # Formed again within the cooldown: silent for good, not put off.
    assert kinds(run(CHANGE, *again, at(4, 4), at(5, 4), cooldown=3)) == [[], ["cluster formed"], [], [], [], []]


def test_grew_against_the_last_alert_about_it() -> None:
    amounts = [4, 5.9, 6, 8, 9, 5, 13.4, 13.5]
    told = run(CHANGE, *(seen(i, 100, [(90, 91, amount)]) for i, amount in enumerate(amounts)))
    # From 4: 6. From 6: 9. From 9: 13.5, whatever it was between.
    assert [[a.amount for a in at] for at in told] == [[], [], [6.0], [], [9.0], [], [], [13.5]]
    assert told[2][0].kind is AlertKind.CLUSTER_GREW
    assert told[2][0].message == "BTCUSDT: a cluster of 6 notional of longs at 90 to 91 grew from 4 notional"


def test_grew_within_the_cooldown_is_put_off() -> None:
    rows = [seen(i, 100, [(90, 91, amount)]) for i, amount in enumerate([4, 6, 9, 9, 9])]
    told = run(CHANGE, *rows, cooldown=3)
    assert [[a.amount for a in at] for at in told] == [[], [6.0], [], [], [9.0]]


def test_grew_by_joining_with_another_one() -> None:
    told = run(CHANGE, seen(0, 100, [(90, 91, 4), (92, 93, 5)]), seen(1, 100, [(90, 93, 9)]))
    assert [[(a.kind.value, a.amount) for a in at] for at in told] == [[], [("cluster grew", 9.0)]]
    # Against the larger of the two: 7 is not half as much more than 5.
    assert counts(run(CHANGE, seen(0, 100, [(90, 91, 4), (92, 93, 5)]), seen(1, 100, [(90, 93, 7)]))) == [0, 0]


@pytest.mark.parametrize(
    ("furthest", "side", "told"),
    [
        (99.0, "long", 0),
        (98.99, "long", 1),
        (90.0, "long", 1),
        (103.99, "short", 0),
        (104.0, "short", 1),
        (110.0, "short", 1),
    ],
)
def test_swept_is_in_or_beyond_it_since(furthest: float, side: str, told: int) -> None:
    path = (furthest, 100.0) if side == "long" else (100.0, furthest)
    # Longs of [98, 99), shorts of [104, 105): a price on an edge is in the bin above it.
    rows = [seen(0, 100, LONGS, [(104, 105, 5.0)]), seen(1, 100, path=path)]
    assert kinds(run(CHANGE, *rows)) == [[], ["cluster swept"] * told]


def test_swept_alert_holds_the_cluster_as_it_was() -> None:
    told = run(CHANGE, seen(0, 100, LONGS), seen(1, 97.0, [(95, 96, 4.5)], path=(96.5, 100.0), volatility=0.04))
    # The remaining one has formed as well: it was not there before.
    assert kinds(told) == [[], ["cluster swept", "cluster formed"]]
    swept = told[1][0]
    assert swept.cluster == Cluster(98.0, 99.0, 98.0, 5.0, 1 / 97, 1 / 97 / 0.04)
    assert (swept.amount, swept.current_price, swept.side) == (5.0, 97.0, Sides.LONG)
    assert swept.message == "BTCUSDT: the price fell to 96.5 and swept a cluster of 5 notional of longs at 98 to 99"


def test_swept_all_that_the_path_met_in_its_order() -> None:
    longs = [(80, 81, 9.0), (90, 91, 5.0), (95, 96, 3.9), (97, 98, 6.0)]
    told = run(CHANGE, seen(0, 100, longs), seen(1, 100, path=(90.5, 100.0)))
    assert [a.cluster.low for a in told[1] if a.cluster] == [97.0, 90.0]


def test_swept_again_only_after_the_price_has_left_it() -> None:
    # The price goes into it, deeper, out, and in again; the rest of it is still there.
    rest = [(98.0, 98.6, 4.0)]
    rows = [
        seen(0, 100, LONGS),
        seen(1, 98.8, LONGS, path=(98.8, 100)),
        seen(2, 98.5, rest, path=(98.5, 98.8)),
        seen(3, 98.9, rest, path=(98.5, 98.9)),
        seen(4, 98.55, rest, path=(98.55, 98.9)),
    ]
    assert kinds(run(CHANGE, *rows)) == [[], ["cluster swept"], [], [], ["cluster swept"]]
    assert kinds(run(CHANGE, *rows, cooldown=4)) == [[], ["cluster swept"], [], [], []]
    # A price that is in it at first sweeps nothing.
    assert kinds(run(CHANGE, *rows[1:4])) == [[], [], []]


def test_swept_is_told_within_the_cooldown_of_its_having_formed() -> None:
    rows = [seen(0, 100), seen(1, 100, LONGS), seen(2, 98.5, path=(98.5, 100))]
    assert kinds(run(CHANGE, *rows, cooldown=60)) == [[], ["cluster formed"], ["cluster swept"]]


# --- liquidations ----------------------------------------------------------------------------------------------

BURST = LiquidationBurst(interval=3 * MINUTE, min_amount=10.0)


def minutes(*longs: float, shorts: float = 0.0) -> list[Observation]:
    """Return one observation for each minute in which so much of longs was liquidated."""
    return [seen(i, 100, liquidated=(Liquidated(START + i * MINUTE, long, shorts),)) for i, long in enumerate(longs)]


def test_burst_is_what_an_interval_adds_up_to_and_comes_again_after_half() -> None:
    # Sums of three:          4  8  10  9 9  6  9 12 ...
    rows = minutes(4.0, 4.0, 2.0, 3.0, 4.0, 0.0, 5.0, 7.0, 0.0, 0.0, 5.0, 6.0)
    sums = [4, 8, 10, 9, 9, 7, 9, 12, 12, 7, 5, 11]
    told = run(BURST, *rows)
    assert [[a.amount for a in at] for at in told] == [
        [float(total)] if i in (2, 11) else [] for i, total in enumerate(sums)
    ]
    assert told[2][0] == Alert(
        rule="r",
        kind=AlertKind.LIQUIDATIONS,
        as_of=START + 2 * MINUTE,
        side=Sides.LONG,
        cluster=None,
        amount=10.0,
        current_price=100.0,
        staleness=0,
        message="BTCUSDT: 10 notional of longs was liquidated in the 3 min to 2025-09-01 00:02:00Z, "
        "by the model's estimate",
    )


def test_burst_cooldown_puts_it_off_while_it_lasts() -> None:
    rows = minutes(10.0, 0.0, 0.0, 0.0, 10.0, 0.0, 0.0, 0.0)
    assert counts(run(BURST, *rows)) == [1, 0, 0, 0, 1, 0, 0, 0]
    assert counts(run(BURST, *rows, cooldown=6)) == [1, 0, 0, 0, 0, 0, 1, 0]
    assert counts(run(BURST, *rows, cooldown=7)) == [1, 0, 0, 0, 0, 0, 0, 0]


def test_burst_each_side_by_itself() -> None:
    rows = minutes(6.0, 6.0, shorts=6.0)
    assert [[a.side for a in at] for at in run(BURST, *rows)] == [[], [Sides.LONG, Sides.SHORT]]
    assert [[a.side for a in at] for at in run(replace(BURST, sides=Sides.SHORT), *rows)] == [[], [Sides.SHORT]]
    assert counts(run(BURST, *minutes(6.0, 3.0, shorts=0.5))) == [0, 0]


def test_burst_between_two_observations_is_told_and_that_before_the_first_is_not() -> None:
    def many(start: int, *longs: float) -> tuple[Liquidated, ...]:
        return tuple(Liquidated(START + (start + i) * MINUTE, long, 0.0) for i, long in enumerate(longs))

    first = seen(4, 100, liquidated=many(0, 12.0, 0, 0, 0, 4))
    second = seen(9, 100, liquidated=many(5, 3, 3, 0, 0, 0))
    assert [[a.amount for a in at] for at in run(BURST, first, second)] == [[], [10.0]]
    # That the first one ends in is told.
    assert counts(run(BURST, seen(4, 100, liquidated=many(0, 0, 0, 12.0, 0, 0)))) == [1]
    # Twice within an observation: with a cooldown, once.
    twice = seen(20, 100, liquidated=many(5, 10, 0, 0, 0, 10, 0, 0, 0))
    assert counts(run(BURST, first, twice)) == [0, 2]
    assert counts(run(BURST, first, twice, cooldown=1)) == [0, 1]


# --- stale data ------------------------------------------------------------------------------------------------

STALE = StaleData(age=5 * MINUTE)


def test_stale_by_the_clock_and_fresh_again() -> None:
    watcher = Watcher([Rule("late", STALE)])
    assert watcher.tick(START) == []
    assert watcher.wake_at is None
    one = seen(0, 100, old=2)
    assert watcher.observe(one, START) == []
    assert watcher.wake_at == START + 3 * MINUTE + 1
    assert watcher.tick(START + 3 * MINUTE) == []
    [stale] = watcher.tick(START + 3 * MINUTE + 1)
    assert (stale.kind, stale.rule, stale.side, stale.cluster) == (AlertKind.STALE, "late", None, None)
    assert (stale.as_of, stale.staleness) == (START + 3 * MINUTE + 1, 5 * MINUTE + 1)
    assert stale.message == "BTCUSDT: data are stale: the oldest input that the model needs is 5 min old"
    assert watcher.wake_at is None
    assert watcher.tick(START + 9 * MINUTE) == []
    assert watcher.observe(seen(3, 100), START + 9 * MINUTE) == []
    [fresh] = watcher.observe(seen(8, 100), START + 9 * MINUTE)
    assert (fresh.kind, fresh.as_of, fresh.staleness) == (AlertKind.FRESH, START + 9 * MINUTE, MINUTE)
    assert fresh.message == "BTCUSDT: data are fresh again: the oldest input that the model needs is 1 min old"


def test_stale_within_the_cooldown_is_put_off_and_fresh_comes_only_after_stale() -> None:
    watcher = Watcher([Rule("late", STALE, cooldown=30 * MINUTE)])
    assert [a.kind for a in watcher.observe(seen(0, 100), START + 6 * MINUTE)] == [AlertKind.STALE]
    assert [a.kind for a in watcher.observe(seen(7, 100), START + 7 * MINUTE)] == [AlertKind.FRESH]
    assert watcher.wake_at == START + 36 * MINUTE
    assert watcher.tick(START + 20 * MINUTE) == []
    assert watcher.observe(seen(20, 100), START + 20 * MINUTE) == []
    assert watcher.tick(START + 30 * MINUTE) == []
    assert [a.kind for a in watcher.tick(START + 36 * MINUTE)] == [AlertKind.STALE]


def test_rules_do_not_know_of_each_other_and_contracts_are_called_so() -> None:
    rules = [Rule("a", NEAR, 60 * MINUTE), Rule("b", NEAR), Rule("c", CHANGE)]
    watcher = Watcher(rules)
    one = replace(seen(0, 99.5, LONGS), unit=AmountUnit.QTY)
    assert [alert.rule for alert in watcher.observe(one, START)] == ["a", "b"]
    [formed] = watcher.observe(replace(seen(1, 99.5, LONGS, [(140, 141, 1234.5)]), unit=AmountUnit.QTY), START + MINUTE)
    assert formed.message.startswith("BTCUSDT: a cluster of 1.23k contracts of shorts at 140 to 141 formed")


# --- properties ------------------------------------------------------------------------------------------------


@st.composite
def markets(draw: st.DrawFn) -> list[Observation]:
    """A price that wanders among clusters that come, move, grow and go."""
    out = []
    price, minute = 100.0, 0
    for _ in range(draw(st.integers(1, 25))):
        minute += draw(st.integers(1, 4))
        came_from, price = price, max(price + draw(st.integers(-4, 4)) / 2, 80.0)
        edge = st.integers(1, 30)
        below = [(price - of, price - of + draw(st.integers(1, 3)), draw(st.integers(1, 9))) for of in draw(_few(edge))]
        above = [(price + of, price + of + draw(st.integers(1, 3)), draw(st.integers(1, 9))) for of in draw(_few(edge))]
        rows = tuple(
            Liquidated(START + (minute - ago) * MINUTE, draw(st.integers(0, 8)), draw(st.integers(0, 8)))
            for ago in (1, 0)[-1:]
        )
        path = (min(price, came_from) - draw(st.integers(0, 2)), max(price, came_from) + draw(st.integers(0, 2)))
        old = draw(st.integers(0, 9))
        apart = (_apart(below), _apart(above))
        out.append(seen(minute, price, *apart, path=path, liquidated=rows, old=old, volatility=0.02))
    return out


def _few(edge: st.SearchStrategy[int]) -> st.SearchStrategy[list[int]]:
    return st.lists(edge, max_size=4, unique=True)


def _apart(bands: Sequence[Band]) -> list[Band]:
    """Clusters of an answer do not overlap."""
    out: list[Band] = []
    for band in sorted(bands):
        if not out or out[-1][1] < band[0]:
            out.append(band)
    return out


RULES: list[Condition] = [
    NearCluster(distance=0.02),
    NearCluster(distance_volatility=1.0, min_amount=3.0),
    ClusterChange(growth=0.2, min_amount=3.0),
    LiquidationBurst(interval=5 * MINUTE, min_amount=9.0),
    StaleData(age=4 * MINUTE),
]


def _same(one: Alert, other: Alert) -> bool:
    if (one.rule, one.kind, one.side) != (other.rule, other.kind, other.side):
        return False
    a, b = one.cluster, other.cluster
    return a is None or b is None or (a.low < b.high and b.low < a.high)


@given(markets(), st.integers(0, 20))
@settings(max_examples=150)
def test_no_two_alerts_of_a_rule_about_the_same_thing_within_its_cooldown(of: list[Observation], wait: int) -> None:
    watcher = Watcher([Rule(str(i), rule, wait * MINUTE) for i, rule in enumerate(RULES)])
    alerts = [alert for at in of for alert in watcher.observe(at, at.as_of)]
    for i, one in enumerate(alerts):
        for other in alerts[i + 1 :]:
            if _same(one, other) and one.kind is not AlertKind.FRESH:
                assert other.as_of - one.as_of >= wait * MINUTE


@given(markets(), st.integers(0, 20))
@settings(max_examples=50)
def test_the_same_observations_give_the_same_alerts(of: list[Observation], wait: int) -> None:
    rules = [Rule(str(i), rule, wait * MINUTE) for i, rule in enumerate(RULES)]
    one, other = Watcher(rules), Watcher(rules)
    assert [one.observe(at, at.as_of) for at in of] == [other.observe(at, at.as_of) for at in of]


@given(markets())
@settings(max_examples=50)
def test_alerts_hold_what_their_rule_asks_for(of: list[Observation]) -> None:
    watcher = Watcher([Rule(str(i), rule) for i, rule in enumerate(RULES)])
    for at in of:
        for alert in watcher.observe(at, at.as_of):
            assert alert.current_price == at.price
            condition = RULES[int(alert.rule)]
            if isinstance(condition, NearCluster | ClusterChange):
                assert alert.cluster is not None
                assert alert.amount == alert.cluster.amount >= condition.min_amount
                assert alert.cluster.distance == distance_of(alert.cluster.low, alert.cluster.high, at.price)
            if alert.kind is AlertKind.NEAR_CLUSTER and condition is RULES[0]:
                assert alert.cluster is not None
                assert alert.cluster.distance <= 0.02
            if isinstance(condition, LiquidationBurst):
                assert alert.amount >= condition.min_amount
            if isinstance(condition, StaleData):
                assert (alert.staleness > condition.age) == (alert.kind is AlertKind.STALE)


# --- checking rules --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "field", "said"),
    [
        ([], "rules", "must be 1 to 32"),
        ([Rule(str(i), NEAR) for i in range(33)], "rules", "was 33 rules"),
        ([Rule("", NEAR)], "rules[0].name", "empty"),
        ([Rule("a", NEAR), Rule("b", NEAR), Rule("a", STALE)], "rules[2].name", "name of rules\\[0\\]"),
        ([Rule("a", NEAR, -1)], "rules[0].cooldown", "at least 0"),
        ([Rule("a", NearCluster())], "rules[0].near_cluster.distance", "one of the two must be given"),
        ([Rule("a", NearCluster(0.01, 0.5))], "rules[0].near_cluster.distance", "given together"),
        ([Rule("a", NearCluster(-0.01))], "rules[0].near_cluster.distance", "above 0"),
        ([Rule("a", NearCluster(math.nan))], "rules[0].near_cluster.distance", "above 0"),
        ([Rule("a", NearCluster(0.0, math.inf))], "rules[0].near_cluster.distance_volatility", "above 0"),
        ([Rule("a", NearCluster(0.21))], "rules[0].near_cluster.distance", "reaches 0.2"),
        ([Rule("a", NearCluster(0.15, sides=Sides.LONG))], "rules[0].near_cluster.distance", "reaches 0.1"),
        ([Rule("a", NearCluster(0.01, min_amount=-1))], "rules[0].near_cluster.min_amount", "at least 0"),
        ([Rule("a", ClusterChange(0.04))], "rules[0].cluster_change.growth", "at least 0.05"),
        ([Rule("a", ClusterChange(math.inf))], "rules[0].cluster_change.growth", "at least 0.05"),
        ([Rule("a", ClusterChange(1, math.nan))], "rules[0].cluster_change.min_amount", "at least 0"),
        ([Rule("a", LiquidationBurst(MINUTE - 1, 1))], "rules[0].liquidations.interval", "a minute"),
        ([Rule("a", LiquidationBurst(1441 * MINUTE, 1))], "rules[0].liquidations.interval", "a day"),
        ([Rule("a", LiquidationBurst(MINUTE, 0))], "rules[0].liquidations.min_amount", "above 0"),
        ([Rule("a", STALE), Rule("b", StaleData(0))], "rules[1].stale.age", "at least 1"),
    ],
)
def test_rules_that_are_not_allowed_name_the_field(rules: list[Rule], field: str, said: str) -> None:
    with pytest.raises(InvalidField, match=said) as caught:
        check_rules(rules, LevelsQuery("BTCUSDT", down=0.1, up=0.2))
    assert caught.value.field == field


def test_rules_about_liquidations_need_a_model_that_accounts_for_them() -> None:
    with pytest.raises(InvalidField, match="pyliqmap has no time axis") as caught:
        check_rules([Rule("a", BURST)], LevelsQuery("BTCUSDT", model="pyliqmap"))
    assert caught.value.field == "rules[0].liquidations"
    check_rules([Rule("a", NEAR), Rule("b", CHANGE)], LevelsQuery("BTCUSDT", model="pyliqmap"))


# --- observing -------------------------------------------------------------------------------------------------


def swinging(count: int) -> History:
    """Return steps of a price that swings by almost a hundredth either way, some thirty steps a swing."""
    rng = np.random.default_rng(5)
    rows: list[dict[str, object]] = []
    for i in range(count):
        price = 50_000 + 400 * np.sin(i / 5)
        rows.append({"low": price - 8, "high": price + 8, "close": price, "flow": [(price, *rng.exponential(30, 2))]})
        if i % 5 == 0:
            rows[-1]["oi"] = 1_000.0 + i
    return replace_sources(history(rows, start=MARKET_START))


def growing(count: int) -> tuple[LevelsEngine, Markets]:
    markets = Markets(market(of=swinging(count)))
    return LevelsEngine(markets), markets


# High leverage, so that the swings liquidate.
QUERY = LevelsQuery(
    "BTCUSDT", down=0.02, up=0.02, bin_size=10.0, parameters=Parameters(tiers=(Tier(125.0, 1.0), Tier(100.0, 1.0)))
)


def test_observation_is_of_the_levels_with_all_clusters_of_both_sides() -> None:
    engine, _ = growing(60)
    of = observe(engine, first_look(QUERY, [Rule("a", NEAR)]))
    answer = engine.levels(replace(QUERY, derived=True))
    assert answer.derived is not None
    below, above = of.clusters
    assert min(below, key=lambda c: c.distance) == answer.derived.cluster_below
    assert min(above, key=lambda c: c.distance) == answer.derived.cluster_above
    assert (of.as_of, of.price) == (answer.provenance.as_of, answer.provenance.current_price.value)
    assert of.volatility == answer.derived.realised_volatility is not None
    assert of.oldest_input == of.as_of - answer.provenance.staleness == of.watermarks["open_interest"]
    # The definition, bin by bin: dense bins are in a cluster, and bins that hold nothing count in the mean.
    edges = np.arange(np.floor(of.price * 0.98 / 10), np.floor(of.price * 1.02 / 10) + 1) * 10
    held = dict(zip(answer.price.tolist(), answer.amount[0].tolist(), strict=True))
    longs = np.array([held.get(edge, 0.0) for edge in edges[edges < of.price].tolist()])
    dense = edges[edges < of.price][longs >= 3 * longs.mean()]
    assert len(dense) > 2
    assert all(any(c.low <= edge < c.high for c in below) for edge in dense)
    assert sum(c.amount for c in below) >= longs[longs >= 3 * longs.mean()].sum()


def test_observations_after_another_tell_path_and_liquidations_since() -> None:
    engine, markets = growing(60)
    rules = [Rule("a", CHANGE), Rule("b", LiquidationBurst(5 * MINUTE, 1.0)), Rule("c", NEAR)]
    look = first_look(QUERY, rules)
    first = observe(engine, look)
    assert first.path == (first.price, first.price)
    assert [of.end for of in first.liquidated] == [first.as_of - i * MINUTE for i in (4, 3, 2, 1, 0)]
    markets.markets["BINANCE", "BTCUSDT"] = market(of=swinging(95))
    engine.refresh("BINANCE", "BTCUSDT")
    look = look.next(first)
    second = observe(engine, look)
    history = markets.markets["BINANCE", "BTCUSDT"].history
    assert second.as_of - first.as_of == 35 * MINUTE
    assert second.path == (history.mark_low[60:95].min(), history.mark_high[60:95].max())
    audit = engine.audit(QUERY, MINUTE, first.as_of, second.as_of)
    assert [of.long for of in second.liquidated] == audit.liquidated[0].tolist()
    assert [of.short for of in second.liquidated] == audit.liquidated[1].tolist()
    assert sum(of.long + of.short for of in second.liquidated) > 0
    # Nothing new: nothing since.
    third = observe(engine, look.next(second))
    assert (third.path, third.liquidated) == ((second.price, second.price), ())


def test_observation_after_days_looks_at_all_of_the_path_and_at_nothing_before() -> None:
    day = 1440
    of = swinging(60 + 2 * day + 7)
    low, high = of.mark_low.copy(), of.mark_high.copy()
    # The minute before is not looked at, and the first and the last since are.
    low[59], high[59], low[60], high[-1] = 1.0, 1e6, 40_000.0, 60_000.0
    markets = Markets(market(of=replace_sources(of.slice(0, 60))))
    engine = LevelsEngine(markets)
    look = first_look(QUERY, [Rule("a", CHANGE)])
    first = observe(engine, look)
    markets.markets["BINANCE", "BTCUSDT"] = market(of=replace(of, mark_low=low, mark_high=high))
    engine.refresh("BINANCE", "BTCUSDT")
    assert observe(engine, look.next(first)).path == (40_000.0, 60_000.0)


def test_observation_keeps_the_bins_of_the_first() -> None:
    engine, _ = growing(60)
    look = first_look(replace(QUERY, bin_size=0.0), [Rule("a", NEAR)])
    first = observe(engine, look)
    assert first.bin_size > 0
    assert look.next(first).query.bin_size == first.bin_size


def test_liquidations_are_not_looked_at_before_the_history_of_the_model() -> None:
    engine, _ = growing(10)
    first = observe(engine, first_look(QUERY, [Rule("a", LiquidationBurst(1440 * MINUTE, 1.0))]))
    # Open interest is known from the end of the first minute on.
    assert len(first.liquidated) == 9
