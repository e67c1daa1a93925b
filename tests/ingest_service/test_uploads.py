import hashlib
import json
import os
import shutil
import signal
import threading
from pathlib import Path

import grpc
import pytest

from rag_papers.v1 import ingest_pb2 as pb
from tests.ingest_service.conftest import Serve, Spawn
from tests.ingest_service.ingest_harness import PATIENCE, Service, ServiceProcess, refused, until, write
from tests.ingest_service.uploading import (
    END,
    Message,
    SlowUpload,
    area,
    chunk,
    header,
    nothing_left,
    staged,
    start,
    stored,
    upload,
    whole,
)

INVALID = grpc.StatusCode.INVALID_ARGUMENT
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED

PAPERS = {"a.txt": b"one paper.", "deep/er/b.md": b"# Another\n\nIt is short.", "empty.txt": b""}


class TestAWholeUpload:
    def test_is_stored_and_can_be_ingested(self, service: Service) -> None:
        response = upload(service, whole(PAPERS))
        assert stored(service) == PAPERS
        assert response.corpus_dir == str(area(service) / "papers")
        assert [(file.path, file.size_bytes, file.sha256) for file in response.files] == [
            (path, len(data), hashlib.sha256(data).hexdigest()) for path, data in PAPERS.items()
        ]
        assert {file.effect for file in response.files} == {pb.UPLOAD_EFFECT_NEW}
        assert (response.corpus, response.new_count, response.total_bytes) == (
            "papers",
            3,
            sum(map(len, PAPERS.values())),
        )
        assert not staged(service)
        job = service.ingest(response.corpus_dir)
        assert (job.corpus, job.result.index.document_count) == ("papers", 2)

    def test_adds_and_replaces_and_leaves_the_rest(self, service: Service) -> None:
        upload(service, whole(PAPERS))
        untouched = (area(service) / "papers" / "a.txt").stat()
        response = upload(service, whole({"a.txt": PAPERS["a.txt"], "deep/er/b.md": b"changed", "c.txt": b"new"}))
        assert [file.effect for file in response.files] == [
            pb.UPLOAD_EFFECT_UNCHANGED,
            pb.UPLOAD_EFFECT_REPLACED,
            pb.UPLOAD_EFFECT_NEW,
        ]
        assert (response.new_count, response.replaced_count, response.unchanged_count) == (1, 1, 1)
        assert response.deleted_count == 0
        assert stored(service) == {**PAPERS, "deep/er/b.md": b"changed", "c.txt": b"new"}
        assert (area(service) / "papers" / "a.txt").stat() == untouched
        assert upload(service, whole(PAPERS | {"deep/er/b.md": b"changed"})).unchanged_count == 3
        assert not staged(service)

    def test_with_replace_all_leaves_nothing_else(self, service: Service) -> None:
        upload(service, whole(PAPERS))
        upload(service, whole(PAPERS, "other"))
        response = upload(service, whole({"a.txt": PAPERS["a.txt"], "new/d.txt": b"new"}, replace_all=True))
        assert (response.new_count, response.unchanged_count, response.deleted_count) == (1, 1, 2)
        assert stored(service) == {"a.txt": PAPERS["a.txt"], "new/d.txt": b"new"}
        assert not (area(service) / "papers" / "deep").exists()
        assert stored(service, "other") == PAPERS

    def test_is_named_in_unicode_nfc(self, service: Service) -> None:
        response = upload(service, whole({"cafe\u0301.txt": b"x"}, "e\u0301"))
        assert (response.corpus, response.files[0].path) == ("\u00e9", "caf\u00e9.txt")
        assert stored(service, "\u00e9") == {"caf\u00e9.txt": b"x"}

    def test_may_lie_elsewhere_and_is_ingested_wherever_the_roots_are(self, serve: Serve, tmp_path: Path) -> None:
        service = serve(upload_dir=tmp_path / "elsewhere")
        response = upload(service, whole(PAPERS))
        assert response.corpus_dir == str(tmp_path / "elsewhere" / "papers")
        service.ingest(response.corpus_dir)

    def test_of_a_large_file_takes_little_memory(self, spawn: Spawn) -> None:
        service = spawn(max_file_bytes=256 << 20)

        def peak() -> int:
            status = Path(f"/proc/{service.pid}/status").read_text()
            return int(status.partition("VmHWM:")[2].split()[0]) << 10

        upload(service, whole(PAPERS))
        before = peak()
        block = os.urandom(1 << 20)
        digest = hashlib.sha256()
        for _ in range(192):
            digest.update(block)
        size = 192 << 20
        messages = [
            start(),
            header("large.txt", size_bytes=size, sha256=digest.hexdigest()),
            *[chunk(block)] * 192,
            END,
        ]
        response = upload(service, messages)
        assert response.total_bytes == (area(service) / "papers" / "large.txt").stat().st_size == size
        assert peak() - before < 64 << 20


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("", "is required"),
        ("/etc/a.txt", "absolute"),
        ("../a.txt", "leads elsewhere"),
        ("a/../../b.txt", "leads elsewhere"),
        ("./a.txt", "leads elsewhere"),
        ("a//b.txt", "empty part"),
        ("a.txt/", "empty part"),
        ("a\0.txt", "control character"),
        ("a\n.txt", "control character"),
        ("a\u0085.txt", "control character"),
        ("a\\b.txt", "backslash"),
        (".hidden.txt", "hidden"),
        (".git/a.txt", "hidden"),
        ("x" * 252 + ".txt", "255 bytes"),
        ("é" * 126 + ".txt", "255 bytes"),
        ("/".join(["x" * 100] * 6) + ".txt", "512 bytes"),
        ("a.exe", ".txt"),
        ("a", ".jsonl"),
        ("txt", ".md"),
    ],
)
def test_a_path_that_leads_elsewhere_or_is_no_paper_is_refused(service: Service, path: str, why: str) -> None:
    with refused(INVALID, "INVALID_REQUEST") as refusal:
        upload(service, [start(), header(path), chunk(b"one paper."), END])
    assert set(refusal.violations) == {"file.path"}
    assert why in refusal.message
    assert nothing_left(service)


