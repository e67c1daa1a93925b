"""Activating, verifying, deleting and collecting versions."""

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from rag_papers.persist.index_store import OpenIndex
from rag_papers.persist.sqlite_store import CacheTable, SqliteStore
from rag_papers.v1 import ingest_pb2 as pb
from rag_papers.v1 import resources_pb2 as rpb
from tests.ingest_service.ingest_harness import (
    PATIENCE,
    Client,
    Service,
    files_below,
    refused,
    until,
    write,
)

NOT_FOUND = grpc.StatusCode.NOT_FOUND
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
DATA_LOSS = grpc.StatusCode.DATA_LOSS
NOBODY = "0" * 16


def publish(service: Client, root: Path, corpus: str, *texts: str) -> list[str]:
    """Ingests one version of a corpus after the other; returns their ids."""
    return [
        service.ingest(write(root / corpus, {"a.txt": text}), corpus=corpus).result.index.corpus_id for text in texts
    ]


def activate(service: Client, corpus: str, corpus_id: str) -> rpb.Index:
    request = pb.ActivateIndexRequest(corpus=corpus, corpus_id=corpus_id)
    return service.stub.ActivateIndex(request, timeout=PATIENCE).index


def verify(service: Client, **fields: Any) -> pb.VerifyIndexResponse:
    return service.stub.VerifyIndex(pb.VerifyIndexRequest(**fields), timeout=PATIENCE)


def delete(service: Client, corpus: str, corpus_id: str) -> int:
    request = pb.DeleteIndexRequest(corpus=corpus, corpus_id=corpus_id)
    return service.stub.DeleteIndex(request, timeout=PATIENCE).freed_bytes


def collect(service: Client) -> pb.CollectIndexesResponse:
    return service.stub.CollectIndexes(pb.CollectIndexesRequest(), timeout=PATIENCE)


def ids(service: Client, corpus: str) -> list[str]:
    """The versions of a corpus, newest first."""
    return [index.corpus_id for index in service.indexes(corpus=corpus)]


def damage(service: Client, corpus_id: str, name: str = "vectors.npy") -> None:
    """Changes the last byte of a file, not its size."""
    path = service.paths.indexes / corpus_id / name
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


class HeldChange:
    """A change of versions that stands still in the middle, and with it every change behind it.

    An activation reads all files. An empty one among them becomes a pipe, and reading it waits for the writer.
    """

    def __init__(self, service: Client, corpus: str, corpus_id: str) -> None:
        self.path = service.paths.indexes / corpus_id / "failures.jsonl"
        assert self.path.read_bytes() == b""
        self.path.unlink()
        os.mkfifo(self.path)
        request = pb.ActivateIndexRequest(corpus=corpus, corpus_id=corpus_id)
        self.call = service.stub.ActivateIndex.future(request, timeout=PATIENCE)
        self._writer = self.path.open("wb")  # returns when the reader is there

    def release(self) -> None:
        self._writer.close()


class TestActivate:
    def test_goes_back_and_forth(self, service: Service, root: Path) -> None:
        first, second = publish(service, root, "papers", "One.", "Two.")
        before = service.index(corpus="papers", corpus_id=first)
        now = activate(service, "papers", first)
        assert now.active and now.corpus_id == first
        assert now.create_time.ToNanoseconds() > before.create_time.ToNanoseconds()
        assert service.index(corpus="papers") == now
        assert [(index.corpus_id, index.active) for index in service.indexes()] == [(first, True), (second, False)]
        assert activate(service, "papers", second).corpus_id == second
        assert ids(service, "papers") == [second, first]

    def test_of_the_active_version_changes_nothing(self, service: Service, root: Path) -> None:
        _, second = publish(service, root, "papers", "One.", "Two.")
        before = files_below(service.paths.corpora)
        assert activate(service, "papers", second) == service.index(corpus="papers")
        assert files_below(service.paths.corpora) == before

    def test_counts_as_the_latest_publication(self, service: Service, root: Path) -> None:
        first, _ = publish(service, root, "papers", "One.", "Two.")
        publish(service, root, "others", "Three.")
        assert service.index().corpus == "others"
        activate(service, "papers", first)
        assert service.index().corpus == "papers"

    def test_lasts(self, serve: Callable[..., Service], root: Path) -> None:
        service = serve()
        first, second = publish(service, root, "papers", "One.", "Two.")
        now = activate(service, "papers", first)
        service.stop()
        again = serve()
        assert again.index(corpus="papers") == now
        assert ids(again, "papers") == [first, second]

    def test_then_ingesting_what_was_left_publishes_it_again(self, service: Service, root: Path) -> None:
        first, second = publish(service, root, "papers", "One.", "Two.")
        activate(service, "papers", first)
        result = service.ingest(root / "papers", corpus="papers").result
        assert (result.index.corpus_id, result.unchanged) == (second, False)

    @pytest.mark.parametrize("name", ["meta.json", "vectors.npy", "passages.jsonl", "bm25.scores.npy"])
    def test_of_a_damaged_version_is_refused(self, service: Service, root: Path, name: str) -> None:
        first, second = publish(service, root, "papers", "One.", "Two.")
        damage(service, first, name)
        before = files_below(service.paths.corpora)
        with refused(DATA_LOSS, "INDEX_DAMAGED") as refusal:
            activate(service, "papers", first)
        assert refusal.metadata == {"file": name, "corpus_id": first}
        assert files_below(service.paths.corpora) == before
        assert service.index().corpus_id == second

    def test_of_a_version_without_files_is_refused(self, service: Service, root: Path) -> None:
        first, second = publish(service, root, "papers", "One.", "Two.")
        shutil.rmtree(service.paths.indexes / first)
        with refused(NOT_FOUND, "INDEX_NOT_FOUND"):
            activate(service, "papers", first)
        assert service.index().corpus_id == second


