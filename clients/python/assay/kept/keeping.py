"""Explains a data set and keeps each decision, from where an earlier run stopped."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.data.parts import Inputs, Part
from assay.errors import invalid
from assay.explanation import Instance
from assay.kept.digests import message_digest, tensors_in
from assay.kept.folder import Evidence, input_digest
from assay.kept.manifest import Decision
from assay.methods import METHODS, Method
from assay.models import Model
from assay.targets import PerInstance, Targets, encode_targets
from assay.tensors import Array, from_tensor, is_digest

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from assay.client import Client
    from assay.plans import Event
    from assay.requests import Settings


class Keeping:
    """A run over a data set whose decisions go into an `Evidence`; going through it does the work.

        run = assay.Keeping(client, assay.Evidence("out"), model, parts, assay.Lime(), seed=1)
        for event in run: ...
        run.kept, run.failed, run.skipped

    It yields what `Client.explain_many` does, but `position` of an instance is its place among all `parts`. An instance
    that has a record in the evidence is skipped; one that failed before, or whose record was changed, or of which the
    record or a tensor is gone, is tried again. Each is kept before it is yielded.

    parts: instances as arrays, never by digest; with keys, or told apart by their positions. The method's revision is
    that of the first run: another one is refused. beside_others: as in `Evidence.begin`. The other parameters are those
    of `Client.explain_many`.

    Raises what `Evidence.begin` and `Client.explain_many` raise, and `InvalidArgument` where two instances have the
    same key, or the data isn't what the evidence was made of.

    Attributes:
        kept: instances that were kept in this run.
        failed: instances that failed in this run.
        skipped: instances that were kept before.
        damaged: instances that were kept before and are tried again, since not all of it is there any more.
    """

    def __init__(
        self,
        client: Client,
        evidence: Evidence,
        model: Model | str,
        parts: Iterable[Part | Inputs],
        method: Method,
        target: Targets = None,
        *,
        timeout: float | None = None,
        request_id: str | None = None,
        beside_others: bool = False,
        **settings: Unpack[Settings],
    ) -> None:
        self.kept = self.failed = self.skipped = self.damaged = 0
        self._client, self._evidence, self._parts = client, evidence, parts
        self._model, self._method, self._target = model, method, target
        self._beside_others = beside_others
        self._call: dict[str, Any] = {"timeout": timeout, "request_id": request_id}
        self._settings = settings
        self._under_way: dict[int, tuple[int, Mapping[str, Array]]] = {}

    def __iter__(self) -> Iterator[Event]:
        model = self._model if isinstance(self._model, Model) else self._client.get_model(self._model)
        if self._settings.get("method_revision") is None:
            self._settings["method_revision"] = self._revision()
        self._evidence.begin(model, self._method, self._target, beside_others=self._beside_others, **self._settings)
        parts = self._undone(model)
        first = next(parts, None)
        if first is not None:
            yield from self._explained(model, chain((first,), parts))

    def _revision(self) -> int | None:
        name = next((name for name, kind in METHODS.items() if isinstance(self._method, kind)), "")
        return self._client.info().methods.get(name)

    def _explained(self, model: Model, parts: Iterator[Part]) -> Iterator[Event]:
        events = self._client.explain_many(model, parts, self._method, self._target, **self._call, **self._settings)
        for event in events:
            if not isinstance(event, Instance):
                yield event
                continue
            place, inputs = self._under_way.pop(event.position)
            warnings = tuple(dataclasses.replace(w, instance=place) for w in event.warnings)
            instance = dataclasses.replace(event, position=place, warnings=warnings)
            self._evidence.add(instance, inputs)
            if instance.status is None:
                self.kept += 1
            else:
                self.failed += 1
            yield instance

    def _undone(self, model: Model) -> Iterator[Part]:
        """The parts without what is done; but for the first, on gRPC's thread."""
        done = self._evidence.done()
        seen: dict[str | int, int] = {}
        place = sent = 0
        for given in self._parts:
            part = given if isinstance(given, Part) else Part(given)
            inputs = _named(part, model)
            wanted = []
            for row in range(len(next(iter(inputs.values())))):
                name = part.keys[row] if part.keys is not None and part.keys[row] else place
                if name in seen:
                    said = f"{name!r} is the key of instances {seen[name]} and {place}"
                    raise invalid("keys", f"{said}; each needs its own")
                seen[name] = place
                own = {of: array[row] for of, array in inputs.items()}
                damage = ""
                if name in done:
                    self._check_unchanged(name, done[name], own)
                    damage = self._evidence.damage(done[name])
                    self.damaged += bool(damage)
                if name in done and not damage:
                    self.skipped += 1
                else:
                    wanted.append(row)
                    self._under_way[sent] = place, own
                    sent += 1
                place += 1
            if wanted:
                self._evidence.keep(_own_tensors(part))
                yield _rows(part, inputs, wanted)

    def _check_unchanged(self, name: str | int, decision: Decision, inputs: Mapping[str, Array]) -> None:
        if decision.inputs != input_digest(inputs):
            said = f"instance {name!r} isn't the one that {self._evidence.folder} holds: its inputs differ"
            raise invalid("inputs", f"{said}; use another folder for other data")


def _named(part: Part, model: Model) -> dict[str, Array]:
    inputs = part.inputs if isinstance(part.inputs, Mapping) else {model.inputs[0].name: part.inputs}
    for name, value in inputs.items():
        if is_digest(value):
            raise invalid(f"inputs[{name}]", "evidence holds arrays, and this is the digest of a stored one")
    return {name: np.asarray(value) for name, value in inputs.items()}


def _rows(part: Part, inputs: Mapping[str, Array], wanted: list[int]) -> Part:
    return Part(
        {name: array[wanted] for name, array in inputs.items()},
        None if part.keys is None else [part.keys[row] for row in wanted],
        None if part.targets is None else [part.targets[row] for row in wanted],
    )


def _own_tensors(part: Part) -> dict[str, Array]:
    """The tensors in targets of the instances' own."""
    if part.targets is None:
        return {}
    _, targets = encode_targets(PerInstance(part.targets))
    return {message_digest(t): from_tensor(t) for one in targets for t in tensors_in(one) if not t.digest}
