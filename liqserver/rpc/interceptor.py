"""The one interceptor: exceptions become statuses, and answers may be bytes that are encoded already."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import Message

from liqserver.rpc.errors import to_status


class AnswerInterceptor(grpc.aio.ServerInterceptor):
    """Wraps the unary handlers of this project's services; the handler of a method is wrapped once."""

    def __init__(self) -> None:
        self._wrapped: dict[str, Any] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return the wrapped handler."""
        method = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            if handler is None or not method.startswith("/liqserver.") or handler.unary_unary is None:
                return handler
            wrapped = self._wrapped[method] = grpc.unary_unary_rpc_method_handler(
                _guarded(handler.unary_unary),
                request_deserializer=handler.request_deserializer,
                response_serializer=_serialized,
            )
        return wrapped


def _guarded(behaviour: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def guarded(request: Any, context: Any) -> Any:  # noqa: ANN401 - whatever the method takes and gives
        try:
            return await behaviour(request, context)
        except (asyncio.CancelledError, grpc.aio.AbortError):
            raise
        except Exception as error:  # the catalogue decides what a client may know
            await context.abort_with_status(to_status(error))

    return guarded


def _serialized(answer: Message | bytes) -> bytes:
    return answer if isinstance(answer, bytes) else answer.SerializeToString()
