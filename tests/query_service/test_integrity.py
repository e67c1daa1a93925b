"""What becomes of an index whose files are no longer those that were published."""

import os
import pickle
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from query_service import catalog, integrity
from rag_papers.persist.index_store import MANIFEST, read_manifest, verify
from rag_papers.settings import Settings
from tests.query_service.query_harness import PATIENCE, Service, build, eventually, refused

FILES = [
    "bm25.hashes.npy",
    "bm25.offsets.npy",
    "bm25.passages.npy",
    "bm25.scores.npy",
    "bm25.term_offsets.npy",
    "bm25.terms.npy",
    "documents.jsonl",
    "failures.jsonl",
    "passages.jsonl",
    "passages.offsets.npy",
    "vectors.codes.npy",
    "vectors.npy",
    "vectors.scales.npy",
    MANIFEST,
]
OLD = {"old.txt": "The quokka constant is 1. It was measured by the older expedition."}
NEW = {"new.txt": "The quokka constant is 2. It was measured by the newer expedition, and then once more."}
QUESTION = "What is the quokka constant?"


class Planted:
    """A pickle that leaves a mark when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.mark),)


def flip(path: Path, other: Path, mark: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1 - len(data) // 3] ^= 0x10
    path.write_bytes(data)


def truncate(path: Path, other: Path, mark: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def delete(path: Path, other: Path, mark: Path) -> None:
    path.unlink()


def swap(path: Path, other: Path, mark: Path) -> None:
    path.replace(path.with_name("swapped"))
    other.replace(path)
    path.with_name("swapped").replace(other)


def plant(path: Path, other: Path, mark: Path) -> None:
    path.write_bytes(pickle.dumps(Planted(mark)))


DAMAGE = (flip, truncate, delete, plant)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("harm", DAMAGE, ids=lambda harm: harm.__name__)
def test_damage_is_named_never_run_and_never_served(
    service: Service, tmp_path: Path, name: str, harm: Callable[[Path, Path, Path], None]
) -> None:
    old, new = service.publish("zoo", OLD), service.publish("zoo", NEW)
    indexes = service.paths.indexes
    if (indexes / new / name).stat().st_size:
        harm(indexes / new / name, indexes / old / name, tmp_path / "mark")
    else:
        (indexes / new / name).write_bytes(b"?")  # an index without failures
    response = service.ask(QUESTION)
    assert (response.corpus_id, "is 1" in response.answer) == (old, True)
    code, error = refused(lambda: service.search(QUESTION, corpus_id=new))
    assert (code.name, error.reason, error.metadata["file"]) == ("DATA_LOSS", "INDEX_DAMAGED", name)
    assert not (tmp_path / "mark").exists()
    assert build(service.paths, NEW) == new  # as an ingest of the same papers does
    response = service.ask(QUESTION)
    assert (response.corpus_id, "is 2" in response.answer) == (new, True)


@pytest.mark.parametrize("name", FILES)
def test_files_of_two_versions_are_never_mixed(service: Service, tmp_path: Path, name: str) -> None:
    old, new = service.publish("zoo", OLD), service.publish("zoo", NEW)
    indexes = service.paths.indexes
    same = (indexes / old / name).read_bytes() == (indexes / new / name).read_bytes()
    swap(indexes / new / name, indexes / old / name, tmp_path)
    if same:
        assert service.search(QUESTION).corpus_id == new
    else:
        for corpus_id in (old, new):
            code, error = refused(lambda corpus_id=corpus_id: service.search(QUESTION, corpus_id=corpus_id))  # type: ignore[misc]
            assert (code.name, error.reason) == ("DATA_LOSS", "INDEX_DAMAGED")


@pytest.mark.parametrize("harm", DAMAGE, ids=lambda harm: harm.__name__)
def test_damage_to_an_index_that_answers_is_seen_by_the_next_call(
    service: Service, tmp_path: Path, harm: Callable[[Path, Path, Path], None]
) -> None:
    old, new = service.publish("zoo", OLD), service.publish("zoo", NEW)
    for path in (service.paths.corpora, *service.paths.corpora.iterdir()):
        os.utime(path, (0, 0))  # what was published just now is looked for anew by every call
    for _ in range(2):
        assert service.search(QUESTION, use_cache=False).corpus_id == new
    harm(service.paths.indexes / new / "passages.jsonl", tmp_path, tmp_path / "mark")
    for _ in range(2):
        assert service.search(QUESTION, use_cache=False).corpus_id == old


class Gate:
    """Holds the check of every large index until it is opened."""

    def __init__(self) -> None:
        self.opened = threading.Event()

    def verify(self, directory: Path) -> object:
        assert self.opened.wait(PATIENCE)
        return verify(directory)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """All indexes are large, and their checks wait."""
    gate = Gate()
    monkeypatch.setattr(catalog, "AT_ONCE_BYTES", 0)
    monkeypatch.setattr(integrity, "verify", gate.verify)
    yield gate
    gate.opened.set()


def test_a_large_index_answers_before_it_is_checked_and_is_cached_after(gate: Gate, service: Service) -> None:
    service.publish("zoo", NEW)
    for _ in range(2):
        response = service.ask(QUESTION)
        assert ("is 2" in response.answer, response.cache.answer_hit) == (True, False)
    assert not any(service.counts().values())
    gate.opened.set()
    eventually(lambda: service.ask(QUESTION).cache.answer_hit)
    assert service.counts()["retrieval"] == 1


def test_damage_that_opening_cannot_see_ends_the_version(gate: Gate, service: Service) -> None:
    old, new = service.publish("zoo", OLD), service.publish("zoo", NEW)
    path = service.paths.indexes / new / "passages.jsonl"
    path.write_bytes(path.read_bytes().replace(b"is 2", b"is 3"))
    assert service.ask(QUESTION).corpus_id == new
    gate.opened.set()
    eventually(lambda: service.ask(QUESTION).corpus_id == old)
    for _ in range(2):
        code, error = refused(lambda: service.ask(QUESTION, corpus_id=new))
        assert (code.name, error.metadata["file"]) == ("DATA_LOSS", "passages.jsonl")
    build(service.paths, NEW)
    response = service.ask(QUESTION)
    assert (response.corpus_id, "is 2" in response.answer) == (new, True)  # and no answer of before, from a cache


def test_the_service_stops_amid_a_check(gate: Gate, tmp_path: Path) -> None:
    service = Service(Settings(data_dir=tmp_path / "data", model="hashing-64"))
    service.publish("zoo", NEW)
    assert service.search(QUESTION).sources
    threading.Timer(0.2, gate.opened.set).start()
    service.stop()


def test_a_version_that_is_deleted_before_its_check_is_not_reported_as_damaged(gate: Gate, service: Service) -> None:
    corpus_id = service.publish("zoo", NEW)
    assert service.search(QUESTION).sources
    shutil.rmtree(service.paths.indexes / corpus_id)
    gate.opened.set()
    _, error = refused(lambda: service.search(QUESTION))
    assert error.reason == "INDEX_NOT_FOUND"


def test_what_is_checked_is_all_that_the_manifest_names(service: Service) -> None:
    directory = service.paths.indexes / service.publish("zoo", NEW)
    assert sorted([*read_manifest(directory).files, MANIFEST]) == sorted(FILES)
