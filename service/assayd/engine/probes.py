"""Inputs that make a model show whether its rows interact."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from assayd.types.arrays import Array
from assayd.types.model import Signature, TensorSignature
from assayd.types.subject import Subject

ROWS = 4
Probe: TypeAlias = Mapping[str, Array]
"""By input name, [ROWS, *input]."""

_SCALES = (1.0, 10.0, 0.1, 100.0, 1000.0)
_FREE_EXTENTS = (8, 16, 32, 64, 224, 3, 1)
_WORDS = ("a", "b", "yes", "no", "0", "1")


def blind_probes(signature: Signature) -> Iterator[Probe]:
    """Probes that need no instance: noise at several scales, valid ids, rows of different lengths.

    Each free extent comes in turn, with all scales for the first.
    """
    free = any(None in (s.shape or (None,)) for s in signature.inputs)
    for extent in _FREE_EXTENTS if free else (1,):
        for scale in _SCALES if not free or extent == _FREE_EXTENTS[0] else _SCALES[:1]:
            draw = np.random.default_rng(0)
            noise = {s.name: _noise(s, extent, scale, draw) for s in signature.inputs}
            yield {name: _padded(x) for name, x in noise.items()} if scale == _SCALES[1] else noise


def _padded(x: Array) -> Array:
    """Rows that end in zeros, each at another place: 0 is the usual padding, and some models look for it."""
    if x.ndim < 2 or x.shape[1] < ROWS or x.dtype == object:
        return x
    padded = x.copy()
    for n in range(ROWS):
        padded[n, x.shape[1] * (n + 1) // ROWS :] = 0
    return padded


def probes_from(subject: Subject) -> Iterator[Probe]:
    """Probes around a caller's instance and its first baseline: both, half-way between, and the instance with noise.

    What isn't floating is shuffled and mixed with the baseline in the first probe, and only mixed in the second: each
    column of a table may have levels of its own. Text is never shuffled, for it hardly ever is a sequence.
    """
    draw = np.random.default_rng(0)
    others = {name: tensor[0, ...] for name, tensor in subject.baselines.items() if len(tensor)}
    for noise, shuffle in ((0.1, True), (1.0, False)):
        yield {name: _around(x, others.get(name, x), noise, shuffle, draw) for name, x in subject.inputs.items()}


def row(probe: Probe, number: int) -> dict[str, Array]:
    """One row of a probe, without the row axis."""
    return {name: values[number] for name, values in probe.items()}


def _noise(s: TensorSignature, extent: int, scale: float, draw: np.random.Generator) -> Array:
    shape = (ROWS, *(extent if n is None else n for n in s.shape or ()))
    noise = _of_dtype(s, shape, scale, draw)
    columns = noise.reshape(ROWS, -1)  # a view
    if columns.shape[1] == len(s.levels):
        for n, known in enumerate(s.levels):
            values = _stored(known, noise.dtype)
            if len(values):
                # In turn, for a few draws of a few levels may all be the same.
                columns[:, n] = values[(draw.integers(len(values)) + np.arange(ROWS)) % len(values)]
    return noise


def _stored(known: tuple[str | int, ...], dtype: np.dtype[np.generic]) -> Array:
    """Levels as an input holds them that may be cast on its way to the encoder; none where that can't be."""
    if dtype == object:
        return np.array([str(value) for value in known], dtype=object)
    return np.array([value for value in known if not isinstance(value, str)], np.int64).astype(dtype)


def _of_dtype(s: TensorSignature, shape: tuple[int, ...], scale: float, draw: np.random.Generator) -> Array:
    kind = s.dtype
    if kind is None or kind == object:
        return np.array(_WORDS, dtype=object)[draw.integers(0, len(_WORDS), shape)]
    if kind == bool:
        return draw.integers(0, 2, shape).astype(bool)
    if np.issubdtype(kind, np.integer):
        top = s.vocabulary or max(2, min(int(10 * scale), 127))
        return draw.integers(0, top, shape).astype(kind)
    return (draw.standard_normal(shape) * min(scale, 100.0 if kind == np.float16 else scale)).astype(kind)


def _around(x: Array, other: Array, noise: float, shuffle: bool, draw: np.random.Generator) -> Array:
    rows: Sequence[Array]
    if np.issubdtype(x.dtype, np.floating):
        finite = x[np.isfinite(x)].astype(np.float64)
        spread = float(finite.std()) if finite.size else 0.0
        unit = spread or float(np.abs(finite).max(initial=0.0)) or 1.0
        moved = x.astype(np.float64) + noise * unit * draw.standard_normal(x.shape)
        with np.errstate(invalid="ignore"):
            rows = [x, other, (x.astype(np.float64) + other) / 2, moved]
    else:
        # Ids that the instance itself holds are valid; in another order they are another row.
        ids = shuffle and x.dtype != object
        third = draw.permutation(x.ravel()).reshape(x.shape) if ids else _mixed(x, other, draw)
        rows = [x, other, third, _mixed(x, other, draw)]
    return np.stack([np.asarray(r).astype(x.dtype, copy=False) for r in rows])


def _mixed(x: Array, other: Array, draw: np.random.Generator) -> Array:
    return np.where(draw.random(x.shape) < 0.5, x, other)
