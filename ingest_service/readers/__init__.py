"""Readers: bytes of a file to documents, one module a format."""

from collections.abc import Mapping

from ingest_service.readers import beir, markdown, text
from ingest_service.readers.document import Reader

READERS: Mapping[str, Reader] = {".txt": text.read, ".md": markdown.read, ".jsonl": beir.read}
"""The reader of each supported suffix, in lower case."""
