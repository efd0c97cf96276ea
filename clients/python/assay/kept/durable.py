"""Files that are whole or absent, whenever the process or the machine stops."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import IO

from assay.errors import FailedPrecondition

_PRIVATE = 0o600
_TEMPORARY = ".tmp"


def write_whole(path: Path, data: bytes) -> None:
    """Gives a file its name only once all of it is on the disk. Only its owner may read it.

    The name itself lasts from the next `sync_folder` on.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{_TEMPORARY}")
    try:
        with open_private(temporary, os.O_CREAT | os.O_TRUNC | os.O_WRONLY) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def open_private(path: Path, flags: int) -> IO[bytes]:
    """An open file that only its owner may read, if it is made here."""
    return os.fdopen(os.open(path, flags, _PRIVATE), "ab" if flags & os.O_APPEND else "wb")


def sync_folder(folder: Path) -> None:
    """Makes new names in a folder last; does nothing where folders can't be opened (Windows)."""
    with suppress(PermissionError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def remove_leftovers(folder: Path) -> None:
    """Removes what `write_whole` left when its process was killed. Nobody may be writing."""
    for path in folder.glob(f".*{_TEMPORARY}"):
        path.unlink(missing_ok=True)


def lock(file: IO[bytes], what: str) -> None:
    """Holds a file until it is closed; FailedPrecondition where another process does. Nothing on Windows."""
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise FailedPrecondition(f"another process is writing into {what}") from error
