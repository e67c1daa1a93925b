"""The vectors stage: every passage embedded, and the approximate index of a large corpus."""

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ingest_service.chunking import fitting_texts
from ingest_service.pace import Pace
from ingest_service.passages import NOWHERE, GrowingPassages
from ingest_service.previous import Previous
from ingest_service.task import Report, Task
from rag_papers.persist import caching
from rag_papers.persist.cache_limits import CacheLimits, TableLimits
from rag_papers.persist.embedding_cache import Advance, CachingEncoder
from rag_papers.persist.index_store import IndexBuilder, PassageRecord
from rag_papers.persist.index_store.vector_file import VectorFile
from rag_papers.persist.job_log import JobStage
from rag_papers.persist.model_store import ModelStore
from rag_papers.persist.preparing import fastest
from rag_papers.persist.sqlite_store import CacheTable, SqliteStore
from rag_papers.retrieval.encoders import Encoder

_FIRST_WINDOW, _WINDOW = 256, 4096
"""Passages that are grouped by length and embedded together, of the first window and the most of any: the model has not
long to wait for its first texts, and the memory for texts is bounded."""


def has_graph(task: Task, passages: int) -> bool:
    """Whether the index of so many passages has an approximate index of their vectors."""
    return passages > task.exact_passages


class Embedding:
    """Embeds passages as they come, window by window: how fast they come changes nothing of the vectors."""

    def __init__(self, task: Task, encoder: Encoder, passages: GrowingPassages, report: Report) -> None:
        self._task, self._encoder, self._passages, self._report = task, encoder, passages, report
        self._policy = caching.USE if task.use_cache else caching.BYPASS
        self._pace = Pace()
        self._rows: dict[bytes, int] = {}  # where the vector of a text is, for those that the cache does not keep
        self._done = 0
        self.hits = self.misses = 0
        """Passages whose vector was reused, and computed."""

    def write(self, builder: IndexBuilder, previous: Previous | None) -> None:
        """Writes the vectors of all passages, those of `previous` that they are taken from as they are."""
        windows = self._passages.follow(_window_sizes())
        first = next(windows, [])  # nothing of the model is needed while there is nothing to embed
        encoder = _fastest_form(self._task, self._encoder, self._report)
        limits = CacheLimits(tables={CacheTable.EMBEDDINGS: TableLimits(**self._task.embedding_limits)})
        store = SqliteStore(Path(self._task.cache_db), limits)
        caching_encoder = CachingEncoder(encoder, store)
        try:
            with builder.vectors(encoder.dim) as file:
                for window in itertools.chain([first], windows):
                    file.append(self._window(window, caching_encoder, file, previous))
                    self._done += len(window)
                    self._progress(0)
        finally:
            store.close()

    def _window(
        self, window: Sequence[PassageRecord], encoder: CachingEncoder, file: VectorFile, previous: Previous | None
    ) -> npt.NDArray[np.float32]:
        vectors = np.empty((len(window), encoder.encoder.dim), np.float32)
        origins = np.array(self._passages.origins[self._done : self._done + len(window)])
        taken = np.flatnonzero(origins != NOWHERE)
        if previous is not None and len(taken):
            vectors[taken] = previous.vectors[origins[taken]]
        fresh = np.flatnonzero(origins == NOWHERE)
        texts = fitting_texts([window[place] for place in fresh.tolist()], encoder.encoder)
        new = self._not_embedded_yet(fresh, texts, vectors, file)
        reused = len(window) - len(new)
        self._pace.skip(len(fresh) - len(new))

        def advance(advance: Advance) -> None:
            self._pace.advance(advance)
            self._progress(reused + advance.done)

        embedded = encoder.encode([texts[place] for place in new], self._policy, advance)
        vectors[fresh[new]] = embedded.vectors
        if embedded.misses:
            self._pace.next_window()
        else:  # then nothing has been told of it
            self._pace.skip(len(new))
        self.hits += reused + embedded.hits
        self.misses += embedded.misses
        return vectors

    def _not_embedded_yet(
        self, fresh: npt.NDArray[np.int64], texts: Sequence[str], vectors: npt.NDArray[np.float32], file: VectorFile
    ) -> list[int]:
        """Fills in the vectors of texts that an earlier window had; returns the places of the others in `texts`."""
        if self._policy.read:  # the cache has them
            return list(range(len(texts)))
        new = []
        for place, text in enumerate(texts):
            key = hashlib.blake2b(text.encode(), digest_size=16).digest()
            row = self._rows.setdefault(key, self._done + int(fresh[place]))
            if row < self._done:
                vectors[fresh[place]] = file.read([row])[0]
            else:
                new.append(place)
        return new

    def _progress(self, in_window: int) -> None:
        done, count = self._done + in_window, self._passages.count
        if self._passages.complete:
            self._pace.expect(self._passages.fresh)
        self._report(
            JobStage.VECTORS,
            done / count if self._passages.complete else 0.0,
            f"embedded {done} of {count} passages",
            pace=self._pace,
            passages_done=done,
        )


def _window_sizes() -> Iterator[int]:
    size = _FIRST_WINDOW
    while True:
        yield size
        size = min(2 * size, _WINDOW)


def _fastest_form(task: Task, encoder: Encoder, report: Report) -> Encoder:
    """The frozen form of the encoder, which is made when a model is seen for the first time."""
    report(JobStage.VECTORS, 0.0, f"preparing the model {encoder.name}", passages_done=0)

    def fall_back(why: str) -> None:
        report(JobStage.VECTORS, 0.0, f"embedding with sentence-transformers: the model cannot be frozen: {why}")

    return fastest(ModelStore(Path(task.models)), encoder, fall_back)


def link(builder: IndexBuilder, report: Report) -> None:
    """Writes the approximate index."""
    vectors = builder.written_vectors()

    def progress(done: int) -> None:
        report(
            JobStage.SAVE, 0.6 * done / len(vectors), f"linked {done} of {len(vectors)} passages to their neighbours"
        )

    progress(0)
    builder.write_graph(vectors, progress)
