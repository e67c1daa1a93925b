"""Reading datasets of questions."""

import json
from pathlib import Path

import pytest

from rag_client.evaluation.dataset import GoldSpan, Question, read
from rag_papers.errors import InvalidRequest


def _write(path: Path, *lines: object) -> Path:
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    return path


def test_questions_in_their_order(tmp_path):
    path = _write(
        tmp_path / "set.jsonl",
        {"id": 7, "query": "What is dropout?", "metadata": {"from": "me"}},
        "",
        {
            "id": "b",
            "query": "How do I apply dropout?",
            "intent": "how_to",
            "expected_keywords": ["unit", "0.5"],
            "gold_spans": [
                {"document_id": "dropout.txt", "start_byte": 0, "end_byte": 9},
                {"document_id": "dropout.txt", "text": "keep each hidden unit"},
            ],
        },
        {"id": "c", "query": "Why?", "intent": None, "expected_keywords": None, "gold_spans": None},
    )
    assert read(path) == [
        Question(place=f"{path}:1", id="7", query="What is dropout?"),
        Question(
            place=f"{path}:3",
            id="b",
            query="How do I apply dropout?",
            intent="how_to",
            expected_keywords=("unit", "0.5"),
            gold_spans=(
                GoldSpan(document_id="dropout.txt", start_byte=0, end_byte=9),
                GoldSpan(document_id="dropout.txt", text="keep each hidden unit"),
            ),
        ),
        Question(place=f"{path}:4", id="c", query="Why?"),
    ]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "it is not JSON"),
        ("[]", "it is no JSON object"),
        ('{"query": "q"}', 'it has no "id"'),
        ('{"id": "", "query": "q"}', 'it has no "id"'),
        ('{"id": true, "query": "q"}', 'it has no "id"'),
        ('{"id": "1"}', 'it has no "query"'),
        ('{"id": "1", "query": " "}', 'it has no "query"'),
        ('{"id": "first", "query": "q"}', "a second question 'first'"),
        ('{"id": "1", "query": "q", "intent": 3}', '"intent" is no text'),
        ('{"id": "1", "query": "q", "keywords": []}', "unknown keywords; there are: expected_keywords"),
        ('{"id": "1", "query": "q", "expected_keywords": "k"}', '"expected_keywords" is no list'),
        ('{"id": "1", "query": "q", "expected_keywords": ["k", ""]}', '"expected_keywords" holds what is no text'),
        ('{"id": "1", "query": "q", "gold_spans": [3]}', "a gold span has"),
        ('{"id": "1", "query": "q", "gold_spans": [{"document_id": "d"}]}', "a gold span has"),
        (
            '{"id": "1", "query": "q", "gold_spans": [{"document_id": "d", "text": "t", "start_byte": 1}]}',
            "a gold span has",
        ),
        ('{"id": "1", "query": "q", "gold_spans": [{"document_id": "d", "text": ""}]}', 'it has no "text"'),
        *(
            (
                json.dumps({"id": "1", "query": "q", "gold_spans": [{"document_id": "d"} | span]}),
                "a gold span does not begin at a byte from 0 and end after it",
            )
            for span in (
                {"start_byte": -1, "end_byte": 3},
                {"start_byte": 3, "end_byte": 3},
                {"start_byte": 0.5, "end_byte": 3},
                {"start_byte": False, "end_byte": True},
            )
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path, line, complaint):
    path = _write(tmp_path / "set.jsonl", {"id": "first", "query": "q"}, "", line)
    with pytest.raises(InvalidRequest) as caught:
        read(path)
    assert caught.value.message.startswith(f"{path}:3: {complaint}")


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(InvalidRequest, match=r"set\.jsonl: No such file"):
        read(tmp_path / "set.jsonl")
    with pytest.raises(InvalidRequest, match=r"set\.jsonl: it holds no question"):
        read(_write(tmp_path / "set.jsonl", ""))
