"""What a live node makes its data client with."""

from __future__ import annotations

import asyncio

from nautilus_trader.cache.cache import Cache
from nautilus_trader.common.component import LiveClock, MessageBus
from nautilus_trader.live.factories import LiveDataClientFactory

from liqclient.nt._config import LiqServerDataClientConfig
from liqclient.nt._live_client import LiqServerDataClient


class LiqServerLiveDataClientFactory(LiveDataClientFactory):
    """Creates a `LiqServerDataClient` for a live node."""

    @staticmethod
    def create(  # type: ignore[override]
        loop: asyncio.AbstractEventLoop,
        name: str,
        config: LiqServerDataClientConfig,
        msgbus: MessageBus,
        cache: Cache,
        clock: LiveClock,
    ) -> LiqServerDataClient:
        """Create a data client.

        Parameters
        ----------
        loop : asyncio.AbstractEventLoop
            The event loop for the client.
        name : str
            The custom client ID.
        config : LiqServerDataClientConfig
            The client configuration.
        msgbus : MessageBus
            The message bus for the client.
        cache : Cache
            The cache for the client.
        clock : LiveClock
            The clock for the client.

        Returns
        -------
        LiqServerDataClient

        Raises
        ------
        OSError
            If the file of ``config.tls`` cannot be read.
        TypeError, ValueError
            If a field of the configuration is out of its range.
        """
        return LiqServerDataClient(loop=loop, msgbus=msgbus, cache=cache, clock=clock, name=name, config=config)
