"""The exact messages that arguments become."""

import datetime as dt
from typing import Any

import numpy as np
import pytest

import liqclient
from liqserver.v1 import common_pb2, liquidation_pb2, market_data_pb2

from .conftest import Ask
from .standin import Standin, audit_message, heatmap_message, levels_message, liquidations_message

NS = 1_760_131_200_000_000_000  # 2025-10-10T21:20:00Z
MINUTE, DAY = 60_000_000_000, 86_400_000_000_000


def query(**fields: Any) -> liquidation_pb2.GetLevelsRequest:
    return liquidation_pb2.GetLevelsRequest(
        query=liquidation_pb2.LevelsQuery(symbol="BTCUSDT", **{"unit": common_pb2.UNIT_NOTIONAL, **fields})
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, query()),
        ({"venue": "BINANCE"}, query(venue="BINANCE")),
        ({"model": "pyliqmap"}, query(model="pyliqmap")),
        ({"bin_size": 50}, query(bin_size=50.0)),
        ({"bin_size": -1}, query(bin_size=-1.0)),
        ({"price_range": 0.1}, query(price_range=liquidation_pb2.PriceRange(down=0.1, up=0.1))),
        ({"price_range": (0.0, 0.3)}, query(price_range=liquidation_pb2.PriceRange(down=0.0, up=0.3))),
        ({"price_range": 0}, query(price_range=liquidation_pb2.PriceRange())),
        ({"side": "both"}, query()),
        ({"side": "long"}, query(side=common_pb2.SIDE_LONG)),
        ({"side": "short"}, query(side=common_pb2.SIDE_SHORT)),
        ({"unit": "qty"}, query(unit=common_pb2.UNIT_QTY)),
        ({"per_tier": True}, query(per_tier=True)),
        ({"min_notional": 1e6}, query(min_notional=1e6)),
        ({"derived": True}, query(derived=True)),
        ({"parameters": liqclient.Parameters()}, query(parameters=common_pb2.ModelParameters())),
        (
            # Zero is a value of its own, not the default.
            {"parameters": liqclient.Parameters(taker_tilt=0.0, funding_erosion=0.0)},
            query(parameters=common_pb2.ModelParameters(taker_tilt=0.0, funding_erosion=0.0)),
        ),
        (
            {
                "parameters": liqclient.Parameters(
                    kappa=0.3,
                    taker_tilt=-0.2,
                    tiers=[
                        liqclient.LeverageTier(leverage=12.5, weight=0.7),
                        liqclient.LeverageTier(leverage=50, weight=0.3, hazard=2.0),
                    ],
                    no_level_weight=0.4,
                    no_level_hazard=0.5,
                    hazard_exponent=0.6,
                    margin_formula="simplified",
                    funding_erosion=0.7,
                    position_notional=25_000,
                    lookback="30d",
                    whale_threshold=1e5,
                    gross_value=2e5,
                    top_n=500,
                    portion=0.25,
                    funding_tilt=0.8,
                    compat="original",
                )
            },
            query(
                parameters=common_pb2.ModelParameters(
                    kappa=0.3,
                    taker_tilt=-0.2,
                    tiers=[
                        common_pb2.LeverageTier(leverage=12.5, weight=0.7),
                        common_pb2.LeverageTier(leverage=50, weight=0.3, hazard=2.0),
                    ],
                    no_level_weight=0.4,
                    no_level_hazard=0.5,
                    hazard_exponent=0.6,
                    margin_formula=common_pb2.MARGIN_FORMULA_SIMPLIFIED,
                    funding_erosion=0.7,
                    position_notional=25_000,
                    lookback=30 * DAY,
                    whale_threshold=1e5,
                    gross_value=2e5,
                    top_n=500,
                    portion=0.25,
                    funding_tilt=0.8,
                    compat=common_pb2.COMPAT_ORIGINAL,
                )
            ),
        ),
    ],
)
def test_levels_argument_becomes_exactly_its_field(
    ask: Ask, server: Standin, arguments: dict[str, Any], expected: liquidation_pb2.GetLevelsRequest
) -> None:
    server.answer = levels_message()
    ask(server.target, "levels", "BTCUSDT", **arguments)
    assert server.requests == [expected]


class Stamp(dt.datetime):
    """A datetime whose differences know nanoseconds, as those of pandas do."""

    def __sub__(self, other: Any) -> Any:
        delta = super().__sub__(other)

        class Difference:
            days, seconds, microseconds, nanoseconds = delta.days, delta.seconds, delta.microseconds, 789

        return Difference()


