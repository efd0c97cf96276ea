"""What comes of a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from assayd.engine.backend import LoadedModel
from assayd.errors import AssayError
from assayd.explain.targets import ResolvedTarget
from assayd.scheduler.work import JobUsage
from assayd.types.arrays import Array, Floats
from assayd.types.result import Attribution
from assayd.types.subject import Segments


@dataclass(frozen=True)
class Notice:
    """Something the reader should know. code: a value of assay.v1.WarningCode without its prefix."""

    code: str
    message: str


@dataclass(frozen=True)
class JacobianAxes:
    """What the axes of a Jacobian's [T, F] are: outputs in order, and inputs in order, or none over features.

    Each is a name and the shape of one instance.
    """

    outputs: tuple[tuple[str, tuple[int, ...]], ...]
    inputs: tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True, eq=False)
class InstanceExplained:
    """One instance's explanation.

    x_scores: [T]. baseline_scores: [K, T]. dtype: that of the numbers on the wire. alone_difference: largest
    |f(x alone) - f(x in a batch)| as a share of max|f|, None where rows ran one by one. record: canonical JSON.
    """

    key: str
    position: int
    targets: tuple[ResolvedTarget, ...]
    attribution: Attribution
    segments: Segments | None
    x_scores: Floats
    baseline_scores: Floats
    dtype: np.dtype[np.generic]
    alone_difference: float | None
    rows_asked: int
    rows_run: int
    notices: tuple[Notice, ...] = ()
    jacobian: JacobianAxes | None = None
    record: bytes = b""


@dataclass(frozen=True)
class InstanceFailed:
    """One instance without an explanation."""

    key: str
    position: int
    error: AssayError


@dataclass(frozen=True, eq=False)
class Used:
    """What a request used."""

    usage: JobUsage
    rows_asked: int
    plan_seconds: float
    reduce_seconds: float


@dataclass(frozen=True, eq=False)
class Explained:
    """All of a request. results: in request order."""

    model: LoadedModel
    results: Sequence[InstanceExplained | InstanceFailed]
    used: Used
    notices: tuple[Notice, ...]
    estimated_rows: int | None = None
    estimated_seconds: float | None = None


@dataclass(frozen=True, eq=False)
class Predicted:
    """Outputs by name, [B, *output]."""

    model: LoadedModel
    outputs: Mapping[str, Array]
    used: Used
