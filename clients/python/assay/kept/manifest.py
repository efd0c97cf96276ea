"""The list of an evidence's decisions, a line of JSON each, only ever added to."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from assay.errors import DataLoss
from assay.kept.durable import lock, open_private


@dataclass(frozen=True)
class Decision:
    """One line of an evidence's manifest: an instance that was explained, or failed to be.

    Attributes:
        position: its place in the data set, from 0.
        key: its key, or "".
        status: "full", "partial" where a budget ended first, or "failed".
        digest: "sha256:…" of its record, "" where it failed.
        file: the record's file, within the folder.
        inputs: one digest of all its inputs.
        request: names the request under which it was explained.
        code, reason, message: why it failed.
    """

    position: int
    key: str = ""
    status: str = ""
    digest: str = ""
    file: str = ""
    inputs: str = ""
    request: str = ""
    code: str = ""
    reason: str = ""
    message: str = ""

    @property
    def name(self) -> str | int:
        """What tells it from others: its key, or without one its position."""
        return self.key or self.position


class Manifest:
    """A file of decisions; read at any time, written by one process at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writing = threading.Lock()
        self._file: IO[bytes] | None = None

    @property
    def is_open(self) -> bool:
        """Whether lines can be added."""
        return self._file is not None

    def open(self) -> None:
        """Makes the file where there is none, and holds it. FailedPrecondition where another process does."""
        file = open_private(self._path, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        try:
            lock(file, str(self._path.parent))
            file.truncate(self._path.read_bytes().rfind(b"\n") + 1)  # half a line that a stop left behind
        except BaseException:
            file.close()
            raise
        self._file = file

    def add(self, decision: Decision) -> None:
        """Adds a line, and returns when it is on the disk."""
        if self._file is None:
            raise ValueError("the manifest isn't open")
        said = {name: value for name, value in asdict(decision).items() if value != ""}
        with self._writing:
            self._file.write(json.dumps(said).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Lets other processes write."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def lines(self) -> Iterator[Decision]:
        """All lines in the order they were added; none where there is no file. DataLoss for one that is no decision."""
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            return
        with file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    return  # what it says isn't finished
                try:
                    yield Decision(**json.loads(line))
                except (TypeError, ValueError) as error:
                    raise DataLoss(f"line {number} of {self._path} can't be read") from error


def is_evidence(folder: Path) -> bool:
    """Whether a folder holds a manifest."""
    return (folder / "manifest.jsonl").is_file()
