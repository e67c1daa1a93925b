"""A published index is damaged under a running pair: what people see, and how it is repaired."""

import random
from pathlib import Path

import pytest

from tests.end_to_end.conftest import Pair

QUESTION = "What is the quokka constant?"


@pytest.mark.parametrize("name", ["passages.jsonl", "vectors.npy", "bm25.passages.npy", "meta.json"])
def test_the_version_before_answers_until_an_ingest_repairs(pair: Pair, tmp_path: Path, name: str) -> None:
    corpus = f"zoo-{name.partition('.')[0]}"
    papers = pair.directory / corpus
    papers.mkdir()
    versions = []
    for number in (1, 2):
        (papers / "quokka.txt").write_text(f"The quokka constant is {number} in {corpus}. It was measured with care.")
        versions.append(pair.json("ingest", papers)["result"]["index"]["corpus_id"])
    old, new = versions
    assert "is 2" in pair.json("ask", QUESTION, "--corpus", corpus)["answer"]

    path = pair.data / "indexes" / new / name
    data = bytearray(path.read_bytes())
    data[random.Random(name).randrange(len(data) // 2, len(data))] ^= 1
    path.write_bytes(data)

    response = pair.json("ask", QUESTION, "--corpus", corpus, "--refresh")
    assert (response["corpus_id"], "is 1" in response["answer"]) == (old, True)
    for command in (("index", "verify", "--corpus", corpus), ("ask", QUESTION, "--corpus", corpus, "--corpus-id", new)):
        refused = pair.run(*command)
        assert (refused.returncode, name in refused.stderr) == (1, True), refused.stderr
        assert "ingest the corpus again" in refused.stderr

    assert pair.json("ingest", papers)["result"]["index"]["corpus_id"] == new
    response = pair.json("ask", QUESTION, "--corpus", corpus)
    assert (response["corpus_id"], "is 2" in response["answer"]) == (new, True)
    assert pair.run("index", "verify", "--corpus", corpus).returncode == 0
