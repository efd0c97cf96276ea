"""Whether the error estimates are honest, and not merely large."""

from __future__ import annotations

import numpy as np
import pytest

from assayd.methods.jacobian import Jacobian
from assayd.types.arrays import Array
from assayd.types.request import Bounds, PerInput
from tests.drive import drive
from tests.reference.networks import elements_of, explain, random_net

NETS = 40
AUTO = Jacobian()
GIVEN = Jacobian(rel_step=PerInput({"": 0.02}))
BOUNDED = Jacobian(bounds=PerInput({"": Bounds(lower=np.full((), -0.5), upper=np.full((), 0.5))}))


def honesty(method: Jacobian, activation: str, dtype: type, spread: float | str) -> tuple[float, float]:
    """Share of entries within their estimate, and the norm of all estimates by that of all errors, columns scaled."""
    inside, estimates, errors = [], [], []
    for seed in range(NETS):
        rng = np.random.default_rng(seed)
        spreads = 10 ** rng.uniform(-2, 2.5, size=24) if spread == "mixed" else np.full(24, spread)
        net, x = random_net(rng, activation, dtype, spreads)
        if method is BOUNDED:
            x = np.clip(x, -0.5, 0.5).astype(dtype)
        got = explain(method, net, x)
        assert got.values is not None
        assert got.errors is not None
        error = np.abs(got.values - net.jacobian(x))
        inside.append(error <= got.errors)
        estimates.append(got.errors * spreads)
        errors.append(error * spreads)
    return float(np.mean(inside)), float(np.linalg.norm(estimates) / np.linalg.norm(errors))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("activation", ["tanh", "sin", "softplus", "relu"])
@pytest.mark.parametrize("method", [AUTO, GIVEN, BOUNDED, Jacobian("forward"), Jacobian("richardson")])
def test_entries_lie_within_their_estimate(method: Jacobian, activation: str, dtype: type) -> None:
    inside, ratio = honesty(method, activation, dtype, 1.0)
    assert inside >= 0.95
    assert ratio <= 30


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("spread", [0.01, 0.1, "mixed"])
@pytest.mark.parametrize("method", [AUTO, Jacobian("forward"), Jacobian("richardson")])
def test_entries_of_raw_columns_lie_within_their_estimate(method: Jacobian, spread: float | str, dtype: type) -> None:
    inside, ratio = honesty(method, "tanh", dtype, spread)
    assert inside >= 0.95
    assert ratio <= 30


@pytest.mark.parametrize("method", [AUTO, Jacobian("richardson")])
def test_steps_too_long_for_a_column_are_not_trusted(method: Jacobian) -> None:
    """With a spread of 0.001 the longest step passes several turns of each tanh."""
    inside, ratio = honesty(method, "tanh", np.float32, 1e-3)
    assert inside >= 0.95
    assert ratio <= 30


def test_a_float32_network_behind_float64_inputs_is_seen_through() -> None:
    """The step is too short for it, and the estimate says so."""
    inside = []
    for seed in range(NETS):
        net, x = random_net(np.random.default_rng(seed), "tanh", np.float32)
        got = drive(Jacobian(), elements_of(x=x.astype(np.float64)), lambda b, net=net: net({"x": f32(b["x"])}))
        assert got.values is not None
        assert got.errors is not None
        assert np.median(got.errors) > 1e-3
        inside.append(np.abs(got.values - net.jacobian(x)) <= got.errors)
    assert np.mean(inside) >= 0.95


def f32(x: Array) -> Array:
    return x.astype(np.float32)