@pytest.mark.parametrize(
    ("first", "second", "why"),
    [
        ("a.txt", "a.txt", "twice"),
        ("a.txt", "A.TXT", "twice"),
        ("caf\u00e9.txt", "cafe\u0301.txt", "twice"),
        ("stra\u00dfe.txt", "STRASSE.txt", "twice"),
        ("a.txt", "a.txt/b.txt", "directory"),
        ("a.txt/b.txt", "a.txt", "directory"),
    ],
)
def test_two_paths_that_are_one_are_refused(service: Service, first: str, second: str, why: str) -> None:
    with refused(INVALID, "INVALID_REQUEST") as refusal:
        upload(service, [start(), header(first, b"x"), chunk(b"x"), header(second, b"y"), chunk(b"y"), END])
    assert set(refusal.violations) == {"file.path"}
    assert why in refusal.message
    assert nothing_left(service)


def test_every_bad_field_of_a_header_is_named_at_once(service: Service) -> None:
    with refused(INVALID, "INVALID_REQUEST") as refusal:
        upload(service, [start(), header("../a", size_bytes=-1, sha256="XYZ")])
    assert set(refusal.violations) == {"file.path", "file.size_bytes", "file.sha256"}


@pytest.mark.parametrize("corpus", ["", "..", "a/b", ".staging", "x" * 65])
def test_a_bad_corpus_name_is_refused(service: Service, corpus: str) -> None:
    with refused(INVALID, "INVALID_REQUEST") as refusal:
        upload(service, whole(PAPERS, corpus))
    assert set(refusal.violations) == {"corpus"}
    assert nothing_left(service)


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        ([], "start"),
        ([header("a.txt")], "start"),
        ([END], "start"),
        ([start(), start()], "start"),
        ([start(), chunk(b"x")], "chunk"),
        ([start(), END], "file"),
        ([start(), Message()], "part"),
        ([start(), header("a.txt", bytes(2 << 20)), chunk(bytes((1 << 20) + 1))], "chunk"),
    ],
)
def test_messages_out_of_order_are_refused(service: Service, messages: list[Message], field: str) -> None:
    with refused(INVALID, "INVALID_REQUEST") as refusal:
        upload(service, messages)
    assert set(refusal.violations) == {field}
    assert nothing_left(service)


WRONG_DIGEST = hashlib.sha256(b"something else").hexdigest()


