import json
import threading
from pathlib import Path

import pytest

from rag_papers.errors import IndexInUse, IndexNotFound, InvalidRequest
from rag_papers.persist.corpora import Corpora, Version, name_of_directory, valid_name


def version(number: int, publish_time: float | None = None) -> Version:
    return Version(
        corpus_id=f"{number:016x}",
        publish_time=float(number) if publish_time is None else publish_time,
        job_id=f"job-{number}",
    )


@pytest.fixture
def corpora(tmp_path: Path) -> Corpora:
    return Corpora(tmp_path)


class TestNames:
    @pytest.mark.parametrize(
        "name",
        [
            "papers",
            "a",
            "1",
            "My Papers-2.0_x",
            "论文",
            "أوراق",
            "статьи",
            "Ünïcödé",
            "x" * 64,
            "深" * 64,
            "a..b",
            "x.json",
        ],
    )
    def test_that_are_valid_come_back(self, corpora: Corpora, name: str) -> None:
        assert valid_name(name) == name
        corpora.publish(name, version(1))
        assert list(corpora.all()) == [name]

    @pytest.mark.parametrize(
        "name",
        [
            "",
            " ",
            ".",
            "..",
            "...",
            "../x",
            "x/../y",
            "/etc/passwd",
            "a/b",
            "a\\b",
            "..\\x",
            ".hidden",
            "-flag",
            "_private",
            " lead",
            "trail ",
            "trail.",
            "new\nline",
            "trail\n",
            "tab\t",
            "nul\0",
            "x" * 65,
            "𠀀" * 64,
            "emoji\N{ROCKET}",
            "*",
            "a:b",
            "a?b",
            "%2e%2e",
            "\N{FULLWIDTH SOLIDUS}x",
            "x\N{FRACTION SLASH}y",
            "surrogate\udcff",
            "zero\N{ZERO WIDTH SPACE}width",
            "right\N{RIGHT-TO-LEFT OVERRIDE}left",
        ],
    )
    def test_that_are_not_are_refused(self, corpora: Corpora, tmp_path: Path, name: str) -> None:
        with pytest.raises(InvalidRequest) as caught:
            corpora.publish(name, version(1))
        assert list(caught.value.violations) == ["corpus"]
        assert not list(tmp_path.iterdir())

    def test_are_one_however_they_are_composed(self, corpora: Corpora) -> None:
        corpora.publish("caf\u00e9", version(1))
        corpora.publish("cafe\u0301", version(2))
        assert {name: len(corpus.history) for name, corpus in corpora.all().items()} == {"caf\u00e9": 2}

    @pytest.mark.parametrize(
        ("directory", "name"),
        [
            ("/data/papers", "papers"),
            ("/data/.hidden", "hidden"),
            ("/data/__my papers!__", "my papers-__"),
            ("/data/a:b*c", "a-b-c"),
            ("/data/论文", "论文"),
            ("/data/" + "x" * 100, "x" * 64),
            ("/data/" + "x" * 63 + ". y", "x" * 63),
        ],
    )
    def test_of_directories_are_valid(self, directory: str, name: str) -> None:
        assert name_of_directory(Path(directory)) == name == valid_name(name)

    @pytest.mark.parametrize("directory", ["/", "/data/...", "/data/___"])
    def test_cannot_be_made_of_nothing(self, directory: str) -> None:
        with pytest.raises(InvalidRequest):
            name_of_directory(Path(directory))


class TestPublishing:
    def test_makes_a_version_active(self, corpora: Corpora) -> None:
        assert corpora.all() == {}
        corpora.publish("papers", version(1))
        assert corpora.all()["papers"].active == version(1)
        corpora.publish("papers", version(2))
        assert corpora.all()["papers"].active == version(2)
        assert corpora.all()["papers"].history == (version(1), version(2))

    def test_touches_no_other_corpus(self, corpora: Corpora) -> None:
        corpora.publish("one", version(1))
        corpora.publish("two", version(2))
        assert {name: corpus.active.corpus_id for name, corpus in corpora.all().items()} == {
            "one": version(1).corpus_id,
            "two": version(2).corpus_id,
        }

    def test_is_seen_by_another_process_object(self, corpora: Corpora, tmp_path: Path) -> None:
        reader = Corpora(tmp_path)
        for number in range(1, 6):
            corpora.publish("papers", version(number))
            assert reader.all()["papers"].active == version(number)

    def test_the_pointer_is_readable_by_people(self, corpora: Corpora, tmp_path: Path) -> None:
        corpora.publish("论文", version(1))
        document = json.loads((tmp_path / "论文.json").read_text())
        assert document["corpus"] == "论文"
        assert document["active"] == version(1).corpus_id

    def test_a_deleted_pointer_is_gone(self, corpora: Corpora, tmp_path: Path) -> None:
        corpora.publish("papers", version(1))
        assert "papers" in corpora.all()
        (tmp_path / "papers.json").unlink()
        assert corpora.all() == {}


