"""How live nodes of any version reach a server."""

from __future__ import annotations

import os

from liqclient._aio import AsyncClient
from liqclient._times import to_duration_nanoseconds
from liqclient.nt._constants import TOKEN_VARIABLE

# The server's bounds of a heartbeat.
_LEAST_HEARTBEAT, _MOST_HEARTBEAT = 100_000_000, 60_000_000_000


def check_stream(max_rate: float | None, min_change: float, heartbeat: int | str, stale_after: int | str) -> None:
    """Refuse what no stream can be followed with.

    Raises
    ------
    TypeError, ValueError
        Which names the field, what it was and what is allowed.
    """
    if max_rate is not None and not 0 < max_rate < float("inf"):
        raise ValueError(f"max_rate must be above 0 and finite, or None, was {max_rate}")
    if not 0 <= min_change <= 1:
        raise ValueError(f"min_change must be 0 to 1, was {min_change}")
    if not _LEAST_HEARTBEAT <= to_duration_nanoseconds(heartbeat, "heartbeat") <= _MOST_HEARTBEAT:
        raise ValueError(f"heartbeat must be 100 ms to 1 minute, was {heartbeat!r}")
    if to_duration_nanoseconds(stale_after, "stale_after") <= 0:
        raise ValueError(f"stale_after must be above 0, was {stale_after!r}")


def token_of(token: str | None) -> str | None:
    """Return a configuration's token, or that of the environment; None if there is neither."""
    return token or os.environ.get(TOKEN_VARIABLE) or None


def connected(target: str, tls: bool | str, token: str | None, timeout: float) -> AsyncClient:
    """Return a client of a live node.

    Raises
    ------
    OSError
        If the file of ``tls`` cannot be read.
    ValueError
        If an argument is out of its range, or a token would leave this machine unencrypted.
    """
    return AsyncClient(target, timeout=timeout, tls=tls, token=token_of(token))