@pytest.mark.parametrize(
    "messages",
    [
        [header("b.txt", b"four"), chunk(b"thre"), chunk(b"e")],
        [header("b.txt", b"four"), chunk(b"fou"), END],
        [header("b.txt", b"four"), chunk(b"fou"), header("c.txt"), chunk(b"one paper."), END],
        [header("b.txt", b"four"), END],
        [header("b.txt", b"four", sha256=WRONG_DIGEST), chunk(b"four"), END],
        [header("b.txt", b"", sha256=WRONG_DIGEST), END],
        [header("b.txt", b""), chunk(b"x"), END],
    ],
)
def test_a_file_that_is_not_as_its_header_says_stores_nothing(service: Service, messages: list[Message]) -> None:
    with refused(INVALID, "UPLOAD_BROKEN") as refusal:
        upload(service, [start(), header("a.txt"), chunk(b"one paper."), *messages])
    assert refusal.metadata == {"path": "b.txt"}
    assert "b.txt" in refusal.message
    assert nothing_left(service)


def test_a_stream_that_ends_without_its_last_message_stores_nothing(service: Service) -> None:
    with refused(INVALID, "UPLOAD_BROKEN"):
        upload(service, [start(), header("a.txt"), chunk(b"one paper.")])
    assert nothing_left(service)


class TestQuotas:
    def test_of_a_file(self, serve: Serve) -> None:
        service = serve(max_file_bytes=9)
        with refused(EXHAUSTED, "UPLOAD_QUOTA") as refusal:
            upload(service, whole({"ok.txt": b"x", "a.txt": b"one paper."}))
        assert refusal.metadata == {"path": "a.txt", "quota": "FILE_BYTES", "limit": "9"}
        assert nothing_left(service)
        upload(service, whole({"corpus.jsonl": b'{"_id": "1", "title": "", "text": "x"}\n'}))

    def test_of_all_bytes_counts_what_is_replaced_once(self, serve: Serve) -> None:
        service = serve(upload_quota_bytes=25)
        upload(service, whole({"a.txt": bytes(10)}, "one"))
        upload(service, whole({"a.txt": bytes(15)}, "two"))
        upload(service, whole({"a.txt": b"x" * 15}, "two"))
        upload(service, whole({"b.txt": b"x" * 15}, "two", replace_all=True))
        before = stored(service, "two")
        with refused(EXHAUSTED, "UPLOAD_QUOTA") as refusal:
            upload(service, whole({"b.txt": b"y" * 16}, "two"))
        assert refusal.metadata == {"quota": "TOTAL_BYTES", "limit": "25"}
        assert stored(service, "two") == before
        assert not staged(service)

    def test_of_the_number_of_files(self, serve: Serve) -> None:
        service = serve(upload_max_files=3)
        upload(service, whole({"a.txt": b"x", "b.txt": b"x"}, "one"))
        upload(service, whole({"a.txt": b"y"}, "two"))
        with refused(EXHAUSTED, "UPLOAD_QUOTA") as refusal:
            upload(service, whole({"b.txt": b"x"}, "two"))
        assert refusal.metadata == {"quota": "FILES", "limit": "3"}
        assert stored(service, "two") == {"a.txt": b"y"}

    def test_of_all_bytes_counts_what_arrives_at_the_same_time(self, serve: Serve) -> None:
        service = serve(upload_quota_bytes=25)
        first = SlowUpload(service)
        first.send(start("one"), header("a.txt", bytes(20)), chunk(bytes(19)))
        first.arrives(19)
        with refused(EXHAUSTED, "UPLOAD_QUOTA"):
            upload(service, whole({"a.txt": bytes(10)}, "two"))
        first.send(chunk(bytes(1)))
        assert first.end().total_bytes == 20


