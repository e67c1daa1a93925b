"""The readers of formats that need large parsers; imported in the parser's process alone."""

from collections.abc import Mapping

from ingest_service.readers import html, jats, pdf
from ingest_service.readers.document import Reader

CONFINED_READERS: Mapping[str, Reader] = {".pdf": pdf.read, ".html": html.read, ".htm": html.read, ".xml": jats.read}
"""The reader of each suffix, in lower case."""
