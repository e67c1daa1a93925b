"""What is remembered of the files of a directory, so that those that have not changed need not be read again.

A file whose stamp is the remembered one has the remembered content. What two writes within one tick of the clock do to
a file shows in its content alone, so that a file is remembered once its last change was over for a while when it was
read (the rule that git has for its "racily clean" files). What is remembered is a help, and never needed: a file of it
that is damaged or lost costs the reading of the papers, no more.
"""

import contextlib
import hashlib
import json
import logging
import time
from pathlib import Path
from typing import Any

from ingest_service.scan import Stamp
from rag_papers.persist.files import write_atomic

logger = logging.getLogger(__name__)

_SETTLED_NS = 2_000_000_000
"""How long a change must be over: no file system's clock has longer ticks."""

_FORGET_SECONDS = 90 * 86_400.0
"""After how long without an ingest a directory is forgotten."""


class SeenFiles:
    """The files of one directory, known by its place in the file system: it may be renamed."""

    def __init__(self, directory: Path, root: Path) -> None:
        """Reads what `directory` has of the files below `root`; nothing if that is there no more."""
        self._path: Path | None = None
        self._remembered: dict[str, tuple[Stamp, bytes]] = {}
        with contextlib.suppress(OSError):
            status = root.stat()
            self._path = directory / f"{status.st_dev:x}-{status.st_ino:x}.jsonl"
            self._remembered = _read(self._path)
        self._current: dict[str, tuple[Stamp, bytes]] = {}

    def digest(self, path: str, stamp: Stamp) -> bytes | None:
        """The digest of the file at `path` (relative), if it has not changed since it was read."""
        known = self._current.get(path) or self._remembered.get(path)
        if known is None or known[0] != stamp:
            return None
        self._current[path] = known
        return known[1]

    def note(self, path: str, stamp: Stamp, digest: bytes, read_ns: int) -> None:
        """Remembers a file that had this stamp before and after it was read, from the time `read_ns` on."""
        if max(stamp.mtime_ns, stamp.ctime_ns) < read_ns - _SETTLED_NS:
            self._current[path] = (stamp, digest)

    def save(self) -> None:
        """Writes what was noted or asked for, and forgets all else. What the disk does is no error, but reported."""
        if self._path is None:
            return
        try:
            if self._current != self._remembered:
                lines = [_line(path, stamp, digest) for path, (stamp, digest) in sorted(self._current.items())]
                body = b"".join(lines)
                write_atomic(self._path, hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
            elif self._remembered:
                self._path.touch()
            _forget(self._path.parent)
        except OSError as error:
            logger.warning("the next ingest reads again what this one did: %s: %s", self._path, error)


def _line(path: str, stamp: Stamp, digest: bytes) -> bytes:
    numbers = [stamp.device, stamp.inode, stamp.size, stamp.mtime_ns, stamp.ctime_ns]
    return json.dumps([path, *numbers, digest.hex()], ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _read(path: Path) -> dict[str, tuple[Stamp, bytes]]:
    try:
        checksum, _, body = path.read_bytes().partition(b"\n")
        if checksum.decode() != hashlib.sha256(body).hexdigest():
            raise ValueError("its checksum differs")
        return dict(_entry(*json.loads(line)) for line in body.splitlines())
    except FileNotFoundError:
        pass
    except (OSError, ValueError, TypeError) as error:
        logger.warning("%s is damaged and ignored: %s", path, error)
    return {}


def _entry(path: str, *rest: Any) -> tuple[str, tuple[Stamp, bytes]]:
    device, inode, size, mtime_ns, ctime_ns, digest = rest
    stamp = Stamp(device=device, inode=inode, size=size, mtime_ns=mtime_ns, ctime_ns=ctime_ns)
    return path, (stamp, bytes.fromhex(digest))


def _forget(directory: Path) -> None:
    oldest = time.time() - _FORGET_SECONDS
    for path in directory.glob("*.jsonl"):
        with contextlib.suppress(FileNotFoundError):  # another worker was first
            if path.stat().st_mtime < oldest:
                path.unlink()
