"""Rows to tensors on the device, by small graphs that run there: the host sends bits instead of images.

It makes the same bits as `assayd.engine.realise`. What graphs can't do exactly as numpy does it there and sends rows.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np

from assayd.engine.backend import Chunk
from assayd.engine.device_tensor import DeviceTensor
from assayd.engine.onnxruntime_session import Device, Session
from assayd.engine.realise import realise_block
from assayd.engine.resident import Resident, Residents
from assayd.graph.stages import Blend, Copy, Gathered, Move, Select, Stage, Where, moved_as, stage_graph
from assayd.types.arrays import Array, Ids
from assayd.types.model import Signature
from assayd.types.rows import BoxRows, MaskRows, NudgeRows, PlainRows, RowBlock, SampleRows
from assayd.types.subject import Subject

log = logging.getLogger(__name__)

_RESIDENT_BYTES = 1024**3
_AXES = 256
_COMPUTED = (np.dtype(np.float32), np.dtype(np.float64))
"""What numpy and onnxruntime compute and round alike. Not a half made of a float64: one of them rounds twice."""

Tensors: TypeAlias = Mapping[str, DeviceTensor]
Feeds: TypeAlias = dict[str, Array | DeviceTensor]


class StagedRealiser:
    """Makes rows on a device. One thread makes them and one gathers; `release` and `fits` by any.

    make: a session for a stage's graph, on that device. sent_bytes: what went to the device so far.
    """

    def __init__(self, device: Device, make: Callable[[bytes], Session]) -> None:
        self._device = device
        self._make = make
        self._sessions: dict[Stage, Session] = {}
        self._residents = Residents(self._uploaded, _RESIDENT_BYTES)
        self._axes: dict[tuple[int, int, int], DeviceTensor] = {}
        self.sent_bytes = 0

    # ---- for the backend ---------------------------------------------------------------------------------------

    def fits(self, signature: Signature) -> bool:
        """Whether it can make a model's rows: they lie one after the other, hold numbers, and the graphs that select
        are on the device from end to end. What speaks against the last is logged.
        """
        if not all(s.batch_axis == 0 and s.dtype is not None and s.dtype != object for s in signature.inputs):
            return False
        for s in signature.inputs:
            kind, parts = moved_as(_numeric(s.dtype))
            rank = 1 + len(s.shape or ()) + (parts > 1)
            wheres: tuple[tuple[Where, int], ...] = (("rows", 0), ("features", 0), ("feature", 0), ("box", 1))
            for where, boxed in wheres:
                if self._session(Select(where, kind, rank, boxed=boxed)).placement().host:
                    return False
        return True

    def buffers(self, signature: Signature, shapes: Mapping[str, tuple[int, ...]], capacity: int) -> Tensors:
        """The model's inputs for `capacity` rows: by name [capacity, *input]. Raises OutOfMemory."""
        return {s.name: self._device.empty((capacity, *shapes[s.name]), _numeric(s.dtype)) for s in signature.inputs}

    def realise_chunk(self, chunk: Chunk, out: Tensors) -> None:
        """Write a chunk's rows. out: by input name, [rows, *input] of the buffers."""
        resident, start = self._residents.of(chunk.subject), 0
        for block in chunk.blocks:
            stop = start + len(block)
            if stop > start:
                self._block(chunk.subject, resident, block, {name: t.rows(start, stop) for name, t in out.items()})
            start = stop
        if start != chunk.rows:
            raise AssertionError(f"a plan promised {chunk.rows} rows and made {start}")

    def pad(self, buffers: Tensors, rows: int, size: int) -> None:
        """Fill rows … size - 1 of the buffers with the first one."""
        if rows < size:
            for tensor in buffers.values():
                self._copy(tensor.rows(0, 1), tensor.rows(rows, size))

    def gather(self, values: DeviceTensor, indices: Array) -> Array:
        """Of an output on the device, [n, *output]: its elements at row-major positions, on the host, [n, T]."""
        flat = values.seen_as(values.dtype, (values.shape[0], math.prod(values.shape[1:])))
        found = self._session(Gathered(values.dtype)).run_bound({"x": flat, "indices": indices}, {}, fetch=["y"])["y"]
        if isinstance(found, DeviceTensor):
            raise TypeError("what was fetched is on the host")
        return found

    def release(self, subject: int) -> None:
        """No more rows of this subject will come."""
        self._residents.release(subject)

    @property
    def resident_bytes(self) -> int:
        """Of subjects, on the device."""
        return self._residents.nbytes

    @property
    def sessions(self) -> tuple[Session, ...]:
        """Of the stages that were needed so far."""
        return tuple(self._sessions.values())

    # ---- blocks ------------------------------------------------------------------------------------------------

    def _block(self, subject: Subject, resident: Resident, block: RowBlock, out: Tensors) -> None:
        if not _by_graph(subject, block):
            self._by_numpy(subject, block, out)
            return
        for name, place in out.items():
            match block:
                case PlainRows() if name in subject.baselines:
                    self._plain(subject, resident, block, name, place)
                case MaskRows() if name in subject.baselines:
                    self._mask(resident, block, name, place)
                case BoxRows() if name == block.tensor:
                    self._box(resident, block, name, place)
                case NudgeRows() if name in subject.baselines:
                    self._nudge(resident, block, name, place)
                case SampleRows() if name in block.values:
                    self._send(block.values[name], place)
                case _:
                    self._copy(resident.x(name), place)

    def _by_numpy(self, subject: Subject, block: RowBlock, out: Tensors) -> None:
        made: dict[str, Array] = {name: np.empty(place.shape, place.dtype) for name, place in out.items()}
        realise_block(subject, block, made)
        for name, place in out.items():
            self._send(made[name], place)

    def _plain(self, subject: Subject, resident: Resident, block: PlainRows, name: str, place: DeviceTensor) -> None:
        absent = block.baseline >= 0
        number = np.maximum(block.baseline, 0)
        if subject.segments is None:
            column = absent.reshape(-1, *(1,) * (len(place.shape) - 1))
            self._select("rows", resident.x(name), resident.baselines(name), number, {"absent": column}, place)
        else:
            every = np.repeat(absent[:, None], subject.segments.count + 1, axis=1)
            every[:, -1] = False
            self._by_feature(resident, name, every, resident.baselines(name), number, place)

    def _mask(self, resident: Resident, block: MaskRows, name: str, place: DeviceTensor) -> None:
        # One more column, always kept, is where cells that nothing touches point.
        keep = np.concatenate([block.keep, np.ones((len(block), 1), block.keep.dtype)], axis=1)
        baselines = resident.baselines(name)
        mixed = _mixed(keep)
        if not mixed.any():
            self._by_feature(resident, name, keep == 0, baselines, block.baseline, place)
            return
        selected = self._device.empty(place.shape, place.dtype)
        self._by_feature(resident, name, keep == 0, baselines, block.baseline, selected)
        blended = self._device.empty(place.shape, place.dtype)
        computed = np.result_type(place.dtype, keep.dtype)
        numbered = baselines.shape[0] > 1
        feeds: Feeds = {
            "ids": resident.ids(name),
            "x": resident.x(name),
            "other": baselines,
            "kept": keep.astype(computed),
            "rest": (1 - keep).astype(computed),
        }
        if numbered:
            feeds["number"] = _int32(block.baseline)
        self._run(Blend(place.dtype, computed, len(place.shape), numbered), feeds, blended)
        self._by_feature(resident, name, mixed, blended, None, place, x=selected)

    def _box(self, resident: Resident, block: BoxRows, name: str, place: DeviceTensor) -> None:
        feeds: Feeds = {}
        rank = len(place.shape)
        for number, axis in enumerate(block.axes):
            column = (-1, *(1,) * (rank - 1))
            start = block.starts[:, number]
            feeds[f"at{number}"] = self._along(place.shape[axis + 1], axis + 1, rank)
            feeds[f"before{number}"] = _int32(start - 1).reshape(column)
            feeds[f"stop{number}"] = _int32(start + block.sizes[:, number]).reshape(column)
        x, baselines = resident.x(name), resident.baselines(name)
        self._select("box", x, baselines, block.baseline, feeds, place, boxed=len(block.axes))

    def _nudge(self, resident: Resident, block: NudgeRows, name: str, place: DeviceTensor) -> None:
        rank = len(place.shape)
        column = (-1, *(1,) * (rank - 1))
        moved = self._device.empty(place.shape, place.dtype)
        x, ids = resident.x(name), resident.ids(name)
        step = np.asarray(block.step, np.float64).reshape(column)
        self._run(Move(place.dtype, rank), {"x": x, "step": step, "scale": resident.scale(name)}, moved)
        feeds: Feeds = {
            "ids": ids.seen_as(ids.dtype, (1, *ids.shape)),
            "feature": _int32(block.feature).reshape(column),
        }
        self._select("feature", x, moved, None, feeds, place)

    def _along(self, extent: int, axis: int, rank: int) -> DeviceTensor:
        """The numbers of an axis, int32 [1, …, extent, …]."""
        found = self._axes.get((extent, axis, rank))
        if found is None:
            if len(self._axes) >= _AXES:
                self._axes.clear()
            shape = tuple(extent if at == axis else 1 for at in range(rank))
            found = self._axes[extent, axis, rank] = self._uploaded(np.arange(extent, dtype=np.int32).reshape(shape))
        return found

    # ---- stages ------------------------------------------------------------------------------------------------

    def _by_feature(
        self,
        resident: Resident,
        name: str,
        absent: Array,
        other: DeviceTensor,
        number: Ids | None,
        place: DeviceTensor,
        x: DeviceTensor | None = None,
    ) -> None:
        feeds: Feeds = {"absent": absent, "ids": resident.ids(name)}
        self._select("features", resident.x(name) if x is None else x, other, number, feeds, place)

    def _copy(self, row: DeviceTensor, place: DeviceTensor) -> None:
        """The same row everywhere."""
        absent = np.zeros((place.shape[0], *(1,) * (len(place.shape) - 1)), np.bool_)
        self._select("rows", row, row, None, {"absent": absent}, place)

    def _select(
        self,
        where: Where,
        x: DeviceTensor,
        other: DeviceTensor,
        number: Ids | None,
        feeds: Mapping[str, Array | DeviceTensor],
        place: DeviceTensor,
        boxed: int = 0,
    ) -> None:
        """Move bits. number: of the baseline that each row takes, where `other` is baselines."""
        kind, parts = moved_as(place.dtype)
        numbered = number is not None and other.shape[0] > 1
        fed = dict(feeds)
        if parts > 1:
            per_cell = [name for name in fed if (where, name) != ("features", "absent")]
            fed |= {name: _with_last_axis(fed[name]) for name in per_cell}
        fed |= {"x": _moved(x, kind, parts), "other": _moved(other, kind, parts)}
        if numbered and number is not None:
            fed["number"] = _int32(number)
        rank = len(place.shape) + (parts > 1)
        self._run(Select(where, kind, rank, numbered, boxed), fed, _moved(place, kind, parts))

    def _send(self, values: Array, place: DeviceTensor) -> None:
        kind, parts = moved_as(place.dtype)
        whole = _moved(place, kind, parts)
        seen = np.ascontiguousarray(values, place.dtype).reshape(place.shape)
        bits = np.frombuffer(seen.data, kind).reshape(whole.shape) if seen.size else seen.view(kind)
        self._run(Copy(kind, len(whole.shape)), {"x": bits}, whole)

    def _run(self, stage: Stage, feeds: Mapping[str, Array | DeviceTensor], place: DeviceTensor) -> None:
        if place.nbytes == 0:
            return
        self.sent_bytes += sum(value.nbytes for value in feeds.values() if isinstance(value, np.ndarray))
        self._session(stage).run_bound(feeds, {"y": place})

    def _session(self, stage: Stage) -> Session:
        found = self._sessions.get(stage)
        if found is None:
            found = self._sessions[stage] = self._make(stage_graph(stage))
            if host := found.placement().host:
                log.warning("a graph that makes rows isn't on the device", extra={"stage": stage, "on_cpu": host})
        return found

    def _uploaded(self, array: Array) -> DeviceTensor:
        self.sent_bytes += array.nbytes
        return self._device.upload(array)


