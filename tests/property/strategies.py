"""Random subjects, cuts, windows and models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from assayd.types.arrays import Array
from assayd.types.subject import Segments, Subject
from tests.drive import Score

quick = settings(deadline=None, max_examples=60, database=None)
"""No deadline: the machine is shared. No database: the checkout stays clean."""

seeds = st.integers(0, 2**32 - 1)
shapes = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)


@dataclass(frozen=True)
class Windows:
    """Windows over all axes of a shape."""

    shape: tuple[int, ...]
    window: tuple[int, ...]
    stride: tuple[int, ...]


@st.composite
def windows(draw: st.DrawFn, *, gaps: bool) -> Windows:
    """Any windows that fit; with gaps the stride may exceed the window."""
    shape = draw(st.lists(st.integers(1, 7), min_size=1, max_size=2).map(tuple))
    window = tuple(draw(st.integers(1, n)) for n in shape)
    stride = tuple(draw(st.integers(1, 9 if gaps else w)) for w in window)
    return Windows(shape, window, stride)


@st.composite
def subjects(draw: st.DrawFn, *, untouched: bool = True) -> Subject:
    """One or two inputs, up to 3 baselines, features that may span inputs and, where allowed, untouched elements."""
    rng = np.random.default_rng(draw(seeds))
    extents = dict(zip("ab", draw(st.lists(shapes, min_size=1, max_size=2)), strict=False))
    size = sum(int(np.prod(shape)) for shape in extents.values())
    count = draw(st.integers(1, min(size, 6)))
    labels = np.concatenate([np.arange(count), rng.integers(-1 if untouched else 0, count, size=size - count)])
    rng.shuffle(labels)
    ids, at = {}, 0
    for name, shape in extents.items():
        stop = at + int(np.prod(shape))
        ids[name] = labels[at:stop].astype(np.int32).reshape(shape)
        at = stop
    baselines = draw(st.integers(1, 3))
    return Subject(
        inputs={name: rng.normal(size=shape) for name, shape in extents.items()},
        baselines={name: rng.normal(size=(baselines, *shape)) for name, shape in extents.items()},
        segments=Segments(ids, count),
    )


def linear(weights: Mapping[str, Array], bias: float = 0.5) -> Score:
    """Bias + the sum of weight * element."""
    return lambda batch: _total(weights, batch)[:, None] + bias


def curved(weights: Mapping[str, Array]) -> Score:
    """Two scores in which all elements interact; those of weight 0 have no effect."""
    unit = np.sqrt(sum(w.size for w in weights.values()))  # keeps tanh off its plateau

    def f(batch: Mapping[str, Array]) -> Array:
        total = _total(weights, batch) / unit
        return np.stack([np.tanh(total), total**2], axis=1)

    return f


def weights_for(subject: Subject, seed: int) -> dict[str, Array]:
    """One number an element."""
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=x.shape) for name, x in subject.inputs.items()}


def _total(weights: Mapping[str, Array], batch: Mapping[str, Array]) -> Array:
    return sum((batch[name] * w).reshape(len(batch[name]), -1).sum(axis=1) for name, w in weights.items())
