"""Bytes under their SHA-256: written whole or not at all, checked when read."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from assayd.errors import DataLoss, DigestMismatch, NoDescriptors, StoreFull, no_descriptors

PREFIX = "sha256:"


def digest_of(data: bytes) -> str:
    """The SHA-256 of `data`, with its prefix."""
    return PREFIX + hashlib.sha256(data).hexdigest()


def normal_digest(text: str) -> str:
    """A stated digest in its normal form. Raises DigestMismatch where it can't be one."""
    bare = text.removeprefix(PREFIX).lower()
    if len(bare) != 64 or any(c not in "0123456789abcdef" for c in bare):
        raise DigestMismatch(f"{text[:80]!r} is no SHA-256 digest: 64 hex digits are needed, with or without 'sha256:'")
    return PREFIX + bare


def store_error(error: OSError) -> StoreFull | NoDescriptors:
    """What a caller hears of a failed write: why in words, never where."""
    busy = no_descriptors(error)
    if busy is not None:
        return busy
    why = "no space is left" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "it can't be written"
    return StoreFull(f"the model store can't take this: {why}", retry_after_s=30.0)


def sync_folder(folder: Path) -> None:
    """Make a rename or link in `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Draft:
    """Bytes on their way into a folder of blobs; nothing is visible there before `commit`.

    Used as a context manager it leaves nothing behind unless it was committed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._hash = hashlib.sha256()
        self.size = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=".draft-", dir=folder)
        except OSError as error:
            raise store_error(error) from error
        self._path = Path(name)
        self._file = os.fdopen(handle, "wb")

    def write(self, data: bytes) -> None:
        """Append. Raises StoreFull."""
        try:
            self._file.write(data)
        except OSError as error:
            raise store_error(error) from error
        self._hash.update(data)
        self.size += len(data)

    @property
    def digest(self) -> str:
        """Digest of what was written so far."""
        return PREFIX + self._hash.hexdigest()

    def read(self) -> bytes:
        """All that was written so far. Raises StoreFull."""
        try:
            self._file.flush()
        except OSError as error:
            raise store_error(error) from error
        return self._path.read_bytes()

    def commit(self) -> str:
        """Put the bytes under their digest, on the disk itself, and return the digest. Raises StoreFull."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._path.replace(self._folder / self.digest.removeprefix(PREFIX))
            sync_folder(self._folder)
        except OSError as error:
            raise store_error(error) from error
        return self.digest

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with suppress(OSError):  # what couldn't be written is tried once more
            self._file.close()
        self._path.unlink(missing_ok=True)


class Blobs:
    """A folder of bytes named by their digests."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def draft(self) -> Draft:
        """Begin a blob whose bytes come in parts."""
        return Draft(self._folder)

    def put(self, data: bytes) -> str:
        """Store `data` and return its digest; stored twice it is one blob."""
        digest = digest_of(data)
        if not self._intact(digest):
            with self.draft() as draft:
                draft.write(data)
                draft.commit()
        return digest

    def _intact(self, digest: str) -> bool:
        """Whether the blob is there and whole: one that was damaged is healed by storing it again."""
        try:
            self.get(digest)
        except (FileNotFoundError, DataLoss):
            return False
        return True

    def size(self, digest: str) -> int:
        """Its size in bytes. Raises FileNotFoundError."""
        return (self._folder / digest.removeprefix(PREFIX)).stat().st_size

    def total_size(self) -> int:
        """Size of all blobs in bytes; drafts don't count."""
        try:
            with os.scandir(self._folder) as entries:
                return sum(entry.stat().st_size for entry in entries if not entry.name.startswith("."))
        except FileNotFoundError:
            return 0

    def get(self, digest: str) -> bytes:
        """The bytes. Raises FileNotFoundError, and DataLoss where they aren't what was stored."""
        data = (self._folder / digest.removeprefix(PREFIX)).read_bytes()
        if digest_of(data) != digest:
            raise DataLoss(f"the stored bytes of {digest} are damaged; upload them again", metadata={"digest": digest})
        return data
