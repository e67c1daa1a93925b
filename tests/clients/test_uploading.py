"""Uploads as clients and the command line make them: against a scripted service, and against the real one."""

import asyncio
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ingest_service.readers import SUFFIXES as READ
from rag_client import AsyncIngestClient, IngestClient, uploading
from rag_papers import errors
from rag_papers.settings import Settings
from rag_papers.v1 import ingest_pb2 as pb
from tests.clients.scripted_server import job, succeeded
from tests.ingest_service.ingest_harness import Service, write
from tests.ingest_service.uploading import nothing_left, staged, stored

ID = job().job_id
RESPONSE = pb.UploadDocumentsResponse(
    corpus="papers",
    corpus_dir="/srv/uploads/papers",
    files=[pb.UploadedFile(path="a.txt", size_bytes=10, sha256="0" * 64, effect=pb.UPLOAD_EFFECT_NEW)],
    new_count=1,
    total_bytes=10,
)
KINDS = ("blocking", "asyncio")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """The real service."""
    running = Service(Settings(data_dir=tmp_path / "data", corpus_roots=(tmp_path / "none",), model="hashing-64"))
    yield running
    running.stop()


def upload(kind: str, address: str, files: list[Any], **options: Any) -> pb.UploadDocumentsResponse:
    async def asynchronously() -> pb.UploadDocumentsResponse:
        async with AsyncIngestClient(address) as client:
            return await client.upload_documents(files, **options)

    if kind == "asyncio":
        return asyncio.run(asynchronously())
    with IngestClient(address) as client:
        return client.upload_documents(files, **options)


def messages_of(server: Any) -> list[pb.UploadDocumentsRequest]:
    [messages] = server.seen["UploadDocuments"]
    return list(messages)


def test_the_suffixes_are_those_that_the_service_reads():
    assert set(uploading.SUFFIXES) == READ


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_a_header_and_chunks(server, tmp_path, kind):
    server.on("UploadDocuments", RESPONSE)
    data = os.urandom((2 << 20) + 5)
    write(tmp_path, {"large.txt": data, "empty.txt": b""})
    seen: list[tuple[int, int]] = []
    response = upload(
        kind,
        server.address,
        [tmp_path / "large.txt", str(tmp_path / "empty.txt")],
        corpus="papers",
        replace_all=True,
        on_progress=lambda sent, total: seen.append((sent, total)),
    )
    assert response == RESPONSE
    first, header, *chunks, empty, end = messages_of(server)
    assert first.start == pb.UploadStart(corpus="papers", replace_all=True)
    digest = hashlib.sha256(data).hexdigest()
    assert header.file == pb.UploadFile(path="large.txt", size_bytes=len(data), sha256=digest)
    assert [len(message.chunk) for message in chunks] == [1 << 20, 1 << 20, 5]
    assert b"".join(message.chunk for message in chunks) == data
    assert empty.file.path == "empty.txt" and empty.file.size_bytes == 0
    assert end.HasField("end")
    assert seen == [(1 << 20, len(data)), (2 << 20, len(data)), (len(data), len(data))]


def test_a_directory_is_its_papers_under_their_paths(tmp_path):
    names = [
        "b.txt",
        "sub/A.MD",
        "sub/notes.doc",
        ".hidden.txt",
        ".git/a.txt",
        "beir/corpus.jsonl",
        "beir/queries.jsonl",
    ]
    write(tmp_path, dict.fromkeys(names, "x"))
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "dangling.txt").symlink_to("nowhere")
    assert [file.path for file in uploading.gather([tmp_path])] == ["b.txt", "beir/corpus.jsonl", "sub/A.MD"]


def test_every_path_that_holds_nothing_to_send_is_named(server, rag, tmp_path):
    write(tmp_path, {"empty/notes.doc": "x", "a.txt": "x"})
    result = rag(
        "upload", str(tmp_path / "a.txt"), str(tmp_path / "none"), str(tmp_path / "empty"), "--corpus", "papers"
    )
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"there is no file or directory {tmp_path / 'none'}" in result.stderr
    assert (
        f"{tmp_path / 'empty'} holds no papers: no .pdf, .html, .htm, .xml, .txt, .md or .jsonl file" in result.stderr
    )
    assert not server.seen


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_changes_meanwhile_ends_the_upload_and_stores_nothing(service, tmp_path, kind):
    papers = write(tmp_path / "papers", {"a.txt": b"x" * (3 << 20), "b.txt": b"y"})

    def change(sent: int, total: int) -> None:
        (papers / "b.txt").write_bytes(b"longer")

    with pytest.raises(errors.UploadBroken, match=r"b\.txt changes while it is uploaded"):
        upload(kind, service.address, [papers], corpus="papers", on_progress=change)
    assert nothing_left(service)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_goes_away_meanwhile_ends_the_upload_and_stores_nothing(service, tmp_path, kind):
    papers = write(tmp_path / "papers", {"a.txt": b"x", "b.txt": b"y"})

    def remove(sent: int, total: int) -> None:
        (papers / "b.txt").unlink(missing_ok=True)

    with pytest.raises(errors.UploadBroken, match=r"b\.txt: No such file"):
        upload(kind, service.address, [papers], corpus="papers", on_progress=remove)
    assert nothing_left(service)


