"""Files on their way into the store. Nothing is seen of them before they are whole and on the disk itself."""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from assayd.store.digests import PREFIX
from assayd.store.disk import listed, make_folder, writing


class Draft:
    """A file that is being written; its writer holds its lock, by which others know that it isn't left over.

    Used as a context manager it leaves nothing behind unless it was moved or linked. Not for several threads at once.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / secrets.token_hex(16)
        self._handle: int | None = None
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        """Append. Raises StoreFull."""
        with writing():
            handle, rest = self._opened(), memoryview(data)
            while rest:
                rest = rest[os.write(handle, rest) :]
        self._hash.update(data)
        self.size += len(data)

    @property
    def digest(self) -> str:
        """Digest of what was written so far."""
        return PREFIX + self._hash.hexdigest()

    def read(self) -> bytes:
        """All that was written so far. Raises StoreFull."""
        with writing():
            return self._path.read_bytes() if self._handle is not None else b""

    def seal(self) -> None:
        """Bring the bytes to the disk itself: a name given before that might survive without them. Raises StoreFull."""
        with writing():
            os.fsync(self._opened())

    def move(self, path: Path) -> None:
        """Give it its place, over what is there. Raises OSError."""
        os.replace(self._path, path)  # noqa: PTH105 - all that changes the disk is asked of os, where tests count it

    def link(self, path: Path) -> None:
        """Give it its place unless something is there: FileExistsError. Raises OSError."""
        os.link(self._path, path)

    def discard(self) -> None:
        """Remove what is left of it."""
        if self._handle is not None:
            with suppress(OSError):
                os.unlink(self._path)  # noqa: PTH108
            os.close(self._handle)
            self._handle = None

    def _opened(self) -> int:
        if self._handle is None:
            make_folder(self._folder)
            self._handle = self._made()
        return self._handle

    def _made(self) -> int:
        while True:
            handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            fcntl.flock(handle, fcntl.LOCK_EX)
            if os.fstat(handle).st_nlink:
                return handle
            # Somebody who cleaned up came between the two calls.
            os.close(handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.discard()


def clear(folder: Path) -> int:
    """Remove the drafts of processes that ended on the way, and return how many; those under way stay."""
    gone = 0
    for name in listed(folder):
        path = folder / name
        with suppress(OSError):  # BlockingIOError: somebody writes it
            handle = os.open(path, os.O_WRONLY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(path)  # noqa: PTH108
                gone += 1
            finally:
                os.close(handle)
    return gone
