"""From an exchange through a live node to a server, and from there to another node: all of it real but the exchange."""

from __future__ import annotations

import signal
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from nautilus_trader.model.data import FundingRateUpdate, TradeTick
from nautilus_trader.model.enums import AggressorSide
from nautilus_trader.model.identifiers import TradeId
from nautilus_trader.model.instruments import CryptoPerpetual
from nautilus_trader.model.objects import Price, Quantity
from nautilus_trader.test_kit.stubs.component import TestComponentStubs

import liqclient
from liqclient.nt import BinanceOpenInterest, MarketDataFeed, MarketDataFeedConfig, OpenInterestError
from liqclient.nt._market_feed import _number_of
from tests.nt.exchange import trading
from tests.nt.processes import MINUTE, REPOSITORY, SECOND, SYMBOL, Process, ServerProcess, market

EXAMPLES = REPOSITORY / "clients" / "examples" / "nt"
HOUR = 60 * MINUTE


def test_exchange_to_node_to_server_to_the_strategy_of_another_node(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "live.duckdb") as server, liqclient.Client(server.target) as client:
        # Some minutes before, so that there is a book at once.
        now = time.time_ns()
        list(client.publish([market(now - 10 * MINUTE, now - SECOND)]))
        with trading() as exchange:
            urls = ("--url-http", exchange.http_url, "--url-ws", exchange.ws_url)
            with (
                Process(str(EXAMPLES / "live_feed.py"), "--target", server.target, *urls) as feed,
                Process(str(EXAMPLES / "live_levels.py"), "--target", server.target) as watch,
            ):
                feed.until(lambda: "btcusdt@markPrice@1s" in exchange.streams, 60)
                watch.until(lambda: watch.text.count("nearest cluster") > 10, 60)
                newest = client.levels(SYMBOL)
                # What the exchange says is what levels are of.
                assert newest.provenance.open_interest == exchange.OPEN_INTEREST
                assert newest.provenance.as_of > now
                marks = {of.kind: of for of in newest.provenance.watermarks}
                assert marks["trades"].ts_event > now
                assert marks["mark_price"].ts_event > now
                # A settlement has passed.
                feed.until(lambda: "funding" in {of.kind for of in client.levels(SYMBOL).provenance.watermarks})
                exchange.refusing = True
                exchange.cut()
                sent = exchange.trades
                feed.until(lambda: exchange.trades > sent + 10, 60)
                ended = feed.signal(signal.SIGINT), watch.signal(signal.SIGINT)
            assert ended == (0, 0), feed.text + watch.text
            assert "Traceback" not in feed.text + watch.text
            [counts] = [line for line in feed.lines if "PublishCounts" in line]
            assert "refused=0, dropped=0" in counts
            received = int(counts.partition("received=")[2].partition(",")[0])
            assert received > sent
            [coverage] = client.coverage(SYMBOL)
            assert {of.kind for of in coverage.kinds} >= {"trades", "mark_price", "open_interest"}
            assert exchange.asked[:2] == ["/fapi/v1/exchangeInfo", "/fapi/v1/openInterest"]


async def test_open_interest_of_binance_is_asked_for_and_what_it_does_not_tell_is_an_error(unused_port: int) -> None:
    with trading() as exchange:
        source = BinanceOpenInterest(exchange.http_url)
        before = time.time_ns()
        ts, open_interest = await source.fetch("BTCUSDT")
        assert open_interest == exchange.OPEN_INTEREST
        assert before - SECOND < ts <= time.time_ns()
        with pytest.raises(OpenInterestError, match="answered 404"):
            await source.fetch("NOSUCH")
        exchange.refusing = True
        with pytest.raises(OpenInterestError, match=r"answered 429.*Too many requests"):
            await source.fetch("BTCUSDT")
    with pytest.raises(OpenInterestError, match="cannot be reached"):
        await BinanceOpenInterest(f"http://127.0.0.1:{unused_port}").fetch("BTCUSDT")


