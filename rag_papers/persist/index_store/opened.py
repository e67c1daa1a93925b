"""An index opened for answering: memory-mapped, without reading it whole."""

import json
import mmap
import threading
import tokenize
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rag_papers.persist.index_store.files import (
    DOCUMENTS,
    PASSAGE_OFFSETS,
    PASSAGES,
    POSTINGS_TYPES,
    VECTORS,
    check_size,
    damaged,
    missing,
    postings_file,
)
from rag_papers.persist.index_store.manifest import read_manifest
from rag_papers.persist.index_store.records import DocumentRecord, PassageRecord, parsed
from rag_papers.retrieval.bm25 import Bm25, Postings
from rag_papers.retrieval.filtering import LAST_YEAR, Documents, Filter


class OpenIndex:
    """A published index, memory-mapped. Immutable; share it freely between threads."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.manifest = read_manifest(directory)
        for name, facts in self.manifest.files.items():
            check_size(directory / name, facts["size"])
        self.bm25 = Bm25(
            Postings(**{name: self._array(postings_file(name), dtype) for name, dtype in POSTINGS_TYPES.items()}),
            self.manifest.passage_count,
        )
        self.vectors: npt.NDArray[np.float32] = self._array(VECTORS, "<f4")
        self._offsets = self._array(PASSAGE_OFFSETS, "<i8")
        if self.vectors.shape != (self.manifest.passage_count, self.manifest.dim):
            raise damaged(directory / VECTORS, f"its shape is {self.vectors.shape}")
        if self._offsets.shape != (self.manifest.passage_count + 1,):
            raise damaged(directory / PASSAGE_OFFSETS, f"its shape is {self._offsets.shape}")
        self._passages = self._mapped(PASSAGES)
        # Mapped now, so that they are those of this index whatever becomes of the file, and read when first needed.
        self._document_lines = self._mapped(DOCUMENTS)
        self._documents: Documents | None = None
        self._reading_documents = threading.Lock()

    @property
    def corpus_id(self) -> str:
        """The version."""
        return self.manifest.corpus_id

    def passage(self, position: int) -> PassageRecord:
        """The passage at `position`, in [0, passage_count)."""
        line = self._passages[self._offsets[position] : self._offsets[position + 1]]
        try:
            return PassageRecord(**json.loads(line))
        except (ValueError, TypeError) as error:
            raise damaged(self.directory / PASSAGES, f"line {position + 1}: {error}") from error

    def positions(self, wanted: Filter) -> npt.NDArray[np.int64]:
        """Where the passages are that qualify, ascending. Raises IndexDamaged.

        The first call reads the documents, whose number it depends on; none reads a passage.
        """
        with self._reading_documents:
            if self._documents is None:
                self._documents = self._read_documents()
        return self._documents.positions(wanted)

    def _read_documents(self) -> Documents:
        path = self.directory / DOCUMENTS
        self._document_lines.seek(0)
        records = list(parsed(iter(self._document_lines.readline, b""), path, DocumentRecord))
        passages = 0
        for number, record in enumerate(records, start=1):
            if not (isinstance(record.document_id, str) and isinstance(record.path, str)):
                raise damaged(path, f"line {number}: an id or a path is no text")
            if not isinstance(record.year, int) or not 0 <= record.year <= LAST_YEAR:
                raise damaged(path, f"line {number}: its year is none")
            if (
                not isinstance(record.passage_count, int)
                or record.passage_count < 0
                or record.first_passage != passages
            ):
                raise damaged(path, f"line {number}: its passages do not follow those of the line before")
            passages += record.passage_count
        if (len(records), passages) != (self.manifest.document_count, self.manifest.passage_count):
            raise damaged(path, f"it has {len(records)} documents with {passages} passages")
        return Documents(
            ids=[record.document_id for record in records],
            paths=[record.path for record in records],
            years=[record.year for record in records],
            passage_counts=[record.passage_count for record in records],
        )

    def _mapped(self, name: str) -> mmap.mmap:
        path = self.directory / name
        try:
            with path.open("rb") as file:
                return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except FileNotFoundError:
            raise missing(path) from None
        except (OSError, ValueError) as error:  # ValueError: it is empty
            raise damaged(path, str(error)) from error

    def _array(self, name: str, dtype: str) -> Any:
        path = self.directory / name
        try:
            # open_memmap reads the .npy format alone; np.load would also try other formats.
            array = np.lib.format.open_memmap(path, "r")
            size = path.stat().st_size
        except FileNotFoundError:
            raise missing(path) from None
        except (ValueError, OSError, SyntaxError, tokenize.TokenError) as error:
            raise damaged(path, str(error)) from error
        if array.dtype != dtype or not array.flags.c_contiguous or array.offset + array.nbytes != size:
            raise damaged(path, f"its header says {array.dtype} of shape {array.shape}")
        return np.asarray(array)  # a plain view: slices of a memmap cost ten times as much
