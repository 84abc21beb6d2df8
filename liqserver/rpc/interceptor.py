"""The one interceptor: checks tokens, turns exceptions into statuses, lets answers be bytes encoded already."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any, cast

import grpc
from google.protobuf.message import Message

from liqserver.live.errors import AskError
from liqserver.rpc.auth import Tokens
from liqserver.rpc.errors import to_status

# Seconds without a request after which a refusal is told, and after which it is told whatever comes.
_QUIET, _LONGEST_HEARD = 0.1, 1.0

type Streaming = Callable[..., AsyncIterator[Any]]


class AnswerInterceptor(grpc.aio.ServerInterceptor):
    """Wraps the handlers of this project's services; the handler of a method is wrapped once.

    Parameters
    ----------
    tokens : Tokens, optional
        What each call is checked against, before anything of its request is decoded; None to let everybody ask.
    """

    def __init__(self, tokens: Tokens | None = None) -> None:
        self._tokens = tokens
        self._wrapped: dict[str, Any] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return the wrapped handler."""
        method = handler_call_details.method
        if self._tokens is not None and method.startswith("/liqserver."):
            try:
                self._tokens.check(method, handler_call_details.invocation_metadata)
            except AskError as error:
                return _refusal(error)
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


def _refusal(error: AskError) -> grpc.RpcMethodHandler[Any, Any]:
    # As a stream whatever the method is: on the wire there is no difference, and requests are not decoded.
    async def refuse(requests: AsyncIterator[bytes], context: Any) -> None:  # noqa: ANN401 - as above
        # A grpc.aio client whose request is under way when the call ends is told INTERNAL by its own library, and
        # the refusal is lost: wait until it sends nothing more, or for a moment no more.
        with suppress(TimeoutError):
            async with asyncio.timeout(_LONGEST_HEARD):
                coming = aiter(requests)
                while await asyncio.wait_for(anext(coming, None), _QUIET) is not None:
                    pass
        await context.abort_with_status(to_status(error))

    return grpc.stream_stream_rpc_method_handler(cast("Any", refuse))


def _serialized(answer: Message | bytes) -> bytes:
    return answer if isinstance(answer, bytes) else answer.SerializeToString()