def _by_graph(subject: Subject, block: RowBlock) -> bool:
    """Whether graphs make the same bits as numpy: a selection always, arithmetic on common floating types."""
    match block:
        case NudgeRows():
            return all(subject.inputs[name].dtype in _COMPUTED for name in subject.baselines)
        case MaskRows() if _mixed(block.keep).any():
            return all(_blends(subject.inputs[name].dtype, block.keep.dtype) for name in subject.baselines)
        case _:
            return True


def _blends(dtype: np.dtype[np.generic], keep: np.dtype[np.generic]) -> bool:
    if not np.issubdtype(dtype, np.floating):
        return False
    computed = np.result_type(dtype, keep)
    return keep in _COMPUTED and (dtype in _COMPUTED or computed == np.float32)


def _mixed(keep: Array) -> Array:
    """Where keep is a blend."""
    if not np.issubdtype(keep.dtype, np.floating):
        return np.zeros(keep.shape, np.bool_)
    return (keep > 0) & (keep < 1)


def _moved(tensor: DeviceTensor, kind: np.dtype[np.generic], parts: int) -> DeviceTensor:
    return tensor.seen_as(kind, (*tensor.shape, parts) if parts > 1 else tensor.shape)


def _with_last_axis(value: Array | DeviceTensor) -> Array | DeviceTensor:
    """What broadcasts over an instance broadcasts over its elements' parts too."""
    if isinstance(value, DeviceTensor):
        return value.seen_as(value.dtype, (*value.shape, 1))
    return value[..., None]


def _int32(values: Array) -> Ids:
    return np.ascontiguousarray(values, np.int32)


def _numeric(dtype: np.dtype[np.generic] | None) -> np.dtype[np.generic]:
    if dtype is None or dtype == object:
        raise AssertionError("only numbers can be made on a device")
    return dtype
