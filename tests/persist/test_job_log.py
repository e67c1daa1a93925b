import dataclasses
import json
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_papers.persist.index_store import IndexInfo
from rag_papers.persist.job_log import FileError, Job, JobFailure, JobLog, JobRequest, JobResult, JobStage, JobState

from .processes import run_python

QUEUED = Job(
    job_id="job-1",
    corpus_dir="/data/论文",
    corpus="papers",
    model_name="all-MiniLM-L6-v2",
    use_cache=True,
    max_failed_files=7,
    create_time=1_700_000_000.25,
)
INDEX = IndexInfo(
    corpus_id="0123456789abcdef",
    corpus="papers",
    active=True,
    document_count=2,
    passage_count=3,
    dim=384,
    model_name="all-MiniLM-L6-v2",
    model_identity="f" * 32,
    size_bytes=12345,
    create_time=1_700_000_009.5,
    checksums={"vectors.npy": "a" * 64, "passages.jsonl": "b" * 64},
)
SUCCEEDED = dataclasses.replace(
    QUEUED,
    job_id="job-2",
    requests=(JobRequest(request_id="request", time=1_700_000_000.5),),
    state=JobState.SUCCEEDED,
    stage=JobStage.SAVE,
    progress=1.0,
    message="saved\nwith a line break and \N{ROCKET}",
    revision=17,
    attempt=2,
    outcome={"corpus_id": "0123456789abcdef", "staged": True},
    cancel_requested=True,
    start_time=1_700_000_001.125,
    finish_time=1_700_000_010.0,
    create_time=1_700_000_000.5,
    files_total=4,
    files_done=2,
    files_skipped=1,
    files_failed=1,
    passages_total=3,
    passages_done=3,
    passages_per_second=2.5,
    remaining_seconds=0.0,
    file_errors=(FileError(path="corpus.jsonl:17", reason="NOT_JSON", message="line 17: \x00 ”"),),
    result=JobResult(index=INDEX, embed_hits=1, embed_misses=2, unchanged=False),
)
FAILED = dataclasses.replace(
    QUEUED,
    job_id="job-3",
    create_time=1_700_000_001.0,
    state=JobState.FAILED,
    stage=JobStage.SCAN,
    error=JobFailure(reason="NO_PAPERS", message="nothing to read"),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.jsonl"


@pytest.fixture
def log(path: Path) -> Iterator[JobLog]:
    log = JobLog(path)
    yield log
    log.close()


def write(path: Path, *jobs: Job) -> None:
    JobLog(path).rewrite(jobs)


def fields(line: str | bytes) -> dict[str, Any]:
    """Those of a line, without its checksum: lines are changed as if an earlier version had written them."""
    document: dict[str, Any] = json.loads(line)
    del document["crc32"]
    return document


class TestRoundTrip:
    def test_there_are_no_jobs_at_first(self, log: JobLog) -> None:
        assert log.load() == []

    def test_every_field_comes_back(self, log: JobLog, caplog: pytest.LogCaptureFixture) -> None:
        for job in (QUEUED, SUCCEEDED, FAILED):
            log.append(job, durable=True)
        assert log.load() == [QUEUED, SUCCEEDED, FAILED]
        assert not caplog.records

    def test_the_full_job_of_the_test_leaves_no_field_at_its_default(self) -> None:
        filled = {field.name for job in (SUCCEEDED, FAILED) for field in dataclasses.fields(Job)
                  if getattr(job, field.name) != field.default}  # fmt: skip
        assert filled == {field.name for field in dataclasses.fields(Job)}

    @pytest.mark.parametrize("state", JobState)
    @pytest.mark.parametrize("stage", [None, *JobStage])
    def test_states_and_stages_come_back_as_what_they_are(
        self, log: JobLog, state: JobState, stage: JobStage | None
    ) -> None:
        log.append(dataclasses.replace(QUEUED, state=state, stage=stage), durable=False)
        [job] = log.load()
        assert (job.state, job.stage) == (state, stage)
        assert isinstance(job.state, JobState)
        assert job.state.final == (state in {"succeeded", "failed", "cancelled"})

    def test_the_last_line_of_a_job_counts(self, log: JobLog) -> None:
        running = dataclasses.replace(QUEUED, state=JobState.RUNNING, revision=2)
        for job in (QUEUED, FAILED, running):
            log.append(job, durable=False)
        assert log.load() == [running, FAILED]

    def test_jobs_come_in_the_order_of_their_creation(self, log: JobLog) -> None:
        for job in (FAILED, SUCCEEDED, QUEUED):
            log.append(job, durable=False)
        assert [job.job_id for job in log.load()] == ["job-1", "job-2", "job-3"]

    def test_a_log_is_appended_to_after_it_was_closed(self, log: JobLog) -> None:
        log.append(QUEUED, durable=True)
        log.close()
        log.append(FAILED, durable=True)
        assert log.load() == [QUEUED, FAILED]

    def test_lines_are_readable_by_people(self, log: JobLog, path: Path) -> None:
        log.append(QUEUED, durable=True)
        [line] = path.read_text().splitlines()
        assert "/data/论文" in line
        assert json.loads(line)["state"] == "queued"


class TestRewriting:
    def test_leaves_one_line_a_job(self, log: JobLog, path: Path) -> None:
        for revision in range(5):
            log.append(dataclasses.replace(QUEUED, revision=revision), durable=False)
        jobs = [*log.load(), FAILED]
        log.rewrite(jobs)
        assert len(path.read_bytes().splitlines()) == 2
        assert log.load() == jobs

    def test_goes_on_with_the_new_file(self, log: JobLog) -> None:
        log.append(QUEUED, durable=True)
        log.rewrite([])
        log.append(FAILED, durable=True)
        assert log.load() == [FAILED]

    def test_that_crashes_loses_nothing(self, log: JobLog, path: Path) -> None:
        write(path, QUEUED, FAILED)
        result = run_python(
            """
            import os, sys
            from pathlib import Path
            from rag_papers.persist.job_log import JobLog

            Path.replace = lambda *_: os._exit(9)
            JobLog(Path(sys.argv[1])).rewrite([])
            """,
            path,
        )
        assert result.returncode == 9
        assert log.load() == [QUEUED, FAILED]


class TestDamage:
    @pytest.mark.parametrize("lost", [1, 2, 50, 300])
    def test_to_the_last_line_costs_that_line_and_is_reported(
        self, log: JobLog, path: Path, lost: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        write(path, QUEUED, FAILED)
        path.write_bytes(path.read_bytes()[:-lost])
        # All that was lost of the shortest one is its line break: the line itself is whole.
        assert log.load() == ([QUEUED, FAILED] if lost == 1 else [QUEUED])
        assert ("torn last line" in caplog.text) == (lost > 1)

    @pytest.mark.parametrize("lost", [1, 2, 50, 300])
    def test_to_the_last_line_does_not_cost_the_next_one(self, log: JobLog, path: Path, lost: int) -> None:
        write(path, QUEUED, FAILED)
        path.write_bytes(path.read_bytes()[:-lost])
        log.append(SUCCEEDED, durable=True)
        log.append(FAILED, durable=True)
        assert log.load() == [QUEUED, SUCCEEDED, FAILED]

    @pytest.mark.parametrize(
        "line",
        [
            b"",
            b"{",
            b"[]",
            b"null",
            b"17",
            b'"text"',
            b"\0" * 100,
            b"\xff\xfe",
            b"{}",
            b'{"job_id": "x"}',
            b'{"job_id": "x", "state": "paused"}',
        ],
        ids=str,
    )
    def test_to_a_line_between_costs_that_line_and_is_reported(
        self, log: JobLog, path: Path, line: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        write(path, QUEUED, FAILED)
        first, last = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(first + line + b"\n" + last)
        assert log.load() == [QUEUED, FAILED]
        assert f"{path}:2: damaged line left out" in caplog.text

    @pytest.mark.parametrize("part", ["error", "result", "file_errors"])
    @pytest.mark.parametrize("value", ["text", 17, [1], {"index": 1}])
    def test_to_a_part_of_a_job_costs_that_line(self, log: JobLog, path: Path, part: str, value: object) -> None:
        write(path, QUEUED, FAILED)
        lines = path.read_text().splitlines()
        path.write_text("\n".join([lines[0], json.dumps(fields(lines[1]) | {part: value}), ""]))
        assert log.load() == [QUEUED]

    def test_by_a_disk_that_fills_up_is_confined_to_the_line_being_written(self, path: Path) -> None:
        result = run_python(
            """
            import dataclasses, resource, sys
            from pathlib import Path
            from rag_papers.errors import DiskFull
            from rag_papers.persist.job_log import Job, JobLog

            log = JobLog(Path(sys.argv[1]))
            job = Job(job_id="1", corpus_dir="d", corpus="c", model_name="m", use_cache=True, create_time=1.0)
            log.append(job, durable=True)
            size = Path(sys.argv[1]).stat().st_size
            unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, unlimited[1]))
            try:
                log.append(dataclasses.replace(job, job_id="2"), durable=True)
            except DiskFull as error:
                print(error.reason)
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
            log.append(dataclasses.replace(job, job_id="3"), durable=True)
            print(*(job.job_id for job in log.load()))
            """,
            path,
        )
        assert result.stdout.splitlines() == ["DISK_FULL", "1 3"], result.stderr

    @pytest.mark.parametrize("bits", [1, pytest.param(8, marks=pytest.mark.soak)])
    def test_of_a_single_bit_of_the_last_line_costs_at_most_that_line(
        self, log: JobLog, path: Path, bits: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Never is there a job that nobody recorded: one resumed from another directory would be published."""
        caplog.set_level(logging.ERROR)
        write(path, QUEUED, SUCCEEDED, FAILED)
        whole = path.read_bytes()
        start = whole[:-1].rindex(b"\n") + 1
        without, lost = [QUEUED, SUCCEEDED], 0
        for place in range(start, len(whole)):
            for bit in range(place, place + bits):
                path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit % 8]) + whole[place + 1 :])
                found = log.load()
                lost += found == without
                assert found in (without, [QUEUED, SUCCEEDED, FAILED]), (place, bit)
        assert lost >= (len(whole) - start - len("crc32")) * bits  # none but those that hit the name of the checksum

    def test_that_cuts_the_last_line_anywhere_costs_that_line_alone(self, log: JobLog, path: Path) -> None:
        write(path, SUCCEEDED, QUEUED)
        whole = path.read_bytes()
        for end in range(whole.index(b"\n") + 1, len(whole) + 1):
            path.write_bytes(whole[:end])
            before = [QUEUED, SUCCEEDED] if end >= len(whole) - 1 else [SUCCEEDED]
            log.append(FAILED, durable=False)  # the file stays open, as it is for all jobs of a service
            assert log.load() == [*before, FAILED]

    @given(tail=st.binary(max_size=200), cut=st.integers(0, 3000), zeros=st.integers(0, 5000))
    @settings(max_examples=50, deadline=None)
    def test_by_anything_behind_it_costs_no_line_before(self, tail: bytes, cut: int, zeros: int) -> None:
        """As file systems leave a tail after a power cut: cut off, then other bytes, then zeros."""
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "jobs.jsonl"
            write(path, QUEUED, FAILED, SUCCEEDED)
            whole = path.read_bytes()
            start = whole[:-1].rindex(b"\n") + 1
            path.write_bytes(whole[: start + cut] + tail + b"\0" * zeros)
            log = JobLog(path)
            found = log.load()
            assert found in ([QUEUED, FAILED], [QUEUED, SUCCEEDED, FAILED])
            later = dataclasses.replace(FAILED, revision=99)
            log.append(later, durable=False)
            assert log.load() == [*found[:-1], later]
            log.close()


class TestLaterVersions:
    def test_unknown_fields_are_left_out_and_reported(
        self, log: JobLog, path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        write(path, QUEUED)
        document = fields(path.read_bytes())
        path.write_text(json.dumps(document | {"priority": 7, "owner": "me"}) + "\n")
        assert log.load() == [QUEUED]
        assert f"{path}:1: unknown fields left out: owner, priority" in caplog.text

    def test_unknown_fields_within_are_left_out(self, log: JobLog, path: Path) -> None:
        write(path, SUCCEEDED)
        document = fields(path.read_bytes())
        document["result"]["cost"] = 1
        document["result"]["index"]["shards"] = []
        document["file_errors"][0]["page"] = 3
        path.write_text(json.dumps(document) + "\n")
        assert log.load() == [SUCCEEDED]

    def test_lines_of_an_earlier_version_get_the_defaults_of_this_one(self, log: JobLog, path: Path) -> None:
        write(path, QUEUED)
        document = fields(path.read_bytes())
        for name in ("cancel_requested", "requests", "file_errors", "stage", "result", "error", "attempt"):
            del document[name]
        path.write_text(json.dumps(document) + "\n")
        assert log.load() == [QUEUED]


def test_a_kill_keeps_what_was_appended(path: Path, log: JobLog) -> None:
    result = run_python(
        """
        import os, sys
        from pathlib import Path
        from rag_papers.persist.job_log import Job, JobLog

        log = JobLog(Path(sys.argv[1]))
        for number in range(3):
            log.append(Job(job_id=str(number), corpus_dir="d", corpus="c", model_name="m", use_cache=True,
                           create_time=float(number)), durable=False)
        os._exit(9)
        """,
        path,
    )
    assert result.returncode == 9
    assert [job.job_id for job in log.load()] == ["0", "1", "2"]
