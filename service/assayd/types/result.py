"""What a method returns for one instance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from assayd.types.arrays import Array, Floats


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of one plan. rows: float64 [n, T]; x: [T]; baselines: [K, T]."""

    rows: Floats
    x: Floats
    baselines: Floats


@dataclass(frozen=True)
class WindowGrid:
    """The windows of one input, in the order of the feature values: row-major over `grid`."""

    input: str
    first_feature: int
    grid: tuple[int, ...]
    axes: tuple[int, ...]
    window: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Attribution:
    """An explanation of one instance.

    values: float64 [T, F], a feature's own value, never divided among its elements. errors: the same shape, or None
    where the values are exact given their rows. maps, map_errors: by explained input [T, *input] with extent 1 on axes
    along which they can't vary. row_scores: [T, n], for methods that return their rows; keep: the masks, if the caller
    doesn't have them.
    """

    values: Floats | None = None
    errors: Floats | None = None
    maps: Mapping[str, Floats] = field(default_factory=dict)
    map_errors: Mapping[str, Floats] = field(default_factory=dict)
    windows: tuple[WindowGrid, ...] = ()
    row_scores: Floats | None = None
    keep: Array | None = None
