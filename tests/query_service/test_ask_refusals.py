"""Requests that are refused: the right code, reason and field, and nothing of the question in the message."""

import math
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from rag_papers.v1 import query_pb2 as pb
from tests.query_service.query_harness import LIBRARY, Service, refused, violations

HUGE = 10**9
BAD_CONFIG = [
    ("top_k_first", 0), ("top_k_first", -1), ("top_k_first", HUGE), ("rerank_top_k", 0), ("rerank_top_k", HUGE),
    ("prune_min_overlap", -1), ("prune_min_overlap", 101), ("prune_max_chars", 0), ("prune_max_chars", HUGE),
    ("context_max_chars", 0), ("context_max_chars", HUGE), ("accept_threshold", -0.01), ("accept_threshold", 1.01),
    ("accept_threshold", math.nan), ("max_repairs", -1), ("max_repairs", 6), ("bm25_weight", -1.0),
    ("bm25_weight", math.nan), ("bm25_weight", math.inf), ("bm25_weight", 1001.0), ("vector_weight", -math.inf),
    ("vector_weight", -1e-9), ("bm25_weight_on_repair", math.nan), ("vector_weight_on_repair", 1e308),
    ("temperature", -0.1), ("temperature", 2.1), ("temperature_on_repair", math.nan), ("generator", "oracle"),
    ("generator", ""), ("reranker", "oracle"), ("reranker", ""), ("reranker", "cross-encoder:"),
    ("reranker", "cross-encoder:" + "x" * 2000),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), BAD_CONFIG)
def test_settings_out_of_range(service: Service, field: str, value: Any) -> None:
    config = pb.AskConfig(**{field: value})
    assert set(violations(lambda: service.ask("What is dropout?", config=config))) == {f"config.{field}"}
    assert set(violations(lambda: service.plan("What is dropout?", config=config))) == {f"config.{field}"}


# Every int64 is a seed, and both truth values say whether to be exact.
@pytest.mark.parametrize(
    "field", sorted(set(pb.AskConfig.DESCRIPTOR.fields_by_name) - {"generator", "reranker", "seed", "exact"})
)
def test_every_setting_has_bounds(service: Service, field: str) -> None:
    wrong = violations(lambda: service.ask("What is dropout?", config=pb.AskConfig(**{field: -1})))
    assert set(wrong) == {f"config.{field}"}


def test_both_weights_zero_name_both(service: Service) -> None:
    config = pb.AskConfig(bm25_weight=0, vector_weight=0)
    assert set(violations(lambda: service.ask("q", config=config))) == {"config.bm25_weight", "config.vector_weight"}
    config = pb.AskConfig(bm25_weight_on_repair=0, vector_weight_on_repair=-0.0)
    assert set(violations(lambda: service.ask("q", config=config))) == {
        "config.bm25_weight_on_repair",
        "config.vector_weight_on_repair",
    }
    assert set(violations(lambda: service.search("q", bm25_weight=0, vector_weight=0))) == {
        "bm25_weight",
        "vector_weight",
    }


@pytest.mark.parametrize("query", ["", " ", "\t\n", "\0", "\0\x1f \x7f", "\u200b", "\u3000\u00a0", "\ufeff"])
def test_blank_query(service: Service, query: str) -> None:
    for call in (service.ask, service.search, service.plan):
        assert set(violations(lambda call=call: call(query))) == {"query"}  # type: ignore[misc]


@pytest.mark.parametrize("query", ["secret" * 20_000, "s" + "é" * 4000])
def test_long_query_is_not_echoed(service: Service, query: str) -> None:
    for call in (service.ask, service.search, service.plan):
        wrong = violations(lambda call=call: call(query))  # type: ignore[misc]
        assert set(wrong) == {"query"}
        assert "4,000" in wrong["query"]
        assert query[:3] not in wrong["query"]


def test_white_space_around_a_query_does_not_count(library: Service) -> None:
    assert library.ask(" " * 5000 + "What is dropout?" + "\n" * 5000).accepted
    assert library.search("dropout " * 500).sources


def test_the_longest_question_is_a_setting(serve: Callable[..., Service]) -> None:
    service = serve(max_query_chars=10)
    assert "10" in violations(lambda: service.ask("12345678901"))["query"]


def test_unknown_intent_lists_the_known_ones(service: Service) -> None:
    for call in (service.ask, service.plan):
        wrong = violations(lambda call=call: call("q", intent="poetry"))  # type: ignore[misc]
        assert set(wrong) == {"intent"}
        for name in ("definition", "explanation", "comparison", "how_to", "summarization", "unknown"):
            assert name in wrong["intent"]


