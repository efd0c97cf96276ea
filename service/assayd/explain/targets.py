"""From what a caller calls a target to elements of an output."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256

import numpy as np

from assayd.errors import InvalidRequest, InvalidTensor, ModelUnfit
from assayd.types.arrays import Array
from assayd.types.model import ModelSpec, Signature, TensorSignature
from assayd.types.request import AtIndex, AtLabel, AtRank, TargetSpec, Weighted
from assayd.types.rows import Pick


@dataclass(frozen=True)
class ResolvedTarget:
    """What a target was found to be. index: () for weights and scalars; rank: 0 unless found by rank."""

    output: str
    index: tuple[int, ...]
    label: str
    rank: int
    weights_digest: str
    scale: str


def with_labels(signature: Signature, spec: ModelSpec) -> Signature:
    """The signature with the spec's class labels in place of the file's."""
    if not spec.class_labels:
        return signature
    outputs = tuple(
        replace(s, class_labels=spec.class_labels[s.name]) if s.name in spec.class_labels else s
        for s in signature.outputs
    )
    return replace(signature, outputs=outputs)


def needs_scores(target: TargetSpec, signature: Signature) -> bool:
    """Whether a target can only be decided from the model's answer at x."""
    shape = output_of(target, signature).shape
    if shape is None or None in shape:
        return True
    return isinstance(target.element, AtRank) or (target.element is None and math.prod(n or 0 for n in shape) != 1)


def output_of(target: TargetSpec, signature: Signature) -> TensorSignature:
    """The output a target means. Raises InvalidRequest naming `output`, ModelUnfit."""
    names = [s.name for s in signature.outputs]
    if target.output:
        if target.output not in names:
            raise InvalidRequest(
                f"the model has no output {target.output[:80]!r}; its outputs are {names}", field="output"
            )
        output = signature.output(target.output)
        if output.dtype == object or output.dtype is None:
            raise ModelUnfit(f"output {target.output!r} holds no numbers that could be explained", field="output")
        return output
    floating = [s for s in signature.outputs if s.dtype is not None and np.issubdtype(s.dtype, np.floating)]
    numeric = [s for s in signature.outputs if s.dtype is not None and s.dtype != object]
    if len(floating) == 1 or (not floating and len(numeric) == 1):
        return (floating or numeric)[0]
    if not numeric:
        raise ModelUnfit(
            f"no output of the model holds numbers that could be explained; it has {names}", field="output"
        )
    raise InvalidRequest(f"the model has several outputs; name one of {names}", field="output")


def resolve(target: TargetSpec, signature: Signature, at_x: Mapping[str, Array] | None) -> tuple[Pick, ResolvedTarget]:
    """Find a target's elements. at_x: outputs at x, by name [*output], needed where `needs_scores`.

    Raises InvalidRequest or InvalidTensor with a field relative to the target.
    """
    output = output_of(target, signature)
    shape = tuple(at_x[output.name].shape) if at_x is not None else tuple(n or 0 for n in output.shape or ())
    size = math.prod(shape)
    element = target.element
    if element is None:
        element = AtIndex((0,) * len(shape)) if size == 1 else AtRank(1)
    if isinstance(element, Weighted):
        return _weighted(element.weights, output.name, shape, target.scale)
    rank = 0
    if isinstance(element, AtIndex):
        flat_index = _flat(element.position, shape, output.name)
    elif isinstance(element, AtLabel):
        flat_index = _labelled(element.label, output, size)
    elif at_x is not None:
        rank = element.rank
        flat_index = _ranked(rank, at_x[output.name])
    else:
        raise AssertionError("a rank needs the scores at x")
    index = tuple(int(i) for i in np.unravel_index(flat_index, shape)) if shape else ()
    known = output.class_labels[flat_index] if len(output.class_labels) == size else ""
    pick = Pick(output.name, np.array([flat_index]), None, target.scale)
    return pick, ResolvedTarget(output.name, index, known, rank, "", target.scale)


def _weighted(weights: Array, output: str, shape: tuple[int, ...], scale: str) -> tuple[Pick, ResolvedTarget]:
    if weights.shape != shape:
        raise InvalidTensor(
            f"weights of shape {list(weights.shape)} for output {output!r} of {list(shape)}", field="weights"
        )
    if not np.issubdtype(weights.dtype, np.floating) or not np.isfinite(weights).all():
        raise InvalidTensor("weights must be finite floating-point numbers", field="weights")
    digest = "sha256:" + sha256(np.ascontiguousarray(weights).tobytes()).hexdigest()
    pick = Pick(output, None, weights.astype(np.float64).ravel(), scale)
    return pick, ResolvedTarget(output, (), "", 0, digest, scale)


def _flat(position: tuple[int, ...], shape: tuple[int, ...], name: str) -> int:
    """Row-major index of a position; a single number may index a flattened output."""
    extents = shape if len(position) == len(shape) else (math.prod(shape),)
    if len(position) != len(extents):
        raise InvalidRequest(f"index {list(position)} for output {name!r} of shape {list(shape)}", field="index")
    for number, extent in zip(position, extents, strict=True):
        if not 0 <= number < extent:
            raise InvalidRequest(
                f"index {list(position)} is outside output {name!r} of shape {list(shape)}", field="index"
            )
    return int(np.ravel_multi_index(position, extents)) if extents else 0


def _labelled(label: str, output: TensorSignature, size: int) -> int:
    if len(output.class_labels) != size:
        raise InvalidRequest(
            f"output {output.name!r} has no class labels: give an index, or labels in the model's spec", field="label"
        )
    found = [i for i, known in enumerate(output.class_labels) if known == label]
    if len(found) != 1:
        some = ", ".join(output.class_labels[:20])
        how = "no" if not found else "more than one"
        raise InvalidRequest(
            f"{how} element of {output.name!r} is labelled {label[:80]!r}; labels: {some}", field="label"
        )
    return found[0]


def _ranked(rank: int, scores: Array) -> int:
    flat = scores.ravel()
    if not 1 <= rank <= flat.size:
        raise InvalidRequest(f"rank {rank} of {flat.size} scores; 1 is the largest", field="top_rank")
    # Stable, so that equal scores rank by position.
    return int(np.argsort(-flat.astype(np.float64), kind="stable")[rank - 1])


def whole_outputs(names: tuple[str, ...], signature: Signature) -> tuple[TensorSignature, ...]:
    """The outputs a Jacobian differentiates: those named, else every floating-point one.

    Raises InvalidRequest naming `outputs`, ModelUnfit where there is none.
    """
    floating = {s.name: s for s in signature.outputs if s.dtype is not None and np.issubdtype(s.dtype, np.floating)}
    for n, name in enumerate(names):
        if name not in floating or name in names[:n]:
            why = "is named twice" if name in names[:n] else f"is none of the floating-point outputs {list(floating)}"
            raise InvalidRequest(f"{name[:80]!r} {why}", field=f"outputs[{n}]")
    if not floating:
        raise ModelUnfit("the model has no floating-point output to differentiate", field="outputs")
    return tuple(floating[name] for name in names or floating)


def score_dtype(picks: tuple[Pick, ...], signature: Signature) -> np.dtype[np.generic]:
    """float64 where any target's output is float64 or an integer, else float32."""
    kinds = [signature.output(p.output).dtype for p in picks]
    single = all(k in (np.dtype(np.float32), np.dtype(np.float16)) for k in kinds)
    return np.dtype(np.float32 if single else np.float64)
