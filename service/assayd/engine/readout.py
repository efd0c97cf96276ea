"""Outputs to scores."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from assayd.engine.backend import Readout, Whole
from assayd.errors import ModelUnfit
from assayd.types.arrays import Array, Floats
from assayd.types.rows import Pick


def read_out(readout: Readout, outputs: Mapping[str, Array]) -> Floats | dict[str, Array]:
    """Take what a chunk wants: float64 [rows, T], or copies of outputs. outputs: by name [rows, *output]."""
    if isinstance(readout, Whole):
        return {name: outputs[name].copy() for name in readout.outputs or outputs}
    return np.concatenate([_pick(pick, outputs[pick.output]) for pick in readout], axis=1)


def _pick(pick: Pick, output: Array) -> Floats:
    flat = output.reshape(len(output), -1)
    chosen = flat if pick.indices is None else flat[:, pick.indices]
    values = scaled(chosen, pick.scale)
    return values if pick.weights is None else (values @ pick.weights)[:, None]


def scaled(values: Array, scale: str) -> Floats:
    """Apply a target's scale; float64 of the same shape.

    log and logit want probabilities. They are taken no nearer to 0 than the smallest normal number of the
    output's dtype and no nearer to 1 than half its resolution, so a saturated output stays finite. Raises ModelUnfit
    where a value isn't a probability.
    """
    p = values.astype(np.float64)
    if scale == "raw":
        return p
    if np.any((p < 0) | (p > 1)):
        raise ModelUnfit(
            f"scale {scale} needs a probability, and the output has {float(p.min()):g} … {float(p.max()):g}"
        )
    kind = np.finfo(values.dtype) if np.issubdtype(values.dtype, np.floating) else np.finfo(np.float64)
    p = np.clip(p, float(kind.tiny), 1 - float(kind.eps) / 2 if scale == "logit" else 1.0)
    return np.log(p) if scale == "log" else np.log(p) - np.log1p(-p)
