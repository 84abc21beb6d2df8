"""The exact messages that arguments become."""

import datetime as dt
from typing import Any

import numpy as np
import pytest

import liqclient
from liqserver.v1 import common_pb2, liquidation_pb2, market_data_pb2

from .conftest import Ask
from .standin import Standin, levels_message

NS = 1_760_131_200_000_000_000  # 2025-10-10T21:20:00Z


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