@pytest.mark.parametrize("change", [activate, delete])
class TestWhatIsChanged:
    def test_must_exist(self, service: Service, root: Path, change: Callable[..., Any]) -> None:
        with refused(NOT_FOUND, "CORPUS_NOT_FOUND"):
            change(service, "papers", NOBODY)
        (index,) = publish(service, root, "papers", "One.")
        (other,) = publish(service, root, "others", "Two.")
        before = files_below(service.paths.indexes.parent / "corpora"), service.published()
        with refused(NOT_FOUND, "CORPUS_NOT_FOUND") as refusal:
            change(service, "../papers", index)
        assert "others, papers" in refusal.message
        for corpus_id in (NOBODY, other, "..", f"../indexes/{index}", ".staging"):
            with refused(NOT_FOUND, "INDEX_NOT_FOUND"):
                change(service, "papers", corpus_id)
        assert (files_below(service.paths.corpora), service.published()) == before

    def test_must_be_named(self, service: Service, change: Callable[..., Any]) -> None:
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST") as refusal:
            change(service, "", "")
        assert set(refusal.violations) == {"corpus", "corpus_id"}

    def test_is_found_by_composed_and_decomposed_names(
        self, service: Service, root: Path, change: Callable[..., Any]
    ) -> None:
        first, _ = publish(service, root, "caf\u00e9", "One.", "Two.")
        change(service, "cafe\u0301", first)


class TestVerify:
    def test_reads_the_version_that_get_returns(self, service: Service, root: Path) -> None:
        with refused(PRECONDITION, "NO_INDEX"):
            verify(service)
        first, _ = publish(service, root, "papers", "One.", "Two.")
        for fields in ({}, {"corpus": "papers"}, {"corpus_id": first}):
            response = verify(service, **fields)
            assert response.index.corpus_id
            assert response.index == service.index(**fields)
        with refused(NOT_FOUND, "CORPUS_NOT_FOUND"):
            verify(service, corpus="others")
        with refused(NOT_FOUND, "INDEX_NOT_FOUND"):
            verify(service, corpus_id=NOBODY)

    def test_names_every_file_that_is_damaged(self, service: Service, root: Path) -> None:
        (index,) = publish(service, root, "papers", "One.")
        directory = service.paths.indexes / index
        for path in sorted(directory.iterdir()):
            data = path.read_bytes()
            for broken in (data[:-1] + b"?" if data else b"?", data + b"?", None):
                path.unlink()
                if broken is not None:
                    path.write_bytes(broken)
                with refused(DATA_LOSS, "INDEX_DAMAGED") as refusal:
                    verify(service)
                assert refusal.metadata == {"file": path.name, "corpus_id": index}
                path.write_bytes(data)
        assert verify(service).index.corpus_id


