"""Readers: bytes of a file to documents, one module a format."""

import importlib.metadata
from collections.abc import Mapping

from ingest_service.readers import beir, markdown, text
from ingest_service.readers.document import Reader

READERS: Mapping[str, Reader] = {".txt": text.read, ".md": markdown.read, ".jsonl": beir.read}
"""The readers that run in the worker, by suffix in lower case."""

CONFINED = frozenset((".pdf", ".html", ".htm", ".xml"))
"""Suffixes, in lower case, of what is parsed by large libraries, in a process of its own under limits."""

SUFFIXES = frozenset(READERS) | CONFINED
"""All supported suffixes."""

BY_LINE = frozenset((".jsonl",))
"""Suffixes of files that may be larger than the limit, which holds for each of their lines."""

_LIBRARIES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    ".txt": ("text-2", ("charset-normalizer",)),
    ".md": ("markdown-3", ("charset-normalizer",)),
    ".jsonl": ("beir-2", ()),
    ".pdf": ("pdf-3", ("pypdfium2",)),
    ".html": ("html-2", ("lxml", "charset-normalizer")),
    ".htm": ("html-2", ("lxml", "charset-normalizer")),
    ".xml": ("jats-2", ("lxml",)),
}


def identity(suffix: str) -> str:
    """The reader of a suffix with the libraries that shape what it makes of a file, in their versions.

    Part of corpus_id, so changed whenever a file may give another document.
    """
    name, libraries = _LIBRARIES[suffix]
    return " ".join([name, *(f"{library}/{importlib.metadata.version(library)}" for library in libraries)])
