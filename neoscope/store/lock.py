"""One writer a folder: a lock that the system drops when its process ends, however it ends."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from neoscope.errors import StoreError
from neoscope.store.disk import LOCK


class FolderLock:
    """Holds a folder for this process from the moment it is made until `release`.

    Args:
        folder: An existing folder.

    Raises:
        StoreError: Another writer holds it; the message names its process.
        OSError: The folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK
        self._handle = -1
        while self._handle < 0:
            self._handle = self._try()
        try:
            os.ftruncate(self._handle, 0)
            os.write(self._handle, f"{os.getpid()}\n".encode())
        except OSError:
            self.release()
            raise

    def _try(self) -> int:
        """Return a handle that holds the lock, or -1 if the file was removed meanwhile."""
        try:
            import fcntl
        except ImportError as error:
            raise StoreError("stores are written on POSIX systems only: no fcntl here") from error
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.stat(self._path), os.fstat(handle)):
                    return handle
        except BlockingIOError:
            pid = os.read(handle, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(handle)
            raise StoreError(
                f"{self._path.parent} is being written by another process (pid {pid}); wait for "
                "it, or write to another folder"
            ) from None
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
        return -1

    def release(self) -> None:
        """Let the next writer in and leave no lock file."""
        # Removed while it is held: a writer that opened it before sees that it holds a dead file.
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
        os.close(self._handle)
