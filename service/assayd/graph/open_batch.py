"""Find the batch axis of each input and, where the file fixes it, what it takes to free it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, product

from onnx import ModelProto, ValueInfoProto

from assayd.graph.edits import apply_edits
from assayd.graph.facts import Unopenable
from assayd.graph.places import Dims, Place, batch_like, candidates, dims_of, free_axes, recurrent_inputs
from assayd.graph.propagate import Walk, Walked

_MAX_GUESSES = 8
_FREE_AXES = (64, 224, 16)
"""What other free axes are taken to be on the walk: sizes that networks can halve, and one for short sequences."""


@dataclass(frozen=True)
class Batch:
    """Where the batch stands.

    places: by input, None where it has no batch axis. walked: set where opening takes more than nothing and can be
    done. reason: why rows can't share a batch, in words for the model's owner, or "".
    """

    places: Mapping[str, Place | None]
    walked: Walked | None = None
    reason: str = ""
    output_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """By output, its shape without the batch axis, where the walk knows it."""

    @property
    def extent(self) -> int | None:
        """What the file fixes the batch to."""
        return next((place.extent for place in self.places.values() if place and place.extent is not None), None)


def find_batch(model: ModelProto) -> Batch:
    """Find the batch axis, on a model whose inputs are free of weights and which has no functions of its own."""
    graph = model.graph
    inputs: dict[str, Dims] = {}
    nowhere: dict[str, Place | None] = dict.fromkeys(value.name for value in graph.input)
    for value in graph.input:
        if not value.type.HasField("tensor_type"):
            return Batch(nowhere, reason=f"input {value.name[:80]!r} is no tensor")
        dims = dims_of(value)
        if dims is None:
            return Batch(nowhere, reason=f"input {value.name[:80]!r} declares no shape")
        inputs[value.name] = dims
    outputs = [dims_of(value) for value in graph.output]
    recurrent = recurrent_inputs(graph)
    options = candidates(inputs, outputs, recurrent)
    likeliest = {name: _likeliest(places, name in recurrent) for name, places in options.items()}
    missing = next((name for name, places in options.items() if not places), None)
    if missing is not None:
        return Batch(likeliest, reason=f"input {missing[:80]!r} has no batch axis")
    if all(place is not None and place.extent is None for place in likeliest.values()):
        if (fixed := _fixed_after_all(model, inputs, options)) is not None:
            return fixed
        return Batch(likeliest, output_shapes=_undeclared_shapes(model, inputs, options, outputs))
    return _open(model, inputs, options, likeliest)


def _likeliest(places: Sequence[Place], sure: bool) -> Place | None:
    """The first place, unless it is a mere 1 somewhere inside, which opening (or a recurrent node) must confirm."""
    first = next(iter(places), None)
    return first if first is None or first.extent != 1 or first.axis == 0 or sure else None


def _opsets(model: ModelProto) -> dict[str, int]:
    return {opset.domain: opset.version for opset in model.opset_import}


def _walked(walk: Walk, inputs: Mapping[str, Dims], places: Mapping[str, Place], batch: int, free: int) -> Walked:
    """Walk.run; whatever a malformed node makes it stumble over is one more reason."""
    try:
        return walk.run(inputs, places, batch, free)
    except (ArithmeticError, LookupError, TypeError, ValueError) as stumble:
        raise Unopenable(f"its graph can't be followed ({type(stumble).__name__})") from stumble


def _open(
    model: ModelProto,
    inputs: Mapping[str, Dims],
    options: Mapping[str, list[Place]],
    likeliest: Mapping[str, Place | None],
) -> Batch:
    """Try the places from the likeliest on; the first from which the batch gets through to every output is right."""
    walk = Walk(model.graph, _opsets(model))
    reason = ""
    for guess in islice(product(*options.values()), _MAX_GUESSES):
        places = dict(zip(options, guess, strict=True))
        extents = {place.extent for place in guess} - {None}
        if len(extents) != 1:
            reason = reason or "the inputs fix the batch axis to different extents"
            continue
        for free in _FREE_AXES if free_axes(inputs, places) else (1,):
            try:
                walked = _walked(walk, inputs, places, max(extent or 1 for extent in extents), free)
            except Unopenable as why:
                reason = reason or str(why)
            else:
                shapes = {n: f.shape[: f.axis] + f.shape[f.axis + 1 :] for n, f in walked.outputs.items() if free == 1}
                return Batch(places, walked, output_shapes=shapes)
    if unsure := next((name for name, place in likeliest.items() if place is None), ""):
        reason = f"input {unsure[:80]!r} has no batch axis"
    return Batch(likeliest, reason=reason)


def _fixed_after_all(model: ModelProto, inputs: Mapping[str, Dims], options: Mapping[str, list[Place]]) -> Batch | None:
    """The batch at an extent of 1, where the free axis can't be it: a sequence without a telling name, [s0, 1, C]."""
    places = {name: found[0] for name, found in options.items()}
    symbols = [inputs[name][place.axis] for name, place in places.items()]
    ones = {name: [Place(a, 1) for a, dim in enumerate(dims) if dim == 1] for name, dims in inputs.items()}
    if not all(ones.values()) or any(isinstance(symbol, str) and batch_like(symbol) for symbol in symbols):
        return None
    try:
        _walked(Walk(model.graph, _opsets(model)), inputs, places, 2, _FREE_AXES[0])
    except Unopenable:
        found = _open(model, inputs, ones, dict.fromkeys(inputs))
        return found if found.walked is not None else None
    return None


def _undeclared_shapes(
    model: ModelProto, inputs: Mapping[str, Dims], options: Mapping[str, list[Place]], outputs: Sequence[Dims | None]
) -> dict[str, tuple[int, ...]]:
    """Shapes of one instance of the outputs, where the file leaves them open and the inputs are known."""
    places = {name: found[0] for name, found in options.items()}
    open_ = any(dims is None or sum(dim is None for dim in dims) > 1 for dims in outputs)
    if not open_ or free_axes(inputs, places):
        return {}
    try:
        walked = _walked(Walk(model.graph, _opsets(model)), inputs, places, 2, 1)
    except Unopenable:
        return {}
    return {name: fact.shape[: fact.axis] + fact.shape[fact.axis + 1 :] for name, fact in walked.outputs.items()}


def open_batch(model: ModelProto, batch: Batch) -> None:
    """Free the batch axis in place: mend what bakes it, and name it in the inputs' and outputs' shapes."""
    walked = batch.walked
    if walked is None:
        return
    graph = model.graph
    name, place = next((name, place) for name, place in batch.places.items() if place is not None)
    apply_edits(model, walked.edits, name, place.axis)
    used = {dim.dim_param for value in (*graph.input, *graph.output) for dim in value.type.tensor_type.shape.dim}
    symbol = next(s for s in ("batch", "batch_size", *(f"batch_{k}" for k in range(len(used) + 1))) if s not in used)
    for value in graph.input:
        if (here := batch.places[value.name]) is not None:
            _free(value, here.axis, len(value.type.tensor_type.shape.dim), symbol)
    for value in graph.output:
        fact = walked.outputs[value.name]
        _free(value, fact.axis, len(fact.shape), symbol)
    del graph.value_info[:]  # they hold the old extents; onnxruntime infers its own


def _free(value: ValueInfoProto, axis: int, rank: int, symbol: str) -> None:
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        return
    if len(kind.shape.dim) != rank:
        kind.ClearField("shape")
        return
    kind.shape.dim[axis].Clear()
    kind.shape.dim[axis].dim_param = symbol
