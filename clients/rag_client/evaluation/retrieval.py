"""Every query of a collection asked through Search, and the rankings measured."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

from rag_client import QueryClient
from rag_client.evaluation.asking import ask_all, named
from rag_client.evaluation.collection import Collection
from rag_client.evaluation.measures import Latency, Measures

DOCUMENTS = 100
"""Documents that a ranking must have for the measures."""

FIRST_PASSAGES = 200
"""Passages to ask for at first; doubled as long as they belong to fewer documents."""

MAX_PASSAGES = 1000
"""Most passages that Search returns."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """What came of a run."""

    corpus: str
    corpus_id: str
    """The version that answered every query."""
    queries: int
    cached_rankings: int
    """Queries whose ranking came from the retrieval cache."""
    short_rankings: int
    """Queries whose MAX_PASSAGES best passages belong to fewer than DOCUMENTS documents; there may be more."""
    measures: Measures
    latency: Latency
    """Of the Search calls that the rankings came from, as the client sees them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Ranking:
    documents: Sequence[str]
    """In the order of their best passage."""
    passages: int
    """How many were asked for."""
    short: bool
    """The service would have to return more passages than it does for DOCUMENTS documents."""
    corpus: str
    corpus_id: str
    cached: bool
    milliseconds: float


def evaluate(
    client: QueryClient,
    collection: Collection,
    *,
    concurrency: int = 1,
    advance: Callable[[], None] = lambda: None,
    corpus: str = "",
    corpus_id: str = "",
    **request: Any,
) -> Report:
    """Asks every query, at most `concurrency` at once; `request` goes to each `QueryClient.search`, but for `top_k`.

    `advance` is called for every query that is done. Documents are ranked by their best passage. Raises RagError; the
    first failure ends the run.
    """
    # Opens index and model before anything is measured, finds how many passages the documents take, and names the
    # version that all the others go to, so that a publication in between cannot mix two.
    opening = request | {"corpus": corpus, "corpus_id": corpus_id, "use_cache": False, "refresh": False}
    first = _rank(client, next(iter(collection.queries)), collection, FIRST_PASSAGES, opening)
    pinned = request | {"corpus": first.corpus, "corpus_id": first.corpus_id}

    def rank(query_id: str) -> _Ranking:
        return _rank(client, query_id, collection, first.passages, pinned)

    asked = ask_all(rank, list(collection.queries), concurrency, advance)
    rankings = dict(zip(collection.queries, asked, strict=True))
    return Report(
        corpus=first.corpus,
        corpus_id=first.corpus_id,
        queries=len(rankings),
        cached_rankings=sum(ranking.cached for ranking in rankings.values()),
        short_rankings=sum(ranking.short for ranking in rankings.values()),
        measures=Measures.of(
            {query_id: ranking.documents for query_id, ranking in rankings.items()}, collection.judgements
        ),
        latency=Latency.of([ranking.milliseconds for ranking in rankings.values()]),
    )


def _rank(
    client: QueryClient, query_id: str, collection: Collection, passages: int, request: dict[str, Any]
) -> _Ranking:
    while True:
        start = time.perf_counter()
        with named(query_id):
            response = client.search(collection.queries[query_id], top_k=passages, **request)
        milliseconds = (time.perf_counter() - start) * 1000
        documents = list(dict.fromkeys(source.passage.document_id for source in response.sources))
        wanting = len(documents) < DOCUMENTS and len(response.sources) >= passages
        if not wanting or passages == MAX_PASSAGES:
            return _Ranking(
                documents=documents,
                passages=passages,
                short=wanting,
                corpus=response.corpus,
                corpus_id=response.corpus_id,
                cached=response.cache.retrieval_hit,
                milliseconds=milliseconds,
            )
        passages = min(2 * passages, MAX_PASSAGES)
