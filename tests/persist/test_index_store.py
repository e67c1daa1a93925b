import errno
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rag_papers.errors import DiskFull, FormatUnsupported, IndexDamaged, IndexNotFound, RagError
from rag_papers.persist.index_store import (
    DOCUMENTS,
    FORMAT,
    MANIFEST,
    PASSAGE_OFFSETS,
    PASSAGES,
    VECTOR_CODES,
    VECTOR_SCALES,
    VECTORS,
    IndexBuilder,
    IndexInfo,
    OpenIndex,
    disk_full_is_an_error_of_ours,
    manifest_bytes,
    read_documents,
    read_manifest,
    remove,
    verify,
)
from rag_papers.retrieval.analysis import terms
from rag_papers.retrieval.bm25 import Bm25, fit
from rag_papers.retrieval.encoders import HashingEncoder
from rag_papers.retrieval.filtering import Filter

from .indexes import CORPUS_ID, TEXTS, build, build_and_publish, read_all, records
from .processes import run_python

FILES = [
    "bm25.hashes.npy",
    "bm25.offsets.npy",
    "bm25.passages.npy",
    "bm25.scores.npy",
    "bm25.term_offsets.npy",
    "bm25.terms.npy",
    "documents.jsonl",
    "failures.jsonl",
    PASSAGES,
    PASSAGE_OFFSETS,
    VECTOR_CODES,
    VECTOR_SCALES,
    VECTORS,
]
ARRAYS = [name for name in FILES if name.endswith(".npy")]


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_and_publish(tmp_path_factory.mktemp("pristine"))


@pytest.fixture
def index(pristine: Path, tmp_path: Path) -> Path:
    """An index of the test's own, to damage."""
    return Path(shutil.copytree(pristine, tmp_path / "indexes" / pristine.name))


def forge(directory: Path, name: str, data: bytes) -> None:
    """Replaces a file and makes the manifest agree with its size."""
    (directory / name).write_bytes(data)
    document = json.loads((directory / MANIFEST).read_bytes())
    document["files"][name]["size"] = len(data)
    (directory / MANIFEST).write_bytes(manifest_bytes(document))


def change_manifest(directory: Path, change: Callable[[dict[str, object]], object]) -> None:
    document = json.loads((directory / MANIFEST).read_bytes())
    change(document)
    (directory / MANIFEST).write_bytes(manifest_bytes(document))


def flip(path: Path, position: int, mask: int = 0x01) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= mask
    path.write_bytes(data)


