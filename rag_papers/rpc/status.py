"""Errors as gRPC statuses with google.rpc details, and back."""

from collections.abc import Mapping
from typing import Any, cast

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from rag_papers.errors import BY_REASON, InvalidRequest, RagError

DOMAIN = "rag-papers"
"""The domain of every ErrorInfo."""

_MESSAGE_BYTES = 800
_DETAIL_BYTES = 200
# A status travels in HTTP/2 headers, of which a client takes 8 KiB in all; what it quotes may be as long as a request.

CODES: Mapping[str, grpc.StatusCode] = {
    "INVALID_REQUEST": grpc.StatusCode.INVALID_ARGUMENT,
    "REQUEST_ID_REUSED": grpc.StatusCode.INVALID_ARGUMENT,
    "DIRECTORY_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "DIRECTORY_NOT_ALLOWED": grpc.StatusCode.PERMISSION_DENIED,
    "NO_PAPERS": grpc.StatusCode.FAILED_PRECONDITION,
    "TOO_MANY_FAILED_FILES": grpc.StatusCode.FAILED_PRECONDITION,
    "JOB_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "CORPUS_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "INDEX_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "NO_INDEX": grpc.StatusCode.FAILED_PRECONDITION,
    "MODEL_UNAVAILABLE": grpc.StatusCode.FAILED_PRECONDITION,
    "MODEL_MISMATCH": grpc.StatusCode.FAILED_PRECONDITION,
    "GENERATOR_UNAVAILABLE": grpc.StatusCode.FAILED_PRECONDITION,
    "GENERATOR_FAILED": grpc.StatusCode.ABORTED,
    "FORMAT_UNSUPPORTED": grpc.StatusCode.FAILED_PRECONDITION,
    "INDEX_DAMAGED": grpc.StatusCode.DATA_LOSS,
    "INDEX_IN_USE": grpc.StatusCode.FAILED_PRECONDITION,
    "SESSION_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "SESSIONS_UNAVAILABLE": grpc.StatusCode.UNAVAILABLE,
    "QUEUE_FULL": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "UPLOAD_BROKEN": grpc.StatusCode.INVALID_ARGUMENT,
    "UPLOAD_QUOTA": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "DISK_FULL": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "DRAINING": grpc.StatusCode.UNAVAILABLE,
    "DEADLINE_EXCEEDED": grpc.StatusCode.DEADLINE_EXCEEDED,
    "WORKER_LOST": grpc.StatusCode.ABORTED,
    "INTERNAL": grpc.StatusCode.INTERNAL,
    "UNREACHABLE": grpc.StatusCode.UNAVAILABLE,
}
"""The gRPC code of each reason."""


def to_status(error: RagError) -> grpc.Status:
    """The status to end a call with."""
    message = _clip(error.message, _MESSAGE_BYTES)
    metadata = {name: _clip(value, _DETAIL_BYTES) for name, value in error.metadata.items()}
    details = [error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata)]
    extra: list[error_details_pb2.BadRequest | error_details_pb2.RetryInfo] = []
    if isinstance(error, InvalidRequest):
        violations = [
            error_details_pb2.BadRequest.FieldViolation(field=field, description=_clip(why, _DETAIL_BYTES))
            for field, why in error.violations.items()
        ]
        extra.append(error_details_pb2.BadRequest(field_violations=violations))
    if error.retry_after is not None:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(int(error.retry_after * 1000))
        extra.append(error_details_pb2.RetryInfo(retry_delay=delay))
    packed = []
    for detail in (*details, *extra):
        holder = any_pb2.Any()
        holder.Pack(detail)
        packed.append(holder)
    code = code_pb2.Code.Value(CODES[error.reason].name)
    status = status_pb2.Status(code=code, message=message, details=packed)
    return cast(grpc.Status, rpc_status.to_status(status))


def _clip(text: str, limit: int) -> str:
    data = text.encode("utf-8", "replace")  # protobuf takes no lone surrogates, as file names may hold
    return data.decode() if len(data) <= limit else data[:limit].decode("utf-8", "ignore") + "…"


def from_rpc_error(error: grpc.RpcError, address: str) -> RagError:
    """The RagError that a failed call stands for; `address` is where it was sent."""
    call = cast(Any, error)  # what a call raises is a Call too, blocking or asyncio; the stubs know only half of it
    code, text = call.code(), call.details() or ""
    try:
        status = rpc_status.from_call(call)
    except ValueError:  # the details contradict the status: not one of our services
        status = None
    if status is not None:
        info, bad, retry = (
            error_details_pb2.ErrorInfo(),
            error_details_pb2.BadRequest(),
            error_details_pb2.RetryInfo(),
        )
        for detail in status.details:
            for message in (info, bad, retry):
                detail.Unpack(message)
        if info.domain == DOMAIN and info.reason in BY_REASON:
            kind = BY_REASON[info.reason]
            if issubclass(kind, InvalidRequest):
                violations = {v.field: v.description for v in bad.field_violations}
                return kind(status.message, violations, **info.metadata)
            wait = retry.retry_delay.ToMilliseconds() / 1000 if retry.HasField("retry_delay") else None
            return kind(status.message, wait, **info.metadata)
    if code is grpc.StatusCode.UNAVAILABLE:
        return BY_REASON["UNREACHABLE"](f"nothing answers at {address}", address=address)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return BY_REASON["DEADLINE_EXCEEDED"](f"no answer from {address} in time", address=address)
    return BY_REASON["INTERNAL"](f"{code.name}: {text}", address=address)
