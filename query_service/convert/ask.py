"""Ask on the wire: requests from bytes and responses as bytes, so that an answer that is stored is never parsed."""

import functools
import time

from google.protobuf.message import DecodeError

from query_service.answering import Ask
from query_service.asking import Asked
from query_service.config import Defaults
from query_service.convert import common
from query_service.retrieving import CacheUse
from rag_papers.errors import InvalidRequest
from rag_papers.v1 import query_pb2, resources_pb2

_MAX_REMEMBERED = 4096  # requests ...
_MAX_REMEMBERED_BYTES = 4096  # ... of so many bytes at most


class AskRequests:
    """AskRequests from the wire, validated; one that was seen lately is known by its bytes."""

    def __init__(self, max_query_chars: int, defaults: Defaults) -> None:
        self._max_query_chars = max_query_chars
        self._defaults = defaults
        self._remembered = functools.lru_cache(_MAX_REMEMBERED)(self._parsed)

    def ask(self, data: bytes) -> Ask:
        """The request that `data` is. Raises InvalidRequest."""
        return self._remembered(data) if len(data) <= _MAX_REMEMBERED_BYTES else self._parsed(data)

    def _parsed(self, data: bytes) -> Ask:
        try:
            request = query_pb2.AskRequest.FromString(data)
        except DecodeError as error:
            raise InvalidRequest(violations={"request": f"is no AskRequest: {error}"}) from None
        return common.ask(request, self._max_query_chars, self._defaults)


def response_bytes(asked: Asked, trace_id: str, start: float) -> bytes:
    """The AskResponse of a call that began at `start`, by `time.perf_counter`.

    What belongs to the call comes behind the answer: serialised messages that are joined are one message.
    """
    own = query_pb2.AskResponse(corpus=asked.corpus, trace_id=trace_id)
    common.set_cache_info(own.cache, asked.cache)
    own.cache.answer_origin = _origin(asked.cache)
    for step, milliseconds in asked.timings_ms.items():
        own.timings_ms[step] = milliseconds
    own.timings_ms["total"] = (time.perf_counter() - start) * 1000
    return b"".join((asked.data, own.SerializeToString()))


def _origin(use: CacheUse) -> resources_pb2.AnswerOrigin.ValueType:
    if use.answer_hit:
        return resources_pb2.ANSWER_ORIGIN_STORED
    return resources_pb2.ANSWER_ORIGIN_REVALIDATED if use.is_revalidated else resources_pb2.ANSWER_ORIGIN_GENERATED
