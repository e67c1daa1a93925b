"""The client of rag-papers: typed, blocking or asyncio, one method per call, every failure a `RagError`."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rag_client.aio import AsyncIngestClient, AsyncQueryClient
    from rag_client.blocking import IngestClient, QueryClient
    from rag_client.watching import Backoff

__all__ = ["AsyncIngestClient", "AsyncQueryClient", "Backoff", "IngestClient", "QueryClient"]

_HOMES = {
    "AsyncIngestClient": "rag_client.aio",
    "AsyncQueryClient": "rag_client.aio",
    "Backoff": "rag_client.watching",
    "IngestClient": "rag_client.blocking",
    "QueryClient": "rag_client.blocking",
}


def __getattr__(name: str) -> Any:
    # gRPC takes longer to load than `rag --help` may take, so it is loaded with the first client that is asked for.
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
