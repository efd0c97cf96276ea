"""What a model's outputs really look like, seen by running one row: files are wrong or silent about them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from assayd.engine.probes import Probe, row
from assayd.engine.program import Program
from assayd.errors import AssayError
from assayd.types.arrays import Array
from assayd.types.model import Signature, TensorSignature


def observed(plain: Program, probes: Iterable[Probe]) -> Signature:
    """The signature with each output's batch axis and instance shape as one row shows them.

    The first probe that the model takes decides; if it takes none the signature stays as the file has it.
    """
    signature = plain.signature
    for probe in probes:
        buffers = plain.buffers({name: values.shape[1:] for name, values in probe.items()}, 1)
        for name, value in row(probe, 0).items():
            buffers.views(1)[name][0] = value
        buffers.repeat()
        try:
            seen = plain.session.run(buffers.feeds(1))
        except AssayError:
            continue
        free = any(None in (s.shape or (None,)) for s in signature.inputs)
        batchless = all(s.batch_axis is None for s in signature.inputs)
        outputs = tuple(_seen(s, seen[s.name], free=free, batchless=batchless) for s in signature.outputs)
        return replace(signature, outputs=outputs)
    return signature


def _seen(s: TensorSignature, value: Array, *, free: bool, batchless: bool) -> TensorSignature:
    """An output as it was seen. Where inputs have free extents its own may be free too."""
    axis = None if batchless else s.batch_axis
    if axis is not None and (value.ndim <= axis or value.shape[axis] != (s.batch_extent or 1)):
        axis = None
    rest = tuple(n for place, n in enumerate(value.shape) if place != axis)
    if axis == s.batch_axis and s.shape is not None and len(s.shape) == len(rest):
        return s
    return replace(s, batch_axis=axis, shape=(None,) * len(rest) if free else rest)
