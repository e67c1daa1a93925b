"""Hybrid search of the warm service, in process and over gRPC, against LangChain's EnsembleRetriever (BM25 and FAISS).

    python benchmarks/hybrid.py [PASSAGES]    # needs `pip install langchain-classic langchain-community faiss-cpu`

All search the same made-up passages of 80 words and the same random vectors for 8 words, top 10, called in a new order
for each query. No ranking comes from a cache; the vectors of the queries do.
"""

import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from langchain_classic.retrievers import EnsembleRetriever
from langchain_community.retrievers import BM25Retriever
from langchain_community.vectorstores import FAISS
from langchain_core.embeddings import Embeddings
from services import running_services
from synthetic import CORPUS_ID, MODEL, publish, texts, word, write_postings, write_texts

from query_service.catalog import Catalog
from query_service.config import SearchConfig
from query_service.encoders import Encoders
from query_service.retrieving import Rankings
from query_service.searching import Search, Searcher
from query_service.stop import Stop
from rag_papers.persist import caching
from rag_papers.persist.claims import Claims
from rag_papers.persist.corpora import Corpora, Version
from rag_papers.persist.index_store import IndexBuilder, OpenIndex
from rag_papers.persist.model_store import ModelStore
from rag_papers.persist.sqlite_store import CacheTable, SqliteStore
from rag_papers.retrieval.encoders import open_encoder
from rag_papers.retrieval.filtering import Filter

WORDS, QUERIES, K = 80, 60, 10
ENCODER = open_encoder(MODEL)


class BuiltIn(Embeddings):
    """The service's encoder, as LangChain wants one."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """One vector for each text."""
        return ENCODER.encode(texts).tolist()

    def embed_query(self, text: str) -> list[float]:
        """The vector of a question."""
        return ENCODER.encode([text])[0].tolist()


def main(count: int) -> None:
    with running_services() as services:
        index = write(services.data / "indexes", count)
        Corpora(services.data / "corpora").publish(
            "benchmark", Version(corpus_id=CORPUS_ID, publish_time=time.time(), job_id="benchmark")
        )
        generator = random.Random(0)
        queries = [" ".join(word(generator.randrange(20, 20_000)) for _ in range(8)) for _ in range(QUERIES)]
        theirs = ensemble(index, count)
        sides: dict[str, Callable[[str], object]] = {
            "ours, in process": in_process(services.data),
            "ours, over gRPC": lambda query: services.query.search(query, top_k=K),
            "EnsembleRetriever": theirs.invoke,
        }
        for query in queries:
            services.query.search(query, top_k=K)
        services.query.purge_cache([CacheTable.RETRIEVAL])
        times: dict[str, list[float]] = {side: [] for side in sides}
        for query in queries:
            for side in generator.sample(sorted(sides), len(sides)):
                start = time.perf_counter()
                sides[side](query)
                times[side].append((time.perf_counter() - start) * 1000)
    medians = {side: statistics.median(measured) for side, measured in times.items()}
    print(f"{count} passages, {QUERIES} queries")
    for side, median in medians.items():
        print(f"{side}: median {median:.2f} ms, {median / medians['ours, in process']:.1f} x ours in process")


def in_process(data: Path) -> Callable[[str], object]:
    """The search of the service, with its embedding cache."""
    store = SqliteStore(data / "cache" / "cache.db")
    searcher = Searcher(
        Catalog(Corpora(data / "corpora"), data / "indexes"),
        Encoders(store, ModelStore(data / "models")),
        Rankings(store, Claims(data / "cache" / "claims")),
    )
    policy = caching.CachePolicy(read=True, write=False)

    def search(query: str) -> object:
        wanted = Search(
            query=query, corpus="", corpus_id="", filter=Filter(), config=SearchConfig(top_k=K), policy=policy
        )
        return searcher.search(wanted, Stop())

    return search


def write(indexes: Path, count: int) -> OpenIndex:
    builder = IndexBuilder(indexes / ".staging" / "benchmark")
    write_texts(builder, count, WORDS)
    write_postings(builder)
    return OpenIndex(publish(builder, count, indexes))


def ensemble(index: OpenIndex, count: int) -> EnsembleRetriever:
    passages = list(texts(count, WORDS))
    keyword = BM25Retriever.from_texts(passages, k=K)
    vectors = np.asarray(index.vectors)
    store = FAISS.from_embeddings(zip(passages, vectors, strict=True), BuiltIn())
    return EnsembleRetriever(retrievers=[keyword, store.as_retriever(search_kwargs={"k": K})], weights=[0.5, 0.5])


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
