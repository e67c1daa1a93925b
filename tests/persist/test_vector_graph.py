"""The approximate index on disk: what is not verified is never opened."""

import json
from pathlib import Path

import numpy as np
import pytest

from rag_papers.errors import FormatUnsupported, IndexDamaged
from rag_papers.persist.hashing import file_sha256
from rag_papers.persist.index_store import (
    MANIFEST,
    VECTOR_COPIES,
    VECTOR_GRAPH,
    VECTOR_ORDER,
    IndexBuilder,
    OpenIndex,
    manifest_bytes,
    publish,
    read_manifest,
    verify,
)
from rag_papers.persist.index_store import manifest as manifest_module
from rag_papers.retrieval.search import search

from .indexes import CORPUS_ID, build, read_all

TEXTS = [f"Passage {number % 70} is about number {number % 70}." for number in range(90)]


class LinkingBuilder(IndexBuilder):
    """An IndexBuilder that links the vectors before it finishes, as an ingest does."""

    def finish(self, **fields):
        self.write_graph(np.load(self.directory / "vectors.npy"), lambda done: None)
        return super().finish(**fields)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tests.persist.indexes.IndexBuilder", LinkingBuilder)
    staging, indexes = tmp_path / "indexes" / ".staging" / "job", tmp_path / "indexes"
    publish(staging, indexes, build(staging, TEXTS))
    return indexes / CORPUS_ID


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 0x01
    path.write_bytes(data)


def test_it_is_in_the_manifest_with_a_feature_of_its_own(index: Path) -> None:
    manifest = verify(index)
    assert manifest.features == ("faiss-hnsw-2",)
    assert {VECTOR_GRAPH, VECTOR_ORDER, VECTOR_COPIES} <= manifest.files.keys()


def test_a_reader_that_does_not_know_the_feature_refuses(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest_module, "FEATURES", {})
    with pytest.raises(FormatUnsupported, match="faiss-hnsw-2"):
        OpenIndex(index)


def test_equal_input_gives_equal_bytes(index: Path, tmp_path: Path) -> None:
    build(tmp_path / "other", TEXTS)
    assert read_all(tmp_path / "other") == read_all(index)


def test_searches_are_exact_until_it_is_asked_for_and_equal_afterwards(index: Path) -> None:
    opened = OpenIndex(index)
    vector = opened.vectors[41]
    options = {"bm25_weight": 0.5, "vector_weight": 0.5, "top_k": 20}
    assert not opened.vector_search.approximate
    before = search(opened, "number 41", vector, exact=False, **options)
    for _ in range(2):
        opened.use_approximate()
        assert opened.vector_search.approximate
    assert search(opened, "number 41", vector, exact=False, **options) == before
    assert search(opened, "number 41", vector, **options) == before


@pytest.mark.parametrize("position", [0, 30, 1000, -1])
def test_a_flipped_byte_is_found_before_anything_is_read_by_it(index: Path, position: int) -> None:
    flip(index / VECTOR_GRAPH, position)
    opened = OpenIndex(index)  # its size is right
    with pytest.raises(IndexDamaged, match=VECTOR_GRAPH):
        opened.use_approximate()
    assert not opened.vector_search.approximate
    found = search(opened, "", opened.vectors[3], bm25_weight=0, vector_weight=1, top_k=1, exact=False)
    assert found[0].position == 3


@pytest.mark.parametrize("name", [VECTOR_GRAPH, VECTOR_ORDER, VECTOR_COPIES])
def test_an_index_without_a_file_of_it_is_damaged(index: Path, name: str) -> None:
    (index / name).unlink()
    with pytest.raises(IndexDamaged, match=name):
        OpenIndex(index)


@pytest.mark.parametrize("name", [VECTOR_GRAPH, VECTOR_ORDER, VECTOR_COPIES])
def test_a_manifest_that_does_not_name_a_file_of_it_is_damaged(index: Path, name: str) -> None:
    document = json.loads((index / MANIFEST).read_bytes())
    del document["files"][name]
    (index / MANIFEST).write_bytes(manifest_bytes(document))
    with pytest.raises(IndexDamaged, match=name):
        read_manifest(index)


def test_what_was_published_but_is_no_graph_is_not_supported(index: Path) -> None:
    (index / VECTOR_GRAPH).write_bytes(bytes(64))
    republish(index)
    with pytest.raises(FormatUnsupported, match=VECTOR_GRAPH):
        OpenIndex(index).use_approximate()


@pytest.mark.parametrize("copies", [[[0, 90]], [[-1, 3]], [[1, 2, 3]]])
def test_copies_of_what_does_not_exist_are_damage(index: Path, copies: list[list[int]]) -> None:
    np.save(index / VECTOR_COPIES, np.array(copies, np.int64))
    republish(index)
    with pytest.raises(IndexDamaged, match=VECTOR_COPIES):
        OpenIndex(index).use_approximate()


@pytest.mark.parametrize("order", [[0, 90], [-1, 3], [[1], [2]], [], list(range(90))])
def test_an_order_of_what_does_not_exist_is_damage(index: Path, order: list[int]) -> None:
    np.save(index / VECTOR_ORDER, np.array(order, np.int32))
    republish(index)
    with pytest.raises(IndexDamaged, match=VECTOR_ORDER):
        OpenIndex(index).use_approximate()


def test_a_graph_of_other_vectors_is_damage(index: Path) -> None:
    np.save(index / VECTOR_COPIES, np.empty((0, 2), np.int64))
    np.save(index / VECTOR_ORDER, np.arange(90, dtype=np.int32))
    republish(index)
    with pytest.raises(IndexDamaged, match=VECTOR_GRAPH):
        OpenIndex(index).use_approximate()


def republish(index: Path) -> None:
    """Makes the manifest agree with the files."""
    document = json.loads((index / MANIFEST).read_bytes())
    for name, facts in document["files"].items():
        facts |= {"size": (index / name).stat().st_size, "sha256": file_sha256(index / name)}
    (index / MANIFEST).write_bytes(manifest_bytes(document))
