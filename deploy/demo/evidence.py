"""How much of an explanation lies where it should."""

from __future__ import annotations

import numpy as np


def share_inside(attribution: np.ndarray, inside: np.ndarray) -> float:
    """Share of the evidence for the score (positive attribution) that lies inside a region."""
    evidence = np.maximum(attribution, 0)
    return float(evidence[inside].sum() / evidence.sum())
