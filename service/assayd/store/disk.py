"""What the store asks of a disk: folders and names that survive a power cut, a lock among servers, errors in words."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from assayd.errors import NoDescriptors, StoreFull, no_descriptors

_PATIENCE_S = 5.0
"""Nobody has the lock for longer than a few writes, unless their process was stopped."""
_POLL_S = 0.005
_RETRY_S = 30.0
_DAMAGE = (errno.EIO, errno.EBADMSG, errno.EISDIR)
"""What reading says where the disk is at fault; anything else (no descriptors, no memory) may pass."""


def store_error(error: OSError) -> StoreFull | NoDescriptors:
    """What a caller hears of a failed write: why in words, never where."""
    busy = no_descriptors(error)
    if busy is not None:
        return busy
    why = "no space is left" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "it can't be written"
    return StoreFull(f"the model store can't take this: {why}", retry_after_s=_RETRY_S)


@contextmanager
def writing() -> Iterator[None]:
    """Let errors of the disk become StoreFull, or NoDescriptors."""
    try:
        yield
    except OSError as error:
        raise store_error(error) from error


def read_bytes(path: Path) -> bytes | None:
    """A file's bytes, None where the disk doesn't give them any more. Raises FileNotFoundError, StoreFull."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in _DAMAGE:
            return None
        raise _unreadable(error) from error


def listed(folder: Path) -> list[str]:
    """Names in a folder, sorted; none where there is no folder. Raises StoreFull."""
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise _unreadable(error) from error


def _unreadable(error: OSError) -> StoreFull | NoDescriptors:
    return no_descriptors(error) or StoreFull("the model store can't be read now", retry_after_s=1.0)


def sync_folder(folder: Path) -> None:
    """Make what was named, renamed or removed in `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def settle(folder: Path, root: Path) -> None:
    """Sync a folder and those above it up to `root`.

    Those above too, since another server may have made them and not have come to sync them; it costs next to nothing
    where nothing changed.
    """
    for each in (folder, *folder.parents):
        sync_folder(each)
        if each == root:
            return


def make_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing. Its own name is safe once it is settled."""
    folder.mkdir(parents=True, exist_ok=True)


def unchecked() -> None:
    """The check of a change that nobody can call off."""


@contextmanager
def held(path: Path, check: Callable[[], None] = unchecked) -> Iterator[None]:
    """Hold the lock of a file against other threads and servers; the system frees it when a process ends.

    check: called while it waits, and when it has the lock; what it raises ends the waiting, or frees the lock. Raises
    StoreFull where somebody has it for too long, or it can't be made.
    """
    with writing():
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _wait_for(handle, check)
        check()
        yield
    finally:
        os.close(handle)


def _wait_for(handle: int, check: Callable[[], None]) -> None:
    end = time.monotonic() + _PATIENCE_S
    while not _locked(handle):
        check()
        if time.monotonic() > end:
            raise StoreFull(
                "the model store can't take this: another server is changing it and doesn't come to an end",
                retry_after_s=_RETRY_S,
            )
        time.sleep(_POLL_S)


def _locked(handle: int) -> bool:
    with writing():
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