@pytest.mark.parametrize(
    ("as_of", "expected"),
    [
        (NS + 1, NS + 1),
        (0, 0),
        (np.int64(NS), NS),
        (dt.datetime(2025, 10, 10, 21, 20, 0, 123456, tzinfo=dt.UTC), NS + 123_456_000),
        (dt.datetime(2025, 10, 10, 23, 20, tzinfo=dt.timezone(dt.timedelta(hours=2))), NS),
        (Stamp(2025, 10, 10, 21, 20, 0, 123456, tzinfo=dt.UTC), NS + 123_456_789),
        (np.datetime64("2025-10-10T21:20"), NS),
        (np.datetime64(NS + 123, "ns"), NS + 123),
        (np.datetime64("2025-10-10"), NS - (21 * 60 + 20) * 60 * 10**9),
        ("2025-10-10T21:20:00Z", NS),
        ("2025-10-10 21:20Z", NS),
        ("2025-10-10T21:20:00+00:00", NS),
        ("2025-10-10T19:20:00-0200", NS),
        ("2025-10-10T21:20:00.5Z", NS + 500_000_000),
        ("2025-10-10T21:20:00.123456789Z", NS + 123_456_789),
        ("2025-10-10T23:20:00,000000001+02:00", NS + 1),
        ("1969-12-31T23:59:59.999999999Z", -1),
    ],
)
def test_levels_any_way_to_write_a_moment_becomes_its_nanoseconds(
    ask: Ask, server: Standin, as_of: liqclient.Time, expected: int
) -> None:
    server.answer = levels_message()
    ask(server.target, "levels", "BTCUSDT", as_of=as_of)
    request = server.requests[0]
    assert isinstance(request, liquidation_pb2.GetLevelsRequest)
    assert request.HasField("as_of")
    assert request.as_of == expected


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"as_of": dt.datetime(2025, 10, 10)}, ValueError, "naive"),
        ({"as_of": "2025-10-10T21:20:00"}, ValueError, "Z or an offset"),
        ({"as_of": "2025-10-10T21:20:00.123456789"}, ValueError, "Z or an offset"),
        ({"as_of": "2025-10-10"}, ValueError, "Z or an offset"),
        ({"as_of": "yesterday"}, ValueError, "ISO 8601"),
        ({"as_of": "2025-10-10T21:20:00.1234567890Z"}, ValueError, "nine decimals"),
        ({"as_of": np.datetime64("NaT", "ns")}, ValueError, "NaT"),
        ({"as_of": np.datetime64("3000-01-01")}, ValueError, "64 bits"),
        ({"as_of": dt.datetime(3000, 1, 1, tzinfo=dt.UTC)}, ValueError, "64 bits"),
        ({"as_of": 2**63}, ValueError, "64 bits"),
        ({"as_of": 1.76e18}, TypeError, "float"),
        ({"as_of": True}, TypeError, "bool"),
        ({"as_of": dt.date(2025, 10, 10)}, TypeError, "date"),
        ({"side": "up"}, ValueError, "side must be one of both, long, short"),
        ({"unit": "usd"}, ValueError, "unit must be one of notional, qty"),
        ({"bin_size": 0.0}, ValueError, "bin_size"),
        ({"price_range": (0.1, 0.2, 0.3)}, TypeError, "price_range"),
        ({"timeout": 0}, ValueError, "timeout"),
    ],
)
def test_levels_what_cannot_be_sent_raises_before_any_call(
    ask: Ask, server: Standin, arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        ask(server.target, "levels", "BTCUSDT", **arguments)
    assert server.requests == []


def test_levels_unknown_margin_formula_raises(ask: Ask, server: Standin) -> None:
    parameters = liqclient.Parameters(margin_formula="rough")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="margin_formula must be one of exact, simplified"):
        ask(server.target, "levels", "BTCUSDT", parameters=parameters)


def test_parameters_no_tiers_at_all_cannot_be_said() -> None:
    with pytest.raises(ValueError, match="tiers"):
        liqclient.Parameters(tiers=[])


def test_leverage_tier_zero_hazard_cannot_be_said() -> None:
    with pytest.raises(ValueError, match="hazard"):
        liqclient.LeverageTier(leverage=10, weight=1, hazard=0.0)


def test_parameters_tiers_given_as_list_are_kept_apart_from_it() -> None:
    tiers = [liqclient.LeverageTier(leverage=10, weight=1)]
    parameters = liqclient.Parameters(tiers=tiers)
    tiers.clear()
    assert parameters.tiers == (liqclient.LeverageTier(leverage=10, weight=1),)
    hash(parameters)


