"""Where things lie in the data directory."""

import dataclasses
from pathlib import Path

from rag_papers.settings import Settings


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataPaths:
    """The places that both services agree on."""

    cache_db: Path
    """SQLite database of the caches."""
    claims: Path
    """Locked by the QueryServices that share the database, for an answer that one of them makes."""
    job_log: Path
    """Append-only job log."""
    indexes: Path
    """One directory per published index, named by its corpus_id."""
    staging: Path
    """Indexes being built; on the file system of `indexes`, so that publishing is a rename."""
    uploads: Path
    """One directory per corpus whose papers were uploaded; created by the service that receives them."""
    corpora: Path
    """One pointer file per corpus."""
    seen: Path
    """What is remembered of the files of each directory that was ingested."""
    models: Path
    """One directory per frozen model, named by its identity."""
    ingest_lock: Path
    """Held by the one IngestService that writes here."""

    @classmethod
    def of(cls, settings: Settings) -> "DataPaths":
        """The places that `settings` name, made absolute. Creates the directories."""
        data = settings.data_dir.resolve()
        paths = cls(
            cache_db=settings.cache_dir.resolve() / "cache.db",
            claims=settings.cache_dir.resolve() / "claims",
            job_log=settings.jobs_dir.resolve() / "jobs.jsonl",
            indexes=data / "indexes",
            staging=data / "indexes" / ".staging",
            uploads=settings.upload_dir.resolve(),
            corpora=data / "corpora",
            seen=data / "seen",
            models=data / "models",
            ingest_lock=data / "ingest.lock",
        )
        places = (paths.cache_db.parent, paths.job_log.parent, paths.staging, paths.corpora, paths.seen, paths.models)
        for directory in places:
            directory.mkdir(parents=True, exist_ok=True)
        return paths
