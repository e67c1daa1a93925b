"""The requests of both services, each built in one place for the blocking and the asyncio clients."""

import os
from collections.abc import Iterable
from datetime import timedelta

from rag_client.uploading import Progress, Upload
from rag_client.words import value_of
from rag_papers.v1 import ingest_pb2, query_pb2
from rag_papers.v1.resources_pb2 import JobState, Passage


def start_ingest(
    corpus_dir: str | os.PathLike[str],
    *,
    corpus: str = "",
    model_name: str = "",
    use_cache: bool | None = None,
    request_id: str = "",
    max_failed_files: int | None = None,
) -> ingest_pb2.StartIngestRequest:
    """Queues a job that ingests a directory of the service's machine; returns the job at once."""
    return ingest_pb2.StartIngestRequest(
        corpus_dir=os.fspath(corpus_dir),
        corpus=corpus,
        model_name=model_name,
        use_cache=use_cache,
        request_id=request_id,
        max_failed_files=max_failed_files,
    )


def get_job(job_id: str) -> ingest_pb2.GetJobRequest:
    """Returns a job as it is now."""
    return ingest_pb2.GetJobRequest(job_id=job_id)


def list_jobs(*, state: str | None = None, page_size: int = 0) -> ingest_pb2.ListJobsRequest:
    """Lists all jobs, or those in a state such as "running", newest first, fetching page after page."""
    wanted = JobState.JOB_STATE_UNSPECIFIED if state is None else value_of(JobState, state)
    return ingest_pb2.ListJobsRequest(state=wanted, page_size=page_size)


def watch_job(job_id: str, after_revision: int = 0) -> ingest_pb2.WatchJobRequest:
    """Streams a job until it has ended."""
    return ingest_pb2.WatchJobRequest(job_id=job_id, after_revision=after_revision)


def cancel_job(job_id: str) -> ingest_pb2.CancelJobRequest:
    """Cancels a job and returns it; harmless on one that has ended."""
    return ingest_pb2.CancelJobRequest(job_id=job_id)


def list_indexes(*, corpus: str = "", page_size: int = 0) -> ingest_pb2.ListIndexesRequest:
    """Lists the published versions of one corpus or of all, newest first, fetching page after page."""
    return ingest_pb2.ListIndexesRequest(corpus=corpus, page_size=page_size)


def get_index(*, corpus: str = "", corpus_id: str = "") -> ingest_pb2.GetIndexRequest:
    """Returns one published version: the corpus's active one unless `corpus_id` names another."""
    return ingest_pb2.GetIndexRequest(corpus=corpus, corpus_id=corpus_id)


def activate_index(corpus: str, corpus_id: str) -> ingest_pb2.ActivateIndexRequest:
    """Makes a version of a corpus's history, once it is verified, the one that the corpus answers from; returns it."""
    return ingest_pb2.ActivateIndexRequest(corpus=corpus, corpus_id=corpus_id)


def verify_index(*, corpus: str = "", corpus_id: str = "") -> ingest_pb2.VerifyIndexRequest:
    """Reads every file of a version, chosen as `get_index` does; IndexDamaged names a file that is not as published."""
    return ingest_pb2.VerifyIndexRequest(corpus=corpus, corpus_id=corpus_id)


def delete_index(corpus: str, corpus_id: str) -> ingest_pb2.DeleteIndexRequest:
    """Deletes a version, not the active one, from a corpus, and its files unless another corpus has it too."""
    return ingest_pb2.DeleteIndexRequest(corpus=corpus, corpus_id=corpus_id)


def collect_indexes() -> ingest_pb2.CollectIndexesRequest:
    """Deletes the files of every index that no corpus has in its history."""
    return ingest_pb2.CollectIndexesRequest()


def upload_documents(
    files: Iterable[str | os.PathLike[str]],
    *,
    corpus: str,
    replace_all: bool | None = None,
    on_progress: Progress | None = None,
) -> Upload:
    """Sends files, and the papers below directories, of this machine for a corpus; all of them are stored, or none.

    The response's `corpus_dir` is what `start_ingest` takes. With `replace_all` other files of the corpus are deleted.
    `on_progress` gets the bytes that have been sent and those of all files, from another thread. Raises UploadBroken if
    a file cannot be read or changes meanwhile.
    """
    return Upload(files, corpus, replace_all, on_progress)


def prepare_model(model_name: str = "") -> ingest_pb2.PrepareModelRequest:
    """Freezes an embedding model, or finds it frozen: by default the one that the service ingests with."""
    return ingest_pb2.PrepareModelRequest(model_name=model_name)


def list_models() -> ingest_pb2.ListModelsRequest:
    """Lists the frozen models."""
    return ingest_pb2.ListModelsRequest()


def ingest_info() -> ingest_pb2.IngestServiceGetInfoRequest:
    """Returns the version of the service, and what it has to work with."""
    return ingest_pb2.IngestServiceGetInfoRequest()


