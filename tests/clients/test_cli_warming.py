"""`rag cache warm`."""

import json
from pathlib import Path

from rag_papers.v1.query_pb2 import WarmCacheRequest, WarmCacheResponse

BEGUN = WarmCacheResponse(total=2)
FIRST = WarmCacheResponse(total=2, stored=1, query="What is a?")
FAILED = WarmCacheResponse(total=2, stored=1, failed=1, query="What is b?", failure="there is none")
DONE = WarmCacheResponse(total=2, stored=1, generated=1, query="What is b?")


def test_the_questions_of_a_file(server, rag, tmp_path: Path) -> None:
    server.on("WarmCache", [BEGUN, FIRST, DONE])
    questions = tmp_path / "questions.txt"
    questions.write_text("What is a?\n\n  What is b?  \n")
    result = rag("cache", "warm", str(questions), "--corpus", "c", "--frequent", "3", "--days", "2")
    assert (result.exit_code, result.stdout) == (
        0, "2 questions: 1 stored already, 0 with the text of an earlier version, 1 answered, 0 failed\n"
    )  # fmt: skip
    wanted = WarmCacheRequest(queries=["What is a?", "What is b?"], most_frequent=3, days=2, corpus="c")
    assert server.seen["WarmCache"] == [wanted]
    assert "2/2 questions" in result.stderr


def test_a_question_that_fails(server, rag) -> None:
    server.on("WarmCache", [BEGUN, FIRST, FAILED])
    result = rag("cache", "warm", "--frequent", "2", "--json")
    assert result.exit_code == 1
    assert "error: What is b?: there is none" in result.stderr
    assert [json.loads(line)["failed"] for line in result.stdout.splitlines()] == [0, 0, 1]


def test_without_questions(server, rag, tmp_path: Path) -> None:
    assert rag("cache", "warm").exit_code == 2
    (tmp_path / "empty").write_text("\n")
    assert rag("cache", "warm", str(tmp_path / "empty")).exit_code == 2
    assert rag("cache", "warm", str(tmp_path / "none")).exit_code == 2
    assert not server.seen["WarmCache"]