def test_refresh_contradicts_no_cache(service: Service) -> None:
    for call in (service.ask, service.search):
        assert set(violations(lambda call=call: call("q", use_cache=False, refresh=True))) == {"refresh"}  # type: ignore[misc]


def test_everything_wrong_is_named_at_once(service: Service) -> None:
    config = pb.AskConfig(top_k_first=0, bm25_weight=math.nan, generator="oracle")
    call = lambda: service.ask(" ", intent="poetry", config=config, use_cache=False, refresh=True)  # noqa: E731
    assert set(violations(call)) == {
        "query", "intent", "config.top_k_first", "config.bm25_weight", "config.generator", "refresh",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value"),
    [("top_k", 0), ("top_k", HUGE), ("top_k", -1), ("bm25_weight", math.nan), ("vector_weight", -1.0)],
)
def test_search_settings_out_of_range(service: Service, field: str, value: Any) -> None:
    assert set(violations(lambda: service.search("q", **{field: value}))) == {field}


@pytest.mark.parametrize(
    "tables", [(), ("pictures",), ("answers", "pictures"), ("all", "pictures"), ("ANSWERS",), ("",)]
)
def test_unknown_tables_purge_nothing(library: Service, tables: tuple[str, ...]) -> None:
    library.ask("What is dropout?")
    before = library.counts()
    wrong = violations(lambda: library.purge(*tables))
    assert set(wrong) == {"tables"}
    for name in ("embeddings", "retrieval", "answers", "sessions", "all"):
        assert name in wrong["tables"]
    assert library.counts() == before


def test_asking_before_any_ingest_says_what_to_do(service: Service) -> None:
    for call in (service.ask, service.search):
        code, error = refused(lambda call=call: call("What is dropout?"))  # type: ignore[misc]
        assert (code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_INDEX")
        assert "rag ingest" in error.message
    assert service.plan("What is dropout?").steps


def test_unknown_corpus_names_the_known_ones(library: Service) -> None:
    library.publish("second", {"a.txt": "Iron melts at 1538 degrees."})
    for call in (library.ask, library.search):
        code, error = refused(lambda call=call: call("q", corpus="nowhere"))  # type: ignore[misc]
        assert (code, error.reason) == (grpc.StatusCode.NOT_FOUND, "CORPUS_NOT_FOUND")
        assert "library, second" in error.message


@pytest.mark.parametrize(
    "corpus_id", ["0" * 16, "../../../etc", "..", ".", "library", "\0", "é" * 3000, ".staging", "A" * 100_000]
)
@pytest.mark.parametrize("corpus", ["", "library"])
def test_unknown_version(library: Service, corpus: str, corpus_id: str) -> None:
    code, error = refused(lambda: library.ask("q", corpus=corpus, corpus_id=corpus_id))
    assert (code, error.reason) == (grpc.StatusCode.NOT_FOUND, "INDEX_NOT_FOUND")
    assert len(error.message) < 200


def test_a_version_of_another_corpus_is_not_found(library: Service) -> None:
    other = library.publish("second", {"a.txt": "Iron melts at 1538 degrees."})
    assert library.search("iron", corpus_id=other).corpus == "second"
    _, error = refused(lambda: library.search("iron", corpus="library", corpus_id=other))
    assert error.reason == "INDEX_NOT_FOUND"


def test_a_model_that_cannot_be_had(service: Service) -> None:
    service.publish("library", LIBRARY, model_name="no-such-model")
    for call in (service.ask, service.search):
        code, error = refused(lambda call=call: call("What is dropout?"))  # type: ignore[misc]
        assert (code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "MODEL_UNAVAILABLE")
        assert "no-such-model" in error.message
    assert service.search("dropout", vector_weight=0).sources


def test_a_cross_encoder_that_cannot_be_had(library: Service) -> None:
    config = pb.AskConfig(reranker="cross-encoder:no-such-model")
    code, error = refused(lambda: library.ask("What is dropout?", config=config))
    assert (code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "MODEL_UNAVAILABLE")
    assert "reranking model 'no-such-model'" in error.message
    assert "hf download" in error.message
    assert error.metadata == {"model": "no-such-model"}
    assert library.plan("What is dropout?", config=config).config.reranker == "cross-encoder:no-such-model"


def test_a_model_that_is_not_the_one_of_the_index(service: Service) -> None:
    corpus_id = service.publish("library", LIBRARY, model_identity="0123456789abcdef")
    for call in (service.ask, service.search):
        code, error = refused(lambda call=call: call("What is dropout?"))  # type: ignore[misc]
        assert (code, error.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "MODEL_MISMATCH")
        assert corpus_id in error.message