@pytest.mark.parametrize(
    ("method", "arguments", "expected"),
    [
        ("coverage", (), market_data_pb2.GetCoverageRequest()),
        ("coverage", ("BTCUSDT",), market_data_pb2.GetCoverageRequest(symbol="BTCUSDT")),
        (
            "coverage",
            ("BTCUSDT", "BINANCE"),
            market_data_pb2.GetCoverageRequest(symbol="BTCUSDT", venue="BINANCE"),
        ),
        ("symbols", (), market_data_pb2.ListSymbolsRequest()),
        ("models", (), market_data_pb2.ListModelsRequest()),
    ],
)
def test_market_data_arguments_become_exactly_their_fields(
    ask: Ask, server: Standin, method: str, arguments: tuple[str, ...], expected: object
) -> None:
    ask(server.target, method, *arguments)
    assert server.requests == [expected]


def levels_query(**fields: Any) -> liquidation_pb2.LevelsQuery:
    return query(**fields).query


EVERYTHING = {
    "venue": "BINANCE",
    "model": "position_book",
    "unit": "qty",
    "parameters": liqclient.Parameters(kappa=0.5),
}
EVERYTHING_QUERY = {
    "venue": "BINANCE",
    "model": "position_book",
    "unit": common_pb2.UNIT_QTY,
    "parameters": common_pb2.ModelParameters(kappa=0.5),
}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, liquidation_pb2.GetHeatmapRequest(query=levels_query())),
        ({"start": "2025-10-10T21:20:00Z"}, liquidation_pb2.GetHeatmapRequest(query=levels_query(), start=NS)),
        ({"end": NS}, liquidation_pb2.GetHeatmapRequest(query=levels_query(), end=NS)),
        ({"start": 0, "end": 0}, liquidation_pb2.GetHeatmapRequest(query=levels_query(), start=0, end=0)),
        ({"lookback": "1d"}, liquidation_pb2.GetHeatmapRequest(query=levels_query(), lookback=DAY)),
        ({"lookback": 0}, liquidation_pb2.GetHeatmapRequest(query=levels_query(), lookback=0)),
        ({"interval": "5m"}, liquidation_pb2.GetHeatmapRequest(query=levels_query(), interval=5 * MINUTE)),
        (
            {**EVERYTHING, "bin_size": 50, "price_range": 0.1, "side": "long"},
            liquidation_pb2.GetHeatmapRequest(
                query=levels_query(
                    **EVERYTHING_QUERY,
                    bin_size=50,
                    price_range=liquidation_pb2.PriceRange(down=0.1, up=0.1),
                    side=common_pb2.SIDE_LONG,
                )
            ),
        ),
    ],
)
def test_heatmap_argument_becomes_exactly_its_field(
    ask: Ask, server: Standin, arguments: dict[str, Any], expected: liquidation_pb2.GetHeatmapRequest
) -> None:
    server.answer = heatmap_message()
    ask(server.target, "heatmap", "BTCUSDT", **arguments)
    assert server.requests == [expected]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, liquidation_pb2.CompareModelsRequest(query=levels_query())),
        (
            {"models": ["position_book", ("pyliqmap", liqclient.Parameters(top_n=5)), ""]},
            liquidation_pb2.CompareModelsRequest(
                query=levels_query(),
                models=[
                    liquidation_pb2.ModelChoice(model="position_book"),
                    liquidation_pb2.ModelChoice(model="pyliqmap", parameters=common_pb2.ModelParameters(top_n=5)),
                    liquidation_pb2.ModelChoice(),
                ],
            ),
        ),
        (
            {"venue": "BINANCE", "as_of": NS, "bin_size": 100, "price_range": (0.1, 0.2), "unit": "qty"},
            liquidation_pb2.CompareModelsRequest(
                query=levels_query(
                    venue="BINANCE",
                    bin_size=100,
                    price_range=liquidation_pb2.PriceRange(down=0.1, up=0.2),
                    unit=common_pb2.UNIT_QTY,
                ),
                as_of=NS,
            ),
        ),
    ],
)
def test_compare_argument_becomes_exactly_its_field(
    ask: Ask, server: Standin, arguments: dict[str, Any], expected: liquidation_pb2.CompareModelsRequest
) -> None:
    server.answer = liquidation_pb2.CompareModelsResponse(bin_size=50, unit=common_pb2.UNIT_QTY)
    ask(server.target, "compare", "BTCUSDT", **arguments)
    assert server.requests == [expected]


