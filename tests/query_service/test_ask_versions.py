"""Which version of a corpus answers, while versions come, go and break."""

import logging
import shutil
import threading
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from query_service.catalog import Catalog
from rag_papers.persist.corpora import Corpora
from rag_papers.persist.index_store import remove
from rag_papers.persist.index_store.manifest import FORMAT
from rag_papers.v1 import query_pb2 as pb
from tests.query_service.query_harness import LIBRARY, Service, build, refused


def version(number: int) -> dict[str, str]:
    """Papers that say which version they belong to, in every passage."""
    return {
        f"{name}.txt": f"The quokka constant is {number}. It was measured in experiment {name} of version {number}."
        for name in "abc"
    }


def test_a_new_version_answers_from_the_next_call_on(service: Service) -> None:
    first = service.publish("zoo", version(1))
    assert "1" in service.ask("What is the quokka constant?").answer
    second = service.publish("zoo", version(2))
    response = service.ask("What is the quokka constant?")
    assert (response.corpus_id, response.cache.answer_hit) == (second, False)
    assert "is 2." in response.answer
    assert service.search("quokka").corpus_id == second
    pinned = service.ask("What is the quokka constant?", corpus_id=first)
    assert (pinned.corpus_id, pinned.corpus, pinned.cache.answer_hit) == (first, "zoo", True)


def test_going_back_to_an_older_version(service: Service) -> None:
    first, _ = service.publish("zoo", version(1)), service.publish("zoo", version(2))
    service.activate("zoo", first)
    assert service.search("quokka").corpus_id == first


