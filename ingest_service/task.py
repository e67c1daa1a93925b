"""What the service tells a worker, and what it hears from it: one JSON object a line, both ways."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Protocol, Self

from ingest_service.pace import Pace
from rag_papers.persist.job_log import FileCounts, JobStage


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """All that a worker needs to know. Paths are absolute."""

    corpus_dir: str
    corpus: str
    """The corpus that the index is for: its active version tells which files are new."""
    model_name: str
    model_download: bool
    encoder_precision: str
    use_cache: bool
    max_file_bytes: int
    max_failed_files: int | None
    """The task fails when more files than this cannot be ingested; None: however many they are."""
    parse_seconds: float
    parse_memory_bytes: int
    exact_passages: int
    cache_db: str
    embedding_limits: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Fields of TableLimits."""
    indexes: str
    corpora: str
    """Where the pointers of the corpora lie."""
    seen: str
    """Where is remembered which files have been read."""
    models: str
    """Where frozen models lie."""
    staging: str
    """Where to build; becomes the index by a rename."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a worker ended when it built what was asked for."""

    corpus_id: str
    staged: bool
    """False if exactly this index is published and intact, so that there is nothing to move."""
    embed_hits: int
    embed_misses: int
    files: FileCounts

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """The outcome that `dataclasses.asdict` made `document` of."""
        return cls(**{**document, "files": FileCounts(**document["files"])})


class Report(Protocol):
    """Takes what a job's watchers may see: fields of Job by name."""

    def __call__(
        self, stage: JobStage, fraction: float, message: str, *, pace: Pace | None = None, **fields: Any
    ) -> None:
        """`fraction` is the share of the stage that is done, in [0, 1]; `pace` is the speed of it, where it has one."""


SPANS: Mapping[JobStage, tuple[float, float]] = {
    JobStage.SCAN: (0.0, 0.10),
    JobStage.LEXICAL: (0.10, 0.40),
    JobStage.VECTORS: (0.40, 0.80),
    JobStage.SAVE: (0.80, 1.0),
}
"""The progress at which each stage begins and ends."""

ALMOST_DONE = 0.999
"""Most progress before the job has succeeded: 1 says that the index can be asked."""


def overall(stage: JobStage, fraction: float) -> float:
    """The job's progress when `fraction` of `stage` is done."""
    begin, end = SPANS[stage]
    return min(ALMOST_DONE, begin + (end - begin) * min(1.0, max(0.0, fraction)))


def line(kind: str, content: Any) -> bytes:
    """One message."""
    return json.dumps({kind: content}, ensure_ascii=True).encode() + b"\n"
