"""What a call costs beside its rows: one feature left out, against the raw model on as many rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

import assay
from tests.bench.case import Case
from tests.bench.estimates import Estimate
from tests.bench.figures import Figure
from tests.bench.pairs import Arm, Effort, difference, ratio, timed


def measure(case: Case, effort: Effort) -> Iterator[Figure]:
    """Milliseconds over the raw model's, of the smallest call on one instance."""
    one = assay.Occlusion(features=assay.Groups([assay.Group("one", [0])]))
    rows = case.explain(one).usage.rows_run
    raw = Arm(case.raw.model.again_and_again(np.repeat(case.x[:1], rows, 0), 1))
    arms = {"service": Arm(lambda: case.explain(one)), "raw": raw, "raw again": raw}
    times = timed(arms, [("raw", "raw again")], effort)
    found = difference(times, "service", "raw")
    milliseconds = Estimate(found.value * 1e3, found.low * 1e3, found.high * 1e3)
    control = ratio(times, "raw", "raw again").half_width
    yield Figure(case.subject.name, "fixed cost of a call", "ms", milliseconds, control, note=f"{rows} rows run")
