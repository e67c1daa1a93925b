"""The objects of QueryService, from its start to its end."""

import asyncio
import logging

import grpc

from query_service.answering import Answerer
from query_service.asking import Asker
from query_service.caches import Caches
from query_service.catalog import Catalog
from query_service.config import Defaults
from query_service.convert.common import answer_bytes
from query_service.encoders import Encoders
from query_service.generators import GENERATORS, Generators
from query_service.rerankers import Rerankers
from query_service.retrieving import Rankings
from query_service.searching import Searcher
from query_service.servicer import SERVICE_NAME, QueryServicer
from query_service.verification.entailment import EntailmentByName
from query_service.verification.verifying import Verifier
from query_service.warming import keep_warm
from query_service.workers import Workers
from rag_papers.errors import GeneratorUnavailable, InvalidRequest
from rag_papers.persist.cache_database import CacheDatabase
from rag_papers.persist.cache_limits import CacheLimits
from rag_papers.persist.claims import Claims
from rag_papers.persist.corpora import Corpora
from rag_papers.persist.model_store import ModelStore
from rag_papers.persist.paths import DataPaths
from rag_papers.persist.sessions import Retention, SessionStore
from rag_papers.persist.sqlite_store import SqliteStore
from rag_papers.rpc.server import Application
from rag_papers.settings import Settings

logger = logging.getLogger(__name__)


class QueryApplication(Application):
    """QueryService for `rag_papers.rpc.server`."""

    name = SERVICE_NAME

    def __init__(self, settings: Settings) -> None:
        """Raises InvalidRequest if the settings name a generator that there is not."""
        if settings.generator not in GENERATORS:
            known = ", ".join(GENERATORS)
            raise InvalidRequest(violations={"RAG_GENERATOR": f"{settings.generator!r} is none of {known}"})
        paths = DataPaths.of(settings)
        self._data_dir = settings.data_dir
        self._max_query_chars = settings.max_query_chars
        self._store = SqliteStore(paths.cache_db, CacheLimits.of(settings, memory=True))
        self._sessions_database = CacheDatabase(paths.cache_db)
        self._sessions = SessionStore(
            self._sessions_database, Retention(days=settings.session_days, max_bytes=settings.session_bytes)
        )
        self._corpora = Corpora(paths.corpora)
        self._catalog = Catalog(self._corpora, paths.indexes)
        self._claims = Claims(paths.claims)
        self._rankings = Rankings(self._store, self._claims)
        self._encoders = Encoders(self._store, ModelStore(paths.models), self._claims)
        self._rerankers = Rerankers()
        self._generators = Generators(settings)
        self._entailment = EntailmentByName(settings.entailment)
        self._defaults = Defaults(
            reranker=settings.reranker,
            generator=settings.generator,
            abstain_threshold=settings.abstain_threshold,
        )
        self._warm_questions = settings.warm_questions
        self._warming: asyncio.Task[None] | None = None
        self._workers = Workers(settings.query_threads)

    async def start(self, server: grpc.aio.Server) -> None:
        """Registers the servicer, and begins to load the models of the corpora in the background."""
        answerer = Answerer(
            catalog=self._catalog,
            encoders=self._encoders,
            rerankers=self._rerankers,
            generators=self._generators,
            entailment=self._entailment,
            rankings=self._rankings,
        )
        servicer = QueryServicer(
            asker=Asker(
                answerer=answerer,
                store=self._store,
                claims=self._claims,
                workers=self._workers,
                encode=answer_bytes,
            ),
            searcher=Searcher(self._catalog, self._encoders, self._rankings),
            verifier=Verifier(answerer, self._entailment),
            caches=Caches(self._store, self._corpora),
            sessions=self._sessions,
            workers=self._workers,
            max_query_chars=self._max_query_chars,
            defaults=self._defaults,
            generators=self._generators,
            data_dir=self._data_dir,
        )
        servicer.register(server)
        self._workers.start(self._warm)
        if count := self._warm_questions:
            warming = keep_warm(self._corpora, lambda corpus: servicer.warm_corpus(corpus, count))
            self._warming = asyncio.create_task(warming)

    async def drain(self) -> None:
        """Asks nothing more by itself; every call ends by itself."""
        if self._warming:
            self._warming.cancel()

    async def close(self) -> None:
        """Ends the threads and closes the cache."""
        await asyncio.to_thread(self._workers.close)
        await asyncio.to_thread(self._catalog.close)
        self._claims.close()
        self._sessions_database.close()
        self._store.close()

    def _warm(self) -> None:
        for manifest in {index.manifest.model_identity: index.manifest for index in self._catalog.active()}.values():
            try:
                self._encoders.warm(manifest)
            except Exception as error:  # whoever asks will see it; the service runs on
                logger.warning("model %s is not loaded: %s", manifest.model_name, error)
        try:
            self._rerankers.warm(self._defaults.reranker)
        except Exception as error:
            logger.warning("reranker %s is not loaded: %s", self._defaults.reranker, error)
        try:
            self._entailment.warm()
        except Exception as error:
            logger.warning("the entailment model is not loaded: %s", error)
        try:
            self._generators.of(self._defaults.generator)
        except GeneratorUnavailable as error:
            logger.warning("questions that name no generator will fail: %s", error)
