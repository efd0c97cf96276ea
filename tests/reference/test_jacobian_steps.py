"""Columns for which the steps that are tried first are far too long or too short."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from assayd.methods.jacobian import Jacobian
from assayd.types.arrays import Array, Floats
from assayd.types.request import Bounds, PerInput
from tests.drive import drive
from tests.reference.networks import elements_of, explain, off, random_net

SPREADS = (3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4)
MIXED = np.array([1, 0.1, 0.03, 0.01, 3e-3, 1e-3, 3e-4, 1e-4])
CENTRAL, RICHARDSON = Jacobian(), Jacobian("richardson")


def check(
    method: Jacobian, cases: list[tuple[Array, Callable[[Array], Array], Floats]], within: float, at_least: float = 0.95
) -> None:
    """Cases of x, f and the true derivatives [T, F]: their error, taken together, and the honesty of the estimates."""
    values, truths, inside = [], [], []
    for x, f, truth in cases:
        got = drive(method, elements_of(x=x), lambda b, f=f: f(b["x"]), chunk=500)
        assert got.values is not None
        assert got.errors is not None
        values.append(got.values)
        truths.append(truth)
        inside.append(np.abs(got.values - truth) <= got.errors)
    assert off(np.array(values), np.array(truths)) < within
    assert np.mean(inside) >= at_least


def steep(spread: Floats, dtype: type) -> list[tuple[Array, Callable[[Array], Array], Floats]]:
    """f = sum of w tanh((x - 0.5) / s): what a network makes of raw columns."""
    rng = np.random.default_rng(4)
    weights, s = rng.normal(size=(8, 3)).astype(dtype), spread.astype(dtype)

    def f(x: Array) -> Array:
        return np.tanh((x - dtype(0.5)) / s) @ weights

    cases = []
    for _ in range(15):
        x = (0.5 + rng.normal(size=8) * spread).astype(dtype)
        slope = (1 - np.tanh((x.astype(np.float64) - 0.5) / s.astype(np.float64)) ** 2) / s.astype(np.float64)
        cases.append((x, f, slope * weights.T.astype(np.float64)))
    return cases


@pytest.mark.parametrize(("dtype", "within"), [(np.float32, 1e-3), (np.float64, 1e-8)])
@pytest.mark.parametrize("spread", SPREADS)
def test_columns_narrower_than_every_step_of_the_ladder(spread: float, dtype: type, within: float) -> None:
    check(CENTRAL, steep(np.full(8, spread), dtype), within)


@pytest.mark.parametrize(("dtype", "within"), [(np.float32, 1e-2), (np.float64, 1e-8)])
@pytest.mark.parametrize("spread", SPREADS)
def test_narrow_columns_by_richardson(spread: float, dtype: type, within: float) -> None:
    check(RICHARDSON, steep(np.full(8, spread), dtype), within)


@pytest.mark.parametrize(("dtype", "within"), [(np.float32, 1e-3), (np.float64, 1e-8)])
@pytest.mark.parametrize("method", [CENTRAL, RICHARDSON])
def test_narrow_columns_among_wide_ones(method: Jacobian, dtype: type, within: float) -> None:
    check(method, steep(MIXED, dtype), within)


@pytest.mark.parametrize("x", [1.0, 0.1, 2e-2, 2e-3, 1e-4, 1e-5])
def test_close_to_a_bound(x: float) -> None:
    """The logarithm bends as sharply as its bound is near."""
    rng = np.random.default_rng(1)
    weights = rng.normal(size=(4, 2)).astype(np.float32)
    cases = []
    for _ in range(5):
        at = (x * rng.uniform(0.99, 1.01, size=4)).astype(np.float32)
        cases.append(
            (at, lambda z: np.log(np.maximum(z, np.float32(1e-12))) @ weights, weights.T.astype(np.float64) / at)
        )
    bounded = Jacobian(bounds=PerInput({"": Bounds(lower=np.full((), 1e-9))}))
    check(bounded, cases, 1e-3)


@pytest.mark.parametrize("method", [CENTRAL, RICHARDSON])
def test_small_derivatives_of_a_large_score(method: Jacobian) -> None:
    """One pixel of many: rounding drowns short steps."""
    rng = np.random.default_rng(2)
    weights = (2e-3 * rng.normal(size=(60, 3))).astype(np.float32)
    offset = np.array([1.0, -0.7, 0.4], np.float32)
    cases = []
    for _ in range(5):
        x = rng.random(60).astype(np.float32)
        slope = np.cos(x.astype(np.float64))[:, None] * weights
        cases.append((x, lambda z: np.sin(z) @ weights + offset, slope.T))
    check(method, cases, 1e-3)


@pytest.mark.parametrize("method", [CENTRAL, RICHARDSON])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_float64_estimates_are_not_merely_large(method: Jacobian, activation: str) -> None:
    """On raw columns, over many networks taken together."""
    estimates, errors = [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        spreads = 10 ** rng.uniform(-4, 1, size=24)
        net, x = random_net(rng, activation, np.float64, spreads)
        got = explain(method, net, x)
        assert got.values is not None
        assert got.errors is not None
        truth = net.jacobian(x)
        size = np.linalg.norm(truth)
        estimates.append(got.errors / size)
        errors.append((got.values - truth) / size)
    assert np.mean(np.abs(errors) <= np.array(estimates)) >= 0.95
    assert np.linalg.norm(estimates) <= 30 * np.linalg.norm(errors)


@pytest.mark.parametrize("scheme", ["central", "richardson"])
def test_what_no_step_resolves_is_said_to_be_unknown(scheme: str) -> None:
    """A wave shorter than the distance of neighbouring numbers of float32."""

    def f(batch: Mapping[str, Array]) -> Array:
        return np.sin(batch["x"].astype(np.float64) * 1e9) @ np.ones((4, 1))

    x = np.array([0.51, 0.62, 0.73, 0.84], np.float32)
    got = drive(Jacobian(scheme), elements_of(x=x), f)
    assert got.values is not None
    assert got.errors is not None
    assert (got.errors > 0.3 * np.abs(got.values)).all()
