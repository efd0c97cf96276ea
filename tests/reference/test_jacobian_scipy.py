"""scipy's `approx_derivative` at the same steps."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize._numdiff import approx_derivative

from assayd.methods.jacobian import Jacobian
from assayd.types.arrays import Array
from assayd.types.request import Bounds, PerInput
from tests.drive import drive
from tests.reference.networks import elements_of, random_net

METHODS = {"forward": "2-point", "central": "3-point"}


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("scheme", METHODS)
@pytest.mark.parametrize("step", [1e-5, 1e-3, 0.1])
@pytest.mark.parametrize("estimate", [True, False])
def test_absolute_steps(seed: int, scheme: str, step: float, estimate: bool) -> None:
    net, x = random_net(np.random.default_rng(seed), "tanh", np.float64)
    got = drive(Jacobian(scheme, step=PerInput({"x": step}), error_estimate=estimate), elements_of(x=x), net)
    want = approx_derivative(lambda v: net({"x": v[None]})[0], x, method=METHODS[scheme], abs_step=step)
    np.testing.assert_allclose(got.values, want, rtol=0, atol=1e-15 / step * 20)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("scheme", METHODS)
def test_relative_steps(seed: int, scheme: str) -> None:
    net, x = random_net(np.random.default_rng(seed), "tanh", np.float64)
    scale = PerInput[Array]({"": np.abs(x)})
    got = drive(Jacobian(scheme, rel_step=PerInput({"": 1e-3}), scale=scale), elements_of(x=x), net)
    signs = np.where(x >= 0, 1, -1)  # scipy steps away from 0
    want = approx_derivative(lambda v: net({"x": v[None]})[0], x, method=METHODS[scheme], rel_step=1e-3)
    here = signs > 0 if scheme == "forward" else np.ones(x.size, bool)
    np.testing.assert_allclose(got.values[:, here], want[:, here], rtol=0, atol=1e-15 / (1e-3 * np.abs(x).min()) * 20)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("scheme", METHODS)
def test_near_bounds(seed: int, scheme: str) -> None:
    rng = np.random.default_rng(seed)
    net, x = random_net(rng, "tanh", np.float64)
    lower, upper = x - rng.choice([0, 1e-4, 1], size=x.size), x + 1
    got = drive(
        Jacobian(scheme, step=PerInput({"": 1e-2}), bounds=PerInput({"": Bounds(lower, upper)})), elements_of(x=x), net
    )
    want = approx_derivative(
        lambda v: net({"x": v[None]})[0], x, method=METHODS[scheme], abs_step=1e-2, bounds=(lower, upper)
    )
    np.testing.assert_allclose(got.values, want, rtol=0, atol=1e-11)
