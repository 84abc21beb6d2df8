"""Configuration of the data client for live nodes."""

from __future__ import annotations

from typing import Any

from nautilus_trader.live.config import LiveDataClientConfig

from liqclient._alerts import AlertRule
from liqclient._channel import DEFAULT_TARGET
from liqclient._types import Unit
from liqclient.nt._query import LevelsQuery, alert_rules_of, parameters_of


class LiqServerDataClientConfig(LiveDataClientConfig, frozen=True, kw_only=True):
    """Configuration of `LiqServerDataClient`; lengths of time are nanoseconds or text such as ``5m``.

    Parameters
    ----------
    target : str
        Address of the server.
    tls : bool or str
        Encrypt the connection: a PEM file of the authorities that the server's certificate may be signed by, or True
        for those gRPC comes with.
    token : str, optional
        What the server knows the node by; None for that of the environment variable ``LIQSERVER_TOKEN``, if it is set.
    timeout : float
        Seconds that an answer may take, and the first message of a stream.
    symbols : dict[str, str], optional
        Symbols at the server by instrument, where they are not the instrument's without ``-PERP``.
    venue : str
        Venue at the server, if it is not the instrument's.
    model : str
        Identifier of a model; empty for the server's default.
    parameters : dict[str, Any], optional
        Parameters of the model by name, ``tiers`` as a list of dicts.
    bin_size : float, optional
        Width of a price bin in quote units; None for the server's choice when a stream begins.
    price_range : tuple[float, float]
        How far down and up, as fractions of the price.
    unit : str
        ``notional`` or ``qty``.
    max_rate : float, optional
        Most levels of an instrument a second, the newest each time; None for as many as there are.
    min_change : float
        Smallest change of a bin that is told, as a fraction of the side's amount in range.
    heartbeat : int or str
        Time without news after which the server shows that it is there, 100 ms to a minute.
    stale_after : int or str
        Age of the oldest input that the model needs from which on levels count as stale.
    alert_rules : tuple[dict[str, Any], ...]
        Rules for those who subscribe to `LiquidationAlert`; see `alert_rules_of`.
    every : int or str
        Time between the moments of levels that are requested, unless the request's ``params`` name another.
    delay_ns : int
        Nanoseconds from a moment until its levels count as available, of those that are requested.
    """

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

    def query(self, instrument_id: object, every: int | str | None = None) -> LevelsQuery:
        """Return what to ask for; raises ValueError or TypeError if that makes no sense."""
        return LevelsQuery(
            instrument_id=str(instrument_id),
            symbol=(self.symbols or {}).get(str(instrument_id), ""),
            venue=self.venue,
            model=self.model,
            parameters=parameters_of(self.parameters),
            bin_size=self.bin_size,
            price_range=self.price_range,
            unit=self.unit,
            every=self.every if every is None else every,
            delay=self.delay_ns,
        )

    def rules(self) -> list[AlertRule]:
        """Return the rules of alerts; raises ValueError or TypeError if one makes no sense."""
        return alert_rules_of(self.alert_rules)
