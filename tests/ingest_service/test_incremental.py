"""An ingest after a change: it costs what has changed, and gives the bytes that building from nothing gives."""

import json
import os
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest_service import chunking, identity, papers, previous, seen
from ingest_service.parsing import Parser
from ingest_service.passages import GrowingPassages
from ingest_service.scan import Stamp
from ingest_service.seen import SeenFiles
from rag_papers.persist.index_store import (
    DOCUMENT_DIGESTS,
    DOCUMENTS,
    FAILURES,
    PASSAGE_OFFSETS,
    PASSAGES,
    SOURCES,
    VECTORS,
    read_sources,
)
from rag_papers.persist.job_log import FileCounts
from rag_papers.retrieval.encoders import HashingEncoder
from tests.ingest_service.building import Data
from tests.ingest_service.ingest_harness import Service, beir, write
from tests.ingest_service.pdfs import plain

Edit = tuple[str, str, object]

NAMES = ("a.txt", "b.md", "sub/c.txt", "x.jsonl", "y.jsonl", "z/corpus.jsonl")
PLAIN = st.sampled_from(
    [
        b"One sentence. Another one.",
        b"One sentence.  Another one.",
        b"Caf\xc3\xa9. " * 40 + b"\n\n# Heading\nMore of it.",
        b"# Title\n\n## Part\nText of the part.\n",
        b"Cafe\xcc\x81. A letter and its accent.",
        b" \n",
        b"\xff\xfe\xfd",
    ]
)
LINES = st.lists(
    st.one_of(
        st.builds(
            lambda number, title, text: json.dumps({"_id": f"d{number}", "title": title, "text": text}),
            st.integers(0, 6),
            st.sampled_from(["", "A title"]),
            st.sampled_from(["One sentence. Another one.", "Caf\u00e9.", "Cafe\u0301.", "Many words of it. " * 90, ""]),
        ),
        st.sampled_from(["", "no JSON", "{}"]),
    ),
    max_size=6,
).map("\n".join)
EDITS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.sampled_from(NAMES[:3]), PLAIN),
        st.tuples(st.just("write"), st.sampled_from(NAMES[3:]), LINES.map(str.encode)),
        st.tuples(st.just("delete"), st.sampled_from(NAMES), st.none()),
        st.tuples(st.just("touch"), st.sampled_from(NAMES), st.none()),
        st.tuples(st.just("move"), st.sampled_from(NAMES), st.sampled_from(NAMES)),
    ),
    min_size=1,
    max_size=4,
)


def edit(root: Path, kind: str, name: str, argument: object) -> None:
    path = root / name
    if kind == "write":
        assert isinstance(argument, bytes)
        write(root, {name: argument})
    elif path.exists():
        if kind == "delete":
            path.unlink()
        elif kind == "touch":
            os.utime(path, (1, 1))
        elif path.suffix == Path(str(argument)).suffix:
            (root / str(argument)).parent.mkdir(exist_ok=True)
            path.replace(root / str(argument))


@settings(derandomize=True, database=None, deadline=None, max_examples=12)
@given(st.lists(EDITS, min_size=2, max_size=4))
def test_after_any_edits_the_index_is_that_of_a_build_from_nothing(
    history: list[list[tuple[str, str, object]]],
) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = write(Path(name) / "papers", {"always.txt": "There is always this paper."})
        data = Data(path=Path(name) / "data")
        for number, edits in enumerate(history):
            for one in edits:
                edit(root, *one)
            outcome = data.ingest(root)
            fresh = Data(path=Path(name) / f"fresh-{number}")
            assert data.files(outcome) == fresh.files(fresh.ingest(root))


