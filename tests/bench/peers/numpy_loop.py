"""The hardest peer: what somebody writes who needs just this one number, batches made by numpy and run by onnxruntime.

It has the best batch size and threads of the sweep, reuses its buffers, and does nothing that the answer doesn't need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from scipy.special import ndtr, ndtri

import assay
from tests.bench.case import Case
from tests.bench.peers.linear import cosine_weights, euclidean_weights, ridge
from tests.bench.peers.peer import Peer

Fill = Callable[[np.ndarray, int, int], None]
"""Writes rows a..b of an instance into the front of a buffer."""


def peers(case: Case) -> Iterable[Peer]:
    """One setting, the best known."""
    method, note = case.method, f"batch {case.raw.batch}, {case.raw.model.threads} threads"
    held: dict[str, np.ndarray] = {}
    if isinstance(method, assay.Occlusion):
        explain = _occlude if method.features is None else _ablate

        def run() -> None:
            held["found"] = np.stack([explain(case, x) for x in case.x])

        yield Peer("batches", run, lambda: (held["found"], case.answer.feature_values), note=note)
    elif isinstance(method, assay.Jacobian):

        def run() -> None:
            held["found"] = np.stack([_differences(case, x) for x in case.x])

        yield Peer("batches", run, lambda: (held["found"], jacobian_of(case)), tolerance=1e-2, note=note)
    elif isinstance(method, assay.Rows):

        def run() -> None:
            held["found"] = _rows(case)

        yield Peer("batches", run, lambda: (held["found"], case.answer.rows[0].scores), note=note)
    elif method.sampling is None:

        def run() -> None:
            held["found"], held["keep"] = _lime_masks(case)

        def check() -> tuple[np.ndarray, np.ndarray]:
            return held["found"], lime_of(case, held["keep"])

        yield Peer("batches", run, check, note=note)
    else:

        def run() -> None:
            held["found"], held["rows"] = _lime_table(case)

        def check() -> tuple[np.ndarray, np.ndarray]:
            return held["found"], lime_of(case, held["rows"])

        yield Peer("batches", run, check, note=note)


def lime_of(case: Case, samples: np.ndarray) -> np.ndarray:
    """The service's coefficients [F] on rows that a peer drew: masks, or rows of a table."""
    method = case.method
    features = method.features
    if isinstance(features, assay.Superpixels):
        features = assay.Segments(case.segments.reshape(case.x.shape[1:])[:1].astype(np.int32))
    same = assay.Lime(features=features, sampling=method.sampling, samples=samples)
    return np.asarray(case.explain(same).feature_values)[0]


def jacobian_of(case: Case) -> np.ndarray:
    """The service's Jacobian [B, outputs, F]."""
    (blocks,) = case.answer.jacobian.values()
    (values,) = blocks.values()
    return np.asarray(values).reshape(len(case.x), -1, int(case.segments.max()) + 1)


def scored(case: Case, count: int, fill: Fill, columns: slice | int) -> np.ndarray:
    """Outputs of rows that `fill` writes into a reused buffer."""
    size, model = case.raw.batch, case.raw.model
    buffer = np.empty((size, *case.x.shape[1:]), case.x.dtype)
    found = []
    for a in range(0, count, size):
        b = min(count, a + size)
        fill(buffer, a, b)
        found.append(model(buffer[: b - a])[:, columns])
    return np.concatenate(found)


def _occlude(case: Case, x: np.ndarray) -> np.ndarray:
    (h, w), (down, across) = case.method.window, case.method.stride
    corners = [
        (top, left)
        for top in range(0, _last(x.shape[-2], h, down) + 1, down)
        for left in range(0, _last(x.shape[-1], w, across) + 1, across)
    ]

    def fill(buffer: np.ndarray, a: int, b: int) -> None:
        buffer[: b - a] = x
        for row, (top, left) in zip(buffer, corners[a:b], strict=False):
            row[:, top : top + h, left : left + w] = 0

    return case.score(x[None]) - scored(case, len(corners), fill, case.workload.target)


