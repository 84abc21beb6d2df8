"""The data types: columns, figures, and every way in and out of them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nautilus_trader.core.data import Data
from nautilus_trader.model.data import DataType
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.persistence.catalog import ParquetDataCatalog
from nautilus_trader.serialization.serializer import MsgSpecSerializer

import liqclient
from liqclient.nt import LevelsQuery, LiquidationAlert, LiquidationLevels, replay_levels

INSTRUMENT = InstrumentId.from_str("BTCUSDT-PERP.BINANCE")
T = 1_756_688_400_000_000_000

# Bins of 10 from 60 to 140 around 100; what holds nothing is left out.
PLAIN: dict[str, Any] = {
    "model": "position_book",
    "parameters_hash": "71f508f6f0b91cd4",
    "inputs_hash": "0ec858c499fe37da",
    "unit": "notional",
    "bin_size": 10.0,
    "range_low": 60.0,
    "range_high": 140.0,
    "prices": [70.0, 80.0, 90.0, 110.0, 130.0],
    "long": [3.0, 13.0, 0.0, 0.0, 0.0],
    "short": [0.0, 0.0, 1.0, 2.0, 9.0],
    "reference_price": 100.0,
    "open_interest": 4169.409,
    "no_level_share_long": 0.78,
    "no_level_share_short": 0.79,
    "unknown_entry_share_long": 0.02,
    "unknown_entry_share_short": 0.03,
    "kline_volume_share": 0.0,
    "last_price_path_share": 0.25,
    "staleness": 300_000_000_000,
    "ts_event": T,
    "ts_init": T + 1,
}


def levels(**changes: Any) -> LiquidationLevels:
    return LiquidationLevels(INSTRUMENT, **PLAIN | changes)


def alert(**changes: Any) -> LiquidationAlert:
    plain: dict[str, Any] = {
        "rule": "near",
        "kind": "near cluster",
        "side": "long",
        "low": 80.0,
        "high": 90.0,
        "peak": 80.0,
        "amount": 13.0,
        "unit": "notional",
        "distance": 0.1,
        "reference_price": 100.0,
        "staleness": None,
        "message": "the price is near",
        "ts_event": T,
        "ts_init": T + 5,
    }
    return LiquidationAlert(INSTRUMENT, **plain | changes)


NO_CLUSTER = dict.fromkeys(("side", "low", "high", "peak", "amount", "distance"))
SAMPLES = [
    levels(),
    levels(open_interest=None, ts_event=T + 10, ts_init=T + 20),
    levels(prices=[], long=[], short=[], ts_event=T + 20, ts_init=T + 30),
    levels(prices=[0.1 + 0.2], long=[1e-300], short=[1e15], unit="qty", ts_event=T + 30, ts_init=T + 40),
]
ALERTS = [
    alert(),
    alert(kind="cluster swept", side="short", unit="qty", ts_event=T + 6, ts_init=T + 7),
    alert(**NO_CLUSTER, kind="stale", staleness=9, ts_event=T + 7, ts_init=T + 8),
]


def test_types_are_data_of_nautilus_and_their_names_are_no_prefix_of_one_another() -> None:
    for one, other in ((LiquidationLevels, LiquidationAlert), (LiquidationAlert, LiquidationLevels)):
        assert issubclass(one, Data)
        assert not one.__name__.startswith(other.__name__)
        # Topics without metadata are patterns: they must not catch the other type.
        assert not DataType(one).topic.startswith(other.__name__)
    assert levels().instrument_id == INSTRUMENT
    assert (levels().ts_event, levels().ts_init) == (T, T + 1)


@pytest.mark.parametrize("sample", [*SAMPLES, *ALERTS])
def test_dict_json_and_message_give_back_the_same(sample: LiquidationLevels | LiquidationAlert) -> None:
    kind = type(sample)
    assert kind.from_dict(sample.to_dict()) == sample
    assert kind.from_json(json.loads(sample.to_json())) == sample
    serializer = MsgSpecSerializer(encoding=msgspec.msgpack)
    assert serializer.deserialize(serializer.serialize(sample)) == sample


@pytest.mark.parametrize("samples", [SAMPLES, ALERTS])
def test_catalogue_gives_back_the_same(samples: list[LiquidationLevels | LiquidationAlert], tmp_path: Path) -> None:
    catalog = ParquetDataCatalog(str(tmp_path))
    catalog.write_data(samples[:1])
    catalog.write_data(samples[1:])
    kind = type(samples[0])
    read = [of.data for of in catalog.query(kind, identifiers=[INSTRUMENT.value])]
    assert [of.to_json() for of in read] == [of.to_json() for of in samples]
    assert read == samples
    within = catalog.query(kind, start=samples[0].ts_init + 1)
    assert [of.data for of in within] == samples[1:]
    assert catalog.query(kind, identifiers=["ETHUSDT-PERP.BINANCE"]) == []


def test_equality_looks_at_every_field() -> None:
    assert levels() == levels()
    assert hash(levels()) == hash(levels())
    for name, value in PLAIN.items():
        changed = {
            "unit": "qty",
            "prices": [70.0, 80.0, 90.0, 110.0, 120.0],
            "ts_event": T - 1,
        }.get(name, f"{value}x" if isinstance(value, str) else np.asarray(value) + 1)
        if isinstance(changed, np.ndarray) and changed.ndim == 0:
            changed = changed.item()
        assert levels(**{name: changed}) != levels(), name


def test_columns_are_read_only_and_do_not_follow_the_array_they_came_from() -> None:
    given_ = np.array(PLAIN["long"])
    made = levels(long=given_)
    given_[0] = 99.0
    assert made.long[0] == 3.0
    with pytest.raises(ValueError, match="read-only"):
        made.long[0] = 1.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"long": [1.0]}, "prices, long and short must have one length, were of 5, 1 and 5"),
        ({"prices": [70.0, 80.0, 80.0, 110.0, 130.0]}, "prices must ascend"),
        ({"ts_init": T}, f"ts_init must be later than ts_event, which was {T}; ts_init was {T}"),
        ({"prices": [[70.0]]}, "a column must have one dimension, had 2"),
    ],
)
def test_levels_that_make_no_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        levels(**changes)


def test_alert_of_no_side_is_refused() -> None:
    with pytest.raises(ValueError, match="side must be long, short or None, was 'both'"):
        alert(side="both")


def test_clusters_by_hand() -> None:
    # Below 100 lie four bins with 16 of longs: dense is 3 * 16 / 4 = 12, which 80 alone holds.
    below = levels().cluster_below()
    assert below == liqclient.Cluster(
        low=80.0, high=90.0, peak=80.0, amount=13.0, distance=pytest.approx(0.1), distance_volatility=None
    )
    # From 100 up lie four bins with 11 of shorts: dense is 8.25. The short in 90 lies below and does not count.
    above = levels().cluster_above()
    assert above is not None
    assert (above.low, above.high, above.amount) == (130.0, 140.0, 9.0)
    assert above.distance == pytest.approx(0.3)


def test_clusters_from_another_price() -> None:
    # From 85 the bins 60, 70 and 80 lie below, the last of which holds it: dense is 16, and nothing is.
    assert levels().cluster_below(85.0) is None
    assert levels().cluster_below(60.0) is None, "no bin begins below"
    # 131 lies in the cluster: both sides see the bin that holds the price.
    held = levels(short=[0.0, 0.0, 0.0, 0.0, 9.0]).cluster_above(95.0)
    assert held is not None
    assert held.low == 130.0
    assert held.distance == pytest.approx(35 / 95)
    assert levels(long=[0.0] * 5).cluster_below() is None


@pytest.mark.parametrize("bin_size", [None, 10, 500])
def test_clusters_are_those_of_the_server(client: liqclient.Client, bin_size: float | None) -> None:
    query = LevelsQuery(instrument_id="BTCUSDT-PERP.BINANCE", every="3h", bin_size=bin_size, price_range=(0.15, 0.1))
    compared = 0
    for of in replay_levels(client, query):
        answer = client.levels("BTCUSDT", as_of=of.ts_event, bin_size=bin_size, price_range=(0.15, 0.1), derived=True)
        assert answer.derived is not None
        for mine, theirs in (
            (of.cluster_below(), answer.derived.cluster_below),
            (of.cluster_above(), answer.derived.cluster_above),
        ):
            assert (mine is None) == (theirs is None)
            if mine is not None and theirs is not None:
                theirs = dataclasses.replace(theirs, distance_volatility=None)
                assert dataclasses.astuple(mine)[:-1] == pytest.approx(dataclasses.astuple(theirs)[:-1])
                compared += 1
    assert compared > 10


def test_imbalance_in_base_bins_is_that_of_the_server(client: liqclient.Client) -> None:
    [symbol] = client.symbols()
    query = LevelsQuery(instrument_id="BTCUSDT-PERP.BINANCE", every="6h", bin_size=symbol.base_bin)
    for of in replay_levels(client, query):
        derived = client.levels("BTCUSDT", as_of=of.ts_event, derived=True).derived
        assert derived is not None
        for theirs in derived.imbalances:
            assert of.imbalance(theirs.range) == pytest.approx(theirs.imbalance)


def test_imbalance_by_hand() -> None:
    # Within 24 % lie the middles 85 of longs and 115 of shorts, not 75 and 135.
    assert levels().imbalance(0.24) == pytest.approx((2.0 - 13.0) / (2.0 + 13.0))
    assert levels().imbalance(0.02) is None
    with pytest.raises(ValueError, match="answered range of 60 to 140, was 50"):
        levels().imbalance(0.5)


def test_between_takes_parts_of_bins_by_their_width() -> None:
    assert levels().between(60.0, 140.0) == (16.0, 12.0)
    # Half of 70, all of 80, a tenth of 90.
    assert levels().between(75.0, 91.0) == pytest.approx((1.5 + 13.0, 0.1))
    assert levels().between(85.0, 85.0) == (0.0, 0.0)
    with pytest.raises(ValueError, match="low must not be above high"):
        levels().between(90.0, 80.0)
    with pytest.raises(ValueError, match="answered range of 60 to 140, was 50"):
        levels().between(50.0, 80.0)


@given(st.lists(st.floats(60.0, 140.0), min_size=3, max_size=3).map(sorted))
def test_between_adds_up(prices: list[float]) -> None:
    low, middle, high = prices
    parts = zip(levels().between(low, middle), levels().between(middle, high), strict=True)
    assert tuple(a + b for a, b in parts) == pytest.approx(levels().between(low, high))


def test_answer_that_used_later_inputs_is_refused(client: liqclient.Client) -> None:
    answer = client.levels("BTCUSDT")
    newest = max(mark.ts_init or 0 for mark in answer.provenance.watermarks)
    late = dataclasses.replace(answer.provenance, as_of=newest - 10)
    with pytest.raises(liqclient.InvalidAnswer, match=f"known at {newest}, which is not before"):
        LiquidationLevels.from_levels(
            dataclasses.replace(answer, provenance=late), INSTRUMENT, price_range=(0.2, 0.2), ts_init=newest
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"instrument_id": "BTCUSDT"}, "instrument_id must be a symbol, a dot and a venue, was 'BTCUSDT'"),
        ({"every": "30s"}, "every must be at least 60 s, was 30 s"),
        ({"every": "1 fortnight"}, "every must be a whole number and one of s, m, h, d, w"),
        ({"delay": 0}, "delay must be at least a nanosecond, was 0"),
    ],
)
def test_query_that_cannot_be_asked_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LevelsQuery(**{"instrument_id": "BTCUSDT-PERP.BINANCE"} | changes)


def test_query_takes_the_names_of_the_server_from_the_instrument() -> None:
    query = LevelsQuery(instrument_id="ETHUSDT-PERP.BINANCE")
    assert (query.symbol, query.venue) == ("ETHUSDT", "BINANCE")
    query = LevelsQuery(instrument_id="BTC-USD-PERP.HYPERLIQUID", symbol="BTCUSDT", venue="HL")
    assert (query.symbol, query.venue) == ("BTCUSDT", "HL")


@given(ts=st.integers(0, 10**19), every=st.integers(60_000_000_000, 10**15), delay=st.integers(1, 10**12))
def test_moments_are_whole_multiples_just_inside_the_bounds(ts: int, every: int, delay: int) -> None:
    query = LevelsQuery(instrument_id="A.B", every=every, delay=delay)
    first, last = query.first_moment(ts), query.last_moment(ts)
    assert first % every == last % every == 0
    assert first - every + delay < ts <= first + delay
    assert last + delay <= ts < last + every + delay
