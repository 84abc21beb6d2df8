"""Experimental binding to Nautilus Trader 2: levels and alerts of a server in a live node.

Tried with 2.0.0rc6, whose interface for clients of one's own still moves from one release candidate to the next. The
core is that of version 1: what is guaranteed about time, and what becomes of lost connections, is the same. There are
no catalogue and no backtests here, no actor and no feed.

>>> node = LiveNode.build("NODE", config, data_factories={CLIENT_ID: LiqServerDataClientFactory})  # doctest: +SKIP
>>> strategy.subscribe_data(levels_of("BTCUSDT-PERP.BINANCE"), ClientId(CLIENT_ID))  # doctest: +SKIP

Not affiliated with, endorsed or supported by Nautech Systems Pty Ltd.
"""

# Checked beside version 1, which has not these names.
# mypy: disable-error-code="attr-defined"

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Self

import pyarrow as pa
from nautilus_trader.common import Clock, Logger
from nautilus_trader.config import DataClientConfig
from nautilus_trader.live import (
    ClientCache,
    CustomDataResponse,
    RequestCustomData,
    SubscribeCustomData,
    UnsubscribeCustomData,
)
from nautilus_trader.live.clients import DataClient, DataClientFactory
from nautilus_trader.model import CustomData, DataType, InstrumentId, register_custom_data_class

from liqclient._channel import DEFAULT_TARGET
from liqclient._errors import DeadlineExceeded, LiqClientError, Unavailable
from liqclient._types import Unit
from liqclient.nt._codec import ALERT_SCHEMA, LEVELS_SCHEMA, decode, encode
from liqclient.nt._connect import check_stream, connected
from liqclient.nt._constants import CLIENT_ID
from liqclient.nt._live import Follower, Report, follower_to
from liqclient.nt._payload import AlertPayload, LevelsPayload, _Payload
from liqclient.nt._query import LevelsQuery, alert_rules_of, parameters_of

__all__ = [
    "CLIENT_ID",
    "LiqServerDataClient",
    "LiqServerDataClientConfig",
    "LiqServerDataClientFactory",
    "LiquidationAlert",
    "LiquidationLevels",
    "alerts_of",
    "levels_of",
]


class _Bound(_Payload):
    """What Nautilus asks of its own data types."""

    _schema: ClassVar[pa.Schema]

    @property
    def instrument_id(self) -> InstrumentId:
        """Instrument this is about."""
        return InstrumentId.from_str(self._instrument)

    def to_json(self) -> str:
        """Return everything as JSON."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return what was parsed from `to_json`."""
        return cls.from_dict(values)

    @classmethod
    def type_name_static(cls) -> str:
        """Return the name the type is registered under."""
        return cls.__name__

    @classmethod
    def arrow_schema_py(cls) -> pa.Schema:
        """Return the columns of a batch."""
        return cls._schema

    def encode_record_batch_py(self, items: Sequence[Any]) -> pa.RecordBatch:
        """Return objects as an Arrow batch, one row each."""
        return encode(items, self._schema)

    @classmethod
    def decode_record_batch_py(cls, metadata: Mapping[str, str], batch: pa.RecordBatch) -> list[Self]:
        """Return the objects of an Arrow batch; its metadata has no use here."""
        return [cls.from_dict(row) for row in decode(batch)]


class LiquidationLevels(LevelsPayload, _Bound):
    """Liquidation levels of one instrument as of ``ts_event``, available at ``ts_init``; see `LevelsPayload`."""

    _schema = LEVELS_SCHEMA


class LiquidationAlert(AlertPayload, _Bound):
    """One event around the liquidation levels of an instrument; see `AlertPayload`."""

    _schema = ALERT_SCHEMA


_TYPES: dict[str, type[LiquidationLevels] | type[LiquidationAlert]] = {
    of.__name__: of for of in (LiquidationLevels, LiquidationAlert)
}
for _type in _TYPES.values():
    register_custom_data_class(_type)


def levels_of(instrument_id: InstrumentId | str) -> DataType:
    """Return the type to subscribe to, or request, levels of an instrument with."""
    return DataType(LiquidationLevels.__name__, metadata={"instrument_id": str(instrument_id)})


def alerts_of(instrument_id: InstrumentId | str) -> DataType:
    """Return the type to subscribe to alerts of an instrument with."""
    return DataType(LiquidationAlert.__name__, metadata={"instrument_id": str(instrument_id)})


@dataclass(frozen=True, kw_only=True)
class LiqServerDataClientConfig(DataClientConfig):
    """Configuration of `LiqServerDataClient`; fields are those of version 1's class of this name."""

    target: str = DEFAULT_TARGET
    tls: bool | str = False
    token: str | None = None
    timeout: float = 30.0
    symbols: dict[str, str] | None = None
    venue: str = ""
    model: str = ""
    parameters: dict[str, Any] | None = None
    bin_size: float | None = None
    price_range: tuple[float, float] = (0.2, 0.2)
    unit: Unit = "notional"
    max_rate: float | None = 10.0
    min_change: float = 0.0
    heartbeat: int | str = "1s"
    stale_after: int | str = "15m"
    alert_rules: tuple[dict[str, Any], ...] = ()
    every: int | str = "1h"
    delay_ns: int = 1

    def query(self, instrument_id: str, every: int | str | None = None) -> LevelsQuery:
        """Return what to ask for; raises ValueError or TypeError if that makes no sense."""
        return LevelsQuery(
            instrument_id=instrument_id,
            symbol=(self.symbols or {}).get(instrument_id, ""),
            venue=self.venue,
            model=self.model,
            parameters=parameters_of(self.parameters),
            bin_size=self.bin_size,
            price_range=self.price_range,
            unit=self.unit,
            every=self.every if every is None else every,
            delay=self.delay_ns,
        )