class Kept:
    """Stands where the publisher is, and keeps what it is handed."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, tuple[Any, ...]]] = []

    def put(self, of: object, kind: str, row: tuple[Any, ...]) -> None:
        self.rows.append((kind, row))


@pytest.fixture
def feed(instrument: CryptoPerpetual) -> tuple[MarketDataFeed, list[tuple[str, tuple[Any, ...]]]]:
    """An actor that knows the instrument, and what it publishes."""
    from liqclient.nt._market_feed import PublishedSymbol, _Published

    made = MarketDataFeed(MarketDataFeedConfig(instrument_ids=(instrument.id,)))
    made.register_base(
        portfolio=TestComponentStubs.portfolio(),
        msgbus=TestComponentStubs.msgbus(),
        cache=TestComponentStubs.cache(),
        clock=TestComponentStubs.clock(),
    )
    kept = Kept()
    made._publisher = kept
    made._published[instrument.id] = _Published(instrument, PublishedSymbol(SYMBOL, "BINANCE", 0.1))
    return made, kept.rows


def tick(instrument: CryptoPerpetual, side: AggressorSide, id_: str = "77") -> TradeTick:
    return TradeTick(instrument.id, Price.from_str("100.1"), Quantity.from_str("0.250"), side, TradeId(id_), 5, 6)


def test_trades_are_published_with_their_taker_and_not_without(feed: Any, instrument: CryptoPerpetual) -> None:
    actor, rows = feed
    for side in (AggressorSide.BUYER, AggressorSide.SELLER, AggressorSide.NO_AGGRESSOR):
        actor.on_trade_tick(tick(instrument, side))
    assert rows == [("trades", (77, 5, 100.1, 0.25, True)), ("trades", (77, 5, 100.1, 0.25, False))]


def test_ids_that_are_no_numbers_become_numbers_of_their_own() -> None:
    assert _number_of("123456789012345678") == 123456789012345678
    hashed = {_number_of(of) for of in ("0xab", "0xac", "9" * 19, "-1", "")}
    assert len(hashed) == 5
    assert all(0 <= of < 2**63 for of in hashed)
    assert _number_of("0xab") == _number_of("0xab")


def test_funding_is_the_last_rate_before_its_settlement(feed: Any, instrument: CryptoPerpetual) -> None:
    actor, rows = feed

    def told(rate: str, ts: int, settles: int | None, interval: int | None = None) -> None:
        actor.on_funding_rate(
            FundingRateUpdate(instrument.id, Decimal(rate), ts, ts, interval=interval, next_funding_ns=settles)
        )

    told("0.0001", 7 * HOUR, 8 * HOUR)
    told("0.0002", 8 * HOUR - SECOND, 8 * HOUR)
    assert rows == []
    told("0.0009", 8 * HOUR + SECOND, 16 * HOUR)
    assert rows == [("funding", (8 * HOUR, 0.0002, 8.0))]
    # Two hours of silence before the next one: what was settled is not known.
    told("0.0007", 14 * HOUR, 16 * HOUR)
    told("0.0005", 16 * HOUR + SECOND, 24 * HOUR)
    assert len(rows) == 1
    # A venue that tells its interval only settles at whole multiples of it.
    actor._published[instrument.id].next_funding = None
    told("0.0003", 17 * HOUR - SECOND, None, 60)
    told("0.0004", 17 * HOUR + SECOND, None, 60)
    assert rows[1:] == [("funding", (17 * HOUR, 0.0003, 1.0))]
    told("0.0004", 17 * HOUR + SECOND, None)
    assert len(rows) == 2


def test_adapters_types_and_other_sources_are_published(feed: Any, instrument: CryptoPerpetual) -> None:
    from nautilus_trader.adapters.binance.futures.types import BinanceFuturesMarkPriceUpdate
    from nautilus_trader.adapters.hyperliquid.data import HyperliquidOpenInterest

    actor, rows = feed
    price = Price.from_str("100.5")
    actor.on_data(
        BinanceFuturesMarkPriceUpdate(instrument.id, price, price, price, Decimal("0.0001"), 8 * HOUR, HOUR, HOUR)
    )
    actor.on_data(HyperliquidOpenInterest(instrument.id, Decimal("1234.5"), 3, 4))
    actor.publish_liquidation(instrument.id, 9, liqclient.PositionSide.SHORT, 101.0, 0.5)
    assert rows == [
        ("mark_prices", (HOUR, 100.5)),
        ("open_interest", (3, 1234.5)),
        ("liquidations", (9, liqclient.PositionSide.SHORT, 101.0, 0.5)),
    ]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"instrument_ids": ()}, "instrument_ids must name at least one instrument, was empty"),
        ({"interval_ms": 0}, "interval_ms must be above 0, was 0"),
        ({"capacity": -1}, "capacity must be above 0, was -1"),
        ({"open_interest_every": "0s"}, "open_interest_every must be above 0, was '0s'"),
        ({"open_interest_every": "now"}, "open_interest_every must be a whole number"),
        ({"target": "levels.lan:50051", "token": "abc"}, "token would go to levels.lan:50051 unencrypted"),
    ],
)
def test_configuration_that_makes_no_sense_is_refused(
    config: dict[str, Any], message: str, instrument: CryptoPerpetual
) -> None:
    with pytest.raises(ValueError, match=message):
        MarketDataFeed(MarketDataFeedConfig(**{"instrument_ids": (instrument.id,)} | config))
