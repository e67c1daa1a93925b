"""IngestService's objects, from its start to its end."""

import asyncio
import fcntl
from typing import BinaryIO

import grpc

from ingest_service.catalog import Catalog
from ingest_service.jobs import JobManager
from ingest_service.ledger import JobLedger
from ingest_service.models import Models
from ingest_service.servicer import SERVICE_NAME, IngestServicer
from ingest_service.uploads import Uploads
from ingest_service.versions import Versions
from rag_papers.persist.files import remove_temporaries
from rag_papers.persist.job_log import JobLog
from rag_papers.persist.paths import DataPaths
from rag_papers.rpc.server import Application
from rag_papers.settings import Settings


class IngestApplication(Application):
    """One IngestService; it alone writes jobs and indexes in its data directory."""

    name = SERVICE_NAME

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._paths = DataPaths.of(settings)
        self._lock: BinaryIO | None = None
        self._ledger = JobLedger(
            JobLog(self._paths.job_log),
            retention_days=settings.job_retention_days,
            heartbeat_seconds=settings.heartbeat_seconds,
        )
        self._versions = Versions(self._paths, settings.keep_versions)
        self._uploads = Uploads(settings, self._paths)
        self._manager = JobManager(settings, self._paths, self._ledger, self._versions)

    async def start(self, server: grpc.aio.Server) -> None:
        """Takes the data directory and resumes its jobs. Raises OSError if another service has it."""
        self._lock = self._paths.ingest_lock.open("wb")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise OSError(f"another IngestService writes to {self._paths.ingest_lock.parent}") from None
        for directory in (self._paths.corpora, self._paths.seen, self._paths.job_log.parent):
            await asyncio.to_thread(remove_temporaries, directory)
        servicer = IngestServicer(
            settings=self._settings,
            manager=self._manager,
            ledger=self._ledger,
            catalog=Catalog(self._paths),
            versions=self._versions,
            uploads=self._uploads,
            models=Models(self._settings, self._paths),
        )
        servicer.register(server)
        await self._uploads.start()
        await self._manager.start()

    async def drain(self) -> None:
        """Interrupts running jobs; the next start resumes them. Uploads may still be completed for a while."""
        self._uploads.drain()
        await self._manager.drain()

    async def close(self) -> None:
        """Completes what is being written, and releases the data directory."""
        await self._uploads.close()
        await self._versions.close()
        await self._ledger.close()
        if self._lock is not None:
            self._lock.close()
