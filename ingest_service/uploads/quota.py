"""How much may be uploaded."""

import threading
from typing import Self

from ingest_service.uploads import confined
from ingest_service.uploads.parts import File, Start
from rag_papers.errors import UploadQuota
from rag_papers.settings import Settings


class Quota:
    """The limits of an upload area, and the uploads that fill it."""

    def __init__(self, settings: Settings) -> None:
        self._max_file_bytes = settings.max_file_bytes
        self._max_bytes = settings.upload_quota_bytes
        self._max_files = settings.upload_max_files
        self._lock = threading.Lock()
        self._arriving: dict[object, int] = {}

    def check_file(self, file: File) -> None:
        """Raises UploadQuota if the file is too large. A .jsonl file is not: each of its lines is bounded."""
        if file.size > self._max_file_bytes and not file.path.lower().endswith(".jsonl"):
            raise UploadQuota(
                f"{file.path} has {file.size} bytes, more than the {self._max_file_bytes} of RAG_MAX_FILE_BYTES",
                path=file.path,
                quota="FILE_BYTES",
                limit=str(self._max_file_bytes),
            )

    def check_all(self, files: int, size: int) -> None:
        """Raises UploadQuota if so many files of so many bytes together are too much."""
        if files > self._max_files:
            raise UploadQuota(
                f"{files} uploaded files would be more than the {self._max_files} of RAG_UPLOAD_MAX_FILES",
                quota="FILES",
                limit=str(self._max_files),
            )
        if size > self._max_bytes:
            raise UploadQuota(
                f"{size} uploaded bytes would be more than the {self._max_bytes} of RAG_UPLOAD_QUOTA_BYTES",
                quota="TOTAL_BYTES",
                limit=str(self._max_bytes),
            )

    def arriving(self, upload: object, size: int) -> int:
        """Notes that `upload` has announced `size` bytes so far; returns what all others have, bytes."""
        with self._lock:
            self._arriving[upload] = size
            return sum(self._arriving.values()) - size

    def ended(self, upload: object) -> None:
        """Forgets an upload."""
        with self._lock:
            self._arriving.pop(upload, None)


class Room:
    """What the area holds once an upload is complete, as far as it has come."""

    def __init__(self, quota: Quota, files: int, size: int) -> None:
        self._quota = quota
        self._files = files
        self._size = size

    @classmethod
    def of(cls, quota: Quota, area: int, start: Start) -> Self:
        """The room before the first file; `area` is the descriptor of the upload area."""
        files = size = 0
        for path, bytes_ in confined.files(area):
            if not (start.replace_all and path.startswith(f"{start.corpus}/")):
                files += 1
                size += bytes_
        return cls(quota, files, size)

    def take(self, file: File, existing: int | None, others: int = 0) -> None:
        """Adds a file in the place of one of `existing` bytes; `others` are bytes of uploads that are not complete.

        Raises UploadQuota.
        """
        self._quota.check_file(file)
        self._files += existing is None
        self._size += file.size - (existing or 0)
        self._quota.check_all(self._files, self._size + others)
