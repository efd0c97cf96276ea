"""A session together with its buffers: rows in, outputs by row out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from assayd.engine.onnxruntime_session import Session
from assayd.engine.traces import Traces
from assayd.errors import ModelFailed
from assayd.types.arrays import Array
from assayd.types.model import Signature, TensorSignature


@dataclass(frozen=True, eq=False)
class Program:
    """A session whose batch axis is free, or fixed (then each row is repeated to fill it).

    `batched` says whether one run may carry several rows.
    """

    session: Session
    signature: Signature
    batched: bool

    def buffers(self, shapes: Mapping[str, tuple[int, ...]], capacity: int) -> Buffers:
        """Input buffers for up to `capacity` rows; shapes: by input, of one instance."""
        return Buffers(self.signature, shapes, capacity if self.batched else 1, self.batched)

    def run(self, buffers: Buffers, rows: int, at_once: int | None = None) -> dict[str, Array]:
        """Run the first rows of the buffers; by output name [rows, *output]. at_once: most rows of one run of the
        session, for inputs whose batch axis is the first. Raises ModelFailed, OutOfMemory.
        """
        buffers.repeat()
        step = at_once or rows
        parts = [self._run(buffers, start, min(step, rows - start)) for start in range(0, rows, step)]
        return parts[0] if len(parts) == 1 else {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}

    def _run(self, buffers: Buffers, start: int, rows: int) -> dict[str, Array]:
        results = self.session.run(buffers.feeds(rows, start))
        return {s.name: self.by_row(s, results[s.name], rows) for s in self.signature.outputs}

    def by_row(self, signature: TensorSignature, value: Array, rows: int) -> Array:
        """An output as the session gave it for so many rows, as [rows, *output]. Raises ModelFailed."""
        axis, rank = signature.batch_axis, None if signature.shape is None else len(signature.shape)
        if self.batched:
            if rows == 1 and value.ndim == rank:  # the model squeezes a batch of one away
                return value[None]
            if axis is None or value.ndim <= axis or value.shape[axis] != rows:
                raise ModelFailed(f"output {signature.name!r} has shape {list(value.shape)} for {rows} rows")
            return _ahead(value, axis)
        # One row was run, in a batch of `batch_extent` copies where the file fixes one: any copy will do.
        if axis is not None and value.ndim > axis and value.shape[axis] == (signature.batch_extent or 1):
            return np.moveaxis(value, axis, 0)[:1]
        return value[None]


def _ahead(value: Array, axis: int) -> Array:
    """With the batch axis first; moving it there takes longer than a small model, also where it is there."""
    return value if axis == 0 else np.moveaxis(value, axis, 0)


class Buffers:
    """Input tensors that are reused from batch to batch, so that no run pays for fresh pages. traces: what their rows
    hold, where these keep their places.
    """

    def __init__(
        self, signature: Signature, shapes: Mapping[str, tuple[int, ...]], capacity: int, batched: bool
    ) -> None:
        self._tensors: dict[str, tuple[Array, tuple[int, ...], int | None]] = {}
        self._batched = batched
        self._fixed: dict[str, int] = {}
        for s in signature.inputs:
            fixed = 1 if s.batch_axis is None else (s.batch_extent or 1)
            rows = capacity if batched else fixed
            self._fixed[s.name] = fixed
            flat: Array = np.empty(rows * math.prod(shapes[s.name]), s.dtype)
            self._tensors[s.name] = (flat, shapes[s.name], s.batch_axis)
        # Elsewhere a row's place depends on how many rows there are.
        self.traces = Traces() if all(s.batch_axis == 0 for s in signature.inputs) else None

    def feeds(self, rows: int, start: int = 0) -> dict[str, Array]:
        """What the session reads: by input, contiguous, in the model's own axis order. start: the first row, not 0 only
        where the batch axis is the first.
        """
        feeds = {}
        for name, (flat, shape, axis) in self._tensors.items():
            n = rows if self._batched else self._fixed[name]
            full = shape if axis is None else (*shape[:axis], n, *shape[axis:])
            size = math.prod(shape)
            feeds[name] = flat[start * size : (start + n) * size].reshape(full)
        return feeds

    def views(self, rows: int) -> dict[str, Array]:
        """Where rows are written: by input [rows, *input]."""
        views = {}
        for name, tensor in self.feeds(rows).items():
            axis = self._tensors[name][2]
            views[name] = (tensor[None] if axis is None else _ahead(tensor, axis))[:rows]
        return views

    def repeat(self) -> None:
        """Fill the rest of a batch that the model file fixes with copies of its only row."""
        if self._batched:
            return
        for name, tensor in self.feeds(1).items():
            axis = self._tensors[name][2]
            if axis is not None and self._fixed[name] > 1:
                ahead = np.moveaxis(tensor, axis, 0)
                ahead[1:] = ahead[:1]
