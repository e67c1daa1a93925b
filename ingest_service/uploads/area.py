"""The upload area: where complete uploads lie, and how they get there."""

import contextlib
import itertools
import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from ingest_service.uploads import confined
from ingest_service.uploads.parts import Effect, File, Start, Stored, StoredFile
from ingest_service.uploads.quota import Quota, Room
from ingest_service.uploads.staged import Staged
from rag_papers.errors import InvalidRequest
from rag_papers.persist.files import write_atomic
from rag_papers.persist.index_store import disk_full_is_an_error_of_ours
from rag_papers.settings import Settings

logger = logging.getLogger(__name__)

RECORD = "moves.json"
"""Beside the files of a complete upload: what is to be done with them. From when it is there, the upload counts."""


class UploadArea:
    """The directories of uploaded papers, one a corpus. Blocking; `recover` and `store` come one after the other."""

    def __init__(self, directory: Path, settings: Settings) -> None:
        self._directory = directory
        self._staging = directory / ".staging"
        self._quota = Quota(settings)

    def recover(self) -> None:
        """Completes the upload that a crash interrupted while it was stored, and removes all that is incomplete."""
        self._staging.mkdir(parents=True, exist_ok=True)
        for directory in self._staging.iterdir():
            try:
                if not self._finish(directory):
                    shutil.rmtree(directory)
            except (OSError, ValueError, KeyError, TypeError) as error:
                logger.error("the upload in %s cannot be completed: %s: %s", directory, type(error).__name__, error)
        with _opened(self._directory) as area:
            confined.prune(area)
        self._staging.mkdir(exist_ok=True)

    def begin(self, start: Start) -> Staged:
        """An upload to be received; `end` must follow. Raises InvalidRequest for a corpus's directory that is none."""
        room: Room | None = None

        def admit(file: File, announced: int) -> None:
            nonlocal room
            others = self._quota.arriving(upload, announced)
            self._staging.mkdir(parents=True, exist_ok=True)  # somebody may have tidied up
            with _opened(self._directory) as area:
                room = room or Room.of(self._quota, area, start)
                existing = _existing(area, start.corpus, file.path)
                room.take(file, None if start.replace_all else existing, others)

        upload = Staged(self._staging, start, admit)
        return upload

    def end(self, upload: Staged) -> None:
        """Removes what is left of an upload, stored or not. May be repeated."""
        upload.discard()
        self._quota.ended(upload)

    def store(self, upload: Staged) -> Stored:
        """Moves the files of a complete upload into their places. Raises InvalidRequest, UploadQuota or DiskFull."""
        start = upload.start
        with upload.lock, disk_full_is_an_error_of_ours(), _opened(self._directory) as area:
            upload.complete()
            for directory in self._staging.iterdir():
                self._finish(directory)
            files = self._compared(area, upload)
            moves = [
                (str(number), stored.file.path)
                for number, stored in enumerate(files)
                if stored.effect is not Effect.UNCHANGED
            ]
            removals = _others(area, start.corpus, upload.files) if start.replace_all else []
            if moves or removals:
                self._promise(area, upload, moves, removals)
                self._finish(upload.directory)
            return Stored(
                corpus=start.corpus,
                directory=self._directory / start.corpus,
                files=tuple(files),
                deleted=len(removals),
            )

    def _compared(self, area: int, upload: Staged) -> list[StoredFile]:
        """What storing each file changes, now that no other upload is being stored."""
        room = Room.of(self._quota, area, upload.start)
        found = []
        for file in upload.files:
            existing = _existing(area, upload.start.corpus, file.path)
            room.take(file, None if upload.start.replace_all else existing)
            if existing is None:
                effect = Effect.NEW
            elif (
                existing == file.size and confined.sha256_of(f"{upload.start.corpus}/{file.path}", area) == file.sha256
            ):
                effect = Effect.UNCHANGED
            else:
                effect = Effect.REPLACED
            found.append(StoredFile(file=file, effect=effect))
        return found

    def _promise(self, area: int, upload: Staged, moves: Sequence[tuple[str, str]], removals: Sequence[str]) -> None:
        """Writes the record: from here on the upload is completed, if need be at the next start."""
        corpus = upload.start.corpus
        record = upload.directory / RECORD
        try:
            # What may fail on a full disk comes first, while everything can still be taken back.
            for parent in {PurePosixPath(path).parent for _, path in moves}:
                with confined.directory((corpus, *parent.parts), area, create=True):
                    pass
            document = {"corpus": corpus, "moves": moves, "removals": removals}
            write_atomic(record, json.dumps(document, ensure_ascii=False).encode())
        except BaseException:
            record.unlink(missing_ok=True)
            _prune(area, corpus)
            raise
        upload.keep()

    def _finish(self, directory: Path) -> bool:
        """Does what the record in `directory` says, if there is one; may be repeated. Returns whether there was one."""
        try:
            record = json.loads((directory / RECORD).read_bytes())
        except FileNotFoundError:
            return False
        corpus = record["corpus"]
        moves = sorted(((PurePosixPath(path), name) for name, path in record["moves"]), key=lambda move: move[0].parent)
        with _opened(self._directory) as area, _opened(directory) as staged:
            for parent, group in itertools.groupby(moves, key=lambda move: move[0].parent):
                with confined.directory((corpus, *parent.parts), area, create=True) as target:
                    for path, name in group:
                        with contextlib.suppress(FileNotFoundError):  # it was moved before a crash
                            os.rename(name, path.name, src_dir_fd=staged, dst_dir_fd=target)
                    os.fsync(target)
            for path in map(PurePosixPath, record["removals"]):
                with (
                    contextlib.suppress(FileNotFoundError),
                    confined.directory((corpus, *path.parent.parts), area) as parent_directory,
                ):
                    os.unlink(path.name, dir_fd=parent_directory)
                    os.fsync(parent_directory)
            _prune(area, corpus)
        shutil.rmtree(directory)
        return True


@contextlib.contextmanager
def _opened(directory: Path) -> Iterator[int]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _existing(area: int, corpus: str, path: str) -> int | None:
    try:
        return confined.size_of(f"{corpus}/{path}", area)
    except (NotADirectoryError, IsADirectoryError, FileExistsError):
        raise InvalidRequest(
            violations={"file.path": f"{path[:80]!r}: a directory, link or other file of the corpus is in its way"}
        ) from None


def _others(area: int, corpus: str, files: Sequence[File]) -> list[str]:
    """The files of the corpus that are none of `files`."""
    try:
        with confined.directory((corpus,), area) as directory:
            return sorted({path for path, _ in confined.files(directory)} - {file.path for file in files})
    except FileNotFoundError:
        return []


def _prune(area: int, corpus: str) -> None:
    with contextlib.suppress(FileNotFoundError), confined.directory((corpus,), area) as directory:
        confined.prune(directory)
    with contextlib.suppress(OSError):
        os.rmdir(corpus, dir_fd=area)
