"""Whole outputs of several runs, as one array each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from assayd.errors import ModelUnfit
from assayd.types.arrays import Array


def joined(parts: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
    """By output name [rows, *output], of parts in order. Raises ModelUnfit where a row has another shape."""
    if len(parts) == 1:
        return dict(parts[0])
    for name, first in parts[0].items():
        other = next((p[name].shape[1:] for p in parts if p[name].shape[1:] != first.shape[1:]), None)
        if other is not None:
            raise ModelUnfit(
                f"output {name!r} has the shape {list(first.shape[1:])} for one row and {list(other)} for another, "
                "and no tensor holds both: ask for one row at a time, or for other outputs"
            )
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
