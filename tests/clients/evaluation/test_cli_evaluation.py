"""`rag eval retrieval`."""

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from rag_papers import errors
from rag_papers.settings import Settings
from rag_papers.v1.query_pb2 import SearchResponse
from rag_papers.v1.resources_pb2 import CacheInfo, Passage, Source
from tests.clients.evaluation.collections import write
from tests.query_service.query_harness import Service

BM25 = ("--bm25-weight", "1", "--vector-weight", "0")

PAPERS = {
    # The more often the word occurs, the better the rank; the two passages of b.txt are one document.
    "a.txt": "dropout dropout dropout noise",
    "b.txt": "dropout dropout noise noise\n\ndropout noise noise noise",
    "c.txt": "dropout noise noise noise noise",
    "d.txt": "momentum",
}
QUERIES = {"drop": "dropout", "move": "momentum", "none": "zebra", "unjudged": "noise"}
JUDGEMENTS = [
    ("drop", "b.txt", 2),
    ("drop", "c.txt", 1),
    ("drop", "lost.txt", 1),
    ("move", "d.txt", 1),
    ("none", "a.txt", 1),
]
NDCG_OF_DROP = (2 / math.log2(3) + 1 / math.log2(4)) / (2 + 1 / math.log2(3) + 1 / math.log2(4))


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    running = Service(Settings(data_dir=tmp_path / "data", model="hashing-64"))
    yield running
    running.stop()


@pytest.fixture
def measure(service: Service, rag) -> Callable[..., Mapping]:
    """The measures of a collection against the real service."""

    def run(directory: Path, *args: str) -> Mapping:
        result = rag("eval", "retrieval", "--beir", str(directory), "--json", *args, RAG_QUERY_ADDRESS=service.address)
        assert result.exit_code == 0, result.stderr
        assert result.stdout.count("\n") == 1
        return json.loads(result.stdout)

    return run


def test_the_measures_are_those_worked_out_by_hand(service, measure, tmp_path):
    corpus_id = service.publish("papers", PAPERS)
    found = measure(write(tmp_path / "beir", QUERIES, JUDGEMENTS), *BM25)
    latency = found.pop("latency_ms")
    assert found == {
        "split": "test",
        "corpus": "papers",
        "corpus_id": corpus_id,
        "queries": 3,
        "ndcg_at_10": pytest.approx((NDCG_OF_DROP + 1) / 3),
        "recall_at_10": pytest.approx((2 / 3 + 1) / 3),
        "recall_at_100": pytest.approx((2 / 3 + 1) / 3),
        "mrr_at_10": pytest.approx((1 / 2 + 1) / 3),
        "cached_rankings": 0,
        "short_rankings": 0,
    }
    assert list(latency) == ["p50", "p95", "p99", "mean", "max"]
    assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"] == latency["max"]


def test_enough_passages_are_asked_for_to_find_a_hundred_documents(service, measure, tmp_path):
    # One paper whose 300 passages stand before all others, and 120 papers each of which is a little longer.
    papers = {"long.txt": "\n\n".join(["word word"] * 300)}
    papers |= {f"{number:03}.txt": "word" + " pad" * number for number in range(1, 121)}
    service.publish("papers", papers)
    judged = [("q", "001.txt", 1), ("q", "050.txt", 1), ("q", "110.txt", 1)]
    found = measure(write(tmp_path / "beir", {"q": "word"}, judged), *BM25)
    assert found["recall_at_10"] == pytest.approx(1 / 3)
    assert found["recall_at_100"] == pytest.approx(2 / 3)
    assert found["mrr_at_10"] == 0.5
    assert found["short_rankings"] == 0


def test_the_weights_reach_the_ranking(service, measure, tmp_path):
    service.publish("papers", PAPERS)
    directory = write(tmp_path / "beir", QUERIES, JUDGEMENTS)
    # Vectors rank every paper for every query, BM25 only those with one of its words.
    assert measure(directory, "--bm25-weight", "0", "--vector-weight", "1")["recall_at_100"] > (2 / 3 + 1) / 3


def test_rankings_from_the_cache_are_counted_and_rank_the_same(service, measure, tmp_path):
    service.publish("papers", PAPERS)
    directory = write(tmp_path / "beir", QUERIES, JUDGEMENTS)
    runs = [
        measure(directory, *args)
        for args in (["--no-cache"], [], [], ["--concurrency", "3"], ["--refresh"], ["--no-cache"])
    ]
    assert [run.pop("cached_rankings") for run in runs] == [0, 0, 3, 3, 0, 0]
    for run in runs:
        del run["latency_ms"]
        assert run == runs[0]


def test_people_read_a_table_and_see_the_progress(service, rag, tmp_path):
    corpus_id = service.publish("papers", PAPERS)
    directory = write(tmp_path / "beir", QUERIES, JUDGEMENTS, split="dev")
    args = ("eval", "retrieval", "--beir", str(directory), "--corpus", "papers", *BM25)
    result = rag(*args, RAG_QUERY_ADDRESS=service.address)
    assert result.exit_code == 0
    assert result.stderr.splitlines() == [
        "search      0%  0/3 queries",
        "search     33%  1/3 queries",
        "search     67%  2/3 queries",
        "search    100%  3/3 queries",
    ]
    *table, latency, cached = result.stdout.splitlines()
    assert table == [
        f"Corpus:     papers {corpus_id}",
        "Split:      dev",
        "Queries:    3",
        f"nDCG@10:    {(NDCG_OF_DROP + 1) / 3:.4f}",
        "Recall@10:  0.5556",
        "Recall@100: 0.5556",
        "MRR@10:     0.5000",
    ]
    assert latency.startswith("Latency:    p50 ")
    assert cached == "From cache: 0 rankings"


