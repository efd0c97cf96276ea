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
        self._is_said = False  # whether the folder says what the identity is
        self._last: dict[tuple[str, str | int], Decision] = {}  # by request and name, while this writes
        self._damaged: set[tuple[str, str | int]] = set()  # found by `damage`, to be made again
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
        """Says what the decisions to come are the answers to; it is kept, with its tensors, beside the first record.

        So a folder without a record is evidence of nothing yet, and any request may begin in it.

        model: one with its digest, as `get_model` gives it. beside_others: let the folder hold evidence of other
        requests too, which is refused otherwise.

        Raises `FailedPrecondition`, naming what differs, where the folder holds evidence of another request, and where
        another process is writing into it.
        """
        identity = Identity.of(model, method, target, **settings)
        self._open()
        owners = {line.request for line in self._last.values() if line.status != "failed"}
        others = owners - {identity.name}
        if others and not beside_others:
            said = f"{self.folder} holds evidence of another request"
            before = self._requests().get(min(others))
            changed = differences(before, identity.said) if before else "what was asked isn't there any more"
            raise FailedPrecondition(f"{said}: {changed}; use another folder, or let it stand beside others")
        self._identity, self._is_said = identity, False
        if owners:
            self._say(identity)

    def keep(self, tensors: Mapping[str, Array]) -> None:
        """Keeps tensors beyond those of `begin`, such as the weights of one instance's target: {digest: array}."""
        with self._writing:
            self._keep(tensors)

    def add(self, instance: Instance, inputs: Mapping[str, Array], *, position: int | None = None) -> Decision:
        """Keeps one decision, or why there is none; returns its line of the manifest.

        inputs: {input name: array [*input]} that it was asked for with, no batch axis. position: its place in the data
        set, where that isn't its place in the request.

        A record that is there already is as good as added. One that was damaged gives way to another.

        Raises `DataLoss` where the record isn't that of these inputs, results or request, or where the key, or the
        position of an instance without one, has another record.
        """
        if self._identity is None:
            raise ValueError("begin comes before add")
        place = instance.position if position is None else position
        digests = {name: tensor_digest(array) for name, array in inputs.items()}
        line = Decision(place, instance.key, instance.completion, inputs=_joint(digests), request=self._identity.name)
        record, kept = instance.record, {}
        if instance.status is not None:
            error, record = instance.status, None
            line = replace(line, status="failed", code=error.code, reason=error.reason, message=str(error))
        elif record is None:
            raise DataLoss(f"instance {place} came without a record")
        else:
            line = replace(line, digest=record.digest)
            kept = self._checked_tensors(instance, record, line, inputs, digests)
        with self._writing:
            own = line.request, line.name
            before = self._last.get(own)
            # What was found damaged is made again, though its tensor has come back with another instance by now.
            stands = before is not None and before.status != "failed" and own not in self._damaged
            if before is not None and stands and not self.damage(before):
                if line.digest == before.digest:
                    return before
                what = "key" if line.key else "position"
                said = f"{line.name!r} is the {what} of two decisions, and {self.folder} holds the first"
                raise DataLoss(f"{said}; each instance needs a {what} of its own")
            if record is not None:
                self._say(self._identity)
                line = self._add(record, replace(line, file=before.file if before else ""), kept)
            self._manifest.add(line)
            self._last[own] = line
            self._damaged.discard(own)
        return line

    def damage(self, decision: Decision) -> str:
        """What is wrong with a decision that has a record: it was changed, or it or a tensor is gone; "" where nothing.

        Tensors aren't read, which `verify` does. `add` then takes another record in its place.
        """
        try:
            sent = _sent(self.record(decision).load())
            gone = next((digest for digest in sent if self._tensors.is_missing(digest)), None)
            said = "" if gone is None else f"tensor {gone} of {decision.file} is gone"
        except DataLoss as error:
            said = str(error)
        if said:
            self._damaged.add((decision.request, decision.name))
        return said

    def close(self) -> None:
        """Lets other processes write."""
        self._manifest.close()

    def _open(self) -> None:
        if self._manifest.is_open:
            return
        for part in _PARTS:
            (self.folder / part).mkdir(_FOLDER, parents=True, exist_ok=True)
        self._manifest.open()
        try:
            self._last = {(line.request, line.name): line for line in self._manifest.lines()}
        except DataLoss:
            self._manifest.close()
            raise
        self._files = {line.file.casefold() for line in self._last.values() if line.file}
        for part in _PARTS:
            remove_leftovers(self.folder / part)

    def _keep(self, tensors: Mapping[str, Array]) -> None:
        for digest, array in tensors.items():
            self._tensors.put(array, digest)

    def _say(self, identity: Identity) -> None:
        """Keeps what was asked, with its tensors."""
        if self._is_said:
            return
        self._keep(identity.tensors)
        sync_folder(self.folder / "tensors")
        path = self.folder / "requests" / f"{identity.name}.json"
        if not path.is_file():
            write_whole(path, json.dumps(identity.said, indent=2).encode())
            sync_folder(path.parent)
        self._is_said = True

    def _checked_tensors(
        self,
        instance: Instance,
        record: Record,
        line: Decision,
        inputs: Mapping[str, Array],
        digests: Mapping[str, str],
    ) -> dict[str, Array]:
        """The tensors that a record names, {digest: array}. DataLoss where it isn't that of this instance."""
        said = _checked(record, record.digest, f"the record of instance {line.position}")
        if said["inputs"] != digests:
            raise DataLoss(f"the record of instance {line.position} is of other inputs")
        if self._identity is not None and (changed := self._identity.differences_from(said)):
            raise DataLoss(f"the record of instance {line.position} is of another request: {changed}")
        kept = by_digest(instance, said)
        for name, digest in digests.items():
            kept[digest] = np.asarray(inputs[name])
        return kept

    def _add(self, record: Record, line: Decision, tensors: Mapping[str, Array]) -> Decision:
        """Keeps a record, in the line's file or a new one, and its tensors."""
        self._keep(tensors)
        sync_folder(self.folder / "tensors")
        line = line if line.file else replace(line, file=f"records/{self._file_name(line)}")
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
        """The last word on each instance of each request, in the order of their positions.

        Of a request that kept nothing, what failed is left out once the folder is evidence of another.
        """
        last = {(line.request, line.name): line for line in self._manifest.lines()}
        said = {line.request for line in last.values() if line.status != "failed"}
        said |= {path.stem for path in self._request_files()} if said else set()
        listed = (line for line in last.values() if not said or line.request in said)
        return sorted(listed, key=lambda line: line.position)

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
        return {path.stem: _read_json(path) for path in self._request_files()}

    def _request_files(self) -> list[Path]:
        return sorted((self.folder / "requests").glob("[!.]*.json"))


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
