"""Filters: which passages of an index may be found, by the documents that they belong to."""

import bisect
import dataclasses
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

LAST_YEAR = 9999
"""Largest year that a document or a filter may have."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Filter:
    """Which documents count. Entries are held in Unicode NFC, sorted and once each, so that equal filters are equal."""

    document_ids: tuple[str, ...] = ()
    """The document's id is one of these; empty: any."""
    path_prefixes: tuple[str, ...] = ()
    """The document's path begins with one of these; empty: any."""
    first_year: int | None = None
    """The document's year is known and not before this; None: any."""
    last_year: int | None = None
    """The document's year is known and not after this; None: any."""

    def __post_init__(self) -> None:
        for name in ("document_ids", "path_prefixes"):
            entries = {_comparable(entry) for entry in getattr(self, name)}
            object.__setattr__(self, name, tuple(sorted(entries)))

    def __bool__(self) -> bool:
        """Whether any document may be left out."""
        return self != Filter()


class Documents:
    """The documents of an index, in the order of their passages, arranged to find those that a filter lets through."""

    def __init__(
        self, *, ids: Sequence[str], paths: Sequence[str], years: Sequence[int], passage_counts: Sequence[int]
    ) -> None:
        self._ids = _Column(ids)
        self._paths = _Column(paths)
        self._years = np.array(years, np.int64)
        self._passage_counts = np.array(passage_counts, np.int64)

    def positions(self, wanted: Filter) -> npt.NDArray[np.int64]:
        """The positions of the passages that qualify, ascending."""
        chosen = np.ones(len(self._passage_counts), np.bool_)
        if wanted.document_ids:
            chosen &= self._ids.equal_to(wanted.document_ids)
        if wanted.path_prefixes:
            chosen &= self._paths.beginning_with(wanted.path_prefixes)
        if wanted.first_year is not None:
            chosen &= self._years >= max(1, wanted.first_year)  # 0: unknown
        if wanted.last_year is not None:
            chosen &= (self._years <= wanted.last_year) & (self._years != 0)
        return np.flatnonzero(np.repeat(chosen, self._passage_counts))


class _Column:
    """One text of every document, sorted: equal ones and those with a common beginning stand together."""

    def __init__(self, texts: Iterable[str]) -> None:
        by_text = sorted((_comparable(text), document) for document, text in enumerate(texts))
        self._texts = [text for text, _ in by_text]
        self._documents = np.array([document for _, document in by_text], np.int64)

    def equal_to(self, wanted: Iterable[str]) -> npt.NDArray[np.bool_]:
        """For every document, whether its text is one of `wanted`."""
        return self._marked(
            slice(bisect.bisect_left(self._texts, text), bisect.bisect_right(self._texts, text)) for text in wanted
        )

    def beginning_with(self, prefixes: Iterable[str]) -> npt.NDArray[np.bool_]:
        """For every document, whether its text begins with one of `prefixes`."""
        return self._marked(self._run(prefix) for prefix in prefixes)

    def _run(self, prefix: str) -> slice:
        begin = bisect.bisect_left(self._texts, prefix)
        # Cut to the prefix's length, texts keep their order, and those that begin with it equal it.
        return slice(begin, bisect.bisect_right(self._texts, prefix, begin, key=lambda text: text[: len(prefix)]))

    def _marked(self, runs: Iterable[slice]) -> npt.NDArray[np.bool_]:
        marked = np.zeros(len(self._texts), np.bool_)
        for run in runs:
            marked[self._documents[run]] = True
        return marked


def _comparable(text: str) -> str:
    return unicodedata.normalize("NFC", text)
