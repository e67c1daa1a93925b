"""One upload as it is received."""

import hashlib
import os
import secrets
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from ingest_service.uploads.names import Names, checked
from ingest_service.uploads.parts import File, Start
from rag_papers.errors import InvalidRequest, UploadBroken
from rag_papers.persist.index_store import disk_full_is_an_error_of_ours


class Staged:
    """The files of one upload in a directory of their own, named by their numbers: no paper has such a name.

    Blocking. Calls come one after the other but for `discard`, which may come at any time.
    """

    def __init__(self, staging: Path, start: Start, admit: Callable[[File, int], None]) -> None:
        """Nothing is written yet. `admit` gets each header with the bytes announced so far, and raises if refused."""
        self.start = start
        self.directory = staging / secrets.token_hex(8)
        self.files: list[File] = []
        self.lock = threading.RLock()
        self._admit = admit
        self._names = Names()
        self._announced = 0
        self._open: BinaryIO | None = None
        self._digest = hashlib.sha256()
        self._received = 0
        self._discarded = False
        self._kept = False

    def add(self, header: File) -> None:
        """Begins the next file. Raises InvalidRequest, UploadQuota, UploadBroken or DiskFull."""
        with self.lock, disk_full_is_an_error_of_ours():
            self._check()
            self._check_whole()
            file = checked(header)
            self._names.add(file.path)
            self._admit(file, self._announced + file.size)
            self._announced += file.size
            self.directory.mkdir(parents=True, exist_ok=True)
            self._open = (self.directory / str(len(self.files))).open("xb", buffering=0)
            self._digest = hashlib.sha256()
            self._received = 0
            self.files.append(file)
            self._finish_if_whole()

    def write(self, data: bytes) -> None:
        """Appends to the file. Raises InvalidRequest, UploadBroken or DiskFull."""
        with self.lock, disk_full_is_an_error_of_ours():
            self._check()
            if not self.files:
                raise InvalidRequest(violations={"chunk": "it must come after the header of its file"})
            file = self.files[-1]
            if self._received + len(data) > file.size:
                raise UploadBroken(f"{file.path} has more than the {file.size} bytes of its header", path=file.path)
            if not data:
                return
            assert self._open
            view = memoryview(data)
            while view:  # an unbuffered write may be a partial one
                view = view[self._open.write(view) :]
            self._digest.update(data)
            self._received += len(data)
            self._finish_if_whole()

    def complete(self) -> None:
        """Ends the last file. Raises UploadBroken, or InvalidRequest if there was none."""
        with self.lock:
            self._check()
            self._check_whole()
            if not self.files:
                raise InvalidRequest(violations={"file": "an upload needs at least one file"})

    def keep(self) -> None:
        """Leaves the directory to whoever moves the files; a discard no longer removes it."""
        self._kept = True

    def discard(self) -> None:
        """Ends the upload, and removes what there is of it unless it is kept. May be repeated."""
        with self.lock:
            self._discarded = True
            if self._open:
                self._open.close()
                self._open = None
            if not self._kept:
                shutil.rmtree(self.directory, ignore_errors=True)

    def _check(self) -> None:
        if self._discarded:
            raise UploadBroken("the upload has ended")

    def _check_whole(self) -> None:
        if self._open:
            file = self.files[-1]
            raise UploadBroken(f"{file.path} ends after {self._received} of {file.size} bytes", path=file.path)

    def _finish_if_whole(self) -> None:
        file = self.files[-1]
        if self._received < file.size:
            return
        if self._digest.hexdigest() != file.sha256:
            raise UploadBroken(
                f"{file.path} has the SHA-256 {self._digest.hexdigest()}, not the {file.sha256} of its header",
                path=file.path,
            )
        assert self._open
        os.fsync(self._open.fileno())
        self._open.close()
        self._open = None
