"""The frozen models of the service's data directory."""

import asyncio

from ingest_service.freezing import FreezeTask, Frozen
from ingest_service.process import run_worker
from rag_papers.errors import InvalidRequest
from rag_papers.persist.model_store import FrozenModel, ModelStore
from rag_papers.persist.paths import DataPaths
from rag_papers.retrieval.encoders import is_built_in
from rag_papers.settings import Settings


class Models:
    """Freezes models and lists them. Belongs to one event loop."""

    def __init__(self, settings: Settings, paths: DataPaths) -> None:
        self._settings = settings
        self._models = paths.models
        self._store = ModelStore(paths.models)
        self._one = asyncio.Lock()  # freezing takes a gigabyte

    async def prepare(self, name: str) -> tuple[FrozenModel, bool]:
        """The frozen model of a name, and whether it was there. Raises InvalidRequest and ModelUnavailable."""
        if is_built_in(name):
            raise InvalidRequest(violations={"model_name": f"{name} is built in: there is nothing to prepare"})
        task = FreezeTask(
            model_name=name,
            model_download=self._settings.model_download,
            precision=self._settings.encoder_precision,
            models=str(self._models),
        )
        async with self._one:
            frozen = Frozen(**await run_worker("ingest_service.freezing", task, lambda update: None))
        return await asyncio.to_thread(self._store.verified, frozen.identity), frozen.existed

    async def list(self) -> list[FrozenModel]:
        """Every frozen model, by name."""
        return await asyncio.to_thread(self._store.all)
