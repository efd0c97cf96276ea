"""Scores of masks that the caller made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from assayd.errors import InvalidRequest, InvalidTensor
from assayd.types.arrays import Array
from assayd.types.method import Explanation
from assayd.types.request import BaselineSpec, FeatureSpec, PerInput
from assayd.types.result import Attribution
from assayd.types.rows import MaskRows, Plan
from assayd.types.subject import Segments, Subject


@dataclass(frozen=True, eq=False)
class Rows:
    """The score of each given mask, averaged over the baselines.

    keep: [n, F] bool, float32 or float64 in 0..1. 1 keeps a feature, 0 takes its baseline, a value between blends the
    two, for which both must be finite floating-point numbers.

    Row r is mask r // K at baseline r % K. Cost: n * K rows. Attribution: row_scores [T, n] alone.
    """

    keep: Array
    features: FeatureSpec | None = None
    baseline: PerInput[BaselineSpec] = field(default_factory=PerInput)

    revision: ClassVar[int] = 1

    def explain(self, subject: Subject) -> Explanation:
        """Yield one plan and average its scores.

        Raises `InvalidRequest` (features) without features; `InvalidTensor` (keep) for a wrong dtype or shape;
        `InvalidRequest` (keep) for values outside 0..1 and for a blend of what can't be blended.
        """
        if subject.segments is None:
            raise InvalidRequest("say by features what the columns of keep mean", field="features")
        keep = _checked(self.keep, subject, subject.segments)
        baselines = subject.baseline_count

        def rows(a: int, b: int) -> Sequence[MaskRows]:
            row = np.arange(a, b)
            return [MaskRows(keep[row // baselines], (row % baselines).astype(np.int32))]

        scores = yield Plan(len(keep) * baselines, rows)
        return Attribution(row_scores=scores.rows.reshape(len(keep), baselines, -1).mean(axis=1).T)


def _checked(keep: Array, subject: Subject, segments: Segments) -> Array:
    """The masks, as bool where they only select."""
    if keep.dtype not in (np.bool_, np.float32, np.float64):
        raise InvalidTensor(f"keep is {keep.dtype}, not bool, float32 or float64", field="keep")
    if keep.ndim != 2 or not len(keep) or keep.shape[1] != segments.count:
        raise InvalidTensor(
            f"keep has shape {list(keep.shape)}, not [n, {segments.count}] with n of at least 1: one column a feature",
            field="keep",
        )
    if keep.dtype == np.bool_:
        return keep
    if not ((keep >= 0) & (keep <= 1)).all():  # NaN is neither
        raise InvalidRequest("the values of keep lie between 0 and 1", field="keep")
    blended = ((keep != 0) & (keep != 1)).any(axis=0)
    if not blended.any():
        return keep.astype(np.bool_)
    for name, ids in segments.ids.items():
        _check_blend(name, blended, np.broadcast_to(ids, subject.inputs[name].shape), subject)
    return keep


def _check_blend(name: str, blended: Array, ids: Array, subject: Subject) -> None:
    """Refuse to blend elements of `name` that are no finite floating-point numbers. blended: bool [F]."""
    x, baselines = subject.inputs[name], subject.baselines[name]
    touched = np.append(blended, False)[ids]  # id -1 takes the last
    if not touched.any():
        return
    if x.dtype.kind != "f":
        raise InvalidRequest(
            f"keep blends elements of input {name!r}, which is no floating-point input: use 0 or 1 there", field="keep"
        )
    if not (np.isfinite(x[touched]).all() and np.isfinite(baselines[:, touched]).all()):
        raise InvalidRequest(
            f"keep blends elements that are NaN or infinite in input {name!r} or its baseline: use 0 or 1 there",
            field="keep",
        )
