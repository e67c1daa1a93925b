import contextlib
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ingest_service.scan import has_papers, open_regular, scan
from rag_papers.settings import Settings
from rag_papers.v1 import resources_pb2 as rpb
from tests.ingest_service.conftest import Spawn
from tests.ingest_service.ingest_harness import Service, beir, write

# Root reads everything, so the services that shall not be able to read a file give the right to do so up.
WITHOUT_ROOTS_RIGHTS = (
    "-c",
    "import ctypes, os, sys\n"
    "prctl = ctypes.CDLL(None, use_errno=True).prctl\n"
    "for capability in (1, 2):\n"  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    "    if os.geteuid() == 0 and prctl(24, capability, 0, 0, 0): sys.exit('cannot drop the rights of root')\n"
    "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])",
)


def paths(root: Path) -> list[str]:
    return [file.path for file in scan(root).files]


def errors(root: Path) -> dict[str, str]:
    return {error.path: error.reason for error in scan(root).errors}


def test_papers_are_the_files_with_a_supported_suffix(tmp_path: Path) -> None:
    write(tmp_path, dict.fromkeys(["a.txt", "B.TXT", "c.Md", "deep/er/d.md", "e.PDF", "f", "g.txt.bak", "h.docx"], "x"))
    assert paths(tmp_path) == ["B.TXT", "a.txt", "c.Md", "deep/er/d.md", "e.PDF"]
    assert scan(tmp_path).skipped == 3


def test_hidden_files_and_directories_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path, dict.fromkeys(["a.txt", ".b.txt", ".git/c.txt", "d/.e/f.txt"], "x"))
    assert paths(tmp_path) == ["a.txt"]
    assert scan(tmp_path).skipped == 1


def test_other_jsonl_files_beside_corpus_jsonl_are_its_questions(tmp_path: Path) -> None:
    write(tmp_path, dict.fromkeys(["beir/corpus.jsonl", "beir/queries.jsonl", "beir/qrels/test.tsv", "own.jsonl"], "x"))
    assert paths(tmp_path) == ["beir/corpus.jsonl", "own.jsonl"]
    assert scan(tmp_path).skipped == 2


def test_a_link_to_a_file_inside_is_that_file_and_one_out_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, {"root/a.txt": "x", "outside.txt": "secret"})
    root = tmp_path / "root"
    (root / "inside.txt").symlink_to("a.txt")
    (root / "out.txt").symlink_to(tmp_path / "outside.txt")
    (root / "hop").symlink_to(tmp_path / "outside.txt")
    (root / "two-hops.txt").symlink_to("hop")
    assert paths(root) == ["a.txt", "inside.txt"]
    assert errors(root) == {"out.txt": "OUTSIDE_ROOT", "two-hops.txt": "OUTSIDE_ROOT"}


def test_links_to_directories_are_not_followed_and_reported(tmp_path: Path) -> None:
    write(tmp_path, {"root/sub/a.txt": "x", "outside/b.txt": "secret"})
    root = tmp_path / "root"
    (root / "inside").symlink_to("sub")
    (root / "sub" / "up").symlink_to(root)
    (root / "out").symlink_to(tmp_path / "outside")
    (root / ".hidden").symlink_to(tmp_path / "outside")
    assert paths(root) == ["sub/a.txt"]
    assert errors(root) == {"inside": "NOT_A_FILE", "out": "OUTSIDE_ROOT", "sub/up": "NOT_A_FILE"}


def test_links_that_lead_nowhere_are_unreadable(tmp_path: Path) -> None:
    (tmp_path / "gone.txt").symlink_to("nothing")
    (tmp_path / "circle.txt").symlink_to("circle.txt")
    (tmp_path / "gone").symlink_to("nothing")
    assert errors(tmp_path) == {"circle.txt": "UNREADABLE", "gone.txt": "UNREADABLE"}