@pytest.mark.parametrize("kind", KINDS)
def test_papers_arrive_at_the_real_service(service, tmp_path, kind):
    files = {"a.txt": b"one paper.", "sub/large.md": b"x. " * (1 << 20)}
    response = upload(kind, service.address, [write(tmp_path / "papers", files)], corpus="papers")
    assert response.new_count == 2
    assert stored(service) == files
    assert not staged(service)


@pytest.mark.parametrize("kind", KINDS)
def test_a_refusal_in_the_middle_arrives_as_its_error(service, tmp_path, kind):
    write(tmp_path, {"a.exe": b"x" * (8 << 20), "b.txt": b"y"})
    with pytest.raises(errors.InvalidRequest) as caught:
        upload(kind, service.address, [tmp_path / "b.txt", tmp_path / "a.exe"], corpus="papers")
    assert ".jsonl" in caught.value.violations["file.path"]


def test_nobody_there_is_unreachable(rag, tmp_path):
    write(tmp_path, {"a.txt": "x"})
    result = rag("upload", str(tmp_path), "--corpus", "papers", RAG_INGEST_ADDRESS="127.0.0.1:1")
    assert result.exit_code == 3


Rag = Callable[..., Any]


class TestTheCommand:
    def test_uploads_and_follows_the_job(self, server: Any, rag: Rag, tmp_path: Path) -> None:
        server.on("UploadDocuments", RESPONSE)
        server.on("StartIngest", pb.StartIngestResponse(job=job()))
        server.on("WatchJob", [succeeded(2)])
        write(tmp_path, {"a.txt": "one paper."})
        result = rag("upload", str(tmp_path), "--corpus", "papers", "--model", "m", "--no-cache", "--replace-all")
        assert result.exit_code == 0
        assert "  Corpus ID:    a1b2c3d4e5f60718" in result.stdout.splitlines()
        lines = result.stderr.splitlines()
        assert lines[:2] == ["upload    100%  10 B of 10 B", "✓ Upload completed"]
        assert f"✓ Job started: {ID}" in lines
        [request] = server.seen["StartIngest"]
        assert (request.corpus_dir, request.corpus, request.model_name) == ("/srv/uploads/papers", "papers", "m")
        assert request.HasField("use_cache") and not request.use_cache
        assert messages_of(server)[0].start.replace_all

    def test_json_is_the_final_job_alone(self, server: Any, rag: Rag, tmp_path: Path) -> None:
        server.on("UploadDocuments", RESPONSE)
        server.on("StartIngest", pb.StartIngestResponse(job=job()))
        server.on("WatchJob", [succeeded(2)])
        write(tmp_path, {"a.txt": "one paper."})
        final = json.loads(rag("upload", str(tmp_path), "--corpus", "papers", "--json").stdout)
        assert (final["job_id"], final["state"]) == (ID, "JOB_STATE_SUCCEEDED")
        assert not messages_of(server)[0].start.replace_all

    def test_without_an_ingest_prints_what_was_stored(self, server: Any, rag: Rag, tmp_path: Path) -> None:
        server.on("UploadDocuments", RESPONSE)
        write(tmp_path, {"a.txt": "one paper."})
        args = ("upload", str(tmp_path / "a.txt"), "--corpus", "papers", "--no-ingest")
        assert rag(*args).stdout.splitlines() == [
            "✓ Upload completed",
            "  Corpus:    papers",
            "  Directory: /srv/uploads/papers",
            "  Sent:      1 file, 10 B",
            "  Files:     1 new, 0 replaced, 0 unchanged, 0 deleted",
        ]
        printed = json.loads(rag(*args, "--json").stdout)
        assert printed["corpus_dir"] == "/srv/uploads/papers"
        assert printed["files"][0]["effect"] == "UPLOAD_EFFECT_NEW"
        assert not server.seen["StartIngest"]

    def test_names_the_reason_and_the_next_step(self, server: Any, rag: Rag, tmp_path: Path) -> None:
        server.on("UploadDocuments", errors.UploadQuota("too much", quota="FILES", limit="3"))
        write(tmp_path, {"a.txt": "one paper."})
        result = rag("upload", str(tmp_path), "--corpus", "papers")
        assert (result.exit_code, result.stdout) == (1, "")
        assert "error: too much" in result.stderr and "RAG_UPLOAD_QUOTA_BYTES" in result.stderr

    def test_needs_files_and_a_corpus(self, rag: Rag, tmp_path: Path) -> None:
        assert rag("upload", "--corpus", "papers").exit_code == 2
        assert rag("upload", str(tmp_path)).exit_code == 2