def query_info() -> query_pb2.QueryServiceGetInfoRequest:
    """Returns the version of the service, and what it has to work with."""
    return query_pb2.QueryServiceGetInfoRequest()


def ask(
    query: str,
    *,
    intent: str = "",
    corpus: str = "",
    corpus_id: str = "",
    use_cache: bool | None = None,
    refresh: bool = False,
    session_id: str = "",
    filter: query_pb2.Filter | None = None,
    config: query_pb2.AskConfig | None = None,
) -> query_pb2.AskRequest:
    """Answers a question in sentences that carry citations.

    With a `session_id` it is a turn of that session, "-" begins a new one: `session_id` of the response.
    """
    return query_pb2.AskRequest(
        query=query,
        intent=intent,
        corpus=corpus,
        corpus_id=corpus_id,
        use_cache=use_cache,
        refresh=refresh,
        session_id=session_id,
        filter=filter,
        config=config,
    )


def search(
    query: str,
    *,
    corpus: str = "",
    corpus_id: str = "",
    top_k: int | None = None,
    bm25_weight: float | None = None,
    vector_weight: float | None = None,
    exact: bool | None = None,
    use_cache: bool | None = None,
    refresh: bool = False,
    filter: query_pb2.Filter | None = None,
) -> query_pb2.SearchRequest:
    """Retrieves passages without answering."""
    return query_pb2.SearchRequest(
        query=query,
        corpus=corpus,
        corpus_id=corpus_id,
        top_k=top_k,
        bm25_weight=bm25_weight,
        vector_weight=vector_weight,
        exact=exact,
        use_cache=use_cache,
        refresh=refresh,
        filter=filter,
    )


def plan(query: str, *, intent: str = "", config: query_pb2.AskConfig | None = None) -> query_pb2.PlanRequest:
    """Returns what `ask` would do, without doing it."""
    return query_pb2.PlanRequest(query=query, intent=intent, config=config)


def verify(
    query: str,
    answer: str,
    *,
    intent: str = "",
    passages: Iterable[Passage] = (),
    corpus: str = "",
    corpus_id: str = "",
    filter: query_pb2.Filter | None = None,
    config: query_pb2.AskConfig | None = None,
) -> query_pb2.VerifyRequest:
    """Judges an answer, whoever wrote it, by `passages` or, without any, by what the papers have to the question."""
    return query_pb2.VerifyRequest(
        query=query,
        answer=answer,
        intent=intent,
        passages=passages,
        corpus=corpus,
        corpus_id=corpus_id,
        filter=filter,
        config=config,
    )


def list_sessions(*, page_size: int = 0) -> query_pb2.ListSessionsRequest:
    """Lists the sessions, the one with the newest turn first, fetching page after page."""
    return query_pb2.ListSessionsRequest(page_size=page_size)


def get_session(session_id: str, *, page_size: int = 0, page_token: str = "") -> query_pb2.GetSessionRequest:
    """Returns a session and a page of its turns; `export_session` yields all of them."""
    return query_pb2.GetSessionRequest(session_id=session_id, page_size=page_size, page_token=page_token)


def delete_session(session_id: str) -> query_pb2.DeleteSessionRequest:
    """Deletes a session; returns how many turns it had."""
    return query_pb2.DeleteSessionRequest(session_id=session_id)


def export_session(session_id: str) -> query_pb2.ExportSessionRequest:
    """Yields all turns of a session in order."""
    return query_pb2.ExportSessionRequest(session_id=session_id)


def cache_stats() -> query_pb2.GetCacheStatsRequest:
    """Returns size, age and use of every cache table."""
    return query_pb2.GetCacheStatsRequest()


def purge_cache(
    tables: Iterable[str],
    *,
    corpus: str = "",
    corpus_id: str = "",
    older_than: timedelta | None = None,
    dry_run: bool = False,
) -> query_pb2.PurgeCacheRequest:
    """Deletes entries of the named cache tables, or of "all"; returns how many and how large they were, by table.

    Only those made from a corpus, or from one version, and only those older than an age, where that is given. A dry run
    deletes nothing.
    """
    request = query_pb2.PurgeCacheRequest(tables=tables, corpus=corpus, corpus_id=corpus_id, dry_run=dry_run)
    if older_than is not None:
        request.older_than.FromTimedelta(older_than)
    return request


def warm_cache(
    queries: Iterable[str] = (),
    *,
    most_frequent: int = 0,
    days: float | None = None,
    corpus: str = "",
    config: query_pb2.AskConfig | None = None,
) -> query_pb2.WarmCacheRequest:
    """Asks questions ahead, besides `queries` those that were asked often; yields how far it has come.

    Whoever stops reading before the end closes the iterator, which ends the call.
    """
    return query_pb2.WarmCacheRequest(
        queries=queries, most_frequent=most_frequent, days=days, corpus=corpus, config=config
    )


def vacuum_cache() -> query_pb2.VacuumCacheRequest:
    """Returns the space of deleted cache entries to the file system."""
    return query_pb2.VacuumCacheRequest()