def _last(extent: int, window: int, stride: int) -> int:
    """Where the last window begins: the first that reaches the border."""
    return -(-max(0, extent - window) // stride) * stride


def _masked(case: Case, x: np.ndarray, keep: np.ndarray, baseline: np.ndarray | float = 0.0) -> np.ndarray:
    """The target's scores of x under masks [n, F]."""
    flat, ids = x.ravel(), case.segments
    plane = x.shape[-2] * x.shape[-1] if x.ndim == 3 else x.size  # channels go together
    x_planes, ids = flat.reshape(-1, plane), ids[:plane]
    base = np.broadcast_to(baseline, x.shape).reshape(-1, plane)

    def fill(buffer: np.ndarray, a: int, b: int) -> None:
        kept = np.take(keep[a:b], ids, axis=1)[:, None, :]
        out = buffer[: b - a].reshape(b - a, -1, plane)
        np.copyto(out, base)
        np.copyto(out, x_planes, where=kept)

    return scored(case, len(keep), fill, case.workload.target)


def _ablate(case: Case, x: np.ndarray) -> np.ndarray:
    count = int(case.segments.max()) + 1
    return case.score(x[None]) - _masked(case, x, ~np.eye(count, dtype=bool))


def _rows(case: Case) -> np.ndarray:
    """The mean over baselines of the masks' scores."""
    method, x = case.method, case.x[0]
    several = np.ndim(method.baseline) > 1
    found = [_masked(case, x, method.keep, base) for base in (method.baseline if several else [0.0])]
    return np.mean(found, axis=0)


def _lime_masks(case: Case) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(case.method.features, assay.Superpixels):
        case.__dict__.pop("segments", None)  # cut anew, as for an image that nobody has seen
    count = int(case.segments.max()) + 1
    keep = np.random.default_rng(0).random((case.method.num_samples, count)) < 0.5
    keep[0] = True
    return ridge(keep.astype(np.float64), _masked(case, case.x[0], keep), cosine_weights(keep)), keep


def _lime_table(case: Case) -> tuple[np.ndarray, np.ndarray]:
    x, table, n = case.x[0], case.method.sampling, case.method.num_samples
    random = np.random.default_rng(0)
    if isinstance(table, assay.GaussianTable):
        mean, std = (np.array([getattr(c, part) for c in table.columns]) for part in ("mean", "std"))
        rows = (mean + std * random.standard_normal((n, len(x)))).astype(np.float32)
        rows[0] = x
        z = (rows - mean) / std
    else:
        z, rows = np.ones((n, len(x))), np.empty((n, len(x)), np.float32)
        for j, column in enumerate(table.columns):
            edges = [np.array(part) for part in (column.means, column.stds, column.mins, column.maxs)]
            bins = random.choice(len(column.frequencies), n, p=column.frequencies)
            mean, std, low, high = (edge[bins] for edge in edges)
            a, b = ndtr((low - mean) / std), ndtr((high - mean) / std)
            rows[:, j] = mean + std * ndtri(a + (b - a) * random.random(n))
            own = np.searchsorted(column.boundaries, x[j])
            z[:, j] = np.searchsorted(column.boundaries, rows[:, j]) == own
        rows[0], z[0] = x, 1
    return ridge(z, case.score(rows), euclidean_weights(z)), rows


def _differences(case: Case, x: np.ndarray) -> np.ndarray:
    """Central differences, [outputs, F]."""
    ids, step = case.segments.reshape(x.shape), np.float32(case.method.step)
    count = int(ids.max()) + 1

    def fill(buffer: np.ndarray, a: int, b: int) -> None:
        for row, n in zip(buffer, range(a, b), strict=False):
            np.copyto(row, x)
            np.add(row, step if n % 2 == 0 else -step, out=row, where=ids == n // 2)

    found = scored(case, 2 * count, fill, slice(None))
    return ((found[::2] - found[1::2]) / (2 * step)).T
