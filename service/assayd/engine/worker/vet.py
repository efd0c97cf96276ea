"""Whether what a worker says can be: a model that has taken its worker over may say anything.

That its numbers are right nobody can tell; that they have the extents the front will rely on is checked here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from assayd.engine.backend import Batch, Chunk, ChunkResult, LoadedModel, Whole
from assayd.engine.worker.arrays import Malformed
from assayd.types.model import MOST_AXES, MOST_EXTENT, Signature, TensorSignature

PRECISIONS = ("fp32", "tf32", "fp16")
PROVIDERS = ("CPUExecutionProvider", "CUDAExecutionProvider")
_MOST_THREADS = 1024


def vet_model(loaded: LoadedModel, most_rows: int) -> None:
    """Raises Malformed where no model is like this. most_rows: of any batch of the device."""
    batching = loaded.batching
    _must(loaded.provider in PROVIDERS, "provider")
    _must(loaded.precision in PRECISIONS and 0 <= loaded.precision_error < math.inf, "precision")
    _must(1 <= batching.max_rows <= (most_rows if batching.batched else 1), "batching")
    _must(0 <= loaded.threads <= _MOST_THREADS, "number of threads")
    if loaded.tuning is not None:
        tuning = loaded.tuning
        rows_fit = tuning.rows >= 1 and tuning.runs >= 1 and tuning.rows * tuning.runs <= most_rows
        _must(rows_fit and 0 <= tuning.threads <= _MOST_THREADS, "tuning")
    for tensors in (loaded.signature.inputs, loaded.signature.outputs):
        _must(0 < len(tensors) == len({s.name for s in tensors}), "names")
        for s in tensors:
            _must(_possible(s), "signature")
    _must(all(s.shape is not None for s in loaded.signature.inputs), "inputs")


def vet_results(batch: Batch, results: Sequence[ChunkResult], signature: Signature) -> None:
    """Raises Malformed where these can't be the batch's results."""
    _must(len(results) == len(batch.chunks), "number of results")
    for chunk, result in zip(batch.chunks, results, strict=True):
        _must(_fits(chunk, result, signature), "result")


def _possible(s: TensorSignature) -> bool:
    axes = (s.batch_axis, s.batch_extent, s.vocabulary)
    extents = s.shape or ()
    return (
        s.dtype is not None
        and len(extents) <= MOST_AXES
        and all(n is None or 0 <= n <= MOST_EXTENT for n in (*extents, *axes))
        and (s.batch_axis is None or s.batch_axis <= len(extents))
    )


def _fits(chunk: Chunk, result: ChunkResult, signature: Signature) -> bool:
    if isinstance(chunk.readout, Whole):
        wanted = chunk.readout.outputs or tuple(s.name for s in signature.outputs)
        return (
            isinstance(result, Mapping)
            and set(result) == set(wanted)
            and all(v.ndim and len(v) == chunk.rows for v in result.values())
        )
    if isinstance(result, Mapping):
        return False
    columns = 0
    for pick in chunk.readout:
        if pick.weights is None and pick.indices is None:  # all of an output whose extents may be free
            return result.ndim == 2 and len(result) == chunk.rows
        columns += 1 if pick.weights is not None or pick.indices is None else len(pick.indices)
    return result.shape == (chunk.rows, columns)


def _must(holds: bool, what: str) -> None:
    if not holds:
        raise Malformed(f"an impossible {what}")