class TestVersions:
    def test_are_listed_once_newest_first(self, corpora: Corpora) -> None:
        for number in (1, 2, 1, 3):
            corpora.publish("papers", version(number))
        assert [item.corpus_id for item in corpora.all()["papers"].versions()] == [
            version(number).corpus_id for number in (3, 1, 2)
        ]

    def test_show_their_latest_publication(self, corpora: Corpora) -> None:
        corpora.publish("papers", version(1, 10.0))
        corpora.publish("papers", version(1, 20.0))
        assert [item.publish_time for item in corpora.all()["papers"].versions()] == [20.0]

    def test_keep_their_order_when_the_clock_does_not(self, corpora: Corpora) -> None:
        for number, time in ((1, 100.0), (2, 50.0), (3, 50.0)):
            corpora.publish("papers", version(number, time))
        corpus = corpora.all()["papers"]
        assert corpus.versions()[0] == corpus.active
        assert [item.corpus_id for item in corpus.versions()] == [version(number).corpus_id for number in (3, 2, 1)]

    def test_are_found_by_id_under_their_latest_publication(self, corpora: Corpora) -> None:
        for number, time in ((1, 10.0), (2, 20.0), (1, 30.0)):
            corpora.publish("papers", version(number, time))
        corpus = corpora.all()["papers"]
        assert corpus.version(version(1).corpus_id).publish_time == 30.0
        with pytest.raises(IndexNotFound, match="papers"):
            corpus.version(version(3).corpus_id)


class TestForget:
    def test_removes_every_publication_of_the_versions(self, corpora: Corpora) -> None:
        for number in (1, 2, 1, 3, 4):
            corpora.publish("papers", version(number))
        corpora.forget(corpora.all()["papers"], {version(1).corpus_id, version(3).corpus_id})
        assert corpora.all()["papers"].history == (version(2), version(4))

    def test_refuses_the_active_version(self, corpora: Corpora) -> None:
        for number in (1, 2):
            corpora.publish("papers", version(number))
        before = corpora.all()
        with pytest.raises(IndexInUse, match=version(2).corpus_id):
            corpora.forget(before["papers"], {version(1).corpus_id, version(2).corpus_id})
        assert corpora.all() == before


class TestUnreadable:
    def test_names_what_is_left_out(self, corpora: Corpora, tmp_path: Path) -> None:
        corpora.publish("papers", version(1))
        assert corpora.unreadable() == []
        (tmp_path / "papers copy.json").write_bytes((tmp_path / "papers.json").read_bytes())
        (tmp_path / "broken.json").write_text("{")
        (tmp_path / ".hidden.json").write_text("{")
        assert corpora.unreadable() == ["broken.json", "papers copy.json"]


class TestReaders:
    def test_never_see_a_torn_pointer(self, corpora: Corpora, tmp_path: Path) -> None:
        corpora.publish("papers", version(1))
        done = threading.Event()
        problems: list[object] = []

        def read() -> None:
            reader, seen = Corpora(tmp_path), 0
            while not done.is_set():
                corpus = reader.all().get("papers")
                expected = tuple(version(number + 1) for number in range(len(corpus.history) if corpus else 0))
                if corpus is None or corpus.history != expected or len(expected) < seen:
                    problems.append(corpus)
                seen = len(expected)

        readers = [threading.Thread(target=read) for _ in range(3)]
        for reader in readers:
            reader.start()
        for number in range(2, 60):
            corpora.publish("papers", version(number))
        done.set()
        for reader in readers:
            reader.join()
        assert not problems

    @pytest.mark.parametrize(
        "content",
        [b"", b"{", b"[]", b"null", b'{"corpus": "bad"}', b'{"corpus": "bad", "history": []}', b"\xff\xfe\x00"],
    )
    def test_leave_out_what_is_damaged_and_say_so_once(
        self, corpora: Corpora, tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        corpora.publish("good", version(1))
        (tmp_path / "bad.json").write_bytes(content)
        for _ in range(3):
            assert list(corpora.all()) == ["good"]
        assert len(caplog.records) == 1
        assert "bad.json" in caplog.text
        corpora.publish("bad", version(2))
        assert corpora.all()["bad"].history == (version(2),)

    def test_are_not_led_astray_by_copies(self, corpora: Corpora, tmp_path: Path) -> None:
        corpora.publish("papers", version(1))
        old = (tmp_path / "papers.json").read_bytes()
        for name in ("papers copy.json", "a.json", "z.json", "papers.json.bak", ".papers.json.1234"):
            (tmp_path / name).write_bytes(old)
        corpora.publish("papers", version(2))
        assert [corpus.active for corpus in corpora.all().values()] == [version(2)]
