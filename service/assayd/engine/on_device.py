"""A model whose rows share batches on a GPU: sessions that each keep to one batch size, and rows made on the device.

Everything here runs on the CPU too, where tests hold it to what numpy and the plain session give.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from assayd.engine.backend import Batch, ChunkResult, Readout, Whole, shape_key
from assayd.engine.device_tensor import DeviceTensor
from assayd.engine.onnxruntime_session import Session
from assayd.engine.options import SessionOptions
from assayd.engine.precision import output_error
from assayd.engine.probes import Probe
from assayd.engine.program import Buffers, Program
from assayd.engine.readout import read_out
from assayd.engine.realise import realise_chunk
from assayd.engine.search import quickest
from assayd.engine.staged import StagedRealiser, Tensors
from assayd.errors import AssayError, ModelFailed, OutOfMemory
from assayd.graph.half import in_half
from assayd.types.arrays import Array, Ints
from assayd.types.model import Signature, TensorSignature

log = logging.getLogger(__name__)

_SMALL_SHARE, _FEWEST_FOR_TWO = 4, 8
"""A session for batches of a quarter, where a whole one has at least so many rows."""
_LARGE_ROW_BYTES = 16 * 1024
"""Rows smaller than this are made by numpy: bits would save nothing, and an output of this size is fetched whole."""
_CONVOLUTIONS = ("Conv", "ConvTranspose", "FusedConv", "NhwcFusedConv")
_SPARE_SHAPES = 8


@dataclass(eq=False)
class Lane:
    """A session and the one batch size that it runs: cuDNN keeps the plan of the last shape alone.

    fits: rows that memory was found to have room for; larger batches run in parts of so many. fresh: nothing has run
    since it was built, so that building it again would change nothing.
    """

    program: Program
    size: int
    fits: int
    fresh: bool = True


@dataclass(eq=False)
class Sent:
    """A batch whose rows are made. buffers: on the device, or on the host where numpy made them."""

    batch: Batch
    lane: Lane
    owner: OnDevice
    buffers: Tensors | Buffers
    spare: list[Tensors | Buffers]


@dataclass(eq=False)
class OnDevice:
    """Runs a proven model's batches.

    full: whole batches. small: those of at most its size. exact: fp32, for Jacobians. precision, precision_error: as in
    `LoadedModel`. realiser: None where numpy makes all rows. Calls as `Backend` says; batches that are padded for the
    same bits don't come here.
    """

    full: Lane
    small: Lane | None
    exact: Lane
    precision: str
    precision_error: float
    realiser: StagedRealiser | None
    _spare: dict[Hashable, list[Tensors | Buffers]] = field(default_factory=dict)

    @property
    def sessions(self) -> list[Session]:
        """Of the model itself."""
        lanes = [lane for lane in (self.full, self.small, self.exact) if lane is not None]
        return list({id(lane.program.session): lane.program.session for lane in lanes}.values())

    def prepare(self, batch: Batch) -> Sent:
        """Make the batch's rows. Raises OutOfMemory."""
        lane, first = self._lane(batch), batch.chunks[0].subject
        shapes = {name: x.shape for name, x in first.inputs.items()}
        if len(self._spare) > _SPARE_SHAPES:
            self._spare.clear()
        spare = self._spare.setdefault((lane.size, shape_key(first)), [])
        try:
            buffers = self._made(batch, lane, spare.pop() if spare else self._buffers(lane, shapes))
        except OutOfMemory:  # the host has room
            buffers = self._made(batch, lane, lane.program.buffers(shapes, lane.size))
        return Sent(batch, lane, self, buffers, spare)

    def _made(self, batch: Batch, lane: Lane, buffers: Tensors | Buffers) -> Tensors | Buffers:
        """The buffers with the batch's rows in them, filled up with the first one."""
        if isinstance(buffers, Buffers):
            views = buffers.views(lane.size)
            for chunk, rows in batch.spans():
                realise_chunk(chunk, {name: view[rows] for name, view in views.items()})
            for view in views.values():
                view[batch.rows :] = view[:1]
        elif self.realiser is not None:
            for chunk, rows in batch.spans():
                self.realiser.realise_chunk(chunk, {n: t.rows(rows.start, rows.stop) for n, t in buffers.items()})
            self.realiser.pad(buffers, batch.rows, lane.size)
        return buffers

    def run(self, sent: Sent) -> list[ChunkResult]:
        """Run, in parts where memory has no room for the whole. Raises as `Backend.run`."""
        columns = self._columns(sent)
        outputs = self._run_somehow(sent, columns)
        sent.lane.fresh = False
        sent.spare.append(sent.buffers)
        return [
            read_out(_narrowed(chunk.readout, columns), {name: v[rows] for name, v in outputs.items()})
            for chunk, rows in sent.batch.spans()
        ]

    # ---- a batch -----------------------------------------------------------------------------------------------

    def _run_somehow(self, sent: Sent, columns: Mapping[str, Ints]) -> dict[str, Array]:
        """Outputs as `_run_parts` gives them, in smaller parts each time that memory has no room."""
        lane = sent.lane
        while True:
            try:
                return self._run_parts(sent, columns)
            except OutOfMemory:
                if not lane.fresh:
                    lane.program.session.rebuild()
                    lane.fresh = True
                if lane.fits == 1:
                    raise
                log.warning("a GPU has no memory for a batch", extra={"rows": lane.fits, "from_now_on": lane.fits // 2})
                lane.fits //= 2

    def _lane(self, batch: Batch) -> Lane:
        if batch.exact:
            return self.exact
        return self.small if self.small is not None and batch.rows <= self.small.size else self.full

    def _buffers(self, lane: Lane, shapes: Mapping[str, tuple[int, ...]]) -> Tensors | Buffers:
        signature = lane.program.signature
        row_bytes = sum(math.prod(shapes[s.name]) * np.dtype(s.dtype).itemsize for s in signature.inputs)
        if self.realiser is None or row_bytes < _LARGE_ROW_BYTES:
            return lane.program.buffers(shapes, lane.size)
        return self.realiser.buffers(signature, shapes, lane.size)

    def _columns(self, sent: Sent) -> dict[str, Ints]:
        return {} if self.realiser is None else _columns(sent.batch, sent.lane.program.signature)

    def _run_parts(self, sent: Sent, columns: Mapping[str, Ints]) -> dict[str, Array]:
        """Outputs by name, [rows, *output], or [rows, columns] of those that stay on the device."""
        batch, lane = sent.batch, sent.lane
        names = _wanted(batch, lane.program.signature)
        fetch = [name for name in names if name not in columns]
        parts: dict[str, list[Array]] = {name: [] for name in names}
        for start in range(0, batch.rows, lane.fits):
            stop = min(start + lane.fits, lane.size)
            found = lane.program.session.run_bound(_feeds(sent, start, stop), {}, fetch=fetch, leave=list(columns))
            for name, value in found.items():
                parts[name].append(self._part(lane.program, name, value, stop - start, columns))
        return {name: np.concatenate(values) if len(values) > 1 else values[0] for name, values in parts.items()}

    def _part(
        self, program: Program, name: str, value: Array | DeviceTensor, rows: int, columns: Mapping[str, Ints]
    ) -> Array:
        signature = program.signature.output(name)
        if not isinstance(value, DeviceTensor):
            return program.by_row(signature, value, rows)
        if self.realiser is None:
            raise AssertionError("only a realiser reads what stays on a device")
        if value.shape[:1] != (rows,):
            raise ModelFailed(f"output {name!r} has shape {list(value.shape)} for {rows} rows")
        return self.realiser.gather(value, columns[name])


def on_device(
    several: Program,
    size: int,
    options: SessionOptions,
    realiser: StagedRealiser | None,
    probes: Iterable[Probe],
    clock: Callable[[], float] = time.perf_counter,
) -> OnDevice:
    """Build what runs a proven model on a device. several: in fp32, with the default algorithms. size: of
    whole batches.

    A precision that the model doesn't bear is not taken, nor a realiser whose graphs aren't on the device; the log says
    why.
    """
    probes = list(probes)
    if realiser is not None and not realiser.fits(several.signature):
        realiser = None
    fast, precision, error = several, "fp32", 0.0
    if options.precision != "fp32":
        fast, precision, error = _in_precision(several, options.precision, probes)
    if fast.session.device.kind == "cuda" and fast.session.placement().has(*_CONVOLUTIONS):
        fast = _by_best_search(fast, size, probes, clock)
    small = None
    if size >= _FEWEST_FOR_TWO:
        few = size // _SMALL_SHARE
        small = Lane(replace(fast, session=fast.session.another()), few, few)
    full = Lane(fast, size, size)
    exact = full if fast is several else Lane(several, size, size)
    return OnDevice(full, small, exact, precision, error, realiser)


def _in_precision(several: Program, precision: str, probes: Sequence[Probe]) -> tuple[Program, str, float]:
    error, why = 0.0, ""
    fast = several
    try:
        again = several.session.another
        fast = replace(several, session=again(in_half) if precision == "fp16" else again(precision=precision))
        error = output_error(several, fast, probes)
        if not math.isfinite(error):
            why = "its outputs aren't finite there" if math.isinf(error) else "no input was found that it answers"
    except AssayError as unfit:
        why = unfit.message
    if why:
        log.warning("a model runs in fp32 all the same", extra={"asked": precision, "why": why})
        return several, "fp32", 0.0
    log.info("a model's precision", extra={"precision": precision, "error_of_max_f": f"{error:.2g}"})
    return fast, precision, error


def _by_best_search(fast: Program, size: int, probes: Sequence[Probe], clock: Callable[[], float]) -> Program:
    """The program with the quicker of two searches for convolutions at this size."""
    ways = {fast.session: fast}
    try:
        exhaustive = fast.session.another(search="EXHAUSTIVE")
        ways[exhaustive] = replace(fast, session=exhaustive)
    except AssayError as error:
        log.info("a search for convolutions wasn't tried", extra={"why": error.message})
        return fast
    probe = probes[0]
    buffers = fast.buffers({name: values.shape[1:] for name, values in probe.items()}, size)
    for name, view in buffers.views(size).items():
        view[...] = np.resize(probe[name], view.shape)
    tries = {s: (lambda p=p: p.run(buffers, size)) for s, p in ways.items()}
    try:
        return ways[quickest(tries, clock)]
    except AssayError:
        return fast


def _feeds(sent: Sent, start: int, stop: int) -> dict[str, Array | DeviceTensor]:
    if not isinstance(sent.buffers, Buffers):
        return {name: tensor.rows(start, stop) for name, tensor in sent.buffers.items()}
    feeds = sent.buffers.feeds(sent.lane.size)
    if stop - start == sent.lane.size:
        return dict(feeds)
    axes = {s.name: s.batch_axis or 0 for s in sent.lane.program.signature.inputs}
    return {name: x.take(range(start, stop), axes[name]) for name, x in feeds.items()}


def _wanted(batch: Batch, signature: Signature) -> list[str]:
    """Outputs that some chunk reads."""
    wanted: set[str] = set()
    for chunk in batch.chunks:
        if isinstance(chunk.readout, Whole):
            wanted |= set(chunk.readout.outputs) or {s.name for s in signature.outputs}
        else:
            wanted |= {pick.output for pick in chunk.readout}
    return [s.name for s in signature.outputs if s.name in wanted]


def _columns(batch: Batch, signature: Signature) -> dict[str, Ints]:
    """By output that is too large to be fetched for what is read of it: the positions that are read, in order."""
    read: dict[str, list[Ints]] = {s.name: [] for s in signature.outputs if _is_large(s)}
    for chunk in batch.chunks:
        if isinstance(chunk.readout, Whole):
            for name in chunk.readout.outputs or list(read):
                read.pop(name, None)
            continue
        for pick in chunk.readout:
            if pick.indices is None:
                read.pop(pick.output, None)
            elif pick.output in read:
                read[pick.output].append(np.asarray(pick.indices, np.int64))
    return {name: np.unique(np.concatenate(indices)) for name, indices in read.items() if indices}


def _is_large(s: TensorSignature) -> bool:
    if s.batch_axis != 0 or s.shape is None or s.dtype is None or s.dtype == object or None in s.shape:
        return False
    return math.prod(n or 1 for n in s.shape) * s.dtype.itemsize >= _LARGE_ROW_BYTES


def runs_on_device(signature: Signature) -> bool:
    """Whether all tensors can be bound to a device: text can't, nor what isn't a tensor."""
    return all(s.dtype is not None and s.dtype != object for s in (*signature.inputs, *signature.outputs))


def _narrowed(readout: Readout, columns: Mapping[str, Ints]) -> Readout:
    """The readout of outputs of which only these columns were fetched."""
    if isinstance(readout, Whole):
        return readout
    return tuple(
        replace(pick, indices=np.searchsorted(columns[pick.output], pick.indices))
        if pick.output in columns and pick.indices is not None
        else pick
        for pick in readout
    )
