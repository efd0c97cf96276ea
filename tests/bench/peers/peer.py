"""What a peer offers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Peer:
    """One setting of one package.

    run: computes the answer; this is timed. check: the peer's last answer and the service's on the same rows, equal but
    for rounding. tolerance: as a share of the largest value.
    """

    setting: str
    run: Callable[[], object]
    check: Callable[[], tuple[np.ndarray, np.ndarray]]
    tolerance: float = 1e-3
    note: str = ""

    def tried(self) -> tuple[float, str]:
        """Seconds of a first run, and why its answer isn't the service's, or ""."""
        begun = time.perf_counter()
        self.run()
        return time.perf_counter() - begun, self._disagreement()

    def _disagreement(self) -> str:
        theirs, ours = (np.asarray(side, np.float64) for side in self.check())
        if theirs.shape != ours.shape:
            return f"answers have shapes {theirs.shape} and {ours.shape}"
        largest = float(np.abs(ours).max())
        apart = float(np.abs(theirs - ours).max()) / largest if largest else np.inf
        return "" if apart <= self.tolerance else f"answers differ by {apart:.2g} of the largest value"