def test_a_terminal_gets_a_bar(service, rag, tmp_path):
    service.publish("papers", PAPERS)
    directory = write(tmp_path / "beir", QUERIES, JUDGEMENTS)
    terminal = {"RAG_QUERY_ADDRESS": service.address, "TTY_COMPATIBLE": "1", "TERM": "xterm", "COLUMNS": "100"}
    result = rag("eval", "retrieval", "--beir", str(directory), **terminal)
    assert "━" in result.stderr and "100%" in result.stderr and "3/3 queries" in result.stderr
    assert "━" not in result.stdout


def test_a_query_that_the_service_refuses_is_named(service, rag, tmp_path):
    service.publish("papers", PAPERS)
    directory = write(tmp_path / "beir", {"fine": "dropout", "huge": "x" * 5000}, [("fine", "a", 1), ("huge", "b", 1)])
    result = rag("eval", "retrieval", "--beir", str(directory), RAG_QUERY_ADDRESS=service.address)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "error: query 'huge': query: " in result.stderr


def _found(count: int, **fields) -> SearchResponse:
    """`count` passages of one document."""
    sources = [Source(rank=rank, passage=Passage(document_id="d")) for rank in range(1, count + 1)]
    return SearchResponse(sources=sources, corpus="papers", corpus_id="a1b2c3d4e5f60718", **fields)


def test_the_version_that_answers_first_answers_all(server, rag, tmp_path):
    directory = write(tmp_path, {"q1": "one", "q2": "two"}, [("q1", "d", 1), ("q2", "d", 1)])
    server.on("Search", _found(3), _found(3, cache=CacheInfo(retrieval_hit=True)), _found(3))
    assert "From cache: 1 ranking\n" in rag("eval", "retrieval", "--beir", str(directory)).stdout
    opening, *others = server.seen["Search"]
    assert (opening.query, opening.corpus, opening.corpus_id, opening.use_cache) == ("one", "", "", False)
    assert [request.query for request in others] == ["one", "two"]
    for request in others:
        assert (request.corpus, request.corpus_id) == ("papers", "a1b2c3d4e5f60718")
        assert not request.HasField("use_cache") and request.top_k == 200


def test_a_ranking_that_the_limit_cuts_is_said(server, rag, tmp_path):
    directory = write(tmp_path, {"q": "one"}, [("q", "d", 1)])
    server.on("Search", *(_found(count) for count in (200, 400, 800, 1000, 1000)))
    result = rag("eval", "retrieval", "--beir", str(directory))
    assert [request.top_k for request in server.seen["Search"]] == [200, 400, 800, 1000, 1000]
    assert result.stdout.splitlines()[-1] == (
        "Recall@100 is a lower bound: for 1 query the best 1000 passages belong to fewer than 100 documents"
    )
    assert json.loads(rag("eval", "retrieval", "--beir", str(directory), "--json").stdout)["short_rankings"] == 1


@pytest.mark.parametrize(
    ("error", "code", "hint"),
    [
        (errors.NoIndex("nothing was ingested"), 1, "hint: publish papers with: rag ingest DIR"),
        (errors.CorpusNotFound("no such corpus"), 1, "hint: see which corpora there are with: rag index list"),
    ],
)
def test_a_failed_call_ends_the_run(server, rag, tmp_path, error, code, hint):
    directory = write(tmp_path, {"q": "one"}, [("q", "d", 1)])
    server.on("Search", error)
    result = rag("eval", "retrieval", "--beir", str(directory))
    assert (result.exit_code, result.stdout) == (code, "")
    assert hint in result.stderr


def test_a_failure_in_the_middle_ends_the_run(server, rag, tmp_path):
    queries = {f"q{number}": f"text {number}" for number in range(300)}
    directory = write(tmp_path, queries, [(query_id, "d", 1) for query_id in queries])
    server.on("Search", _found(3), _found(3), errors.IndexNotFound("the version is gone"))
    result = rag("eval", "retrieval", "--beir", str(directory))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "the version is gone" in result.stderr
    assert len(server.seen["Search"]) < len(queries)


def test_no_service(server, rag, tmp_path):
    server.stop()
    directory = write(tmp_path, {"q": "one"}, [("q", "d", 1)])
    result = rag("eval", "retrieval", "--beir", str(directory))
    assert (result.exit_code, result.stdout) == (3, "")
    assert "hint: start the services with: rag serve" in result.stderr


@pytest.mark.parametrize(
    "args",
    [[], ["--beir", "nowhere"], ["--beir", ".", "--concurrency", "0"], ["--beir", ".", "--no-cache", "--refresh"]],
)
def test_bad_usage(server, rag, args, tmp_path, monkeypatch):
    monkeypatch.chdir(write(tmp_path, {"q": "one"}, [("q", "d", 1)]))
    result = rag("eval", "retrieval", *args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert not server.seen


def test_without_the_library_one_is_told_how_to_get_it(server, rag, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ir_measures", None)
    result = rag("eval", "retrieval", "--beir", str(tmp_path))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[-1] == 'hint: install it with: pip install "rag-papers[eval]"'
    assert not server.seen