class TestRoundTrip:
    def test_passages_come_back_byte_for_byte(self, index: Path) -> None:
        opened = OpenIndex(index)
        assert [opened.passage(position) for position in range(len(TEXTS))] == records()
        assert opened.corpus_id == CORPUS_ID

    def test_vectors_come_back(self, index: Path) -> None:
        np.testing.assert_array_equal(OpenIndex(index).vectors, HashingEncoder(8).encode(TEXTS))

    def test_bm25_scores_come_back(self, index: Path) -> None:
        fresh = Bm25(fit([terms(text) for text in TEXTS]), len(TEXTS))
        for text in TEXTS:
            np.testing.assert_array_equal(OpenIndex(index).bm25.scores(terms(text)), fresh.scores(terms(text)))

    def test_the_text_is_readable_by_people(self, index: Path) -> None:
        assert TEXTS[1] in (index / PASSAGES).read_text()

    def test_the_manifest_names_every_other_file(self, index: Path) -> None:
        manifest = verify(index)
        assert sorted(manifest.files) == sorted(FILES)
        assert {path.name for path in index.iterdir()} == {*FILES, MANIFEST}
        assert manifest.size_bytes == sum((index / name).stat().st_size for name in FILES)

    def test_equal_input_gives_equal_bytes(self, tmp_path: Path) -> None:
        one, other = build_and_publish(tmp_path / "one"), build_and_publish(tmp_path / "other")
        assert read_all(one) == read_all(other)

    @pytest.mark.parametrize("texts", [["one"], ["", "two"], ["!?", "..."]])
    def test_small_and_wordless_corpora_open(self, tmp_path: Path, texts: list[str]) -> None:
        opened = OpenIndex(build_and_publish(tmp_path, texts))
        assert [opened.passage(position).text for position in range(len(texts))] == texts
        assert opened.bm25.scores(["two"]).shape == (len(texts),)

    def test_a_filter_finds_the_passages_of_its_documents(self, index: Path) -> None:
        opened = OpenIndex(index)
        shutil.rmtree(index)  # what is open stays whole
        assert opened.positions(Filter()).tolist() == list(range(len(TEXTS)))
        assert opened.positions(Filter(document_ids=("doc-4.txt", "doc-1.txt"))).tolist() == [1, 4]
        assert opened.positions(Filter(path_prefixes=("doc-3", "doc-2.txt"))).tolist() == [2, 3]
        assert opened.positions(Filter(path_prefixes=("doc-33",))).tolist() == []
        assert opened.positions(Filter(first_year=2002, last_year=2003)).tolist() == [2, 3]

    def test_what_is_written_can_be_read_while_building(self, tmp_path: Path) -> None:
        builder = IndexBuilder(tmp_path / "staging")
        builder.write_lines(PASSAGES, records())
        assert list(builder.passages()) == records()

    def test_building_begins_with_an_empty_directory(self, tmp_path: Path) -> None:
        build(tmp_path / "staging")
        assert not list(IndexBuilder(tmp_path / "staging").directory.iterdir())

    def test_a_staged_manifest_is_read_by_its_corpus_id(self, tmp_path: Path) -> None:
        manifest = build(tmp_path / "job-1")
        assert read_manifest(tmp_path / "job-1", CORPUS_ID) == manifest
        with pytest.raises(IndexDamaged, match=f"belongs to index {CORPUS_ID}"):
            read_manifest(tmp_path / "job-1", "f" * 16)

    def test_callers_see_what_the_manifest_says(self, index: Path) -> None:
        manifest = read_manifest(index)
        info = IndexInfo.of(manifest, corpus="papers", active=True, create_time=1.5)
        assert (info.corpus_id, info.passage_count, info.dim) == (CORPUS_ID, len(TEXTS), 8)
        assert info.checksums == {name: file["sha256"] for name, file in manifest.files.items()}


