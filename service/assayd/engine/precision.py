"""What a faster arithmetic costs: a model's outputs in it against those in fp32."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from assayd.engine.probes import Probe
from assayd.engine.program import Program
from assayd.errors import AssayError

_PROBES = 3


def output_error(exact: Program, fast: Program, probes: Iterable[Probe]) -> float:
    """The largest |f fast - f exact| as a share of max|f exact|, of any floating output, over a few probes.

    Of those that the exact model takes and answers with finite numbers: infinite where the fast one fails there or
    doesn't; NaN where there is none.
    """
    worst, tried = float("nan"), 0
    for probe in probes:
        try:
            want = _outputs(exact, probe)
        except AssayError:
            continue
        if not all(np.isfinite(value).all() for value in want.values()):
            continue
        try:
            got = _outputs(fast, probe)
        except AssayError:
            return float("inf")
        for name, value in want.items():
            top, apart = float(np.abs(value).max(initial=0.0)), float(np.abs(got[name] - value).max(initial=0.0))
            if not np.isfinite(got[name]).all():
                return float("inf")
            worst = np.fmax(worst, apart / top if top else apart)
        tried += 1
        if tried == _PROBES:
            break
    return float(worst)


def _outputs(program: Program, probe: Probe) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    rows = len(next(iter(probe.values())))
    buffers = program.buffers({name: values.shape[1:] for name, values in probe.items()}, rows)
    for name, view in buffers.views(rows).items():
        view[...] = probe[name]
    outputs = program.run(buffers, rows)
    return {name: v.astype(np.float64) for name, v in outputs.items() if np.issubdtype(v.dtype, np.floating)}
