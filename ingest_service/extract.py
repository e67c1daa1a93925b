"""Prints the extracted text of a paper, which citations point into: python -m ingest_service.extract FILE [ID].

The same file and the same versions of the libraries give the same text. Nothing limits time or memory here.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from ingest_service.readers import READERS
from ingest_service.readers.confined import CONFINED_READERS
from ingest_service.readers.document import Document, Reader

_READERS: Mapping[str, Reader] = {**READERS, **CONFINED_READERS}


def extract(path: Path, name: str = "") -> Iterator[Document]:
    """The documents in a file, none if its format is not supported. Raises OSError.

    `name` is the path that they shall have, by default the file's name.
    """
    read = _READERS.get(path.suffix.lower())
    if read is None:
        return
    with path.open("rb") as file:
        found = read(name or path.name, file, path.stat().st_size)
        yield from (item for item in found if isinstance(item, Document))


def main() -> int:
    """Exits with 1 if there is no such text."""
    if len(sys.argv) not in (2, 3):
        sys.stderr.write("usage: python -m ingest_service.extract FILE [ID]\n")
        return 2
    path, wanted = Path(sys.argv[1]), sys.argv[2] if len(sys.argv) == 3 else ""
    for document in extract(path):
        if wanted in ("", document.document_id):
            sys.stdout.buffer.write(document.text.encode())
            return 0
    sys.stderr.write(f"{path}: there is no such text in it\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
