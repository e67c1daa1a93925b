"""Moving finished indexes to their place, and published ones out of it."""

import contextlib
import errno
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from rag_papers.errors import DiskFull, FormatUnsupported, IndexDamaged, IndexNotFound
from rag_papers.persist.files import fsync_directory
from rag_papers.persist.index_store.manifest import Manifest, verify


def publish(staging: Path, indexes: Path, manifest: Manifest) -> None:
    """Moves a finished index from `staging` to its place among `indexes`.

    An intact index of the same corpus_id stays, and the staged one is dropped: they hold the same. A damaged one is
    replaced; readers that have it open keep their files.
    """
    target = indexes / manifest.corpus_id
    try:
        verify(target)
    except IndexNotFound:
        staging.rename(target)
    except (IndexDamaged, FormatUnsupported):
        broken = staging.with_name(f"{staging.name}.replaced")
        target.rename(broken)
        staging.rename(target)
        shutil.rmtree(broken)
    else:
        shutil.rmtree(staging)
    fsync_directory(indexes)


def remove(index: Path, staging: Path) -> int:
    """Removes an index directory and returns the bytes that it held; readers that have it open keep their files.

    It leaves its name for `staging` first, so that a crash leaves no half index under the name.
    """
    doomed = staging / f"{index.name}.{secrets.token_hex(4)}.removed"
    index.rename(doomed)
    fsync_directory(index.parent)
    held = sum(path.lstat().st_size for path in doomed.iterdir())
    shutil.rmtree(doomed)
    return held


@contextlib.contextmanager
def disk_full_is_an_error_of_ours() -> Iterator[None]:
    """Turns the operating system's "no space left" into DiskFull."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            where = f" for {error.filename}" if error.filename else ""
            raise DiskFull(f"no space left{where}: free some, then try again") from error
        raise