class TestDelete:
    def test_removes_one_version(self, service: Service, root: Path) -> None:
        first, second, third = publish(service, root, "papers", "One.", "Two.", "Three.")
        size = sum(map(len, files_below(service.paths.indexes / second).values()))
        assert delete(service, "papers", second) == size
        assert ids(service, "papers") == [third, first]
        assert service.published() == sorted([first, third])
        assert not service.staged()
        with refused(NOT_FOUND, "INDEX_NOT_FOUND"):
            delete(service, "papers", second)

    def test_of_the_active_version_is_refused(self, service: Service, root: Path) -> None:
        first, second = publish(service, root, "papers", "One.", "Two.")
        activate(service, "papers", first)
        before = files_below(service.paths.corpora), service.published()
        with refused(PRECONDITION, "INDEX_IN_USE") as refusal:
            delete(service, "papers", first)
        assert refusal.metadata == {"corpus": "papers", "corpus_id": first}
        assert (files_below(service.paths.corpora), service.published()) == before
        assert delete(service, "papers", second)

    def test_forgets_every_publication_of_the_version(self, service: Service, root: Path) -> None:
        first, second = publish(service, root, "papers", "One.", "Two.")
        for corpus_id in (first, second, first, second):
            activate(service, "papers", corpus_id)
        delete(service, "papers", first)
        assert ids(service, "papers") == [second]
        assert first not in (service.paths.corpora / "papers.json").read_text()

    def test_leaves_the_files_that_another_corpus_has(self, service: Service, root: Path) -> None:
        first, _ = publish(service, root, "papers", "One.", "Two.")
        assert publish(service, root, "others", "One.", "Three.")[0] == first
        assert delete(service, "papers", first) == 0
        assert first in service.published()
        assert verify(service, corpus="others", corpus_id=first).index.corpus_id
        assert delete(service, "others", first) > 0
        assert first not in service.published()

    def test_leaves_the_files_while_a_pointer_cannot_be_read(self, service: Service, root: Path) -> None:
        first, second = publish(service, root, "papers", "One.", "Two.")
        (service.paths.corpora / "others.json").write_text("{")
        assert delete(service, "papers", first) == 0
        assert ids(service, "papers") == [second]
        assert first in service.published()

    def test_of_a_damaged_version_works(self, service: Service, root: Path) -> None:
        first, second = publish(service, root, "papers", "One.", "Two.")
        (service.paths.indexes / first / "meta.json").unlink()
        assert delete(service, "papers", first) > 0
        assert service.published() == [second]

    def test_of_a_version_without_files_works(self, service: Service, root: Path) -> None:
        first, second = publish(service, root, "papers", "One.", "Two.")
        shutil.rmtree(service.paths.indexes / first)
        assert delete(service, "papers", first) == 0
        with refused(NOT_FOUND, "INDEX_NOT_FOUND"):
            delete(service, "papers", first)
        assert service.published() == [second]

    def test_leaves_readers_their_files(self, service: Service, root: Path) -> None:
        first, _ = publish(service, root, "papers", "One quokka.", "Two.")
        index = OpenIndex(service.paths.indexes / first)
        delete(service, "papers", first)
        assert index.passage(0).text == "One quokka."
        assert float((index.vectors[0] ** 2).sum()) == pytest.approx(1.0)

    def test_lasts_and_the_version_can_be_ingested_again(self, serve: Callable[..., Service], root: Path) -> None:
        service = serve()
        first, second = publish(service, root, "papers", "One.", "Two.")
        delete(service, "papers", first)
        service.stop()
        again = serve()
        assert (ids(again, "papers"), again.published()) == ([second], [second])
        assert publish(again, root, "papers", "One.") == [first]
        assert verify(again).index.corpus_id


class TestRetention:
    def test_keeps_the_newest_versions(self, serve: Callable[..., Service], root: Path) -> None:
        service = serve(keep_versions=2)
        first, second, third = publish(service, root, "papers", "One.", "Two.", "Three.")
        assert (ids(service, "papers"), service.published()) == ([third, second], sorted([second, third]))
        activate(service, "papers", second)  # the newest again
        (fourth,) = publish(service, root, "papers", "Four.")
        assert ids(service, "papers") == [fourth, second]
        assert service.published() == sorted([second, fourth])
        with refused(NOT_FOUND, "INDEX_NOT_FOUND"):
            activate(service, "papers", first)
        service.tidies_up()

    def test_keeps_three_unless_told_otherwise(self, service: Service, root: Path) -> None:
        versions = publish(service, root, "papers", "One.", "Two.", "Three.", "Four.")
        assert ids(service, "papers") == versions[:0:-1]

    def test_may_keep_the_active_version_alone(self, serve: Callable[..., Service], root: Path) -> None:
        service = serve(keep_versions=1)
        _, last = publish(service, root, "papers", "One.", "Two.")
        assert (ids(service, "papers"), service.published()) == ([last], [last])

    def test_touches_no_other_corpus(self, serve: Callable[..., Service], root: Path) -> None:
        service = serve(keep_versions=1)
        (shared,) = publish(service, root, "others", "One.")
        assert publish(service, root, "papers", "One.", "Two.")[0] == shared
        assert ids(service, "others") == [shared]
        assert verify(service, corpus="others").index.corpus_id

    def test_does_nothing_when_nothing_is_published(self, serve: Callable[..., Service], root: Path) -> None:
        service = serve()
        versions = publish(service, root, "papers", "One.", "Two.")
        service.stop()
        again = serve(keep_versions=1)
        assert again.ingest(root / "papers", corpus="papers").result.unchanged
        assert ids(again, "papers") == versions[::-1]


