import asyncio
import logging
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from rag_papers.errors import NoIndex
from rag_papers.rpc.channel import error_of, open_aio_channel, open_channel
from rag_papers.rpc.server import start, trace_id

from .conftest import Serving
from .probe import SERVICE, STREAM, UNARY, ProbeApplication

SERVING = health_pb2.HealthCheckResponse.SERVING
PROBE = Path(__file__).with_name("probe.py")


async def health_of(channel: grpc.aio.Channel, service: str) -> Any:
    response = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service))
    return response.status


class TestServing:
    def test_calls_are_answered(self, serving: Serving) -> None:
        async def main() -> tuple[bytes, list[bytes]]:
            async with serving(ProbeApplication()) as (channel, _):
                stream = [letter async for letter in channel.unary_stream(STREAM)(b"abc")]
                return await channel.unary_unary(UNARY)(b"hello"), stream

        assert asyncio.run(main()) == (b"hello", [b"a", b"b", b"c"])

    @pytest.mark.parametrize("service", ["", SERVICE])
    def test_it_is_healthy(self, serving: Serving, service: str) -> None:
        async def main() -> Any:
            async with serving(ProbeApplication()) as (channel, _):
                return await health_of(channel, service)

        assert asyncio.run(main()) == SERVING

    def test_reflection_lists_the_service(self, serving: Serving) -> None:
        async def main() -> set[str]:
            async with serving(ProbeApplication()) as (channel, _):
                stub = reflection_pb2_grpc.ServerReflectionStub(channel)
                request = reflection_pb2.ServerReflectionRequest(list_services="")
                async for response in stub.ServerReflectionInfo(iter([request])):
                    return {service.name for service in response.list_services_response.service}
            return set()

        listed = asyncio.run(main())
        assert {SERVICE, "grpc.health.v1.Health"} <= listed

    def test_large_messages_pass(self, serving: Serving) -> None:
        large = bytes(20 << 20)

        async def main() -> int:
            async with serving(ProbeApplication()) as (channel, _):
                return len(await channel.unary_unary(UNARY)(large))

        assert asyncio.run(main()) == len(large)

    def test_a_port_in_use_is_named(self) -> None:
        async def main(address: str) -> None:
            await start(ProbeApplication(), address)

        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            with pytest.raises(OSError, match=f"cannot listen at {address}"):
                asyncio.run(main(address))

    def test_a_second_server_at_the_same_address_is_refused(self, serving: Serving) -> None:
        async def main() -> None:
            async with serving(ProbeApplication()) as (_, address):
                with pytest.raises(OSError, match="cannot listen"):
                    await start(ProbeApplication(), address)

        asyncio.run(main())


class TestDefects:
    SECRET = "the details of the defect"

    def test_of_a_call_are_internal_and_tell_nothing(self, serving: Serving, caplog: pytest.LogCaptureFixture) -> None:
        ids: list[str] = []

        async def fail(request: bytes, context: Any) -> bytes:
            ids.append(trace_id.get())
            raise ZeroDivisionError(self.SECRET)

        async def main() -> grpc.RpcError:
            async with serving(ProbeApplication(unary=fail)) as (channel, _):
                with pytest.raises(grpc.RpcError) as caught:
                    await channel.unary_unary(UNARY)(b"")
                return caught.value

        error = asyncio.run(main())
        assert error.code() is grpc.StatusCode.INTERNAL
        assert error_of(error, "").reason == "INTERNAL"
        assert ids[0] in error.details()
        told = f"{error.details()} {error.trailing_metadata()}"
        for word in (self.SECRET, "ZeroDivisionError", "Traceback", __file__):
            assert word not in told
        assert self.SECRET in caplog.text

    def test_of_a_stream_end_it_after_what_was_sent(self, serving: Serving) -> None:
        async def fail(request: bytes, context: Any) -> AsyncIterator[bytes]:
            yield b"first"
            raise ZeroDivisionError(self.SECRET)

        async def main() -> tuple[list[bytes], grpc.RpcError]:
            async with serving(ProbeApplication(stream=fail)) as (channel, _):
                received = []
                with pytest.raises(grpc.RpcError) as caught:
                    async for message in channel.unary_stream(STREAM)(b""):
                        received.append(message)  # noqa: PERF401 - what comes before the error counts
                return received, caught.value

        received, error = asyncio.run(main())
        assert received == [b"first"]
        assert error.code() is grpc.StatusCode.INTERNAL
        assert self.SECRET not in error.details()

    def test_do_not_stop_the_server(self, serving: Serving) -> None:
        async def fail_once(request: bytes, context: Any) -> bytes:
            if request == b"fail":
                raise ZeroDivisionError
            return request

        async def main() -> bytes:
            async with serving(ProbeApplication(unary=fail_once)) as (channel, _):
                call = channel.unary_unary(UNARY)
                with pytest.raises(grpc.RpcError):
                    await call(b"fail")
                return await call(b"fine")

        assert asyncio.run(main()) == b"fine"

    def test_are_not_what_errors_of_ours_are(self, serving: Serving, caplog: pytest.LogCaptureFixture) -> None:
        async def fail(request: bytes, context: Any) -> AsyncIterator[bytes]:
            yield b"first"
            raise NoIndex("nothing has been ingested yet")

        async def main() -> grpc.RpcError:
            async with serving(ProbeApplication(stream=fail)) as (channel, _):
                with pytest.raises(grpc.RpcError) as caught:
                    async for _ in channel.unary_stream(STREAM)(b""):
                        pass
                return caught.value

        assert error_of(asyncio.run(main()), "").reason == "NO_INDEX"
        assert not [record for record in caplog.records if record.levelno >= logging.ERROR]

    def test_calls_have_trace_ids_of_their_own(self, serving: Serving) -> None:
        async def tell(request: bytes, context: Any) -> bytes:
            return trace_id.get().encode()

        async def main() -> set[bytes]:
            async with serving(ProbeApplication(unary=tell)) as (channel, _):
                return set(await asyncio.gather(*(channel.unary_unary(UNARY)(b"") for _ in range(20))))

        assert len(asyncio.run(main())) == 20


