"""Many small chunks as few arrays: thirty blocks of a row each cost the codec more time than a small model takes."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from assayd.engine.backend import Chunk, ChunkResult, Readout, Whole
from assayd.engine.worker.arrays import Malformed
from assayd.types.rows import BoxRows, MaskRows, NudgeRows, PlainRows, RowBlock, SampleRows

# ---- rows ------------------------------------------------------------------------------------------------------


def stacked(chunks: Sequence[Chunk]) -> tuple[RowBlock, ...]:
    """All blocks in order, those that follow each other and are alike as one."""
    piles: list[tuple[Hashable, list[RowBlock]]] = []
    for chunk in chunks:
        made = sum(map(len, chunk.blocks))
        if made != chunk.rows:  # the rows of the next would be taken for its own
            raise AssertionError(f"a plan promised {chunk.rows} rows and made {made}")
        for block in chunk.blocks:
            kind = _kind(block)
            if not piles or piles[-1][0] != kind:
                piles.append((kind, []))
            piles[-1][1].append(block)
    return tuple(pile[0] if len(pile) == 1 else _joined(pile) for _, pile in piles)


def unstacked(blocks: Sequence[RowBlock], counts: Sequence[int]) -> list[tuple[RowBlock, ...]]:
    """Each chunk's blocks again, cut where a chunk ends. counts: its rows. Raises Malformed where they don't come out
    even.
    """
    if sum(map(len, blocks)) != sum(counts):
        raise Malformed("rows that belong to no chunk")
    if len(counts) == 1:
        return [tuple(blocks)]
    left = iter(blocks)
    block, start = next(left, None), 0
    chunks = []
    for count in counts:
        own: list[RowBlock] = []
        missing = count
        while missing and block is not None:
            stop = min(len(block), start + missing)
            own.append(block if stop - start == len(block) else _cut(block, slice(start, stop)))
            missing -= stop - start
            block, start = (block, stop) if stop < len(block) else (next(left, None), 0)
        chunks.append(tuple(own))
    return chunks


def _kind(block: RowBlock) -> Hashable:
    """Blocks for which this is the same can be one."""
    match block:
        case MaskRows():
            return MaskRows, block.keep.shape[1], block.keep.dtype
        case BoxRows():
            return BoxRows, block.tensor, block.axes
        case SampleRows():
            return SampleRows, tuple((name, v.shape[1:], v.dtype) for name, v in block.values.items())
        case PlainRows() | NudgeRows():
            return (type(block),)


def _joined(pile: Sequence[Any]) -> RowBlock:
    def all_of(name: str) -> Any:
        return np.concatenate([getattr(block, name) for block in pile])

    match pile[0]:
        case PlainRows():
            return PlainRows(all_of("baseline"))
        case MaskRows():
            return MaskRows(all_of("keep"), all_of("baseline"))
        case BoxRows(tensor, axes):
            return BoxRows(tensor, axes, all_of("starts"), all_of("sizes"), all_of("baseline"))
        case NudgeRows():
            return NudgeRows(all_of("feature"), all_of("step"))
        case _:
            return SampleRows({name: np.concatenate([b.values[name] for b in pile]) for name in pile[0].values})


def _cut(block: RowBlock, part: slice) -> RowBlock:
    match block:
        case PlainRows(baseline):
            return PlainRows(baseline[part])
        case MaskRows(keep, baseline):
            return MaskRows(keep[part], baseline[part])
        case BoxRows(tensor, axes, starts, sizes, baseline):
            return BoxRows(tensor, axes, starts[part], sizes[part], baseline[part])
        case NudgeRows(feature, step):
            return NudgeRows(feature[part], step[part])
        case SampleRows(values):
            return SampleRows({name: v[part] for name, v in values.items()})


# ---- readouts --------------------------------------------------------------------------------------------------


def distinct(chunks: Sequence[Chunk]) -> tuple[tuple[Readout, ...], list[int]]:
    """The readouts, each once, and the number of each chunk's."""
    first = chunks[0].readout
    if all(chunk.readout is first for chunk in chunks):
        return (first,), [0] * len(chunks)
    numbers: dict[Hashable, int] = {}
    readouts: list[Readout] = []
    of = []
    for chunk in chunks:
        key = _meaning(chunk.readout)
        if key not in numbers:
            numbers[key] = len(readouts)
            readouts.append(chunk.readout)
        of.append(numbers[key])
    return tuple(readouts), of


def _meaning(readout: Readout) -> Hashable:
    if isinstance(readout, Whole):
        return Whole, readout.outputs
    return tuple([(p.output, _bytes(p.indices), _bytes(p.weights), p.scale) for p in readout])


def _bytes(array: Any) -> bytes | None:
    return None if array is None else array.tobytes()


# ---- results ---------------------------------------------------------------------------------------------------


def results_stacked(results: Sequence[ChunkResult]) -> tuple[ChunkResult, ...]:
    """One array where all are scores of as many columns."""
    scores = [r for r in results if isinstance(r, np.ndarray)]
    if len(scores) == len(results) > 1 and len({s.shape[1:] for s in scores}) == 1:
        return (np.concatenate(scores),)
    return tuple(results)


def results_unstacked(results: Sequence[ChunkResult], counts: Sequence[int]) -> list[ChunkResult]:
    """Each chunk's result again. counts: its rows. Raises Malformed where they don't come out even."""
    if len(results) != 1 or len(counts) == 1:
        return list(results)
    scores = results[0]
    if not isinstance(scores, np.ndarray) or scores.ndim != 2 or len(scores) != sum(counts):
        raise Malformed("an impossible number of results")
    stops = np.cumsum(counts).tolist()
    return [scores[stop - count : stop] for stop, count in zip(stops, counts, strict=True)]