@pytest.mark.parametrize("method", ["liquidations", "liquidation_pages"])
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, liquidation_pb2.ListLiquidationsRequest(symbol="BTCUSDT")),
        (
            {
                "venue": "BINANCE",
                "start": NS,
                "end": "2025-10-10T21:20:01Z",
                "side": "short",
                "interval": "4h",
                "page_size": 7,
                "page_token": "t1",
            },
            liquidation_pb2.ListLiquidationsRequest(
                symbol="BTCUSDT",
                venue="BINANCE",
                start=NS,
                end=NS + 10**9,
                side=common_pb2.SIDE_SHORT,
                interval=240 * MINUTE,
                page_size=7,
                page_token="t1",
            ),
        ),
        ({"page_size": -1}, liquidation_pb2.ListLiquidationsRequest(symbol="BTCUSDT", page_size=-1)),
    ],
)
def test_liquidations_argument_becomes_exactly_its_field(
    ask: Ask,
    server: Standin,
    method: str,
    arguments: dict[str, Any],
    expected: liquidation_pb2.ListLiquidationsRequest,
) -> None:
    server.answer = liquidations_message(next_page_token="")
    ask(server.target, method, "BTCUSDT", **arguments)
    assert server.requests == [expected]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"interval": "1h"}, liquidation_pb2.GetAuditRequest(query=levels_query(), interval=60 * MINUTE)),
        ({"interval": 0}, liquidation_pb2.GetAuditRequest(query=levels_query())),
        (
            {**EVERYTHING, "interval": "1d", "start": 0, "end": NS},
            liquidation_pb2.GetAuditRequest(query=levels_query(**EVERYTHING_QUERY), start=0, end=NS, interval=DAY),
        ),
    ],
)
def test_audit_argument_becomes_exactly_its_field(
    ask: Ask, server: Standin, arguments: dict[str, Any], expected: liquidation_pb2.GetAuditRequest
) -> None:
    server.answer = audit_message()
    ask(server.target, "audit", "BTCUSDT", **arguments)
    assert server.requests == [expected]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"every": "1h"}, liquidation_pb2.ReplayLevelsRequest(query=levels_query(), every=60 * MINUTE)),
        (
            {
                **EVERYTHING,
                "every": "1m",
                "start": NS,
                "end": NS + 1,
                "bin_size": 50,
                "price_range": 0.1,
                "side": "short",
                "per_tier": True,
                "min_notional": 5.0,
                "derived": True,
            },
            liquidation_pb2.ReplayLevelsRequest(
                query=levels_query(
                    **EVERYTHING_QUERY,
                    bin_size=50,
                    price_range=liquidation_pb2.PriceRange(down=0.1, up=0.1),
                    side=common_pb2.SIDE_SHORT,
                    per_tier=True,
                    min_notional=5.0,
                    derived=True,
                ),
                start=NS,
                end=NS + 1,
                every=MINUTE,
            ),
        ),
    ],
)
def test_replay_argument_becomes_exactly_its_field(
    ask: Ask, server: Standin, arguments: dict[str, Any], expected: liquidation_pb2.ReplayLevelsRequest
) -> None:
    server.answer = liquidation_pb2.ReplayLevelsResponse(levels=levels_message())
    ask(server.target, "replay", "BTCUSDT", **arguments)
    assert server.requests == [expected]


class Delta(dt.timedelta):
    """A timedelta that knows nanoseconds, as those of pandas do."""

    nanoseconds = 7


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        (1, 1),
        (np.int64(MINUTE), MINUTE),
        (2**63 - 1, 2**63 - 1),
        (-5, -5),
        (dt.timedelta(days=1, seconds=2, microseconds=3), DAY + 2_000_003_000),
        (Delta(minutes=1), MINUTE + 7),
        (np.timedelta64(5, "m"), 5 * MINUTE),
        (np.timedelta64(3, "D"), 3 * DAY),
        (np.timedelta64(1, "W"), 7 * DAY),
        (np.timedelta64(4, "h"), 240 * MINUTE),
        (np.timedelta64(123, "ns"), 123),
        (np.timedelta64(2, "us"), 2000),
        (np.timedelta64(2, "ms"), 2_000_000),
        (np.timedelta64(2, "s"), 2 * 10**9),
        (np.timedelta64(3, ("m", 15)), 45 * MINUTE),
        ("30s", MINUTE // 2),
        ("1m", MINUTE),
        ("5m", 5 * MINUTE),
        ("1h", 60 * MINUTE),
        ("4h", 240 * MINUTE),
        ("1d", DAY),
        ("30d", 30 * DAY),
        ("2w", 14 * DAY),
    ],
)
def test_any_way_to_write_a_duration_becomes_its_nanoseconds(
    ask: Ask, server: Standin, duration: liqclient.Duration, expected: int
) -> None:
    server.answer = heatmap_message()
    ask(server.target, "heatmap", "BTCUSDT", interval=duration, lookback=duration)
    request = server.requests[0]
    assert isinstance(request, liquidation_pb2.GetHeatmapRequest)
    assert (request.interval, request.lookback) == (expected, expected)
    assert liqclient.Parameters(lookback=duration).lookback == expected


