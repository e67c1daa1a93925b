"""Commands that start, follow and show jobs."""

import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from rag_client.cli import seed
from rag_papers import errors
from rag_papers.v1 import ingest_pb2
from rag_papers.v1.resources_pb2 import FileError, JobStage, JobState
from tests.clients.scripted_server import (
    ScriptedServer,
    failed,
    file_errors,
    job,
    running,
    succeeded,
    until_cancelled,
)

ID = job().job_id


def _starts(server: ScriptedServer, *watched: object) -> None:
    server.on("StartIngest", ingest_pb2.StartIngestResponse(job=job()))
    server.on("WatchJob", list(watched))


def test_ingest_shows_progress_on_stderr_and_the_summary_on_stdout(server, rag):
    _starts(server, running(2, 0.5, passages_done=3, passages_total=6), succeeded(3, passages_done=6, passages_total=6))
    result = rag("ingest", "/srv/papers", "--corpus", "papers", "--model", "m")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "✓ Ingestion completed",
        "  Corpus:       papers",
        "  Corpus ID:    a1b2c3d4e5f60718",
        "  Documents:    6",
        "  Passages:     40",
        "  Dimension:    384",
        "  Model:        all-MiniLM-L6-v2",
        "  Files:        7 scanned: 1 new, 2 changed, 3 unchanged, 1 failed; 4 deleted, 5 passed over",
        "",
        "  Cache hits:   4",
        "  Cache misses: 2",
        "  Hit rate:     66.7%",
    ]
    assert result.stderr.splitlines() == [
        "Ingesting /srv/papers",
        "  Model: all-MiniLM-L6-v2",
        "  Cache: enabled",
        f"✓ Job started: {ID}",
        "vectors    50%  3/6 passages",
        "succeeded 100%  6/6 passages",
    ]
    request = server.seen["StartIngest"][0]
    assert (request.corpus, request.model_name, request.HasField("use_cache")) == ("papers", "m", False)
    assert server.seen["WatchJob"][0].after_revision == 1


def test_a_relative_directory_is_meant_from_here(server, rag, tmp_path, monkeypatch):
    _starts(server, succeeded(2))
    monkeypatch.chdir(tmp_path)
    rag("ingest", "papers", "--no-cache")
    request = server.seen["StartIngest"][0]
    assert request.corpus_dir == str(tmp_path / "papers")
    assert request.HasField("use_cache") and not request.use_cache


@pytest.mark.parametrize(("options", "expected"), [([], None), (["0"], 0), (["7"], 7)])
def test_how_many_files_may_fail_is_passed_on_and_unset_by_default(server, rag, options, expected):
    _starts(server, succeeded(2))
    rag("ingest", "papers", *(["--max-failed-files", *options] if options else []))
    request = server.seen["StartIngest"][0]
    assert (request.max_failed_files if request.HasField("max_failed_files") else None) == expected


def test_a_negative_number_of_files_that_may_fail_is_a_usage_error(server, rag):
    assert rag("ingest", "papers", "--max-failed-files", "-1").exit_code == 2


def test_an_unchanged_index_is_said_to_be(server, rag):
    _starts(server, succeeded(2, unchanged=True, hits=0, misses=0))
    result = rag("ingest", "/srv/papers")
    assert "  nothing changed; already published" in result.stdout.splitlines()
    assert "  Hit rate:     -" in result.stdout.splitlines()


@pytest.mark.parametrize(
    ("count", "total", "last"),
    [(3, 3, "bad-002.txt: NOT_UTF8: cannot be read"), (12, 12, "and 2 more"), (100, 340, "and 330 more")],
)
def test_files_left_out_are_named_up_to_ten(server, rag, count, total, last):
    _starts(server, succeeded(2, file_errors=file_errors(count), files_failed=total))
    lines = rag("ingest", "/srv/papers").stdout.splitlines()
    assert lines[-1].strip() == last
    assert sum("NOT_UTF8" in line for line in lines) == min(count, 10)


def test_a_note_on_a_file_that_was_read_is_no_failure(server, rag):
    note = FileError(path="old.txt", reason="ENCODING_GUESSED", message="it was read as cp1252")
    _starts(server, succeeded(2, file_errors=[note, *file_errors(1)], files_failed=1))
    lines = rag("ingest", "/srv/papers").stdout.splitlines()
    noted, left_out = lines.index("  Read, but:"), lines.index("  Left out:")
    assert lines[noted + 1] == "    old.txt: ENCODING_GUESSED: it was read as cp1252"
    assert lines[left_out + 1].startswith("    bad-000.txt: ")


def test_a_failed_job_is_a_failure_with_its_reason_and_the_next_step(server, rag):
    _starts(server, failed(2, "NO_PAPERS", "no paper in /srv/papers", file_errors=file_errors(1), files_failed=1))
    result = rag("ingest", "/srv/papers")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[-3:] == [
        "    bad-000.txt: NOT_UTF8: cannot be read",
        f"error: job {ID} failed: NO_PAPERS: no paper in /srv/papers",
        "hint: papers are .pdf, .html, .xml (JATS), .txt and .md files, and .jsonl files in BEIR layout",
    ]


