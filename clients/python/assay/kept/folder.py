"""A folder that keeps decisions: the record of each, and the tensors that it names."""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

from assay.errors import DataLoss, FailedPrecondition
from assay.explanation import Instance, Record
from assay.kept.digests import digest_of, digests_in, tensor_digest
from assay.kept.durable import remove_leftovers, sync_folder, write_whole
from assay.kept.identity import Identity, differences
from assay.kept.manifest import Decision, Manifest
from assay.kept.result_tensors import by_digest
from assay.kept.tensor_folder import TensorFolder
from assay.tensors import Array

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from assay.methods import Method
    from assay.models import Model
    from assay.requests import Settings
    from assay.targets import Targets

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_FOLDER = 0o700
_PARTS = ("records", "requests", "tensors")


class Evidence:
    """A folder that keeps decisions so that they can be shown and run again, whole after a stop at any moment.

    `records/KEY.json` holds a record's canonical bytes (its position, where it has no key), `tensors/HEX.npy` each
    tensor that records name under its digest (`.tensor` for strings and bfloat16), `requests/` what was asked.
    `manifest.jsonl` gets a line when a record and all its tensors are on the disk: it states the record's digest, so
    that a change shows. With a copy of it elsewhere, nothing can be changed unnoticed.

    What the client never had isn't there: baselines and superpixels that the server made, which a replay makes again,
    and tensors given by the digest of a stored one.

    Reading changes nothing. The folder is made, and held against other processes, by the first `begin`.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self._tensors = TensorFolder(self.folder / "tensors")
        self._writing = threading.Lock()  # parts are made on a thread of their own, and hold tensors too
        self._manifest = Manifest(self.folder / "manifest.jsonl")
        self._identity: Identity | None = None
        self._files: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Evidence {self.folder}>"

    # ---- writing -------------------------------------------------------------------------------------------------

    def begin(
        self,
        model: Model,
        method: Method,
        target: Targets = None,
        *,
        beside_others: bool = False,
        **settings: Unpack[Settings],
    ) -> None:
        """Says what the decisions to come are the answers to, and keeps the tensors it holds.

        model: one with its digest, as `get_model` gives it. beside_others: let the folder hold evidence of other
        requests too, which is refused otherwise.

        Raises `FailedPrecondition`, naming what differs, where the folder holds evidence of another request, and where
        another process is writing into it.
        """
        self._open()
        identity = Identity.of(model, method, target, **settings)
        others = {name: said for name, said in self._requests().items() if name != identity.name}
        if others and not beside_others:
            said = f"{self.folder} holds evidence of another request"
            changed = differences(next(iter(others.values())), identity.said)
            raise FailedPrecondition(f"{said}: {changed}; use another folder, or let it stand beside others")
        for digest, array in identity.tensors.items():
            self._tensors.put(array, digest)
        path = self.folder / "requests" / f"{identity.name}.json"
        if not path.is_file():
            sync_folder(self.folder / "tensors")
            write_whole(path, json.dumps(identity.said, indent=2).encode())
            sync_folder(path.parent)
        self._identity = identity

    def keep(self, tensors: Mapping[str, Array]) -> None:
        """Keeps tensors beyond those of `begin`, such as the weights of one instance's target: {digest: array}."""
        with self._writing:
            self._keep(tensors)

    def add(self, instance: Instance, inputs: Mapping[str, Array], *, position: int | None = None) -> Decision:
        """Keeps one decision, or why there is none; returns its line of the manifest.

        inputs: {input name: array [*input]} that it was asked for with, no batch axis. position: its place in the data
        set, where that isn't its place in the request.

        Raises `DataLoss` where the record isn't that of these inputs, results or request, or two instances have one
        key.
        """
        if self._identity is None:
            raise ValueError("begin comes before add")
        place = instance.position if position is None else position
        digests = {name: tensor_digest(array) for name, array in inputs.items()}
        line = Decision(place, instance.key, instance.completion, inputs=_joint(digests), request=self._identity.name)
        if instance.status is not None:
            error = instance.status
            line = replace(line, status="failed", code=error.code, reason=error.reason, message=str(error))
        elif instance.record is None:
            raise DataLoss(f"instance {place} came without a record")
        else:
            line = self._add(instance, instance.record, line, inputs, digests)
        self._manifest.add(line)
        return line

    def close(self) -> None:
        """Lets other processes write."""
        self._manifest.close()

    def _open(self) -> None:
        if self._manifest.is_open:
            return
        for part in _PARTS:
            (self.folder / part).mkdir(_FOLDER, parents=True, exist_ok=True)
        self._manifest.open()
        self._files = {line.file.casefold() for line in self._manifest.lines() if line.file}
        for part in _PARTS:
            remove_leftovers(self.folder / part)

    def _keep(self, tensors: Mapping[str, Array]) -> None:
        for digest, array in tensors.items():
            self._tensors.put(array, digest)

    def _add(
        self,
        instance: Instance,
        record: Record,
        line: Decision,
        inputs: Mapping[str, Array],
        digests: Mapping[str, str],
    ) -> Decision:
        said = _checked(record, record.digest, f"the record of instance {line.position}")
        if said["inputs"] != digests:
            raise DataLoss(f"the record of instance {line.position} is of other inputs")
        if self._identity is not None and (changed := self._identity.differences_from(said)):
            raise DataLoss(f"the record of instance {line.position} is of another request: {changed}")
        kept = by_digest(instance, said)
        for name, digest in digests.items():
            kept[digest] = np.asarray(inputs[name])
        with self._writing:
            self._keep(kept)
            sync_folder(self.folder / "tensors")
            line = replace(line, digest=record.digest, file=f"records/{self._file_name(line)}")
            write_whole(self.folder / line.file, record.json)
            sync_folder(self.folder / "records")
        return line

    def _file_name(self, line: Decision) -> str:
        """A name for the record that no other has, on file systems that don't mind case either."""
        plain = f"{line.position:06d}" if not line.key else quote(line.key, safe="")[:100]
        if line.key and not _PLAIN.fullmatch(line.key):
            plain += f"~{hashlib.sha256(line.key.encode()).hexdigest()[:16]}"
        name, n = f"{plain}.json", 1
        while f"records/{name}".casefold() in self._files:
            name, n = f"{plain}~{n}.json", n + 1
        self._files.add(f"records/{name}".casefold())
        return name

    # ---- reading -------------------------------------------------------------------------------------------------

    def decisions(self) -> list[Decision]:
        """The last word on each instance of each request, in the order of their positions."""
        last = {(line.request, line.name): line for line in self._manifest.lines()}
        return sorted(last.values(), key=lambda line: line.position)

    def done(self) -> dict[str | int, Decision]:
        """Key, or position where there is none -> decision, of those that have a record.

        After `begin`, only those of its request; those that failed are to be tried again.
        """
        request = None if self._identity is None else self._identity.name
        finished = (line for line in self.decisions() if line.status != "failed")
        return {line.name: line for line in finished if request in (None, line.request)}

    def records(self) -> Iterator[tuple[Decision, Record]]:
        """The records, in the order of their positions. DataLoss where one isn't what the manifest says."""
        for line in self.decisions():
            if line.status != "failed":
                yield line, self.record(line)

    def record(self, decision: Decision) -> Record:
        """The record of a decision. DataLoss where it isn't what the manifest says, or is gone."""
        path = self.folder / decision.file
        try:
            record = Record(path.read_bytes(), decision.digest)
        except FileNotFoundError as error:
            raise DataLoss(f"{path} is gone") from error
        _checked(record, decision.digest, str(path))
        return record

    def tensor(self, digest: str) -> Array:
        """A tensor, read-only. NotFound where it was never kept, DataLoss where its file was changed."""
        return self._tensors.get(digest)

    def verify(self) -> list[str]:
        """What is wrong with the folder, a sentence each; nothing where every record and tensor is what it was."""
        problems: list[str] = []
        wanted: dict[str, str] = {}
        try:
            lines = self.decisions()
        except DataLoss as error:
            return [str(error)]
        for name, said in self._requests().items():
            wanted |= dict.fromkeys(set(digests_in(said.get("request"))) - set(said["by_reference"]), f"request {name}")
        for line in lines:
            if line.status == "failed":
                continue
            try:
                wanted |= dict.fromkeys(_sent(self.record(line).load()), line.file)
            except DataLoss as error:
                problems.append(str(error))
        kept = set(self._tensors.digests())
        for digest in sorted(kept | set(wanted)):
            if digest not in kept:
                problems.append(f"tensor {digest} of {wanted[digest]} is gone")
            elif wrong := self._tensors.problem(digest):
                problems.append(wrong)
        return problems

    def _requests(self) -> dict[str, Any]:
        found = {}
        for path in sorted((self.folder / "requests").glob("[!.]*.json")):
            found[path.stem] = _read_json(path)
        return found


def input_digest(inputs: Mapping[str, Array]) -> str:
    """One digest of all inputs of an instance, {input name: [*input]}: what `Decision.inputs` holds."""
    return _joint({name: tensor_digest(array) for name, array in inputs.items()})


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise DataLoss(f"{path} can't be read") from error


def _joint(digests: Mapping[str, str]) -> str:
    return digest_of(json.dumps(digests, sort_keys=True).encode())


def _checked(record: Record, digest: str, what: str) -> Any:
    """What a record says; DataLoss where its bytes don't have the digest that was stated elsewhere."""
    if digest_of(record.json) != digest:
        raise DataLoss(f"{what} isn't what its digest says", metadata={"digest": digest})
    return record.load()


def _sent(said: Mapping[str, Any]) -> Iterator[str]:
    """The tensors of a record that the client had: a request may do without maps."""
    without = () if said["request"].get("element_maps", True) else ("maps", "map_errors")
    yield from digests_in([said["inputs"], {k: v for k, v in said["results"].items() if k not in without}])