class Watched:
    """What a build does with the papers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read: list[str] = []
        self.parsed: list[str] = []
        self.chunked: list[str] = []
        for module in (identity, papers):
            monkeypatch.setattr(module, "open_regular", self._noting(module.open_regular, self.read))
        parse = Parser.read

        def read(parser: Parser, path: str, *rest: object) -> Iterator[object]:
            self.parsed.append(path)
            return parse(parser, path, *rest)  # type: ignore[arg-type]

        monkeypatch.setattr(Parser, "read", read)
        chunk = papers.chunk

        def chunked(document: object, *rest: object, **more: object) -> object:
            self.chunked.append(document.document_id)  # type: ignore[attr-defined]
            return chunk(document, *rest, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(papers, "chunk", chunked)

    @staticmethod
    def _noting(call: Callable[[Path], object], calls: list[str]) -> Callable[[Path], object]:
        def noted(path: Path) -> object:
            calls.append(path.name)
            return call(path)

        return noted

    def forget(self) -> None:
        for calls in (self.read, self.parsed, self.chunked):
            calls.clear()


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(monkeypatch)


@pytest.fixture
def data(tmp_path: Path) -> Data:
    return Data(path=tmp_path / "data")


@pytest.fixture
def trusting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are remembered however young they are."""
    monkeypatch.setattr(seen, "_SETTLED_NS", -(10**15))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    files = {
        "a.txt": "The first paper.",
        "c.md": "# Third\nIts text.",
        "corpus.jsonl": beir(5),
        "empty.txt": " ",
        "figure.png": "",
    }
    return write(tmp_path / "root" / "papers", files)


@pytest.fixture
def paged(root: Path) -> None:
    """One of the papers is of those that are parsed in a process of their own."""
    write(root, {"b.pdf": plain("The second paper.")})


@pytest.mark.usefixtures("trusting", "paged")
class TestUnchangedFiles:
    def test_are_not_even_opened(self, data: Data, root: Path, watched: Watched) -> None:
        first = data.ingest(root)
        assert set(watched.read) == {"a.txt", "b.pdf", "c.md", "corpus.jsonl", "empty.txt"}
        watched.forget()
        again = data.ingest(root)
        assert (again.corpus_id, again.staged, again.embed_misses) == (first.corpus_id, False, 0)
        assert (watched.read, watched.parsed) == ([], [])
        write(root, {"d.txt": "Another paper."})
        more = data.ingest(root)
        assert (set(watched.read), watched.parsed, watched.chunked) == ({"d.txt"}, [], ["d.txt"])
        assert (more.embed_hits, more.embed_misses) == (8, 1)
        assert more.files == FileCounts(scanned=6, new=1, unchanged=4, failed=1, skipped=1)

    def test_of_a_directory_with_another_name_are_not_opened_either(
        self, data: Data, root: Path, watched: Watched
    ) -> None:
        first = data.ingest(root)
        renamed = root.rename(root.with_name("renamed"))
        watched.forget()
        again = data.ingest(renamed, corpus="renamed")
        assert (again.corpus_id, again.embed_misses, watched.read) == (first.corpus_id, 0, [])
        assert again.files == FileCounts(scanned=5, new=4, failed=1, skipped=1)  # the corpus had no version before
        write(renamed, {"a.txt": "It has changed."})
        changed = data.ingest(renamed, corpus="third")
        assert (set(watched.read), watched.parsed, changed.embed_misses) == ({"a.txt"}, [], 1)

    def test_that_are_copied_or_touched_are_read_and_not_parsed(self, data: Data, root: Path, watched: Watched) -> None:
        data.ingest(root)
        for path in root.iterdir():
            os.utime(path)
        copy = shutil.copytree(root, root.parent / "copy")
        write(copy, {"d.txt": "Another paper."})
        watched.forget()
        data.ingest(copy)
        assert set(watched.read) == {"a.txt", "b.pdf", "c.md", "corpus.jsonl", "d.txt", "empty.txt"}
        assert (watched.parsed, watched.chunked) == ([], ["d.txt"])

    def test_are_read_all_the_same_without_the_cache(self, data: Data, root: Path, watched: Watched) -> None:
        first = data.ingest(root)
        watched.forget()
        again = data.ingest(root, use_cache=False)
        assert set(watched.parsed) == {"b.pdf"}
        assert (again.embed_hits, again.embed_misses) == (0, first.embed_misses)
        assert again.files.unchanged == 4


