"""The method against its slow restatement, on random settings."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from assayd.methods.occlusion import Occlusion
from assayd.types.arrays import Array
from assayd.types.request import PerInput
from assayd.types.subject import Subject
from tests.drive import Score, drive
from tests.reference.slow_occlusion import slow_occlusion

TARGETS = 2


def a_model(shapes: Mapping[str, tuple[int, ...]], rng: np.random.Generator) -> Score:
    """Two smooth scores in which everything interacts."""
    weights = {name: rng.normal(size=(int(np.prod(shape)), 5)) for name, shape in shapes.items()}
    out = rng.normal(size=(5, TARGETS))

    def f(batch: Mapping[str, Array]) -> Array:
        hidden = sum(batch[name].reshape(len(batch[name]), -1) @ w for name, w in weights.items())
        return np.tanh(hidden) @ out

    return f


@pytest.mark.parametrize("seed", range(60))
def test_windows_equal_the_slow_replica(seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = ["a", "b"][: rng.integers(1, 3)]
    shapes = {name: tuple(int(n) for n in rng.integers(1, 5, size=rng.integers(1, 4))) for name in names}
    inputs = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    count = int(rng.integers(1, 4))
    baselines = {name: rng.normal(size=(count, *shape)) for name, shape in shapes.items()}
    known, axes, window, stride = {}, {}, {}, {}
    for name, shape in shapes.items():
        size = int(rng.integers(1, len(shape) + 1))
        if rng.random() < 0.5:
            known[name] = axes[name] = tuple(sorted(int(a) for a in rng.choice(len(shape), size, replace=False)))
        else:
            known[name], axes[name] = None, tuple(range(len(shape) - size, len(shape)))
        window[name] = tuple(int(rng.integers(1, shape[a] + 1)) for a in axes[name])
        stride[name] = tuple(int(s) for s in rng.integers(1, 6, size=size))
    edge = str(rng.choice(["clip", "valid"]))
    f = a_model(shapes, rng)

    method = Occlusion(PerInput(window), PerInput(stride), edge=edge)
    got = drive(method, Subject(inputs, baselines, spatial_axes=known), f, chunk=int(rng.integers(1, 9)))

    assert got.values is not None
    assert got.values.shape[0] == TARGETS
    assert sum(int(np.prod(grid.grid)) for grid in got.windows) == got.values.shape[1]
    for target in range(TARGETS):
        for grid in got.windows:
            name = grid.input
            want = slow_occlusion(inputs, baselines, name, axes[name], window[name], stride[name], edge, f, target)
            span = slice(grid.first_feature, grid.first_feature + int(np.prod(grid.grid)))
            np.testing.assert_allclose(got.values[target, span], want.values, rtol=1e-11, atol=1e-13)
            assert [n for a, n in enumerate(got.maps[name].shape[1:]) if a not in axes[name]] == [1] * (
                len(shapes[name]) - len(axes[name])
            )
            np.testing.assert_allclose(
                np.broadcast_to(got.maps[name][target], shapes[name]), want.map, rtol=1e-11, atol=1e-13
            )
            if want.errors is None or want.map_error is None:
                assert got.errors is None
                assert not got.map_errors
            else:
                assert got.errors is not None
                np.testing.assert_allclose(got.errors[target, span], want.errors, rtol=1e-9, atol=1e-13)
                np.testing.assert_allclose(
                    np.broadcast_to(got.map_errors[name][target], shapes[name]), want.map_error, rtol=1e-9, atol=1e-13
                )
