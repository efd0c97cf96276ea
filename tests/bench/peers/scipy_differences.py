"""scipy's finite differences around the same onnxruntime callable.

`approx_derivative`, the heart of its optimisers' numerical Jacobians, calls the function once a step;
`scipy.differentiate.jacobian` calls it on arrays of points.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from tests.bench.case import Case
from tests.bench.peers.numpy_loop import jacobian_of
from tests.bench.peers.peer import Peer


def peers(case: Case) -> Iterable[Peer]:
    """One call at a time, and batched."""
    from scipy.differentiate import jacobian
    from scipy.optimize._numdiff import approx_derivative

    step = float(case.method.step)
    held: dict[str, np.ndarray] = {}

    def single() -> None:
        def one(x: np.ndarray, along: Callable[[np.ndarray], np.ndarray], t: np.ndarray) -> np.ndarray:
            return approx_derivative(lambda v: case.raw.model(along(v[None]))[0], t, method="3-point", abs_step=step)

        held["found"] = np.stack([one(x, *_along(case, x)) for x in case.x])

    def batched() -> None:
        found = []
        for x in case.x:
            along, t = _along(case, x)

            def many(points: np.ndarray, along: Callable[[np.ndarray], np.ndarray] = along) -> np.ndarray:
                rows = points.reshape(len(points), -1).T
                return case.outputs(along(rows)).T.reshape(-1, *points.shape[1:])

            answer = jacobian(many, t, initial_step=step, order=2, maxiter=1)
            found.append(answer.df)
        held["found"] = np.stack(found)

    def check() -> tuple[np.ndarray, np.ndarray]:
        return held["found"], jacobian_of(case)

    yield Peer("one call at a time", single, check, tolerance=2e-2, note="approx_derivative, 3-point")
    yield Peer("batched", batched, check, tolerance=2e-2, note="differentiate.jacobian, order 2, one iteration")


def _along(case: Case, x: np.ndarray) -> tuple[Callable[[np.ndarray], np.ndarray], np.ndarray]:
    """From points [n, F] to rows, and the point where the derivative is taken.

    A grid's cell moves all its elements; a table's columns are themselves.
    """
    if x.ndim == 1:
        return lambda t: t.astype(np.float32), x.astype(np.float64)
    ids = case.segments.reshape(x.shape)
    return lambda t: x + t.astype(np.float32)[:, ids], np.zeros(int(ids.max()) + 1)