def test_of_a_file_of_many_documents_those_that_have_changed_are_chunked_and_embedded(
    data: Data, root: Path, watched: Watched
) -> None:
    data.ingest(root)
    lines = (root / "corpus.jsonl").read_text().splitlines()
    lines[3] = '{"_id": "d3", "title": "", "text": "It has changed."}'
    (root / "corpus.jsonl").write_text("\n".join([lines[4], *lines[:4], lines[0]]))
    watched.forget()
    again = data.ingest(root)
    assert watched.chunked == ["d3"]
    assert (again.embed_misses, again.files.changed, again.files.unchanged) == (1, 1, 2)
    fresh = Data(path=root.parent / "fresh")
    assert data.files(again) == fresh.files(fresh.ingest(root))


def test_files_are_counted(data: Data, tmp_path: Path) -> None:
    root = write(tmp_path / "root", {"a.txt": "One.", "b.txt": "Two.", "c.txt": "Three.", "d.txt": " ", "e.png": ""})
    assert data.ingest(root).files == FileCounts(scanned=4, new=3, failed=1, skipped=1)
    write(root, {"a.txt": "Other words.", "d.txt": "Now there is text.", "f.txt": "Six."})
    (root / "b.txt").unlink()
    (root / "c.txt").touch()
    (root / "g.txt").symlink_to("/etc/hostname")
    assert data.ingest(root).files == FileCounts(
        scanned=5, new=1, changed=2, unchanged=1, deleted=1, failed=1, skipped=1
    )
    assert data.ingest(root).files == FileCounts(scanned=5, unchanged=4, failed=1, skipped=1)


def test_the_service_tells_the_counts(service: Service, root: Path) -> None:
    root = write(root / "own", {"a.txt": "One.", "b.txt": "Two.", "c.png": ""})
    service.ingest(root)
    write(root, {"b.txt": "Other words.", "d.txt": "Four.", "e.txt": ""})
    (root / "a.txt").unlink()
    result = service.ingest(root).result
    assert (result.files_scanned, result.files_new, result.files_changed, result.files_unchanged) == (3, 1, 1, 0)
    assert (result.files_deleted, result.files_skipped, result.files_failed) == (1, 1, 1)


def test_the_twin_of_a_deleted_file_stays(data: Data, tmp_path: Path) -> None:
    root = write(tmp_path / "root", {"a.txt": "Equal text.", "b.txt": "Equal text."})
    first = data.ingest(root)
    assert first.embed_hits + first.embed_misses == 2
    (root / "a.txt").unlink()
    second = data.ingest(root)
    assert (second.embed_hits, second.embed_misses) == (1, 0)
    assert [json.loads(line)["path"] for line in data.files(second)[PASSAGES].splitlines()] == ["b.txt"]


def test_a_write_that_keeps_size_and_time_is_seen(data: Data, tmp_path: Path) -> None:
    root = write(tmp_path / "root", {"a.txt": "One text."})
    os.utime(root / "a.txt", (1, 1))
    first = data.ingest(root)
    (root / "a.txt").write_text("Two text.")
    os.utime(root / "a.txt", (1, 1))
    second = data.ingest(root)
    assert (second.files.changed, second.embed_misses) == (1, 1)
    assert second.corpus_id != first.corpus_id


@pytest.mark.parametrize("name", [SOURCES, DOCUMENTS, DOCUMENT_DIGESTS, FAILURES, PASSAGES, PASSAGE_OFFSETS, VECTORS])
@pytest.mark.parametrize("missing", [False, True])
def test_nothing_is_taken_from_a_version_that_is_damaged(
    data: Data, root: Path, watched: Watched, name: str, missing: bool
) -> None:
    first = data.ingest(root)
    path = data.path / "indexes" / first.corpus_id / name
    content = bytearray(path.read_bytes())
    path.unlink()
    if not missing:
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    write(root, {"a.txt": "It has changed."})
    watched.forget()
    again = data.ingest(root)
    assert set(watched.chunked) >= {"a.txt", "c.md", "d0"}
    fresh = Data(path=root.parent / "fresh")
    assert data.files(again) == fresh.files(fresh.ingest(root))


