"""Encoders of the indexes: each opened once, behind the embedding cache."""

import logging
import threading
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from query_service.stop import Stop
from rag_papers.errors import ModelMismatch
from rag_papers.persist.caching import CachePolicy
from rag_papers.persist.embedding_cache import CachingEncoder
from rag_papers.persist.index_store import Manifest
from rag_papers.persist.sqlite_store import SqliteStore
from rag_papers.retrieval.encoder import Encoder, open_encoder

logger = logging.getLogger(__name__)


class Encoders:
    """The encoders that indexes were built with. Safe to use from several threads."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._opened: dict[str, CachingEncoder] = {}

    def of(self, manifest: Manifest) -> CachingEncoder:
        """The encoder of an index; nothing is ever downloaded. Raises ModelUnavailable and ModelMismatch.

        A mismatch is looked at anew every time, so that a model that was put right is found without a restart.
        """
        with self._lock:
            if manifest.model_identity not in self._opened:
                encoder = open_encoder(manifest.model_name, download=False)
                if encoder.identity != manifest.model_identity:
                    raise ModelMismatch(
                        f"the model {manifest.model_name!r} on this machine is not the one that index "
                        f"{manifest.corpus_id} was built with: ingest the corpus again, or install that model",
                        model=manifest.model_name,
                        corpus_id=manifest.corpus_id,
                    )
                self._opened[manifest.model_identity] = CachingEncoder(encoder, self._store)
            return self._opened[manifest.model_identity]

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
        self.hits = 0
        """Texts whose vector came from the embedding cache."""
        self.misses = 0
        """Texts that the model embedded."""

    def texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """(len(texts), dim), rows L2-normalised. What exceeds the encoder's window is left out.

        Raises DeadlineExceeded between two batches.
        """
        missing = [text for text in dict.fromkeys(texts) if text not in self._known]
        if missing:
            encoder = self._encoders.of(self._manifest)
            embedded = encoder.encode(missing, self._policy, on_progress=lambda done: self._stop.check())
            self._known.update(zip(missing, embedded.vectors, strict=True))
            self.hits += embedded.hits
            self.misses += embedded.misses
        rows = [self._known[text] for text in texts]
        return np.array(rows, np.float32).reshape(len(texts), self._manifest.dim)

    def query(self, query: str) -> npt.NDArray[np.float32]:
        """(dim,), L2-normalised: of a query longer than the encoder's window the mean of its parts' vectors."""
        mean = self.texts(_parts(self._encoders.of(self._manifest).encoder, query)).mean(axis=0)
        length = float(np.linalg.norm(mean))
        return np.asarray(mean / length if length else mean, np.float32)


def _parts(encoder: Encoder, text: str) -> list[str]:
    """`text` halved at a space near its middle until every part fits the encoder's window."""
    if encoder.count_tokens([text])[0] <= encoder.max_tokens or len(text) < 2:
        return [text]
    middle = len(text) // 2
    space = text.rfind(" ", 1, middle)
    cut = space if space > 0 else middle
    return _parts(encoder, text[:cut]) + _parts(encoder, text[cut:].lstrip())
