"""Prints the extracted text of a file, the bytes that citations point into: python -m ingest_service.extract FILE.

The same file and the same versions of the libraries give the same text. Nothing limits time or memory here.
"""

import sys
from pathlib import Path

from ingest_service.readers import BY_LINE, READERS
from ingest_service.readers.confined import CONFINED_READERS
from ingest_service.readers.document import Document


def extract(path: Path, name: str = "") -> Document | None:
    """The document in a file of a format that has one a file; None if it cannot be read, or has another format.

    `name` is the path that the document shall have, by default the file's name.
    """
    suffix = path.suffix.lower()
    read = {**READERS, **CONFINED_READERS}.get(suffix)
    if read is None or suffix in BY_LINE:
        return None
    with path.open("rb") as file:
        found = read(name or path.name, file, path.stat().st_size)
        return next((item for item in found if isinstance(item, Document)), None)


def main() -> int:
    """Exits with 1 if there is no text."""
    if len(sys.argv) != 2:
        sys.stderr.write("usage: python -m ingest_service.extract FILE\n")
        return 2
    document = extract(Path(sys.argv[1]))
    if document is None:
        sys.stderr.write(f"{sys.argv[1]}: it cannot be read\n")
        return 1
    sys.stdout.buffer.write(document.text.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
