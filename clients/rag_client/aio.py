"""The clients for asyncio; to be made inside a running event loop."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from types import TracebackType
from typing import Any, ClassVar, Concatenate, Literal, ParamSpec, Self, TypeVar

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from rag_client import calls, deadlines
from rag_client.calls import Call
from rag_client.watching import Backoff, Watch
from rag_papers.errors import RagError
from rag_papers.rpc.channel import default_address, error_of, open_aio_channel, open_channel
from rag_papers.v1.ingest_pb2_grpc import IngestServiceStub
from rag_papers.v1.query_pb2_grpc import QueryServiceStub
from rag_papers.v1.resources_pb2 import Job

P = ParamSpec("P")
R = TypeVar("R")


class _AsyncClient:
    """A channel to one service, and the calls on it."""

    _service: ClassVar[Literal["ingest", "query"]]
    _stub_type: ClassVar[type[Any]]

    def __init__(self, address: str | None = None, *, timeout: float | None = None) -> None:
        self.address = address or default_address(self._service)
        self._timeout = None if timeout is None else deadlines.checked(timeout)
        self._channel = open_aio_channel(self.address)
        self._stub = self._stub_type(self._channel)

    async def close(self) -> None:
        """Closes the channel; calls in flight are cancelled."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def is_serving(self) -> bool:
        """Whether the service takes new calls, by gRPC's health protocol. Raises RagError if nothing answers."""
        try:
            response = await HealthStub(self._channel).Check(
                HealthCheckRequest(), timeout=self._timeout or deadlines.UNARY
            )
        except grpc.RpcError as error:
            raise error_of(error, self.address) from error
        return bool(response.status == HealthCheckResponse.SERVING)

    async def _invoke(self, call: Call[..., Any], request: Any) -> Any:
        try:
            return await getattr(self._stub, call.method)(request, timeout=self._timeout or call.deadline)
        except grpc.RpcError as error:
            raise error_of(error, self.address) from error


def _unary(call: Call[P, R]) -> Callable[Concatenate[_AsyncClient, P], Coroutine[Any, Any, R]]:
    async def method(self: _AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return call.pick(await self._invoke(call, call.request(*args, **kwargs)))

    return call.method_of(method)


def _uploading(call: Call[P, R]) -> Callable[Concatenate[_AsyncClient, P], Coroutine[Any, Any, R]]:
    async def method(self: _AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> R:
        upload = await asyncio.to_thread(call.request, *args, **kwargs)
        # A blocking channel: when a service refuses in the middle, gRPC's asyncio streams may lose what it says.
        with open_channel(self.address) as channel:
            method = getattr(self._stub_type(channel), call.method)
            sending = method.future(upload.messages(), timeout=self._timeout or call.deadline)
            try:
                return call.pick(await asyncio.to_thread(sending.result))
            except grpc.RpcError as error:
                raise upload.error or error_of(error, self.address) from error
            finally:
                sending.cancel()  # without effect on a call that has ended

    return call.method_of(method)


def _streamed(call: Call[P, R]) -> Callable[Concatenate[_AsyncClient, P], AsyncIterator[R]]:
    async def messages(self: _AsyncClient, request: Any) -> AsyncIterator[R]:
        stream = getattr(self._stub, call.method)(request, timeout=self._timeout or call.deadline)
        try:
            async for response in stream:
                yield call.pick(response)
        except grpc.RpcError as error:
            raise error_of(error, self.address) from error
        finally:
            stream.cancel()  # without effect on a call that has ended

    def method(self: _AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[R]:
        return messages(self, call.request(*args, **kwargs))

    return call.method_of(method)


def _paged(call: Call[P, Iterable[R]]) -> Callable[Concatenate[_AsyncClient, P], AsyncIterator[R]]:
    async def pages(self: _AsyncClient, request: Any) -> AsyncIterator[R]:
        while True:
            response = await self._invoke(call, request)
            for item in call.pick(response):
                yield item
            if not response.next_page_token:
                return
            request.page_token = response.next_page_token

    def method(self: _AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[R]:
        return pages(self, call.request(*args, **kwargs))

    return call.method_of(method)


class AsyncIngestClient(_AsyncClient):
    """An asyncio client of IngestService; parameters as those of `IngestClient`."""

    _service = "ingest"
    _stub_type = IngestServiceStub

    def __init__(
        self, address: str | None = None, *, timeout: float | None = None, backoff: Backoff | None = None
    ) -> None:
        super().__init__(address, timeout=timeout)
        self._backoff = backoff or Backoff()

    start_ingest = _unary(calls.START_INGEST)
    get_job = _unary(calls.GET_JOB)
    list_jobs = _paged(calls.LIST_JOBS)
    cancel_job = _unary(calls.CANCEL_JOB)
    list_indexes = _paged(calls.LIST_INDEXES)
    get_index = _unary(calls.GET_INDEX)
    activate_index = _unary(calls.ACTIVATE_INDEX)
    verify_index = _unary(calls.VERIFY_INDEX)
    delete_index = _unary(calls.DELETE_INDEX)
    collect_indexes = _unary(calls.COLLECT_INDEXES)
    upload_documents = _uploading(calls.UPLOAD_DOCUMENTS)
    prepare_model = _unary(calls.PREPARE_MODEL)
    list_models = _unary(calls.LIST_MODELS)
    get_info = _unary(calls.INGEST_INFO)

    async def watch_job(self, job_id: str, after_revision: int = 0) -> AsyncIterator[Job]:
        """Streams a job until it has ended; see `IngestClient.watch_job`."""
        watch = Watch(job_id, after_revision, self._backoff)
        while True:
            error: RagError | None = None
            stream = self._stub.WatchJob(calls.WATCH_JOB.request(job_id, watch.revision))
            try:
                async for response in stream:
                    yield watch.saw(response.job)
            except grpc.RpcError as failure:
                error = error_of(failure, self.address)
            finally:
                stream.cancel()
            if watch.ended:
                return
            await asyncio.sleep(watch.pause_after(error))

    async def ingest(
        self,
        corpus_dir: str | os.PathLike[str],
        *,
        corpus: str = "",
        model_name: str = "",
        use_cache: bool | None = None,
        max_failed_files: int | None = None,
    ) -> Job:
        """Starts a job, waits for its end and returns it, failed or not."""
        job = await self.start_ingest(
            corpus_dir,
            corpus=corpus,
            model_name=model_name,
            use_cache=use_cache,
            max_failed_files=max_failed_files,
        )
        async for latest in self.watch_job(job.job_id, job.revision):
            job = latest
        return job


class AsyncQueryClient(_AsyncClient):
    """An asyncio client of QueryService; parameters as those of `QueryClient`."""

    _service = "query"
    _stub_type = QueryServiceStub

    ask = _unary(calls.ASK)
    ask_stream = _streamed(calls.ASK_STREAM)
    search = _unary(calls.SEARCH)
    plan = _unary(calls.PLAN)
    verify = _unary(calls.VERIFY)
    list_sessions = _paged(calls.LIST_SESSIONS)
    get_session = _unary(calls.GET_SESSION)
    delete_session = _unary(calls.DELETE_SESSION)
    export_session = _streamed(calls.EXPORT_SESSION)
    cache_stats = _unary(calls.CACHE_STATS)
    purge_cache = _unary(calls.PURGE_CACHE)
    warm_cache = _streamed(calls.WARM_CACHE)
    vacuum_cache = _unary(calls.VACUUM_CACHE)
    get_info = _unary(calls.QUERY_INFO)
