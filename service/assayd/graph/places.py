"""Where does the batch stand in each input? Symbols tell first, then fixed extents that could be one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from onnx import GraphProto, ValueInfoProto

Dim: TypeAlias = int | str | None
"""A fixed extent, a named one, or one that may be anything."""

Dims: TypeAlias = tuple[Dim, ...]

_BATCH_LIKE = re.compile(r"(?i)(n|b|bs|.*batch.*|none|(num|n)?_?(samples?|examples?|rows?|instances?))")
_LENGTH_LIKE = re.compile(r"(?i).*(seq|time|len|token|step|frame|height|width).*|[tshw]")
_RNN = frozenset({"LSTM", "GRU", "RNN"})
_RNN_STATES = (0, 5, 6)
"""X, initial_h and initial_c: with layout 0 all hold the batch at axis 1."""


@dataclass(frozen=True)
class Place:
    """The batch stands at `axis`; extent is what the file fixes it to, None where free."""

    axis: int
    extent: int | None = None


def dims_of(value: ValueInfoProto) -> Dims | None:
    """A tensor's declared dims, or None. Extents below 1 count as unknown: old exporters wrote 0 or -1 for that."""
    kind = value.type
    if not kind.HasField("tensor_type") or not kind.tensor_type.HasField("shape"):
        return None
    return tuple(
        dim.dim_value if dim.dim_value > 0 else (dim.dim_param or None) if dim.HasField("dim_param") else None
        for dim in kind.tensor_type.shape.dim
    )


def free_axes(inputs: Mapping[str, Dims], places: Mapping[str, Place]) -> bool:
    """Whether axes other than the batch's are free."""
    return any(
        not isinstance(dim, int)
        for name, dims in inputs.items()
        for axis, dim in enumerate(dims)
        if axis != places[name].axis
    )


def batch_like(symbol: str) -> bool:
    """Whether people call a batch axis this."""
    return _BATCH_LIKE.fullmatch(symbol) is not None


def batch_symbol(inputs: Sequence[Dims], outputs: Sequence[Dims | None]) -> str | None:
    """The symbol that most likely stands for the batch.

    Best is one shared by all inputs, then one that is in every output too, then a batch-like name, then one at axis 0.
    """
    symbols = dict.fromkeys(dim for dims in inputs for dim in dims if isinstance(dim, str))
    shown = [dims for dims in outputs if dims is not None]

    def merit(symbol: str) -> tuple[int, bool, bool, bool]:
        return (
            sum(symbol in dims for dims in inputs if dims),
            all(symbol in dims for dims in shown),
            batch_like(symbol),
            all(dims[0] == symbol for dims in inputs if symbol in dims),
        )

    return max(symbols, key=merit, default=None)


def recurrent_inputs(graph: GraphProto) -> set[str]:
    """Inputs that go straight into a recurrent node with layout 0: their batch axis is 1."""
    source = {value.name: value.name for value in graph.input}
    found: set[str] = set()
    for node in graph.node:
        if node.op_type in ("Identity", "Cast", "Dropout") and node.input and node.output and node.input[0] in source:
            source[node.output[0]] = source[node.input[0]]
        elif node.op_type in _RNN and not any(a.name == "layout" and a.i for a in node.attribute):
            found |= {source[node.input[k]] for k in _RNN_STATES if k < len(node.input) and node.input[k] in source}
    return found


def candidates(
    inputs: Mapping[str, Dims], outputs: Sequence[Dims | None], recurrent: set[str]
) -> dict[str, list[Place]]:
    """By input, the places its batch could have, likeliest first; none for an input without a batch axis.

    A free place is the only one of its input. Of fixed places only opening can tell which is right.
    """
    ranked = [dims for dims in inputs.values() if dims]
    symbol = batch_symbol(ranked, outputs)
    shared = [(axis, _shared_extent(ranked, outputs, axis)) for axis in (0, 1)]
    if symbol is not None and not batch_like(symbol) and _is_a_length(symbol, inputs, outputs, recurrent):
        symbol = None  # a free sequence or image length beside a batch fixed at 1
    found: dict[str, list[Place]] = {}
    for name, dims in inputs.items():
        at_one = [Place(axis, 1) for axis, dim in enumerate(dims) if dim == 1 and len(dims) > 1]
        if name in recurrent and len(dims) == 3 and not (isinstance(dims[0], str) and batch_like(dims[0])):
            extent = dims[1]
            found[name] = [Place(1, extent if isinstance(extent, int) else None)]
        elif symbol is not None and symbol in dims:
            found[name] = [Place(dims.index(symbol))]
        elif dims and not isinstance(dims[0], int) and (dims[0] is None or symbol is not None or batch_like(dims[0])):
            found[name] = [Place(0)]
        else:
            alike = [Place(axis, extent) for axis, extent in shared if extent is not None and axis < len(dims) - 1]
            found[name] = [*alike[:1], *at_one, *alike[1:]] if alike and not alike[0].axis else [*at_one, *alike]
    return found


def _shared_extent(inputs: Sequence[Dims], outputs: Sequence[Dims | None], axis: int) -> int | None:
    """k > 1 where every input and output holds it at the axis."""
    if not inputs or not any(outputs) or any(len(dims) < 2 for dims in inputs):
        return None
    found = {dims[axis] if axis < len(dims) else None for dims in (*inputs, *(d for d in outputs if d is not None))}
    extent = next(iter(found))
    return extent if len(found) == 1 and isinstance(extent, int) and extent > 1 else None


def _is_a_length(symbol: str, inputs: Mapping[str, Dims], outputs: Sequence[Dims | None], recurrent: set[str]) -> bool:
    """Whether the symbol stands where a length would, and a 1 where the batch would."""
    where = [dims[1 if name in recurrent else 0] if len(dims) > 1 else None for name, dims in inputs.items()]
    if all(dim == 1 for dim in where):
        return True
    leads = all(dims and dims[0] == symbol and 1 in dims[1:] for dims in inputs.values())
    shown = [dims for dims in outputs if dims]
    named = _LENGTH_LIKE.fullmatch(symbol) is not None
    return leads and (named or not any(symbol in dims for dims in shown)) and any(1 in dims[:2] for dims in shown)
