"""x or the baseline, element by element, as masks say.

numpy's masked copy goes from run to run of a mask, which for a photograph's segments took more than half of what making
a row did. Bits have no runs: baseline ^ ((x ^ baseline) & mask) is either, whatever the bits mean, NaN and -0 too.
"""

from __future__ import annotations

from types import EllipsisType
from typing import Any, Protocol, TypeAlias

import numpy as np

from assayd.types.arrays import Array, Ids

Part: TypeAlias = tuple[slice | EllipsisType, ...]
"""An index of an instance's axes."""

_WORDS = {1: np.int8, 2: np.int16, 4: np.int32, 8: np.int64}


class Chooser(Protocol):
    """Of one input of one instance."""

    def write(self, rows: slice, part: Part, ids: Array, baseline: Ids, view: Array) -> None:
        """Write a part of rows. part: of the input. ids: intp, the column of `keep` of each of its elements,
        broadcastable to it. baseline: the number of each row's, int32 [n]. view: [n, *part].
        """


def chooser(x: Array, baselines: Array, keep: Array) -> Chooser:
    """x: [*input]. baselines: [K, *input], x's dtype. keep: [rows, columns]; where it is 0, the baseline is taken."""
    words = None if x.dtype.hasobject else _WORDS.get(x.dtype.itemsize)
    return _Copies(x, baselines, keep) if words is None else _Bits(x, baselines, keep, np.dtype(words))


def others_of(baselines: Array, numbers: Ids) -> Array:
    """Each row's baseline: [*input] where all have the same, [n, *input] where they don't."""
    return baselines[numbers[0], ...] if (numbers == numbers[0]).all() else baselines[numbers]


class _Copies:
    """For what has no bits, such as strings."""

    def __init__(self, x: Array, baselines: Array, keep: Array) -> None:
        self._x = x
        self._baselines = baselines
        self._absent = keep == 0

    def write(self, rows: slice, part: Part, ids: Array, baseline: Ids, view: Array) -> None:
        view[...] = self._x[part]
        others = others_of(self._baselines[:, *part], baseline)
        np.copyto(view, others, where=self._absent[rows].take(ids, axis=1))


class _Bits:
    """words: integers as wide as an element."""

    def __init__(self, x: Array, baselines: Array, keep: Array, words: np.dtype[Any]) -> None:
        self._x = x.view(words)
        self._baselines = baselines.view(words)
        self._words = words
        self._masks = -(keep != 0).astype(np.int8)
        self._is_zero = not self._baselines.any()

    def write(self, rows: slice, part: Part, ids: Array, baseline: Ids, view: Array) -> None:
        masks, out = self._masks[rows].take(ids, axis=1).astype(self._words, copy=False), view.view(self._words)
        if self._is_zero:
            np.bitwise_and(self._x[part], masks, out=out)
            return
        others = others_of(self._baselines[:, *part], baseline)
        np.bitwise_xor(self._x[part], others, out=out)
        np.bitwise_and(out, masks, out=out)
        np.bitwise_xor(out, others, out=out)
