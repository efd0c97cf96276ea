"""Bytes under their SHA-256: written whole or not at all, checked when read."""

from __future__ import annotations

import os
from collections.abc import Container
from contextlib import suppress
from pathlib import Path

from assayd.errors import DataLoss
from assayd.store.digests import HEX, PREFIX, digest_of
from assayd.store.disk import listed, make_folder, read_bytes, settle, writing
from assayd.store.drafts import Draft


class Blobs:
    """A folder of bytes named by their digests. drafts: folder of what is on its way. root: of the store."""

    def __init__(self, folder: Path, drafts: Path, root: Path) -> None:
        self._folder = folder
        self._drafts = drafts
        self._root = root

    def keep(self, draft: Draft) -> str:
        """Put a sealed draft under its digest, also over damaged bytes, and return the digest. Raises StoreFull."""
        with writing():
            make_folder(self._folder)
            draft.move(self._path(draft.digest))
            settle(self._folder, self._root)
        return draft.digest

    def put(self, data: bytes) -> str:
        """Store `data` and return its digest; stored twice it is one blob. Raises StoreFull."""
        digest = digest_of(data)
        if self._intact(digest):
            with writing():
                settle(self._folder, self._root)  # whoever wrote it may not have come to that
            return digest
        with Draft(self._drafts) as draft:
            draft.write(data)
            draft.seal()
            return self.keep(draft)

    def _intact(self, digest: str) -> bool:
        """Whether the blob is there and whole: one that was damaged is healed by storing it again."""
        try:
            self.get(digest)
        except (FileNotFoundError, DataLoss):
            return False
        return True

    def _path(self, digest: str) -> Path:
        return self._folder / digest.removeprefix(PREFIX)

    def size(self, digest: str) -> int:
        """Its size in bytes. Raises FileNotFoundError."""
        return self._path(digest).stat().st_size

    def total_size(self) -> int:
        """Size of all blobs in bytes."""
        return sum(self._path(digest).stat().st_size for digest in self._digests())

    def _digests(self) -> list[str]:
        """What else may lie there isn't ours."""
        return [PREFIX + name for name in listed(self._folder) if HEX.fullmatch(name)]

    def get(self, digest: str) -> bytes:
        """The bytes. Raises FileNotFoundError, DataLoss where they aren't what was stored, StoreFull."""
        data = read_bytes(self._path(digest))
        if data is None or digest_of(data) != digest:
            raise DataLoss(f"the stored bytes of {digest} are damaged; upload them again", metadata={"digest": digest})
        return data

    def drop_all_but(self, wanted: Container[str]) -> int:
        """Remove the others, and return how many."""
        unwanted = [digest for digest in self._digests() if digest not in wanted]
        for digest in unwanted:
            with suppress(FileNotFoundError):
                os.unlink(self._path(digest))  # noqa: PTH108
        return len(unwanted)
