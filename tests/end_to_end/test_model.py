"""The pair with the real model: the demo's questions, and a whole collection."""

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.end_to_end.conftest import SAMPLE, Pair

pytestmark = [pytest.mark.model, pytest.mark.timeout(600)]


@pytest.mark.parametrize(
    ("question", "intent", "words"),
    [
        ("What is transfer learning?", "definition", "transfer learning is"),
        ("What is the difference between dropout and batch normalization?", "comparison", "batch normalization"),
        ("How do I fine-tune BERT for classification?", "how_to", "learning rate"),
    ],
)
def test_the_questions_of_the_demo_are_answered(model_pair: Pair, question: str, intent: str, words: str) -> None:
    model_pair.json("ingest", SAMPLE, "--corpus", "papers")
    answer = model_pair.json("ask", question, "--corpus", "papers")
    assert answer["status"] == "ANSWER_STATUS_ANSWERED"
    assert answer["intent"] == intent
    assert words in answer["answer"].lower()
    assert all(sentence["citations"] and sentence["supported"] for sentence in answer["sentences"])


def test_a_question_from_elsewhere_is_not_answered(model_pair: Pair) -> None:
    model_pair.json("ingest", SAMPLE, "--corpus", "papers")
    answer = model_pair.json(
        "ask", "Which wing flap settings reduce drag of supersonic aircraft?", "--corpus", "papers"
    )
    assert answer["status"] == "ANSWER_STATUS_ABSTAINED"
    assert answer["abstain_reason"] == "ABSTAIN_REASON_WEAK_EVIDENCE"


@pytest.mark.collections
def test_cranfield_is_ingested_once_and_recognised_afterwards(model_pair: Pair, tmp_path: Path) -> None:
    if not (collections := os.environ.get("RAG_TEST_COLLECTIONS")):
        pytest.skip("RAG_TEST_COLLECTIONS does not name the directory of the collections")
    cranfield = model_pair.directory / "cranfield"
    cranfield.mkdir()
    # A part of it, because embedding all takes minutes; benchmarks/collection.py does the whole.
    lines = (Path(collections) / "cranfield" / "corpus.jsonl").read_text().splitlines(keepends=True)[:200]
    (cranfield / "corpus.jsonl").write_text("".join(lines))
    shutil.copy(Path(collections) / "cranfield" / "queries.jsonl", cranfield)
    first = model_pair.json("ingest", cranfield)["result"]
    assert (first["index"]["document_count"], first["embed_hits"]) == (200, 0)

    copied = shutil.copytree(cranfield, model_pair.directory / "copied")
    again = model_pair.json("ingest", copied, "--corpus", "cranfield")["result"]
    assert again["unchanged"]
    assert again["index"]["corpus_id"] == first["index"]["corpus_id"]
    assert (again["embed_hits"], again["embed_misses"]) == (first["index"]["passage_count"], 0)

    document = json.loads(lines[7])
    lines[7] = json.dumps(document | {"text": document["text"] + " the quokka was not disturbed ."}) + "\n"
    (copied / "corpus.jsonl").write_text("".join(lines))
    edited = model_pair.json("ingest", copied, "--corpus", "cranfield")["result"]
    assert edited["index"]["corpus_id"] != first["index"]["corpus_id"]
    found = model_pair.json("search", "quokka", "--corpus", "cranfield", "--vector-weight", "0")["sources"]
    assert {source["passage"]["document_id"] for source in found} == {document["_id"]}
    assert 1 <= edited["embed_misses"] <= 3
