"""What a method returns for one instance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from assayd.types.arrays import Array, Floats, Ids
from assayd.types.subject import Segments


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
class Drawn:
    """Perturbed copies that a method asked for, in the order of asking and with repetitions, and their scores.

    scores: [T, n], each the mean over the baselines. samples: what the method takes as its parameter `samples` to use
    them again: masks [n, F] bool under "", or by input [n, *input]. features, steps: [n] each, of copies that move one
    feature by so many times its scale. With none of these, copy n has feature n at its baseline.
    """

    scores: Floats
    samples: Mapping[str, Array] = field(default_factory=dict)
    features: Ids | None = None
    steps: Floats | None = None


@dataclass(frozen=True, eq=False)
class Attribution:
    """An explanation of one instance.

    values: float64 [T, F], a feature's own value, never divided among its elements. errors: the same shape, or None
    where the values are exact given their rows, or where errors_unknown says that nobody estimated them; NaN where
    nobody can. maps, map_errors: by explained input [T, *input] with extent 1 on axes along which they can't vary.
    row_scores: [T, n], for methods that return their rows; keep: the masks, if the caller doesn't have them.

    Of methods that fit a surrogate. intercept: [T], its score where all its variables are 0. r_squared: [T],
    the share of the scores' weighted variance that it explains, NaN where there is none. effective_rows: how many rows
    of equal weight say as much as those it was fitted to, 0 where no variable varies among them, None where nothing was
    left to chance. drawn: makes the rows and their scores, for those who want them; nothing is kept unpacked until
    then. segments: the features, where the method cuts them itself (the columns of a table); else they are the
    subject's. settled: parameters that the caller left to the method, by name.
    """

    values: Floats | None = None
    errors: Floats | None = None
    maps: Mapping[str, Floats] = field(default_factory=dict)
    map_errors: Mapping[str, Floats] = field(default_factory=dict)
    windows: tuple[WindowGrid, ...] = ()
    row_scores: Floats | None = None
    keep: Array | None = None
    intercept: Floats | None = None
    r_squared: Floats | None = None
    drawn: Callable[[], Drawn] | None = None
    segments: Segments | None = None
    errors_unknown: bool = False
    effective_rows: float | None = None
    settled: Mapping[str, float] = field(default_factory=dict)
