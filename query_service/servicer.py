"""The RPCs of QueryService: validate, call, convert."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import grpc

from query_service.answering import Ask as ValidAsk
from query_service.asking import Asked, Asker
from query_service.caches import Caches
from query_service.config import Defaults
from query_service.conversation.sessions import Conversations
from query_service.convert import cache as convert_cache
from query_service.convert import common as convert
from query_service.convert import session as convert_session
from query_service.convert import verify as convert_verify
from query_service.convert.ask import AskRequests, response_bytes
from query_service.convert.stream import AskMessages
from query_service.events import Event, Listener, to_nobody
from query_service.generators import Generators
from query_service.searching import Searcher
from query_service.stop import Stop
from query_service.verification.verifying import Verifier
from query_service.warming import Warmed, most_frequent, seconds_since, warm
from query_service.workers import Workers
from rag_papers.errors import GeneratorUnavailable
from rag_papers.persist.sessions import SessionStore
from rag_papers.rpc.info import service_info
from rag_papers.rpc.server import trace_id
from rag_papers.v1 import query_pb2, query_pb2_grpc

logger = logging.getLogger(__name__)

SERVICE_NAME: str = query_pb2.DESCRIPTOR.services_by_name["QueryService"].full_name
"""Full name of the gRPC service."""

_T = TypeVar("_T")
_Context = grpc.aio.ServicerContext[Any, Any]


class QueryServicer(query_pb2_grpc.QueryServiceServicer):
    """Serves calls; what blocks is left to `workers`."""

    def __init__(
        self,
        *,
        asker: Asker,
        searcher: Searcher,
        verifier: Verifier,
        caches: Caches,
        sessions: SessionStore,
        workers: Workers,
        max_query_chars: int,
        defaults: Defaults,
        generators: Generators,
        data_dir: Path,
    ) -> None:
        self._asker = asker
        self._searcher = searcher
        self._verifier = verifier
        self._caches = caches
        self._sessions = sessions
        self._conversations = Conversations(sessions, max_query_chars)
        self._workers = workers
        self._requests = AskRequests(max_query_chars, defaults)
        self._max_query_chars = max_query_chars
        self._defaults = defaults
        self._generators = generators
        self._data_dir = data_dir

    def register(self, server: grpc.aio.Server) -> None:
        """Lets `server` serve the calls."""
        query_pb2_grpc.add_QueryServiceServicer_to_server(self, server)
        # In place of those that parse: Ask takes and gives bytes, and AskStream takes them.
        serialize = query_pb2.AskStreamResponse.SerializeToString
        handlers: dict[str, Any] = {
            "Ask": grpc.unary_unary_rpc_method_handler(self.Ask),
            "AskStream": grpc.unary_stream_rpc_method_handler(self.AskStream, response_serializer=serialize),
        }
        server.add_registered_method_handlers(SERVICE_NAME, handlers)

    async def Ask(self, request: bytes, context: _Context) -> bytes:  # type: ignore[override]  # see register
        """Answers a question; the request and the response are serialised."""
        start = time.perf_counter()
        ask = self._requests.ask(request)
        return self._at_hand(ask, start) or await self._answered(ask, _stop(context), start)

    async def AskStream(  # type: ignore[override]  # see register
        self, request: bytes, context: _Context
    ) -> AsyncIterator[query_pb2.AskStreamResponse]:
        """Answers a question and tells of it meanwhile; the request is serialised."""
        start = time.perf_counter()
        ask = self._requests.ask(request)
        messages = AskMessages()
        if response := self._at_hand(ask, start):
            for message in messages.rest(query_pb2.AskResponse.FromString(response)):
                yield message
            return
        loop = asyncio.get_running_loop()
        # What a slow client has not taken yet waits here, at most one answer; no thread waits for it.
        events: asyncio.Queue[Event | None] = asyncio.Queue()

        def listen(event: Event) -> None:
            loop.call_soon_threadsafe(events.put_nowait, event)

        working = asyncio.ensure_future(self._answered(ask, _stop(context), start, listen))
        working.add_done_callback(lambda _: events.put_nowait(None))
        try:
            while event := await events.get():
                yield messages.of(event)
            response = await working
        finally:
            working.cancel()
        for message in messages.rest(query_pb2.AskResponse.FromString(response)):
            yield message

    async def Search(self, request: query_pb2.SearchRequest, context: _Context) -> query_pb2.SearchResponse:
        """Retrieves passages."""
        start = time.perf_counter()
        search = convert.search(request, self._max_query_chars)
        response = await self._blocking(
            context, lambda stop: convert.search_response(self._searcher.search(search, stop), trace_id.get())
        )
        response.timings_ms["total"] = (time.perf_counter() - start) * 1000
        logger.info(
            "search: %d passages, index %s, retrieval hit %s, %.0f ms",
            len(response.sources),
            response.corpus_id,
            response.cache.retrieval_hit,
            response.timings_ms["total"],
        )
        return response

    async def Plan(self, request: query_pb2.PlanRequest, context: _Context) -> query_pb2.PlanResponse:
        """Says what Ask would do."""
        return convert.plan(request, self._max_query_chars, self._defaults)

    async def Verify(self, request: query_pb2.VerifyRequest, context: _Context) -> query_pb2.VerifyResponse:
        """Judges an answer."""
        start = time.perf_counter()
        claim = convert_verify.claim(request, self._max_query_chars, self._defaults)
        verified = await self._blocking(context, lambda stop: self._verifier.verify(claim, stop))
        response = convert_verify.verify_response(verified, claim.ask.intent, trace_id.get())
        response.timings_ms["total"] = (time.perf_counter() - start) * 1000
        logger.info("verify: score %.2f, %d sentences", response.score, len(response.sentences))
        return response

    async def ListSessions(
        self, request: query_pb2.ListSessionsRequest, context: _Context
    ) -> query_pb2.ListSessionsResponse:
        """Lists sessions."""
        size = convert_session.page_size(request.page_size)
        return await self._blocking(
            context, lambda stop: convert_session.list_response(self._sessions, size, request.page_token)
        )

    async def GetSession(self, request: query_pb2.GetSessionRequest, context: _Context) -> query_pb2.GetSessionResponse:
        """Returns a session and a page of its turns."""
        session_id = convert_session.session_id(request.session_id)
        size = convert_session.page_size(request.page_size)
        after = convert_session.turn_number(request.page_token)
        return await self._blocking(
            context, lambda stop: convert_session.get_response(self._sessions, session_id, after, size)
        )

    async def DeleteSession(
        self, request: query_pb2.DeleteSessionRequest, context: _Context
    ) -> query_pb2.DeleteSessionResponse:
        """Deletes a session."""
        session_id = convert_session.session_id(request.session_id)
        count = await self._blocking(context, lambda stop: self._sessions.delete(session_id))
        return query_pb2.DeleteSessionResponse(turn_count=count)

    async def ExportSession(
        self, request: query_pb2.ExportSessionRequest, context: _Context
    ) -> AsyncIterator[query_pb2.ExportSessionResponse]:
        """Streams the turns of a session."""
        session_id = convert_session.session_id(request.session_id)
        turns = await self._blocking(context, lambda stop: self._sessions.turns(session_id))
        while turn := await self._blocking(context, lambda stop: next(turns, None)):
            yield query_pb2.ExportSessionResponse(turn=convert_session.turn_message(turn))

    async def GetCacheStats(
        self, request: query_pb2.GetCacheStatsRequest, context: _Context
    ) -> query_pb2.GetCacheStatsResponse:
        """Measures the caches."""
        return await self._blocking(context, lambda stop: convert_cache.stats_response(self._caches.store))

    async def PurgeCache(self, request: query_pb2.PurgeCacheRequest, context: _Context) -> query_pb2.PurgeCacheResponse:
        """Deletes entries."""
        purge = convert_cache.purge(request)
        purged = await self._blocking(context, lambda stop: self._caches.purge(purge))
        verb = "would purge" if purge.dry_run else "purged"
        logger.info("%s: %s", verb, ", ".join(f"{what.count} of {table}" for table, what in purged.items()))
        return convert_cache.purge_response(purged)

    async def GetInfo(
        self, request: query_pb2.QueryServiceGetInfoRequest, context: _Context
    ) -> query_pb2.QueryServiceGetInfoResponse:
        """Says what this service is."""

        def look(stop: Stop) -> query_pb2.QueryServiceGetInfoResponse:
            name, problem = self._defaults.generator, ""
            try:
                self._generators.of(name)
            except GeneratorUnavailable as error:
                problem = error.message
            info = service_info(self._data_dir)
            return query_pb2.QueryServiceGetInfoResponse(info=info, generator=name, generator_problem=problem)

        return await self._blocking(context, look)

    async def WarmCache(
        self, request: query_pb2.WarmCacheRequest, context: _Context
    ) -> AsyncIterator[query_pb2.WarmCacheResponse]:
        """Asks questions ahead."""
        async for warmed in self._warmed(request, _stop(context)):
            yield convert_cache.warm_response(warmed)

    async def warm_corpus(self, corpus: str, most_frequent: int) -> None:
        """The same without a caller: so many questions of a corpus."""
        request = query_pb2.WarmCacheRequest(corpus=corpus, most_frequent=most_frequent)
        *_, last = [warmed async for warmed in self._warmed(request, Stop())]
        logger.info(
            "corpus %r is warmed: of %d questions %d were stored, %d revalidated, %d answered, %d failed",
            *(corpus, last.total, last.stored, last.revalidated, last.generated, last.failed),
        )

    async def VacuumCache(
        self, request: query_pb2.VacuumCacheRequest, context: _Context
    ) -> query_pb2.VacuumCacheResponse:
        """Shrinks the database."""
        before, after = await self._blocking(context, lambda stop: self._caches.vacuum())
        logger.info("vacuumed: %d to %d bytes", before, after)
        return query_pb2.VacuumCacheResponse(bytes_before=before, bytes_after=after)

    def _at_hand(self, ask: ValidAsk, start: float) -> bytes | None:
        """The response to a call that began at `start`, if it is stored and no turn of a session."""
        asked = None if ask.session_id else self._asker.stored(ask)
        return _response(asked, start) if asked else None

    async def _answered(self, ask: ValidAsk, stop: Stop, start: float, listener: Listener = to_nobody) -> bytes:
        """The response to a call that began at `start`, as a turn of its session if there is one."""
        if not ask.session_id:
            return _response(await self._asker.ask(ask, stop, listener), start)
        turn = await self._workers.run(lambda: self._conversations.begin(ask), stop)
        data = _response(await self._asker.ask(turn.ask, stop, listener), start) + convert_session.turn_bytes(turn)
        number = await self._workers.run(lambda: self._conversations.end(turn, data), stop)
        return data + convert_session.number_bytes(number)

    async def _warmed(self, request: query_pb2.WarmCacheRequest, stop: Stop) -> AsyncIterator[Warmed]:
        days = convert_cache.warm_days(request)
        queries = list(request.queries)
        if request.most_frequent:
            queries += await self._workers.run(lambda: self._frequent(request, seconds_since(days), stop), stop)
        asks = convert_cache.warm(request, queries, self._max_query_chars, self._defaults)
        async for warmed in warm(self._asker, asks, stop):
            yield warmed

    def _frequent(self, request: query_pb2.WarmCacheRequest, since: float, stop: Stop) -> list[str]:
        """What was asked often: in sessions; then, as long as these are not enough, without one."""
        count = request.most_frequent
        opened = self._asker.opened(request.corpus) if request.corpus else None
        is_meant = partial(convert_session.is_of_corpus, corpus=opened.corpus if opened else "")
        queries = dict.fromkeys(most_frequent(self._sessions, count, since, stop, is_meant))
        if len(queries) < count:
            queries |= dict.fromkeys(self._asker.asked_again(opened, count, since))
        return list(queries)[:count]

    async def _blocking(self, context: _Context, work: Callable[[Stop], _T]) -> _T:
        """Lets a worker do `work`, which is told when nobody waits for it any more."""
        stop = _stop(context)
        return await self._workers.run(lambda: work(stop), stop)


def _stop(context: _Context) -> Stop:
    """When the work of a call must stop."""
    stop = Stop(context.time_remaining())
    stop.check()
    context.add_done_callback(lambda ctx: stop.client_left())  # type: ignore[arg-type]  # the stubs forgot Protocol
    return stop


def _response(asked: Asked, start: float) -> bytes:
    """The response of a call that began at `start`; it is logged."""
    data = response_bytes(asked, trace_id.get(), start)
    # Thousands of stored answers a second would cost more to log than to give.
    level = logging.DEBUG if asked.cache.answer_hit else logging.INFO
    if logger.isEnabledFor(level):
        response = query_pb2.AskResponse.FromString(data)
        logger.log(
            level,
            "ask: %s, score %.2f, %s, index %s, answer hit %s, %.0f ms",
            query_pb2.AnswerStatus.Name(response.status),
            response.score,
            response.intent,
            response.corpus_id,
            response.cache.answer_hit,
            response.timings_ms["total"],
        )
    return data
