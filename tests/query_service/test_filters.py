"""Filters of Search and Ask: what they find, what they refuse, and that no cache mixes them up."""

from collections.abc import Sequence
from typing import Any

import pytest

from rag_papers.v1 import query_pb2 as pb
from tests.query_service.query_harness import LIBRARY, Service, check_citations, violations

QUESTION = "What is dropout?"
WEIGHTS: list[dict[str, float]] = [{}, {"bm25_weight": 0}, {"vector_weight": 0}]


def in_words(value: object) -> str:
    """The same in every process."""
    return str(sorted(value) if isinstance(value, set) else value)


def of(*ids: str, paths: Sequence[str] = ()) -> pb.Filter:
    return pb.Filter(document_ids=ids, path_prefixes=paths)


FILTERS = [
    of("dropout.txt"), of("batchnorm.txt", "transfer.txt"), of(paths=["d"]), of(paths=["b", "transfer.txt"]),
    of("dropout.txt", "transfer.txt", paths=["t"]), of("nowhere.txt"), of(paths=["nowhere/"]),
    of("dropout.txt", paths=["b"]), of(*LIBRARY),
]  # fmt: skip


def qualifies(source: Any, wanted: pb.Filter) -> bool:
    passage = source.passage
    return (not wanted.document_ids or passage.document_id in wanted.document_ids) and (
        not wanted.path_prefixes or passage.path.startswith(tuple(wanted.path_prefixes))
    )


def facts(sources: Sequence[Any]) -> list[tuple[str, float, float, float]]:
    return [(s.passage.passage_id, s.score, s.bm25_score, s.vector_score) for s in sources]


@pytest.mark.parametrize("weights", WEIGHTS, ids=in_words)
@pytest.mark.parametrize("wanted", FILTERS, ids=lambda wanted: str(wanted).replace("\n", " "))
def test_a_filtered_search_is_the_whole_one_without_the_rest(
    library: Service, wanted: pb.Filter, weights: dict[str, float]
) -> None:
    query = "dropout or batch normalization"
    whole = [source for source in library.search(query, **weights).sources if qualifies(source, wanted)]
    found = library.search(query, filter=wanted, **weights)
    assert facts(found.sources) == facts(whole)
    assert [source.rank for source in found.sources] == list(range(1, len(whole) + 1))
    assert facts(library.search(query, filter=wanted, top_k=2, **weights).sources) == facts(whole[:2])


def test_an_answer_is_made_from_qualifying_passages_alone(library: Service) -> None:
    response = library.ask("What is batch normalization?", filter=of("dropout.txt"))
    assert response.sources
    assert {source.passage.document_id for source in response.sources} == {"dropout.txt"}
    response = library.ask(QUESTION, filter=of(paths=["dropout"]))
    assert response.status == pb.ANSWER_STATUS_ANSWERED
    check_citations(response, LIBRARY)


def test_a_repair_is_filtered_too(library: Service) -> None:
    config = pb.AskConfig(accept_threshold=1, max_repairs=2, rerank_top_k=100)
    response = library.ask("dropout batch transfer learning", filter=of("batchnorm.txt"), config=config)
    assert list(response.path).count("repair") == 2
    assert library.counts()["retrieval"] == 2
    assert {source.passage.document_id for source in response.sources} == {"batchnorm.txt"}
    unfiltered = library.ask("dropout batch transfer learning", config=config)
    assert not unfiltered.cache.retrieval_hit
    assert library.counts()["retrieval"] == 4


@pytest.mark.parametrize("wanted", [of("nowhere.txt"), of(paths=["DROPOUT"]), of("dropout.txt", paths=["b"])])
def test_a_filter_that_matches_nothing_is_an_abstention(library: Service, wanted: pb.Filter) -> None:
    assert not library.search(QUESTION, filter=wanted).sources
    for _ in range(2):
        response = library.ask(QUESTION, filter=wanted)
        assert response.status == pb.ANSWER_STATUS_ABSTAINED
        assert response.abstain_reason == pb.ABSTAIN_REASON_NOTHING_RETRIEVED
        assert not response.sources and not response.sentences
    assert response.cache.answer_hit


def test_every_filter_has_its_own_entries_in_the_caches(library: Service) -> None:
    for wanted in [None, *FILTERS]:
        assert not library.search(QUESTION, filter=wanted).cache.retrieval_hit
        assert not library.ask(QUESTION, filter=wanted).cache.answer_hit
    before = library.counts()
    for wanted in [None, *FILTERS]:
        assert library.search(QUESTION, filter=wanted).cache.retrieval_hit
        assert library.ask(QUESTION, filter=wanted).cache.answer_hit
    assert library.counts() == before


def test_order_repeats_and_spelling_make_no_difference(library: Service) -> None:
    library.search(QUESTION, filter=of("b", "caf\u00e9", paths=["d", "b"]))
    library.ask(QUESTION, filter=of("b", "caf\u00e9", paths=["d", "b"]))
    same = of("cafe\u0301", "b", "b", paths=["b", "d", "b"])
    assert library.search(QUESTION, filter=same).cache.retrieval_hit
    assert library.ask(QUESTION, filter=same).cache.answer_hit


def test_an_empty_filter_is_none(library: Service) -> None:
    assert len(library.search(QUESTION).sources) == 6
    library.ask(QUESTION)
    assert library.search(QUESTION, filter=pb.Filter()).cache.retrieval_hit
    assert library.ask(QUESTION, filter=pb.Filter()).cache.answer_hit