class TestStopping:
    def test_lets_a_call_in_flight_end_and_takes_no_new_one(self) -> None:
        async def main() -> tuple[bytes, str, list[str]]:
            begun, finish = asyncio.Event(), asyncio.Event()

            async def slow(request: bytes, context: Any) -> bytes:
                begun.set()
                await finish.wait()
                return b"finished"

            application = ProbeApplication(unary=slow)
            server = await start(application, "127.0.0.1:0")
            async with open_aio_channel(server.address) as channel, open_aio_channel(server.address) as late:
                in_flight = asyncio.ensure_future(channel.unary_unary(UNARY)(b""))
                await begun.wait()
                stopping = asyncio.ensure_future(server.stop(grace=30))
                while "drain" not in application.events:
                    await asyncio.sleep(0)
                await asyncio.sleep(0.05)
                with pytest.raises(grpc.RpcError) as caught:
                    await late.unary_unary(UNARY)(b"", timeout=10)
                assert not stopping.done()
                finish.set()
                answer = await in_flight
                await stopping
                return answer, error_of(caught.value, server.address).reason, application.events

        assert asyncio.run(main()) == (b"finished", "UNREACHABLE", ["start", "drain", "close"])

    def test_cuts_off_a_call_that_outlives_the_grace(self) -> None:
        async def main() -> grpc.StatusCode:
            begun = asyncio.Event()

            async def never(request: bytes, context: Any) -> bytes:
                begun.set()
                await asyncio.Event().wait()
                return b""

            server = await start(ProbeApplication(unary=never), "127.0.0.1:0")
            async with open_aio_channel(server.address) as channel:
                call = channel.unary_unary(UNARY)(b"")
                await begun.wait()
                await server.stop(grace=0.05)
                return await call.code()

        assert asyncio.run(main()) in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}

    def test_is_told_to_who_asks_for_the_health(self) -> None:
        async def main() -> list[Any]:
            seen: list[Any] = []

            class Asking(ProbeApplication):
                async def drain(self) -> None:
                    seen.append(await health_of(channel, ""))
                    seen.append(await health_of(channel, SERVICE))

            server = await start(Asking(), "127.0.0.1:0")
            async with open_aio_channel(server.address) as channel:
                assert await health_of(channel, "") == SERVING
                await server.stop(grace=0)
            return seen

        assert asyncio.run(main()) == [health_pb2.HealthCheckResponse.NOT_SERVING] * 2


class TestProcess:
    """`run`: a service as it is started at a terminal."""

    @pytest.fixture
    def process(self) -> Iterator[subprocess.Popen[str]]:
        command = [sys.executable, str(PROBE), "127.0.0.1:0"]
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={"PATH": "", "RAG_EXIT_ON_STDIN_EOF": "1"},
        ) as process:
            yield process
            process.kill()

    def address(self, process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        ready, address = process.stdout.readline().split()
        assert ready == "ready"
        return address

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_drains_and_ends_well_on_a_signal(self, process: subprocess.Popen[str], number: signal.Signals) -> None:
        with open_channel(self.address(process)) as channel:
            call = channel.unary_unary(UNARY)
            assert call(b"0") == b"0"
            in_flight = call.future(b"0.5")
            assert call(b"0") == b"0"
            process.send_signal(number)
            assert in_flight.result() == b"0.5"
        out, err = process.communicate()
        assert (process.returncode, out) == (0, "")
        assert "draining" in err
        assert "Traceback" not in err

    def test_ends_with_the_process_that_started_it(self, process: subprocess.Popen[str]) -> None:
        self.address(process)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait() == 0

    def test_that_cannot_listen_says_so_and_ends_with_1(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            result = subprocess.run([sys.executable, str(PROBE), address], capture_output=True, text=True)
        assert (result.returncode, result.stdout) == (1, "")
        assert f"cannot listen at {address}" in result.stderr
        assert "Traceback" not in result.stderr
