"""What the reader of an instance's numbers should know."""

from __future__ import annotations

import numpy as np

from assayd.explain.outcome import Notice
from assayd.types.arrays import Array
from assayd.types.result import Attribution
from assayd.types.subject import Subject

_LOW_FIT = 0.2
_ROWS_PER_COEFFICIENT = 5


def doubts(
    attribution: Attribution, *, differential: bool, clipped: bool, until_error: float | None = None
) -> list[Notice]:
    """What the numbers themselves say against being relied on. until_error: the error that was asked for."""
    found = []
    if clipped:
        text = "a probability of 0 or 1 was clipped before its log or logit: the size of these numbers is a convention"
        found.append(Notice("SCALE_CLIPPED", text))
    found += [Notice("LOW_FIT", text) for text in _misfits(attribution)]
    if differential and attribution.values is not None and not (slopes := attribution.values.any(axis=1)).all():
        flat = np.logical_not(slopes)
        of = "" if flat.all() else f" of {int(flat.sum())} of {len(flat)} outputs' elements"
        text = f"every derivative{of} is 0: the model is flat here, or saturated, or made of steps like a tree"
        found.append(Notice("ZERO_JACOBIAN", text))
    if until_error is not None and attribution.errors is not None and (e := attribution.errors.max()) >= until_error:
        text = f"the largest error is {e:.2g}, above the {until_error:g} that was asked for"
        found.append(Notice("ERROR_NOT_REACHED", f"{text}: more num_samples would lower it"))
    return found


def _misfits(attribution: Attribution) -> list[str]:
    """What speaks against a surrogate."""
    fits, rows = attribution.r_squared, attribution.effective_rows
    if fits is None:
        return []
    if rows == 0:
        text = (
            "the rows that weigh anything don't differ in any feature: there is nothing to fit, and values of 0 say"
            " nothing; a wider kernel, or samples or statistics that vary, would give it rows"
        )
        return [text]
    found = []
    if (same := int(np.isnan(fits).sum())) > 0:
        where = "" if same == len(fits) else f" for {same} of {len(fits)} targets"
        found.append(
            f"every row that weighs anything scores the same{where}: there is nothing to fit; unless the model is"
            " constant, a wider kernel reaches rows that differ"
        )
    coefficients = 1 if attribution.values is None else 1 + attribution.values.shape[1]
    if rows is not None and rows < _ROWS_PER_COEFFICIENT * coefficients:
        found.append(
            f"weighed by the kernel all rows count as about {rows:.0f}, few for {coefficients} coefficients: the"
            " penalty may hold these near 0, and errors may be too small; a wider kernel or more samples help"
        )
    if (known := fits[~np.isnan(fits)]).size and (fit := float(known.min())) < _LOW_FIT:
        found.append(f"the surrogate explains {fit:.0%} of the scores' variance: its coefficients say little")
    return found


def about_subject(subject: Subject) -> list[Notice]:
    """What can be said of an instance before it is explained."""
    same = [
        name
        for name, baselines in subject.baselines.items()
        if any(_equal(baselines[k, ...], subject.inputs[name]) for k in range(len(baselines)))
        # else no feature touches it
        and (subject.segments is None or (subject.segments.ids[name] >= 0).any())
    ]
    if not same:
        return []
    return [Notice("BASELINE_EQUALS_INPUT", f"the baseline of {', '.join(same)} equals the input itself")]


def _equal(a: Array, b: Array) -> bool:
    """NaN is NaN."""
    first, of_other = a.item(0), b.item(0)
    if first != of_other and first == first:  # noqa: PLR0124 - mostly that says it
        return False
    return np.array_equal(a, b, equal_nan=np.issubdtype(b.dtype, np.floating))
