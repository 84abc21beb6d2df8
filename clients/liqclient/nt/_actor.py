"""An actor that asks a running server as a backtest's time goes by: the loop that is closed."""

from __future__ import annotations

from typing import Any

from nautilus_trader.common.actor import Actor
from nautilus_trader.common.component import TestClock, TimeEvent
from nautilus_trader.common.config import ActorConfig
from nautilus_trader.model.data import CustomData, DataType
from nautilus_trader.model.identifiers import InstrumentId

from liqclient._channel import DEFAULT_TARGET
from liqclient._client import Client
from liqclient._types import LeverageTier, Parameters, Unit
from liqclient.nt._data import LiquidationLevels
from liqclient.nt._query import LevelsQuery

_TIMER = "levels"


class LiquidationActorConfig(ActorConfig, frozen=True, kw_only=True):
    """Configuration of `LiquidationActor`; names of levels are those of `LevelsQuery`.

    Parameters
    ----------
    instrument_ids : tuple[InstrumentId, ...]
        Instruments to ask for.
    target : str
        Address of the server.
    symbols : dict[str, str], optional
        Symbols at the server by instrument, where they are not the instrument's without ``-PERP``.
    venue : str
        Venue at the server, if it is not the instrument's.
    model : str
        Identifier of a model with a time axis; empty for the server's default.
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
        Nanoseconds from a moment until its levels are published.
    timeout : float
        Seconds that a call may take.
    """

    instrument_ids: tuple[InstrumentId, ...]
    target: str = DEFAULT_TARGET
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

    def queries(self) -> list[LevelsQuery]:
        """Return what to ask for, instrument by instrument."""
        given = dict(self.parameters or {})
        if given.get("tiers"):
            given["tiers"] = [LeverageTier(**tier) for tier in given["tiers"]]
        symbols = self.symbols or {}
        return [
            LevelsQuery(
                instrument_id=str(of),
                symbol=symbols.get(str(of), ""),
                venue=self.venue,
                model=self.model,
                parameters=Parameters(**given) if given else None,
                bin_size=self.bin_size,
                price_range=self.price_range,
                unit=self.unit,
                every=self.every,
                delay=self.delay_ns,
            )
            for of in self.instrument_ids
        ]


class LiquidationActor(Actor):
    """Asks a server on a timer for the levels as of simulated time, and hands them to the data engine.

    For backtests only: each call blocks until the server answers, so a run is the same every time. A call that
    fails ends the run with its error. Whoever subscribed to `LiquidationLevels` of an instrument receives them.

    Parameters
    ----------
    config : LiquidationActorConfig
        What to ask whom for.

    Raises
    ------
    ValueError
        If a field of the configuration is out of its range.
    """

    def __init__(self, config: LiquidationActorConfig) -> None:
        super().__init__(config)
        if not config.instrument_ids:
            raise ValueError("instrument_ids must name at least one instrument, was empty")
        self._queries = config.queries()
        self._target = config.target
        self._timeout = config.timeout
        self._data_type = DataType(LiquidationLevels)
        self._client: Client | None = None

    def on_start(self) -> None:
        """Connect and set the timer to the first moment whose levels are available from now on."""
        if not isinstance(self.clock, TestClock):
            raise RuntimeError("LiquidationActor is for backtests: its calls block, and live timers have own threads")
        self._client = Client(self._target, timeout=self._timeout)
        query = self._queries[0]
        first = query.first_moment(self.clock.timestamp_ns()) + query.delay_ns
        # The clock's timers fire first one interval after their start.
        self.clock.set_timer_ns(_TIMER, query.every_ns, first - query.every_ns, 0, self._on_timer)

    def on_stop(self) -> None:
        """Cancel the timer and close the connection."""
        if _TIMER in self.clock.timer_names:
            self.clock.cancel_timer(_TIMER)
        if self._client is not None:
            self._client.close()
            self._client = None

    def on_reset(self) -> None:
        """Nothing is kept from run to run."""

    def on_dispose(self) -> None:
        """Nothing is left to let go of once stopped."""

    def _on_timer(self, event: TimeEvent) -> None:
        if self._client is None:
            raise RuntimeError("the actor is not running")
        for query in self._queries:
            levels = query.levels(self._client, event.ts_event - query.delay_ns, LiquidationLevels)
            # Not publish_data: the engine makes the same topic of it as of data from a catalogue.
            self.msgbus.send(endpoint="DataEngine.process", msg=CustomData(self._data_type, levels))
