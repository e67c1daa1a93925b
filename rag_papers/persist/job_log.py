"""The job log: one JSON line per change of a job, append-only, so that jobs survive restarts.

A line holds the whole job after the change and a checksum of itself; the last line of a job counts. A torn last line,
as a crash leaves it, flipped bits, and fields that a later version wrote are tolerated and reported.
"""

import contextlib
import dataclasses
import json
import logging
import os
import re
import zlib
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO, Self

from rag_papers.persist.files import fsync_directory, write_atomic
from rag_papers.persist.index_store import FileError, IndexInfo, disk_full_is_an_error_of_ours

logger = logging.getLogger(__name__)


class JobState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether the job has ended."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


class JobStage(StrEnum):
    """What a running job is doing."""

    SCAN = "scan"
    LEXICAL = "lexical"
    VECTORS = "vectors"
    SAVE = "save"


@dataclasses.dataclass(frozen=True, kw_only=True)
class JobFailure:
    """Why a job failed."""

    reason: str
    message: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileCounts:
    """What became of the files of a directory, compared with the corpus's version before."""

    scanned: int = 0
    """Those that are papers by their suffix: new, changed, unchanged and failed together."""
    new: int = 0
    changed: int = 0
    """In their bytes."""
    unchanged: int = 0
    deleted: int = 0
    """In the version before, and not there any more."""
    skipped: int = 0
    """No papers."""
    failed: int = 0
    """Nothing of them is in the index."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class JobResult:
    """What a job produced."""

    index: IndexInfo
    embed_hits: int
    embed_misses: int
    unchanged: bool
    files: FileCounts = FileCounts()
    """All 0 of a job that ran before they were counted."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class JobRequest:
    """A call that asked for a job under an id of its own."""

    request_id: str
    time: float
    """When it came, seconds since the epoch."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """One run of ingestion. Times are seconds since the epoch."""

    job_id: str
    corpus_dir: str
    corpus: str
    model_name: str
    use_cache: bool
    create_time: float
    max_failed_files: int | None = None
    """The job fails when more files than this cannot be ingested; None: however many they are."""
    requests: tuple[JobRequest, ...] = ()
    """The calls with a request_id that this job is the answer to."""
    state: JobState = JobState.QUEUED
    stage: JobStage | None = None
    progress: float = 0.0
    message: str = ""
    revision: int = 1
    attempt: int = 0
    cancel_requested: bool = False
    outcome: dict[str, Any] | None = None
    """What the worker reported at its end, from the moment that publishing begins."""
    start_time: float | None = None
    finish_time: float | None = None
    files_total: int = 0
    files_done: int = 0
    files_skipped: int = 0
    files_failed: int = 0
    passages_total: int = 0
    passages_done: int = 0
    passages_per_second: float | None = None
    """Passages that the model embeds in a second; None while that is unknown."""
    remaining_seconds: float | None = None
    """Until every passage has its vector; None while that is unknown."""
    file_errors: tuple[FileError, ...] = ()
    error: JobFailure | None = None
    result: JobResult | None = None

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Self:
        """The job that `dataclasses.asdict` made `document` of. Unknown fields are left out."""
        values = _known(cls, document)
        values["state"] = JobState(values["state"])
        values["stage"] = JobStage(values["stage"]) if values.get("stage") else None
        values["file_errors"] = tuple(FileError(**_known(FileError, item)) for item in values.get("file_errors", ()))
        values["requests"] = tuple(JobRequest(**_known(JobRequest, item)) for item in values.get("requests", ()))
        if values.get("error"):
            values["error"] = JobFailure(**_known(JobFailure, values["error"]))
        if values.get("result"):
            result = _known(JobResult, values["result"])
            result["index"] = IndexInfo(**_known(IndexInfo, result["index"]))
            result["files"] = FileCounts(**_known(FileCounts, result.get("files", {})))
            values["result"] = JobResult(**result)
        return cls(**values)


class JobLog:
    """The log file of a data directory; one process writes it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None

    def load(self) -> list[Job]:
        """Every job as last written, oldest first. What cannot be read is reported in the log of the service."""
        jobs: dict[str, Job] = {}
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    document = _checked(line)
                    job = Job.from_json(document)
                except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
                    torn = "torn last line" if not line.endswith(b"\n") else "damaged line"
                    logger.warning("%s:%d: %s left out: %s", self._path, number, torn, error)
                    continue
                unknown = document.keys() - _FIELDS
                if unknown:
                    logger.warning("%s:%d: unknown fields left out: %s", self._path, number, ", ".join(sorted(unknown)))
                jobs[job.job_id] = job
        return sorted(jobs.values(), key=lambda job: (job.create_time, job.job_id))

    def rewrite(self, jobs: Iterable[Job]) -> None:
        """Replaces the log by one line for each of `jobs`."""
        self.close()
        write_atomic(self._path, b"".join(_line(job) for job in jobs))

    def append(self, job: Job, *, durable: bool) -> None:
        """Adds the job's present state; `durable` waits until the device has it.

        Raises DiskFull, or OSError for what else the disk does; the log is then as it was before.
        """
        if self._file is None:
            self._file = self._path.open("a+b", buffering=0)
            fsync_directory(self._path.parent)
        data = _line(job)
        if self._torn():
            data = b"\n" + data
        before = self._file.seek(0, os.SEEK_END)
        try:
            with disk_full_is_an_error_of_ours():
                while data:  # a disk that fills up takes a part of it first, and raises then
                    data = data[self._file.write(data) :]
                if durable:
                    os.fsync(self._file.fileno())
        except BaseException:
            # What is reported as not recorded must not come back at the next start.
            with contextlib.suppress(OSError):
                self._file.truncate(before)
            raise

    def _torn(self) -> bool:
        """Whether the last line has no end: what is added next would be lost with it."""
        assert self._file is not None
        if self._file.seek(0, os.SEEK_END) == 0:
            return False
        self._file.seek(-1, os.SEEK_END)
        return self._file.read(1) != b"\n"

    def close(self) -> None:
        """Closes the file; the next append opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None


_FIELDS = {field.name for field in dataclasses.fields(Job)}


_CHECKSUM = "crc32"
_END = re.compile(rb',"crc32":"([0-9a-f]{8})"}\n?')
_END_BYTES = len(b',"crc32":"01234567"}')


def _line(job: Job) -> bytes:
    """The job and, as its last field, the CRC-32 of the line without that field."""
    text = json.dumps(dataclasses.asdict(job), ensure_ascii=False, separators=(",", ":")).encode()
    return b'%b,"crc32":"%08x"}\n' % (text[:-1], zlib.crc32(text))


def _checked(line: bytes) -> dict[str, Any]:
    """The fields of a line. Raises ValueError if they are not those that were written.

    Lines of earlier versions have no checksum and are taken as they are.
    """
    document: dict[str, Any] = json.loads(line)
    if document.pop(_CHECKSUM, None) is not None:
        start = len(line.rstrip(b"\n")) - _END_BYTES
        end = _END.fullmatch(line, start)
        if end is None or zlib.crc32(line[:start] + b"}") != int(end[1], 16):
            raise ValueError("its checksum is wrong")
    return document


def _known(cls: Any, document: dict[str, Any]) -> dict[str, Any]:
    names = {field.name for field in dataclasses.fields(cls)}
    return {name: value for name, value in document.items() if name in names}
