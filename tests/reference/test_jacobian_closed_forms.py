"""Derivatives that are known exactly."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from assayd.methods.jacobian import Jacobian
from assayd.types.arrays import Array
from assayd.types.request import Bounds, GivenSegments, PerInput
from assayd.types.subject import Segments, Subject
from tests.drive import drive
from tests.reference.networks import elements_of, explain, off, random_net

DTYPES = (np.float16, np.float32, np.float64)
SCHEMES = ("forward", "central", "richardson")
STEPS = ({}, {"rel_step": PerInput({"": 0.1})}, {"step": PerInput({"": 0.25})})
LOWER = PerInput({"x": Bounds(lower=np.zeros(()))})


def exactly(f: object, x: Array) -> Array:
    """Scores in float64, so that only the method can be wrong."""
    assert callable(f)
    return f(x.astype(np.float64))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("estimate", [True, False])
def test_a_linear_model_gets_its_weights(
    scheme: str, steps: Mapping[str, PerInput[float]], estimate: bool, dtype: type
) -> None:
    rng = np.random.default_rng(0)
    x, weights = (10 * rng.normal(size=7)).astype(dtype), rng.normal(size=(7, 3))
    method = Jacobian(scheme=scheme, error_estimate=estimate, **steps)
    got = drive(method, elements_of(x=x), lambda batch: batch["x"].astype(np.float64) @ weights + 1)
    # Rounding of f, some 10 eps, divided by the shortest step.
    np.testing.assert_allclose(got.values, weights.T, rtol=0, atol=1e-5 if scheme == "forward" else 2e-8)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bounds", [PerInput(), LOWER])
@pytest.mark.parametrize("steps", STEPS)
def test_central_differences_of_a_quadratic_are_exact_even_on_one_side(
    steps: Mapping[str, PerInput[float]], bounds: PerInput[Bounds], dtype: type
) -> None:
    x = np.array([0.0, 0.01, 0.7, 3.3], dtype)
    got = drive(Jacobian(bounds=bounds, **steps), elements_of(x=x), lambda b: b["x"].astype(np.float64) ** 2 - b["x"])
    np.testing.assert_allclose(got.values, np.diag(2 * x.astype(np.float64) - 1), rtol=0, atol=1e-8)


@pytest.mark.parametrize("bounds", [PerInput(), LOWER])
def test_richardson_is_exact_for_a_quartic_even_on_one_side(bounds: PerInput[Bounds]) -> None:
    x = np.array([0.0, 0.01, 0.7, 1.3])
    method = Jacobian("richardson", step=PerInput({"": 0.1}), bounds=bounds)
    got = drive(method, elements_of(x=x), lambda b: b["x"] ** 4)
    np.testing.assert_allclose(got.values, np.diag(4 * x**3), rtol=0, atol=1e-12)


def test_forward_differences_err_by_half_the_curvature_times_the_step() -> None:
    got = drive(Jacobian("forward", step=PerInput({"": 0.25})), elements_of(x=np.array([1.0])), lambda b: b["x"] ** 2)
    np.testing.assert_allclose(got.values, [[2.25]], atol=1e-12)
    assert got.errors is not None
    assert 0.25 <= got.errors[0, 0] <= 2


@pytest.mark.parametrize(("dtype", "within"), [(np.float64, 1e-9), (np.float32, 5e-4), (np.float16, 0.1)])
def test_known_functions(dtype: type, within: float) -> None:
    x = np.array([-1.5, -0.3, 0.0, 0.4, 2.0], dtype)
    for f, slope in ((np.exp, np.exp), (np.sin, np.cos), (np.tanh, lambda z: 1 - np.tanh(z) ** 2)):
        got = drive(Jacobian(), elements_of(x=x), lambda b, f=f: f(b["x"]))
        np.testing.assert_allclose(got.values, np.diag(slope(x.astype(np.float64))), rtol=0, atol=within * 7)


@pytest.mark.parametrize("activation", ["tanh", "sin", "softplus"])
@pytest.mark.parametrize(("dtype", "within"), [(np.float64, 1e-8), (np.float32, 1e-3), (np.float16, 0.15)])
@pytest.mark.parametrize("seed", range(8))
def test_smooth_networks(activation: str, dtype: type, within: float, seed: int) -> None:
    net, x = random_net(np.random.default_rng(seed), activation, dtype)
    assert off(explain(Jacobian(), net, x).values, net.jacobian(x)) < within


@pytest.mark.parametrize("estimate", [True, False])
@pytest.mark.parametrize("spread", [0.01, 0.1, 10.0, None])
@pytest.mark.parametrize(("dtype", "within"), [(np.float64, 1e-8), (np.float32, 1e-3)])
@pytest.mark.parametrize("seed", range(5))
def test_raw_columns(spread: float | None, dtype: type, within: float, seed: int, estimate: bool) -> None:
    rng = np.random.default_rng(seed)
    spreads = 10 ** rng.uniform(-2, 2.5, size=24) if spread is None else np.full(24, spread)
    net, x = random_net(rng, "tanh", dtype, spreads)
    got = explain(Jacobian(error_estimate=estimate), net, x)
    assert off(got.values * spreads, net.jacobian(x) * spreads) < within


def test_one_fixed_step_fails_on_raw_columns() -> None:
    net, x = random_net(np.random.default_rng(0), "tanh", np.float32, np.full(24, 0.01))
    fixed = explain(Jacobian(rel_step=PerInput({"": float(np.finfo(np.float32).eps) ** (1 / 3)})), net, x)
    assert off(fixed.values, net.jacobian(x)) > 0.01
    scaled = Jacobian(rel_step=PerInput({"": 5e-3}), scale=PerInput({"": np.full((), 0.01)}))
    assert off(explain(scaled, net, x).values, net.jacobian(x)) < 1e-3


def test_networks_with_kinks() -> None:
    """A network whose x lies within rounding of a kink has no derivative; the others are within 1e-2."""
    errors = []
    for seed in range(60):
        net, x = random_net(np.random.default_rng(seed), "relu", np.float32)
        errors.append(off(explain(Jacobian(), net, x).values, net.jacobian(x)))
    assert np.mean(np.array(errors) < 1e-2) >= 0.98
    assert np.median(errors) < 1e-3


def kinked(batch: Mapping[str, Array]) -> Array:
    """|x_0| among smooth columns, in float32."""
    x = batch["x"]
    return (np.abs(x[:, :1]) + np.sin(x[:, 1:]).sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("distance", [3e-3, 1e-3, 2e-4, 3e-5, 1e-5])
@pytest.mark.parametrize("side", [1.0, -1.0])
def test_beside_a_kink_the_slope_is_that_of_the_side_of_x(distance: float, side: float) -> None:
    x = np.array([side * distance, *np.linspace(-2, 2, 9)], np.float32)
    got = drive(Jacobian(), elements_of(x=x), kinked)
    assert got.values is not None
    np.testing.assert_allclose(got.values[0, 0], side, atol=1e-2)


@pytest.mark.parametrize("distance", [0.0, 1e-7])
def test_at_a_kink_the_estimate_says_so(distance: float) -> None:
    x = np.array([distance, *np.linspace(-2, 2, 9)], np.float32)
    got = drive(Jacobian(), elements_of(x=x), kinked)
    assert got.values is not None
    assert got.errors is not None
    assert abs(got.values[0, 0] - 1) <= got.errors[0, 0]
    assert got.errors[0, 0] > 0.9
    assert np.median(got.errors) < 1e-2


def test_groups_get_the_slope_along_their_scale() -> None:
    rng = np.random.default_rng(4)
    x, weights = rng.normal(size=6), rng.normal(size=6)
    scale = rng.uniform(0.5, 2, size=6)
    ids = np.array([0, 1, 1, 2, -1, 1], np.int32)
    method = Jacobian(features=GivenSegments({"x": ids}), scale=PerInput({"x": scale}))
    subject = Subject({"x": x}, {"x": np.zeros((1, 6))}, Segments({"x": ids}, 3), scale=method.nudge_scale({"x": x}))
    got = drive(method, subject, lambda b: np.sin(b["x"] @ weights)[:, None])
    slope = np.cos(x @ weights) * weights * scale
    np.testing.assert_allclose(got.values, [[slope[ids == g].sum() for g in range(3)]], rtol=1e-8, atol=1e-9)
