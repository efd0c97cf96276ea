"""How large a model may be, however few bytes say so."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AdmissionLimits:
    """nodes: of all graphs and functions, each call of a function counted as its body. ends: inputs of the model, and
    as many outputs. depth: graphs within graphs, and calls of functions within functions. weight_bytes: all tensors of
    the file together, sparse ones as if they were dense, which onnxruntime makes of them. folded_bytes: a constant that
    onnxruntime makes of others as it loads the model; a larger one isn't refused, but made in each run.
    """

    nodes: int = 200_000
    ends: int = 1_000
    depth: int = 32
    weight_bytes: int = 2_000_000_000
    folded_bytes: int = 64 * 1024 * 1024
