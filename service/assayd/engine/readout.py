"""Outputs to scores."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from assayd.engine.backend import Readout, Whole
from assayd.errors import ModelUnfit
from assayd.types.arrays import Array, Floats
from assayd.types.model import Signature
from assayd.types.rows import Pick


def read_out(readout: Readout, outputs: Mapping[str, Array]) -> Floats | dict[str, Array]:
    """Take what a chunk wants: float64 [rows, T], or copies of outputs. outputs: by name [rows, *output]."""
    if isinstance(readout, Whole):
        return {name: outputs[name].copy() for name in readout.outputs or outputs}
    return np.concatenate([_pick(pick, outputs[pick.output]) for pick in readout], axis=1)


def _pick(pick: Pick, output: Array) -> Floats:
    flat = output.reshape(len(output), -1)
    last = -1 if pick.indices is None else int(np.max(pick.indices, initial=-1))
    needed = flat.shape[1] if pick.weights is None or pick.indices is not None else len(pick.weights)
    if last >= flat.shape[1] or needed != flat.shape[1]:
        # Some models answer more for one row than for another.
        raise ModelUnfit(
            f"output {pick.output!r} has {flat.shape[1]} values for a perturbed row, too few for the target that was "
            "chosen by another row: its extents go by the input's values, so it can't be explained"
        )
    chosen = flat if pick.indices is None else flat[:, pick.indices]
    values = scaled(chosen, pick.scale)
    return values if pick.weights is None else (values @ pick.weights)[:, None]


def scaled(values: Array, scale: str) -> Floats:
    """Apply a target's scale; float64 of the same shape.

    log and logit want probabilities. They are taken no nearer to 0 than the smallest normal number of the
    output's dtype and no nearer to 1 than half its resolution, so a saturated output stays finite and all others are
    what they are. Raises ModelUnfit where a value isn't a probability; what a forest's sum of votes exceeds 0 or 1 by
    is rounding.
    """
    p = values.astype(np.float64)
    if scale == "raw":
        return p
    kind = _resolution(values.dtype)
    rounding = float(kind.eps) ** 0.5
    if np.any((p < -rounding) | (p > 1 + rounding)):
        raise ModelUnfit(
            f"scale {scale} needs a probability, and the output has {float(p.min()):g} … {float(p.max()):g}"
        )
    p = np.clip(p, float(kind.tiny), 1 - float(kind.eps) / 2 if scale == "logit" else 1.0)
    return np.log(p) if scale == "log" else np.log(p) - np.log1p(-p)


def clipped(picks: tuple[Pick, ...], signature: Signature, scores: Floats) -> bool:
    """Whether some probability was clipped before its log or logit. scores: [n, T], a target each, as they were read.

    A weighted sum shows it where all but one of its weights are 0; of more it doesn't say.
    """
    if all(pick.scale == "raw" for pick in picks):
        return False
    for pick, column in zip(picks, scores.T, strict=True):
        weights = np.ones(1) if pick.weights is None else pick.weights[pick.weights != 0]
        if pick.scale != "raw" and len(weights) == 1:
            edges = np.array([0] if pick.scale == "log" else [0, 1], signature.output(pick.output).dtype)
            if np.isin(column, weights * scaled(edges, pick.scale)).any():
                return True
    return False


def _resolution(dtype: np.dtype[np.generic]) -> np.finfo[np.float64]:
    """Of an output; integers count as float64."""
    return np.finfo(dtype if np.issubdtype(dtype, np.floating) else np.float64)  # type: ignore[arg-type]
