"""The table of codes, and every error on its way over a real server."""

import asyncio
import re
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from rag_papers.errors import BY_REASON, ERRORS, InvalidRequest, QueueFull, RagError
from rag_papers.rpc.channel import error_of, open_channel
from rag_papers.rpc.status import CODES, DOMAIN
from rag_papers.v1.errors_pb2 import ErrorReason

from .conftest import Serving
from .probe import UNARY, ProbeApplication

PROTO = Path(__file__).parents[2] / "protos" / "rag_papers" / "v1" / "errors.proto"
PREFIX = "ERROR_REASON_"
REASONS = [name.removeprefix(PREFIX) for name in ErrorReason.keys() if name != f"{PREFIX}UNSPECIFIED"]  # noqa: SIM118

SAMPLES = {
    "INVALID_REQUEST": InvalidRequest(violations={"top_k": "0 is not 1 or more", "query": "is empty"}, hint="é"),
    "QUEUE_FULL": QueueFull("100 jobs wait", retry_after=1.5, queued="100"),
}


def example(reason: str) -> RagError:
    return SAMPLES.get(reason) or BY_REASON[reason](f"what {reason} says: 论文 100 % \n", file="vectors.npy", empty="")


async def raised_by(serving: Serving, error: Exception) -> tuple[grpc.RpcError, str]:
    """What a client's call raises when the handler raises `error`, and the address that it was sent to."""

    async def fail(request: bytes, context: Any) -> bytes:
        raise error

    async with serving(ProbeApplication(unary=fail)) as (channel, address):
        with pytest.raises(grpc.RpcError) as caught:
            await channel.unary_unary(UNARY)(b"")
        return caught.value, address


class TestTable:
    def test_has_exactly_the_reasons_of_the_contract(self) -> None:
        assert sorted(CODES) == sorted(REASONS)

    def test_has_exactly_the_reasons_of_the_errors(self) -> None:
        assert sorted(error.reason for error in ERRORS) == sorted(CODES)
        assert len(BY_REASON) == len(ERRORS)

    def test_has_the_codes_that_the_contract_names(self) -> None:
        documented = re.findall(rf"// ([A-Z_]+): [^=]*?{PREFIX}([A-Z_]+) =", PROTO.read_text())
        assert {reason: code for code, reason in documented} == {reason: code.name for reason, code in CODES.items()}

    def test_every_error_is_documented(self) -> None:
        for error in ERRORS:
            assert error.__doc__


