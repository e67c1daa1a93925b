"""Index directories: built in a staging directory, verified, published by a rename, mapped when opened."""

from rag_papers.persist.index_store.builder import IndexBuilder
from rag_papers.persist.index_store.files import (
    DOCUMENTS,
    FAILURES,
    MANIFEST,
    PASSAGE_OFFSETS,
    PASSAGES,
    VECTOR_CODES,
    VECTOR_COPIES,
    VECTOR_GRAPH,
    VECTOR_SCALES,
    VECTORS,
)
from rag_papers.persist.index_store.manifest import FORMAT, IndexInfo, Manifest, manifest_bytes, read_manifest, verify
from rag_papers.persist.index_store.opened import OpenIndex
from rag_papers.persist.index_store.publication import disk_full_is_an_error_of_ours, publish, remove
from rag_papers.persist.index_store.records import (
    DocumentRecord,
    FileError,
    PassageRecord,
    read_documents,
    read_failures,
)

__all__ = [
    "DOCUMENTS",
    "FAILURES",
    "FORMAT",
    "MANIFEST",
    "PASSAGES",
    "PASSAGE_OFFSETS",
    "VECTORS",
    "VECTOR_CODES",
    "VECTOR_COPIES",
    "VECTOR_GRAPH",
    "VECTOR_SCALES",
    "DocumentRecord",
    "FileError",
    "IndexBuilder",
    "IndexInfo",
    "Manifest",
    "OpenIndex",
    "PassageRecord",
    "disk_full_is_an_error_of_ours",
    "manifest_bytes",
    "publish",
    "read_documents",
    "read_failures",
    "read_manifest",
    "remove",
    "verify",
]
