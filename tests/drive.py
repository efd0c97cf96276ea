"""Drives a method with any Python function, in place of a model, a scheduler and an engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from assayd.types.arrays import Array, Floats
from assayd.types.method import Method
from assayd.types.result import Attribution, Scores
from assayd.types.rows import PlainRows, Plan
from assayd.types.subject import Subject
from tests.slow_realise import slow_realise

Score = Callable[[Mapping[str, Array]], Array]
"""From inputs [n, *input] to scores [n, T]."""


def drive(method: Method, subject: Subject, f: Score, chunk: int = 7) -> Attribution:
    """Explain `f` at the subject, asking for `chunk` rows at a time, as a scheduler would: by bounds of its own."""
    [x] = _scores(f(slow_realise(subject, [PlainRows(np.array([-1], np.int32))])))
    numbers = np.arange(subject.baseline_count, dtype=np.int32)
    baselines = _scores(f(slow_realise(subject, [PlainRows(numbers)])))
    explanation = method.explain(subject)
    plan = next(explanation)
    while True:
        try:
            plan = explanation.send(Scores(_run(plan, subject, f, chunk), x, baselines))
        except StopIteration as end:
            result: Attribution = end.value
            return result


def _run(plan: Plan, subject: Subject, f: Score, chunk: int) -> Floats:
    parts = []
    for a in range(0, plan.size, chunk):
        b = min(a + chunk, plan.size)
        blocks = plan.rows(a, b)
        assert sum(map(len, blocks)) == b - a, "a plan makes as many rows as were asked for"
        parts.append(_scores(f(slow_realise(subject, blocks))))
    return np.concatenate(parts)


def _scores(scores: Array) -> Floats:
    assert scores.ndim == 2, "a score function returns [n, T]"
    return scores.astype(np.float64)
