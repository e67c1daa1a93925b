"""docs/caching.md: whatever is in its table, changed alone, makes a miss."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from query_service import answering
from query_service.generators.extractive import ExtractiveGenerator
from query_service.rerankers import BUILT_IN
from query_service.rerankers.best_sentence import BestSentence
from rag_papers.persist.answer_cache import AnswerKey
from rag_papers.persist.retrieval_cache import RetrievalKey
from rag_papers.v1 import query_pb2 as pb
from tests.query_service.query_harness import LIBRARY, Service

QUESTION = "What is transfer learning?"
TABLE = (Path(__file__).parents[2] / "docs" / "caching.md").read_text()


class Other(ExtractiveGenerator):
    identity = "other-1"


class OtherReranker(BestSentence):
    identity = "other-1"


def edit(service: Service, patch: pytest.MonkeyPatch) -> None:
    service.publish("library", LIBRARY | {"dropout.txt": LIBRARY["dropout.txt"] + "!"})


def touch_years(service: Service, patch: pytest.MonkeyPatch) -> None:
    service.publish("library", LIBRARY, years={"dropout.txt": 2014})


def embed_otherwise(service: Service, patch: pytest.MonkeyPatch) -> None:
    service.publish("library", LIBRARY, model="hashing-32")


def generate_otherwise(service: Service, patch: pytest.MonkeyPatch) -> None:
    service._server._application._generators._made["extractive"] = Other()  # type: ignore[attr-defined]


def rerank_otherwise(service: Service, patch: pytest.MonkeyPatch) -> None:
    patch.setitem(BUILT_IN, "best-sentence", OtherReranker())  # type: ignore[arg-type]


def another_pipeline(service: Service, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(answering, "PIPELINE", "another")


@pytest.mark.parametrize(
    "change", [edit, touch_years, embed_otherwise, generate_otherwise, rerank_otherwise, another_pipeline]
)
def test_what_the_service_has_makes_a_miss(
    library: Service, monkeypatch: pytest.MonkeyPatch, change: Callable[[Service, pytest.MonkeyPatch], None]
) -> None:
    library.ask(QUESTION)
    assert library.ask(QUESTION).cache.answer_hit
    change(library, monkeypatch)
    assert not library.ask(QUESTION).cache.answer_hit
    assert library.ask(QUESTION).cache.answer_hit


@pytest.mark.parametrize(
    "fields",
    [
        {"query": "What is the transfer learning?"},
        {"intent": "explanation"},
        {"filter": pb.Filter(document_ids=["transfer.txt"])},
        {"filter": pb.Filter(path_prefixes=["transfer"])},
        {"filter": pb.Filter(last_year=2020)},
        {"config": pb.AskConfig(seed=1)},  # the others: test_every_setting_is_part_of_the_key
    ],
    ids=str,
)
def test_what_the_request_says_makes_a_miss(library: Service, fields: dict[str, Any]) -> None:
    library.ask(QUESTION)
    request = {"query": QUESTION} | fields
    assert not library.ask(**request).cache.answer_hit
    assert library.ask(**request).cache.answer_hit


def test_the_history_that_completed_a_question_makes_a_miss(library: Service) -> None:
    first = library.ask("What is dropout?", session_id="-")
    follow_up = library.ask("How does it reduce overfitting?", session_id=first.session_id)
    assert follow_up.resolved_query
    assert not library.ask(follow_up.resolved_query).cache.answer_hit


def test_the_order_of_what_is_given_does_not_matter(library: Service) -> None:
    one = pb.Filter(document_ids=["transfer.txt", "dropout.txt"])
    other = pb.Filter(document_ids=["dropout.txt", "transfer.txt", "dropout.txt"])
    library.ask(QUESTION, filter=one)
    assert library.ask(QUESTION, filter=other).cache.answer_hit


@pytest.mark.parametrize("key", [AnswerKey, RetrievalKey])
def test_the_table_has_every_part_of_the_keys(key: Any) -> None:
    assert [field.name for field in dataclasses.fields(key) if f"`{field.name}`" not in TABLE] == []