def test_files_over_the_limit_are_not_read_but_for_those_that_are_read_by_line(tmp_path: Path) -> None:
    write(tmp_path, {"a.txt": "x" * 10, "b.PDF": "x" * 11, "c.jsonl": "x" * 11})
    found = scan(tmp_path, 10)
    assert [file.path for file in found.files] == ["a.txt", "c.jsonl"]
    assert [(error.path, error.reason) for error in found.errors] == [("b.PDF", "TOO_LARGE")]


def test_pipes_sockets_and_devices_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    with contextlib.suppress(PermissionError):  # which is for root alone
        os.mknod(tmp_path / "device.xml", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket.md"))
        assert errors(tmp_path) == dict.fromkeys((path.name for path in tmp_path.iterdir()), "NOT_A_FILE")


def test_names_that_are_not_utf8_are_shown_with_escapes(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt")).write_text("x")
    deep = Path(os.fsdecode(os.fsencode(tmp_path) + b"/d\xff"))
    write(deep, {"a.txt": "x"})
    assert errors(tmp_path) == {"caf\\udce9.txt": "UNREADABLE", "d\\udcff/a.txt": "UNREADABLE"}


def test_a_directory_has_papers_only_if_a_file_in_it_looks_like_one(tmp_path: Path) -> None:
    write(tmp_path, {"a.docx": "x", ".hidden.txt": "x", ".hidden/a.txt": "x"})
    (tmp_path / "named.txt").mkdir()
    assert not has_papers(tmp_path)
    write(tmp_path / "named.txt", {"a.md": "x"})
    assert has_papers(tmp_path)


def test_only_regular_files_are_opened_and_never_waited_for(tmp_path: Path) -> None:
    write(tmp_path, {"a.txt": "x"})
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "link.txt").symlink_to("a.txt")
    with open_regular(tmp_path / "a.txt") as file:
        assert file.read() == b"x"
    for name in ("pipe.txt", "link.txt", "gone.txt", "."):
        with pytest.raises(OSError):
            open_regular(tmp_path / name)


def nasty(root: Path, outside: Path) -> dict[str, str]:
    """Fills `root` with every file that cannot be ingested, and two that can; returns the reasons by path."""
    lines = [b'{"_id": "d1", "text": "first"}', b"bad", b'{"_id": "d1", "text": "again"}', b'{"_id": 2, "text": "two"}']
    write(
        root,
        {
            "good.TXT": "A good paper.",
            "corpus.jsonl": b"\n".join(lines),
            "queries.jsonl": '{"_id": "q", "text": "a question"}\n',
            ".hidden.txt": "hidden",
            "picture.png": b"\x89PNG",
            "bytes.txt": b"\xff",
            "empty.md": "",
            "large.txt": "x" * 2000,
        },
    )
    os.mkfifo(root / "pipe.txt")
    (root / "inside.txt").symlink_to("good.TXT")
    (root / "out.txt").symlink_to(write(outside, {"secret.txt": "secret"}) / "secret.txt")
    (root / "dir").symlink_to(outside)
    (root / "gone.txt").symlink_to("nothing")
    Path(os.fsdecode(os.fsencode(root) + b"/caf\xe9.txt")).write_text("x")
    return {
        "bytes.txt": "NOT_UTF8",
        "caf\\udce9.txt": "UNREADABLE",
        "corpus.jsonl:2": "BAD_LINE",
        "corpus.jsonl:3": "DUPLICATE_ID",
        "dir": "OUTSIDE_ROOT",
        "empty.md": "NO_TEXT",
        "gone.txt": "UNREADABLE",
        "large.txt": "TOO_LARGE",
        "out.txt": "OUTSIDE_ROOT",
        "pipe.txt": "NOT_A_FILE",
    }


def test_bad_files_are_reported_by_path_and_reason_and_the_rest_goes_on(
    serve: Callable[..., Service], root: Path, tmp_path: Path
) -> None:
    service = serve(max_file_bytes=1000)
    expected = nasty(root / "papers", tmp_path / "outside")
    job = service.ingest(root / "papers")
    assert [error.path for error in job.file_errors] == sorted(expected)
    assert {error.path: error.reason for error in job.file_errors} == expected
    assert all(error.message for error in job.file_errors)
    assert job.result.index.document_count == 4  # good.TXT, the link to it, and two lines
    assert (job.files_total, job.files_done, job.files_failed, job.files_skipped) == (11, 3, 8, 3)

    again = service.ingest(root / "papers")
    assert again.result.unchanged
    assert list(again.file_errors) == list(job.file_errors)
    assert (again.files_total, again.files_done, again.files_failed, again.files_skipped) == (11, 3, 8, 3)


def test_counts_of_a_file_of_bad_lines_alone_are_the_same_the_second_time(service: Service, root: Path) -> None:
    papers = write(root / "papers", {"a.txt": "text.", "bad.jsonl": "bad\n{}\n"})
    counts = [(job.files_done, job.files_failed) for job in (service.ingest(papers), service.ingest(papers))]
    assert counts == [(1, 1), (1, 1)]


def test_a_hundred_file_errors_are_listed_and_all_are_stored(service: Service, root: Path) -> None:
    papers = write(root / "papers", {"corpus.jsonl": beir(3) + "bad\n" * 150})
    job = service.ingest(papers)
    assert len(job.file_errors) == 100
    stored = (service.paths.indexes / job.result.index.corpus_id / "failures.jsonl").read_text()
    assert len(stored.splitlines()) == 150


def test_an_id_that_two_files_use_belongs_to_the_first(service: Service, root: Path) -> None:
    papers = write(root / "papers", {"a.jsonl": beir(2), "b.jsonl": "\n" + beir(3), "d2": ""})
    job = service.ingest(papers)
    assert job.result.index.document_count == 3
    assert [(error.path, error.reason) for error in job.file_errors] == [
        ("b.jsonl:2", "DUPLICATE_ID"),
        ("b.jsonl:3", "DUPLICATE_ID"),
    ]


def test_what_may_not_be_read_is_reported(spawn: Spawn, root: Path) -> None:
    if subprocess.run([sys.executable, *WITHOUT_ROOTS_RIGHTS, "-c", ""], stderr=subprocess.DEVNULL).returncode:
        pytest.skip("root cannot give its rights up here")
    papers = write(root / "papers", {"good.txt": "A good paper.", "locked.txt": "x", "locked/a.txt": "x"})
    (papers / "locked.txt").chmod(0)
    (papers / "locked").chmod(0)
    try:
        job = spawn(WITHOUT_ROOTS_RIGHTS).ingest(papers)
    finally:
        (papers / "locked").chmod(0o700)
    assert {error.path: error.reason for error in job.file_errors} == {
        "locked": "UNREADABLE",
        "locked.txt": "UNREADABLE",
    }
    assert (job.files_done, job.files_failed) == (1, 2)


def test_a_file_that_becomes_readable_makes_another_version(service: Service, root: Path) -> None:
    papers = write(root / "papers", {"good.txt": "A good paper.", "bad.txt": b"\xff"})
    first = service.ingest(papers).result.index
    write(papers, {"bad.txt": "Now it is good."})
    second = service.ingest(papers).result.index
    assert (first.document_count, second.document_count) == (1, 2)
    assert first.corpus_id != second.corpus_id


def test_a_directory_that_loses_its_papers_after_the_call_fails_the_job(
    serve: Callable[..., Service], settings: Callable[..., Settings], root: Path
) -> None:
    service = serve(max_workers=1)
    papers = write(root / "papers", {"a.txt": "text."})
    busy = write(root / "busy", {"corpus.jsonl": beir(400)})
    with service.held():
        service.standing(service.start(busy))
        job = service.start(papers)
        (papers / "a.txt").unlink()
        papers.rmdir()
    ended = service.end(job)
    assert ended.state == rpb.JOB_STATE_FAILED
    assert ended.error.reason == "NO_PAPERS"
    service.tidies_up()
