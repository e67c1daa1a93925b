"""Papers of all formats through the service: what is found, what is reported, and that every passage is its bytes."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest_service import papers as reading
from ingest_service.checking import wrong_passages
from ingest_service.chunking import chunk
from ingest_service.extract import extract
from ingest_service.readers.composing import Composer
from ingest_service.readers.document import Document
from rag_papers.persist.index_store import PassageRecord
from rag_papers.retrieval.sentences import sentences
from tests.ingest_service.building import Data
from tests.ingest_service.ingest_harness import Service, beir, refused, write
from tests.ingest_service.pdfs import Paper, bomb, plain
from tests.ingest_service.test_html import PAGE
from tests.ingest_service.test_jats import ARTICLE


def paged(pages: int = 3) -> bytes:
    """A PDF whose pages each say their number, in sentences that go on over the page."""
    paper = Paper()
    for number in range(1, pages + 1):
        paper.page()
        paper.lines(70, 300, [f"of page {number}. This is page {number} with words of its own, and a sentence begins"])
    return paper.data()


def index_of(service: Service, corpus_id: str) -> Path:
    return service.paths.indexes / corpus_id


def passages_of(index: Path) -> list[PassageRecord]:
    return [PassageRecord(**json.loads(line)) for line in (index / "passages.jsonl").read_text().splitlines()]


def test_papers_of_every_format_are_ingested_and_every_passage_is_its_bytes(service: Service, root: Path) -> None:
    papers = write(
        root / "papers",
        {
            "a.PDF": paged(),
            "b.html": PAGE,
            "c.HTM": PAGE,
            "d.XML": ARTICLE,
            "e.txt": "Plain text. Naïve – text.",
            "f.txt": "\ufeffIn UTF-16: 论文 text.".encode("utf-16-le"),
            "g.md": "# T\n\n## S\ntext.\n",
            "h/corpus.jsonl": beir(3),
        },
    )
    job = service.ingest(papers)
    assert list(job.file_errors) == []
    assert (job.files_total, job.files_done, job.result.index.document_count) == (8, 8, 10)
    index = index_of(service, job.result.index.corpus_id)
    assert list(wrong_passages(index, papers)) == []
    of_pdf = [passage for passage in passages_of(index) if passage.document_id == "a.PDF"]
    assert [(passage.first_page, passage.last_page) for passage in of_pdf] == [(1, 3)]
    assert {p.section for p in passages_of(index) if p.document_id == "d.XML"} >= {"Abstract > Aim", "1 Methods > Data"}
    again = service.ingest(papers)
    assert again.result.unchanged


def test_the_checker_finds_what_is_wrong(service: Service, root: Path, tmp_path: Path) -> None:
    papers = write(root / "papers", {"a.pdf": paged(), "b.txt": "One. Two."})
    job = service.ingest(papers)
    index = index_of(service, job.result.index.corpus_id)
    lines = (index / "passages.jsonl").read_text().splitlines()
    for name, change in {
        "text": {"text": "of pagE"},
        "start": {"start_byte": 1},
        "beyond": {"end_byte": 10_000},
        "owner": {"document_id": "b.txt"},
        "pages": {"first_page": 4},
    }.items():
        copy = tmp_path / name
        shutil.copytree(index, copy)
        (copy / "passages.jsonl").write_text("\n".join([json.dumps(json.loads(lines[0]) | change), *lines[1:]]) + "\n")
        assert list(wrong_passages(copy, papers)), name
    (papers / "a.pdf").write_bytes(plain("Another paper."))
    assert list(wrong_passages(index, papers))


def test_poison_files_are_reported_with_reasons_and_the_rest_goes_on(serve: Callable[..., Service], root: Path) -> None:
    service = serve(parse_seconds=1.0, parse_memory_bytes=128 << 20)
    locked = Paper()
    locked.page()
    locked.pdf.set_encryption(owner_password="owner", user_password="user")
    scan = Paper()
    scan.page()
    papers = write(
        root / "papers",
        {
            "bomb.pdf": bomb(500),
            "entities.xml": '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><article><body><p>&x;</p></body></article>',
            "feed.xml": "<feed/>",
            "good.html": PAGE,
            "good.pdf": paged(),
            "locked.pdf": locked.data(),
            "no.pdf": "not a PDF",
            "scan.pdf": scan.data(),
            "zoom.pdf": plain("After all of them."),
        },
    )
    os.mkfifo(papers / "pipe.pdf")
    (papers / "zero.xml").symlink_to("/dev/zero")
    with (papers / "huge.pdf").open("wb") as file:
        file.truncate(1 << 40)
    job = service.ingest(papers)
    found = {error.path: error.reason for error in job.file_errors}
    assert found.pop("bomb.pdf") in ("PARSE_MEMORY", "PARSE_TIMEOUT")
    assert found == {
        "entities.xml": "MALFORMED",
        "feed.xml": "NOT_JATS",
        "huge.pdf": "TOO_LARGE",
        "locked.pdf": "ENCRYPTED",
        "no.pdf": "MALFORMED",
        "pipe.pdf": "NOT_A_FILE",
        "scan.pdf": "NO_TEXT",
        "zero.xml": "OUTSIDE_ROOT",
    }
    assert (job.files_done, job.files_failed) == (3, 9)


def test_a_file_that_a_limit_stopped_is_read_again_and_makes_another_version(
    serve: Callable[..., Service], root: Path
) -> None:
    papers = write(root / "papers", {"a.txt": "Text.", "slow.pdf": bomb(1)})
    impatient = serve(parse_seconds=0.05)
    first = impatient.ingest(papers)
    assert [error.reason for error in first.file_errors] == ["PARSE_TIMEOUT"]
    again = impatient.ingest(papers)
    assert [error.reason for error in again.file_errors] == ["PARSE_TIMEOUT"]
    assert again.result.unchanged
    impatient.stop()
    second = serve(parse_seconds=100.0).ingest(papers)
    assert list(second.file_errors) == []
    assert second.result.index.corpus_id != first.result.index.corpus_id


def test_names_without_end_do_not_swell_the_index(tmp_path: Path) -> None:
    name = "without end " * 10_000
    body = "A sentence of the text, which is not long at all. " * 4000
    papers = write(
        tmp_path / "papers",
        {
            "a.md": f"# {name}\n## {name}\n{body}\n## {name}\n### {name}\n{body}",
            "b.html": f"<title>{name}</title><h1>{name}</h1><h2>{name}</h2><p>{body}</p>",
            "c.xml": ARTICLE.replace("<article-title>", f"<article-title>{name}"),
            "d.jsonl": json.dumps({"_id": "d", "title": name, "text": body}),
            "e.jsonl": json.dumps({"_id": name, "title": "", "text": body}),
        },
    )
    data = Data(path=tmp_path / "data")
    files = data.files(data.ingest(papers))
    passages = [PassageRecord(**json.loads(line)) for line in files["passages.jsonl"].splitlines()]
    assert {passage.document_id for passage in passages} == {"a.md", "b.html", "c.xml", "d"}
    assert max(len(passage.title) for passage in passages) <= 501
    assert max(len(passage.section) for passage in passages) <= 501
    failure = json.loads(files["failures.jsonl"])
    assert (failure["path"], failure["reason"]) == ("e.jsonl:1", "BAD_LINE")
    assert len(failure["message"]) < 100


def test_more_failed_files_than_allowed_fail_the_job(service: Service, root: Path) -> None:
    papers = write(
        root / "papers", {"a.txt": "Text.", "b.txt": b"\xff", "c.pdf": "no", "d.xml": "<feed/>", "e.md": "x"}
    )
    job = service.fail(papers, max_failed_files=2)
    assert job.error.reason == "TOO_MANY_FAILED_FILES"
    assert "3 files" in job.error.message and "2 are allowed" in job.error.message
    assert job.max_failed_files == 2
    assert service.published() == []
    assert service.ingest(papers, max_failed_files=3).files_failed == 3
    assert service.fail(papers, max_failed_files=0).error.reason == "TOO_MANY_FAILED_FILES"  # also of what is published
    assert not service.ingest(papers).HasField("max_failed_files")


def test_a_negative_number_of_failed_files_is_refused(service: Service, root: Path) -> None:
    papers = write(root / "papers", {"a.txt": "Text."})
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST") as refusal:
        service.start(papers, max_failed_files=-1)
    assert set(refusal.violations) == {"max_failed_files"}


def test_an_encoding_that_was_guessed_is_noted_and_the_file_is_read(service: Service, root: Path) -> None:
    german = "Die Größe der Wörter hängt von den Bäumen ab, über die wir früher gehört haben. " * 5
    papers = write(root / "papers", {"a.txt": german.encode("cp1252")})
    job = service.ingest(papers)
    assert [(error.path, error.reason) for error in job.file_errors] == [("a.txt", "ENCODING_GUESSED")]
    assert (job.files_done, job.files_failed) == (1, 0)
    index = index_of(service, job.result.index.corpus_id)
    assert "Größe" in passages_of(index)[0].text
    assert list(wrong_passages(index, papers)) == []


@pytest.mark.parametrize("name", ["b.txt", "b.pdf", "b.jsonl"])
def test_a_file_that_changes_while_it_is_read_is_reported(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    papers = write(tmp_path / "papers", {"a.txt": "Text."})
    (papers / name).write_bytes({"b.txt": b"Text.", "b.pdf": plain("x"), "b.jsonl": beir(3).encode()}[name])
    digesting = reading.DigestingFile

    class Changing(digesting):  # type: ignore[misc, valid-type]
        """A file that someone else appends to the moment that it is read."""

        def _count(self, data: bytes) -> bytes:
            mine = os.path.samestat(os.fstat(self._file.fileno()), (papers / name).stat())
            if mine and self.bytes_read == 0:
                with (papers / name).open("ab") as file:
                    file.write(b"\n")
            return super()._count(data)  # type: ignore[no-any-return]

    monkeypatch.setattr(reading, "DigestingFile", Changing)
    data = Data(path=tmp_path / "data")
    outcome = data.ingest(papers)
    failures = [json.loads(line) for line in data.files(outcome)["failures.jsonl"].splitlines()]
    assert [(failure["path"], failure["reason"]) for failure in failures] == [(name, "CHANGED")]
    monkeypatch.undo()
    assert Data(path=tmp_path / "other").ingest(papers).corpus_id != outcome.corpus_id


def test_the_extracted_text_can_be_printed_and_cut(root: Path) -> None:
    papers = write(root / "papers", {"a.pdf": paged(), "corpus.jsonl": beir(3)})
    command = [sys.executable, "-m", "ingest_service.extract"]
    printed = subprocess.run([*command, papers / "a.pdf"], capture_output=True, check=True).stdout
    [document] = extract(papers / "a.pdf")
    assert printed == document.text.encode()
    printed = subprocess.run([*command, papers / "corpus.jsonl", "d1"], capture_output=True, check=True).stdout
    assert printed.startswith(b"paper 1 is about")
    missing = subprocess.run([*command, papers / "corpus.jsonl", "none"], capture_output=True)
    assert missing.returncode == 1


SENTENCES = st.one_of(
    st.lists(
        st.sampled_from("we show that the model works naïve 3.5 e.g. Fig. x".split()), min_size=1, max_size=60
    ).map(lambda words: " ".join(words) + "."),
    st.integers(1, 400).map(lambda times: "论文" * times + "。"),
    st.integers(1, 2000).map(lambda times: "x" * times),
)
PARTS = st.lists(
    st.tuples(
        st.sampled_from(["heading", "paragraph", "paragraph", "paragraph", "aside", "top"]),
        st.lists(SENTENCES, min_size=1, max_size=5).map(" ".join),
        st.integers(0, 6),
    ),
    min_size=1,
    max_size=12,
)


def characters(texts: Sequence[str]) -> list[int]:
    """A tokenizer with a token for every character."""
    return [len(text) for text in texts]


@settings(derandomize=True, database=None, deadline=None, max_examples=150)
@given(PARTS, st.sampled_from([5, 60, 256]))
def test_every_sentence_of_a_composed_document_lies_in_passages_that_fit(
    parts: list[tuple[str, str, int]], window: int
) -> None:
    composer = Composer()
    page, texts = 1, []
    for kind, text, number in parts:
        if kind == "heading":
            composer.heading(number, text[:50], page)
        elif kind == "aside":
            composer.aside(text, page)
        elif kind == "top":
            composer.top()
        else:
            text = f"¶{page} {text}"  # found in the document at one place alone
            composer.paragraph(text, (0, page), (len(text) // 2, page + 1))
            texts.append(text)
            page += 1
    done = composer.done()
    document = Document(document_id="d", place="d", title="T", text=done.text, sections=done.sections, pages=done.pages)
    passages = chunk(document, "d", max_tokens=window, count_tokens=characters)
    data = document.text.encode()
    covered = bytearray(len(data))
    for passage in passages:
        assert data[passage.start_byte : passage.end_byte].decode() == passage.text
        assert characters([passage.text])[0] <= window
        assert 1 <= passage.first_page <= passage.last_page <= page
        covered[passage.start_byte : passage.end_byte] = b"\1" * (passage.end_byte - passage.start_byte)
    place = 0
    for text in texts:
        place = document.text.index(text, place)
        for span in sentences(text):
            first = len(document.text[: place + span.start].encode())
            sentence = text[span.start : span.end].encode()
            gaps = [
                byte for byte, held in zip(sentence, covered[first : first + len(sentence)], strict=True) if not held
            ]
            assert not bytes(gaps).strip(), sentence
        place += len(text)
