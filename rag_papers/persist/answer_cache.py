"""The answer cache: a serialised answer under everything that it depends on."""

import dataclasses
import functools
from collections.abc import Collection, Iterator, Mapping

from rag_papers.persist.hashing import digest
from rag_papers.persist.sqlite_store import CacheTable, Entry, SqliteStore
from rag_papers.retrieval.filtering import Filter


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnswerKey:
    """All that an answer depends on."""

    query: str
    intent: str
    corpus_id: str
    filter: Filter
    approximate: bool
    """The approximate index may have found the passages."""
    config: Mapping[str, bool | int | float | str]
    """Every effective setting by name."""
    generator: str
    """Name and version of the generator."""
    reranker: str
    """Name and version of the reranker, and of its model if it has one."""
    pipeline: str
    """Version of the steps, the verifier and the prompts; changed when equal input may give another answer."""
    history: tuple[str, ...]
    """What of the session's history the query was completed from."""

    def digest(self) -> bytes:
        """The key in the table."""
        return self._digest

    @functools.cached_property
    def _digest(self) -> bytes:
        return digest(
            [
                "answer",
                self.query,
                self.intent,
                self.corpus_id,
                dataclasses.asdict(self.filter),
                self.approximate,
                dict(self.config),
                self.generator,
                self.reranker,
                self.pipeline,
                self.history,
            ]
        )


class AnswerCache:
    """Serialised answers by key."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store

    def get(self, key: AnswerKey) -> Entry | None:
        """The stored answer."""
        return self._store.get(CacheTable.ANSWERS, key.digest())

    def used_last(self, corpus_ids: Collection[str] | None, since: float) -> Iterator[bytes]:
        """Answers that were read after they were written; see `SqliteStore.used_last`."""
        return self._store.used_last(CacheTable.ANSWERS, corpus_ids, since)

    def put(self, key: AnswerKey, answer: bytes) -> None:
        """Stores or replaces an answer."""
        self._store.put(CacheTable.ANSWERS, key.digest(), answer, key.corpus_id)
