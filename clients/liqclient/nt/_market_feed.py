"""An actor that publishes what a live node receives of its venues to a server."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from nautilus_trader.common.actor import Actor
from nautilus_trader.common.component import TestClock
from nautilus_trader.common.config import ActorConfig
from nautilus_trader.common.enums import LogColor
from nautilus_trader.core.data import Data
from nautilus_trader.model.data import DataType, FundingRateUpdate, MarkPriceUpdate, TradeTick
from nautilus_trader.model.enums import AggressorSide
from nautilus_trader.model.identifiers import InstrumentId
from nautilus_trader.model.instruments import Instrument

from liqclient._channel import DEFAULT_TARGET
from liqclient._client import Client
from liqclient._times import to_duration_nanoseconds
from liqclient._types import PositionSide
from liqclient.nt._connect import token_of
from liqclient.nt._live import Report
from liqclient.nt._open_interest import BinanceOpenInterest, OpenInterestError, OpenInterestSource
from liqclient.nt._publisher import EventKind, PublishCounts, PublishedSymbol, Publisher
from liqclient.nt._query import LevelsQuery

_HOUR = 3_600_000_000_000
# A rate that was told longer than this before its settlement need not be the one that was settled.
_NEWS = 60_000_000_000
# What venues are asked for open interest.
_POLLED: dict[str, Callable[..., OpenInterestSource]] = {"BINANCE": BinanceOpenInterest}


class MarketDataFeedConfig(ActorConfig, frozen=True, kw_only=True):
    """Configuration of `MarketDataFeed`.

    Parameters
    ----------
    instrument_ids : tuple[InstrumentId, ...]
        Linear perpetual contracts whose data to publish; the node's data clients must load them.
    target : str
        Address of the server.
    tls : bool or str
        Encrypt the connection: a PEM file of the authorities that the server's certificate may be signed by, or True
        for those gRPC comes with.
    token : str, optional
        What the server knows the caller by; None for that of the environment variable ``LIQSERVER_TOKEN``, if it is
        set, which keeps it out of what components tell of their configuration.
    symbols : dict[str, str], optional
        Symbols at the server by instrument, where they are not the instrument's without ``-PERP``.
    venue : str
        Venue at the server, if it is not the instrument's.
    interval_ms : int
        Milliseconds between batches: how much later than the node the server knows.
    batch_size : int
        Most events of a batch.
    capacity : int
        Most events of an instrument that are kept until the server has stored them, some minutes at least; when more
        come, the oldest are thrown away, counted and told in the log.
    open_interest_every : str, optional
        Time between questions for the open interest of venues whose adapter does not tell it; None for none.
    open_interest_url : str, optional
        Address of the venue's REST interface, if it is not the public one.
    """

    instrument_ids: tuple[InstrumentId, ...]
    target: str = DEFAULT_TARGET
    tls: bool | str = False
    token: str | None = None
    symbols: dict[str, str] | None = None
    venue: str = ""
    interval_ms: int = 100
    batch_size: int = 5_000
    capacity: int = 200_000
    open_interest_every: str | None = "1m"
    open_interest_url: str | None = None


class _Published:
    """An instrument as it is published, and what is known of its funding."""

    def __init__(self, instrument: Instrument, of: PublishedSymbol) -> None:
        self.instrument = instrument
        self.of = of
        # What one contract of the venue is in base units.
        self.multiplier = float(instrument.multiplier)
        self.next_funding: int | None = None
        self.rate = Decimal(0)
        self.rate_at = 0


class MarketDataFeed(Actor):
    """Publishes trades, mark prices, funding and open interest of a live node's venues to a liqserver.

    Events are handed to a thread that sends them in batches, so nothing waits for the server; what it has not stored
    when the connection is lost is sent again. Funding is what was settled: the last rate before each settlement. Open
    interest comes from the adapter where it has it (Hyperliquid), else it is asked for (Binance). No adapter of
    Nautilus Trader 1 tells liquidations; `publish_open_interest` and `publish_liquidation` take what comes another way.

    Parameters
    ----------
    config : MarketDataFeedConfig
        What to publish where.

    Raises
    ------
    TypeError, ValueError
        If a field of the configuration is out of its range.
    """

    def __init__(self, config: MarketDataFeedConfig) -> None:
        super().__init__(config)
        if not config.instrument_ids:
            raise ValueError("instrument_ids must name at least one instrument, was empty")
        for name in ("interval_ms", "batch_size", "capacity"):
            if getattr(config, name) <= 0:
                raise ValueError(f"{name} must be above 0, was {getattr(config, name)}")
        if config.open_interest_every is not None:
            seconds = to_duration_nanoseconds(config.open_interest_every, "open_interest_every") / 1e9
            if seconds <= 0:
                raise ValueError(f"open_interest_every must be above 0, was {config.open_interest_every!r}")
            self._poll_seconds = seconds
        self._names = [
            LevelsQuery(instrument_id=str(of), symbol=(config.symbols or {}).get(str(of), ""), venue=config.venue)
            for of in config.instrument_ids
        ]
        # Refuses what cannot be connected to before the node runs.
        self._connect().close()
        self._published: dict[InstrumentId, _Published] = {}
        self._publisher: Publisher | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._told: set[str] = set()

    @property
    def counts(self) -> PublishCounts:
        """What became of events so far."""
        return self._publisher.counts if self._publisher is not None else PublishCounts()

    def on_start(self) -> None:
        """Subscribe, and begin to publish."""
        if isinstance(self.clock, TestClock):
            raise RuntimeError("MarketDataFeed is for live nodes: a backtest's data are no news to a server")
        of = self.config
        for name, instrument_id in zip(self._names, of.instrument_ids, strict=True):
            self._published[instrument_id] = _Published(
                self._instrument(instrument_id),
                PublishedSymbol(name.symbol, name.venue, float(self.cache.instrument(instrument_id).price_increment)),
            )
        self._publisher = Publisher(
            [published.of for published in self._published.values()],
            self._connect,
            interval=of.interval_ms / 1000,
            batch=of.batch_size,
            capacity=of.capacity,
            report=self._on_report,
        )
        self._publisher.start()
        for instrument_id in of.instrument_ids:
            self._subscribe(instrument_id)

    def on_stop(self) -> None:
        """Send what is left, in the thread that does, and ask for no more."""
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()
        if self._publisher is not None:
            self._publisher.close()
            self.log.info(f"{self._publisher.counts}", LogColor.BLUE)

    def on_reset(self) -> None:
        """Nothing is kept from run to run."""

    def on_dispose(self) -> None:
        """Nothing is left to let go of once stopped."""

    def on_trade_tick(self, tick: TradeTick) -> None:
        """Publish a trade."""
        of = self._published[tick.instrument_id]
        if tick.aggressor_side is AggressorSide.NO_AGGRESSOR:
            self._tell_once(f"trades of {tick.instrument_id} without aggressor are not published")
            return
        id_, buy = _number_of(tick.trade_id.value), tick.aggressor_side is AggressorSide.BUYER
        qty = tick.size.as_double() * of.multiplier
        self._put(of, "trades", (id_, tick.ts_event, tick.price.as_double(), qty, buy))

    def on_mark_price(self, mark_price: MarkPriceUpdate) -> None:
        """Publish a mark price."""
        of = self._published[mark_price.instrument_id]
        self._put(of, "mark_prices", (mark_price.ts_event, mark_price.value.as_double()))

    def on_funding_rate(self, funding_rate: FundingRateUpdate) -> None:
        """Publish the rate that was settled, when a settlement has passed."""
        settles = funding_rate.next_funding_ns
        if settles is None and funding_rate.interval:
            every = funding_rate.interval * 60_000_000_000
            settles = (funding_rate.ts_event // every + 1) * every
        if settles is None:
            self._tell_once(f"funding of {funding_rate.instrument_id} is not published: no settlement is told")
            return
        self._on_funding(funding_rate.instrument_id, funding_rate.rate, settles, funding_rate.ts_event)

    def on_data(self, data: Data) -> None:
        """Publish what an adapter tells in a type of its own."""
        name = type(data).__name__
        if name == "BinanceFuturesMarkPriceUpdate":
            of = self._published[data.instrument_id]
            self._put(of, "mark_prices", (data.ts_event, data.mark.as_double()))
            self._on_funding(data.instrument_id, data.funding_rate, data.next_funding_ns, data.ts_event)
        elif name == "HyperliquidOpenInterest":
            self.publish_open_interest(data.instrument_id, data.ts_event, float(data.open_interest))

    def publish_open_interest(self, instrument_id: InstrumentId, ts_event: int, open_interest: float) -> None:
        """Publish open interest.

        Parameters
        ----------
        instrument_id
            One of the configuration's.
        ts_event
            UNIX nanoseconds.
        open_interest
            Contracts of one side, base units.
        """
        self._put(self._published[instrument_id], "open_interest", (ts_event, open_interest))

    def publish_liquidation(
        self, instrument_id: InstrumentId, ts_event: int, side: PositionSide, price: float, qty: float
    ) -> None:
        """Publish a liquidation.

        Parameters
        ----------
        instrument_id
            One of the configuration's.
        ts_event
            UNIX nanoseconds.
        side
            Side of the position, not of the order that closed it.
        price
            Average price of the fills, quote units.
        qty
            Filled quantity, base units.
        """
        self._put(self._published[instrument_id], "liquidations", (ts_event, side, price, qty))

    def _connect(self) -> Client:
        of = self.config
        return Client(of.target, tls=of.tls, token=token_of(of.token))

    def _instrument(self, instrument_id: InstrumentId) -> Instrument:
        instrument = self.cache.instrument(instrument_id)
        if instrument is None:
            raise RuntimeError(f"the node has no instrument {instrument_id}: have its data client load it")
        if instrument.is_inverse:
            raise RuntimeError(f"{instrument_id} is inverse: only linear contracts can be published")
        return instrument

    def _subscribe(self, instrument_id: InstrumentId) -> None:
        venue = instrument_id.venue.value
        self.subscribe_trade_ticks(instrument_id)
        if venue == "BINANCE":
            from nautilus_trader.adapters.binance.futures.types import BinanceFuturesMarkPriceUpdate

            # Mark price and funding come in one; the adapter has no stream of funding alone.
            self._subscribe_own(BinanceFuturesMarkPriceUpdate, instrument_id)
        else:
            self.subscribe_mark_prices(instrument_id)
            self.subscribe_funding_rates(instrument_id)
        if venue == "HYPERLIQUID":
            from nautilus_trader.adapters.hyperliquid.data import HyperliquidOpenInterest

            self._subscribe_own(HyperliquidOpenInterest, instrument_id)
        elif venue in _POLLED and self.config.open_interest_every is not None:
            url = self.config.open_interest_url
            source = _POLLED[venue]() if url is None else _POLLED[venue](url)
            polling = self._poll(source, instrument_id)
            self._tasks.append(asyncio.get_running_loop().create_task(polling))
        else:
            self.log.warning(f"no open interest of {instrument_id}, unless `publish_open_interest` is given it")

    def _subscribe_own(self, data_type: type[Data], instrument_id: InstrumentId) -> None:
        self.subscribe_data(DataType(data_type, metadata={"instrument_id": instrument_id}), instrument_id=instrument_id)

    async def _poll(self, source: OpenInterestSource, instrument_id: InstrumentId) -> None:
        of = self._published[instrument_id]
        symbol = of.instrument.raw_symbol.value
        failed = False
        while True:
            try:
                self.publish_open_interest(instrument_id, *await source.fetch(symbol))
            except OpenInterestError as error:
                if not failed:
                    self.log.warning(f"no open interest of {instrument_id}, trying again: {error}")
                failed = True
            else:
                if failed:
                    self.log.info(f"open interest of {instrument_id} comes again", LogColor.GREEN)
                failed = False
            # Not all at the same moment.
            await asyncio.sleep(self._poll_seconds * random.uniform(0.95, 1.0))  # noqa: S311 - no secret

    def _on_funding(self, instrument_id: InstrumentId, rate: Decimal, settles: int, ts: int) -> None:
        of = self._published[instrument_id]
        if of.next_funding is not None and settles > of.next_funding:
            settled, hours = of.next_funding, (settles - of.next_funding) / _HOUR
            if settled - of.rate_at <= _NEWS:
                self._put(of, "funding", (settled, float(of.rate), hours))
            else:
                self.log.warning(
                    f"funding of {instrument_id} at {settled} is not published: the last rate was told "
                    f"{(settled - of.rate_at) / 1e9:.0f} s before"
                )
        of.next_funding, of.rate, of.rate_at = settles, rate, ts

    def _put(self, of: _Published, kind: EventKind, row: tuple[Any, ...]) -> None:
        if self._publisher is not None:
            self._publisher.put(of.of, kind, row)

    def _on_report(self, report: Report) -> None:
        # Called in the publisher's thread; the logger may be used from any.
        if report.kind == "refused":
            self.log.error(report.message)
        elif report.kind == "resumed":
            self.log.info(report.message, LogColor.GREEN)
        else:
            self.log.warning(report.message)

    def _tell_once(self, message: str) -> None:
        if message not in self._told:
            self._told.add(message)
            self.log.warning(message)


def _number_of(trade_id: str) -> int:
    """Return a trade's number; of an id that is none, one that is as good as unique and always the same."""
    if trade_id.isdecimal() and len(trade_id) < 19:
        return int(trade_id)
    return int.from_bytes(hashlib.blake2b(trade_id.encode(), digest_size=8).digest()) >> 1
