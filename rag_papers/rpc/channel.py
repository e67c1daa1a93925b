"""Channels to the services: what every client needs, and all that it may use of this package."""

import json
from typing import Literal

import grpc

from rag_papers.errors import RagError
from rag_papers.rpc import status
from rag_papers.settings import Settings

MAX_MESSAGE_BYTES = 64 << 20
"""Largest message that clients and services accept."""

_IDEMPOTENT = {
    "rag_papers.v1.IngestService": ("GetJob", "ListJobs", "ListIndexes", "GetIndex", "CancelJob", "GetInfo"),
    "rag_papers.v1.QueryService": (
        "Ask",
        "AskStream",
        "Search",
        "Plan",
        "Verify",
        "ListSessions",
        "GetSession",
        "ExportSession",
        "GetCacheStats",
        "GetInfo",
    ),
}

# Only UNAVAILABLE and only calls that may run twice are retried (AIP-194, gRPC A6).
_SERVICE_CONFIG = json.dumps(
    {
        "methodConfig": [
            {
                "name": [
                    {"service": service, "method": method}
                    for service, methods in _IDEMPOTENT.items()
                    for method in methods
                ],
                "retryPolicy": {
                    "maxAttempts": 3,
                    "initialBackoff": "0.1s",
                    "maxBackoff": "1s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ]
    }
)

OPTIONS = (
    ("grpc.service_config", _SERVICE_CONFIG),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 60_000),
    # Otherwise all channels of a program share one connection, and of several processes of a service one has all calls.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),  # an internal service is never behind the proxy of the environment
)
"""Options of every channel."""


def default_address(service: Literal["ingest", "query"]) -> str:
    """Where the environment says a service is (RAG_INGEST_ADDRESS, RAG_QUERY_ADDRESS)."""
    settings = Settings.load()
    return settings.ingest_address if service == "ingest" else settings.query_address


def open_channel(address: str) -> grpc.Channel:
    """A channel for blocking calls."""
    return grpc.insecure_channel(address, options=OPTIONS)


def open_aio_channel(address: str) -> grpc.aio.Channel:
    """A channel for asyncio."""
    return grpc.aio.insecure_channel(address, options=OPTIONS)


def error_of(error: grpc.RpcError, address: str) -> RagError:
    """The RagError that a failed call stands for."""
    return status.from_rpc_error(error, address)
