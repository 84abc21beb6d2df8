"""Exceptions, and how they come from the status of a call.

::

    LiqClientError
    ├── InvalidArgument      a field of the request is not allowed
    ├── NotFound             unknown symbol, venue or model
    ├── OutOfRange           as_of, start or end outside the data
    ├── FailedPrecondition   an input that the model needs is missing
    ├── ResourceExhausted    too many calls, or an answer larger than max_message_bytes
    ├── Unauthenticated      no token, or one that the server does not know
    ├── PermissionDenied     a token that does not allow this
    ├── Unavailable          server not reachable, or not serving now
    ├── DeadlineExceeded     no answer in time
    ├── Cancelled            the call was cancelled, for example because the client was closed
    ├── Unimplemented        the server does not know the method: it is older than the client
    └── Internal             the server failed
        └── InvalidAnswer    the answer breaks the protocol; nothing of it is shown

Other status codes raise `LiqClientError` itself.
"""

# Exceptions bear the names of the canonical status codes, which have no suffix.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

# Details of other domains (proxies, load balancers) do not follow the server's conventions.
_DOMAIN = "liqserver"


class FieldViolation(NamedTuple):
    """What is wrong with one field of a request."""

    field: str
    """Path of the field in the request, for example ``query.bin_size``."""
    description: str
    """What it was and what is allowed."""


class LiqClientError(Exception):
    """Root of all errors of calls.

    Attributes
    ----------
    code : grpc.StatusCode
        Canonical status code.
    message : str
        What happened, for people.
    reason : str or None
        What happened, for programs, for example ``SYMBOL_UNKNOWN``. None when the server named none, as when
        it was not reached.
    metadata : dict of str to str
        Further facts the server gave with the reason.
    violations : list of FieldViolation
        Fields of the request that the server objects to.
    """

    code: grpc.StatusCode = grpc.StatusCode.UNKNOWN

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode | None = None,
        reason: str | None = None,
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[FieldViolation] = (),
    ) -> None:
        # The message alone goes into args: the rest has defaults, so exceptions survive pickling.
        super().__init__(message)
        self.message = message
        self.code = type(self).code if code is None else code
        self.reason = reason
        self.metadata = dict(metadata or {})
        self.violations = list(violations)

    def __str__(self) -> str:
        # A traceback shows only this: it should name the field even where the message does not.
        rest = [f"{v.field}: {v.description}" for v in self.violations if v.description not in self.message]
        return "; ".join([self.message, *rest])


class InvalidArgument(LiqClientError):
    """A field of the request is not allowed; see ``violations``."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class NotFound(LiqClientError):
    """Unknown symbol, venue or model."""

    code = grpc.StatusCode.NOT_FOUND

    @property
    def known(self) -> list[str]:
        """What the server does know; empty when it did not say."""
        return [name for name in map(str.strip, self.metadata.get("known", "").split(",")) if name]


class OutOfRange(LiqClientError):
    """``as_of``, or ``start`` or ``end``, lies outside the data."""

    code = grpc.StatusCode.OUT_OF_RANGE

    @property
    def start(self) -> int | None:
        """UNIX nanoseconds of the first moment with an answer; None when the server did not say."""
        return self._time("start")

    @property
    def end(self) -> int | None:
        """UNIX nanoseconds of the last moment with an answer; None when the server did not say."""
        return self._time("end")

    def _time(self, key: str) -> int | None:
        try:
            return int(self.metadata[key])
        except (KeyError, ValueError):
            return None


class FailedPrecondition(LiqClientError):
    """An input that the model needs is missing."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class ResourceExhausted(LiqClientError):
    """Too many calls, or an answer larger than the client's ``max_message_bytes``."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class Unauthenticated(LiqClientError):
    """No token, or one that the server does not know."""

    code = grpc.StatusCode.UNAUTHENTICATED


class PermissionDenied(LiqClientError):
    """A token that does not allow this."""

    code = grpc.StatusCode.PERMISSION_DENIED


class Unavailable(LiqClientError):
    """The server cannot be reached (then ``reason`` is None), or does not serve now."""

    code = grpc.StatusCode.UNAVAILABLE


class DeadlineExceeded(LiqClientError):
    """No answer within the timeout."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class Cancelled(LiqClientError):
    """The call was cancelled, for example because the client was closed."""

    code = grpc.StatusCode.CANCELLED


class Unimplemented(LiqClientError):
    """The server does not know the method: it is older than the client, or not a liqserver."""

    code = grpc.StatusCode.UNIMPLEMENTED


class Internal(LiqClientError):
    """The server failed."""

    code = grpc.StatusCode.INTERNAL


class InvalidAnswer(Internal):
    """The answer lacks what the protocol promises; nothing is put in its place."""


_BY_CODE: dict[grpc.StatusCode, type[LiqClientError]] = {
    error.code: error
    for error in (
        InvalidArgument,
        NotFound,
        OutOfRange,
        FailedPrecondition,
        ResourceExhausted,
        Unauthenticated,
        PermissionDenied,
        Unavailable,
        DeadlineExceeded,
        Cancelled,
        Unimplemented,
        Internal,
    )
}


def unreachable(target: str, why: str) -> Unavailable:
    """Return the error of a server that cannot be reached, which says how to start one."""
    return Unavailable(f"no liqserver reached at {target}: {why}; start one with `liqserver serve`")


def error_from(error: grpc.RpcError, *, target: str, timeout: float | None, late: str = "no answer") -> LiqClientError:
    """Return the exception for a failed call of either flavour.

    Parameters
    ----------
    error
        What grpc raised.
    target
        Address that was called.
    timeout
        Deadline of the call in seconds, None for none.
    late
        What a call that passed it is told to be.
    """
    # Both flavours raise an error that is the call as well, which the type stubs do not say.
    call = cast("grpc.Call", error)
    code, details = call.code(), call.details() or ""
    status = _rich_status(call)
    if status is None:
        # Without rich status it was not the server's code that spoke but the transport.
        if code is grpc.StatusCode.UNAVAILABLE:
            return unreachable(target, details)
        if code is grpc.StatusCode.DEADLINE_EXCEEDED and timeout is not None:
            return DeadlineExceeded(f"{late} within {timeout:g} s")
    reason, metadata = None, {}
    violations = []
    for detail in status.details if status is not None else ():
        info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if _unpack(detail, info) and info.domain == _DOMAIN:
            reason, metadata = info.reason or None, dict(info.metadata)
        elif _unpack(detail, request):
            violations += [FieldViolation(v.field, v.description) for v in request.field_violations]
    return _BY_CODE.get(code, LiqClientError)(
        details or code.name, code=code, reason=reason, metadata=metadata, violations=violations
    )


def _rich_status(call: grpc.Call) -> status_pb2.Status | None:
    # Details that cannot be read must not hide the error they belong to.
    try:
        return rpc_status.from_call(call)
    except (ValueError, DecodeError):
        return None


def _unpack(detail: any_pb2.Any, message: Message) -> bool:
    try:
        return detail.Unpack(message)
    except DecodeError:
        return False
