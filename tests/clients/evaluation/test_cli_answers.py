"""`rag eval answers` and `rag eval compare`."""

import csv
import json
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import duckdb
import pytest

from rag_papers import errors
from rag_papers.settings import Settings
from rag_papers.v1 import query_pb2 as pb
from rag_papers.v1.resources_pb2 import CacheInfo
from tests.query_service.query_harness import LIBRARY, Service

DROPOUT = LIBRARY["dropout.txt"]
QUESTIONS = [
    {
        "id": "what",
        "query": "What is dropout?",
        "intent": "definition",
        "expected_keywords": ["technique", "random", "zebra"],
        "gold_spans": [{"document_id": "dropout.txt", "text": "removes units at random during training"}],
    },
    {
        "id": "how",
        "query": "How do I apply dropout?",
        "expected_keywords": ["hidden unit"],
        "gold_spans": [{"document_id": "batchnorm.txt", "start_byte": 0, "end_byte": 1000}],
    },
    {"id": "foreign", "query": "Which stars form black holes?", "expected_keywords": ["mass"]},
    {"id": "plain", "query": "What is transfer learning?"},
]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(Settings(data_dir=tmp_path_factory.mktemp("answers"), model="hashing-64"))
    service.publish("library", LIBRARY)
    yield service
    service.stop()


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "set.jsonl"
    path.write_text("\n".join(map(json.dumps, QUESTIONS)))
    return path


@pytest.fixture
def measure(library: Service, rag, dataset: Path) -> Callable[..., Mapping]:
    """The summary of a run against the real service."""

    def run(*args: str) -> Mapping:
        command = ("eval", "answers", "--dataset", str(dataset), "--json", *args)
        result = rag(*command, RAG_QUERY_ADDRESS=library.address)
        assert result.exit_code == 0, result.stderr
        assert result.stdout.count("\n") == 1
        return json.loads(result.stdout)

    return run


