"""Tables: rows drawn column by column from training statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Lock

import numpy as np
from cachetools import LRUCache, cached

from assayd.errors import InvalidRequest, InvalidTensor
from assayd.methods.lime.columns import Columns, Part
from assayd.methods.lime.kept import size_of
from assayd.methods.lime.sample import Draws, merge, unmerged
from assayd.methods.lime.variables import equal, seen, variables
from assayd.types.arrays import Array, Floats, Ints
from assayd.types.request import PerInput
from assayd.types.rows import SampleRows
from assayd.types.subject import Subject

_BLOCK_CELLS = 1 << 16
"""Cells drawn at a time: what they pass through stays in the cache."""
_KEPT_CELLS = 1 << 19
"""Of a sample that is kept for the next one who draws it: 4 MiB at most, and as much of what variables are made of."""
_KEPT_BYTES = 64 * 2**20
"""Of all that are kept."""


@dataclass(frozen=True, eq=False)
class TableSample:
    """Rows of a table.

    values: for each part the drawn elements [rows, c], the first row x's. made: what `seen` gives for them, but for the
    first row, where that is at hand; others may have it as well. whole: given tensors.
    """

    subject: Subject
    columns: Columns
    values: tuple[Array, ...]
    draws: Draws
    z_x: Floats
    made: tuple[Array, ...] | None = None
    whole: Mapping[str, Array] | None = None
    copies: int = 1

    @property
    def shared(self) -> bool:
        """Its first row is x, and its variables say what lies where x does."""
        return False

    def cut(self, rows: int) -> TableSample:
        """The first rows alone."""
        return replace(self, values=tuple(v[:rows] for v in self.values), draws=self.draws.cut(rows))

    def z(self, a: int, b: int) -> Array:
        """1 where a column lies in x's bin or at x's level; a Gaussian column's standardised value."""
        made = None if self.made is None else [m[a:b] for m in self.made]
        z = variables(self.columns, self.subject, [v[a:b] for v in self.values], made)
        if made is not None and a == 0:
            z = z.copy()
            z[0] = self.z_x
        return z

    def squared_distance(self, z: Floats) -> Floats:
        """Euclidean."""
        apart = z - self.z_x
        distance: Floats = np.einsum("ij,ij->i", apart, apart)
        return distance

    def blocks(self, a: int, b: int) -> Sequence[SampleRows]:
        """Whole rows, made of x and the drawn elements."""
        return [SampleRows(self._made(slice(a, b)))]

    def samples(self) -> dict[str, Array]:
        """All draws, by input [n, *input]."""
        return self._made(self.draws.order)

    def _made(self, rows: slice | Ints) -> dict[str, Array]:
        if self.whole is not None:
            return {name: tensor[rows] for name, tensor in self.whole.items()}
        made = {}
        for part, values in zip(self.columns.parts, self.values, strict=True):
            chosen = values[rows]
            if len(part.elements) < int(np.prod(part.shape)):
                flat = np.repeat(self.subject.inputs[part.input].reshape(1, -1), len(chosen), axis=0)
                flat[:, part.elements] = chosen
                chosen = flat
            made[part.input] = chosen.reshape(-1, *part.shape)
        return made


@dataclass(frozen=True, eq=False)
class _Drawn:
    """What doesn't depend on x; the first rows are left to it.

    values: as in `TableSample`. levels: [total, F] where all features are categorical, else no rows. made: as there,
    where it is worth keeping.
    """

    values: tuple[Array, ...]
    levels: Ints
    made: tuple[Array, ...] | None

    @property
    def nbytes(self) -> int:
        return self.levels.nbytes + sum(v.nbytes for v in (*self.values, *(self.made or ())))


def draw(columns: Columns, subject: Subject, total: int) -> TableSample:
    """x, and `total` - 1 rows drawn. Those of a smaller total are the first ones.

    Rows are merged where all features are categorical; numbers hardly ever repeat.
    """
    small = total * columns.segments.count <= _KEPT_CELLS
    numeric = len(columns.missing) > 0
    drawn = (_drawn_before if small else _drawn)(columns, subject.stream, total, keep=small and numeric)
    values = tuple(v.copy() for v in drawn.values) if small else drawn.values
    for part, into in zip(columns.parts, values, strict=True):
        into[0] = subject.inputs[part.input].reshape(-1)[part.elements]
    z_x = variables(columns, subject, [v[:1] for v in values], None)[0].astype(np.float64)
    if numeric:
        return TableSample(subject, columns, values, unmerged(total), z_x, drawn.made)
    chosen = drawn.levels.copy()
    chosen[0] = _levels_of_x(columns, values)
    first, draws = merge(chosen)
    return TableSample(subject, columns, tuple(v[first] for v in values), draws, z_x)


