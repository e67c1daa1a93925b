"""The files of an index: their names, and what is wrong with one."""

from pathlib import Path

from rag_papers.errors import IndexDamaged, IndexNotFound

MANIFEST = "meta.json"
DOCUMENTS = "documents.jsonl"
PASSAGES = "passages.jsonl"
PASSAGE_OFFSETS = "passages.offsets.npy"
FAILURES = "failures.jsonl"
SOURCES = "sources.jsonl"
DOCUMENT_DIGESTS = "documents.digests.npy"
VECTORS = "vectors.npy"
VECTOR_CODES = "vectors.codes.npy"
VECTOR_SCALES = "vectors.scales.npy"
VECTOR_GRAPH = "vectors.faiss"
VECTOR_ORDER = "vectors.order.npy"
VECTOR_COPIES = "vectors.copies.npy"

POSTINGS_TYPES = {
    "hashes": "<u8",
    "terms": "|u1",
    "term_offsets": "<i8",
    "offsets": "<i8",
    "passages": "<i4",
    "scores": "<f4",
}
"""Arrays of a BM25 index and their dtypes."""


def postings_file(field: str) -> str:
    """The file of an array of the BM25 index."""
    return f"bm25.{field}.npy"


REQUIRED = frozenset(
    {
        DOCUMENTS,
        PASSAGES,
        PASSAGE_OFFSETS,
        FAILURES,
        VECTORS,
        VECTOR_CODES,
        VECTOR_SCALES,
        *map(postings_file, POSTINGS_TYPES),
    }
)
"""What every index has, besides the manifest and what its features bring."""


def check_size(path: Path, size: int) -> None:
    """Raises IndexDamaged, or IndexNotFound, unless a file of an index has `size` bytes."""
    try:
        actual = path.stat().st_size
    except FileNotFoundError:
        raise missing(path) from None
    if actual != size:
        raise damaged(path, f"it has {actual} bytes instead of {size}")


def missing(path: Path) -> IndexDamaged | IndexNotFound:
    """What to raise where a file of an index is not there."""
    directory = path.parent
    if directory.is_dir():
        return damaged(path, "it is missing")
    return IndexNotFound(f"there is no index {directory.name}", corpus_id=directory.name)


def damaged(path: Path, why: str) -> IndexDamaged:
    """What to raise where a file of an index is not what was published."""
    return IndexDamaged(
        f"{path.name} of index {path.parent.name} is damaged: {why}; ingest the corpus again",
        file=path.name,
        corpus_id=path.parent.name,
    )
