"""What a sample gives to every surrogate that is fitted to it, whatever its rows score."""

from __future__ import annotations

import numpy as np

from assayd.errors import InvalidRequest
from assayd.methods.lime.kept import kept
from assayd.methods.lime.sample import Design, Sample
from assayd.types.arrays import Floats

_FEW = 50
"""Rows that are looked at first."""
_NOTHING = 1e-6
"""Rows that weigh together less than so much of what the others do are as good as none."""


class Basis:
    """A sample seen through a kernel.

    proximity: exp(-d^2 / (2 width^2)), [rows]. effective_rows: draws that a fit rests on, (sum w)^2 / sum w^2 (Kish);
    None where nothing was left to chance; 0 where those that weigh anything don't differ in z, so that there is nothing
    to fit: in a narrow kernel x alone weighs, columns may be constant, or given samples all the same.

    Raises `InvalidRequest` (kernel_width) where all weigh nothing.
    """

    def __init__(self, sample: Sample, width: float) -> None:
        design = Design(sample)
        self.sample, self.features = sample, design.features
        self.proximity = design.proximity(width)
        weights = sample.draws.counts * self.proximity
        if not weights.sum() > 0:
            raise InvalidRequest(f"in a kernel of width {width} all samples weigh 0", field="kernel_width")
        self.effective_rows = self._effective_rows(design, weights)
        # Of a shared sample it is made of bits in no time, and may never be needed again.
        self._design = None if sample.shared else design

    @property
    def design(self) -> Design:
        """Its variables."""
        return Design(self.sample) if self._design is None else self._design

    @property
    def nbytes(self) -> int:
        """That are held beside the sample, where that is shared."""
        return self.proximity.nbytes

    def _effective_rows(self, design: Design, weights: Floats) -> float | None:
        total = weights.sum()
        heaviest, apart = design.row(int(np.argmax(weights))), 0.0
        for rows, z in design:
            for some in (slice(0, _FEW), slice(_FEW, None)):  # a few say it nearly always
                apart += weights[rows][some] @ (z[some] != heaviest).any(axis=1)
                if apart > _NOTHING * total:
                    return float(total**2 / (weights @ self.proximity)) if self.sample.draws.chance else None
        return 0.0


def basis_of(sample: Sample, width: float) -> Basis:
    """The basis, made once for a sample that instances share."""
    return _shared_basis(sample, width) if sample.shared else Basis(sample, width)


@kept
def _shared_basis(sample: Sample, width: float) -> Basis:
    return Basis(sample, width)
