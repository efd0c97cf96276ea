"""Rows: compact descriptions of perturbed copies of an instance, and plans that make them lazily.

A row is never the copy itself. It becomes a tensor at the last moment, next to the model (`assayd.engine.realise`).
Rows come in blocks of one kind for one subject. The polarity is *keep* everywhere: 1 keeps x, 0 takes the baseline.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from assayd.types.arrays import Array, Floats, Ids, Ints


@dataclass(frozen=True, eq=False)
class PlainRows:
    """x itself, or all of its explained elements at one baseline.

    baseline: int32 [n]; -1 for x, else the number of the subject's baseline. Elements whose segment is -1 stay at x.
    """

    baseline: Ids

    def __len__(self) -> int:
        return len(self.baseline)


@dataclass(frozen=True, eq=False)
class MaskRows:
    """Features switched or blended.

    keep: [n, F] bool, uint8 (0 or 1) or floating in 0..1. 0 and 1 select, a value between blends with x.
    baseline: int32 [n], the subject's baseline that absent features take.
    """

    keep: Array
    baseline: Ids

    def __len__(self) -> int:
        return len(self.keep)


@dataclass(frozen=True, eq=False)
class BoxRows:
    """The baseline inside one box of one input.

    tensor: the input. axes: its boxed axes, counted on an instance. starts, sizes: int64 [n, len(axes)], inside the
    input's extents. baseline: int32 [n].
    """

    tensor: str
    axes: tuple[int, ...]
    starts: Ints
    sizes: Ints
    baseline: Ids

    def __len__(self) -> int:
        return len(self.starts)


@dataclass(frozen=True, eq=False)
class NudgeRows:
    """x + step x scale on the elements of one feature. feature: int32 [n]; step: float64 [n]."""

    feature: Ids
    step: Floats

    def __len__(self) -> int:
        return len(self.feature)


@dataclass(frozen=True, eq=False)
class SampleRows:
    """Whole perturbed instances: by input name [n, *input]; inputs left out stay at x."""

    values: Mapping[str, Array]

    def __len__(self) -> int:
        return len(next(iter(self.values.values())))


RowBlock: TypeAlias = PlainRows | MaskRows | BoxRows | NudgeRows | SampleRows


@dataclass(frozen=True, eq=False)
class Plan:
    """`size` rows that are made when a batch has room for them.

    rows(a, b) gives the rows a <= r < b in order, in one or more blocks. It must be pure: called again with the same
    bounds it gives the same rows. later: rows of the plans that will follow, where that is known already, so that a
    budget can refuse before anything runs. least: where a budget ends, the plan may be answered by its first rows
    alone, but not by fewer than these; None where it can't be cut. meanwhile: makes what the method will need when all
    rows are scored. Whoever runs them may call it before, where the method would then not have to be waited for.
    """

    size: int
    rows: Callable[[int, int], Sequence[RowBlock]]
    later: int = 0
    least: int | None = None
    meanwhile: Callable[[], None] | None = None


@dataclass(frozen=True, eq=False)
class Pick:
    """Elements of one output that are scores.

    indices: row-major positions in one instance of the output, or None for all elements. weights: float64 of the same
    length; then the pick is one column, the weighted sum, and else one column an index.
    """

    output: str
    indices: Ints | None = None
    weights: Floats | None = None
    scale: str = "raw"
