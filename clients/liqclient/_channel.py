"""What both flavours of client need to know before they can call."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, cast

import grpc

DEFAULT_TARGET = "127.0.0.1:50051"
DEFAULT_TIMEOUT = 10.0
# grpc's own cap of 4 MiB is less than fine bins by tier can take.
DEFAULT_MAX_MESSAGE_BYTES = 64 * 1024 * 1024

_LOOPBACK = re.compile(r"(dns:(///)?|ipv[46]:)?(localhost|127(\.\d+){3}|\[::1\])(:\d+)?", re.IGNORECASE)
# What RFC 6750 lets a bearer token consist of.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Keepalive:
    """How a dead connection is noticed while a call waits.

    Attributes
    ----------
    interval
        Seconds without traffic after which the client pings. Servers refuse pings that come more often than
        every 10 s.
    timeout
        Seconds to wait for the answer to a ping before the connection counts as dead.
    """

    interval: float = 30.0
    timeout: float = 10.0


DEFAULT_KEEPALIVE = Keepalive()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Arguments of a client; see `Client`."""

    target: str
    timeout: float | None
    max_message_bytes: int
    keepalive: Keepalive | None
    credentials: grpc.ChannelCredentials | None
    tls: bool | str | PathLike[str]
    token: str | None = field(repr=False)
    channel_given: bool

    def __post_init__(self) -> None:
        if not self.target:
            raise ValueError("target must be an address such as 127.0.0.1:50051, was empty")
        if self.max_message_bytes <= 0:
            raise ValueError(f"max_message_bytes must be positive, was {self.max_message_bytes}")
        self.seconds(self.timeout)
        if self.channel_given and (self.credentials is not None or self.tls is not False):
            raise ValueError("credentials and tls belong to the channel that is given")
        if self.credentials is not None and self.tls is not False:
            raise ValueError("give credentials or tls, not both")
        if self.token is None:
            return
        if not _TOKEN.fullmatch(self.token):
            raise ValueError("token must be of letters, digits and -._~+/, and was something else")
        encrypted = self.channel_given or self.credentials is not None or self.tls is not False
        if not encrypted and not _LOOPBACK.fullmatch(self.target):
            raise ValueError(f"token would go to {self.target} unencrypted: give tls")

    def channel_credentials(self) -> grpc.ChannelCredentials | None:
        """Return what encrypts the connection, None where nothing does; raises OSError if ``tls`` cannot be read."""
        if self.credentials is not None or self.tls is False:
            return self.credentials
        return grpc.ssl_channel_credentials(None if self.tls is True else Path(self.tls).read_bytes())

    def calling[Channel](self, channel: Channel) -> Channel:
        """Return what stubs are to be made of: the channel, with the token in each call where there is one."""
        return channel if self.token is None else cast("Channel", _WithToken(channel, self.token))

    def seconds(self, timeout: float | None) -> float | None:
        """Return the deadline of a call in seconds, the client's own when the call names none.

        Raises
        ------
        ValueError
            If ``timeout`` is not positive.
        """
        return self.stream_seconds(self.timeout if timeout is None else timeout)

    def stream_seconds(self, seconds: float | None) -> float | None:
        """Return the deadline of a stream in seconds: none at all when the call names none.

        Raises
        ------
        ValueError
            If ``seconds`` is not positive.
        """
        if seconds is not None and not seconds > 0:
            raise ValueError(f"timeout must be positive, was {seconds}")
        return seconds

    def options(self) -> list[tuple[str, int]]:
        """Return the channel's options."""
        options = [
            ("grpc.max_receive_message_length", self.max_message_bytes),
            # grpc waits up to two minutes between attempts to connect and fails every call in between; a
            # server that was restarted should be found again within seconds.
            ("grpc.max_reconnect_backoff_ms", 5_000),
        ]
        if self.keepalive is not None:
            options += [
                ("grpc.keepalive_time_ms", round(self.keepalive.interval * 1000)),
                ("grpc.keepalive_timeout_ms", round(self.keepalive.timeout * 1000)),
            ]
        if _LOOPBACK.fullmatch(self.target):
            # grpc sends even loopback through http_proxy, where this machine's server is not.
            options.append(("grpc.enable_http_proxy", 0))
        return options


class _WithToken:
    """A channel of either flavour whose calls carry a token.

    gRPC's own credentials for calls are refused on an unencrypted connection, even on loopback.
    """

    def __init__(self, channel: Any, token: str) -> None:  # noqa: ANN401 - of either flavour
        self._channel = channel
        self._metadata = (("authorization", f"Bearer {token}"),)

    def __getattr__(self, kind: str) -> Callable[..., Any]:
        make = getattr(self._channel, kind)
        return lambda *given, **named: partial(make(*given, **named), metadata=self._metadata)
