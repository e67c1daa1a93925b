"""What each choice of the analyzer does to BM25's nDCG@10 on a collection in BEIR layout.

    python benchmarks/analyzer.py DIRECTORY [SPLIT]

One choice is undone at a time. Passages and judgements are those of fusion.py; no model is run.
"""

import re
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import numpy as np
import Stemmer
from fusion import by_spans

from ingest_service.chunking import chunk, embedding_text
from ingest_service.readers.beir import read
from ingest_service.readers.document import Document
from rag_client.evaluation import collection
from rag_client.evaluation.measures import Measures
from rag_papers.retrieval import analysis, bm25
from rag_papers.retrieval.encoders import open_encoder

MODEL, LARGEST_LINE = "all-MiniLM-L6-v2", 64 << 20
Keep = Callable[[str], bool]


def main(directory: Path, split: str | None) -> None:
    encoder = open_encoder(MODEL)
    with (directory / "corpus.jsonl").open("rb") as file:
        documents = [found for found in read("corpus.jsonl", file, LARGEST_LINE) if isinstance(found, Document)]
    records = [
        record
        for document in documents
        for record in chunk(document, "corpus.jsonl", max_tokens=encoder.max_tokens, count_tokens=encoder.count_tokens)
    ]
    by_passage = (directory / "answer_spans.jsonl").exists()
    names = np.array([record.passage_id if by_passage else record.document_id for record in records])
    judged = collection.read(directory, split)
    judgements = by_spans(directory, records) if by_passage else judged.judgements
    print(f"{directory.name}: {len(judgements)} queries, {len(records)} passages")
    for label, (changes, keep) in VARIANTS.items():
        with ExitStack() as undone:
            for attribute, value in changes.items():
                undone.enter_context(mock.patch.object(analysis, attribute, value))
            analysis._terms_of_word.cache_clear()
            index = bm25.Bm25(
                bm25.fit(list(filter(keep, analysis.terms(embedding_text(record)))) for record in records), len(records)
            )
            rankings = {}
            for query_id in judgements:
                scores = index.scores(filter(keep, analysis.terms(judged.queries[query_id])))
                best_first = names[np.argsort(-scores, kind="stable")]
                rankings[query_id] = list(dict.fromkeys(best_first[:1000].tolist()))
        analysis._terms_of_word.cache_clear()
        print(f"  {label:42s} {Measures.of(rankings, judgements).ndcg_at_10:.4f}", flush=True)


def everything(term: str) -> bool:
    return True


def never(part: str) -> bool:
    return False


def by_part(word: str) -> tuple[str, ...]:
    """The terms of a word's parts, without those of the whole."""
    return tuple(term for part in re.split(r"[.\-]", word) for term in CHOSEN(part))


CHOSEN = analysis._terms_of_word
VARIANTS: Mapping[str, tuple[Mapping[str, object], Keep]] = {
    "chosen": ({}, everything),
    "no stemming": ({"_stem": str}, everything),
    "Porter's first stemmer": ({"_stem": Stemmer.Stemmer("porter").stemWord}, everything),
    "stop words kept": ({"STOP_WORDS": frozenset()}, everything),
    "hyphenated words and decimals whole alone": ({"_JOINT": re.compile(r"(?!)")}, everything),
    "hyphenated words and decimals by part alone": ({"_terms_of_word": mock.Mock(side_effect=by_part)}, everything),
    "every hyphenated word whole as well": ({"_says_enough": never}, everything),
    "upper and lower case kept apart": ({"_fold": str}, everything),
    "accents kept": ({"_fold": str.casefold}, everything),
    "numbers left out": ({}, lambda term: not term.isdigit()),
    "terms of one and two characters left out": ({}, lambda term: len(term) > 2),
}


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None)
