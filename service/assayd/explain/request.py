"""A decoded request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from assayd.explain.canonical import Canonical
from assayd.scheduler.work import Caller
from assayd.types.arrays import Array
from assayd.types.method import Method, differentiates
from assayd.types.model import ModelSpec, ModelVersion
from assayd.types.request import PerInput, TargetSpec


@dataclass(frozen=True)
class Budget:
    """Most a request may spend. rows: over all instances, None for the server's limit. until: on the monotonic clock.

    partial: where it ends, what is there is the answer.
    """

    rows: int | None = None
    until: float | None = None
    partial: bool = False


@dataclass(frozen=True, eq=False)
class AsSent:
    """The request as it came, in protobuf's JSON: without instances, tensors by digest.

    settings: the same for all instances. targets: for each instance, where they have their own.
    """

    settings: Canonical = field(default_factory=lambda: Canonical({}))
    targets: Sequence[Sequence[Mapping[str, Any]]] = ()

    def of(self, position: int) -> Canonical:
        """The same for one instance alone."""
        if not self.targets:
            return self.settings
        return Canonical({**self.settings.value, "targets": self.targets[position]})


@dataclass(frozen=True, eq=False)
class ExplainRequest:
    """What `Explainer.explain` does.

    inputs: by input name [B, *input]. targets: for each instance, as many for every one. keys: for each instance, ""
    where it has none. deadline: on the monotonic clock.
    """

    caller: Caller
    model: ModelVersion
    spec: ModelSpec
    inputs: Mapping[str, Array]
    method_name: str
    method: Method
    targets: Sequence[tuple[TargetSpec, ...]]
    inputs_to_explain: tuple[str, ...] = ()
    layouts: PerInput[str] = field(default_factory=PerInput)
    keys: Sequence[str] = ()
    seed: int = 0
    deadline: float | None = None
    budget: Budget = Budget()
    skip_failed: bool = False
    validate_only: bool = False
    reproducible: bool = False
    return_rows: bool = False
    as_sent: AsSent = field(default_factory=AsSent)

    @property
    def instances(self) -> int:
        """B."""
        return len(next(iter(self.inputs.values())))

    @property
    def exact(self) -> bool:
        """Whether its rows run in fp32, whatever the device's precision: differences of near scores need every bit."""
        return self.reproducible or differentiates(self.method)


@dataclass(frozen=True, eq=False)
class PredictRequest:
    """What `Predictor.predict` does. outputs: () means all."""

    caller: Caller
    model: ModelVersion
    inputs: Mapping[str, Array]
    outputs: tuple[str, ...] = ()
    deadline: float | None = None