def test_versions_come_while_questions_are_asked(service: Service) -> None:
    numbers = {service.publish("zoo", version(0)): 0}
    done = threading.Event()
    failures: list[BaseException] = []
    seen: set[str] = set()

    def ask(worker: int) -> None:
        turn = 0
        while not done.is_set():
            turn += 1
            try:
                question = f"What is the quokka constant of question {worker} {turn}?"
                response = service.ask(question) if turn % 2 else service.search(question)
                found = {source.passage.text.split(" is ")[1].split(".")[0] for source in response.sources}
                # What `publish` returns is known here only after the call may have seen it.
                seen.add(f"{response.corpus_id} {','.join(sorted(found))}")
            except BaseException as error:
                failures.append(error)
                raise

    threads = [threading.Thread(target=ask, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for number in range(1, 13):
        numbers[service.publish("zoo", version(number))] = number
    done.set()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(seen) > 3
    for line in seen:
        corpus_id, found = line.split(" ")
        assert found == str(numbers[corpus_id])  # never a mixture of versions


def test_a_version_may_be_deleted_the_moment_it_is_replaced(service: Service, tmp_path: Path) -> None:
    paths, corpora = service.paths, Corpora(service.paths.corpora)
    versions = [service.publish("zoo", version(number)) for number in (1, 2)]
    for corpus_id in versions:
        shutil.copytree(paths.indexes / corpus_id, tmp_path / "copies" / corpus_id)
    remove(paths.indexes / versions[0], paths.staging)
    catalog = Catalog(Corpora(paths.corpora), paths.indexes)
    done = threading.Event()
    failures: list[BaseException] = []

    def find() -> None:
        while not done.is_set():
            try:
                opened = catalog.find("zoo")
                assert opened.index.passage(0).text.endswith(f"version {versions.index(opened.index.corpus_id) + 1}.")
            except BaseException as error:
                failures.append(error)
                raise

    threads = [threading.Thread(target=find) for _ in range(3)]
    for thread in threads:
        thread.start()
    for turn in range(200):
        new, old = versions[turn % 2], versions[1 - turn % 2]
        shutil.copytree(tmp_path / "copies" / new, paths.staging / new)
        (paths.staging / new).rename(paths.indexes / new)
        service.activate("zoo", new)
        corpora.forget(corpora.all()["zoo"], {old})
        remove(paths.indexes / old, paths.staging)
    done.set()
    for thread in threads:
        thread.join()
    assert not failures


def test_unset_corpus_is_the_one_published_last(library: Service) -> None:
    library.publish("zoo", version(1))
    assert library.search("dropout").corpus == "zoo"
    library.publish("library", LIBRARY)
    assert library.search("dropout").corpus == "library"


def test_corpus_names_are_compared_in_one_spelling(service: Service) -> None:
    composed = unicodedata.normalize("NFC", "Café")
    service.publish(composed, version(1))
    assert service.search("quokka", corpus=unicodedata.normalize("NFD", composed)).corpus == composed


def damage(service: Service, corpus_id: str, how: str) -> None:
    directory: Path = service.paths.indexes / corpus_id
    match how:
        case "cut":
            data = (directory / "vectors.npy").read_bytes()
            (directory / "vectors.npy").write_bytes(data[:-4])
        case "missing file":
            (directory / "passages.jsonl").unlink()
        case "manifest":
            (directory / "meta.json").write_bytes(b"{")
        case "format":
            text = (directory / "meta.json").read_text()
            (directory / "meta.json").write_text(text.replace(f'"format": {FORMAT}', '"format": 99'))
        case "gone":
            directory.rename(directory.with_name(".gone"))


DAMAGE = {
    "cut": "INDEX_DAMAGED",
    "missing file": "INDEX_DAMAGED",
    "manifest": "INDEX_DAMAGED",
    "format": "FORMAT_UNSUPPORTED",
    "gone": "INDEX_NOT_FOUND",
}


@pytest.mark.parametrize("used_before", [False, True])
@pytest.mark.parametrize("how", list(DAMAGE))
def test_the_newest_older_version_answers_for_a_broken_one(
    service: Service, caplog: pytest.LogCaptureFixture, how: str, used_before: bool
) -> None:
    service.publish("zoo", version(1))
    middle = service.publish("zoo", version(2))
    newest = service.publish("zoo", version(3))
    if used_before:
        assert service.search("quokka").corpus_id == newest
    damage(service, newest, how)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert service.search("quokka").corpus_id == middle
    warnings = [record.getMessage() for record in caplog.records if "older version" in record.getMessage()]
    assert len(warnings) == 1
    assert newest in warnings[0]
    _, error = refused(lambda: service.search("quokka", corpus_id=newest))
    assert error.reason == DAMAGE[how]


def test_no_version_that_opens_is_the_fault_of_the_active_one(service: Service) -> None:
    for number in (1, 2):
        damage(service, service.publish("zoo", version(number)), "cut")
    code, error = refused(lambda: service.search("quokka"))
    assert (code.name, error.reason, error.metadata["file"]) == ("DATA_LOSS", "INDEX_DAMAGED", "vectors.npy")


def test_a_broken_version_that_was_put_right_answers_again(service: Service) -> None:
    old = service.publish("zoo", version(1))
    new = service.publish("zoo", version(2))
    damage(service, new, "cut")
    assert service.search("quokka").corpus_id == old
    assert build(service.paths, version(2)) == new
    assert service.search("quokka").corpus_id == new


def test_an_index_of_another_analyzer_is_refused(service: Service) -> None:
    service.publish("zoo", version(1), analyzer="words-0")
    code, error = refused(lambda: service.search("quokka"))
    assert (code.name, error.reason) == ("FAILED_PRECONDITION", "FORMAT_UNSUPPORTED")
    assert "ingest" in error.message


def test_more_versions_than_are_kept_open(service: Service) -> None:
    ids = [service.publish("zoo", version(number)) for number in range(12)]
    for _ in range(2):
        assert [service.search("quokka", corpus_id=each).corpus_id for each in ids] == ids


def test_a_damaged_pointer_hides_its_corpus_alone(library: Service) -> None:
    library.publish("zoo", version(1))
    (library.paths.corpora / "zoo.json").write_bytes(b"{")
    assert library.ask("What is dropout?").corpus == "library"


def test_the_service_may_start_before_anything_is_ingested(serve: Callable[..., Service]) -> None:
    service = serve()
    assert refused(lambda: service.ask("What is dropout?"))[1].reason == "NO_INDEX"
    service.publish("library", LIBRARY)
    assert service.ask("What is dropout?").status == pb.ANSWER_STATUS_ANSWERED
