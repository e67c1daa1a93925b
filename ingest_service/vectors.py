"""The vectors stage: every passage embedded, and the approximate index of a large corpus."""

from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ingest_service.chunking import fitting_texts
from ingest_service.pace import Pace
from ingest_service.task import Report, Task
from rag_papers.persist import caching
from rag_papers.persist.cache_limits import CacheLimits, TableLimits
from rag_papers.persist.embedding_cache import Advance, CachingEncoder
from rag_papers.persist.index_store import IndexBuilder
from rag_papers.persist.job_log import JobStage
from rag_papers.persist.model_store import ModelStore
from rag_papers.persist.preparing import fastest
from rag_papers.persist.sqlite_store import CacheTable, SqliteStore
from rag_papers.retrieval.encoders import Encoder

_WINDOW = 4096  # passages that are grouped by length and embedded together: bounds the memory for texts


def has_graph(task: Task, passages: int) -> bool:
    """Whether the index of so many passages has an approximate index of their vectors."""
    return passages > task.exact_passages


def fastest_form(task: Task, encoder: Encoder, report: Report) -> Encoder:
    """The frozen form of the encoder, which is made when a model is seen for the first time."""
    report(JobStage.VECTORS, 0.0, f"preparing the model {encoder.name}", passages_done=0)

    def fall_back(why: str) -> None:
        report(JobStage.VECTORS, 0.0, f"embedding with sentence-transformers: the model cannot be frozen: {why}")

    return fastest(ModelStore(Path(task.models)), encoder, fall_back)


def embed(
    task: Task, builder: IndexBuilder, encoder: Encoder, vectors: npt.NDArray[np.float32], report: Report
) -> tuple[int, int]:
    """Fills `vectors`, those of vectors.npy; returns how many were reused and how many were computed."""
    count = len(vectors)
    limits = CacheLimits(tables={CacheTable.EMBEDDINGS: TableLimits(**task.embedding_limits)})
    store = SqliteStore(Path(task.cache_db), limits)
    caching_encoder = CachingEncoder(encoder, store)
    passages = builder.passages()
    pace = Pace(count)
    hits = misses = done = 0

    def progress(in_window: int) -> None:
        report(
            JobStage.VECTORS,
            (done + in_window) / count,
            f"embedded {done + in_window} of {count} passages",
            pace=pace,
            passages_done=done + in_window,
        )

    def advance(advance: Advance) -> None:
        pace.advance(advance)
        progress(advance.done)

    report(JobStage.VECTORS, 0.0, f"embedding {count} passages", passages_done=0)
    try:
        while records := list(islice(passages, _WINDOW)):
            window = fitting_texts(records, encoder)
            embedded = caching_encoder.encode(window, caching.USE if task.use_cache else caching.BYPASS, advance)
            vectors[done : done + len(window)] = embedded.vectors
            done, hits, misses = done + len(window), hits + embedded.hits, misses + embedded.misses
            pace.next_window()
            progress(0)
    finally:
        store.close()
    vectors.flush()  # type: ignore[attr-defined]
    return hits, misses


def link(builder: IndexBuilder, vectors: npt.NDArray[np.float32], report: Report) -> None:
    """Writes the approximate index."""

    def progress(done: int) -> None:
        report(
            JobStage.SAVE, 0.6 * done / len(vectors), f"linked {done} of {len(vectors)} passages to their neighbours"
        )

    progress(0)
    builder.write_graph(vectors, progress)
