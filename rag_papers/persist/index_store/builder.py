"""Writing an index into a staging directory."""

import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

from rag_papers.persist.files import fsync_file, write_atomic
from rag_papers.persist.hashing import file_sha256
from rag_papers.persist.index_store.files import (
    MANIFEST,
    PASSAGES,
    VECTOR_CODES,
    VECTOR_COPIES,
    VECTOR_GRAPH,
    VECTOR_ORDER,
    VECTOR_SCALES,
    VECTORS,
    postings_file,
)
from rag_papers.persist.index_store.manifest import Manifest, manifest_bytes
from rag_papers.persist.index_store.records import PassageRecord, line_of
from rag_papers.persist.index_store.vector_file import VectorFile
from rag_papers.retrieval.bm25 import Postings
from rag_papers.retrieval.graph import GRAPH, build_graph
from rag_papers.retrieval.quantization import quantize

_ROWS = 4096  # vectors that are quantized together: bounds the memory


class IndexBuilder:
    """Writes an index into a staging directory, which it empties first."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._features: list[str] = []
        self._graph_effort: int | None = None
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)

    def write_lines(self, name: str, records: Iterable[Any]) -> npt.NDArray[np.int64]:
        """Writes dataclasses as JSON lines; returns where each begins, and the end: (n + 1,) bytes."""
        offsets = [0]
        with (self.directory / name).open("wb") as file:
            for record in records:
                offsets.append(offsets[-1] + file.write(line_of(record)))
        return np.array(offsets, np.int64)

    def passages(self) -> Iterator[PassageRecord]:
        """The passages written so far, in order."""
        with (self.directory / PASSAGES).open("rb") as file:
            for line in file:
                yield PassageRecord(**json.loads(line))

    def write_array(self, name: str, array: npt.NDArray[Any]) -> None:
        """Writes an array of numbers."""
        with (self.directory / name).open("wb") as file:
            # Into a real file numpy writes in a way of its own, whose error does not say that there is no space left.
            np.lib.format.write_array(SimpleNamespace(write=file.write), array, allow_pickle=False)

    def write_postings(self, postings: Postings) -> None:
        """Writes the arrays of a BM25 index."""
        for field in dataclasses.fields(postings):
            self.write_array(postings_file(field.name), getattr(postings, field.name))

    def vectors(self, dim: int) -> VectorFile:
        """The file of the vectors, to append them to; to be closed, best as a context."""
        return VectorFile(self.directory / VECTORS, dim)

    def written_vectors(self) -> npt.NDArray[np.float32]:
        """The vectors once they are written, (n, dim), mapped."""
        return np.lib.format.open_memmap(self.directory / VECTORS, "r")

    def write_graph(self, vectors: npt.NDArray[np.float32], on_progress: Callable[[int], None]) -> None:
        """Writes the approximate index of `vectors` (n, dim); `on_progress` is told how many of them are in it."""
        order, copies, self._graph_effort = build_graph(vectors, self.directory / VECTOR_GRAPH, on_progress)
        self.write_array(VECTOR_ORDER, order)
        self.write_array(VECTOR_COPIES, copies)
        self._features.append(GRAPH)

    def finish(self, on_progress: Callable[[float], None] = lambda share: None, **fields: Any) -> Manifest:
        """Quantizes the vectors, forces every file to the device, reads it back for its digest, writes the manifest.

        `on_progress` is told which share of that is done, in [0, 1].
        """
        self._write_codes(lambda share: on_progress(share / 2))
        files: dict[str, dict[str, Any]] = {}
        sizes = {path: path.stat().st_size for path in sorted(self.directory.iterdir())}
        done = 0
        for path, size in sizes.items():
            fsync_file(path)
            files[path.name] = {"size": size, "sha256": file_sha256(path)}
            done += size
            on_progress(0.5 + done / sum(sizes.values()) / 2)
        manifest = Manifest(files=files, features=tuple(self._features), graph_effort=self._graph_effort, **fields)
        write_atomic(self.directory / MANIFEST, manifest_bytes(manifest.document()))
        return manifest

    def _write_codes(self, on_progress: Callable[[float], None]) -> None:
        vectors = self.written_vectors()
        codes = self._create(VECTOR_CODES, np.int8, vectors.shape)
        scales = np.empty(len(vectors), np.float32)
        for start in range(0, len(vectors), _ROWS):
            block = slice(start, start + _ROWS)
            quantized = quantize(vectors[block])
            codes[block], scales[block] = quantized.codes, quantized.scales
            on_progress(start / len(vectors))
        self.write_array(VECTOR_SCALES, scales)

    def _create(self, name: str, dtype: type[np.generic], shape: tuple[int, ...]) -> npt.NDArray[Any]:
        path = self.directory / name
        array = np.lib.format.open_memmap(path, "w+", dtype, shape)
        if hasattr(
            os, "posix_fallocate"
        ):  # a full disk is an error here; met by writing to the map it kills the process
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        return array
