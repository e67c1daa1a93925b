"""Encoders of the indexes: each opened once, behind the embedding cache."""

import functools
import importlib.util
import logging
import threading
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from query_service.flights import Flights
from query_service.stop import Stop
from rag_papers.errors import ModelMismatch, ModelUnavailable
from rag_papers.persist.caching import CachePolicy
from rag_papers.persist.claims import Claims
from rag_papers.persist.embedding_cache import CachingEncoder
from rag_papers.persist.hashing import digest
from rag_papers.persist.index_store import Manifest
from rag_papers.persist.model_store import ModelStore
from rag_papers.persist.sqlite_store import SqliteStore
from rag_papers.retrieval.encoders import (
    FP32,
    IDENTITY_SUFFIXES,
    INT8,
    Encoder,
    SentenceTransformerEncoder,
    open_encoder,
)
from rag_papers.retrieval.encoders.frozen import FrozenEncoder
from rag_papers.retrieval.encoders.gathering import GatheringEncoder

logger = logging.getLogger(__name__)


class Encoders:
    """The encoders that indexes were built with. Safe to use from several threads."""

    def __init__(self, store: SqliteStore, models: ModelStore, claims: Claims | None = None) -> None:
        self._store = store
        self._models = models
        self.queries = Flights[npt.NDArray[np.float32]](claims)
        """The queries that are being embedded: of equal ones at once, one is."""
        self._lock = threading.Lock()
        self._opened: dict[str, tuple[int, CachingEncoder]] = {}

    def of(self, manifest: Manifest) -> CachingEncoder:
        """The encoder of an index: its frozen model, else the reference; nothing is ever downloaded.

        Raises ModelUnavailable and ModelMismatch. What failed is looked at anew every time, and so is a model that was
        prepared since: neither needs a restart.
        """
        identity = manifest.model_identity
        stamp = self._models.stamp(identity)
        with self._lock:
            known = self._opened.get(identity)
            if known is None or stamp not in (0, known[0]):
                encoder = GatheringEncoder(self._open(manifest))
                known = self._opened[identity] = stamp, CachingEncoder(encoder, self._store)
            return known[1]

    def _open(self, manifest: Manifest) -> Encoder:
        name, identity = manifest.model_name, manifest.model_identity
        try:
            return FrozenEncoder(self._models.verified(identity).directory, name=name, identity=identity)
        except ModelUnavailable as error:
            why = error.message
        encoder = self._reference(name, INT8 if identity.endswith(IDENTITY_SUFFIXES[INT8]) else FP32, why)
        if encoder.identity != identity:
            raise ModelMismatch(
                f"the model {name!r} on this machine is not the one that index {manifest.corpus_id} was built with: "
                f"ingest the corpus again, or install that model",
                model=name,
                corpus_id=manifest.corpus_id,
            )
        return encoder

    def _reference(self, name: str, precision: str, why: str) -> Encoder:
        """What stands in for a frozen model that cannot be used, for the reason `why`."""
        remedy = f"prepare it where IngestService runs: rag model prepare {name}"
        try:
            encoder = open_encoder(name, download=False, precision=precision)
        except ModelUnavailable as error:
            raise ModelUnavailable(
                f"the frozen model {name!r} cannot be used: {why}; {remedy}. Nor can the original: {error.message}",
                model=name,
            ) from error
        if isinstance(encoder, SentenceTransformerEncoder):
            if not importlib.util.find_spec("sentence_transformers"):
                raise ModelUnavailable(
                    f"the frozen model {name!r} cannot be used: {why}; {remedy}. sentence-transformers, which could "
                    f"stand in, is not installed",
                    model=name,
                )
            logger.warning("model %s is computed by sentence-transformers: %s; %s", name, why, remedy)
        return encoder

    def warm(self, manifest: Manifest) -> None:
        """Loads the model of an index, which its first text would have to wait for."""
        self.of(manifest).encoder.encode(["warm"])
        logger.info("model %s of index %s is loaded", manifest.model_name, manifest.corpus_id)


class CallVectors:
    """The vectors that one call needs: each text once, and a count of where they came from.

    The encoder is opened by the first text, so that a call which finds all it needs in the caches needs no model.
    """

    def __init__(self, encoders: Encoders, manifest: Manifest, policy: CachePolicy, stop: Stop) -> None:
        self._encoders = encoders
        self._manifest = manifest
        self._policy = policy
        self._stop = stop
        self._known: dict[str, npt.NDArray[np.float32]] = {}
        self._queries: dict[str, npt.NDArray[np.float32]] = {}
        self.query_parts = 0
        """Parts that the query was embedded in; 0 before it was."""
        self.hits = 0
        """Texts whose vector came from the embedding cache."""
        self.misses = 0
        """Texts that the model embedded."""

    def texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """(len(texts), dim), rows L2-normalised: of what is found. What exceeds the encoder's window is left out.

        Raises DeadlineExceeded between two batches.
        """
        if not texts:
            return np.empty((0, self._manifest.dim), np.float32)
        prompt = self._encoder.encoder.prompts.passage
        return self._embedded([prompt + text for text in texts])

    def query(self, query: str) -> npt.NDArray[np.float32]:
        """(dim,), L2-normalised: of a query longer than the encoder's window the mean of its parts' vectors."""
        if query not in self._queries:
            encoder = self._encoder.encoder
            parts = _parts(encoder, query)
            self.query_parts = len(parts)
            self._queries[query] = self._shared(encoder, parts) if self._policy.write else self._mean(parts)
        return self._queries[query]

    @functools.cached_property
    def _encoder(self) -> CachingEncoder:
        return self._encoders.of(self._manifest)

    def _shared(self, encoder: Encoder, parts: list[str]) -> npt.NDArray[np.float32]:
        """The vector of a query in `parts`, which another call may be embedding just now."""
        key = digest(["query", encoder.identity, tuple(parts), self._policy.read])
        vector, own = self._encoders.queries.run(key, self._stop, lambda: self._mean(parts))
        if not own:
            self.hits += len(parts)
        return vector

    def _mean(self, parts: Sequence[str]) -> npt.NDArray[np.float32]:
        mean = self._embedded(parts).mean(axis=0)
        length = float(np.linalg.norm(mean))
        return np.asarray(mean / length if length else mean, np.float32)

    def _embedded(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        missing = [text for text in dict.fromkeys(texts) if text not in self._known]
        if missing:
            embedded = self._encoder.encode(missing, self._policy, on_progress=lambda done: self._stop.check())
            self._known.update(zip(missing, embedded.vectors, strict=True))
            self.hits += embedded.hits
            self.misses += embedded.misses
        return np.array([self._known[text] for text in texts], np.float32)


def _parts(encoder: Encoder, text: str) -> list[str]:
    """`text` halved at a space near its middle until every part, with its prompt, fits the encoder's window."""
    whole = encoder.prompts.query + text
    if encoder.count_tokens([whole])[0] <= encoder.max_tokens or len(text) < 2:
        return [whole]
    middle = len(text) // 2
    space = text.rfind(" ", 1, middle)
    cut = space if space > 0 else middle
    return _parts(encoder, text[:cut]) + _parts(encoder, text[cut:].lstrip())