class TestDamage:
    @pytest.mark.parametrize("name", FILES)
    @pytest.mark.parametrize("place", [0, 0.5, 1], ids=["first", "middle", "last"])
    def test_of_one_byte_is_found_and_named_by_verifying(self, index: Path, name: str, place: float) -> None:
        flip(index / name, int(place * ((index / name).stat().st_size - 1)))
        with pytest.raises(IndexDamaged) as caught:
            verify(index)
        assert caught.value.metadata == {"file": name, "corpus_id": CORPUS_ID}
        assert name in caught.value.message

    @pytest.mark.parametrize("name", [*FILES, MANIFEST])
    @pytest.mark.parametrize("check", [OpenIndex, verify])
    @pytest.mark.parametrize("left", [0, 1, -1])
    def test_by_truncating_is_found_and_named(
        self, index: Path, name: str, check: Callable[[Path], object], left: int
    ) -> None:
        data = (index / name).read_bytes()
        # The manifest ends with a line break that it can do without.
        (index / name).write_bytes(data[: left - (name == MANIFEST and left < 0)])
        with pytest.raises(IndexDamaged) as caught:
            check(index)
        assert caught.value.metadata["file"] == name

    @pytest.mark.parametrize("name", [*FILES, MANIFEST])
    @pytest.mark.parametrize("check", [OpenIndex, verify])
    def test_by_deleting_is_found_and_named(self, index: Path, name: str, check: Callable[[Path], object]) -> None:
        (index / name).unlink()
        with pytest.raises(IndexDamaged) as caught:
            check(index)
        assert caught.value.metadata["file"] == name

    @pytest.mark.parametrize("name", FILES)
    def test_by_growing_is_found_and_named(self, index: Path, name: str) -> None:
        with (index / name).open("ab") as file:
            file.write(b"\n")
        with pytest.raises(IndexDamaged) as caught:
            OpenIndex(index)
        assert caught.value.metadata["file"] == name

    def test_of_the_manifest_is_never_a_defect_of_ours(self, index: Path) -> None:
        data = (index / MANIFEST).read_bytes()
        for position in range(0, len(data), 3):
            flip(index / MANIFEST, position, 1 << position % 8)
            for check in (OpenIndex, verify):
                try:
                    check(index)
                except RagError as error:
                    assert isinstance(error, IndexDamaged | FormatUnsupported)
            (index / MANIFEST).write_bytes(data)

    @pytest.mark.filterwarnings("ignore:Reading `.npy`")
    @pytest.mark.parametrize("name", ARRAYS)
    def test_of_a_header_is_named_or_harmless(self, index: Path, name: str) -> None:
        data = (index / name).read_bytes()
        original = np.load(index / name, allow_pickle=False)
        byte_order = data.index(b"<") if b"<" in data[:128] else data.index(b"|")
        for position, mask in [(byte_order, ord("<") ^ ord(">")), *((at, 1 << at % 8) for at in range(80))]:
            flip(index / name, position, mask)
            try:
                OpenIndex(index)
            except IndexDamaged as error:
                assert error.metadata["file"] == name
            else:
                np.testing.assert_array_equal(np.lib.format.open_memmap(index / name, mode="r"), original)
            (index / name).write_bytes(data)

    def test_of_a_passage_is_found_when_it_is_read(self, index: Path) -> None:
        flip(index / PASSAGES, 0)
        with pytest.raises(IndexDamaged) as caught:
            OpenIndex(index).passage(0)
        assert caught.value.metadata["file"] == PASSAGES
        assert OpenIndex(index).passage(1) == records()[1]

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            (b"{", b"["),
            (b'"doc-0.txt"', b"0.123456789"),
            (b'"title"', b'"other"'),
            (b'"first_passage":0', b'"first_passage":1'),
            (b'"first_passage":5', b'"first_passage":4'),
            (b'"year":2000', b'"year":"20"'),
            (b'"year":2000', b'"year":-200'),
            (b'"authors":["Ada Lovelace","Alan Turing"]', b'"authors":' + b"1" * 30),
            (b'"passage_count":1', b'"passage_count":2'),
            (b'"passage_count":1}\n{"document_id":"doc-1', b'"passage_count":-}\n{"document_id":"doc-1'),
        ],
    )
    def test_of_the_documents_is_found_when_a_filter_reads_them(self, index: Path, old: bytes, new: bytes) -> None:
        data = (index / DOCUMENTS).read_bytes()
        assert old in data
        (index / DOCUMENTS).write_bytes(data.replace(old, new, 1))
        opened = OpenIndex(index)
        assert opened.passage(0) == records()[0]
        for _ in range(2):
            with pytest.raises(IndexDamaged) as caught:
                opened.positions(Filter(path_prefixes=("doc",)))
            assert caught.value.metadata == {"file": DOCUMENTS, "corpus_id": CORPUS_ID}

    @pytest.mark.parametrize("lines", [0, 1, len(TEXTS) - 1, len(TEXTS) + 1])
    def test_by_leaving_out_documents_is_found(self, index: Path, lines: int) -> None:
        whole = (index / DOCUMENTS).read_bytes().splitlines(keepends=True)
        forge(index, DOCUMENTS, b"".join((whole + whole)[:lines]))
        with pytest.raises(IndexDamaged) as caught:
            OpenIndex(index).positions(Filter(path_prefixes=("doc",)))
        assert caught.value.metadata["file"] == DOCUMENTS

    @pytest.mark.parametrize("features", [None, 5, "x", {}])
    def test_of_the_list_of_features_is_named(self, index: Path, features: object) -> None:
        change_manifest(index, lambda document: document.update(features=features))
        with pytest.raises(IndexDamaged) as caught:
            read_manifest(index)
        assert caught.value.metadata["file"] == MANIFEST

    @pytest.mark.parametrize("name", FILES)
    def test_of_the_list_of_files_is_named(self, index: Path, name: str) -> None:
        change_manifest(index, lambda document: document["files"].pop(name))
        for check in (OpenIndex, verify):
            with pytest.raises(IndexDamaged, match=name) as caught:
                check(index)
            assert caught.value.metadata["file"] == MANIFEST

    @pytest.mark.parametrize("content", [b"", b"[]", b"null", b'"x"', b"{", b"\xff", b'{"format": %d}' % FORMAT])
    def test_that_leaves_no_manifest_is_named(self, index: Path, content: bytes) -> None:
        (index / MANIFEST).write_bytes(content)
        with pytest.raises(IndexDamaged) as caught:
            read_manifest(index)
        assert caught.value.metadata["file"] == MANIFEST

    def test_by_moving_an_index_to_the_name_of_another_is_found(self, index: Path) -> None:
        other = index.with_name("f" * 16)
        index.rename(other)
        with pytest.raises(IndexDamaged, match=f"belongs to index {CORPUS_ID}"):
            OpenIndex(other)

    @pytest.mark.parametrize("name", ["missing", f"{CORPUS_ID}/{MANIFEST}"])
    def test_is_not_what_is_said_of_an_index_that_never_was(self, index: Path, name: str) -> None:
        with pytest.raises(IndexNotFound):
            OpenIndex(index.parent / name)


