"""Durable files: what is reported as written survives a power cut."""

import os
import re
import secrets
from pathlib import Path


def fsync_file(path: Path) -> None:
    """Forces a file's bytes to the device."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


fsync_directory = fsync_file
"""Forces a directory's entries to the device; without it a rename may be forgotten."""


_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}")


def write_atomic(path: Path, data: bytes) -> None:
    """Replaces `path` by `data`: readers see the old bytes or the new ones, also after a crash."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:  # with the permissions of any other file: the services may be two users
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_directory(path.parent)


def remove_temporaries(directory: Path) -> None:
    """Removes what `write_atomic` left in `directory` when it was killed; nobody may be writing there."""
    for path in directory.iterdir():
        if _TEMPORARY.fullmatch(path.name) and path.is_file():
            path.unlink()
