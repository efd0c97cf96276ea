"""The proof that a model's rows may share a batch: alone, together and swapped they must score the same.

A proof counts only if the scores of its rows differ by at least 1000 times the tolerance; a saturated softmax proves
nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from assayd.engine.onnxruntime_session import Session
from assayd.engine.probes import ROWS, Probe, row
from assayd.engine.program import Program
from assayd.errors import AssayError
from assayd.types.arrays import Array
from assayd.types.model import Signature

Outputs = Mapping[str, Array]

_TOLERANCE = 2e-6
_HALF_TOLERANCE = 2.0**-11
_SPREAD = 1000
_TOGETHER = (0, 1, 2, 3)
_SWAPPED = (3, 0, 2)


class Verdict(Enum):
    """What the probes showed."""

    PROVEN = "proven"
    INTERACT = "interact"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Proof:
    """The verdict, why in words, and the signature with the outputs' batch axes as they were seen."""

    verdict: Verdict
    reason: str
    signature: Signature


def tolerance(dtype: np.dtype[np.generic]) -> float:
    """By how much of max|f| the scores of one row may differ between batches."""
    return _HALF_TOLERANCE if dtype == np.float16 else _TOLERANCE


def prove(plain: Program, opened: Session, probes: Iterable[Probe]) -> Proof:
    """Compare the model as it came, run row by row, with the opened one, run on several rows.

    After the first probe that counts one more is looked at, since rows may interact at some inputs only.
    """
    signature, failure, proven = plain.signature, "", False
    for probe in probes:
        try:
            alone = [_run(plain, probe, (n,)) for n in range(ROWS)]
        except AssayError as error:  # ids out of range, a shape it doesn't take: another probe may do
            failure = error.message
            continue
        if not _all_finite(alone):
            continue
        try:
            signature = _output_axes(signature, opened, probe)
            # Where the file was wrong about an axis, so were these.
            seen = replace(plain, signature=signature)
            alone = alone if signature == plain.signature else [_run(seen, probe, (n,)) for n in range(ROWS)]
            reason = _interaction(Program(opened, signature, batched=True), probe, alone)
            if reason:
                return Proof(Verdict.INTERACT, reason, signature)
        except AssayError as error:
            return Proof(Verdict.INTERACT, f"with several rows in a batch it fails: {error.message}", signature)
        if proven:
            break
        proven = all(_varies([a[name] for a in alone]) for name in alone[0])
    if proven:
        return Proof(Verdict.PROVEN, "", signature)
    why = f" ({failure})" if failure else ""
    return Proof(Verdict.INCONCLUSIVE, f"proof inconclusive{why}", signature)


def _interaction(opened: Program, probe: Probe, alone: list[Outputs]) -> str:
    """How a row's outputs change with its company, in words; empty where they don't."""
    for order in (_TOGETHER, _SWAPPED):
        got = _run(opened, probe, order)
        for place, n in enumerate(order):
            for name, value in alone[n].items():
                together = got[name][place : place + 1]
                if not _same(value, together, [a[name] for a in alone]):
                    return _differs(name, value, together)
    return ""


def _run(program: Program, probe: Probe, order: tuple[int, ...]) -> Outputs:
    shapes = {name: values.shape[1:] for name, values in probe.items()}
    buffers = program.buffers(shapes, len(order))
    views = buffers.views(len(order))
    for place, n in enumerate(order):
        for name, value in row(probe, n).items():
            views[name][place] = value
    return {name: value.copy() for name, value in program.run(buffers, len(order)).items()}


def _output_axes(signature: Signature, opened: Session, probe: Probe) -> Signature:
    """Find each output's batch axis as the one whose extent follows the number of rows.

    Raises AssayError where the session fails; leaves the axis None where no axis follows.
    """
    shapes = {name: values.shape[1:] for name, values in probe.items()}
    program = Program(opened, signature, batched=True)
    seen: list[dict[str, Array]] = []
    for rows in (ROWS - 1, ROWS):
        buffers = program.buffers(shapes, rows)
        for name, view in buffers.views(rows).items():
            view[...] = probe[name][:rows]
        seen.append(opened.run(buffers.feeds(rows)))
    outputs = []
    for s in signature.outputs:
        fewer, more = seen[0][s.name].shape, seen[1][s.name].shape
        follows = [
            axis
            for axis, (a, b) in enumerate(zip(fewer, more, strict=False))
            if (a, b) == (ROWS - 1, ROWS) and len(fewer) == len(more)
        ]
        preferred = [axis for axis in follows if axis == s.batch_axis] or follows
        axis = preferred[0] if preferred else None
        rest = tuple(n for place, n in enumerate(more) if place != axis)
        known = s.shape is not None and len(s.shape) == len(rest)
        outputs.append(replace(s, batch_axis=axis, shape=s.shape if known else (None,) * len(rest)))
    return replace(signature, outputs=tuple(outputs))


def _all_finite(alone: list[Outputs]) -> bool:
    return all(np.isfinite(v).all() for o in alone for v in o.values() if np.issubdtype(v.dtype, np.floating))


def _same(alone: Array, together: Array, everywhere: list[Array]) -> bool:
    if alone.shape != together.shape:
        return False
    if not np.issubdtype(alone.dtype, np.floating):
        return bool(np.array_equal(alone, together))
    top = max((float(np.abs(v).max(initial=0.0)) for v in everywhere), default=0.0)
    return bool(np.abs(alone.astype(np.float64) - together).max(initial=0.0) <= tolerance(alone.dtype) * top)


def _varies(alone: list[Array]) -> bool:
    """Whether some element of the output differs enough between rows; labels and other integers needn't."""
    if not np.issubdtype(alone[0].dtype, np.floating):
        return True
    if len({v.shape for v in alone}) > 1:
        return True
    values = np.stack(alone).astype(np.float64)
    spread = float((values.max(axis=0) - values.min(axis=0)).max(initial=0.0))
    return spread >= _SPREAD * tolerance(alone[0].dtype) * float(np.abs(values).max(initial=0.0)) and spread > 0


def _differs(name: str, alone: Array, together: Array) -> str:
    if alone.shape != together.shape:
        return f"rows interact: output {name!r} has another shape for a row alone than in a batch"
    if not np.issubdtype(alone.dtype, np.floating):
        return f"rows interact: output {name!r} of a row changes with its company"
    apart = float(np.abs(alone.astype(np.float64) - together).max())
    return f"rows interact: output {name!r} of a row changes by {apart:.3g} with its company"