class TestCollect:
    def test_deletes_what_no_corpus_refers_to(self, service: Service, root: Path) -> None:
        first, second = publish(service, root, "papers", "One.", "Two.")
        (other,) = publish(service, root, "others", "Three.")
        assert collect(service) == pb.CollectIndexesResponse()
        sizes = sum(map(len, files_below(service.paths.indexes / other).values()))
        (service.paths.corpora / "others.json").unlink()
        (service.paths.indexes / NOBODY).mkdir()
        (service.paths.indexes / NOBODY / "half").write_bytes(b"12345")
        expected = pb.CollectIndexesResponse(corpus_ids=sorted([NOBODY, other]), freed_bytes=sizes + 5)
        assert collect(service) == expected
        assert service.published() == sorted([first, second])
        assert collect(service) == pb.CollectIndexesResponse()
        assert not service.staged()

    def test_leaves_what_is_no_index(self, service: Service, root: Path) -> None:
        (index,) = publish(service, root, "papers", "One.")
        write(service.paths.indexes, {"backup/notes.txt": "mine", "f" * 16: "a file"})
        (service.paths.indexes / ("e" * 16)).symlink_to(root)
        assert collect(service) == pb.CollectIndexesResponse()
        assert service.published() == sorted([index, "backup", "e" * 16, "f" * 16])

    @pytest.mark.parametrize("content", ["{", "[]", json.dumps({"corpus": "another", "history": []})])
    def test_is_refused_while_a_pointer_cannot_be_read(self, service: Service, root: Path, content: str) -> None:
        publish(service, root, "papers", "One.")
        publish(service, root, "others", "Two.")
        before = service.published()
        pointer = service.paths.corpora / "papers.json"
        pointer.write_text(content)
        with refused(DATA_LOSS, "INDEX_DAMAGED") as refusal:
            collect(service)
        assert refusal.metadata == {"file": "papers.json"}
        assert service.published() == before

    def test_never_happens_by_itself(self, serve: Callable[..., Service], root: Path) -> None:
        service = serve()
        (index,) = publish(service, root, "papers", "One.")
        (service.paths.indexes / NOBODY).mkdir()
        service.stop()
        again = serve()
        (second,) = publish(again, root, "papers", "Two.")
        assert again.published() == sorted([index, second, NOBODY])


def test_a_crash_amid_a_deletion_leaves_nothing_under_the_name(serve: Callable[..., Service], root: Path) -> None:
    service = serve()
    first, second = publish(service, root, "papers", "One.", "Two.")
    service.stop()
    (service.paths.indexes / first).rename(service.paths.staging / f"{first}.0123abcd.removed")
    again = serve()
    assert (again.published(), again.staged()) == ([second], [])


def test_changes_are_made_one_after_the_other(service: Service, root: Path) -> None:
    first, second = publish(service, root, "papers", "One.", "Two.")
    held = HeldChange(service, "papers", first)
    deletion = service.stub.DeleteIndex.future(pb.DeleteIndexRequest(corpus="papers", corpus_id=second))
    job = service.start(write(root / "others", {"a.txt": "Three."}), corpus="others")
    until(lambda: service.job(job).stage == rpb.JOB_STAGE_SAVE and not service.workers(), "a job that wants to publish")
    assert service.index().corpus_id == second  # readers wait for nobody
    assert not held.call.done() and not deletion.done() and service.job(job).state == rpb.JOB_STATE_RUNNING
    held.release()
    assert held.call.result().index.corpus_id == first
    assert deletion.result().freed_bytes > 0
    assert service.end(job).state == rpb.JOB_STATE_SUCCEEDED
    assert ids(service, "papers") == [first]


