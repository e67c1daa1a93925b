"""An index opened for answering: memory-mapped, without reading it whole."""

import hashlib
import json
import mmap
import threading
import tokenize
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rag_papers.errors import FormatUnsupported
from rag_papers.persist.index_store.files import (
    DOCUMENTS,
    PASSAGE_OFFSETS,
    PASSAGES,
    POSTINGS_TYPES,
    VECTOR_CODES,
    VECTOR_COPIES,
    VECTOR_GRAPH,
    VECTOR_ORDER,
    VECTOR_SCALES,
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
from rag_papers.retrieval.graph import GRAPH, Built, Graph
from rag_papers.retrieval.quantization import Quantized
from rag_papers.retrieval.vectors import VectorSearch

_STRIDE = 16 << 20  # bytes of a mapping that are read before their pages are let go


class OpenIndex:
    """A published index, memory-mapped. Immutable but for `use_approximate`; share it freely between threads."""

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
        quantized = Quantized(codes=self._array(VECTOR_CODES, "|i1"), scales=self._array(VECTOR_SCALES, "<f4"))
        count, dim = self.manifest.passage_count, self.manifest.dim
        for name, array, shape in (
            (VECTORS, self.vectors, (count, dim)),
            (VECTOR_CODES, quantized.codes, (count, dim)),
            (VECTOR_SCALES, quantized.scales, (count,)),
            (PASSAGE_OFFSETS, self._offsets, (count + 1,)),
        ):
            if array.shape != shape:
                raise damaged(directory / name, f"its shape is {array.shape}")
        self.vector_search = VectorSearch(self.vectors, quantized)
        """Exact, until `use_approximate` is called."""
        self._passages = self._mapped(PASSAGES)
        # Mapped now, so that they are those of this index whatever becomes of the file, and read when first needed.
        self._document_lines = self._mapped(DOCUMENTS)
        self._graph: tuple[mmap.mmap, Built] | None = None
        if GRAPH in self.manifest.features:
            assert self.manifest.graph_effort is not None  # as there is a graph
            order, copies = self._array(VECTOR_ORDER, "<i4"), self._array(VECTOR_COPIES, "<i8")
            self._graph = self._mapped(VECTOR_GRAPH), Built(order, copies, self.manifest.graph_effort)
        self._documents: Documents | None = None
        self._reading_documents = threading.Lock()

    @property
    def corpus_id(self) -> str:
        """The version."""
        return self.manifest.corpus_id

    def use_approximate(self) -> None:
        """Lets searches use the approximate index from now on, if there is one; until then all are exact.

        Reads the whole file first, so call it in the background: searching follows the numbers in it wherever they
        lead, so none of them is looked at before their SHA-256 is that of the manifest. Harmless to repeat. Raises
        IndexDamaged or FormatUnsupported; searches then stay exact.
        """
        if self._graph is None or self.vector_search.approximate:
            return
        mapped, built = self._graph
        path = self.directory / VECTOR_GRAPH
        if _sha256(mapped) != self.manifest.files[VECTOR_GRAPH]["sha256"]:
            raise damaged(path, "its SHA-256 differs from the manifest's")
        for name, positions, shape in ((VECTOR_ORDER, built.order, ()), (VECTOR_COPIES, built.copies, (2,))):
            exist = not positions.size or 0 <= positions.min() <= positions.max() < len(self.vectors)
            if positions.shape[1:] != shape or not exist:
                raise damaged(self.directory / name, "it names passages that do not exist")
        if len(built.order) + len(built.copies) != len(self.vectors):
            raise damaged(self.directory / VECTOR_ORDER, f"it names {len(built.order)} passages")
        try:
            graph = Graph(memoryview(mapped), built)
        except ValueError as error:  # what was published, but not by a faiss that this one understands
            raise FormatUnsupported(
                f"{path.name} of index {self.corpus_id} cannot be read: {error}; ingest the corpus again",
                corpus_id=self.corpus_id,
            ) from error
        if graph.shape != self.vectors.shape:
            raise damaged(path, f"it is a graph of {graph.shape}")
        mapped.madvise(mmap.MADV_DONTNEED)  # what opening it touched; a search brings back what it needs
        self.vector_search.use(graph)

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


def _sha256(mapped: mmap.mmap) -> str:
    """SHA-256 of a mapping, lower-case hex; what is read of it does not stay in the process's memory."""
    state = hashlib.sha256()
    with memoryview(mapped) as data:
        for start in range(0, len(data), _STRIDE):
            state.update(data[start : start + _STRIDE])
            mapped.madvise(mmap.MADV_DONTNEED, start, min(_STRIDE, len(data) - start))
    return state.hexdigest()
