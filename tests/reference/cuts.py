"""LIME whose budget ends: plans that are answered by their first rows alone."""

from __future__ import annotations

import numpy as np

from assayd.methods.lime import Lime
from assayd.types.arrays import Array
from assayd.types.result import Attribution, Scores
from assayd.types.rows import Plan
from assayd.types.subject import Subject
from tests.lime_cases import Model, tensor


def cut(method: Lime, subject: Subject, model: Model, rows: int | None = None, *, after: int = 0) -> Attribution:
    """Answer `after` plans, and of the next the first `rows`; None: the least."""
    x, baselines = subject.inputs["x"], subject.baselines["x"]
    explanation = method.explain(subject)
    plan: Plan = next(explanation)
    at_x, at_baselines = model(x[None])[0], model(baselines)
    for _ in range(after):
        plan = explanation.send(Scores(model(tensor(plan, x, baselines)), at_x, at_baselines))
    assert plan.least is not None
    kept = model(tensor(plan, x, baselines))[: plan.least if rows is None else rows]
    try:
        explanation.send(Scores(kept, at_x, at_baselines))
    except StopIteration as end:
        result: Attribution = end.value
        return result
    raise AssertionError("nothing more is asked for once a budget has ended")


def square(rows: Array) -> Array:
    """Two scores that come out in the same bits whatever the number of rows."""
    weighted = rows * np.linspace(-0.5, 1, rows.shape[1])
    total = np.where(np.isnan(weighted), 0.75, weighted).sum(axis=1)
    return np.stack([total * total - total, total], axis=1)
