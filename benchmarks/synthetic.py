"""Indexes of made-up passages: words of a Zipf distribution, random vectors."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from rag_papers.persist import index_store as store
from rag_papers.retrieval import bm25
from rag_papers.retrieval.analysis import ANALYZER, terms
from rag_papers.retrieval.encoders import open_encoder

VOCABULARY, DIM = 60_000, 384
CORPUS_ID = "0" * 16
MODEL = f"hashing-{DIM}"
"""Needs no files; the vectors are random all the same."""
_ROWS = 10_000  # made at a time
_CONSONANTS = "bcdfghjklmnpqrtv"


def word(number: int) -> str:
    """The word of a rank, 0 being the most frequent: four syllables, which stemming leaves as they are."""
    return "".join(f"{_CONSONANTS[number // 16**place % 16]}o" for place in range(4)) + "x"


def texts(count: int, words: int) -> Iterator[str]:
    """`count` passages of `words` words; the same ones each time."""
    generator = np.random.default_rng(0)
    share = 1 / np.arange(1, VOCABULARY + 1)
    vocabulary = np.array([word(number) for number in range(VOCABULARY)])
    for start in range(0, count, _ROWS):
        drawn = generator.choice(VOCABULARY, (min(_ROWS, count - start), words), p=share / share.sum())
        yield from (" ".join(row) for row in vocabulary[drawn])


def write_texts(builder: store.IndexBuilder, count: int, words: int) -> None:
    """The text on disk: passages of one document each."""
    records = (
        store.PassageRecord(
            passage_id=f"{number}#0",
            document_id=str(number),
            title="",
            path="corpus.jsonl",
            section="",
            first_page=0,
            last_page=0,
            start_byte=0,
            end_byte=len(text),
            text=text,
        )
        for number, text in enumerate(texts(count, words))
    )
    builder.write_array(store.PASSAGE_OFFSETS, builder.write_lines(store.PASSAGES, records))
    documents = (
        store.DocumentRecord(
            document_id=str(number),
            path="corpus.jsonl",
            title="",
            year=0,
            authors=(),
            doi="",
            size_bytes=0,
            first_passage=number,
            passage_count=1,
        )
        for number in range(count)
    )
    builder.write_lines(store.DOCUMENTS, documents)
    builder.write_lines(store.FAILURES, [])


def write_postings(builder: store.IndexBuilder) -> None:
    """BM25 of the passages, as an ingest fits it."""
    builder.write_postings(bm25.fit(terms(passage.text) for passage in builder.passages()))


def publish(builder: store.IndexBuilder, count: int, indexes: Path) -> Path:
    """Adds random vectors, and publishes; the directory of the index."""
    generator = np.random.default_rng(1)
    with builder.vectors(DIM) as vectors:
        for start in range(0, count, _ROWS):
            rows = generator.standard_normal((min(_ROWS, count - start), DIM), np.float32)
            vectors.append(rows / np.linalg.norm(rows, axis=1, keepdims=True))
    manifest = builder.finish(
        corpus_id=CORPUS_ID,
        document_count=count,
        passage_count=count,
        dim=DIM,
        model_name=MODEL,
        model_identity=open_encoder(MODEL).identity,
        analyzer=ANALYZER,
        chunker="none",
    )
    store.publish(builder.directory, indexes, manifest)
    return indexes / CORPUS_ID
