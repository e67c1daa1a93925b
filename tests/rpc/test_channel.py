import asyncio
import json
from typing import Any

import grpc
import pytest

from rag_papers.errors import Draining, InvalidRequest
from rag_papers.rpc.channel import OPTIONS, default_address, open_aio_channel
from rag_papers.rpc.server import start
from rag_papers.v1 import ingest_pb2, query_pb2
from tests.rpc.probe import UNARY, ProbeApplication

SERVICES = {
    service.full_name: {method.name for method in service.methods}
    for module in (ingest_pb2, query_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
}


def retried() -> set[tuple[str, str]]:
    [config] = json.loads(str(dict(OPTIONS)["grpc.service_config"]))["methodConfig"]
    assert config["retryPolicy"]["retryableStatusCodes"] == ["UNAVAILABLE"]
    return {(name["service"], name["method"]) for name in config["name"]}


def test_what_is_retried_exists() -> None:
    assert all(method in SERVICES[service] for service, method in retried())


@pytest.mark.parametrize("method", ["StartIngest", "PurgeCache", "VacuumCache"])
def test_what_changes_something_is_not_retried(method: str) -> None:
    assert method not in {name for _, name in retried()}


@pytest.mark.parametrize(
    ("path", "failures", "attempts"),
    [
        ("rag_papers.v1.QueryService/Search", 2, 3),
        ("rag_papers.v1.QueryService/PurgeCache", 1, 1),
        ("rag_papers.v1.IngestService/GetJob", 1, 2),
        ("rag_papers.v1.IngestService/StartIngest", 1, 1),
    ],
)
def test_a_service_that_drains_is_asked_again_where_that_is_safe(path: str, failures: int, attempts: int) -> None:
    service, method = path.split("/")
    seen = []

    class Application:
        name = service

        async def start(self, server: grpc.aio.Server) -> None:
            async def handle(request: bytes, context: Any) -> bytes:
                seen.append(request)
                if len(seen) <= failures:
                    raise Draining("the service is shutting down")
                return b"answer"

            handlers = {method: grpc.unary_unary_rpc_method_handler(handle)}
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))

        async def drain(self) -> None: ...

        async def close(self) -> None: ...

    async def main() -> bytes | grpc.StatusCode:
        server = await start(Application(), "127.0.0.1:0")
        try:
            async with open_aio_channel(server.address) as channel:
                return await channel.unary_unary(f"/{path}")(b"")
        except grpc.RpcError as error:
            return error.code()
        finally:
            await server.stop(grace=0)

    assert asyncio.run(main()) == (b"answer" if attempts > failures else grpc.StatusCode.UNAVAILABLE)
    assert len(seen) == attempts


def test_a_channel_has_a_connection_of_its_own() -> None:
    async def whence(request: bytes, context: Any) -> bytes:
        return str(context.peer()).encode()

    async def main() -> set[bytes]:
        server = await start(ProbeApplication(unary=whence), "127.0.0.1:0")
        try:
            async with open_aio_channel(server.address) as one, open_aio_channel(server.address) as other:
                return {await channel.unary_unary(UNARY)(b"") for channel in (one, other, one, other)}
        finally:
            await server.stop(grace=0)

    assert len(asyncio.run(main())) == 2


def test_addresses_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAG_INGEST_ADDRESS", raising=False)
    monkeypatch.setenv("RAG_QUERY_ADDRESS", "query.example:1234")
    assert default_address("ingest") == "127.0.0.1:50051"
    assert default_address("query") == "query.example:1234"


def test_a_bad_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_MAX_WORKERS", "0")
    with pytest.raises(InvalidRequest, match="RAG_MAX_WORKERS"):
        default_address("ingest")
