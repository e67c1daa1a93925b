"""Index directories: built in a staging directory, verified, published by a rename, mapped when opened."""

from rag_papers.persist.index_store.builder import IndexBuilder
from rag_papers.persist.index_store.files import (
    DOCUMENT_DIGESTS,
    DOCUMENTS,
    FAILURES,
    MANIFEST,
    PASSAGE_OFFSETS,
    PASSAGES,
    SOURCES,
    VECTOR_CODES,
    VECTOR_COPIES,
    VECTOR_GRAPH,
    VECTOR_ORDER,
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
    SourceRecord,
    line_of,
    read_documents,
    read_failures,
    read_sources,
)

__all__ = [
    "DOCUMENTS",
    "DOCUMENT_DIGESTS",
    "FAILURES",
    "FORMAT",
    "MANIFEST",
    "PASSAGES",
    "PASSAGE_OFFSETS",
    "SOURCES",
    "VECTORS",
    "VECTOR_CODES",
    "VECTOR_COPIES",
    "VECTOR_GRAPH",
    "VECTOR_ORDER",
    "VECTOR_SCALES",
    "DocumentRecord",
    "FileError",
    "IndexBuilder",
    "IndexInfo",
    "Manifest",
    "OpenIndex",
    "PassageRecord",
    "SourceRecord",
    "disk_full_is_an_error_of_ours",
    "line_of",
    "manifest_bytes",
    "publish",
    "read_documents",
    "read_failures",
    "read_manifest",
    "read_sources",
    "remove",
    "verify",
]
