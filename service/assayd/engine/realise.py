"""Rows to tensors, in numpy, straight into the buffers that the model reads.

Keep 0 and 1 select and never multiply: 0 * NaN is NaN, and NaN is how a boosted tree says "missing".
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from assayd.engine.backend import Chunk
from assayd.types.arrays import Array
from assayd.types.rows import BoxRows, MaskRows, NudgeRows, PlainRows, RowBlock, SampleRows
from assayd.types.subject import Subject


def realise_chunk(chunk: Chunk, out: Mapping[str, Array]) -> None:
    """Write a chunk's rows. out: by input name, a view [rows, *input] into the model's input buffer."""
    start = 0
    for block in chunk.blocks:
        stop = start + len(block)
        realise_block(chunk.subject, block, {name: view[start:stop] for name, view in out.items()})
        start = stop
    if start != chunk.rows:
        raise AssertionError(f"a plan promised {chunk.rows} rows and made {start}")


def realise_block(subject: Subject, block: RowBlock, out: Mapping[str, Array]) -> None:
    """Write one block. out: by input name, [len(block), *input]."""
    for name, view in out.items():
        view[...] = subject.inputs[name]
    match block:
        case PlainRows():
            _plain(subject, block, out)
        case MaskRows():
            _mask(subject, block, out)
        case BoxRows():
            _box(subject, block, out)
        case NudgeRows():
            _nudge(subject, block, out)
        case SampleRows():
            for name, values in block.values.items():
                out[name][...] = values


def _plain(subject: Subject, block: PlainRows, out: Mapping[str, Array]) -> None:
    for name, baselines in subject.baselines.items():
        touched = True if subject.segments is None else subject.segments.ids[name] >= 0
        for row, b in enumerate(block.baseline):
            if b >= 0:
                np.copyto(out[name][row, ...], baselines[b], where=touched)


def _box(subject: Subject, block: BoxRows, out: Mapping[str, Array]) -> None:
    view, baselines = out[block.tensor], subject.baselines[block.tensor]
    inside = [slice(None)] * (view.ndim - 1)
    stops = block.starts + block.sizes
    for row, b in enumerate(block.baseline):
        for axis, start, stop in zip(block.axes, block.starts[row], stops[row], strict=True):
            inside[axis] = slice(start, stop)
        where = tuple(inside)
        view[row][where] = baselines[b][where]


def _mask(subject: Subject, block: MaskRows, out: Mapping[str, Array]) -> None:
    if subject.segments is None:
        raise AssertionError("mask rows need segments")
    fractional = np.issubdtype(block.keep.dtype, np.floating)
    # One more column, always kept, is where the segment -1 points.
    keep = np.concatenate([block.keep, np.ones((len(block), 1), block.keep.dtype)], axis=1)
    absent = keep == 0
    for name, ids in subject.segments.ids.items():
        x, baselines, view = subject.inputs[name], subject.baselines[name], out[name]
        for row, b in enumerate(block.baseline):
            np.copyto(view[row, ...], baselines[b], where=absent[row][ids])
            if fractional:
                k = keep[row][ids]
                mixed = (k > 0) & (k < 1)
                if mixed.any():
                    with np.errstate(invalid="ignore"):  # what isn't finite isn't mixed, but is computed
                        blend = x * k + baselines[b] * (1 - k)
                    np.copyto(view[row, ...], blend.astype(x.dtype, copy=False), where=mixed)


def _nudge(subject: Subject, block: NudgeRows, out: Mapping[str, Array]) -> None:
    if subject.segments is None:
        raise AssertionError("nudge rows need segments")
    for name, ids in subject.segments.ids.items():
        x, view = subject.inputs[name], out[name]
        scale = np.broadcast_to(subject.scale[name], x.shape)
        for row, (feature, step) in enumerate(zip(block.feature, block.step, strict=True)):
            moved = np.broadcast_to(ids == feature, x.shape)
            view[row, ...][moved] = (x[moved] + step * scale[moved]).astype(x.dtype, copy=False)
