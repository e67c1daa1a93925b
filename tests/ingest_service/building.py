"""Indexes built in this process, as a worker builds them, and published as the service does."""

import dataclasses
from pathlib import Path
from typing import Any

from ingest_service.build import build
from ingest_service.task import Outcome, Task
from rag_papers.persist.corpora import Corpora, Version
from rag_papers.persist.index_store import publish, read_manifest


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
    """A data directory."""

    path: Path

    def __post_init__(self) -> None:
        for place in ("indexes", "corpora", "seen"):
            (self.path / place).mkdir(parents=True, exist_ok=True)

    def task(self, papers: Path, **changes: Any) -> Task:
        """What a worker is told, some of it replaced."""
        usual: dict[str, Any] = {
            "corpus_dir": str(papers),
            "corpus": "papers",
            "model_name": "hashing-8",
            "model_download": False,
            "encoder_precision": "fp32",
            "use_cache": True,
            "max_file_bytes": 1 << 20,
            "max_failed_files": None,
            "exact_passages": 130_000,
            "parse_seconds": 60.0,
            "parse_memory_bytes": 1 << 30,
            "cache_db": str(self.path / "cache.db"),
            "models": str(self.path / "models"),
            "indexes": str(self.path / "indexes"),
            "corpora": str(self.path / "corpora"),
            "seen": str(self.path / "seen"),
            "staging": str(self.path / "staging"),
        }
        return Task(**usual | changes)

    def ingest(self, papers: Path, **changes: Any) -> Outcome:
        """Builds and publishes."""
        task = self.task(papers, **changes)
        outcome = build(task, lambda *_, **__: None)
        if outcome.staged:
            staging = Path(task.staging)
            publish(staging, Path(task.indexes), read_manifest(staging, outcome.corpus_id))
        Corpora(Path(task.corpora)).publish(
            task.corpus, Version(corpus_id=outcome.corpus_id, publish_time=0.0, job_id="")
        )
        return outcome

    def files(self, outcome: Outcome) -> dict[str, bytes]:
        """The bytes of an index by file name."""
        return {path.name: path.read_bytes() for path in (self.path / "indexes" / outcome.corpus_id).iterdir()}