class Planted:
    """Unpickling it leaves a file behind."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.witness,)


class TestPlantedCode:
    @pytest.mark.parametrize("name", ARRAYS)
    @pytest.mark.parametrize("disguise", ["bare pickle", "object array"])
    def test_is_never_run(self, index: Path, tmp_path: Path, name: str, disguise: str) -> None:
        witness = tmp_path / "ran"
        if disguise == "bare pickle":
            data = pickle.dumps(Planted(witness))
        else:
            planted = np.empty(3, object)
            planted[:] = Planted(witness)
            np.save(tmp_path / "planted.npy", planted, allow_pickle=True)
            data = (tmp_path / "planted.npy").read_bytes()
        forge(index, name, data)
        with pytest.raises(IndexDamaged) as caught:
            OpenIndex(index)
        assert caught.value.metadata["file"] == name
        assert not witness.exists()
        pickle.loads(pickle.dumps(Planted(witness)))  # noqa: S301 - shows that it would have
        assert witness.exists()

    def test_is_never_written(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="Object arrays cannot be saved"):
            IndexBuilder(tmp_path / "staging").write_array("x.npy", np.array([object()]))

    @pytest.mark.parametrize("array", [np.eye(6, 8, dtype=np.float64), np.asfortranarray(np.eye(6, 8, dtype="<f4"))])
    def test_numbers_of_another_kind_are_damage(self, index: Path, tmp_path: Path, array: np.ndarray) -> None:
        np.save(tmp_path / "other.npy", array)
        forge(index, VECTORS, (tmp_path / "other.npy").read_bytes())
        with pytest.raises(IndexDamaged, match=VECTORS):
            OpenIndex(index)


class TestFormats:
    @pytest.mark.parametrize("version", [0, 1, 99, "1", None])
    def test_of_another_version_are_refused(self, index: Path, version: object) -> None:
        change_manifest(index, lambda document: document.update(format=version))
        with pytest.raises(FormatUnsupported, match="ingest the corpus again") as caught:
            OpenIndex(index)
        assert caught.value.metadata == {"corpus_id": CORPUS_ID}

    def test_with_unknown_features_are_refused_by_name(self, index: Path) -> None:
        change_manifest(index, lambda document: document.update(features=["approximate-vectors"]))
        with pytest.raises(FormatUnsupported, match="approximate-vectors"):
            OpenIndex(index)

    def test_of_a_later_version_are_not_called_damaged_for_their_fields(self, index: Path) -> None:
        change_manifest(index, lambda document: document.update(format=FORMAT + 1, shards=[]))
        with pytest.raises(FormatUnsupported):
            read_manifest(index)


class TestPublishing:
    def test_moves_the_index_to_its_place(self, tmp_path: Path) -> None:
        index = build_and_publish(tmp_path)
        assert index == tmp_path / "indexes" / CORPUS_ID
        assert not list((tmp_path / "indexes" / ".staging").iterdir())
        verify(index)

    def test_again_keeps_the_intact_one(self, tmp_path: Path) -> None:
        index = build_and_publish(tmp_path)
        before = {path.name: path.stat().st_ino for path in index.iterdir()}
        build_and_publish(tmp_path)
        assert {path.name: path.stat().st_ino for path in index.iterdir()} == before
        assert not list((tmp_path / "indexes" / ".staging").iterdir())

    @pytest.mark.parametrize("name", [*FILES, MANIFEST])
    def test_again_repairs_a_damaged_one_under_an_open_reader(self, tmp_path: Path, name: str) -> None:
        index = build_and_publish(tmp_path)
        reader = OpenIndex(index)
        intact = read_all(index)
        (index / name).unlink()
        (index / name).write_bytes(b"damage")
        build_and_publish(tmp_path)
        assert read_all(index) == intact
        assert not list((tmp_path / "indexes" / ".staging").iterdir())
        assert [reader.passage(position) for position in range(len(TEXTS))] == records()
        np.testing.assert_array_equal(reader.vectors, OpenIndex(index).vectors)

    @pytest.mark.parametrize("leftover", ["empty directory", "another format"])
    def test_replaces_what_cannot_be_read(self, tmp_path: Path, leftover: str) -> None:
        index = tmp_path / "indexes" / CORPUS_ID
        index.mkdir(parents=True)
        if leftover == "another format":
            (index / MANIFEST).write_text('{"format": 99}')
        build_and_publish(tmp_path)
        verify(index)


class TestRemove:
    def test_gives_the_space_back_and_leaves_readers_their_files(self, tmp_path: Path) -> None:
        build_and_publish(tmp_path)
        directory = tmp_path / "indexes" / CORPUS_ID
        held = sum(path.stat().st_size for path in directory.iterdir())
        index = OpenIndex(directory)
        passage = index.passage(0)
        staging = tmp_path / "staging"
        staging.mkdir(exist_ok=True)
        assert remove(directory, staging) == held
        assert not directory.exists() and not list(staging.iterdir())
        assert index.passage(0) == passage

    def test_is_not_found_afterwards_nor_while_it_is_read(self, tmp_path: Path) -> None:
        build_and_publish(tmp_path)
        directory = tmp_path / "indexes" / CORPUS_ID
        documents = read_documents(directory)
        (tmp_path / "staging").mkdir(exist_ok=True)
        remove(directory, tmp_path / "staging")
        for read in (lambda: verify(directory), lambda: OpenIndex(directory), lambda: next(documents)):
            with pytest.raises(IndexNotFound):
                read()


class TestFullDisk:
    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
    def test_is_an_error_of_ours(self, number: int) -> None:
        with pytest.raises(DiskFull, match=r"vectors\.npy"), disk_full_is_an_error_of_ours():
            raise OSError(number, "no space", "vectors.npy")

    def test_other_errors_stay_what_they_are(self) -> None:
        with pytest.raises(PermissionError), disk_full_is_an_error_of_ours():
            raise PermissionError(errno.EACCES, "no")

    def test_while_building_says_what_to_do(self, tmp_path: Path) -> None:
        result = run_python(
            """
            import resource, sys
            import numpy as np
            from pathlib import Path
            from rag_papers.errors import DiskFull
            from rag_papers.persist.index_store import IndexBuilder, disk_full_is_an_error_of_ours

            builder = IndexBuilder(Path(sys.argv[1]))
            resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
            try:
                with disk_full_is_an_error_of_ours():
                    with builder.vectors(384) as vectors:
                        for _ in range(1000):
                            vectors.append(np.ones((1, 384), np.float32))
            except DiskFull as error:
                print(error)
            """,
            tmp_path / "staging",
        )
        assert "free some, then try again" in result.stdout, result.stderr
