"""Rows to tensors, in numpy, straight into the buffers that the model reads.

Keep 0 and 1 select and never multiply: 0 * NaN is NaN, and NaN is how a boosted tree says "missing".
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import numpy as np

from assayd.engine.backend import Chunk
from assayd.engine.choose import Part, chooser, others_of
from assayd.engine.traces import Trace, Traces
from assayd.types.arrays import Array
from assayd.types.rows import BoxRows, MaskRows, NudgeRows, PlainRows, RowBlock, SampleRows
from assayd.types.subject import Subject

_ELEMENTS_AT_ONCE = 16 * 1024
"""Of the rows that are made together."""


def realise_chunk(chunk: Chunk, out: Mapping[str, Array], traces: Traces | None = None, first: int = 0) -> None:
    """Write a chunk's rows. out: by input name, a view [rows, *input] into the model's input buffer. traces: what the
    buffer's rows hold, if that is known. first: the chunk's first row among them.
    """
    start = 0
    for block in chunk.blocks:
        stop = start + len(block)
        views = {name: view[start:stop] for name, view in out.items()}
        if traces is not None and isinstance(block, BoxRows):
            _box_again(chunk.subject, block, views, traces, first + start)
        else:
            if traces is not None:
                traces.forget(first + start, first + stop)
            realise_block(chunk.subject, block, views)
        start = stop
    if start != chunk.rows:
        raise AssertionError(f"a plan promised {chunk.rows} rows and made {start}")


def realise_block(subject: Subject, block: RowBlock, out: Mapping[str, Array]) -> None:
    """Write one block. out: by input name, [len(block), *input]."""
    whole = _written_whole(subject, block)
    for name, view in out.items():
        if name not in whole:
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


def _written_whole(subject: Subject, block: RowBlock) -> Collection[str]:
    """Inputs of which a block's rows keep nothing that is there before."""
    match block:
        case SampleRows():
            return block.values
        case MaskRows() if subject.segments is not None:
            return subject.segments.ids
        case _:
            return ()


def _plain(subject: Subject, block: PlainRows, out: Mapping[str, Array]) -> None:
    for name, baselines in subject.baselines.items():
        touched = True if subject.segments is None else subject.segments.ids[name] >= 0
        for row, b in enumerate(block.baseline):
            if b >= 0:
                np.copyto(out[name][row, ...], baselines[b], where=touched)


def _box(subject: Subject, block: BoxRows, out: Mapping[str, Array]) -> None:
    view, baselines = out[block.tensor], subject.baselines[block.tensor]
    for row, (where, b) in enumerate(_boxes(block, view.ndim - 1)):
        view[row][where] = baselines[b][where]


def _box_again(subject: Subject, block: BoxRows, out: Mapping[str, Array], traces: Traces, first: int) -> None:
    """As `realise_block`, of rows that may hold the same instance but for another box."""
    view, baselines = out[block.tensor], subject.baselines[block.tensor]
    for row, (where, b) in enumerate(_boxes(block, view.ndim - 1)):
        held = traces.of(first + row, subject.number)
        if held is None:
            for name, inputs in out.items():
                inputs[row, ...] = subject.inputs[name]
        else:
            out[held.tensor][row][held.where] = subject.inputs[held.tensor][held.where]
        view[row][where] = baselines[b][where]
        traces.leave(first + row, Trace(subject.number, block.tensor, where))


def _boxes(block: BoxRows, rank: int) -> Iterator[tuple[tuple[slice, ...], int]]:
    """Of each row the box, in an instance of that rank, and its baseline."""
    inside = [slice(None)] * rank
    stops = block.starts + block.sizes
    for row, b in enumerate(block.baseline):
        for axis, start, stop in zip(block.axes, block.starts[row], stops[row], strict=True):
            inside[axis] = slice(start, stop)
        yield tuple(inside), b


def _mask(subject: Subject, block: MaskRows, out: Mapping[str, Array]) -> None:
    if subject.segments is None:
        raise AssertionError("mask rows need segments")
    # One more column, always kept, is where the segment -1 points.
    keep = np.concatenate([block.keep, np.ones((len(block), 1), block.keep.dtype)], axis=1)
    for name, ids in subject.segments.ids.items():
        x, baselines, view, at = subject.inputs[name], subject.baselines[name], out[name], ids.astype(np.intp)
        choice = chooser(x, baselines, keep)
        for part in _parts(at, x.size):
            size = x[part].size
            for rows in _groups(len(block), size, least=2):
                choice.write(rows, part, at[part], block.baseline[rows], view[rows, *part])
        if np.issubdtype(keep.dtype, np.floating):
            for rows in _groups(len(block), x.size):
                _mix(x, others_of(baselines, block.baseline[rows]), keep[rows].take(at, axis=1), view[rows])


def _mix(x: Array, others: Array, k: Array, view: Array) -> None:
    """What is neither x nor the baseline."""
    mixed = (k > 0) & (k < 1)
    if mixed.any():
        with np.errstate(invalid="ignore"):  # what isn't finite isn't mixed, but is computed
            blend = x * k + others * (1 - k)
        np.copyto(view, blend.astype(x.dtype, copy=False), where=mixed)


def _nudge(subject: Subject, block: NudgeRows, out: Mapping[str, Array]) -> None:
    if subject.segments is None:
        raise AssertionError("nudge rows need segments")
    for name, ids in subject.segments.ids.items():
        x, view = subject.inputs[name], out[name]
        scale = np.broadcast_to(subject.scale[name], x.shape)
        for rows in _groups(len(block), x.size):
            feature = block.feature[rows].reshape(-1, *[1] * ids.ndim)
            moved = np.flatnonzero(np.broadcast_to(ids == feature, (len(feature), *x.shape)))
            row, element = np.divmod(moved, x.size)
            at = np.unravel_index(element, x.shape) if x.ndim else ()
            view[rows][(row, *at)] = (x[at] + block.step[rows][row] * scale[at]).astype(x.dtype, copy=False)


def _groups(rows: int, elements: int, least: int = 1) -> Iterator[slice]:
    """Small rows go many at once, large ones one by one, so that what is computed on the way stays in the cache."""
    step = max(least, _ELEMENTS_AT_ONCE // max(1, elements))
    return (slice(start, start + step) for start in range(0, rows, step))


def _parts(ids: Array, elements: int) -> Iterator[Part]:
    """Large instances go in stripes, along the first axis that features vary on, so that a stripe of x and of the
    features stays in the cache for all rows.
    """
    axis = next((a for a, extent in enumerate(ids.shape) if extent > 1), None)
    if axis is None or elements <= 2 * _ELEMENTS_AT_ONCE:
        yield (...,)
        return
    step = max(1, ids.shape[axis] * 2 * _ELEMENTS_AT_ONCE // elements)
    for start in range(0, ids.shape[axis], step):
        yield (*[slice(None)] * axis, slice(start, start + step))