@pytest.mark.parametrize(
    ("module", "name"), [(previous, "CHUNKER"), (previous.readers, "identity"), (chunking, "MAX_PASSAGE_TOKENS")]
)
def test_nothing_is_taken_from_a_version_of_another_making(
    data: Data, root: Path, watched: Watched, monkeypatch: pytest.MonkeyPatch, module: object, name: str
) -> None:
    if name == "MAX_PASSAGE_TOKENS":
        data.ingest(root, max_file_bytes=1 << 19)
    else:
        data.ingest(root)
    if name == "CHUNKER":
        monkeypatch.setattr(module, name, "another")
    elif name == "identity":
        monkeypatch.setattr(module, name, lambda suffix: f"another {suffix}")
    write(root, {"a.txt": "It has changed."})
    watched.forget()
    data.ingest(root)
    assert set(watched.chunked) >= {"a.txt", "c.md", "d0"}


def test_a_file_that_failed_is_not_parsed_again_and_stays_reported(data: Data, root: Path, watched: Watched) -> None:
    write(root, {"bad.pdf": b"%PDF-1.4 no more of it"})
    first = data.ingest(root)
    write(root, {"a.txt": "It has changed."})
    watched.forget()
    again = data.ingest(root)
    assert watched.parsed == []
    assert data.files(again)[FAILURES] == data.files(first)[FAILURES]
    assert b"bad.pdf" in data.files(again)[FAILURES]


def test_a_file_whose_ids_another_file_took_is_read_again(data: Data, tmp_path: Path) -> None:
    root = write(tmp_path / "root", {"x.jsonl": beir(3), "y.jsonl": beir(4)})
    for change in ("delete", "restore"):
        data.ingest(root)
        if change == "delete":
            (root / "x.jsonl").unlink()
        else:
            write(root, {"x.jsonl": beir(2)})
        again = data.ingest(root)
        fresh = Data(path=tmp_path / change)
        assert data.files(again) == fresh.files(fresh.ingest(root))
    sources = read_sources(data.path / "indexes" / again.corpus_id)
    assert [(source.path, source.document_count, source.failure_count) for source in sources] == [
        ("x.jsonl", 2, 0),
        ("y.jsonl", 2, 2),
    ]


def test_a_file_whose_ids_a_new_file_takes_is_read_again(data: Data, tmp_path: Path) -> None:
    root = write(tmp_path / "root", {"y.jsonl": beir(4)})
    data.ingest(root)
    write(root, {"x.jsonl": beir(2)})
    again = data.ingest(root)
    assert data.files(again)[FAILURES].count(b"DUPLICATE_ID") == 2
    fresh = Data(path=tmp_path / "fresh")
    assert data.files(again) == fresh.files(fresh.ingest(root))


