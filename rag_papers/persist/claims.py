"""Claims: which process does the work that several were asked for at once.

A claim is a lock on one byte of an empty file, at an offset made from the key: any number of keys, nothing to clean up,
and no leases to renew, because the kernel drops the locks of a process when it ends, however it ends. The locks belong
to the open file (OFD locks, Linux), so that two services in one process hold each other off as well.
"""

import fcntl
import logging
import os
import struct
import threading
from pathlib import Path

logger = logging.getLogger(__name__)

_FLOCK = struct.Struct("@hhqqi0q")  # struct flock of Linux: l_type, l_whence, l_start, l_len, l_pid
_OFFSET_MASK = (1 << 62) - 1


class Claims:
    """The claims of this process. Safe to use from several threads; a claim belongs to nobody in particular.

    A claim never fails the work: where the file cannot be locked, every claim is granted and a warning logged.
    """

    def __init__(self, path: Path) -> None:
        """`path` is the file that the processes share; it is made when it is needed."""
        self._path = path
        self._lock = threading.Lock()
        self._file: int | None = None
        self._broken = not hasattr(fcntl, "F_OFD_SETLK")
        self._closed = False

    def claim(self, key: bytes) -> bool:
        """Whether the work of `key`, a digest, is now this process's: false while another one has it."""
        return self._set(fcntl.F_WRLCK, key)

    def release(self, key: bytes) -> None:
        """Gives a claim back."""
        self._set(fcntl.F_UNLCK, key)

    def close(self) -> None:
        """Gives all claims back."""
        with self._lock:
            self._closed = True
            if self._file is not None:
                os.close(self._file)
                self._file = None

    def _set(self, kind: int, key: bytes) -> bool:
        # Under the lock: the number of a file that is closed may soon be that of another.
        with self._lock:
            if self._broken or self._closed:
                return True
            try:
                if self._file is None:
                    self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                offset = int.from_bytes(key[:8], "big") & _OFFSET_MASK
                fcntl.fcntl(self._file, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, offset, 1, 0))
            except BlockingIOError:
                return False
            except OSError as error:
                self._broken = True
                logger.warning("%s: processes no longer wait for each other's answers: %s", self._path, error)
            return True