class TestLinks:
    def test_of_the_corpus_are_not_followed(self, service: Service, tmp_path: Path) -> None:
        outside = write(tmp_path / "outside", {"a.txt": "secret"})
        (area(service) / "papers").symlink_to(outside)
        with refused(INVALID, "INVALID_REQUEST"):
            upload(service, whole({"a.txt": b"x"}))
        assert (outside / "a.txt").read_bytes() == b"secret"

    @pytest.mark.parametrize("path", ["link/a.txt", "a-link.txt", "a-directory.txt", "paper.txt/a.txt"])
    def test_and_what_else_stands_in_the_way_is_refused(self, service: Service, tmp_path: Path, path: str) -> None:
        outside = write(tmp_path / "outside", {"a.txt": "secret"})
        corpus = write(area(service) / "papers", {"paper.txt": "x", "a-directory.txt/b.txt": "y"})
        (corpus / "link").symlink_to(outside)
        (corpus / "a-link.txt").symlink_to(outside / "a.txt")
        with refused(INVALID, "INVALID_REQUEST") as refusal:
            upload(service, whole({"ok.txt": b"x", path: b"z"}))
        assert "in its way" in refusal.violations["file.path"]
        assert (outside / "a.txt").read_bytes() == b"secret"
        assert not (corpus / "ok.txt").exists()
        assert not staged(service)


