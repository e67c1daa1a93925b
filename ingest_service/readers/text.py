"""Plain text: the first line is the title if it looks like one."""

from collections.abc import Iterator
from pathlib import PurePosixPath

from ingest_service.readers.document import ByteSource, Document, Section, has_text, no_text, read_text, reading_noted
from rag_papers.persist.index_store import FileError

_LONGEST_TITLE = 200


def read(path: str, file: ByteSource, limit: int) -> Iterator[Document | FileError]:
    """The file as one document without sections."""
    decoded = read_text(path, file, limit)
    if isinstance(decoded, FileError):
        yield decoded
        return
    if decoded.guessed:
        yield reading_noted(path, decoded.guessed)
    text = decoded.text
    if not has_text(text):
        yield no_text(path)
    else:
        title = _title(text) or PurePosixPath(path).stem
        whole = Section(heading="", start=0, end=len(text))
        yield Document(document_id=path, place=path, title=title, text=text, sections=(whole,))


def _title(text: str) -> str:
    line = text.lstrip("\ufeff \t\r\n").partition("\n")[0].strip()
    # A first line that ends like a sentence, or runs on, begins the text instead of naming it.
    return "" if line.endswith((".", "!", ":", ";", ",", "。")) or len(line) > _LONGEST_TITLE else line