def _drawn(columns: Columns, stream: int, total: int, *, keep: bool) -> _Drawn:
    """A column takes one uniform number and is its distribution's inverse there, so a row always takes as many."""
    count = columns.segments.count
    values = tuple(np.empty((total, len(part.elements)), part.dtype) for part in columns.parts)
    chosen = np.empty((0 if len(columns.missing) else total, count), np.int64)
    made: tuple[Array, ...] | None = None
    rng = np.random.Generator(np.random.Philox(key=stream))
    step = max(1, _BLOCK_CELLS // count)
    for a in range(1, total, step):
        b = min(a + step, total)
        uniform = rng.random((b - a, count))
        numbers, levels = columns.numbers(uniform), columns.levels(uniform)
        if len(chosen):
            chosen[a:b] = levels
        for part, into in zip(columns.parts, values, strict=True):
            _fill(part, numbers, levels, into[a:b])
        if keep:
            found = seen(columns, [v[a:b] for v in values])
            made = made or tuple(np.empty((total, f.shape[1]), f.dtype) for f in found)
            for all_rows, of_these in zip(made, found, strict=True):
                all_rows[a:b] = of_these
    return _Drawn(values, chosen, made)


_drawn_before = cached(LRUCache(_KEPT_BYTES, getsizeof=size_of), lock=Lock())(_drawn)
"""Instances without keys of their own draw the same rows, and one that comes again draws its own again, be it with
another model or target. A table binds to the same columns.
"""


def given(columns: Columns, subject: Subject, samples: PerInput[Array], total: int | None) -> TableSample:
    """The caller's rows, by input [n, *input], standing for `total` draws.

    Raises `InvalidTensor` (samples) for a missing input, a wrong dtype or shape, or different n; `InvalidRequest`
    (samples) for an input that has none of the table's columns.
    """
    whole: dict[str, Array] = {}
    names = [part.input for part in columns.parts]
    for name in samples.values:
        if name not in names and not (name == "" and len(names) == 1):
            raise InvalidRequest(
                f"samples for input {name!r}; the table has columns in {', '.join(map(repr, names))}", field="samples"
            )
    for part in columns.parts:
        tensor = samples.get(part.input) if part.input in samples.values or len(names) == 1 else None
        if tensor is None:
            raise InvalidTensor(f"no samples for input {part.input!r}, where the table has columns", field="samples")
        whole[part.input] = _stored(tensor, part)
    if len({len(tensor) for tensor in whole.values()}) > 1:
        raise InvalidTensor("all inputs need as many samples", field="samples")
    flat = {name: tensor.reshape(len(tensor), -1) for name, tensor in whole.items()}
    # In the order that drawn ones have, so that sums over them come to the same bits.
    values = tuple(np.take(flat[p.input], p.elements, axis=1) for p in columns.parts)
    at_x = [subject.inputs[p.input].reshape(1, -1)[:, p.elements] for p in columns.parts]
    count = len(values[0])
    draws = replace(unmerged(count), stand_for=total)
    z_x = variables(columns, subject, at_x, None)[0].astype(np.float64)
    return TableSample(subject, columns, values, draws, z_x, whole=whole)


def _stored(tensor: Array, part: Part) -> Array:
    """x's dtype, or float64 for any floating x."""
    if tensor.dtype != part.dtype and not (tensor.dtype == np.float64 and part.dtype.kind == "f"):
        raise InvalidTensor(
            f"the samples of input {part.input!r} are {tensor.dtype}, the input {part.dtype}", field="samples"
        )
    if tensor.shape[1:] != part.shape or tensor.ndim != len(part.shape) + 1 or not len(tensor):
        raise InvalidTensor(
            f"the samples of input {part.input!r} have shape {list(tensor.shape)}, not"
            f" [{', '.join(map(str, ('n', *part.shape)))}] with n of at least 1",
            field="samples",
        )
    with np.errstate(over="ignore"):
        return tensor.astype(part.dtype, copy=False)


def _fill(part: Part, numbers: Floats, levels: Ints, out: Array) -> None:
    """Write drawn columns. numbers: [n, numeric]; levels: [n, categorical]; out: [n, c] in the input's dtype."""
    if len(part.edges):
        drawn = numbers[:, part.columns]
        if part.dtype.kind in "iu":
            low, high = float(np.iinfo(part.dtype.name).min), float(np.iinfo(part.dtype.name).max)
            drawn = np.clip(np.rint(drawn), low, np.nextafter(high + 1, 0))
        with np.errstate(over="ignore"):
            out[:, part.at] = drawn
    for feature in part.categorical:
        out[:, feature.at] = feature.levels[levels[:, feature.number]]


def _levels_of_x(columns: Columns, values: Sequence[Array]) -> Ints:
    """The level of each categorical feature that x stands at, -1 where at none."""
    same = [np.ones(len(ends), np.bool_) for ends in columns.shares]
    for part, found in zip(columns.parts, values, strict=True):
        for feature in part.categorical:
            same[feature.number] &= equal(feature.levels, found[0, feature.at]).all(axis=1)
    return np.array([int(np.argmax(s)) if s.any() else -1 for s in same])
