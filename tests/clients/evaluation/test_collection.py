"""Reading judged collections."""

import pytest

from rag_client.evaluation.collection import Collection, read
from rag_papers.errors import InvalidRequest
from tests.clients.evaluation.collections import write

QUERIES = {"q1": "dropout", "q2": "momentum"}


def test_judged_queries_alone_in_their_order(tmp_path):
    write(
        tmp_path, {"b": "second", "a": "first", "c": "never judged"}, [("a", "d1", 1), ("b", "d2", 0), ("a", "d3", 2)]
    )
    collection = read(tmp_path)
    assert collection == Collection(
        split="test",
        queries={"b": "second", "a": "first"},
        judgements={"a": {"d1": 1, "d3": 2}, "b": {"d2": 0}},
    )
    assert list(collection.queries) == ["b", "a"]


def test_what_other_tools_write_is_read(tmp_path):
    (tmp_path / "qrels").mkdir()
    (tmp_path / "queries.jsonl").write_bytes('{"_id": 7, "text": "naïve", "metadata": {}}\r\n\r\n'.encode())
    (tmp_path / "qrels" / "test.tsv").write_bytes(b"7\td 1\t1\r\n\r\n7\td 1\t1\r\n7\td2\t-1\r\n")
    collection = read(tmp_path)
    assert (collection.queries, collection.judgements) == ({"7": "naïve"}, {"7": {"d 1": 1, "d2": -1}})


def test_the_split(tmp_path):
    write(tmp_path, QUERIES, [("q1", "d", 1)], split="dev")
    assert read(tmp_path).split == read(tmp_path, "dev").split == "dev"
    write(tmp_path, QUERIES, [("q2", "d", 1)], split="train")
    for wanted in (None, "other", "../qrels/dev"):
        with pytest.raises(InvalidRequest, match="there are: dev, train"):
            read(tmp_path, wanted)
    write(tmp_path, QUERIES, [("q1", "d", 1), ("q2", "d", 1)])
    assert read(tmp_path).split == "test"
    assert list(read(tmp_path, "train").queries) == ["q2"]


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("queries.jsonl", b"{", "queries.jsonl:1: it is not JSON"),
        ("queries.jsonl", b'\n{"_id": "q", "text": "\xff"}', "queries.jsonl:2: it is not UTF-8"),
        ("queries.jsonl", b"[1]", "queries.jsonl:1: it is no JSON object"),
        ("queries.jsonl", b"[" * 100_000, "queries.jsonl:1: it is not JSON"),
        ("queries.jsonl", b'{"text": "t"}', 'queries.jsonl:1: it has no "_id"'),
        ("queries.jsonl", b'{"_id": true, "text": "t"}', 'queries.jsonl:1: it has no "_id"'),
        ("queries.jsonl", b'{"_id": "q1", "text": " "}', 'queries.jsonl:1: it has no "text"'),
        ("queries.jsonl", b'{"_id": "q1", "text": "a"}\n{"_id": "q1", "text": "b"}', "queries.jsonl:2: a second query"),
        ("queries.jsonl", b"", "test.tsv:2: the query 'q1' is not in queries.jsonl"),
        ("qrels/test.tsv", b"query-id\tcorpus-id\tscore\nq1 d 1", "test.tsv:2: it has not three columns"),
        ("qrels/test.tsv", b"query-id\tcorpus-id\tscore\nq1\td\tyes", "test.tsv:2: the relevance 'yes'"),
        ("qrels/test.tsv", b"q1\td\t1\nq1\td\t2", "test.tsv:2: the document 'd' was judged otherwise"),
        ("qrels/test.tsv", b"q1\td\t1000000000", "test.tsv:1: the relevance 1000000000 is beyond 1000"),
        ("qrels/test.tsv", b"q1\td\t1\nq9\td\t1", "test.tsv:2: the query 'q9' is not in queries.jsonl"),
        ("qrels/test.tsv", b"q1\t\xe9\t1", "test.tsv:1: it is not UTF-8"),
        ("qrels/test.tsv", b"query-id\tcorpus-id\tscore\n", "test.tsv: it holds no judgement"),
        ("qrels/test.tsv", b"", "test.tsv: it holds no judgement"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path, name, content, complaint):
    write(tmp_path, QUERIES, [("q1", "d", 1)])
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidRequest) as caught:
        read(tmp_path)
    assert complaint in caught.value.message


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(InvalidRequest, match=r"queries\.jsonl: No such file"):
        read(tmp_path)
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "t"}')
    with pytest.raises(InvalidRequest, match=r"qrels: it holds no judgements"):
        read(tmp_path)
    (tmp_path / "qrels" / "test.tsv").mkdir(parents=True)
    with pytest.raises(InvalidRequest, match=r"test\.tsv: Is a directory"):
        read(tmp_path)
