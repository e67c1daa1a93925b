"""The embedding cache: a text's vector under the identity of its encoder."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from rag_papers.persist.caching import USE, CachePolicy
from rag_papers.persist.hashing import digest
from rag_papers.persist.sqlite_store import CacheTable, SqliteStore
from rag_papers.retrieval.encoder import Encoder

BATCH = 32
"""Texts that are embedded, and stored, at a time: what a crash can lose."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Embedded:
    """Vectors and where they came from."""

    vectors: npt.NDArray[np.float32]
    """(n, dim), rows L2-normalised, in the order of the texts."""
    hits: int
    """Texts whose vector was stored."""
    misses: int
    """Texts whose vector the model computed; a text that occurs twice is computed once and counts each time."""


class CachingEncoder:
    """An encoder behind the embedding cache."""

    def __init__(self, encoder: Encoder, store: SqliteStore) -> None:
        self.encoder = encoder
        self._store = store

    def encode(
        self, texts: Sequence[str], policy: CachePolicy = USE, on_progress: Callable[[int], None] | None = None
    ) -> Embedded:
        """The vectors of `texts`; `on_progress` is told, after every batch, how many texts have their vector."""
        keys = [self._key(text) for text in texts]
        dim = self.encoder.dim
        known: dict[bytes, npt.NDArray[np.float32]] = {}
        if policy.read:
            for key, entry in self._store.get_many(CacheTable.EMBEDDINGS, list(dict.fromkeys(keys))).items():
                if len(entry.value) == 4 * dim:
                    known[key] = np.frombuffer(entry.value, "<f4")
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        hits = sum(key in known for key in keys)
        done, repeats = hits, Counter(keys)
        # Texts of like length together: a batch is padded to its longest text.
        order = sorted(missing, key=lambda key: (len(missing[key]), key))
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            fresh = dict(zip(batch, self.encoder.encode([missing[key] for key in batch]), strict=True))
            known.update(fresh)
            if policy.write:
                self._store.put_many(
                    CacheTable.EMBEDDINGS, {key: vector.astype("<f4").tobytes() for key, vector in fresh.items()}
                )
            done += sum(repeats[key] for key in batch)
            if on_progress:
                on_progress(done)
        vectors = np.empty((len(keys), dim), np.float32)
        for row, key in enumerate(keys):
            vectors[row] = known[key]
        return Embedded(vectors=vectors, hits=hits, misses=len(keys) - hits)

    def _key(self, text: str) -> bytes:
        return digest(["embedding", self.encoder.identity, text])