def test_paths_are_compared_composed(service: Service) -> None:
    service.publish("zoo", {"cafe\u0301.txt": "A quokka is small.", "cafe.txt": "A quokka is round."})
    for spelling in ("caf\u00e9", "cafe\u0301"):
        [source] = service.search("quokka", filter=of(paths=[spelling])).sources
        assert source.passage.text == "A quokka is small."
        assert facts(service.search("quokka", filter=of(f"{spelling}.txt")).sources) == facts([source])


@pytest.mark.parametrize(
    ("ids", "prefixes", "fields"),
    [
        ([""], [], {"filter.document_ids"}),
        ([], [""], {"filter.path_prefixes"}),
        (["a", " \t\n\u3000"], ["b"], {"filter.document_ids"}),
        (["a"], ["b", " "], {"filter.path_prefixes"}),
        (["secret" * 200], [], {"filter.document_ids"}),
        ([], ["secret" * 200], {"filter.path_prefixes"}),
        (["a"] * 1001, [], {"filter.document_ids"}),
        ([], ["a"] * 101, {"filter.path_prefixes"}),
        ([""], ["secret" * 200], {"filter.document_ids", "filter.path_prefixes"}),
    ],
)  # fmt: skip
def test_entries_out_of_range(service: Service, ids: list[str], prefixes: list[str], fields: set[str]) -> None:
    for call in (service.ask, service.search):
        wrong = violations(lambda call=call: call("q", filter=of(*ids, paths=prefixes)))  # type: ignore[misc]
        assert set(wrong) == fields
        assert not any("secret" in why for why in wrong.values())


def test_everything_wrong_with_a_list_is_said_at_once(service: Service) -> None:
    wrong = violations(lambda: service.ask("", filter=of("", *["x" * 1025] * 1001), config=pb.AskConfig(seed=1)))
    assert set(wrong) == {"query", "filter.document_ids"}
    for part in ("1,002", "1,000", "blank", "1,025", "1,024"):
        assert part in wrong["filter.document_ids"]


def test_the_largest_filter_is_served(library: Service) -> None:
    largest = of(*[f"{number:01024}" for number in range(999)], "dropout.txt", paths=["x" * 1024] * 99 + ["drop"])
    assert len(library.search(QUESTION, filter=largest).sources) == 3
    assert library.ask(QUESTION, filter=largest).accepted


YEARS = {"dropout.txt": 2014, "batchnorm.txt": 2015}
"""The third paper's is unknown."""


@pytest.mark.parametrize(
    ("bounds", "papers"),
    [
        ({"first_year": 2014, "last_year": 2014}, {"dropout.txt"}),
        ({"first_year": 2015}, {"batchnorm.txt"}),
        ({"last_year": 2014}, {"dropout.txt"}),
        ({"first_year": 0}, set(YEARS)),
        ({"first_year": 0, "document_ids": ["batchnorm.txt", "transfer.txt"]}, {"batchnorm.txt"}),
        ({"last_year": 2013}, set()),
        ({"last_year": 0}, set()),
    ],
    ids=in_words,
)
def test_years(service: Service, bounds: dict[str, Any], papers: set[str]) -> None:
    service.publish("library", LIBRARY, years=YEARS)
    query = "dropout, batch normalization, transfer learning"
    whole = service.search(query).sources
    assert {source.passage.document_id for source in whole} == set(LIBRARY)
    found = service.search(query, filter=pb.Filter(**bounds))
    assert facts(found.sources) == facts([source for source in whole if source.passage.document_id in papers])
    asked = service.ask(query, filter=pb.Filter(**bounds))
    assert {source.passage.document_id for source in asked.sources} <= papers
    assert bool(asked.sources) == bool(papers)


def test_years_have_their_own_entries_in_the_caches(service: Service) -> None:
    service.publish("library", LIBRARY, years=YEARS)
    bounds: list[dict[str, int]] = [
        {}, {"first_year": 0}, {"last_year": 2014}, {"first_year": 2014}, {"first_year": 2014, "last_year": 2014}
    ]  # fmt: skip
    for seen in (False, True):
        for bound in bounds:
            assert service.search(QUESTION, filter=pb.Filter(**bound)).cache.retrieval_hit is seen
            assert service.ask(QUESTION, filter=pb.Filter(**bound)).cache.answer_hit is seen


@pytest.mark.parametrize(
    ("bounds", "fields"),
    [
        ({"first_year": -1}, {"filter.first_year"}),
        ({"first_year": 10000}, {"filter.first_year"}),
        ({"last_year": -1, "first_year": 10000}, {"filter.first_year", "filter.last_year"}),
        ({"first_year": 2015, "last_year": 2014}, {"filter.last_year"}),
        ({"first_year": 1, "last_year": 0}, {"filter.last_year"}),
        ({"first_year": 10000, "document_ids": [""]}, {"filter.first_year", "filter.document_ids"}),
    ],
    ids=in_words,
)
def test_years_out_of_range(service: Service, bounds: dict[str, Any], fields: set[str]) -> None:
    for call in (service.ask, service.search):
        assert set(violations(lambda call=call: call("q", filter=pb.Filter(**bounds)))) == fields  # type: ignore[misc]
