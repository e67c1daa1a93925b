"""Files below a directory, reached from its descriptor one name at a time: no link leads anywhere else."""

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def directory(parts: Sequence[str], above: int, *, create: bool = False) -> Iterator[int]:
    """Descriptor of the directory `parts` below the directory `above`; `create` makes what is missing.

    Raises FileNotFoundError, or NotADirectoryError if a file or link is in its place.
    """
    current = os.dup(above)
    try:
        for part in parts:
            if create:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, dir_fd=current)
                    os.fsync(current)
            below = os.open(part, _DIRECTORY, dir_fd=current)  # ENOTDIR also for a link, as both flags are given
            os.close(current)
            current = below
        yield current
    finally:
        os.close(current)


def size_of(path: str, above: int) -> int | None:
    """Size of the regular file `path`, bytes; None if there is none.

    Raises NotADirectoryError if a file or link stands where a directory of the path should, IsADirectoryError if the
    path itself is a directory, and FileExistsError if it is anything else than a regular file.
    """
    *parts, name = path.split("/")
    try:
        with directory(parts, above) as parent:
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(path)
    if not stat.S_ISREG(status.st_mode):
        raise FileExistsError(path)
    return status.st_size


def sha256_of(path: str, above: int) -> str:
    """SHA-256 of the regular file `path`, hex."""
    *parts, name = path.split("/")
    with directory(parts, above) as parent:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
        with os.fdopen(descriptor, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def files(above: int) -> Iterator[tuple[str, int]]:
    """Every file below, links and the like included, with its size in bytes; what is hidden is passed over."""
    for root, directories, names, descriptor in os.fwalk(".", dir_fd=above, follow_symlinks=False):
        directories[:] = [name for name in directories if not name.startswith(".")]
        for name in names:
            if name.startswith("."):
                continue
            with contextlib.suppress(FileNotFoundError):  # deleted since it was listed
                status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                yield os.path.normpath(f"{root}/{name}"), status.st_size


def prune(above: int) -> None:
    """Removes the empty directories below."""
    for _, directories, _, descriptor in os.fwalk(".", dir_fd=above, topdown=False, follow_symlinks=False):
        for name in directories:
            with contextlib.suppress(OSError):  # it is not empty, or a link
                os.rmdir(name, dir_fd=descriptor)
