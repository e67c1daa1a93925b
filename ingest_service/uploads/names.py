"""Which paths an uploaded file may have."""

import re
import unicodedata
from pathlib import PurePosixPath

from ingest_service.readers import SUFFIXES
from ingest_service.uploads.parts import File
from rag_papers.errors import InvalidRequest

MAX_PATH_BYTES = 512
MAX_PART_BYTES = 255

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def checked(file: File) -> File:
    """The header with its path in Unicode NFC. Raises InvalidRequest, which names every bad field at once."""
    # Cut where it is too long anyway: the time that composing takes grows with the square of the marks.
    path = unicodedata.normalize("NFC", file.path[: MAX_PATH_BYTES + 1])
    violations: dict[str, str] = {}
    if why := _objection(path):
        violations["file.path"] = f"{path[:80]!r} {why}"
    if file.size < 0:
        violations["file.size_bytes"] = "it must not be negative"
    if not _SHA256.fullmatch(file.sha256):
        violations["file.sha256"] = "it is not 64 lower-case hex digits"
    if violations:
        raise InvalidRequest(violations=violations)
    return File(path=path, size=file.size, sha256=file.sha256)


def _objection(path: str) -> str:
    """What is wrong with a path; empty if nothing is."""
    if not path:
        return "is required"
    if path.startswith("/"):
        return "is absolute; it must be relative to the corpus's directory"
    if _CONTROL.search(path):
        return "holds a control character"
    if "\\" in path:
        return "holds a backslash; parts are separated by '/'"
    if len(path.encode()) > MAX_PATH_BYTES:
        return f"has more than {MAX_PATH_BYTES} bytes"
    for part in path.split("/"):
        if not part:
            return "has an empty part"
        if part in (".", ".."):
            return f"has the part {part!r}, which leads elsewhere"
        if part.startswith("."):
            return "has a hidden part, one that begins with '.'"
        if len(part.encode()) > MAX_PART_BYTES:
            return f"has a part of more than {MAX_PART_BYTES} bytes"
    if PurePosixPath(path).suffix.lower() not in SUFFIXES:
        return f"has a suffix that is not read; those that are: {', '.join(sorted(SUFFIXES))}"
    return ""


class Names:
    """The paths of one upload: each only once, whatever the case of its letters, and no file below another one."""

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._directories: set[str] = set()

    def add(self, path: str) -> None:
        """Notes a path. Raises InvalidRequest if it cannot stand beside those before it."""
        key = unicodedata.normalize("NFC", path.casefold())
        above = {str(parent) for parent in PurePosixPath(key).parents}
        if key in self._files:
            raise InvalidRequest(violations={"file.path": f"{path[:80]!r} comes twice, but for upper and lower case"})
        if key in self._directories or above & self._files:
            raise InvalidRequest(violations={"file.path": f"{path[:80]!r} is a file here and a directory there"})
        self._files.add(key)
        self._directories |= above