class TestErrorsOverTheWire:
    @pytest.mark.parametrize("reason", REASONS)
    def test_come_back_as_they_were_raised(self, serving: Serving, reason: str) -> None:
        sent = example(reason)
        raised, address = asyncio.run(raised_by(serving, sent))
        received = error_of(raised, address)
        assert type(received) is type(sent)
        assert vars(received) == vars(sent)
        assert raised.code() is CODES[reason]
        assert raised.details() == sent.message

    @pytest.mark.parametrize("reason", REASONS)
    def test_carry_one_error_info_that_any_client_reads(self, serving: Serving, reason: str) -> None:
        raised, _ = asyncio.run(raised_by(serving, example(reason)))
        [info] = details(raised, error_details_pb2.ErrorInfo)
        assert (info.reason, info.domain) == (reason, DOMAIN)
        assert dict(info.metadata) == example(reason).metadata

    def test_name_every_bad_field_at_once(self, serving: Serving) -> None:
        raised, _ = asyncio.run(raised_by(serving, SAMPLES["INVALID_REQUEST"]))
        [bad] = details(raised, error_details_pb2.BadRequest)
        assert {violation.field: violation.description for violation in bad.field_violations} == {
            "top_k": "0 is not 1 or more",
            "query": "is empty",
        }

    def test_say_when_to_try_again(self, serving: Serving) -> None:
        raised, _ = asyncio.run(raised_by(serving, SAMPLES["QUEUE_FULL"]))
        [retry] = details(raised, error_details_pb2.RetryInfo)
        assert retry.retry_delay.ToMilliseconds() == 1500

    @pytest.mark.parametrize("reason", REASONS)
    def test_say_so_unless_waiting_is_no_help(self, serving: Serving, reason: str) -> None:
        raised, _ = asyncio.run(raised_by(serving, BY_REASON[reason]("what happened")))
        retries = details(raised, error_details_pb2.RetryInfo)
        assert [retry.retry_delay.seconds > 0 for retry in retries] == [True] * (
            reason in ("QUEUE_FULL", "DISK_FULL", "DRAINING")
        )

    def test_that_quote_a_huge_request_arrive_shortened(self, serving: Serving) -> None:
        huge = "论文" * 50_000
        sent = InvalidRequest(
            violations={f"field_{number}": f"{huge} is bad" if number < 2 else "is bad" for number in range(17)},
            query=huge,
        )
        raised, address = asyncio.run(raised_by(serving, sent))
        received = error_of(raised, address)
        assert isinstance(received, InvalidRequest)
        assert received.violations.keys() == sent.violations.keys()
        for text in (received.message, *received.violations.values(), *received.metadata.values()):
            assert "论文论文" in text or text == "is bad"
            assert len(text.encode()) < 1000

    def test_may_quote_names_that_are_no_text(self, serving: Serving) -> None:
        sent = BY_REASON["DIRECTORY_NOT_FOUND"]("there is no /data/\udcff", directory="/data/\udcff")
        raised, address = asyncio.run(raised_by(serving, sent))
        assert type(error_of(raised, address)) is type(sent)


class TestErrorsOfOthers:
    def test_no_server_is_unreachable(self) -> None:
        with open_channel("127.0.0.1:1") as channel, pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(UNARY)(b"", timeout=10)
        error = error_of(caught.value, "127.0.0.1:1")
        assert error.reason == "UNREACHABLE"
        assert "127.0.0.1:1" in error.message

    def test_a_deadline_that_passes_is_said_to(self, serving: Serving) -> None:
        async def never(request: bytes, context: Any) -> bytes:
            await asyncio.Event().wait()
            return b""

        async def main() -> RagError:
            async with serving(ProbeApplication(unary=never)) as (channel, address):
                with pytest.raises(grpc.RpcError) as caught:
                    await channel.unary_unary(UNARY)(b"", timeout=0.05)
                return error_of(caught.value, address)

        assert asyncio.run(main()).reason == "DEADLINE_EXCEEDED"

    def test_a_status_without_details_is_a_defect_with_its_code(self, serving: Serving) -> None:
        async def main() -> RagError:
            async with serving(ProbeApplication()) as (channel, address):
                with pytest.raises(grpc.RpcError) as caught:
                    await channel.unary_unary("/rag_papers.test.ProbeService/NoSuchMethod")(b"")
                return error_of(caught.value, address)

        error = asyncio.run(main())
        assert error.reason == "INTERNAL"
        assert "UNIMPLEMENTED" in error.message

    def test_errors_of_blocking_calls_are_read_alike(self, serving: Serving) -> None:
        async def fail(request: bytes, context: Any) -> bytes:
            raise example("NO_INDEX")

        def call(address: str) -> RagError:
            with open_channel(address) as channel, pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary(UNARY)(b"")
            return error_of(caught.value, address)

        async def main() -> RagError:
            async with serving(ProbeApplication(unary=fail)) as (_, address):
                return await asyncio.to_thread(call, address)

        received = asyncio.run(main())
        assert vars(received) == vars(example("NO_INDEX"))


def details(raised: grpc.RpcError, kind: type[Any]) -> list[Any]:
    """The details of one kind in the status of a failed call."""
    status = rpc_status.from_call(raised)
    assert status is not None
    found = []
    for holder in status.details:
        message = kind()
        if holder.Unpack(message):
            found.append(message)
    return found
