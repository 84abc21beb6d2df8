"""Open interest of venues whose adapter has none: polled from their REST interface."""

from __future__ import annotations

import json
from typing import Protocol

from nautilus_trader.core.nautilus_pyo3 import HttpClient

_SECONDS = 10


class OpenInterestError(Exception):
    """A venue did not tell its open interest."""


class OpenInterestSource(Protocol):
    """Where open interest comes from; called in the node's event loop."""

    async def fetch(self, symbol: str) -> tuple[int, float]:
        """Return UNIX nanoseconds and the open interest then, in base units.

        Raises
        ------
        OpenInterestError
            If the venue does not tell.
        """
        ...


class BinanceOpenInterest:
    """Open interest of Binance USD-M futures, by ``GET /fapi/v1/openInterest``.

    Parameters
    ----------
    base_url
        Address of the REST interface.
    """

    URL = "https://fapi.binance.com"

    def __init__(self, base_url: str = URL) -> None:
        self._base_url = base_url.rstrip("/")
        self._http = HttpClient(timeout_secs=_SECONDS)

    async def fetch(self, symbol: str) -> tuple[int, float]:
        """Return UNIX nanoseconds and the open interest then, in base units; see `OpenInterestSource`."""
        try:
            answer = await self._http.get(f"{self._base_url}/fapi/v1/openInterest?symbol={symbol}")
        except Exception as error:  # whatever the transport raises, which shares no type
            raise OpenInterestError(f"{self._base_url} cannot be reached: {error}") from error
        if answer.status != 200:
            raise OpenInterestError(f"{self._base_url} answered {answer.status}: {answer.body[:200]!r}")
        try:
            told = json.loads(answer.body)
            return int(told["time"]) * 1_000_000, float(told["openInterest"])
        except (KeyError, TypeError, ValueError) as error:
            raise OpenInterestError(f"{self._base_url} answered {answer.body[:200]!r}") from error
