"""Which directories may be ingested."""

from collections.abc import Sequence
from pathlib import Path

from ingest_service.scan import has_papers
from rag_papers.errors import DirectoryNotAllowed, DirectoryNotFound, InvalidRequest, NoPapers


def corpus_directory(corpus_dir: str, roots: Sequence[Path]) -> Path:
    """The directory, links resolved. Raises the error that says why it cannot be ingested.

    What lies outside the roots is refused before anything is said about whether it exists.
    """
    try:
        path = Path(corpus_dir).resolve()
        str(path).encode()  # a link may lead to a name that is not UTF-8, which no message could hold
        allowed = any(path.is_relative_to(root.resolve()) for root in roots)
        if allowed and not path.is_dir():
            raise DirectoryNotFound(f"there is no directory {corpus_dir}", corpus_dir=corpus_dir)
    except (ValueError, OSError, RuntimeError):  # NUL or not UTF-8, too long a name, links in a circle
        raise InvalidRequest(violations={"corpus_dir": "it is not a path"}) from None
    if not allowed:
        raise DirectoryNotAllowed(
            f"{corpus_dir} lies outside the directories that may be ingested ({', '.join(map(str, roots))}); to allow "
            "it, start IngestService with RAG_CORPUS_ROOTS naming it",
            corpus_dir=corpus_dir,
        )
    if not has_papers(path):
        raise NoPapers(
            f"{corpus_dir} holds no papers: no .pdf, .html, .xml, .txt, .md or .jsonl file", corpus_dir=corpus_dir
        )
    return path
