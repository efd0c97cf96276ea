"""What the reader of an instance's numbers should know."""

from __future__ import annotations

import numpy as np

from assayd.explain.outcome import Notice
from assayd.types.result import Attribution
from assayd.types.subject import Subject

_LOW_FIT = 0.2


def doubts(attribution: Attribution, *, differential: bool, clipped: bool) -> list[Notice]:
    """What the numbers themselves say against being relied on."""
    found = []
    if clipped:
        text = "a probability of 0 or 1 was clipped before its log or logit: the size of these numbers is a convention"
        found.append(Notice("SCALE_CLIPPED", text))
    if attribution.r_squared is not None and (fit := float(attribution.r_squared.min())) < _LOW_FIT:
        text = f"the surrogate explains {fit:.0%} of the scores' variance: its coefficients say little"
        found.append(Notice("LOW_FIT", text))
    if differential and attribution.values is not None and not attribution.values.any():
        text = "every derivative is 0: the model is flat here, or saturated, or made of steps like a tree"
        found.append(Notice("ZERO_JACOBIAN", text))
    return found


def about_subject(subject: Subject) -> list[Notice]:
    """What can be said of an instance before it is explained."""
    same = []
    for name, baselines in subject.baselines.items():
        x = subject.inputs[name]
        if any(np.array_equal(b, x, equal_nan=np.issubdtype(x.dtype, np.floating)) for b in baselines):
            same.append(name)
    if not same:
        return []
    return [Notice("BASELINE_EQUALS_INPUT", f"the baseline of {', '.join(same)} equals the input itself")]
