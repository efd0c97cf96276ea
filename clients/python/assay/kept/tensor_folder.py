"""Arrays in a folder, each in a file named after its digest."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from assay.errors import DataLoss, NotFound
from assay.kept.digests import deserialise, digest_of, serialise, tensor_digest
from assay.kept.durable import write_whole
from assay.tensors import Array, to_tensor


class TensorFolder:
    """`<hex>.npy` each; `<hex>.tensor`, the bytes the digest is taken over, for strings and bfloat16."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: set[str] = set()  # seen on the disk, so that a baseline isn't looked for again with each instance

    def put(self, array: Array, digest: str = "") -> str:
        """Keeps an array, once, and returns its digest. digest: where it is known already."""
        digest = digest or tensor_digest(array)
        if not self.holds(digest):
            if array.dtype.kind in "OUTV":
                write_whole(self._path(digest, ".tensor"), serialise(to_tensor(array)))
            else:
                buffer = io.BytesIO()
                np.save(buffer, array, allow_pickle=False)
                write_whole(self._path(digest, ".npy"), buffer.getvalue())
            self._held.add(digest)
        return digest

    def holds(self, digest: str) -> bool:
        """Whether there is a file for it."""
        if digest not in self._held and self._found(digest):
            self._held.add(digest)
        return digest in self._held

    def is_missing(self, digest: str) -> bool:
        """Whether there is no file for it any more; looks at the disk, whatever was seen there before."""
        self._held.discard(digest)
        return not self.holds(digest)

    def get(self, digest: str) -> Array:
        """The array, read-only. NotFound where there is none, DataLoss where it isn't what its name says."""
        path = self._found(digest)
        if path is None:
            raise NotFound(f"{self._folder} holds no tensor {digest}", metadata={"digest": digest})
        try:
            array = self._read(path)
        except (DataLoss, OSError):
            raise
        except Exception as error:  # numpy reads its header as Python, and a changed one may raise anything
            raise DataLoss(f"{path} can't be read: {error}", metadata={"digest": digest}) from error
        if tensor_digest(array) != digest:
            raise DataLoss(f"{path} isn't the tensor that its name says", metadata={"digest": digest})
        array.flags.writeable = False
        return array

    def problem(self, digest: str) -> str:
        """What is wrong with a tensor's file, or ""."""
        try:
            self.get(digest)
        except (DataLoss, NotFound) as error:
            return str(error)
        return ""

    def digests(self) -> Iterator[str]:
        """The digests of all files, in order."""
        for path in sorted(self._folder.glob("[!.]*")):
            yield f"sha256:{path.stem}"

    def _read(self, path: Path) -> Array:
        if path.suffix == ".npy":
            array: Array = np.load(path, allow_pickle=False)
            return array
        data = path.read_bytes()
        if digest_of(data) != f"sha256:{path.stem}":
            raise DataLoss(f"{path} isn't the tensor that its name says", metadata={"digest": f"sha256:{path.stem}"})
        return deserialise(data)

    def _found(self, digest: str) -> Path | None:
        paths = (self._path(digest, kind) for kind in (".npy", ".tensor"))
        return next((path for path in paths if path.is_file()), None)

    def _path(self, digest: str, kind: str) -> Path:
        return self._folder / (digest.removeprefix("sha256:") + kind)
