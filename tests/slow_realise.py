"""Rows to tensors, restated from the definitions of `assayd.types.rows`, one element at a time.

It shares no code with the service, so it can judge the engine's realiser as well as the methods.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from assayd.types.arrays import Array
from assayd.types.rows import BoxRows, MaskRows, NudgeRows, PlainRows, RowBlock, SampleRows
from assayd.types.subject import Subject

Row = dict[str, Array]


def slow_realise(subject: Subject, blocks: Sequence[RowBlock]) -> dict[str, Array]:
    """The tensors of all rows in order: by input name [n, *input], in the input's dtype.

    Arithmetic is done in numpy's common dtype of the operands and rounded to the input's once.
    """
    rows = [row for block in blocks for row in _rows(subject, block)]
    return {name: np.stack([row[name] for row in rows]) for name in subject.inputs}


def _rows(subject: Subject, block: RowBlock) -> Iterator[Row]:
    for number in range(len(block)):
        row = {name: np.array(x) for name, x in subject.inputs.items()}
        match block:
            case PlainRows():
                _plain(subject, int(block.baseline[number]), row)
            case MaskRows():
                _mask(subject, block.keep[number], int(block.baseline[number]), row)
            case BoxRows():
                _box(subject, block, number, row)
            case NudgeRows():
                _nudge(subject, int(block.feature[number]), block.step[number], row)
            case SampleRows():
                row |= {name: values[number] for name, values in block.values.items()}
        yield row


def _feature(subject: Subject, name: str, index: tuple[int, ...]) -> int:
    """The feature of one element; ids of extent 1 hold along the whole axis."""
    assert subject.segments is not None
    ids = subject.segments.ids[name]
    return int(ids[tuple(i if extent > 1 else 0 for i, extent in zip(index, ids.shape, strict=True))])


def _plain(subject: Subject, b: int, row: Row) -> None:
    if b < 0:
        return
    for name, baselines in subject.baselines.items():
        for index in np.ndindex(row[name].shape):
            if subject.segments is None or _feature(subject, name, index) >= 0:
                row[name][index] = baselines[b][index]


def _mask(subject: Subject, keep: Array, b: int, row: Row) -> None:
    for name, baselines in subject.baselines.items():
        for index in np.ndindex(row[name].shape):
            feature = _feature(subject, name, index)
            if feature == -1 or keep[feature] == 1:
                continue
            if keep[feature] == 0:
                row[name][index] = baselines[b][index]
            else:
                k = keep[feature]
                row[name][index] = row[name][index] * k + baselines[b][index] * (1 - k)


def _box(subject: Subject, block: BoxRows, number: int, row: Row) -> None:
    baseline = subject.baselines[block.tensor][int(block.baseline[number])]
    for index in np.ndindex(baseline.shape):
        sides = zip(block.axes, block.starts[number], block.sizes[number], strict=True)
        if all(start <= index[axis] < start + size for axis, start, size in sides):
            row[block.tensor][index] = baseline[index]


def _nudge(subject: Subject, feature: int, step: float, row: Row) -> None:
    for name in subject.baselines:
        scale = np.broadcast_to(subject.scale[name], row[name].shape)
        for index in np.ndindex(row[name].shape):
            if _feature(subject, name, index) == feature:
                row[name][index] = row[name][index] + step * scale[index]
