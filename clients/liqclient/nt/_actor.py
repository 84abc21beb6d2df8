"""An actor that publishes levels: asked for as a backtest's time goes by, or streamed into a live node."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from nautilus_trader.common.actor import Actor
from nautilus_trader.common.component import TestClock, TimeEvent
from nautilus_trader.common.config import ActorConfig
from nautilus_trader.common.enums import LogColor
from nautilus_trader.core.data import Data
from nautilus_trader.model.data import CustomData, DataType
from nautilus_trader.model.identifiers import InstrumentId

from liqclient._aio import AsyncClient
from liqclient._channel import DEFAULT_TARGET
from liqclient._client import Client
from liqclient._times import to_duration_nanoseconds
from liqclient._types import Unit
from liqclient.nt._connect import check_stream, connected, token_of
from liqclient.nt._data import LiquidationAlert, LiquidationLevels
from liqclient.nt._live import AlertsFollower, Follower, LevelsFollower, Report
from liqclient.nt._query import LevelsQuery, alert_rules_of, parameters_of

_TIMER = "levels"
# Levels a second of a live stream of which only some are published: how late those of a moment may be.
_WATCHFUL = 5.0


class LiquidationActorConfig(ActorConfig, frozen=True, kw_only=True):
    """Configuration of `LiquidationActor`; names of levels are those of `LevelsQuery`.

    Parameters
    ----------
    instrument_ids : tuple[InstrumentId, ...]
        Instruments to ask for.
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
    model : str
        Identifier of a model, with a time axis for backtests; empty for the server's default.
    parameters : dict[str, Any], optional
        Parameters of the model by name, ``tiers`` as a list of dicts.
    bin_size : float, optional
        Width of a price bin in quote units.
    price_range : tuple[float, float]
        How far down and up, as fractions of the price.
    unit : str
        ``notional`` or ``qty``.
    every : str
        Length of time between moments, such as ``5m``, ``1h``.
    delay_ns : int
        Nanoseconds from a moment until its levels are published, in a backtest.
    timeout : float
        Seconds that a call may take.
    max_rate : float, optional
        Live: most levels of an instrument a second. None for one for each moment, the first that are newer, and one at
        the start.
    heartbeat : int or str
        Live: time without news after which the server shows that it is there, 100 ms to a minute.
    stale_after : int or str
        Live: age of the oldest input that the model needs from which on a warning is logged.
    alert_rules : tuple[dict[str, Any], ...]
        Live: rules by which `LiquidationAlert` are published; see `alert_rules_of`. A server watches no past, so there
        are none in a backtest.
    """

    instrument_ids: tuple[InstrumentId, ...]
    target: str = DEFAULT_TARGET
    tls: bool | str = False
    token: str | None = None
    symbols: dict[str, str] | None = None
    venue: str = ""
    model: str = ""
    parameters: dict[str, Any] | None = None
    bin_size: float | None = None
    price_range: tuple[float, float] = (0.2, 0.2)
    unit: Unit = "notional"
    every: str = "1h"
    delay_ns: int = 1
    timeout: float = 30.0
    max_rate: float | None = None
    heartbeat: int | str = "1s"
    stale_after: int | str = "15m"
    alert_rules: tuple[dict[str, Any], ...] = ()

    def queries(self) -> list[LevelsQuery]:
        """Return what to ask for, instrument by instrument."""
        symbols, parameters = self.symbols or {}, parameters_of(self.parameters)
        return [
            LevelsQuery(
                instrument_id=str(of),
                symbol=symbols.get(str(of), ""),
                venue=self.venue,
                model=self.model,
                parameters=parameters,
                bin_size=self.bin_size,
                price_range=self.price_range,
                unit=self.unit,
                every=self.every,
                delay=self.delay_ns,
            )
            for of in self.instrument_ids
        ]


class LiquidationActor(Actor):
    """Publishes `LiquidationLevels` of its instruments to whoever subscribed to them.

    In a backtest it asks a server on a timer for the levels as of simulated time. Each call blocks until the server
    answers, so a run is the same every time; a call that fails ends the run with its error. In a live node it follows
    the server's streams through lost connections, and tells in the log what becomes of them.

    Parameters
    ----------
    config : LiquidationActorConfig
        What to ask whom for.

    Raises
    ------
    TypeError, ValueError
        If a field of the configuration is out of its range.
    """

    def __init__(self, config: LiquidationActorConfig) -> None:
        super().__init__(config)
        if not config.instrument_ids:
            raise ValueError("instrument_ids must name at least one instrument, was empty")
        check_stream(config.max_rate, 0.0, config.heartbeat, config.stale_after)
        self._queries = config.queries()
        self._rules = alert_rules_of(config.alert_rules)
        self._client: Client | None = None
        self._streaming: AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._moments: dict[str, int] = {}

    def on_start(self) -> None:
        """Set the timer of a backtest, or follow the streams of a live node."""
        if isinstance(self.clock, TestClock):
            self._start_timer()
        else:
            self._start_streams()

    def on_stop(self) -> None:
        """Ask and follow no more, and close the connection."""
        if _TIMER in self.clock.timer_names:
            self.clock.cancel_timer(_TIMER)
        if self._client is not None:
            self._client.close()
            self._client = None
        if self._streaming is not None and self._loop is not None and self._loop.is_running():
            self._closing = self._loop.create_task(self._close(self._streaming, self._tasks))
        self._streaming, self._tasks = None, []

    def on_reset(self) -> None:
        """Nothing is kept from run to run."""
        self._moments.clear()

    def on_dispose(self) -> None:
        """Nothing is left to let go of once stopped."""

    def _start_timer(self) -> None:
        of = self.config
        if self._rules:
            self.log.warning("alert_rules are watched in live nodes only: a server watches no past")
        self._client = Client(of.target, timeout=of.timeout, tls=of.tls, token=token_of(of.token))
        query = self._queries[0]
        first = query.first_moment(self.clock.timestamp_ns()) + query.delay_ns
        # The clock's timers fire first one interval after their start.
        self.clock.set_timer_ns(_TIMER, query.every_ns, first - query.every_ns, 0, self._on_timer)

    def _on_timer(self, event: TimeEvent) -> None:
        if self._client is None:
            raise RuntimeError("the actor is not running")
        for query in self._queries:
            self._publish(query.levels(self._client, event.ts_event - query.delay_ns, LiquidationLevels))

    def _start_streams(self) -> None:
        of = self.config
        self._loop = loop = asyncio.get_running_loop()
        self._streaming = connected(of.target, of.tls, of.token, of.timeout)
        for query in self._queries:
            followers: list[Follower] = [
                LevelsFollower(
                    query,
                    LiquidationLevels,
                    max_rate=_WATCHFUL if of.max_rate is None else of.max_rate,
                    min_change=0.0,
                    heartbeat=of.heartbeat,
                    stale_after=to_duration_nanoseconds(of.stale_after),
                    clock=self.clock.timestamp_ns,
                    deliver=partial(self._on_levels, query),
                    report=self._on_report,
                )
            ]
            if self._rules:
                followers.append(
                    AlertsFollower(
                        query,
                        self._rules,
                        LiquidationAlert,
                        clock=self.clock.timestamp_ns,
                        deliver=self._publish,
                        report=self._on_report,
                    )
                )
            for follower in followers:
                task = loop.create_task(follower.run(self._streaming))
                task.add_done_callback(self._on_ended)
                self._tasks.append(task)

    def _on_levels(self, query: LevelsQuery, levels: LiquidationLevels) -> None:
        if self.config.max_rate is None:
            moment = levels.ts_event // query.every_ns
            if self._moments.get(query.instrument_id, -1) >= moment:
                return
            self._moments[query.instrument_id] = moment
        self._publish(levels)

    def _publish(self, data: Data) -> None:
        # Not publish_data: the engine makes the same topic of it as of data from a catalogue or a data client.
        self.msgbus.send(endpoint="DataEngine.process", msg=CustomData(DataType(type(data)), data))

    def _on_report(self, report: Report) -> None:
        if report.kind == "refused":
            self.log.error(report.message)
        elif report.kind in ("resumed", "fresh"):
            self.log.info(report.message, LogColor.GREEN)
        else:
            self.log.warning(report.message)

    def _on_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.log.exception("a stream has ended with an error", error)

    @staticmethod
    async def _close(client: AsyncClient, tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await client.close()
