"""Hybrid search of the warm service, over gRPC, against LangChain's EnsembleRetriever (BM25 and FAISS) in this process.

    python benchmarks/hybrid.py [PASSAGES]    # needs `pip install langchain-classic langchain-community faiss-cpu`

Both search the same made-up passages of 80 words and the same random vectors for 8 words, top 10, called alternately.
Neither waits for a model: both have the built-in encoder. No query comes twice.
"""

import random
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from langchain_classic.retrievers import EnsembleRetriever
from langchain_community.retrievers import BM25Retriever
from langchain_community.vectorstores import FAISS
from langchain_core.embeddings import Embeddings
from services import running_services
from synthetic import CORPUS_ID, MODEL, publish, texts, word, write_postings, write_texts

from rag_papers.persist.corpora import Corpora, Version
from rag_papers.persist.index_store import IndexBuilder, OpenIndex
from rag_papers.retrieval.encoders import open_encoder

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
        theirs = ensemble(index, count)
        generator = random.Random(0)
        queries = [" ".join(word(generator.randrange(20, 20_000)) for _ in range(8)) for _ in range(QUERIES)]
        services.query.search(queries[0], top_k=K)
        times: dict[str, list[float]] = {"ours": [], "EnsembleRetriever": []}
        for number, query in enumerate(queries[1:]):
            for side in sorted(times, reverse=number % 2 == 0):
                start = time.perf_counter()
                if side == "ours":
                    services.query.search(query, top_k=K)
                else:
                    theirs.invoke(query)
                times[side].append((time.perf_counter() - start) * 1000)
    medians = {side: statistics.median(measured) for side, measured in times.items()}
    print(f"{count} passages, {QUERIES - 1} queries")
    for side, median in medians.items():
        print(f"{side}: median {median:.2f} ms, {median / medians['ours']:.1f} x ours")


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
