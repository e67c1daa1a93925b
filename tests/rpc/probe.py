"""A service that does what its tests tell it; run as a script, it serves at sys.argv[1] until it is told to stop."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc

from rag_papers.rpc.server import run
from rag_papers.settings import Settings

SERVICE = "rag_papers.test.ProbeService"
UNARY, STREAM = f"/{SERVICE}/Unary", f"/{SERVICE}/Stream"

Unary = Callable[[bytes, Any], Awaitable[bytes]]
Stream = Callable[[bytes, Any], AsyncIterator[bytes]]


async def echo(request: bytes, context: Any) -> bytes:
    return request


async def echo_letters(request: bytes, context: Any) -> AsyncIterator[bytes]:
    for letter in request:
        yield bytes([letter])


class ProbeApplication:
    """Serves one call of each kind, and remembers what happened to it."""

    name = SERVICE

    def __init__(self, unary: Unary = echo, stream: Stream = echo_letters) -> None:
        self._handlers = {
            "Unary": grpc.unary_unary_rpc_method_handler(unary),
            "Stream": grpc.unary_stream_rpc_method_handler(stream),
        }
        self.events: list[str] = []

    async def start(self, server: grpc.aio.Server) -> None:
        self.events.append("start")
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, self._handlers),))

    async def drain(self) -> None:
        self.events.append("drain")

    async def close(self) -> None:
        self.events.append("close")


async def slow_echo(request: bytes, context: Any) -> bytes:
    await asyncio.sleep(float(request))
    return request


if __name__ == "__main__":
    sys.exit(run(lambda: ProbeApplication(unary=slow_echo), sys.argv[1], Settings(drain_seconds=5)))
