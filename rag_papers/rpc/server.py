"""Servers: one way to build, run and drain them."""

import asyncio
import contextlib
import contextvars
import logging
import os
import secrets
import signal
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Protocol, TypeVar

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from rag_papers.errors import Draining, Internal, RagError
from rag_papers.rpc.channel import MAX_MESSAGE_BYTES
from rag_papers.rpc.status import to_status
from rag_papers.settings import Settings

logger = logging.getLogger(__name__)

trace_id: contextvars.ContextVar[str] = contextvars.ContextVar("trace_id", default="-")
"""Id of the call that is being served; in every line of the log."""

READY = "ready "
"""What a server prints on stdout, followed by its address, when it serves."""

T = TypeVar("T")


class Application(Protocol):
    """A service's objects, from its start to its end."""

    name: str
    """Full name of its gRPC service."""

    async def start(self, server: grpc.aio.Server) -> None:
        """Acquires what the service needs and registers its servicer."""

    async def drain(self) -> None:
        """The first step of a stop, while calls still come in: refuses new work, lets long calls end."""

    async def close(self) -> None:
        """Releases everything; no call is in flight any more."""


class RunningServer:
    """A server that accepts calls."""

    def __init__(self, application: Application, server: grpc.aio.Server, health_: Any, host: str, port: int) -> None:
        self._application = application
        self._server = server
        self._health = health_
        self.address = f"{host}:{port}"

    async def stop(self, grace: float) -> None:
        """Takes no new calls, gives those in flight `grace` seconds, releases everything."""
        await self._health.enter_graceful_shutdown()
        await self._application.drain()
        await self._server.stop(grace)
        await self._application.close()


async def start(application: Application, address: str, *, share_port: bool = False) -> RunningServer:
    """Starts serving at `address`; port 0 picks a free one. Raises OSError if it cannot be bound.

    With `share_port` other processes may serve there too.
    """
    server = grpc.aio.server(
        interceptors=[_Errors()],
        options=[
            ("grpc.so_reuseport", int(share_port)),
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ],
    )
    host, _, _ = address.rpartition(":")
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(f"cannot listen at {address}: {error}") from error
    await application.start(server)
    health_ = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health_, server)
    reflection.enable_server_reflection((application.name, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    await server.start()
    for name in ("", application.name):
        await health_.set(name, health_pb2.HealthCheckResponse.SERVING)
    return RunningServer(application, server, health_, host, port)


def run(application: Callable[[], Application], address: str, settings: Settings, *, share_port: bool = False) -> int:
    """Serves until SIGTERM or SIGINT, then drains; returns the exit code. Prints `ready HOST:PORT` when it serves."""
    configure_logging(settings)
    try:
        asyncio.run(_serve(application(), address, settings.drain_seconds, share_port))
    except (RagError, OSError) as error:
        logger.error("%s", error)
        return 1
    return 0


def configure_logging(settings: Settings) -> None:
    """Lets the log go to stderr, with the id of the call in every line."""
    logging.basicConfig(
        level=settings.log_level.upper(),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s [%(trace_id)s] %(message)s",
    )
    for handler in logging.getLogger().handlers:
        handler.addFilter(_add_trace_id)


def on_stop(callback: Callable[[], object]) -> None:
    """Calls `callback`, in the running loop, at SIGTERM, at SIGINT and, where so agreed, at the end of stdin."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, callback)
    if os.environ.get("RAG_EXIT_ON_STDIN_EOF") == "1":
        _on_end_of_stdin(lambda: loop.call_soon_threadsafe(callback))


async def _serve(application: Application, address: str, grace: float, share_port: bool) -> None:
    stopping = asyncio.Event()
    on_stop(stopping.set)
    server = await start(application, address, share_port=share_port)
    sys.stdout.write(f"{READY}{server.address}\n")
    sys.stdout.flush()
    await stopping.wait()
    logger.info("draining")
    await server.stop(grace)


def _on_end_of_stdin(callback: Callable[[], object]) -> None:
    def wait() -> None:
        with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: the loop has ended already
            while os.read(0, 4096):
                pass
            callback()

    threading.Thread(target=wait, name="stdin", daemon=True).start()


def _add_trace_id(record: logging.LogRecord) -> bool:
    record.trace_id = trace_id.get()
    return True


class _Errors(grpc.aio.ServerInterceptor):
    """Gives every call a trace id, and turns exceptions into statuses; what is not a RagError is a defect."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None or not handler_call_details.method.startswith("/rag_papers."):
            return handler
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(
                _guarded_stream(handler.unary_stream), handler.request_deserializer, handler.response_serializer
            )
        if handler.request_streaming:
            return grpc.stream_unary_rpc_method_handler(
                _guarded(handler.stream_unary), handler.request_deserializer, handler.response_serializer
            )
        return grpc.unary_unary_rpc_method_handler(
            _guarded(handler.unary_unary), handler.request_deserializer, handler.response_serializer
        )


def _guarded(method: Callable[[Any, Any], Awaitable[Any]]) -> Callable[[Any, Any], Awaitable[Any]]:
    async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        trace_id.set(secrets.token_hex(8))
        try:
            return await method(request, context)
        except Exception as error:
            return await _abort(context, error)

    return call


def _guarded_stream(method: Callable[[Any, Any], AsyncIterator[Any]]) -> Callable[[Any, Any], AsyncIterator[Any]]:
    async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
        trace_id.set(secrets.token_hex(8))
        try:
            async for response in method(request, context):
                yield response
        except Exception as error:
            await _abort(context, error)

    return call


async def _abort(context: grpc.aio.ServicerContext[Any, Any], error: Exception) -> None:
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if not isinstance(error, RagError):
        logger.exception("a defect")
        error = Internal(f"a defect of the service; its log has the details under {trace_id.get()}")
    elif isinstance(error, Draining):
        logger.info("refused: %s", error)
    status = to_status(error)
    await context.abort(status.code, status.details or "", status.trailing_metadata or ())
