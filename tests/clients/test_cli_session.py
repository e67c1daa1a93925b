"""Commands about sessions, and questions that are asked in one."""

import json
import os
import pty
import select
import subprocess
import sys
from pathlib import Path

import pytest

from rag_client.cli import session
from rag_client.cli.exits import HINTS
from rag_papers import errors
from rag_papers.v1 import query_pb2 as pb
from rag_papers.v1.resources_pb2 import AnswerSentence, Citation, Passage, Source

ID = "0123456789abcdef" * 2


def _response(**values):
    known = {
        "answer": "It is fast.",
        "status": pb.ANSWER_STATUS_ANSWERED,
        "sentences": [
            AnswerSentence(
                text="It is fast.",
                supported=True,
                citations=[
                    Citation(
                        source_rank=1, passage_id="a#0", document_id="a", title="Speed", page=3, quote="It is fast.",
                        start_byte=111, end_byte=122,
                    )
                ],
            )
        ],
        "sources": [
            Source(passage=Passage(passage_id="a#0", path="a", start_byte=100, text="We say: \ue000It is fast. Very.")),
        ],
        "score": 0.9,
        "intent": "definition",
        "corpus": "papers",
        "corpus_id": "c" * 16,
        "session_id": ID,
        "turn": 2,
    }  # fmt: skip
    return pb.AskResponse(**{**known, **values})


def _turn(number: int = 1, **values) -> pb.Turn:
    return pb.Turn(number=number, query=f"question {number}", response=_response(turn=number, **values))


def _export(*turns: pb.Turn) -> list[pb.ExportSessionResponse]:
    return [pb.ExportSessionResponse(turn=turn) for turn in turns]


def test_a_question_in_a_session_says_how_it_was_understood(server, rag):
    server.on("Ask", _response(resolved_query="how fast is dropout?", steps_skipped=["repair"]))
    result = rag("ask", "and how fast is it?", "--session", ID)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[:3] == ["Understood as: how fast is dropout?", "", "It is fast. [1]"]
    assert "      “It is fast.”" in lines
    assert lines[-1].endswith(f" · no time for: repair · turn 2 of {ID}")
    assert server.seen["Ask"][0].session_id == ID


def test_a_new_session_says_how_to_go_on(server, rag):
    server.on("Ask", _response(turn=1))
    result = rag("ask", "q", "--session", "-")
    assert result.stderr == f'hint: go on with: rag ask --session {ID} "..."\n'
    assert server.seen["Ask"][0].session_id == "-"


def test_the_list(server, rag):
    sessions = [pb.Session(session_id=ID, turn_count=3, title="What is\x1b[31m dropout? " + "and " * 50)]
    server.on("ListSessions", pb.ListSessionsResponse(sessions=sessions))
    header, line = rag("session", "list").stdout.splitlines()
    assert header.split() == ["SESSION", "TURNS", "LAST", "TURN", "FIRST", "QUESTION"]
    assert line.split()[:2] == [ID, "3"]
    assert "What is dropout?" in line and line.endswith("…") and "\x1b" not in line
    assert json.loads(rag("session", "list", "--json").stdout)["sessions"][0]["turn_count"] == 3


def test_one_session(server, rag):
    server.on("GetSession", pb.GetSessionResponse(session=pb.Session(session_id=ID, turn_count=2, title="question 1")))
    turns = [_turn(1), _turn(2, resolved_query="how fast is dropout?")]
    server.on("ExportSession", _export(*turns))
    lines = rag("session", "show", ID).stdout.splitlines()
    assert lines[0] == f"Session:   {ID}"
    assert lines[lines.index("2. question 2") :][:3] == [
        "2. question 2",
        "   understood as: how fast is dropout?",
        "   It is fast.",
    ]
    shown = json.loads(rag("session", "show", ID, "--json").stdout)
    assert [turn["number"] for turn in shown["turns"]] == [1, 2]


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_an_export_is_one_turn_a_line(server, rag, flags):
    server.on("ExportSession", _export(_turn(1), _turn(2)))
    lines = rag("session", "export", ID, *flags).stdout.splitlines()
    assert [json.loads(line)["query"] for line in lines] == ["question 1", "question 2"]
    assert server.seen["ExportSession"][0].session_id == ID


