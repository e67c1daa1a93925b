"""Jobs for people: one line, one block, and what came of them."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from rag_client.cli.output import fields
from rag_client.cli.text import clean, counted, duration, moment

if TYPE_CHECKING:
    from rag_papers.v1.resources_pb2 import FileError, Job, JobResult

_NOTES = frozenset(("ENCODING_GUESSED",))
"""Reasons of notes on files that were ingested."""

FILE_ERRORS_SHOWN = 10
"""How many files that could not be read are named; the rest are counted."""


def state(job: "Job") -> str:
    """The state as a word."""
    from rag_client.words import word
    from rag_papers.v1.resources_pb2 import JobState

    return word(JobState, job.state)


def stage(job: "Job") -> str:
    """The stage as a word; empty before the first."""
    from rag_client.words import word
    from rag_papers.v1.resources_pb2 import JobStage

    return word(JobStage, job.stage) if job.stage else ""


def phase(job: "Job") -> str:
    """What the job is at: its stage while it runs, its state otherwise."""
    from rag_papers.v1.resources_pb2 import JobState

    return (job.state == JobState.JOB_STATE_RUNNING and stage(job)) or state(job)


def passages(job: "Job") -> str:
    """How far the embedding has come, how fast it is and how long it takes; before it begins, what the service says."""
    if not job.passages_done:
        return clean(job.message)
    parts = [f"{job.passages_done}/{counted(job.passages_total, 'passage', 'passages')}"]
    if job.HasField("passages_per_second"):
        parts.append(f"{job.passages_per_second:.{0 if job.passages_per_second >= 10 else 1}f}/s")
    if job.HasField("remaining_seconds"):
        parts.append(f"{duration(1000 * round(job.remaining_seconds))} left")
    return ", ".join(parts)


def details(job: "Job") -> Iterator[str]:
    """A job in full, as `rag jobs show` prints it."""
    files = f"{job.files_done}/{job.files_total} read, {job.files_skipped} passed over, {job.files_failed} failed"
    yield from fields(
        [
            ("Job", job.job_id),
            ("State", f"{state(job)}, {job.progress:.0%}"),
            ("Stage", stage(job) or "-"),
            ("Message", clean(job.message)),
            ("Corpus", clean(job.corpus)),
            ("Directory", clean(job.corpus_dir)),
            ("Model", clean(job.model_name)),
            ("Cache", "used" if job.use_cache else "not used"),
            ("Attempt", str(job.attempt)),
            ("Files", files),
            ("Passages", f"{job.passages_done}/{job.passages_total} embedded"),
            ("Queued", moment(job.create_time)),
            ("Started", moment(job.start_time)),
            ("Finished", moment(job.finish_time)),
        ],
        indent="",
    )
    if job.HasField("error"):
        yield f"\n{failure(job)}"
    if job.HasField("result"):
        yield ""
        yield from summary(job)
    else:
        yield from file_errors(job)


def failure(job: "Job") -> str:
    """Why a job failed."""
    return f"job {job.job_id} failed: {clean(job.error.reason)}: {clean(job.error.message)}"


def summary(job: "Job") -> Iterator[str]:
    """What a successful job produced."""
    result, index = job.result, job.result.index
    hits, misses = result.embed_hits, result.embed_misses
    yield f"{click.style('✓', fg='green')} Ingestion completed"
    yield from fields(
        [
            ("Corpus", clean(index.corpus)),
            ("Corpus ID", index.corpus_id),
            ("Documents", str(index.document_count)),
            ("Passages", str(index.passage_count)),
            ("Dimension", str(index.dim)),
            ("Model", clean(index.embed_model_name)),
            ("Files", _files(result)),
            ("", ""),
            ("Cache hits", str(hits)),
            ("Cache misses", str(misses)),
            ("Hit rate", f"{hits / (hits + misses):.1%}" if hits + misses else "-"),
        ]
    )
    if result.unchanged:
        yield "  nothing changed; already published"
    yield from file_errors(job)


def _files(result: "JobResult") -> str:
    return (
        f"{result.files_scanned} scanned: {result.files_new} new, {result.files_changed} changed, "
        f"{result.files_unchanged} unchanged, {result.files_failed} failed; {result.files_deleted} deleted, "
        f"{result.files_skipped} passed over"
    )


def file_errors(job: "Job") -> Iterator[str]:
    """The files that could not be ingested and those that were with a note, the first of each by name."""
    notes = [error for error in job.file_errors if error.reason in _NOTES]
    left_out = [error for error in job.file_errors if error.reason not in _NOTES]
    # The list itself ends at 100, the count of files does not.
    yield from _listed("Left out", left_out, max(len(left_out), job.files_failed))
    yield from _listed("Read, but", notes, len(notes))


def _listed(title: str, errors: "Sequence[FileError]", count: int) -> Iterator[str]:
    if not errors:
        return
    yield f"\n  {title}:"
    for error in errors[:FILE_ERRORS_SHOWN]:
        yield f"    {clean(error.path)}: {clean(error.reason)}: {clean(error.message)}"
    if count > FILE_ERRORS_SHOWN:
        yield f"    and {count - FILE_ERRORS_SHOWN} more"
