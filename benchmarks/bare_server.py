"""The floor of a unary call: a bare grpc.aio server that answers every call with the same bytes."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc

METHOD = "/bare.Bare/Call"


async def _serve(size: int) -> None:
    answer = bytes(size)

    async def call(request: bytes, context: Any) -> bytes:  # noqa: ANN401
        return answer

    server = grpc.aio.server(options=[("grpc.max_send_message_length", 64 << 20)])
    handlers = {"Call": grpc.unary_unary_rpc_method_handler(call)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bare.Bare", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    # Ends with the benchmark: its end of the pipe closes.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.stop(0)


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
