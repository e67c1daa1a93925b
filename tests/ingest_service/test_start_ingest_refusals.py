import os
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from rag_papers.v1 import ingest_pb2 as pb
from tests.ingest_service.ingest_harness import Service, files_below, refused, write

INVALID = grpc.StatusCode.INVALID_ARGUMENT


@pytest.fixture
def papers(root: Path) -> Path:
    return write(root / "papers", {"a.txt": "one paper."})


@pytest.fixture
def untouched(service: Service) -> Iterator[Service]:
    """A service that nothing may be left behind in."""
    data = service.paths.indexes.parent
    before = files_below(data)
    yield service
    assert service.jobs() == []
    assert service.workers() == []
    assert files_below(data) == before


@pytest.mark.parametrize("name", ["missing", "papers/missing", "papers/a.txt"])
def test_what_is_no_directory_is_not_found(untouched: Service, papers: Path, root: Path, name: str) -> None:
    with refused(grpc.StatusCode.NOT_FOUND, "DIRECTORY_NOT_FOUND") as refusal:
        untouched.start(root / name)
    assert str(root / name) in refusal.message


@pytest.mark.parametrize("name", ["outside", "missing", "outside/a.txt", "root-of-another"])
def test_outside_the_roots_nothing_is_said_about_what_exists(untouched: Service, tmp_path: Path, name: str) -> None:
    write(tmp_path, {"outside/a.txt": "secret", "root-of-another/a.txt": "x"})
    with refused(grpc.StatusCode.PERMISSION_DENIED, "DIRECTORY_NOT_ALLOWED") as refusal:
        untouched.start(tmp_path / name)
    assert "RAG_CORPUS_ROOTS" in refusal.message
    assert refusal.metadata == {"corpus_dir": str(tmp_path / name)}


def test_dots_do_not_lead_out_of_the_roots(untouched: Service, papers: Path, tmp_path: Path) -> None:
    write(tmp_path / "outside", {"a.txt": "secret"})
    for escape in (papers / ".." / ".." / "outside", papers / "missing" / ".." / ".." / ".." / "outside"):
        with refused(grpc.StatusCode.PERMISSION_DENIED, "DIRECTORY_NOT_ALLOWED"):
            untouched.start(escape)
    relative = os.path.relpath(tmp_path / "outside")
    with refused(grpc.StatusCode.PERMISSION_DENIED, "DIRECTORY_NOT_ALLOWED"):
        untouched.start(relative)


def test_links_do_not_lead_out_of_the_roots(untouched: Service, root: Path, tmp_path: Path) -> None:
    write(tmp_path / "outside", {"sub/a.txt": "secret"})
    (root / "link").symlink_to(tmp_path / "outside")
    for name in ("link", "link/sub", "link/missing"):
        with refused(grpc.StatusCode.PERMISSION_DENIED, "DIRECTORY_NOT_ALLOWED"):
            untouched.start(root / name)


@pytest.mark.parametrize("content", [{}, {"a.docx": "x"}, {".hidden.txt": "x"}, {".git/a.txt": "x"}])
def test_a_directory_without_papers_is_refused(untouched: Service, root: Path, content: dict[str, str]) -> None:
    (root / "papers").mkdir()
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "NO_PAPERS"):
        untouched.start(write(root / "papers", content))


def test_a_path_that_cannot_be_one_is_invalid(untouched: Service, root: Path) -> None:
    (root / "circle").symlink_to("circle")
    strange = Path(os.fsdecode(os.fsencode(root) + b"/\xff"))
    write(strange, {"a.txt": "one paper."})
    (root / "strange").symlink_to(strange)
    for path in ("", f"{root}/nul\0", f"{root}/{'x' * 300}", f"{root}/strange"):
        with refused(INVALID, "INVALID_REQUEST") as refusal:
            untouched.start(path)
        assert set(refusal.violations) == {"corpus_dir"}
    with pytest.raises(grpc.RpcError) as caught:
        untouched.start(root / "circle")
    assert caught.value.code() in (INVALID, grpc.StatusCode.NOT_FOUND)


@pytest.mark.parametrize(
    "name", [" ", ".", "..", "../up", "a/b", "_a", "-a", " a", "a ", "a.", "a\n", "a\0", "x" * 65, "\U00020000" * 60]
)
def test_a_bad_corpus_name_is_invalid(untouched: Service, papers: Path, name: str) -> None:
    with refused(INVALID, "INVALID_REQUEST") as refusal:
        untouched.start(papers, corpus=name)
    assert set(refusal.violations) == {"corpus"}


def test_every_bad_field_is_named_at_once(untouched: Service) -> None:
    request = pb.StartIngestRequest(corpus="/", request_id="x" * 129, model_name="x" * 1025)
    with refused(INVALID, "INVALID_REQUEST") as refusal:
        untouched.stub.StartIngest(request)
    assert set(refusal.violations) == {"corpus_dir", "corpus", "request_id", "model_name"}
    assert all(refusal.violations.values())


def test_a_directory_whose_name_makes_no_corpus_name_needs_one(service: Service, root: Path) -> None:
    papers = write(root / "---", {"a.txt": "one paper."})
    with refused(INVALID, "INVALID_REQUEST") as refusal:
        service.start(papers)
    assert set(refusal.violations) == {"corpus"}
    assert service.jobs() == []
    assert service.ingest(papers, corpus="named").corpus == "named"


@pytest.mark.parametrize(
    ("directory", "corpus"),
    [
        ("papers", "papers"),
        ("My Papers (2024)!", "My Papers -2024--"),
        ("__init__", "init__"),
        ("📚 books", "books"),
        ("论文", "论文"),
        ("cafe\u0301", "caf\u00e9"),
        ("v1.0. ", "v1.0"),
        ("a,b;c", "a-b-c"),
        ("x" * 100, "x" * 64),
        ("x" * 63 + " y", "x" * 63),
    ],
)
def test_the_default_corpus_is_named_after_the_directory(
    service: Service, root: Path, directory: str, corpus: str
) -> None:
    with service.held():
        job = service.start(write(root / directory, {"a.txt": "one paper."}))
        assert job.corpus == corpus
        service.cancel(job)


def test_the_largest_values_are_taken(service: Service, papers: Path) -> None:
    with service.held():
        job = service.start(papers, corpus="é" * 64, request_id="x" * 128)
        assert job.corpus == "é" * 64
        service.cancel(job)
    job = service.fail(papers, model_name="x" * 1024)
    assert job.error.reason == "MODEL_UNAVAILABLE"


def test_a_link_to_a_directory_inside_is_ingested_as_that_directory(service: Service, papers: Path, root: Path) -> None:
    (root / "link").symlink_to(papers)
    job = service.ingest(root / "link" / ".." / "link")
    assert (job.corpus_dir, job.corpus) == (str(papers), "papers")


def test_a_relative_path_is_one_of_the_working_directory(
    service: Service, papers: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    assert service.ingest("papers").corpus_dir == str(papers)