class LiqServerDataClient(DataClient):
    """Streams liquidation levels and alerts of a liqserver into a live node, and requests their history.

    Parameters
    ----------
    name
        The client ID.
    config
        The configuration for the client.
    cache, clock
        The node's.

    Raises
    ------
    OSError
        If the file of ``config.tls`` cannot be read.
    TypeError, ValueError
        If a field of the configuration is out of its range.
    """

    def __init__(self, *, name: str, config: LiqServerDataClientConfig, cache: ClientCache, clock: Clock) -> None:
        super().__init__(name=name, config=config, cache=cache, clock=clock)
        check_stream(config.max_rate, config.min_change, config.heartbeat, config.stale_after)
        config.query("SYMBOL.VENUE")
        self._settings = config
        self._rules = alert_rules_of(config.alert_rules)
        self._log = Logger(f"DataClient-{name}")
        self._client = connected(config.target, config.tls, config.token, config.timeout)
        self._followers: dict[str, asyncio.Task[None]] = {}

    async def _connect(self) -> None:
        try:
            await self._client.models()
        except (DeadlineExceeded, Unavailable) as error:
            # A node that trades does not wait for levels; subscriptions try on.
            self._log.warning(f"no levels yet: {error}")

    async def _disconnect(self) -> None:
        tasks = list(self._followers.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._followers.clear()
        await self._client.close()

    async def _subscribe(self, command: SubscribeCustomData) -> None:
        data_type = command.data_type
        if data_type.topic in self._followers:
            return
        follower = self._follower(data_type, _instrument_of(data_type))
        task = asyncio.get_running_loop().create_task(follower.run(self._client))
        self._followers[data_type.topic] = task
        task.add_done_callback(partial(self._ended, data_type.topic))

    async def _unsubscribe(self, command: UnsubscribeCustomData) -> None:
        task = self._followers.pop(command.data_type.topic, None)
        if task is not None:
            task.cancel()

    async def _request_data(self, request: RequestCustomData) -> None:
        data_type = request.data_type
        if data_type.type_name != LiquidationLevels.__name__:
            raise ValueError(f"there is no history of {data_type.type_name}")
        query = self._settings.query(_instrument_of(data_type), (request.params or {}).get("every"))
        if request.start_ns is None:
            raise ValueError("start must be given, was None")
        now = self.clock.timestamp_ns()
        end = request.end_ns if request.end_ns is not None else now
        try:
            levels = await query.history(self._client, request.start_ns, end, LiquidationLevels, request.limit or 0)
        except LiqClientError as error:
            self._log.error(f"Cannot request {data_type}: {error}")
            return
        self._handle_response(
            CustomDataResponse(
                self.client_id,
                data_type,
                None,
                [CustomData(data_type, of) for of in levels],
                request.request_id,
                self.clock.timestamp_ns(),
                request.start_ns,
                end,
                request.params,
            )
        )

    def _follower(self, data_type: DataType, instrument_id: str) -> Follower:
        to = _TYPES.get(data_type.type_name)
        if to is None:
            raise ValueError(f"the data type must be one of {', '.join(_TYPES)}, was {data_type.type_name}")
        return follower_to(
            to,
            self._settings.query(instrument_id),
            self._rules,
            self._settings,
            clock=self.clock.timestamp_ns,
            deliver=partial(self._deliver, data_type),
            report=self._report,
        )

    def _deliver(self, data_type: DataType, data: _Bound) -> None:
        self._handle_data(CustomData(data_type, data))

    def _report(self, report: Report) -> None:
        if report.kind == "refused":
            self._log.error(report.message)
        elif report.kind in ("resumed", "fresh"):
            self._log.info(report.message)
        else:
            self._log.warning(report.message)

    def _ended(self, topic: str, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            self._log.error(f"Error on {topic}: {error!r}")
        self._followers.pop(topic, None)


class LiqServerDataClientFactory(DataClientFactory):
    """Creates a `LiqServerDataClient` for a live node."""

    @staticmethod
    def create(
        *, name: str, config: LiqServerDataClientConfig, cache: ClientCache, clock: Clock
    ) -> LiqServerDataClient:
        """Create a data client; raises what `LiqServerDataClient` does."""
        return LiqServerDataClient(name=name, config=config, cache=cache, clock=clock)


def _instrument_of(data_type: DataType) -> str:
    instrument_id = (data_type.metadata or {}).get("instrument_id")
    if not instrument_id:
        raise ValueError("the data type's metadata must name the instrument_id, as `levels_of` does")
    return str(instrument_id)
