"""A workload at hand: the service's side and the model's own, for peers to be measured against."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

import assay
from tests.bench.models import Subject
from tests.bench.raw import Raw
from tests.bench.workloads import Workload


@dataclass(eq=False)
class Case:
    """One workload on one server. baseline 0 wherever the method doesn't say another."""

    workload: Workload
    subject: Subject
    raw: Raw
    address: str
    client: assay.Client
    model: assay.Model

    @cached_property
    def x(self) -> np.ndarray:
        """The instances of a call."""
        return self.workload.instances(self.subject)

    @cached_property
    def method(self) -> Any:
        """What the call asks for."""
        return self.workload.method(self.x)

    @cached_property
    def segments(self) -> np.ndarray:
        """Features of a mask method by element, flat, of the instance's shape."""
        from tests.bench.models import segments

        features, shape = self.method.features, self.x.shape[1:]
        if isinstance(features, assay.Segments):
            return np.broadcast_to(np.asarray(features.ids), shape).ravel()
        if isinstance(features, assay.Superpixels):
            return np.broadcast_to(segments(self.x, features.n), shape).ravel()
        if isinstance(features, assay.Grid):
            rows, cols = (
                np.arange(n) * k // n for n, k in zip(shape[-2:], (features.rows, features.cols), strict=True)
            )
            return np.broadcast_to(rows[:, None] * features.cols + cols, shape).ravel()
        if isinstance(features, assay.Groups):
            ids = np.full(shape, -1)
            for k, group in enumerate(features.groups):
                ids[list(group.members)] = k
            return ids.ravel()
        return np.arange(int(np.prod(shape)))

    @cached_property
    def target(self) -> Any:
        """The score explained, as the service is asked for it."""
        index, output = self.workload.target, self.subject.output
        return assay.Target(output=output, index=index) if output and index is not None else index

    def explain(self, method: Any = None, x: np.ndarray | None = None, **settings: Any) -> assay.Explanation:
        """The call, or the same of another method or of other instances."""
        return self.client.explain(
            self.model,
            self.x if x is None else x,
            method or self.method,
            self.target,
            layout=self.subject.layout,
            timeout=900,
            **settings,
        )

    @cached_property
    def answer(self) -> assay.Explanation:
        """What the call answers, with its rows where it has any."""
        return self.explain(return_rows=isinstance(self.method, assay.Lime))

    def score(self, rows: np.ndarray) -> np.ndarray:
        """The target's score of rows [n, *input], by the raw model, in its batches: [n]."""
        return self.outputs(rows)[:, self.workload.target]

    def outputs(self, rows: np.ndarray) -> np.ndarray:
        """All outputs of rows, flat: [n, outputs]."""
        size = self.raw.batch
        return np.concatenate([self.raw.model(rows[n : n + size]) for n in range(0, len(rows), size)])
