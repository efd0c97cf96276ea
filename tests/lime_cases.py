"""Subjects, tables and a quick drive for the tests of LIME: what `tests.drive` does row by row, in one go."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from assayd.methods.lime import Lime
from assayd.types.arrays import Array, Floats
from assayd.types.request import Member
from assayd.types.result import Attribution, Scores
from assayd.types.rows import MaskRows, Plan, SampleRows
from assayd.types.statistics import CategoricalColumn, GaussianColumn, GaussianTable, QuartileColumn, QuartileTable
from assayd.types.subject import Segments, Subject

Model = Callable[[Array], Floats]
"""From the rows of the only input, [n, F], to scores [n, T]."""


def row(x: Array, *baselines: Array, stream: int = 0) -> Subject:
    """A table's row, every column a feature."""
    ids = np.arange(len(x), dtype=np.int32)
    given = np.array(baselines) if baselines else np.zeros((1, len(x)))
    return Subject({"x": x}, {"x": given.astype(x.dtype)}, Segments({"x": ids}, len(x)), stream=stream)


def answer(method: Lime, subject: Subject, model: Model, *, meanwhile: bool = False) -> Attribution:
    """Explain a model of one flat input whose every element is a feature. meanwhile: do what plans offer to."""
    x, baselines = subject.inputs["x"], subject.baselines["x"]
    explanation = method.explain(subject)
    plan = next(explanation)
    while True:
        if meanwhile and plan.meanwhile is not None:
            plan.meanwhile()
        try:
            plan = explanation.send(Scores(model(tensor(plan, x, baselines)), model(x[None])[0], model(baselines)))
        except StopIteration as end:
            result: Attribution = end.value
            return result


def tensor(plan: Plan, x: Array, baselines: Array) -> Array:
    """The rows of a plan, [n, F]."""
    parts = []
    for block in plan.rows(0, plan.size):
        if isinstance(block, MaskRows):
            parts.append(np.where(block.keep, x, baselines[block.baseline]))
        else:
            assert isinstance(block, SampleRows)
            parts.append(block.values["x"])
    return np.concatenate(parts)


def fit_quartile(data: Array, categorical: tuple[int, ...] = ()) -> QuartileTable:
    """The statistics that `lime` would take of the training rows; missing values are left out and counted."""
    columns = []
    for j in range(data.shape[1]):
        if j in categorical:
            continue
        there = data[~np.isnan(data[:, j]), j].astype(np.float64)
        boundaries = np.unique(np.percentile(there, [25, 50, 75]))
        bin_of = np.searchsorted(boundaries, there)
        bins = [there[bin_of == k] for k in range(len(boundaries) + 1)]
        columns.append(
            QuartileColumn(
                "",
                j,
                tuple(boundaries.tolist()),
                tuple(len(b) / len(there) for b in bins),
                tuple(float(b.mean()) if len(b) else 0.0 for b in bins),
                tuple(float(b.std()) if len(b) else 0.0 for b in bins),
                (float(there.min()), *boundaries.tolist()),
                (*boundaries.tolist(), float(there.max())),
                float(np.isnan(data[:, j]).mean()),
            )
        )
    return QuartileTable(tuple(columns), tuple(level(data, j) for j in categorical))


def fit_gaussian(data: Array, categorical: tuple[int, ...] = ()) -> GaussianTable:
    """Mean and standard deviation of the training rows."""
    columns = [
        GaussianColumn("", j, float(np.nanmean(c)), float(np.nanstd(c)), float(np.isnan(c).mean()))
        for j, c in enumerate(data.astype(np.float64).T)
        if j not in categorical
    ]
    return GaussianTable(tuple(columns), tuple(level(data, j) for j in categorical))


def level(data: Array, j: int) -> CategoricalColumn:
    """The levels of one coded column and how often they are."""
    levels, counts = np.unique(data[:, j], return_counts=True)
    return CategoricalColumn((Member("", j),), levels, tuple((counts / counts.sum()).tolist()), f"column {j}")
