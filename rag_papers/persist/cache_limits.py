"""How much the caches may hold, and for how long."""

import dataclasses
from collections.abc import Mapping
from typing import Self

from rag_papers.persist.cache_schema import CacheTable
from rag_papers.settings import Settings

_DAY_SECONDS = 86400.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class TableLimits:
    """The bounds of one table."""

    max_bytes: int | None = None
    """Keys and values together; None: no bound."""
    ttl_seconds: float | None = None
    """Age from which an entry is a miss; None: it stays until it is evicted."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CacheLimits:
    """The bounds of all tables, and of what is kept in memory before them."""

    tables: Mapping[CacheTable, TableLimits]
    """A table that is not in it has no bounds."""
    memory_bytes: int = 0
    """Entries kept in the memory of this process; 0: none."""

    @classmethod
    def of(cls, settings: Settings, *, memory: bool) -> Self:
        """Those of the settings; without `memory`, nothing is kept there."""

        def limits(max_bytes: int, days: float) -> TableLimits:
            return TableLimits(max_bytes=max_bytes, ttl_seconds=days * _DAY_SECONDS if days else None)

        return cls(
            tables={
                CacheTable.EMBEDDINGS: limits(settings.cache_embeddings_bytes, settings.cache_embeddings_days),
                CacheTable.RETRIEVAL: limits(settings.cache_retrieval_bytes, settings.cache_retrieval_days),
                CacheTable.ANSWERS: limits(settings.cache_answers_bytes, settings.cache_answers_days),
            },
            memory_bytes=settings.cache_memory_bytes if memory else 0,
        )


UNLIMITED = CacheLimits(tables={})
"""No bounds, and nothing in memory."""
