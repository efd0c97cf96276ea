"""Baselines of several inputs, brought to the same K."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from assayd.errors import InvalidRequest
from assayd.types.arrays import Array


def align(baselines: Mapping[str, Array]) -> dict[str, Array]:
    """Give every input the same number of baselines, so that baseline b of an instance is that of all its inputs.

    baselines: by explained input [K, *input]. Where one input has K > 1, a lone baseline of another serves all K, as a
    read-only view without copies.

    Raises `InvalidRequest` (baseline) where two inputs have different K above 1.
    """
    several = {name: len(tensor) for name, tensor in baselines.items() if len(tensor) != 1}
    if len(set(several.values())) > 1:
        counts = ", ".join(f"{count} for {name!r}" for name, count in several.items())
        raise InvalidRequest(f"all inputs need as many baselines, or one: there are {counts}", field="baseline")
    count = next(iter(several.values()), 1)
    return {name: np.broadcast_to(tensor, (count, *tensor.shape[1:])) for name, tensor in baselines.items()}
