"""Rolling back under load: both services over one data directory."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rag_papers.settings import Settings
from tests.ingest_service.ingest_harness import Service, write
from tests.ingest_service.test_versions import activate, delete, publish
from tests.query_service import query_harness


@pytest.fixture
def query(settings: Callable[..., Settings]) -> Iterator[query_harness.Service]:
    service = query_harness.Service(settings())
    yield service
    service.stop()


class Asking:
    """Threads that ask and search without pause, and what they saw."""

    def __init__(self, query: query_harness.Service) -> None:
        self.failures: list[BaseException] = []
        self.seen: set[tuple[str, str]] = set()
        self.calls = 0
        self._query = query
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(worker,)) for worker in range(4)]

    def __enter__(self) -> "Asking":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, worker: int) -> None:
        turn = 0
        while not self._done.is_set():
            turn += 1
            question = f"What is the quokka constant of question {worker} {turn}?"
            try:
                call = self._query.ask if turn % 2 else self._query.search
                response = call(question, corpus="zoo")
                found = {source.passage.text.split(" is ")[1].split(".")[0] for source in response.sources}
                self.seen.add((response.corpus_id, ",".join(sorted(found))))
                self.calls += 1
            except BaseException as error:
                self.failures.append(error)
                raise


def papers(root: Path, number: int) -> Path:
    """Papers that say which version they belong to, in every passage."""
    return write(
        root / "zoo",
        {f"{name}.txt": f"The quokka constant is {number}. Experiment {name} measured it." for name in "abc"},
    )


def test_no_question_fails_while_versions_are_rolled_back(
    service: Service, query: query_harness.Service, root: Path
) -> None:
    versions = [service.ingest(papers(root, number)).result.index.corpus_id for number in (1, 2)]
    with Asking(query) as asking:
        for _ in range(30):
            for corpus_id in versions:
                activate(service, "zoo", corpus_id)
                assert query.search("quokka", corpus="zoo").corpus_id == corpus_id  # from the next call on
    assert not asking.failures
    assert asking.calls > 10
    assert asking.seen == {(versions[0], "1"), (versions[1], "2")}  # never a mixture


def test_no_question_fails_while_versions_are_replaced_and_deleted(
    serve: Callable[..., Service], query: query_harness.Service, root: Path
) -> None:
    service = serve(keep_versions=1)
    numbers = {service.ingest(papers(root, 0)).result.index.corpus_id: "0"}
    with Asking(query) as asking:
        for number in range(1, 5):
            numbers[service.ingest(papers(root, number)).result.index.corpus_id] = str(number)
            assert service.published() == [list(numbers)[-1]]
    assert not asking.failures
    assert all(numbers[corpus_id] == found for corpus_id, found in asking.seen)


def test_a_deleted_version_that_is_asked_for_is_not_found(
    service: Service, query: query_harness.Service, root: Path
) -> None:
    first, _ = publish(service, root, "papers", "One quokka.", "Two quokkas.")
    assert query.search("quokka", corpus_id=first).corpus_id == first
    delete(service, "papers", first)
    _, error = query_harness.refused(lambda: query.search("quokka", corpus_id=first))
    assert error.reason == "INDEX_NOT_FOUND"
