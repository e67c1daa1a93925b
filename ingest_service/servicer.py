"""IngestService's calls: validate, call, convert."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, TypeVar

import grpc

from ingest_service import convert
from ingest_service.catalog import Catalog
from ingest_service.jobs import JobManager
from ingest_service.ledger import JobLedger
from ingest_service.models import Models
from ingest_service.roots import corpus_directory
from ingest_service.uploads import Uploads
from ingest_service.versions import Versions
from rag_papers.errors import InvalidRequest
from rag_papers.persist.corpora import name_of_directory, valid_name
from rag_papers.rpc.info import service_info
from rag_papers.settings import Settings
from rag_papers.v1 import ingest_pb2 as pb
from rag_papers.v1 import ingest_pb2_grpc

T = TypeVar("T")

SERVICE_NAME: str = pb.DESCRIPTOR.services_by_name["IngestService"].full_name
"""Full name of the gRPC service."""

Context = grpc.aio.ServicerContext[Any, Any]


class IngestServicer(ingest_pb2_grpc.IngestServiceServicer):
    """The servicer of rag_papers.v1.IngestService."""

    def __init__(
        self,
        *,
        settings: Settings,
        manager: JobManager,
        ledger: JobLedger,
        catalog: Catalog,
        versions: Versions,
        uploads: Uploads,
        models: Models,
    ) -> None:
        self._settings = settings
        self._manager = manager
        self._ledger = ledger
        self._catalog = catalog
        self._versions = versions
        self._uploads = uploads
        self._models = models

    def register(self, server: grpc.aio.Server) -> None:
        """Lets `server` serve the calls."""
        ingest_pb2_grpc.add_IngestServiceServicer_to_server(self, server)

    async def StartIngest(self, request: pb.StartIngestRequest, context: Context) -> pb.StartIngestResponse:
        """Queues a job."""
        violations: dict[str, str] = {}
        if not request.corpus_dir:
            violations["corpus_dir"] = "it is required"
        if len(request.request_id) > convert.MAX_ID_CHARS:
            violations["request_id"] = f"it has more than {convert.MAX_ID_CHARS} characters"
        violations |= _model_name_violation(request.model_name)
        if request.max_failed_files < 0:
            violations["max_failed_files"] = "it must not be negative"
        if request.corpus:
            try:
                valid_name(request.corpus)
            except InvalidRequest as error:
                violations |= error.violations
        if violations:
            raise InvalidRequest(violations=violations)
        roots = (*self._settings.corpus_roots, self._settings.upload_dir)
        directory = await asyncio.to_thread(corpus_directory, request.corpus_dir, roots)
        submitted = self._manager.submit(
            corpus_dir=directory,
            corpus=valid_name(request.corpus) if request.corpus else name_of_directory(directory),
            model_name=request.model_name or self._settings.model,
            use_cache=request.use_cache if request.HasField("use_cache") else True,
            max_failed_files=request.max_failed_files if request.HasField("max_failed_files") else None,
            request_id=request.request_id,
        )
        # Shielded, as is a cancel below: a caller that goes away in the middle must not leave a job half changed.
        job = await asyncio.shield(submitted)
        return pb.StartIngestResponse(job=convert.job_message(job))

    async def GetJob(self, request: pb.GetJobRequest, context: Context) -> pb.GetJobResponse:
        """Returns a job."""
        return pb.GetJobResponse(job=convert.job_message(self._ledger.get(request.job_id)))

    async def ListJobs(self, request: pb.ListJobsRequest, context: Context) -> pb.ListJobsResponse:
        """Lists jobs, newest first."""
        size = convert.page_size(request.page_size, request.state)
        jobs = [job for job in self._ledger.all() if convert.in_state(job, request.state)]
        page, token = _page(jobs, [job.job_id for job in jobs], size, request.page_token)
        return pb.ListJobsResponse(jobs=[convert.job_message(job) for job in page], next_page_token=token)

    async def WatchJob(self, request: pb.WatchJobRequest, context: Context) -> AsyncIterator[pb.WatchJobResponse]:
        """Streams a job until its final state."""
        if request.after_revision < 0:
            raise InvalidRequest(violations={"after_revision": "it must not be negative"})
        async for job in self._ledger.watch(request.job_id, request.after_revision):
            yield pb.WatchJobResponse(job=convert.job_message(job))

    async def CancelJob(self, request: pb.CancelJobRequest, context: Context) -> pb.CancelJobResponse:
        """Cancels a job."""
        job = await asyncio.shield(self._manager.cancel(request.job_id))
        return pb.CancelJobResponse(job=convert.job_message(job))

    async def ListIndexes(self, request: pb.ListIndexesRequest, context: Context) -> pb.ListIndexesResponse:
        """Lists published versions."""
        size = convert.page_size(request.page_size)
        indexes = await asyncio.to_thread(self._catalog.list, request.corpus)
        keys = [f"{index.corpus}/{index.corpus_id}" for index in indexes]
        page, token = _page(indexes, keys, size, request.page_token)
        return pb.ListIndexesResponse(indexes=[convert.index_message(index) for index in page], next_page_token=token)

    async def GetIndex(self, request: pb.GetIndexRequest, context: Context) -> pb.GetIndexResponse:
        """Returns one published version."""
        index = await asyncio.to_thread(self._catalog.get, request.corpus, request.corpus_id)
        return pb.GetIndexResponse(index=convert.index_message(index))

    async def ActivateIndex(self, request: pb.ActivateIndexRequest, context: Context) -> pb.ActivateIndexResponse:
        """Makes a version the active one of its corpus."""
        index = await self._versions.activate(*_version(request))
        return pb.ActivateIndexResponse(index=convert.index_message(index))

    async def VerifyIndex(self, request: pb.VerifyIndexRequest, context: Context) -> pb.VerifyIndexResponse:
        """Reads every file of a version."""
        index = await asyncio.to_thread(self._catalog.verified, request.corpus, request.corpus_id)
        return pb.VerifyIndexResponse(index=convert.index_message(index))

    async def DeleteIndex(self, request: pb.DeleteIndexRequest, context: Context) -> pb.DeleteIndexResponse:
        """Deletes a version of a corpus."""
        removed = await self._versions.delete(*_version(request))
        return pb.DeleteIndexResponse(freed_bytes=removed.freed_bytes)

    async def CollectIndexes(self, request: pb.CollectIndexesRequest, context: Context) -> pb.CollectIndexesResponse:
        """Deletes the indexes that no corpus refers to."""
        removed = await self._versions.collect()
        return pb.CollectIndexesResponse(corpus_ids=removed.corpus_ids, freed_bytes=removed.freed_bytes)

    async def UploadDocuments(
        self, request_iterator: AsyncIterator[pb.UploadDocumentsRequest], context: Context
    ) -> pb.UploadDocumentsResponse:
        """Stores papers."""
        return convert.stored_message(await self._uploads.receive(request_iterator, convert.upload_part))

    async def PrepareModel(self, request: pb.PrepareModelRequest, context: Context) -> pb.PrepareModelResponse:
        """Freezes a model."""
        if violation := _model_name_violation(request.model_name):
            raise InvalidRequest(violations=violation)
        model, existed = await self._models.prepare(request.model_name or self._settings.model)
        return pb.PrepareModelResponse(model=convert.model_message(model), existed=existed)

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:
        """Lists the frozen models."""
        return pb.ListModelsResponse(models=[convert.model_message(model) for model in await self._models.list()])

    async def GetInfo(
        self, request: pb.IngestServiceGetInfoRequest, context: Context
    ) -> pb.IngestServiceGetInfoResponse:
        """Says what this service is."""
        info = await asyncio.to_thread(service_info, self._settings.data_dir)
        return pb.IngestServiceGetInfoResponse(info=info)


def _model_name_violation(name: str) -> dict[str, str]:
    if len(name) <= convert.MAX_MODEL_NAME_CHARS:
        return {}
    return {"model_name": f"it has more than {convert.MAX_MODEL_NAME_CHARS} characters"}


def _version(request: pb.ActivateIndexRequest | pb.DeleteIndexRequest) -> tuple[str, str]:
    """The corpus and the version that a request names. Raises InvalidRequest for what it leaves out."""
    fields = {"corpus": request.corpus, "corpus_id": request.corpus_id}
    if missing := {field: "it is required" for field, value in fields.items() if not value}:
        raise InvalidRequest(violations=missing)
    return request.corpus, request.corpus_id


def _page(items: Sequence[T], keys: Sequence[str], size: int, token: str) -> tuple[Sequence[T], str]:
    """The page after the item whose key is `token`, and the token of the next one."""
    try:
        start = keys.index(token) + 1 if token else 0
    except ValueError:
        raise InvalidRequest(
            violations={"page_token": "it is not from a page of this list, or its item is gone"}
        ) from None
    more = start + size < len(items)
    return items[start : start + size], keys[start + size - 1] if more else ""