def test_a_deletion(server, rag):
    server.on("DeleteSession", pb.DeleteSessionResponse(turn_count=1))
    assert rag("session", "delete", ID).stdout == f"deleted {ID}: 1 turn\n"
    assert json.loads(rag("session", "delete", ID, "--json").stdout) == {"turn_count": 1}


@pytest.mark.parametrize(
    ("command", "method"), [("show", "GetSession"), ("export", "ExportSession"), ("delete", "DeleteSession")]
)
def test_an_unknown_session(server, rag, command, method):
    error = errors.SessionNotFound("there is no such session")
    server.on(method, [error] if method == "ExportSession" else error)
    result = rag("session", command, "../../etc/passwd")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"error: there is no such session\nhint: {HINTS['SESSION_NOT_FOUND']}\n"


def test_what_is_saved(server, rag, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    server.on("Ask", _response(), _response(session_id="", turn=0))
    server.on("ExportSession", _export(_turn(1), _turn(2)))
    whole = rag("ask", "q", "--session", ID, "--save")
    alone = rag("ask", "what else?", "--save")
    first, second = (Path(result.stderr.removeprefix("saved to ").strip()) for result in (whole, alone))
    assert first != second
    for file, queries in ((first, ["question 1", "question 2"]), (second, ["what else?"])):
        assert file.parts[0] == "runs" and file.parts[1].startswith("session_") and file.name == "session.jsonl"
        turns = [json.loads(line) for line in file.read_text().splitlines()]
        assert [turn["query"] for turn in turns] == queries
        assert turns[-1]["response"]["answer"] == "It is fast."


def test_nothing_that_was_saved_is_overwritten(tmp_path, monkeypatch):
    monkeypatch.setattr("time.strftime", lambda _: "session_now")
    files = [session.save([_turn(number)], tmp_path) for number in (1, 2, 3)]
    assert len(set(files)) == 3
    assert [json.loads(file.read_text())["number"] for file in files] == [1, 2, 3]


def _stream(**values) -> list[pb.AskStreamResponse]:
    return [
        pb.AskStreamResponse(started=pb.AskStarted(intent="definition")),
        pb.AskStreamResponse(retrieved=pb.AskRetrieved(sources=[Source(rank=1)])),
        pb.AskStreamResponse(text_delta="It is"),
        pb.AskStreamResponse(text_delta=" fast."),
        pb.AskStreamResponse(verified=pb.AskVerified(score=0.9, accepted=True)),
        pb.AskStreamResponse(done=_response(**values)),
    ]


def test_a_stream_as_json_is_one_message_a_line(server, rag):
    server.on("AskStream", _stream())
    lines = [json.loads(line) for line in rag("ask", "q", "--json", "--stream").stdout.splitlines()]
    assert [next(iter(line)) for line in lines] == [
        "started", "retrieved", "text_delta", "text_delta", "verified", "done",
    ]  # fmt: skip
    assert lines[-1]["done"]["answer"] == "It is fast."
    refused = rag("ask", "q", "--stream")
    assert refused.exit_code == 2 and "--json" in refused.stderr


def _on_a_terminal(server, *arguments: str, **env: str) -> str:
    """What `rag` writes to a terminal."""
    controller, terminal = pty.openpty()
    command = [sys.executable, "-c", "from rag_client.cli import main; main()", *arguments]
    environment = os.environ | {"RAG_QUERY_ADDRESS": server.address, "TERM": "xterm", "COLUMNS": "90", **env}
    process = subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, env=environment)
    os.close(terminal)
    output = b""
    while select.select([controller], [], [], 60)[0]:
        try:
            output += os.read(controller, 4096)
        except OSError:  # Linux: the other end is closed
            break
    os.close(controller)
    assert process.wait() == 0
    return output.decode()


def test_a_terminal_shows_the_answer_as_it_comes_and_the_quote_in_its_place(server):
    server.on("AskStream", _stream(session_id=""))
    output = _on_a_terminal(server, "ask", "q")
    assert "It is fast. [1]" in output
    assert output.index("It is") < output.index("It is fast. [1]")
    assert "      We say: \x1b[1mIt is fast.\x1b[22m Very.\r\n" in output
    assert server.seen["AskStream"] and not server.seen["Ask"]


def test_a_terminal_that_can_do_nothing_gets_plain_text(server):
    server.on("Ask", _response())
    output = _on_a_terminal(server, "ask", "q", TERM="dumb")
    assert "It is fast. [1]" in output
    assert server.seen["Ask"] and not server.seen["AskStream"]
