"""What is looked at before scores are believed: rows alone against the same in a batch, and that all are finite."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from assayd.engine.readout import read_out
from assayd.errors import ModelNotFinite, NotFinite
from assayd.types.arrays import Array, Floats
from assayd.types.model import Signature
from assayd.types.rows import Pick
from assayd.types.subject import Subject

_BATCH_TOLERANCE = 1e-5
_HALF_BATCH_TOLERANCE = 2.0**-9
_GPU_BATCH_TOLERANCE = 1e-3
"""cuDNN picks a convolution's algorithm by the size of the batch; Winograd's differs from the others by 1e-5 to 1e-4.
That no rows interact in the graph was proven on the CPU, more sharply; what is looked for here shows itself by more.
"""
_SCALED_TOLERANCE = 1e-2


class RowsInteract(Exception):
    """x or its baseline scores otherwise alone: the model must run row by row. Never leaves this package.

    rows: those that were planned in vain.
    """

    def __init__(self, difference: float, rows: int) -> None:
        self.reason = f"rows interact: x or its baseline scores otherwise alone, by {difference:.2g} of max|f|"
        self.rows = rows
        super().__init__(self.reason)


def alone_difference(alone: Mapping[str, Array], picks: tuple[Pick, ...], in_batch: Floats) -> float:
    """The largest |f alone - f in a batch| as a share of max|f|.

    alone: outputs of the rows that were run alone, by name [n, *output]. in_batch: [at least n, T], their scores first.
    """
    by_itself = read_out(picks, alone)
    if not isinstance(by_itself, np.ndarray):
        raise TypeError("picks read scores")
    apart = np.abs(by_itself - in_batch[: len(by_itself)])
    differ = apart > 0  # not where either is NaN
    if not differ.any():
        return 0.0
    tops: list[float] = []
    for pick in picks:
        raw = alone[pick.output]
        weight = 1.0 if pick.weights is None else float(np.abs(pick.weights).sum())
        top = float(np.abs(raw.astype(np.float64)).max(initial=0.0)) * weight
        columns = 1 if pick.weights is not None else raw[0].size if pick.indices is None else len(pick.indices)
        tops.extend([top] * columns)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = (apart / np.maximum(tops, np.abs(by_itself)))[differ]
    return float(np.nan_to_num(share, nan=0.0).max())


def allowed_difference(
    picks: tuple[Pick, ...], signature: Signature, *, on_gpu: bool = False, precision_error: float = 0.0
) -> float:
    """What rounding alone may do to a score. A log or logit magnifies it where a probability is saturated.

    on_gpu: the rows ran there. precision_error: by how much the precision that they ran in was seen to change outputs:
    batches of different sizes may differ by as much.
    """
    if any(p.scale != "raw" for p in picks):
        return _SCALED_TOLERANCE
    half = any(signature.output(p.output).dtype == np.float16 for p in picks)
    rounding = _HALF_BATCH_TOLERANCE if half else _BATCH_TOLERANCE
    return max(rounding, _GPU_BATCH_TOLERANCE if on_gpu else 0.0, 2 * precision_error)


def check_finite(
    subject: Subject, method: str, x: Floats, baselines: Floats, rows: Floats, *, draws_missing: bool = False
) -> None:
    """Raises ModelNotFinite or NotFinite. x: [T]; baselines: [K, T]; rows: [n, T]. draws_missing: some of the rows hold
    NaN, as training rows did.
    """
    if not np.isfinite(x).all():
        for name, given in subject.inputs.items():
            if (place := _first_not_finite(given)) is not None:
                raise NotFinite(
                    f"f(x) isn't finite: {name!r} holds {given[place]} at {list(map(int, place))}, "
                    "and the model passes it on",
                    field=f"inputs[{name}]",
                )
        raise ModelNotFinite("the model answers NaN or infinity for this ordinary input")
    if not np.isfinite(baselines).all():
        raise NotFinite("f(baseline) isn't finite: choose another baseline", field=f"{method}.baseline")
    if not np.isfinite(rows).all():
        count = int((~np.isfinite(rows)).any(axis=1).sum())
        why = ": the table has missing values, which are drawn as NaN" if draws_missing else ""
        raise ModelNotFinite(f"the model answers NaN or infinity for {count} of {len(rows)} perturbed rows{why}")


def _first_not_finite(x: Array) -> tuple[np.intp, ...] | None:
    """Its place, where there is one."""
    if not np.issubdtype(x.dtype, np.floating) or (finite := np.isfinite(x)).all():
        return None
    return np.unravel_index(int(np.argmin(finite)), x.shape)
