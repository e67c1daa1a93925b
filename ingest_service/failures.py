"""Files that could not be ingested: how many are shown, how many are allowed."""

from collections.abc import Sequence

from rag_papers.errors import TooManyFailedFiles
from rag_papers.persist.index_store import FileError

MAX_FILE_ERRORS = 100
"""Errors of single files that a job lists; all of them are in the index's failures.jsonl."""


def check_failed(failed: int, errors: Sequence[FileError], allowed: int | None) -> None:
    """Raises TooManyFailedFiles if more files failed than are allowed."""
    if allowed is not None and failed > allowed:
        raise TooManyFailedFiles(
            f"{failed} files could not be ingested, {allowed} are allowed: "
            + "; ".join(f"{error.path}: {error.message}" for error in errors[:3])
        )
