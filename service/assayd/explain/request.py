"""A decoded request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from assayd.scheduler.work import Caller
from assayd.types.arrays import Array
from assayd.types.method import Method
from assayd.types.model import ModelSpec, ModelVersion
from assayd.types.request import PerInput, TargetSpec


@dataclass(frozen=True, eq=False)
class ExplainRequest:
    """What `Explainer.explain` does.

    inputs: by input name [B, *input]. targets: for each instance, as many for every one. keys: for each instance, ""
    where it has none. deadline: on the monotonic clock. budget_rows: most rows over all instances.
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
    budget_rows: int | None = None
    skip_failed: bool = False
    validate_only: bool = False

    @property
    def instances(self) -> int:
        """B."""
        return len(next(iter(self.inputs.values())))


@dataclass(frozen=True, eq=False)
class PredictRequest:
    """What `Predictor.predict` does. outputs: () means all."""

    caller: Caller
    model: ModelVersion
    inputs: Mapping[str, Array]
    outputs: tuple[str, ...] = ()
    deadline: float | None = None
