"""The data client for live nodes of Nautilus Trader 1."""

from __future__ import annotations

import asyncio
from functools import partial

from nautilus_trader.cache.cache import Cache
from nautilus_trader.common.component import LiveClock, MessageBus
from nautilus_trader.common.data_topics import TopicCache
from nautilus_trader.common.enums import LogColor
from nautilus_trader.core.data import Data
from nautilus_trader.data.messages import RequestData, SubscribeData, UnsubscribeData
from nautilus_trader.live.data_client import LiveDataClient
from nautilus_trader.model.data import CustomData, DataType
from nautilus_trader.model.identifiers import ClientId, InstrumentId

from liqclient._aio import AsyncClient
from liqclient._errors import DeadlineExceeded, LiqClientError, Unavailable
from liqclient.nt._config import LiqServerDataClientConfig
from liqclient.nt._connect import check_stream, connected, token_of
from liqclient.nt._constants import CLIENT_ID
from liqclient.nt._data import LiquidationAlert, LiquidationLevels
from liqclient.nt._live import Follower, Report, follower_to

_TYPES = (LiquidationLevels, LiquidationAlert)


class LiqServerDataClient(LiveDataClient):
    """Streams liquidation levels and alerts of a liqserver into a live node, and requests their history.

    While levels do not come, or are of old data, the client is ``DEGRADED``, which its component's events on the
    message bus tell (topic ``events.system.<client id>``) and a warning in the log explains.

    Parameters
    ----------
    loop : asyncio.AbstractEventLoop
        The event loop for the client.
    msgbus : MessageBus
        The message bus for the client.
    cache : Cache
        The cache for the client.
    clock : LiveClock
        The clock for the client.
    name : str, optional
        The custom client ID.
    config : LiqServerDataClientConfig
        The configuration for the client.

    Raises
    ------
    OSError
        If the file of ``config.tls`` cannot be read.
    TypeError, ValueError
        If a field of the configuration is out of its range.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        msgbus: MessageBus,
        cache: Cache,
        clock: LiveClock,
        name: str | None,
        config: LiqServerDataClientConfig,
    ) -> None:
        # Not with its configuration, which a component shows to whoever listens: there may be a token in it.
        super().__init__(
            loop=loop, client_id=ClientId(name or CLIENT_ID), venue=None, msgbus=msgbus, cache=cache, clock=clock
        )
        check_stream(config.max_rate, config.min_change, config.heartbeat, config.stale_after)
        # What makes no sense of any instrument is refused before the node runs.
        config.query("SYMBOL.VENUE")
        self._rules = config.rules()
        self._settings = config
        self._client = self._new_client()
        self._topics = TopicCache()
        self._followers: dict[str, tuple[Follower, asyncio.Task[None]]] = {}
        for field in config.__struct_fields__:
            if field not in ("handle_revised_bars", "instrument_provider", "routing", "token"):
                self._log.info(f"config.{field}={getattr(config, field)!r}", LogColor.BLUE)
        self._log.info(f"token {'given' if token_of(config.token) else 'none'}", LogColor.BLUE)

    async def _connect(self) -> None:
        try:
            await self._client.models()
        except (DeadlineExceeded, Unavailable) as error:
            # A node that trades does not wait for levels; subscriptions try on.
            self._log.warning(f"no levels yet: {error}")

    async def _disconnect(self) -> None:
        tasks = [task for _, task in self._followers.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._followers.clear()
        await self._client.close()
        if self.is_degraded:
            # A node stops those clients only that run.
            self.stop()
        # A node that is run again connects anew.
        self._client = self._new_client()

    async def _subscribe(self, command: SubscribeData) -> None:
        try:
            instrument_id = self._instrument_of(command)
            topic = self._topic(command.data_type, instrument_id)
            if topic in self._followers:
                return
            if not self._msgbus.has_subscribers(topic):
                raise ValueError("the data type must have no metadata, nobody listens to what comes without")
            follower = self._follower(command.data_type, instrument_id)
        except (TypeError, ValueError) as error:
            self._remove_subscription(command.data_type)
            self._log.error(f"Cannot subscribe to {command.data_type}: {error}")
            return
        task = self._loop.create_task(follower.run(self._client), name=topic)
        self._followers[topic] = follower, task
        task.add_done_callback(partial(self._ended, topic, command.data_type))
        self._show_state()

    async def _unsubscribe(self, command: UnsubscribeData) -> None:
        topic = self._topic(command.data_type, command.instrument_id)
        if self._msgbus.has_subscribers(topic):
            # The engine passes on the first actor's unsubscription though others go on.
            self._add_subscription(command.data_type)
            self._log.info(f"{command.data_type} goes on for other subscribers")
        elif topic in self._followers:
            _, task = self._followers.pop(topic)
            task.cancel()
            self._show_state()

    async def _request(self, request: RequestData) -> None:
        try:
            instrument_id = self._instrument_of(request)
            if request.data_type.type is not LiquidationLevels:
                raise ValueError("there is no history of them")
            query = self._settings.query(instrument_id, request.params.get("every"))
            start, end = request.start.value, request.end.value
            levels = await query.history(self._client, start, end, LiquidationLevels, request.limit)
        except (LiqClientError, TypeError, ValueError) as error:
            self._log.error(f"Cannot request {request.data_type} of {request.instrument_id}: {error}")
            return
        data_type = DataType(LiquidationLevels)
        data = [CustomData(data_type, of) for of in levels]
        self._handle_data_response(request.data_type, data, request.id, request.start, request.end, request.params)

    def _new_client(self) -> AsyncClient:
        of = self._settings
        return connected(of.target, of.tls, of.token, of.timeout)

    def _topic(self, data_type: DataType, instrument_id: InstrumentId) -> str:
        # A command's type carries the instrument, which those who subscribe leave out.
        topic: str = self._topics.get_custom_data_topic(DataType(data_type.type), instrument_id)
        return topic

    def _instrument_of(self, command: SubscribeData | RequestData) -> InstrumentId:
        """Return the instrument of a command; raises ValueError if there is nothing of it here."""
        if command.data_type.type not in _TYPES:
            raise ValueError(f"the data type must be one of {', '.join(of.__name__ for of in _TYPES)}")
        if command.instrument_id is None:
            raise ValueError("`instrument_id` must name an instrument, was None")
        return command.instrument_id

    def _follower(self, data_type: DataType, instrument_id: InstrumentId) -> Follower:
        return follower_to(
            data_type.type,
            self._settings.query(instrument_id),
            self._rules,
            self._settings,
            clock=self._clock.timestamp_ns,
            deliver=partial(self._deliver, DataType(data_type.type)),
            report=self._report,
        )

    def _deliver(self, data_type: DataType, data: Data) -> None:
        self._handle_data(CustomData(data_type, data))

    def _report(self, report: Report) -> None:
        if report.kind == "refused":
            self._log.error(report.message)
        elif report.kind in ("resumed", "fresh"):
            self._log.info(report.message, LogColor.GREEN)
        else:
            self._log.warning(report.message)
        self._show_state()

    def _show_state(self) -> None:
        troubled = any(follower.troubles for follower, _ in self._followers.values())
        if troubled and self.is_running:
            self.degrade()
        elif not troubled and self.is_degraded:
            self.resume()

    def _ended(self, topic: str, data_type: DataType, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            self._log.exception(f"Error on {topic}", error)
        # What has ended by itself can be subscribed to again.
        self._followers.pop(topic, None)
        self._remove_subscription(data_type)