@pytest.mark.parametrize(
    ("duration", "error", "words"),
    [
        ("soon", ValueError, "lookback must be a whole number and one of s, m, h, d, w"),
        ("1M", ValueError, "was '1M'"),
        ("1.5h", ValueError, "whole number"),
        ("-1d", ValueError, "whole number"),
        ("1 d", ValueError, "whole number"),
        ("", ValueError, "whole number"),
        ("9999999999w", ValueError, "64 bits"),
        (2**63, ValueError, "64 bits"),
        (dt.timedelta.max, ValueError, "64 bits"),
        (np.timedelta64(2**62, "W"), ValueError, "64 bits"),
        (np.timedelta64("NaT", "ns"), ValueError, "NaT"),
        (np.timedelta64(1, "Y"), ValueError, "unit"),
        (np.timedelta64(1, "M"), ValueError, "unit"),
        (np.timedelta64(1, "ps"), ValueError, "unit"),
        (1e9, TypeError, "float"),
        (True, TypeError, "bool"),
    ],
)
def test_duration_that_cannot_be_read_raises(duration: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        liqclient.Parameters(lookback=duration)


def test_parameters_lookback_is_kept_in_nanoseconds() -> None:
    parameters = liqclient.Parameters(lookback=dt.timedelta(days=30))
    assert type(parameters.lookback) is int
    assert parameters == liqclient.Parameters(lookback="30d")


@pytest.mark.parametrize(
    ("method", "arguments", "error", "words"),
    [
        ("heatmap", {"interval": 0}, ValueError, "interval must not be 0"),
        ("heatmap", {"interval": "soon"}, ValueError, "interval"),
        ("heatmap", {"bin_size": 0}, ValueError, "bin_size"),
        ("heatmap", {"start": "yesterday"}, ValueError, "ISO 8601"),
        ("compare", {"models": []}, ValueError, "models must not be empty"),
        ("compare", {"models": "position_book"}, TypeError, "one text"),
        ("compare", {"models": [("position_book", None)]}, TypeError, "pairs"),
        ("compare", {"models": [("position_book", liqclient.Parameters(compat="rough"))]}, ValueError, "compat"),  # type: ignore[arg-type]
        ("compare", {"bin_size": 0}, ValueError, "bin_size"),
        ("liquidations", {"interval": "0h"}, ValueError, "interval must not be 0"),
        ("liquidations", {"page_size": 0}, ValueError, "page_size must not be 0"),
        ("liquidations", {"page_size": 2**31}, ValueError, "range"),
        ("liquidations", {"side": "up"}, ValueError, "side"),
        ("audit", {"interval": "soon"}, ValueError, "interval"),
        ("audit", {}, TypeError, "interval"),
        ("replay", {}, TypeError, "every"),
        ("replay", {"every": None}, TypeError, "every"),
    ],
)
def test_what_cannot_be_sent_raises_before_any_call(
    ask: Ask, server: Standin, method: str, arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        ask(server.target, method, "BTCUSDT", **arguments)
    assert server.requests == []


@pytest.mark.parametrize("flavour", [liqclient.Client, liqclient.AsyncClient])
@pytest.mark.parametrize(
    ("method", "arguments", "words"),
    [
        ("replay", {"every": "soon"}, "every"),
        ("replay", {"every": "1h", "timeout": 0}, "timeout"),
        ("liquidation_pages", {"side": "up"}, "side"),
        ("liquidation_pages", {"timeout": -1}, "timeout"),
    ],
)
def test_iterators_raise_at_once_for_what_cannot_be_sent(
    flavour: type, method: str, arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        getattr(flavour("127.0.0.1:1"), method)("BTCUSDT", **arguments)
