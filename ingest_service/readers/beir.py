"""BEIR corpora (Thakur et al., 2021): a document a line, {"_id", "title", "text", "metadata"}."""

import json
from collections.abc import Iterator

from ingest_service.readers.bibliography import bibliography
from ingest_service.readers.document import LONGEST_NAME, ByteSource, Document, Section, has_text, no_text
from rag_papers.persist.index_store import FileError


def read(path: str, file: ByteSource, limit: int) -> Iterator[Document | FileError]:
    """A document for every line; blank lines are passed over. A line without text is cited by its title."""
    number = 0
    while line := file.readline(limit + 1):
        number += 1
        place = f"{path}:{number}"
        if len(line) > limit:
            while line and not line.endswith(b"\n"):
                line = file.readline(limit)
            yield FileError(path=place, reason="TOO_LARGE", message=f"the line has more than {limit} bytes")
        elif line.strip():
            yield _document(place, line)


def _document(place: str, line: bytes) -> Document | FileError:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return FileError(path=place, reason="BAD_LINE", message="it is not JSON in UTF-8")
    if not isinstance(fields, dict):
        return FileError(path=place, reason="BAD_LINE", message="it is no JSON object")
    document_id, title, text = (fields.get(name) for name in ("_id", "title", "text"))
    if isinstance(document_id, int) and not isinstance(document_id, bool):
        document_id = str(document_id)
    if not isinstance(document_id, str) or not document_id.strip():
        return FileError(path=place, reason="BAD_LINE", message='it has no "_id"')
    if len(document_id) > LONGEST_NAME:
        return FileError(path=place, reason="BAD_LINE", message=f'its "_id" has more than {LONGEST_NAME} characters')
    if not isinstance(text, str) or not isinstance(title, str | None):
        return FileError(path=place, reason="BAD_LINE", message='"text" or "title" is not a string')
    try:
        f"{document_id}{title}{text}".encode()
    except UnicodeEncodeError:
        return FileError(path=place, reason="BAD_LINE", message="it holds half of a surrogate pair")
    text = text if has_text(text) else title or ""
    if not has_text(text):
        return no_text(place)
    whole = Section(heading="", start=0, end=len(text))
    metadata = fields.get("metadata")
    return Document(
        document_id=document_id,
        place=place,
        title=title or "",
        text=text,
        sections=(whole,),
        bibliography=bibliography(metadata if isinstance(metadata, dict) else {}, fields),
    )
