"""A real gRPC server whose calls do what a test wrote down."""

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from rag_papers.errors import RagError
from rag_papers.rpc.status import to_status
from rag_papers.v1 import ingest_pb2, ingest_pb2_grpc, query_pb2_grpc
from rag_papers.v1.resources_pb2 import FileError, Index, Job, JobError, JobResult, JobStage, JobState


class ScriptedServer:
    """Both services at one address. The last reply of a call repeats.

    A reply is a response, a RagError, or a function of the call's context that never returns one; that of a call that
    streams is a list of these, that of WatchJob one with jobs for responses.
    """

    def __init__(self, address: str = "127.0.0.1:0", **script: Any) -> None:
        self.seen: dict[str, list[Any]] = defaultdict(list)
        self._script: dict[str, deque[Any]] = defaultdict(deque)
        for method, reply in script.items():
            self.on(method, reply)
        self._server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
        ingest_pb2_grpc.add_IngestServiceServicer_to_server(self, self._server)
        query_pb2_grpc.add_QueryServiceServicer_to_server(self, self._server)
        self.health = health.HealthServicer()
        self.health.set("", health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self._server)
        self.address = address.replace(":0", f":{self._server.add_insecure_port(address)}")
        self._server.start()

    def on(self, method: str, *replies: Any) -> None:
        self._script[method].extend(replies)

    def stop(self) -> None:
        self._server.stop(None).wait()

    def __getattr__(self, method: str) -> Callable[..., Any]:
        if not method[0].isupper():
            raise AttributeError(method)

        def unary(request: Any, context: grpc.ServicerContext) -> Any:
            reply = self._next(method, request)
            if isinstance(reply, RagError):
                context.abort_with_status(to_status(reply))
            return reply(context) if callable(reply) else reply

        return unary

    def WatchJob(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        for step in self._next("WatchJob", request):
            if isinstance(step, RagError):
                context.abort_with_status(to_status(step))
            elif isinstance(step, Job):
                yield ingest_pb2.WatchJobResponse(job=step)
            else:
                step(context)

    def AskStream(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        return self._messages("AskStream", request, context)

    def WarmCache(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        return self._messages("WarmCache", request, context)

    def ExportSession(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        return self._messages("ExportSession", request, context)

    def _messages(self, method: str, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        for step in self._next(method, request):
            if isinstance(step, RagError):
                context.abort_with_status(to_status(step))
            elif callable(step):
                step(context)
            else:
                yield step

    def UploadDocuments(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
        reply = self._next("UploadDocuments", list(requests))
        if isinstance(reply, RagError):
            context.abort_with_status(to_status(reply))
        return reply

    def _next(self, method: str, request: Any) -> Any:
        self.seen[method].append(request)
        replies = self._script[method]
        return replies.popleft() if len(replies) > 1 else replies[0]


def until_cancelled(context: grpc.ServicerContext) -> None:
    """A step that takes as long as the call does."""
    cancelled = threading.Event()
    if context.add_callback(cancelled.set):
        cancelled.wait()


def index(**values: Any) -> Index:
    known = {
        "corpus_id": "a1b2c3d4e5f60718",
        "corpus": "papers",
        "active": True,
        "document_count": 6,
        "passage_count": 40,
        "dim": 384,
        "embed_model_name": "all-MiniLM-L6-v2",
        "size_bytes": 160_000,
    }
    return Index(**{**known, **values})


def job(revision: int = 1, **values: Any) -> Job:
    """A job with the marks that every job has; queued unless told otherwise."""
    known = {
        "job_id": "3f7a9b8c5d6e",
        "state": JobState.JOB_STATE_QUEUED,
        "revision": revision,
        "corpus": "papers",
        "corpus_dir": "/srv/papers",
        "model_name": "all-MiniLM-L6-v2",
        "use_cache": True,
    }
    return Job(**{**known, **values})


def running(revision: int, progress: float, stage: Any = JobStage.JOB_STAGE_VECTORS, **values: Any) -> Job:
    return job(revision, state=JobState.JOB_STATE_RUNNING, stage=stage, progress=progress, **values)


def succeeded(revision: int, *, unchanged: bool = False, hits: int = 4, misses: int = 2, **values: Any) -> Job:
    done = job(
        revision,
        state=JobState.JOB_STATE_SUCCEEDED,
        stage=JobStage.JOB_STAGE_SAVE,
        progress=1.0,
        result=JobResult(
            index=index(),
            embed_hits=hits,
            embed_misses=misses,
            unchanged=unchanged,
            files_scanned=7,
            files_new=1,
            files_changed=2,
            files_unchanged=3,
            files_deleted=4,
            files_skipped=5,
            files_failed=1,
        ),
        **values,
    )
    done.finish_time.seconds = 1_700_000_000
    return done


def failed(revision: int, reason: str, message: str, **values: Any) -> Job:
    return job(revision, state=JobState.JOB_STATE_FAILED, error=JobError(reason=reason, message=message), **values)


def file_errors(count: int) -> list[FileError]:
    return [FileError(path=f"bad-{n:03}.txt", reason="NOT_UTF8", message="cannot be read") for n in range(count)]
