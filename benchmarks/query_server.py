"""QueryService with one RPC more on the same server stack: `Echo`, which returns as many bytes as it is asked for.

python benchmarks/query_server.py SETTINGS    # those of python -m query_service
"""

import sys
from typing import Any

import grpc

from query_service.application import QueryApplication
from rag_papers.rpc.server import run
from rag_papers.settings import Settings

ECHO = "/rag_papers.benchmark/Echo"


class WithEcho(QueryApplication):
    """The service under test and the empty RPC."""

    async def start(self, server: grpc.aio.Server) -> None:
        """Registers both."""
        await super().start(server)
        replies: dict[bytes, bytes] = {}

        async def echo(request: bytes, context: Any) -> bytes:
            if request not in replies:
                replies[request] = bytes(int(request))
            return replies[request]

        service, method = ECHO.strip("/").split("/")
        server.add_registered_method_handlers(service, {method: grpc.unary_unary_rpc_method_handler(echo)})


if __name__ == "__main__":
    settings = Settings.from_command_line("query_server", "QueryService with an empty RPC.")
    sys.exit(run(lambda: WithEcho(settings), settings.query_address, settings))