def test_a_cancelled_job_is_a_failure(server, rag):
    _starts(server, job(2, state=JobState.JOB_STATE_CANCELLED))
    result = rag("ingest", "/srv/papers")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.endswith(f"error: job {ID} was cancelled; nothing was published\n")


def test_ingest_json_is_the_final_job_alone(server, rag):
    _starts(server, running(2, 0.5), succeeded(3))
    result = rag("ingest", "/srv/papers", "--json")
    final = json.loads(result.stdout)
    assert (final["job_id"], final["state"]) == (ID, "JOB_STATE_SUCCEEDED")
    assert final["result"]["index"]["corpus_id"] == "a1b2c3d4e5f60718"
    assert final["files_failed"] == 0 and final["file_errors"] == []


def test_ingest_json_of_a_failed_job(server, rag):
    _starts(server, failed(2, "NO_PAPERS", "nothing to read"))
    result = rag("ingest", "/srv/papers", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["error"]["reason"] == "NO_PAPERS"
    assert "error: " in result.stderr


def test_detach_prints_the_id_and_does_not_watch(server, rag):
    _starts(server)
    result = rag("ingest", "/srv/papers", "--detach")
    assert (result.exit_code, result.stdout) == (0, f"{ID}\n")
    assert f"hint: follow it with: rag jobs watch {ID}" in result.stderr.splitlines()
    assert not server.seen["WatchJob"]
    assert json.loads(rag("ingest", "/srv/papers", "--detach", "--json").stdout)["job"]["state"] == "JOB_STATE_QUEUED"


def test_plain_progress_is_a_line_a_stage_or_tenth(server, rag):
    stages = (JobStage.JOB_STAGE_SCAN, JobStage.JOB_STAGE_LEXICAL, JobStage.JOB_STAGE_VECTORS, JobStage.JOB_STAGE_SAVE)
    jobs = [running(n + 2, n / 1000, stages[n // 250], passages_done=n, passages_total=999) for n in range(1000)]
    server.on("WatchJob", [job(1), *jobs, running(1001, 0.999, stages[3]), succeeded(1002)])
    lines = rag("jobs", "watch", ID).stderr.splitlines()
    assert lines[0].split()[:2] == ["queued", "0%"] and lines[-1].split()[:2] == ["succeeded", "100%"]
    assert [line.split()[0] for line in lines[1:-1]] == ["scan"] * 3 + ["lexical"] * 3 + ["vectors"] * 3 + ["save"] * 3


@pytest.mark.parametrize("env", [{}, {"NO_COLOR": "1"}])
def test_a_terminal_gets_a_bar(server, rag, env):
    server.on("WatchJob", [running(2, 0.37, passages_done=37, passages_total=100), succeeded(3)])
    # What rich goes by when there is no terminal to ask.
    stderr = rag("jobs", "watch", ID, FORCE_COLOR="1", TERM="xterm", COLUMNS="100", **env).stderr
    assert "100%" in stderr and "━━━" in stderr
    assert ("\x1b[3" in stderr) != bool(env)


def test_watch_json_is_a_job_a_line(server, rag):
    server.on("WatchJob", [job(1), running(2, 0.5), succeeded(3)])
    result = rag("jobs", "watch", ID, "--json")
    assert [json.loads(line)["job"]["revision"] for line in result.stdout.splitlines()] == ["1", "2", "3"]
    assert result.stderr == ""


def test_watch_of_a_failed_job_fails(server, rag):
    server.on("WatchJob", [failed(2, "MODEL_UNAVAILABLE", "no such model")])
    result = rag("jobs", "watch", ID)
    assert result.exit_code == 1
    assert "hint: use another model" in result.stderr


def test_jobs_list_keeps_ids_whole_on_a_narrow_terminal(server, rag):
    long_id = "0123456789abcdef" * 4
    server.on("ListJobs", ingest_pb2.ListJobsResponse(jobs=[job(job_id=long_id, message="one\ttwo\n\x1b[31mthree")]))
    header, row = rag("jobs", "list", "--state", "queued", COLUMNS="20").stdout.splitlines()
    assert header.split() == ["JOB", "STATE", "DONE", "QUEUED", "CORPUS", "MESSAGE"]
    assert row.split() == [long_id, "queued", "0%", "-", "papers", "one", "two", "three"]
    assert server.seen["ListJobs"][0].state == JobState.JOB_STATE_QUEUED


def test_jobs_list_json_is_one_document_over_all_pages(server, rag):
    server.on(
        "ListJobs",
        ingest_pb2.ListJobsResponse(jobs=[job(1)], next_page_token="x"),
        ingest_pb2.ListJobsResponse(jobs=[job(2)]),
    )
    listed = json.loads(rag("jobs", "list", "--json").stdout)
    assert [found["revision"] for found in listed["jobs"]] == ["1", "2"]
    assert listed["next_page_token"] == ""


def test_an_unknown_state_is_a_usage_error(rag):
    result = rag("jobs", "list", "--state", "dancing")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "'dancing' is none of queued, running" in result.stderr


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (running(2, 0.42, message="embedding"), ["running, 42%", "vectors", "embedding"]),
        (succeeded(9), ["✓ Ingestion completed", "a1b2c3d4e5f60718"]),
        (
            failed(3, "DISK_FULL", "no space left", file_errors=file_errors(1)),
            ["DISK_FULL: no space left", "bad-000.txt"],
        ),
    ],
)
def test_jobs_show(server, rag, shown, expected):
    server.on("GetJob", ingest_pb2.GetJobResponse(job=shown))
    result = rag("jobs", "show", ID)
    assert result.exit_code == 0
    assert all(part in result.stdout for part in [ID, "/srv/papers", *expected])
    assert json.loads(rag("jobs", "show", ID, "--json").stdout)["job"]["job_id"] == ID


def test_jobs_cancel(server, rag):
    server.on(
        "CancelJob", ingest_pb2.CancelJobResponse(job=running(4, 0.2)), ingest_pb2.CancelJobResponse(job=succeeded(5))
    )
    asked, ended = rag("jobs", "cancel", ID), rag("jobs", "cancel", ID)
    assert asked.stdout == f"{ID}  running\n" and asked.stderr
    assert ended.stdout == f"{ID}  succeeded\n" and not ended.stderr


def test_the_seeds_spelling_of_ingest(server, rag):
    _starts(server, succeeded(2))
    result = rag("--dir", "/srv/papers", "--model", "m", "--no-cache", command=seed.ingest)
    assert "Corpus ID:    a1b2c3d4e5f60718" in result.stdout
    assert server.seen["StartIngest"][0] == ingest_pb2.StartIngestRequest(
        corpus_dir="/srv/papers", model_name="m", use_cache=False
    )
    assert rag(command=seed.ingest).exit_code == 2


def test_a_job_that_cannot_be_queued(server, rag):
    server.on("StartIngest", errors.QueueFull("100 jobs wait already", retry_after=30.0))
    result = rag("ingest", "/srv/papers", "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "error: 100 jobs wait already\nhint: try again in 30 s\n"


# A shell that runs things in the background starts them with SIGINT ignored, which Python then honours.
_PROGRAM = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from rag_client.cli import main
main()
"""


def _rag_process(server: ScriptedServer, *args: str, encoding: str = "utf-8") -> subprocess.Popen[str]:
    env = {**os.environ, "RAG_INGEST_ADDRESS": server.address, "PYTHONIOENCODING": encoding}
    return subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, *args],
        env=env,
        encoding=encoding,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize("args", [("ingest", "/srv/papers"), ("jobs", "watch", ID), ("jobs", "watch", ID, "--json")])
def test_ctrl_c_detaches_and_says_how_to_come_back(server, args):
    _starts(server, running(2, 0.3), until_cancelled)
    with _rag_process(server, *args) as process:
        stream = process.stdout if "--json" in args else process.stderr
        assert any("0.3" in line or "30%" in line for line in iter(stream.readline, ""))
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate()
    assert process.returncode == 130
    assert stderr.splitlines()[-3:] == [
        f"detached; job {ID} goes on",
        f"hint: follow it with: rag jobs watch {ID}",
        f"hint: stop it with: rag jobs cancel {ID}",
    ]
    assert not server.seen["CancelJob"]


def test_ctrl_c_elsewhere_is_an_interruption(server):
    called = threading.Event()
    server.on("GetJob", lambda context: (called.set(), until_cancelled(context)))
    with _rag_process(server, "jobs", "show", ID) as process:
        assert called.wait(60)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate()
    assert (process.returncode, stdout, stderr) == (130, "", "\ninterrupted\n")


def test_a_reader_who_has_seen_enough_ends_it_quietly(server):
    server.on("ListJobs", ingest_pb2.ListJobsResponse(jobs=[job(message="m" * 500) for _ in range(2000)]))
    with _rag_process(server, "jobs", "list") as process:
        assert process.stdout.readline().startswith("JOB")
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_letters_that_the_terminal_lacks_do_not_fail(server):
    _starts(server, succeeded(2))
    with _rag_process(server, "ingest", "/srv/papers", encoding="latin-1") as process:
        stdout, _ = process.communicate()
    assert (process.returncode, stdout.splitlines()[0]) == (0, "? Ingestion completed")


def test_a_broken_connection_is_said_in_words_alone(server):
    restarting = threading.Thread(
        target=lambda: server.stop() or restarted.append(ScriptedServer(server.address, WatchJob=[succeeded(3)]))
    )
    restarted: list[ScriptedServer] = []
    _starts(server, running(2, 0.3), lambda _: restarting.start(), until_cancelled)
    with _rag_process(server, "jobs", "watch", ID) as process:
        _, stderr = process.communicate()
    restarting.join()
    restarted[0].stop()
    assert process.returncode == 0
    first, *broken, last = stderr.splitlines()
    assert (first.split()[:2], last.split()[:2]) == (["vectors", "30%"], ["succeeded", "100%"])
    assert broken and all("attaching again" in line for line in broken)