class TestSeenFiles:
    STAMP = Stamp(device=1, inode=2, size=3, mtime_ns=4 * 10**9, ctime_ns=5 * 10**9)

    def files(self, tmp_path: Path) -> SeenFiles:
        return SeenFiles(tmp_path, tmp_path)

    def test_are_remembered_when_their_change_is_long_over(self, tmp_path: Path) -> None:
        files = self.files(tmp_path)
        files.note("a", self.STAMP, b"A" * 32, 8 * 10**9)
        files.note("b", self.STAMP, b"B" * 32, 6 * 10**9)  # a write in the same tick would not show
        files.save()
        again = self.files(tmp_path)
        assert again.digest("a", self.STAMP) == b"A" * 32
        assert again.digest("b", self.STAMP) is None

    @pytest.mark.parametrize("field", ["device", "inode", "size", "mtime_ns", "ctime_ns"])
    def test_are_unknown_when_their_stamp_differs(self, tmp_path: Path, field: str) -> None:
        files = self.files(tmp_path)
        files.note("a", self.STAMP, b"A" * 32, 8 * 10**9)
        values = {name: getattr(self.STAMP, name) for name in ("device", "inode", "size", "mtime_ns", "ctime_ns")}
        assert files.digest("a", Stamp(**values | {field: 0})) is None
        assert files.digest("a", Stamp(**values)) == b"A" * 32

    def test_are_forgotten_when_nobody_asks_for_them(self, tmp_path: Path) -> None:
        files = self.files(tmp_path)
        for name in ("a", "b"):
            files.note(name, self.STAMP, b"A" * 32, 8 * 10**9)
        files.save()
        again = self.files(tmp_path)
        again.digest("b", self.STAMP)
        again.save()
        last = self.files(tmp_path)
        assert (last.digest("a", self.STAMP), last.digest("b", self.STAMP)) == (None, b"A" * 32)

    @pytest.mark.parametrize("damage", ["flip", "cut", "empty", "text"])
    def test_are_unknown_when_the_memory_is_damaged(self, tmp_path: Path, damage: str) -> None:
        files = self.files(tmp_path)
        files.note("a\nb", self.STAMP, b"A" * 32, 8 * 10**9)
        files.save()
        (path,) = tmp_path.glob("*.jsonl")
        content = bytearray(path.read_bytes())
        content[-10] ^= 1
        path.write_bytes({"flip": content, "cut": content[:-5], "empty": b"", "text": b"\xff\n"}[damage])
        assert self.files(tmp_path).digest("a\nb", self.STAMP) is None

    def test_of_a_directory_that_is_no_longer_ingested_are_removed(self, tmp_path: Path) -> None:
        old = tmp_path / "1-2.jsonl"
        old.write_bytes(b"")
        os.utime(old, (time.time() - 100 * 86_400,) * 2)
        self.files(tmp_path).save()
        assert not old.exists()


def test_equal_texts_are_embedded_once_also_without_the_cache(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [json.dumps({"_id": str(n), "title": "", "text": f"Text {n % 7}."}) for n in range(50)]
    root = write(tmp_path / "root", {"corpus.jsonl": "\n".join(lines)})
    expected = data.ingest(root)
    monkeypatch.setattr("ingest_service.vectors._FIRST_WINDOW", 4)
    monkeypatch.setattr("ingest_service.vectors._WINDOW", 8)
    encoded: Counter[str] = Counter()
    encode = HashingEncoder.encode

    def counting(encoder: HashingEncoder, texts: list[str]) -> object:
        encoded.update(texts)
        return encode(encoder, texts)

    monkeypatch.setattr(HashingEncoder, "encode", counting)
    other = Data(path=tmp_path / "other")
    outcome = other.ingest(root, use_cache=False)
    assert sorted(encoded.values()) == [1] * 7
    assert outcome.embed_hits + outcome.embed_misses == 50
    assert other.files(outcome) == data.files(expected)


@pytest.mark.parametrize("slow", ["reading", "following"])
def test_whichever_stage_is_slow_the_bytes_are_the_same(
    data: Data, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    expected = data.ingest(root)
    monkeypatch.setattr("ingest_service.vectors._FIRST_WINDOW", 1)
    wait, append = GrowingPassages._wait, GrowingPassages.append
    waits = threading.Semaphore(0)

    def waiting(passages: GrowingPassages, wanted: int) -> int:
        if slow == "reading":  # both that follow are there before anything is written
            waits.release()
        else:  # everything is written before anyone follows
            wait(passages, 10**9)
        return wait(passages, wanted)

    def appending(passages: GrowingPassages, lines: list[bytes], origin: int | None) -> None:
        if slow == "reading" and not passages.count:
            for _ in range(2):
                waits.acquire()
        append(passages, lines, origin)

    monkeypatch.setattr(GrowingPassages, "_wait", waiting)
    monkeypatch.setattr(GrowingPassages, "append", appending)
    other = Data(path=tmp_path / "other")
    assert other.files(other.ingest(root)) == data.files(expected)
