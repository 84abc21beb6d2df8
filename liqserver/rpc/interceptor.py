"""The one interceptor: exceptions become statuses, and answers may be bytes that are encoded already."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import grpc
from google.protobuf.message import Message

from liqserver.rpc.errors import to_status

type Streaming = Callable[..., AsyncIterator[Any]]


class AnswerInterceptor(grpc.aio.ServerInterceptor):
    """Wraps the handlers of this project's services; the handler of a method is wrapped once."""

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
            if handler is None or not method.startswith("/liqserver."):
                return handler
            if handler.unary_unary is not None:
                wrapped = grpc.unary_unary_rpc_method_handler(
                    _guarded(handler.unary_unary), handler.request_deserializer, _serialized
                )
            elif handler.stream_stream is not None:
                wrapped = grpc.stream_stream_rpc_method_handler(
                    _guarded_stream(cast("Streaming", handler.stream_stream)), handler.request_deserializer, _serialized
                )
            else:
                wrapped = grpc.unary_stream_rpc_method_handler(
                    _guarded_stream(cast("Streaming", handler.unary_stream)), handler.request_deserializer, _serialized
                )
            self._wrapped[method] = wrapped
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


def _guarded_stream(behaviour: Streaming) -> Streaming:
    async def guarded(request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: ANN401 - as above
        try:
            async for answer in behaviour(request, context):
                yield answer
        except (asyncio.CancelledError, grpc.aio.AbortError):
            raise
        except Exception as error:
            await context.abort_with_status(to_status(error))

    return guarded


def _serialized(answer: Message | bytes) -> bytes:
    return answer if isinstance(answer, bytes) else answer.SerializeToString()
