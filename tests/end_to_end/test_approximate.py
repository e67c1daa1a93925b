"""A corpus beyond the size up to which all vectors are compared, from ingest to answer."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.conftest import SAMPLE, Pair


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """A pair that builds an approximate index for more than 10 passages."""
    services = Pair(tmp_path, "hashing-256", RAG_EXACT_PASSAGES="10")
    services.start()
    yield services
    services.close()


def test_it_is_built_published_verified_and_answers_as_exact_search_does(pair: Pair) -> None:
    index = pair.json("ingest", SAMPLE, "--corpus", "papers")["result"]["index"]
    assert int(index["passage_count"]) > 10
    assert "vectors.faiss" in index["checksums"]
    assert pair.run("index", "verify", "--corpus", "papers").returncode == 0
    for query in ("dropout", "attention without recurrence", "how are word vectors trained?"):
        found = pair.json("search", query, "--vector-weight", "1", "--bm25-weight", "0.5")
        exact = pair.json("search", query, "--vector-weight", "1", "--bm25-weight", "0.5", "--exact")
        assert not exact["cache"]["retrieval_hit"]
        assert exact["sources"] == found["sources"] != []
    answer = pair.json("ask", "What is transfer learning?")
    exact = pair.json("ask", "What is transfer learning?", "--exact")
    assert not exact["cache"]["answer_hit"]
    assert (exact["answer"], exact["sources"]) == (answer["answer"], answer["sources"])
    assert pair.json("ingest", SAMPLE, "--corpus", "papers")["result"]["unchanged"]