class TestABrokenUpload:
    BEGUN = (start(), header("a.txt"), chunk(b"one paper."), header("b.txt", b"another"), chunk(b"anot"))

    def begun(self, service: Service, **fields: float) -> SlowUpload:
        slow = SlowUpload(service, **fields)
        slow.send(*self.BEGUN)
        slow.arrives(14)
        return slow

    def test_by_a_cancel_leaves_nothing(self, service: Service) -> None:
        slow = self.begun(service)
        slow.call.cancel()
        slow.half_close()
        until(lambda: nothing_left(service), "an empty upload area")

    def test_by_a_deadline_leaves_nothing(self, service: Service) -> None:
        slow = SlowUpload(service, timeout=1)
        slow.send(*self.BEGUN)
        with pytest.raises(grpc.RpcError) as caught:
            slow.call.result(PATIENCE)
        slow.half_close()
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        until(lambda: nothing_left(service), "an empty upload area")

    def test_by_silence_leaves_nothing(self, serve: Serve) -> None:
        service = serve(upload_idle_seconds=0.2)
        slow = SlowUpload(service)
        slow.send(*self.BEGUN)
        with refused(grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"):
            slow.call.result(PATIENCE)
        slow.half_close()
        assert nothing_left(service)

    def test_by_a_shutdown_ends_with_unavailable(self, serve: Serve) -> None:
        service = serve(drain_seconds=0.5)
        slow = self.begun(service)
        ended = service.drain()
        with refused(grpc.StatusCode.UNAVAILABLE, "DRAINING"):
            slow.call.result(PATIENCE)
        slow.half_close()
        ended()
        assert nothing_left(service)

    def test_by_sigterm_ends_with_unavailable(self, spawn: Spawn) -> None:
        service = spawn(drain_seconds=0.5)
        slow = self.begun(service)
        service.process.send_signal(signal.SIGTERM)
        with refused(grpc.StatusCode.UNAVAILABLE, "DRAINING"):
            slow.call.result(PATIENCE)
        slow.half_close()
        assert service.ended() == 0
        assert nothing_left(service)
        assert "Traceback" not in service.log() and "Task" not in service.log()

    def test_in_a_shutdown_may_still_be_completed(self, serve: Serve) -> None:
        service = serve(drain_seconds=PATIENCE)
        slow = self.begun(service)
        ended = service.drain()
        slow.send(chunk(b"her"))
        assert slow.end().new_count == 2
        ended()
        assert stored(service) == {"a.txt": b"one paper.", "b.txt": b"another"}

    def test_by_kill_9_leaves_nothing_once_the_service_is_back(self, spawn: Spawn) -> None:
        service = spawn()
        slow = self.begun(service)
        service.kill()
        slow.half_close()
        assert staged(service)
        assert nothing_left(spawn())

    def test_by_a_full_disk_leaves_nothing(self, spawn: Spawn) -> None:
        service = spawn(prefix=("-c", LIMITED))
        with refused(EXHAUSTED, "DISK_FULL"):
            upload(service, whole({"a.txt": b"one paper.", "b.txt": bytes(3 << 20)}))
        assert nothing_left(service)
        upload(service, whole(PAPERS))
        assert stored(service) == PAPERS


# No file may grow beyond 2 MiB, as on a disk that is full by then.
LIMITED = """
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, 2 << 20))
sys.argv = sys.argv[2:]
runpy.run_module("ingest_service", run_name="__main__", alter_sys=True)
"""


class TestACrash:
    def test_between_the_moves_is_made_good_at_the_next_start(self, service: Service, serve: Serve) -> None:
        upload(service, whole({"a.txt": b"old", "gone.txt": b"old", "sub/gone.txt": b"old"}))
        service.stop()
        # What a complete upload leaves when the service dies after the first of its moves.
        write(area(service) / "papers", {"a.txt": "new"})
        write(area(service) / ".staging" / "0123456789abcdef", {"1": "new"})
        record = {
            "corpus": "papers",
            "moves": [["0", "a.txt"], ["1", "b/c.txt"]],
            "removals": ["gone.txt", "sub/gone.txt"],
        }
        (area(service) / ".staging" / "0123456789abcdef" / "moves.json").write_text(json.dumps(record))
        again = serve()
        assert stored(again) == {"a.txt": b"new", "b/c.txt": b"new"}
        assert not staged(again)
        assert not (area(again) / "papers" / "sub").exists()

    def test_before_the_record_is_undone(self, service: Service, serve: Serve) -> None:
        service.stop()
        write(area(service) / ".staging" / "0123456789abcdef", {"0": "new", ".moves.json.0a0b": "{"})
        (area(service) / "papers" / "made" / "already").mkdir(parents=True)
        assert nothing_left(serve())

    def kill_while(self, service: ServiceProcess, name: str) -> None:
        """kill -9 as soon as an upload that is being received, or stored, has a file of this name."""
        while not any((area(service) / ".staging").glob(f"*/{name}")):
            assert service.process.poll() is None
        service.kill()

    def test_whenever_it_comes_leaves_the_files_of_one_upload(self, spawn: Spawn) -> None:
        versions = [{f"{n % 7}/{n}.txt": f"{n} {version}".encode() for n in range(150)} for version in range(2)]
        service = spawn()
        upload(service, whole(versions[0]))
        for while_moving in (False, True, False, True):
            killer = threading.Thread(target=self.kill_while, args=(service, "moves.json" if while_moving else "7"))
            killer.start()
            try:
                for turn in range(10_000):
                    upload(service, whole(versions[turn % 2]))
            except grpc.RpcError:
                killer.join()
            service = spawn()
            assert stored(service) in versions
            assert not staged(service)


class TestTwoUploadsAtOnce:
    def test_to_one_corpus_take_effect_in_the_order_in_which_they_end(self, service: Service) -> None:
        first, second = SlowUpload(service), SlowUpload(service)
        first.send(start(), header("a.txt", b"first"), chunk(b"first"), header("b.txt", b"first"), chunk(b"first"))
        second.send(start(), header("a.txt", b"second"), chunk(b"second"))
        second.arrives(16)
        assert second.end().new_count == 1
        assert stored(service) == {"a.txt": b"second"}
        response = first.end()
        assert (response.new_count, response.replaced_count) == (1, 1)
        assert stored(service) == {"a.txt": b"first", "b.txt": b"first"}

    def test_never_leave_a_mixture(self, service: Service) -> None:
        versions = [{f"{n}.txt": f"{n} {version}".encode() for n in range(40)} for version in range(6)]
        threads = [threading.Thread(target=upload, args=(service, whole(version))) for version in versions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert stored(service) in versions
        assert not staged(service)


def test_an_upload_while_its_corpus_is_ingested_disturbs_neither(service: Service) -> None:
    papers = {f"{n}.txt": f"paper {n} is old.".encode() for n in range(20)}
    directory = upload(service, whole(papers)).corpus_dir
    with service.held():
        job = service.start(directory)
        service.standing(job)
        upload(service, whole({"0.txt": b"paper 0 is new.", "1.txt": b"paper 1 is new."}))
    assert service.end(job).result.index.document_count == 20
    again = service.ingest(directory)
    assert not again.result.unchanged
    assert again.result.embed_misses == 2


def test_nothing_of_an_upload_can_be_ingested_before_it_is_complete(service: Service) -> None:
    slow = SlowUpload(service)
    slow.send(start(), header("a.txt", b"secret"), chunk(b"secre"))
    slow.arrives(5)
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "NO_PAPERS"):
        service.start(area(service) / ".staging")
    slow.call.cancel()
    slow.half_close()


def test_the_area_that_was_deleted_by_hand_is_made_again(service: Service) -> None:
    shutil.rmtree(area(service))
    upload(service, whole(PAPERS))
    assert stored(service) == PAPERS
