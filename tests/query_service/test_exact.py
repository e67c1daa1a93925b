"""Answers with an approximate index of the vectors, and exactly."""

from pathlib import Path

import pytest

from rag_papers.persist.index_store import VECTOR_COPIES, VECTOR_GRAPH, VECTOR_ORDER
from rag_papers.v1 import query_pb2 as pb
from tests.query_service.query_harness import LIBRARY, Service, refused

QUESTION = "What is dropout?"
MANY = LIBRARY | {f"paper-{number}.txt": f"Experiment {number} measured layer {number}." for number in range(60)}


@pytest.fixture
def linked(service: Service) -> Service:
    """A service that answers from an index with an approximate index."""
    service.publish("papers", MANY, linked=True)
    return service


@pytest.mark.parametrize("weights", [(0.5, 0.5), (0.0, 1.0), (1.0, 0.0)])
def test_exact_and_approximate_searches_agree(linked: Service, weights: tuple[float, float]) -> None:
    options = {"bm25_weight": weights[0], "vector_weight": weights[1], "top_k": 20}
    for query in (QUESTION, "experiment 7", "layers of a network"):
        exact = linked.search(query, exact=True, **options)
        assert exact.sources
        assert linked.search(query, **options).sources == exact.sources


def test_rankings_of_the_two_kinds_are_cached_apart(linked: Service) -> None:
    assert not linked.search(QUESTION).cache.retrieval_hit
    assert not linked.search(QUESTION, exact=True).cache.retrieval_hit
    assert linked.search(QUESTION).cache.retrieval_hit
    assert linked.search(QUESTION, exact=True).cache.retrieval_hit
    assert linked.search(QUESTION, exact=False).cache.retrieval_hit
    assert linked.counts()["retrieval"] == 2


def test_without_an_approximate_index_the_two_kinds_are_one(library: Service) -> None:
    library.search(QUESTION)
    assert library.search(QUESTION, exact=True).cache.retrieval_hit


def test_a_filtered_ranking_is_exact_either_way(linked: Service) -> None:
    wanted = pb.Filter(path_prefixes=["paper-1"])
    assert linked.search("experiment", filter=wanted).sources
    assert linked.search("experiment", filter=wanted, exact=True).cache.retrieval_hit


def test_answers_of_the_two_kinds_agree_and_are_cached_apart(linked: Service) -> None:
    approximate = linked.ask(QUESTION)
    exact = linked.ask(QUESTION, config=pb.AskConfig(exact=True))
    assert not exact.cache.answer_hit
    assert (exact.answer, exact.sources) == (approximate.answer, approximate.sources)
    assert (exact.config.exact, approximate.config.exact) == (True, False)
    assert linked.ask(QUESTION, config=pb.AskConfig(exact=True)).cache.answer_hit
    assert linked.ask(QUESTION).cache.answer_hit


@pytest.mark.parametrize("name", [VECTOR_GRAPH, VECTOR_ORDER, VECTOR_COPIES])
def test_a_damaged_one_is_named_and_the_version_before_answers(service: Service, name: str) -> None:
    old = service.publish("papers", LIBRARY)
    new = service.publish("papers", MANY, linked=True)
    path: Path = service.paths.indexes / new / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)
    assert service.search(QUESTION).corpus_id == old
    code, error = refused(lambda: service.search(QUESTION, corpus_id=new, exact=True))
    assert (code.name, error.reason, error.metadata["file"]) == ("DATA_LOSS", "INDEX_DAMAGED", name)
