"""Small networks with gradients written by hand, and how to explain them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from assayd.methods.jacobian import Jacobian
from assayd.types.arrays import Array, Floats
from assayd.types.result import Attribution
from assayd.types.subject import Segments, Subject
from tests.drive import drive

Function = Callable[[Array], Array]

ACTIVATIONS: Mapping[str, tuple[Function, Function]] = {
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "sin": (np.sin, np.cos),
    "softplus": (lambda z: np.logaddexp(z, z.dtype.type(0)), lambda z: 1 / (1 + np.exp(-z))),
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(z.dtype)),
}


@dataclass
class Net:
    """Dense layers in one dtype."""

    weights: list[Array]
    biases: list[Array]
    activation: str

    def __call__(self, batch: Mapping[str, Array]) -> Array:
        a = batch["x"]
        for layer, (w, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            a = a @ w + b
            if layer < len(self.weights) - 1:
                a = ACTIVATIONS[self.activation][0](a)
        return a

    def jacobian(self, x: Array) -> Floats:
        """[T, F] in float64: the chain rule."""
        a, j = x.astype(np.float64), np.eye(x.size)
        for layer, (w, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            z, j = a @ w.astype(np.float64) + b.astype(np.float64), j @ w.astype(np.float64)
            if layer < len(self.weights) - 1:
                a, j = ACTIVATIONS[self.activation][0](z), j * ACTIVATIONS[self.activation][1](z)
        return j.T


def random_net(
    rng: np.random.Generator,
    activation: str,
    dtype: type,
    spread: Floats | None = None,
    sizes: tuple[int, ...] = (24, 32, 4),
) -> tuple[Net, Array]:
    """A network and an instance. spread: standard deviation of each column, which the first layer undoes; else 1."""
    spread = np.ones(sizes[0]) if spread is None else spread
    weights = [1.5 * rng.normal(size=(m, n)) / np.sqrt(m) for m, n in pairwise(sizes)]
    weights[0] = weights[0] / spread[:, None]
    biases = [0.5 * rng.normal(size=n) for n in sizes[1:]]
    net = Net([w.astype(dtype) for w in weights], [b.astype(dtype) for b in biases], activation)
    return net, (spread * rng.normal(size=sizes[0])).astype(dtype)


def elements_of(**inputs: Array) -> Subject:
    """Every element of every input is a feature."""
    ids, count = {}, 0
    for name, x in inputs.items():
        ids[name] = np.arange(count, count + x.size, dtype=np.int32).reshape(x.shape)
        count += x.size
    return Subject(
        inputs,
        {name: np.zeros((1, *x.shape), x.dtype) for name, x in inputs.items()},
        Segments(ids, count),
        scale={name: np.ones(()) for name in inputs},
    )


def explain(method: Jacobian, net: Net, x: Array) -> Attribution:
    return drive(method, elements_of(x=x), net)


def off(values: Floats | None, truth: Floats) -> float:
    """Relative error: norm of the difference by norm of the truth."""
    assert values is not None
    return float(np.linalg.norm(values - truth) / np.linalg.norm(truth))
