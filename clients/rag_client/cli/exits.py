"""How a command ends: its exit code, and what it tells people who have to do something about it."""

import enum

import click

from rag_client.cli.text import clean
from rag_papers.errors import InvalidRequest, RagError, Unreachable


class ExitCode(enum.IntEnum):
    """Exit codes of every command."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    INTERRUPTED = 130


HINTS = {
    "DIRECTORY_NOT_FOUND": "the directory is looked up on the machine that runs IngestService",
    "DIRECTORY_NOT_ALLOWED": "allow the directory with: rag serve --corpus-roots DIR",
    "NO_PAPERS": "papers are .pdf, .html, .xml (JATS), .txt and .md files, and .jsonl files in BEIR layout",
    "JOB_NOT_FOUND": "see which jobs there are with: rag jobs list",
    "CORPUS_NOT_FOUND": "see which corpora there are with: rag index list",
    "INDEX_NOT_FOUND": "see which versions there are with: rag index list",
    "NO_INDEX": "publish papers with: rag ingest DIR",
    "MODEL_UNAVAILABLE": "use another model with: rag ingest DIR --model NAME_OR_DIRECTORY",
    "MODEL_MISMATCH": "embed the papers with the model of today: rag ingest DIR",
    "GENERATOR_UNAVAILABLE": "or answer without a language model: rag ask --generator extractive",
    "GENERATOR_FAILED": "ask again, or answer without a language model: rag ask --generator extractive",
    "FORMAT_UNSUPPORTED": "build the index again with: rag ingest DIR",
    "INDEX_DAMAGED": "build the index again with: rag ingest DIR --no-cache",
    "INDEX_IN_USE": "activate another version first with: rag index activate CORPUS_ID --corpus NAME",
    "SESSION_NOT_FOUND": "see which sessions there are with: rag session list",
    "SESSIONS_UNAVAILABLE": "the log of QueryService says why, often a full disk",
    "QUEUE_FULL": "try again in {wait:g} s",
    "UPLOAD_BROKEN": "nothing was stored; upload again when the files are at rest",
    "UPLOAD_QUOTA": "raise RAG_UPLOAD_QUOTA_BYTES, RAG_UPLOAD_MAX_FILES or RAG_MAX_FILE_BYTES of IngestService",
    "DISK_FULL": "the caches can be emptied with: rag cache purge all",
    "DRAINING": "try again when the service is back",
    "DEADLINE_EXCEEDED": "allow more time with: --timeout SECONDS",
    "WORKER_LOST": "the log of IngestService says how the worker ended",
    "INTERNAL": "the log of the service holds the details",
    "UNREACHABLE": "start the services with: rag serve",
}
"""The next step after each reason that has an obvious one."""


def hint_for(reason: str, wait: float = 0.0) -> str | None:
    """The next step after a reason; `wait` is the pause that the service suggested, seconds."""
    hint = HINTS.get(reason)
    return hint and hint.format(wait=wait)


def complain(message: str, hint: str | None = None) -> None:
    """Says on stderr what went wrong, and on a line of its own what to do next."""
    click.echo(f"{click.style('error:', fg='red', bold=True)} {clean(message)}", err=True)
    if hint:
        give_hint(hint)


def give_hint(hint: str) -> None:
    """Says on stderr what to do next."""
    click.echo(f"{click.style('hint:', fg='cyan')} {hint}", err=True)


def report(error: RagError) -> ExitCode:
    """Complains about a failed call, and returns the exit code that it stands for."""
    complain(error.message, hint_for(error.reason, error.retry_after or 0.0))
    if isinstance(error, Unreachable):
        return ExitCode.UNREACHABLE
    return ExitCode.USAGE if isinstance(error, InvalidRequest) else ExitCode.FAILED
