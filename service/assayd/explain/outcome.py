"""What comes of a request."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from assayd.engine.backend import LoadedModel
from assayd.errors import AssayError
from assayd.explain.targets import ResolvedTarget
from assayd.scheduler.work import JobUsage
from assayd.types.arrays import Array, Floats
from assayd.types.result import Attribution, Drawn
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

    def blocks(self, values: Floats) -> Iterator[tuple[str, str, Floats]]:
        """[T, F] cut into (output, input, [*output, *input]), or (output, "", [*output, F]) over features."""
        row = 0
        for output, shape in self.outputs:
            rows = slice(row, row + math.prod(shape))
            row, column = rows.stop, 0
            for name, extents in self.inputs or (("", (values.shape[1],)),):
                columns = slice(column, column + math.prod(extents))
                column = columns.stop
                yield output, name, values[rows, columns].reshape(*shape, *extents)


@dataclass(frozen=True, eq=False)
class InstanceExplained:
    """One instance's explanation.

    x_scores: [T]. baseline_scores: [K, T]. dtype: that of the numbers on the wire. alone_difference: largest
    |f(x alone) - f(x in a batch)| as a share of max|f|, None where rows ran one by one. rows_asked: by the method and
    for x and the baselines; rows_scored: those of them that were; rows_run: these, and x and a baseline alone. partial:
    the budget ended first. drawn: the perturbed copies, where they were wanted. record: canonical JSON.
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
    rows_scored: int
    rows_run: int
    notices: tuple[Notice, ...] = ()
    jacobian: JacobianAxes | None = None
    partial: bool = False
    drawn: Drawn | None = None
    record: bytes = b""

    @property
    def held_bytes(self) -> int:
        """What its numbers take."""
        return sum(array.nbytes for array in self.arrays)

    @property
    def arrays(self) -> list[Array]:
        """All that may be large."""
        a, drawn = self.attribution, self.drawn
        found = [a.values, a.errors, a.row_scores, a.keep, *a.maps.values(), *a.map_errors.values()]
        if drawn is not None:
            found += [drawn.scores, drawn.features, drawn.steps, *drawn.samples.values()]
        return [array for array in found if array is not None]


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
    """All of a request. results: in request order. partial: its budget ended before all of it was computed."""

    model: LoadedModel
    results: Sequence[InstanceExplained | InstanceFailed]
    used: Used
    notices: tuple[Notice, ...]
    partial: bool = False
    estimated_rows: int | None = None
    estimated_seconds: float | None = None


@dataclass(frozen=True, eq=False)
class Predicted:
    """Outputs by name, [B, *output]."""

    model: LoadedModel
    outputs: Mapping[str, Array]
    used: Used
