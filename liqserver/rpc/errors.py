"""The error catalogue: which exception becomes which status, and what clients are told.

Clients get ``google.rpc.Status`` with an ``ErrorInfo`` (domain "liqserver", a stable reason, metadata) and, for a
field that is not allowed, a ``BadRequest``. Whatever is not in the catalogue becomes INTERNAL without its text,
which goes to the log with an identifier that the client is told.
"""

from __future__ import annotations

import logging
import secrets
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from liqserver.live.errors import (
    AskError,
    InvalidField,
    MissingInput,
    OutsideCoverage,
    Refused,
    ScopeMissing,
    SlowReader,
    Stopping,
    TokenRefused,
    UnknownName,
)

DOMAIN = "liqserver"

CATALOGUE: dict[type[AskError], int] = {
    UnknownName: code_pb2.NOT_FOUND,
    InvalidField: code_pb2.INVALID_ARGUMENT,
    OutsideCoverage: code_pb2.OUT_OF_RANGE,
    MissingInput: code_pb2.FAILED_PRECONDITION,
    Refused: code_pb2.FAILED_PRECONDITION,
    SlowReader: code_pb2.RESOURCE_EXHAUSTED,
    TokenRefused: code_pb2.UNAUTHENTICATED,
    ScopeMissing: code_pb2.PERMISSION_DENIED,
    Stopping: code_pb2.UNAVAILABLE,
}

log = logging.getLogger(__name__)


def to_status(error: Exception) -> grpc.Status:
    """Return the status that clients are given for ``error``."""
    details: list[Any] = []
    if isinstance(error, AskError):
        code, message = CATALOGUE[type(error)], error.message
        details.append(error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata))
        if isinstance(error, InvalidField):
            violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=error.description)
            details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    else:
        incident = secrets.token_hex(4)
        log.error("incident %s", incident, exc_info=error)
        code, message = code_pb2.INTERNAL, f"the server failed at this; its log says why under incident {incident}"
        details.append(error_details_pb2.ErrorInfo(reason="INTERNAL", domain=DOMAIN, metadata={"incident": incident}))
    status = status_pb2.Status(code=code, message=message)
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    answer: grpc.Status = rpc_status.to_status(status)
    return answer
