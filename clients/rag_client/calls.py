"""Every call of the contract once: its name, how its request is built, what of its response callers get, its deadline.

The blocking and the asyncio clients turn each of these into a method, so that neither can lag behind the other.
"""

import dataclasses
import inspect
from collections.abc import Callable, Iterable
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from google.protobuf.message import Message

from rag_client import deadlines, requests
from rag_client.uploading import Upload
from rag_papers.errors import InvalidRequest
from rag_papers.v1 import ingest_pb2, query_pb2
from rag_papers.v1.resources_pb2 import Index, Job

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C")
M = TypeVar("M")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Call(Generic[P, R]):
    """One call of a service."""

    method: str
    """Name in the contract."""
    build: Callable[P, Message | Upload]
    """Makes the request, or the upload of many; its parameters and docstring become the method's."""
    pick: Callable[[Any], R]
    """Takes what is useful out of the response."""
    deadline: float = deadlines.UNARY
    """How long the call may take unless the client was given a timeout, seconds."""
    name: str | None = None
    """What the method is called; None: as the builder."""
    doc: str | None = None
    """What the method says that it does; None: what the builder says."""

    def request(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """The request; InvalidRequest for a value that its field cannot hold."""
        try:
            return self.build(*args, **kwargs)
        except ValueError as error:
            raise InvalidRequest(str(error)) from error

    def method_of(self, function: Callable[Concatenate[C, P], M]) -> Callable[Concatenate[C, P], M]:
        """`function`, which calls this, under the name, parameters and docstring of the request's builder."""
        signature = inspect.signature(self.build)
        itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
        function.__name__ = self.name or self.build.__name__
        function.__doc__ = self.doc or self.build.__doc__
        function.__signature__ = signature.replace(  # type: ignore[attr-defined]  # functions have it, Callable hides it
            parameters=[itself, *signature.parameters.values()], return_annotation=inspect.Signature.empty
        )
        return function


def _whole(kind: type[R]) -> Callable[[Any], R]:
    def same(response: R) -> R:
        return response

    return same


def _job(response: ingest_pb2.StartIngestResponse | ingest_pb2.GetJobResponse | ingest_pb2.CancelJobResponse) -> Job:
    return response.job


def _jobs(response: ingest_pb2.ListJobsResponse) -> Iterable[Job]:
    return response.jobs


def _index(response: ingest_pb2.GetIndexResponse | ingest_pb2.ActivateIndexResponse) -> Index:
    return response.index


def _indexes(response: ingest_pb2.ListIndexesResponse) -> Iterable[Index]:
    return response.indexes


def _sessions(response: query_pb2.ListSessionsResponse) -> Iterable[query_pb2.Session]:
    return response.sessions


def _turn_count(response: query_pb2.DeleteSessionResponse) -> int:
    return response.turn_count


def _exported(response: query_pb2.ExportSessionResponse) -> query_pb2.Turn:
    return response.turn


START_INGEST = Call(method="StartIngest", build=requests.start_ingest, pick=_job)
GET_JOB = Call(method="GetJob", build=requests.get_job, pick=_job)
LIST_JOBS = Call(method="ListJobs", build=requests.list_jobs, pick=_jobs)
WATCH_JOB = Call(method="WatchJob", build=requests.watch_job, pick=_job)
CANCEL_JOB = Call(method="CancelJob", build=requests.cancel_job, pick=_job)
LIST_INDEXES = Call(method="ListIndexes", build=requests.list_indexes, pick=_indexes)
GET_INDEX = Call(method="GetIndex", build=requests.get_index, pick=_index)
ACTIVATE_INDEX = Call(
    method="ActivateIndex", build=requests.activate_index, pick=_index, deadline=deadlines.WHOLE_INDEX
)
VERIFY_INDEX = Call(
    method="VerifyIndex",
    build=requests.verify_index,
    pick=_whole(ingest_pb2.VerifyIndexResponse),
    deadline=deadlines.WHOLE_INDEX,
)
DELETE_INDEX = Call(
    method="DeleteIndex",
    build=requests.delete_index,
    pick=_whole(ingest_pb2.DeleteIndexResponse),
    deadline=deadlines.WHOLE_INDEX,
)
COLLECT_INDEXES = Call(
    method="CollectIndexes",
    build=requests.collect_indexes,
    pick=_whole(ingest_pb2.CollectIndexesResponse),
    deadline=deadlines.WHOLE_INDEX,
)
UPLOAD_DOCUMENTS = Call(
    method="UploadDocuments",
    build=requests.upload_documents,
    pick=_whole(ingest_pb2.UploadDocumentsResponse),
    deadline=deadlines.UPLOAD,
)
PREPARE_MODEL = Call(
    method="PrepareModel",
    build=requests.prepare_model,
    pick=_whole(ingest_pb2.PrepareModelResponse),
    deadline=deadlines.PREPARE,
)
LIST_MODELS = Call(method="ListModels", build=requests.list_models, pick=_whole(ingest_pb2.ListModelsResponse))
INGEST_INFO = Call(
    method="GetInfo",
    build=requests.ingest_info,
    pick=_whole(ingest_pb2.IngestServiceGetInfoResponse),
    name="get_info",
)
QUERY_INFO = Call(
    method="GetInfo", build=requests.query_info, pick=_whole(query_pb2.QueryServiceGetInfoResponse), name="get_info"
)
ASK = Call(method="Ask", build=requests.ask, pick=_whole(query_pb2.AskResponse), deadline=deadlines.ASK)
ASK_STREAM = Call(
    method="AskStream",
    build=requests.ask,
    pick=_whole(query_pb2.AskStreamResponse),
    deadline=deadlines.ASK,
    name="ask_stream",
    doc="""Answers a question as `ask` does, and tells of it meanwhile: yields the messages of AskStream, done last.

    Whoever stops reading before the end closes the iterator, which ends the call.
    """,
)
SEARCH = Call(method="Search", build=requests.search, pick=_whole(query_pb2.SearchResponse))
PLAN = Call(method="Plan", build=requests.plan, pick=_whole(query_pb2.PlanResponse))
VERIFY = Call(method="Verify", build=requests.verify, pick=_whole(query_pb2.VerifyResponse), deadline=deadlines.ASK)
LIST_SESSIONS = Call(method="ListSessions", build=requests.list_sessions, pick=_sessions)
GET_SESSION = Call(method="GetSession", build=requests.get_session, pick=_whole(query_pb2.GetSessionResponse))
DELETE_SESSION = Call(method="DeleteSession", build=requests.delete_session, pick=_turn_count)
EXPORT_SESSION = Call(
    method="ExportSession", build=requests.export_session, pick=_exported, deadline=deadlines.WHOLE_SESSION
)
CACHE_STATS = Call(method="GetCacheStats", build=requests.cache_stats, pick=_whole(query_pb2.GetCacheStatsResponse))
PURGE_CACHE = Call(method="PurgeCache", build=requests.purge_cache, pick=_whole(query_pb2.PurgeCacheResponse))
WARM_CACHE = Call(
    method="WarmCache",
    build=requests.warm_cache,
    pick=_whole(query_pb2.WarmCacheResponse),
    deadline=deadlines.WARM,
)
VACUUM_CACHE = Call(
    method="VacuumCache",
    build=requests.vacuum_cache,
    pick=_whole(query_pb2.VacuumCacheResponse),
    deadline=deadlines.VACUUM,
)