def test_the_summary_is_that_of_the_answers_themselves(library, measure, dataset):
    found = measure("--no-cache", "--run", "first")
    responses = [
        library.ask(question["query"], intent=question.get("intent", ""), use_cache=False) for question in QUESTIONS
    ]
    what, how, foreign, _ = responses
    assert what.accepted and "removes units at random" in what.answer and "hidden unit" in how.answer
    assert foreign.status == pb.ANSWER_STATUS_ABSTAINED
    assert {name: found[name] for name in ("run", "dataset", "corpus", "corpus_id", "generator", "questions")} == {
        "run": "first",
        "dataset": str(dataset),
        "corpus": "library",
        "corpus_id": what.corpus_id,
        "generator": what.generator,
        "questions": 4,
    }
    assert found["accepted"] == sum(response.accepted for response in responses) / 4
    assert found["accept_at_1"] == sum(r.accepted and "repair" not in r.path for r in responses) / 4
    assert found["repair_rate"] == sum("repair" in response.path for response in responses) / 4
    assert found["mean_score"] == pytest.approx(statistics.fmean(response.score for response in responses))
    assert found["abstention_rate"] == 1 / 4
    assert found["keyword_recall"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert (found["with_keywords"], found["with_gold_spans"]) == (3, 2)
    assert (found["citation_overlap"], found["citation_overlap_at_1"]) == (0.5, 0.5)
    assert (found["failed"], found["cached_answers"]) == (0, 0)
    assert 0 < found["latency_p50_ms"] <= found["latency_p95_ms"] == found["latency_max_ms"]
    assert found["config"]["accept_threshold"] == 0.72


def test_table_and_spreadsheet_hold_a_row_for_each_question(measure, tmp_path):
    found = measure("--run", "one", "--output", "out")
    assert (found["directory"], found["database"]) == ("out/one", "out/eval.duckdb")
    with (tmp_path / "out/one/results.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    with duckdb.connect(tmp_path / "out/eval.duckdb") as connection:
        rows = connection.execute(
            "SELECT id, status, score, keyword_recall, citation_rank, issues, latency_ms FROM eval_results "
            "ORDER BY rowid"
        ).fetchall()
    assert [line["id"] for line in lines] == [row[0] for row in rows] == [question["id"] for question in QUESTIONS]
    assert [row[1] for row in rows] == [line["status"] for line in lines]
    assert rows[0][3] == pytest.approx(2 / 3) and rows[0][4] == 1
    assert rows[2][1:6] == ("abstained", 0.0, 0.0, None, [])
    assert rows[3][3] is None and lines[3]["keyword_recall"] == ""
    assert [float(line["latency_ms"]) for line in lines] == [row[6] for row in rows]


def test_people_read_the_summary_and_a_report_and_see_the_progress(library, rag, dataset, tmp_path):
    args = ("eval", "answers", "--dataset", "set.jsonl", "--run", "one", "--corpus", "library")
    result = rag(*args, RAG_QUERY_ADDRESS=library.address)
    assert result.exit_code == 0
    assert result.stderr.splitlines()[0] == "ask         0%  0/4 questions"
    assert result.stderr.splitlines()[-1] == "ask       100%  4/4 questions"
    lines = result.stdout.splitlines()
    assert lines[0] == "Run:              one"
    assert "Abstention rate:  0.2500" in lines
    assert "Keyword recall:   0.5556 of 3 questions" in lines
    assert lines[-1] == "Written to runs/one and runs/eval.duckdb"
    report = (tmp_path / "runs/one/report.md").read_text()
    assert report.startswith("# one\n")
    assert "| Abstention rate | 0.2500 |" in report
    assert "| foreign | abstained: " in report


def test_markup_of_a_question_does_not_break_the_report(measure, dataset, tmp_path):
    dataset.write_text(json.dumps({"id": "a|b", "query": "What <is>\n*dropout* | [x](y)?"}))
    measure("--run", "one")
    assert r"| a\|b |" in (tmp_path / "runs/one/report.md").read_text()
    assert r"What \<is\> \*dropout\* \| \[x\](y)?" in (tmp_path / "runs/one/report.md").read_text()


def test_answers_from_the_cache_are_counted_and_measure_the_same(measure):
    runs = [measure(*args) for args in (["--refresh"], [], ["--concurrency", "3"], ["--no-cache"])]
    assert [run["cached_answers"] for run in runs] == [0, 4, 4, 0]
    assert len({run["run"] for run in runs}) == 4
    for name in ("accept_at_1", "mean_score", "keyword_recall", "citation_overlap", "repair_rate", "abstention_rate"):
        assert len({run[name] for run in runs}) == 1


def test_the_settings_reach_the_answers(measure):
    found = measure("--top-k", "3", "--reranker", "none", "--no-cache")
    assert (found["config"]["top_k_first"], found["config"]["reranker"]) == (3, "none")


def test_runs_are_compared(rag, measure):
    a, b = measure("--run", "a"), measure("--run", "b", "--bm25-weight", "1", "--vector-weight", "0", "--no-cache")
    result = rag("eval", "compare", "a", "b", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    found = json.loads(result.stdout)
    assert found["first"] == {name: a[name] for name in found["first"]}
    assert found["difference"]["mean_score"] == b["mean_score"] - a["mean_score"]
    assert found["pairing"]["questions"] == 4
    lines = rag("eval", "compare", "a", "b").stdout.splitlines()
    assert lines[0].split() == ["MEASURE", "a", "b", "DIFFERENCE"]
    [score] = [line.split() for line in lines if line.startswith("mean_score")]
    difference = b["mean_score"] - a["mean_score"]
    assert score[1:] == [f"{a['mean_score']:.4f}", f"{b['mean_score']:.4f}", f"{difference:+.4f}"]
    assert any(line.startswith("Of 4 questions in both: score higher for ") for line in lines)


def test_a_run_with_itself_has_no_difference(rag, measure):
    measure("--run", "a")
    found = json.loads(rag("eval", "compare", "a", "a", "--json").stdout)
    assert set(found["difference"].values()) == {0.0}
    assert found["pairing"] == {"questions": 4, "higher": 0, "lower": 0, "changed": []}


def test_runs_of_other_datasets_are_compared_by_what_they_share(rag, measure, dataset):
    measure("--run", "a")
    dataset.write_text("\n".join(map(json.dumps, [*QUESTIONS[2:], {"id": "what", "query": "Which stars shine?"}])))
    measure("--run", "b")
    result = rag("eval", "compare", "a", "b")
    assert result.stderr == "hint: the runs asked different datasets\n"
    assert "Of 3 questions in both: score higher for 0, lower for 1, equal for 2" in result.stdout
    assert result.stdout.splitlines()[-1].split() == ["what", "answered", "abstained"]


def test_an_unknown_run(rag, measure):
    measure("--run", "a")
    result = rag("eval", "compare", "a", "b")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "there is no run 'b'; there are: a" in result.stderr


def test_no_runs(rag, dataset, tmp_path):
    result = rag("eval", "compare", "a", "b")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[-1] == "hint: measure answers with: rag eval answers --dataset FILE"
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('{"id": "x"}', 'set.jsonl:5: it has no "query"'),
        ('{"id": "x", "query": "Why?", "intent": "haiku"}', "set.jsonl:5: intent: "),
        (json.dumps({"id": "x", "query": "y" * 5000}), "set.jsonl:5: query: "),
    ],
)
def test_a_bad_line_stops_it_before_anything_is_asked(library, rag, dataset, tmp_path, line, complaint):
    dataset.write_text(f"{dataset.read_text()}\n{line}")
    library.purge("all")
    result = rag("eval", "answers", "--dataset", "set.jsonl", RAG_QUERY_ADDRESS=library.address)
    assert (result.exit_code, result.stdout) == (2, "")
    assert complaint in result.stderr
    assert not any(library.purge("all").values())
    assert not (tmp_path / "runs").exists()


def test_bad_settings_are_no_fault_of_a_line(library, rag, dataset):
    result = rag("eval", "answers", "--dataset", "set.jsonl", "--top-k", "0", RAG_QUERY_ADDRESS=library.address)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "set.jsonl" not in result.stderr and "top_k_first" in result.stderr


def _found() -> pb.SearchResponse:
    return pb.SearchResponse(corpus="papers", corpus_id="a1b2c3d4e5f60718")


def _answered(**fields) -> pb.AskResponse:
    known = {"answer": "It is so.", "status": pb.ANSWER_STATUS_ANSWERED, "score": 0.9, "accepted": True}
    return pb.AskResponse(**known | fields)


def test_repairs_and_questions_that_take_too_long(server, rag, dataset):
    server.on("Plan", pb.PlanResponse())
    server.on("Search", _found())
    server.on(
        "Ask",
        _answered(path=["generate", "verify"]),
        _answered(path=["generate", "verify", "repair", "generate", "verify"], repair_used=True),
        errors.DeadlineExceeded("too late"),
        _answered(accepted=False, score=0.5, status=pb.ANSWER_STATUS_PARTIAL, cache=CacheInfo(answer_hit=True)),
    )
    result = rag("eval", "answers", "--dataset", "set.jsonl", "--json", "--corpus", "papers")
    found = json.loads(result.stdout)
    assert (found["accept_at_1"], found["accepted"], found["repair_rate"]) == (0.25, 0.5, 0.25)
    assert (found["failed"], found["cached_answers"], found["abstention_rate"]) == (1, 1, 0.0)
    assert found["mean_score"] == pytest.approx((0.9 + 0.9 + 0.5) / 4)
    for request in server.seen["Ask"]:
        assert (request.corpus, request.corpus_id) == ("papers", "a1b2c3d4e5f60718")
    with duckdb.connect("runs/eval.duckdb") as connection:
        rows = connection.execute("SELECT id, reason FROM eval_results WHERE status = 'failed'").fetchall()
    assert rows == [("foreign", "DEADLINE_EXCEEDED")]


def test_a_failure_in_the_middle_ends_the_run_and_leaves_no_trace(server, rag, dataset, tmp_path):
    server.on("Plan", pb.PlanResponse())
    server.on("Search", _found())
    server.on("Ask", _answered(), errors.IndexNotFound("the version is gone"))
    result = rag("eval", "answers", "--dataset", "set.jsonl", "--run", "one")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "the version is gone" in result.stderr
    assert not (tmp_path / "runs/one").exists()
    assert "there are: none" in rag("eval", "compare", "one", "one").stderr


def test_a_name_is_used_once(rag, measure, library, dataset):
    measure("--run", "one")
    command = ("eval", "answers", "--dataset", "set.jsonl", "--run", "one")
    result = rag(*command, RAG_QUERY_ADDRESS=library.address)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "there is a run 'one' already" in result.stderr


def test_a_file_that_is_no_database_is_said_before_anything_is_asked(library, rag, dataset, tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/eval.duckdb").write_text("no database " * 1000)
    result = rag("eval", "answers", "--dataset", "set.jsonl", RAG_QUERY_ADDRESS=library.address)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "error: the results cannot be kept: " in result.stderr and "questions" not in result.stderr


def test_no_service(server, rag, dataset):
    server.stop()
    result = rag("eval", "answers", "--dataset", "set.jsonl")
    assert (result.exit_code, result.stdout) == (3, "")


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["--dataset", "nowhere.jsonl"],
        ["--dataset", "set.jsonl", "--concurrency", "0"],
        ["--dataset", "set.jsonl", "--run", "../up"],
        ["--dataset", "set.jsonl", "--no-cache", "--refresh"],
    ],
)
def test_bad_usage(server, rag, dataset, args):
    result = rag("eval", "answers", *args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert not server.seen


@pytest.mark.parametrize("args", [("answers", "--dataset", "set.jsonl"), ("compare", "a", "b")])
def test_without_the_library_one_is_told_how_to_get_it(server, rag, dataset, monkeypatch, args):
    monkeypatch.setitem(sys.modules, "duckdb", None)
    result = rag("eval", *args)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[-1] == 'hint: install it with: pip install "rag-papers[eval]"'
    assert not server.seen
