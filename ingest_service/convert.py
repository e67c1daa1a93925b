"""Between the contract's messages and the service's own types."""

from collections import Counter
from collections.abc import Mapping

from ingest_service.uploads import Chunk, Effect, End, File, Part, Start, Stored
from rag_papers.errors import InvalidRequest
from rag_papers.persist.index_store import IndexInfo
from rag_papers.persist.job_log import Job, JobStage, JobState
from rag_papers.persist.model_store import FrozenModel
from rag_papers.rpc.times import timestamp
from rag_papers.v1 import ingest_pb2
from rag_papers.v1 import resources_pb2 as pb

STATES: Mapping[JobState, "pb.JobState.ValueType"] = {
    state: pb.JobState.Value(f"JOB_STATE_{state.name}") for state in JobState
}
STAGES: Mapping[JobStage, "pb.JobStage.ValueType"] = {
    stage: pb.JobStage.Value(f"JOB_STAGE_{stage.name}") for stage in JobStage
}

EFFECTS: Mapping[Effect, "ingest_pb2.UploadEffect.ValueType"] = {
    effect: ingest_pb2.UploadEffect.Value(f"UPLOAD_EFFECT_{effect.name}") for effect in Effect
}

MAX_PAGE = 1000
DEFAULT_PAGE = 100
MAX_ID_CHARS = 128
MAX_MODEL_NAME_CHARS = 1024
MAX_CHUNK_BYTES = 1 << 20


def job_message(job: Job) -> pb.Job:
    """The job as callers see it."""
    message = pb.Job(
        job_id=job.job_id,
        state=STATES[job.state],
        progress=job.progress,
        message=job.message,
        revision=job.revision,
        attempt=job.attempt,
        create_time=timestamp(job.create_time),
        start_time=timestamp(job.start_time),
        finish_time=timestamp(job.finish_time),
        corpus_dir=job.corpus_dir,
        corpus=job.corpus,
        model_name=job.model_name,
        use_cache=job.use_cache,
        max_failed_files=job.max_failed_files,
        files_total=job.files_total,
        files_done=job.files_done,
        files_skipped=job.files_skipped,
        files_failed=job.files_failed,
        passages_total=job.passages_total,
        passages_done=job.passages_done,
        file_errors=[pb.FileError(path=e.path, reason=e.reason, message=e.message) for e in job.file_errors],
    )
    if job.passages_per_second is not None:
        message.passages_per_second = job.passages_per_second
    if job.remaining_seconds is not None:
        message.remaining_seconds = job.remaining_seconds
    if job.stage is not None:
        message.stage = STAGES[job.stage]
    if job.error is not None:
        message.error.CopyFrom(pb.JobError(reason=job.error.reason, message=job.error.message))
    if job.result is not None:
        message.result.CopyFrom(
            pb.JobResult(
                index=index_message(job.result.index),
                embed_hits=job.result.embed_hits,
                embed_misses=job.result.embed_misses,
                unchanged=job.result.unchanged,
                files_scanned=job.result.files.scanned,
                files_new=job.result.files.new,
                files_changed=job.result.files.changed,
                files_unchanged=job.result.files.unchanged,
                files_deleted=job.result.files.deleted,
                files_skipped=job.result.files.skipped,
                files_failed=job.result.files.failed,
            )
        )
    return message


def index_message(index: IndexInfo) -> pb.Index:
    """The version as callers see it."""
    return pb.Index(
        corpus_id=index.corpus_id,
        corpus=index.corpus,
        active=index.active,
        document_count=index.document_count,
        passage_count=index.passage_count,
        dim=index.dim,
        embed_model_name=index.model_name,
        embed_model_identity=index.model_identity,
        size_bytes=index.size_bytes,
        create_time=timestamp(index.create_time),
        checksums=index.checksums,
    )


def model_message(model: FrozenModel) -> pb.Model:
    """The frozen model as callers see it."""
    return pb.Model(
        identity=model.facts.identity,
        model_name=model.facts.name,
        precision=model.facts.precision,
        dim=model.facts.dim,
        max_tokens=model.facts.max_tokens,
        size_bytes=model.size_bytes,
        prepare_time=timestamp(model.prepare_time),
        damage=model.damage,
    )


def in_state(job: Job, state: "pb.JobState.ValueType") -> bool:
    """Whether a filter lets the job through."""
    return state in (pb.JOB_STATE_UNSPECIFIED, STATES[job.state])


def page_size(size: int, state: "pb.JobState.ValueType" = pb.JOB_STATE_UNSPECIFIED) -> int:
    """The number of items to return. Raises InvalidRequest, also for a state that is none."""
    violations: dict[str, str] = {}
    if not 0 <= size <= MAX_PAGE:
        violations["page_size"] = f"it must be between 1 and {MAX_PAGE}, or 0 for {DEFAULT_PAGE}"
    if state not in pb.JobState.values():
        violations["state"] = f"{state} is no state of a job"
    if violations:
        raise InvalidRequest(violations=violations)
    return size or DEFAULT_PAGE


def upload_part(message: ingest_pb2.UploadDocumentsRequest) -> Part:
    """What a message of an upload brings. Raises InvalidRequest if it is nothing, or too much."""
    match message.WhichOneof("part"):
        case "start":
            return Start(corpus=message.start.corpus, replace_all=message.start.replace_all)
        case "file":
            return File(path=message.file.path, size=message.file.size_bytes, sha256=message.file.sha256)
        case "chunk":
            if len(message.chunk) > MAX_CHUNK_BYTES:
                raise InvalidRequest(violations={"chunk": f"it has more than {MAX_CHUNK_BYTES} bytes"})
            return Chunk(data=message.chunk)
        case "end":
            return End()
        case _:
            raise InvalidRequest(violations={"part": "one of start, file, chunk and end must be set"})


def stored_message(stored: Stored) -> ingest_pb2.UploadDocumentsResponse:
    """The upload as callers see it."""
    effects = Counter(item.effect for item in stored.files)
    return ingest_pb2.UploadDocumentsResponse(
        corpus=stored.corpus,
        corpus_dir=str(stored.directory),
        files=[
            ingest_pb2.UploadedFile(
                path=item.file.path,
                size_bytes=item.file.size,
                sha256=item.file.sha256,
                effect=EFFECTS[item.effect],
            )
            for item in stored.files
        ],
        new_count=effects[Effect.NEW],
        replaced_count=effects[Effect.REPLACED],
        unchanged_count=effects[Effect.UNCHANGED],
        deleted_count=stored.deleted,
        total_bytes=sum(item.file.size for item in stored.files),
    )