def test_a_change_is_completed_when_its_caller_is_gone(service: Service, root: Path) -> None:
    first, second = publish(service, root, "papers", "One.", "Two.")
    held = HeldChange(service, "papers", first)
    held.call.cancel()
    held.release()
    with refused(PRECONDITION, "INDEX_IN_USE"):  # it waits for its turn
        delete(service, "papers", first)
    assert ids(service, "papers") == [first, second]


def test_what_a_worker_found_published_is_built_if_it_is_deleted_meanwhile(service: Service, root: Path) -> None:
    first, _ = publish(service, root, "papers", "One.", "Two.")
    old, _ = publish(service, root, "others", "Three.", "Four.")
    held = HeldChange(service, "others", old)
    deletion = service.stub.DeleteIndex.future(pb.DeleteIndexRequest(corpus="papers", corpus_id=first))
    job = service.start(write(root / "again", {"a.txt": "One."}), corpus="again")
    until(lambda: service.job(job).passages_done and not service.workers(), "a job that wants to publish")
    assert service.job(job).message == "nothing has changed"
    held.release()
    done = service.end(job)
    assert deletion.result().freed_bytes > 0
    assert (done.state, done.result.index.corpus_id, done.attempt) == (rpb.JOB_STATE_SUCCEEDED, first, 1)
    assert verify(service, corpus="again").index.corpus_id


def test_versions_come_and_go_from_many_sides(serve: Callable[..., Service], root: Path) -> None:
    service = serve(keep_versions=2)
    first, second = publish(service, root, "papers", "One.", "Two.")
    done = threading.Event()
    unexpected: list[grpc.RpcError] = []

    def change() -> None:
        while not done.is_set():
            for step in (
                lambda: activate(service, "papers", first),
                lambda: verify(service, corpus="papers"),
                lambda: delete(service, "papers", second),
                lambda: collect(service),
            ):
                try:
                    step()
                except grpc.RpcError as error:
                    # What another side changed in the meantime is refused by name; nothing is ever damaged.
                    if error.code() not in (NOT_FOUND, PRECONDITION):
                        unexpected.append(error)

    threads = [threading.Thread(target=change) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(2):
        publish(service, root, "papers", "Two.", "One.", "Three.")
    done.set()
    for thread in threads:
        thread.join()
    assert not unexpected
    assert verify(service, corpus="papers").index.corpus_id
    assert set(ids(service, "papers")) == set(service.published())
    service.tidies_up()


class TestCachedOfAVersion:
    """What the caches hold of a version goes with it, and nothing else."""

    TABLES = (CacheTable.RETRIEVAL, CacheTable.ANSWERS)

    def cached(self, store: SqliteStore, corpus_ids: list[str]) -> list[str]:
        """The versions of which something is cached."""
        found = [store.get_many(table, [name.encode() for name in corpus_ids]) for table in self.TABLES]
        assert set(found[0]) == set(found[1])
        return [name for name in corpus_ids if name.encode() in found[0]]

    @pytest.fixture
    def store(self, service: Service) -> Iterator[SqliteStore]:
        store = SqliteStore(service.paths.cache_db)
        yield store
        store.close()

    def fill(self, store: SqliteStore, corpus_ids: list[str]) -> None:
        for corpus_id in corpus_ids:
            for table in self.TABLES:
                store.put(table, corpus_id.encode(), b"value", corpus_id)
        store.put(CacheTable.EMBEDDINGS, b"text", b"vector")

    def test_is_deleted_with_it(self, service: Service, store: SqliteStore, root: Path) -> None:
        versions = publish(service, root, "papers", "One paper.", "Another paper.")
        [shared] = publish(service, root, "others", "One paper.")
        assert shared == versions[0]
        self.fill(store, versions)
        delete(service, "papers", versions[0])
        assert self.cached(store, versions) == versions  # the other corpus has it still
        publish(service, root, "others", "Something else.")
        delete(service, "others", versions[0])
        assert self.cached(store, versions) == versions[1:]
        assert store.get(CacheTable.EMBEDDINGS, b"text")

    def test_goes_when_newer_versions_take_its_place(self, serve: Callable[..., Service], root: Path) -> None:
        service = serve(keep_versions=2)
        store = SqliteStore(service.paths.cache_db)
        versions = publish(service, root, "papers", "One.", "Two.")
        self.fill(store, versions)
        publish(service, root, "papers", "Three.")
        assert self.cached(store, versions) == versions[1:]
        store.close()
