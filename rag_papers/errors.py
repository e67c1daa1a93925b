"""The errors of the system: one base, one subclass per reason. Knows no gRPC; `rag_papers.rpc.status` maps to it."""

from collections.abc import Mapping, Sequence
from typing import ClassVar


class RagError(Exception):
    """Base of all errors a caller may see.

    `message` is one line for people; `metadata` holds the facts for machines, strings only.
    """

    reason: ClassVar[str] = "INTERNAL"
    usual_wait: ClassVar[float | None] = None

    def __init__(self, message: str, retry_after: float | None = None, **metadata: str) -> None:
        super().__init__(message)
        self.message = message
        self.metadata: dict[str, str] = metadata
        self.retry_after = self.usual_wait if retry_after is None else retry_after
        """Seconds after which the same call may well succeed; None: waiting is no help."""


class InvalidRequest(RagError):
    """One or more fields are out of range; `violations` maps field to what is wrong with it."""

    reason = "INVALID_REQUEST"

    def __init__(self, message: str = "", violations: Mapping[str, str] | None = None, **metadata: str) -> None:
        self.violations = dict(violations or {})
        super().__init__(message or "; ".join(f"{f}: {why}" for f, why in self.violations.items()), None, **metadata)


class RequestIdReused(RagError):
    """The request_id belongs to a request with other content."""

    reason = "REQUEST_ID_REUSED"


class DirectoryNotFound(RagError):
    """The directory to ingest does not exist."""

    reason = "DIRECTORY_NOT_FOUND"


class DirectoryNotAllowed(RagError):
    """The directory lies outside the allowed roots."""

    reason = "DIRECTORY_NOT_ALLOWED"


class NoPapers(RagError):
    """The directory holds no readable paper."""

    reason = "NO_PAPERS"


class TooManyFailedFiles(RagError):
    """More files could not be ingested than the caller allows."""

    reason = "TOO_MANY_FAILED_FILES"


class JobNotFound(RagError):
    """No job has this id."""

    reason = "JOB_NOT_FOUND"


class CorpusNotFound(RagError):
    """No corpus has this name."""

    reason = "CORPUS_NOT_FOUND"


class IndexNotFound(RagError):
    """No published index has this corpus_id."""

    reason = "INDEX_NOT_FOUND"


class NoIndex(RagError):
    """Nothing has been ingested yet."""

    reason = "NO_INDEX"


class ModelUnavailable(RagError):
    """The embedding model cannot be had here."""

    reason = "MODEL_UNAVAILABLE"


class ModelMismatch(RagError):
    """The model under this name is not the one that the index was built with."""

    reason = "MODEL_MISMATCH"


class GeneratorUnavailable(RagError):
    """The generator is not set up: its library, endpoint, model or key is missing or refused."""

    reason = "GENERATOR_UNAVAILABLE"


class GeneratorFailed(RagError):
    """The generator's endpoint failed, was busy, or broke off."""

    reason = "GENERATOR_FAILED"


class FormatUnsupported(RagError):
    """The index was written in a format that this version does not read."""

    reason = "FORMAT_UNSUPPORTED"


class IndexDamaged(RagError):
    """A file of an index is missing or damaged; `metadata["file"]` names it."""

    reason = "INDEX_DAMAGED"


class IndexInUse(RagError):
    """The version is the one that its corpus answers from."""

    reason = "INDEX_IN_USE"


class SessionNotFound(RagError):
    """No session has this id."""

    reason = "SESSION_NOT_FOUND"


class SessionsUnavailable(RagError):
    """The sessions cannot be read or written."""

    reason = "SESSIONS_UNAVAILABLE"


class QueueFull(RagError):
    """Too many jobs wait."""

    reason = "QUEUE_FULL"
    usual_wait = 10.0


class UploadBroken(RagError):
    """What was uploaded is not what was announced; `metadata["path"]` names the file, if it was one."""

    reason = "UPLOAD_BROKEN"


class UploadQuota(RagError):
    """More was uploaded than the service stores; `metadata["quota"]` is FILE_BYTES, TOTAL_BYTES or FILES."""

    reason = "UPLOAD_QUOTA"


class DiskFull(RagError):
    """The disk is full; somebody has to free some space."""

    reason = "DISK_FULL"
    usual_wait = 60.0


class Draining(RagError):
    """The service is shutting down."""

    reason = "DRAINING"
    usual_wait = 5.0


class DeadlineExceeded(RagError):
    """The caller's deadline passed."""

    reason = "DEADLINE_EXCEEDED"


class WorkerLost(RagError):
    """A job's worker process ended without a result."""

    reason = "WORKER_LOST"


class Internal(RagError):
    """A defect of the service."""

    reason = "INTERNAL"


class Unreachable(RagError):
    """Nothing answers at the address. Raised by clients only."""

    reason = "UNREACHABLE"


ERRORS: Sequence[type[RagError]] = tuple(RagError.__subclasses__())
"""Every error, one per reason."""

BY_REASON: Mapping[str, type[RagError]] = {error.reason: error for error in ERRORS}
"""The error of each reason."""
