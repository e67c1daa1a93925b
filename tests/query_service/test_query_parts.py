"""The parts that need no service: settings, plans, conversion, stopping, encoders."""

import dataclasses
import math

import numpy as np
import pytest

from query_service.answer import Status
from query_service.catalog import Catalog
from query_service.config import AskConfig, SearchConfig, violations
from query_service.encoders import CallVectors, Encoders
from query_service.plan import Step, steps
from query_service.question import Intent
from query_service.steps import AbstainReason
from query_service.stop import Stop
from query_service.verification.verify import Issue
from rag_papers.errors import DeadlineExceeded
from rag_papers.persist.caching import USE
from rag_papers.persist.corpora import Corpora
from rag_papers.persist.model_store import ModelStore
from rag_papers.persist.sqlite_store import SqliteStore
from rag_papers.v1 import query_pb2 as pb
from tests.query_service.query_harness import LIBRARY, Service


def test_settings_are_those_of_the_contract() -> None:
    assert {field.name for field in dataclasses.fields(AskConfig)} == set(pb.AskConfig.DESCRIPTOR.fields_by_name)
    assert {field.name for field in dataclasses.fields(SearchConfig)} < set(pb.SearchRequest.DESCRIPTOR.fields_by_name)


@pytest.mark.parametrize("kind", [AskConfig, SearchConfig])
def test_defaults_and_bounds_are_valid_and_beyond_them_nothing_is(kind: type[AskConfig] | type[SearchConfig]) -> None:
    assert violations(kind, {}) == {}
    for field in dataclasses.fields(kind):
        if field.metadata:
            low, high = field.metadata["low"], field.metadata["high"]
            for value in (low, high):
                assert field.name not in violations(kind, {field.name: value})
            for value in (low - 1, high + 1, math.nan, math.inf, -math.inf):
                assert field.name in violations(kind, {field.name: value})


def test_names_are_those_of_the_contract() -> None:
    for ours, prefix, enum in (
        (Status, "ANSWER_STATUS_", pb.AnswerStatus),
        (AbstainReason, "ABSTAIN_REASON_", pb.AbstainReason),
        (Issue, "ANSWER_ISSUE_", pb.AnswerIssue),
    ):
        assert [prefix + item.name for item in ours] == enum.keys()[1:]


def test_plans() -> None:
    for intent in Intent:
        attempt = steps(intent, 0)
        assert attempt[-1] is Step.VERIFY
        assert Step.REPAIR not in attempt
        assert steps(intent, 2) == (*attempt, Step.REPAIR, *attempt, Step.REPAIR, *attempt)


def test_stop() -> None:
    Stop().check()
    Stop(3600).check()
    for stop in (Stop(0), Stop(-1)):
        with pytest.raises(DeadlineExceeded):
            stop.check()
    stop = Stop(3600)
    stop.client_left()
    with pytest.raises(DeadlineExceeded):
        stop.check()


def test_vectors_of_a_call_are_made_once_and_counted(library: Service) -> None:
    store = SqliteStore(library.paths.cache_db)
    try:
        index = Catalog(Corpora(library.paths.corpora), library.paths.indexes).find().index
        encoders = Encoders(store, ModelStore(library.paths.models))
        vectors = CallVectors(encoders, index.manifest, USE, Stop())
        texts = ["dropout", "batch", "dropout"]
        made = vectors.texts(texts)
        assert made.shape == (3, 64)
        assert np.array_equal(made, encoders.of(index.manifest).encoder.encode(texts))
        assert np.allclose(vectors.query("dropout"), made[0])
        assert (vectors.hits, vectors.misses) == (0, 2)
        assert vectors.texts([]).shape == (0, 64)
        again = CallVectors(encoders, index.manifest, USE, Stop())
        assert np.array_equal(again.texts(texts), made)
        assert (again.hits, again.misses) == (2, 0)
        assert encoders.of(index.manifest) is encoders.of(index.manifest)
    finally:
        store.close()


@pytest.mark.parametrize("query", ["word " * 700, "w" * 4000, "字" * 4000])
def test_a_long_query_has_a_vector_of_length_one(library: Service, query: str) -> None:
    store = SqliteStore(library.paths.cache_db)
    try:
        index = Catalog(Corpora(library.paths.corpora), library.paths.indexes).find().index
        vectors = CallVectors(Encoders(store, ModelStore(library.paths.models)), index.manifest, USE, Stop())
        vector = vectors.query(query.strip())
        assert float(np.linalg.norm(vector)) == pytest.approx(1)
        assert (vectors.query_parts > 1) == (len(query.split()) > 256)  # of the built-in encoder a token is a word
    finally:
        store.close()


def test_embedding_stops_between_batches(library: Service) -> None:
    store = SqliteStore(library.paths.cache_db)
    try:
        index = Catalog(Corpora(library.paths.corpora), library.paths.indexes).find().index
        stop = Stop()
        stop.client_left()
        with pytest.raises(DeadlineExceeded):
            CallVectors(Encoders(store, ModelStore(library.paths.models)), index.manifest, USE, stop).texts(
                list(LIBRARY)
            )
    finally:
        store.close()
