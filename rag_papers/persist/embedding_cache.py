"""The embedding cache: a text's vector under the identity of its encoder."""

import dataclasses
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from rag_papers.persist.caching import USE, CachePolicy
from rag_papers.persist.hashing import digest
from rag_papers.persist.sqlite_store import CacheTable, SqliteStore
from rag_papers.retrieval.encoders import Encoder


@dataclasses.dataclass(frozen=True, kw_only=True)
class Embedded:
    """Vectors and where they came from."""

    vectors: npt.NDArray[np.float32]
    """(n, dim), rows L2-normalised, in the order of the texts."""
    hits: int
    """Texts whose vector was stored."""
    misses: int
    """Texts whose vector the model computed; a text that occurs twice is computed once and counts each time."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Advance:
    """How far the embedding of some passages has come; advances of different passages can be added."""

    passages: int = 0
    """All of them, a text that occurs twice counted twice, as in the other numbers of passages."""
    characters: int = 0
    """Length of all of them."""
    done: int = 0
    """Passages that have their vector."""
    computed: int = 0
    """Those of them whose vector the model computed."""
    computed_characters: int = 0
    """Length of the texts that the model has computed, a text that occurs twice counted once."""
    missing_characters: int = 0
    """Length of the texts that were not stored, computed by now or not, counted likewise."""

    def __add__(self, other: "Advance") -> "Advance":
        theirs = vars(other)  # not dataclasses.astuple, which copies; for every query
        return Advance(**{name: value + theirs[name] for name, value in vars(self).items()})


class CachingEncoder:
    """An encoder behind the embedding cache."""

    def __init__(self, encoder: Encoder, store: SqliteStore) -> None:
        self.encoder = encoder
        self._store = store

    def encode(
        self, texts: Sequence[str], policy: CachePolicy = USE, on_progress: Callable[[Advance], None] | None = None
    ) -> Embedded:
        """The vectors of `texts`; `on_progress` is told, after every batch that is computed, how far they have come."""
        # As in the keys: of two spellings that share an entry it must not matter which one came first.
        texts = [unicodedata.normalize("NFC", text) for text in texts]
        keys = [self._key(text) for text in texts]
        dim = self.encoder.dim
        known: dict[bytes, npt.NDArray[np.float32]] = {}
        if policy.read:
            for key, value in self._store.get_many(CacheTable.EMBEDDINGS, list(dict.fromkeys(keys))).items():
                if len(value) == 4 * dim:
                    known[key] = np.frombuffer(value, "<f4")
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        hits = sum(key in known for key in keys)
        repeats = Counter(keys)
        advance = Advance(
            passages=len(texts),
            characters=sum(map(len, texts)),
            done=hits,
            missing_characters=sum(map(len, missing.values())),
        )
        keys_missing, texts_missing = list(missing), list(missing.values())
        # Stored batch by batch: one of them is what a crash can lose.
        for batch in self.encoder.batches(texts_missing):
            made = self.encoder.encode([texts_missing[position] for position in batch])
            fresh = {keys_missing[position]: vector for position, vector in zip(batch, made, strict=True)}
            known.update(fresh)
            if policy.write:
                self._store.put_many(
                    CacheTable.EMBEDDINGS, {key: vector.astype("<f4").tobytes() for key, vector in fresh.items()}
                )
            computed = sum(repeats[key] for key in fresh)
            advance += Advance(
                done=computed, computed=computed, computed_characters=sum(len(missing[key]) for key in fresh)
            )
            if on_progress:
                on_progress(advance)
        vectors = np.empty((len(keys), dim), np.float32)
        for row, key in enumerate(keys):
            vectors[row] = known[key]
        return Embedded(vectors=vectors, hits=hits, misses=len(keys) - hits)

    def _key(self, text: str) -> bytes:
        return digest(["embedding", self.encoder.identity, text])
