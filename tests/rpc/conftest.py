import contextlib
from collections.abc import AsyncIterator, Callable

import grpc
import pytest

from rag_papers.rpc.channel import open_aio_channel
from rag_papers.rpc.server import start

from .probe import ProbeApplication

Serving = Callable[[ProbeApplication], contextlib.AbstractAsyncContextManager[tuple[grpc.aio.Channel, str]]]


@pytest.fixture
def serving() -> Serving:
    """Serves an application as long as the context lasts; gives a channel to it and its address."""

    @contextlib.asynccontextmanager
    async def serve(application: ProbeApplication) -> AsyncIterator[tuple[grpc.aio.Channel, str]]:
        server = await start(application, "127.0.0.1:0")
        try:
            async with open_aio_channel(server.address) as channel:
                yield channel, server.address
        finally:
            await server.stop(grace=0)

    return serve
