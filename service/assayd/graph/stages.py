"""Small graphs that run beside a model, on its device: rows to the model's inputs, its outputs to scores.

They stand before and behind the model instead of inside its graph. So a model of any opset is served, and runs in the
very session that was proven; its weights are in memory once; and these graphs keep to one opset and to operators that
CUDA has kernels for at it, without a Shape, a constant or any other reason to move one of them to the host.

A selection moves bits and never looks at values, so it is written for three widths and serves every type: `Where` has
kernels for few types on CUDA, and on the CPU it makes 0 of a floating -0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from onnx import TensorProto, ValueInfoProto, helper

OPSET, _IR_VERSION = 17, 8

_BOOL, _INT32, _INT64, _DOUBLE = TensorProto.BOOL, TensorProto.INT32, TensorProto.INT64, TensorProto.DOUBLE
_MOVED: dict[int, type[np.generic]] = {4: np.int32, 8: np.int64}

Where: TypeAlias = Literal["rows", "features", "feature", "box"]


def moved_as(dtype: np.dtype[np.generic]) -> tuple[np.dtype[np.generic], int]:
    """What elements of a dtype are moved as, and how many of those one element is: more than one make a last axis."""
    kind = _MOVED.get(dtype.itemsize)
    return (np.dtype(np.uint8), dtype.itemsize) if kind is None else (np.dtype(kind), 1)


@dataclass(frozen=True)
class Select:
    """`other` where a condition holds, and else x.

    where: what the condition is made of.
      rows: absent bool [n, 1, …], itself.
      features: absent bool [n, F + 1] at ids int32 [*cells], which name the last column where nothing is ever absent.
      feature: ids int32 [1, *cells] equal to feature int32 [n, 1, …].
      box: on each of `boxed` axes, before < at and at < stop; at0 … int32 [1, …, extent, …], before0 …, stop0 … int32
      [n, 1, …].
    dtype: int32, int64 or uint8, see `moved_as`. rank: of x and other, with the row axis. cells: as the instance, with
    extent 1 on axes along which ids don't vary. numbered: other [K, *instance] is taken by number int32 [n], and
    else it is [1 or n, *instance]. x is [1 or n, *instance]. The result is y [n, *instance].
    """

    where: Where
    dtype: np.dtype[np.generic]
    rank: int
    numbered: bool = False
    boxed: int = 0


@dataclass(frozen=True)
class Blend:
    """x · kept + other · rest, at ids as in `Select`, computed in `computed` and rounded once to dtype.

    kept, rest: of `computed`, [n, F + 1]. x, other, number, y: as in `Select`, of dtype.
    """

    dtype: np.dtype[np.generic]
    computed: np.dtype[np.generic]
    rank: int
    numbered: bool = False


@dataclass(frozen=True)
class Move:
    """x + step · scale, computed in float64 and rounded once to dtype.

    step: float64 [n, 1, …]; scale: float64, [1, …] broadcastable to x [1, *instance]; y [n, *instance].
    """

    dtype: np.dtype[np.generic]
    rank: int


@dataclass(frozen=True)
class Copy:
    """y is x, of dtype and rank: from the host to the device."""

    dtype: np.dtype[np.generic]
    rank: int


@dataclass(frozen=True)
class Gathered:
    """The columns `indices` int64 [T] of x [n, m]: y [n, T], of dtype."""

    dtype: np.dtype[np.generic]


Stage: TypeAlias = Select | Blend | Move | Copy | Gathered


def stage_graph(stage: Stage) -> bytes:
    """The stage as a serialised model."""
    match stage:
        case Select():
            return _select(stage)
        case Blend():
            return _blend(stage)
        case Move():
            return _move(stage)
        case Copy(dtype, rank):
            graph = _Graph()
            return graph.model("Identity", [graph.input("x", dtype, rank)], dtype, rank)
        case Gathered(dtype):
            graph = _Graph()
            indices = graph.input("indices", _INT64, 1)
            return graph.model("Gather", [graph.input("x", dtype, 2), indices], dtype, 2, axis=1)


class _Graph:
    def __init__(self) -> None:
        self._inputs: list[str] = []
        self._declared = helper.make_graph([], "stage", [], [])

    def input(self, name: str, dtype: np.dtype[np.generic] | int, rank: int) -> str:
        self._declared.input.append(_value(name, dtype, rank))
        return name

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        made = f"{kind.lower()}{len(self._declared.node)}"
        self._declared.node.append(helper.make_node(kind, inputs, [made], name=made, **attributes))
        return made

    def cast(self, source: str, given: np.dtype[np.generic], wanted: np.dtype[np.generic]) -> str:
        return source if given == wanted else self.op("Cast", source, to=_elem(wanted))

    def other(self, dtype: np.dtype[np.generic], rank: int, numbered: bool) -> str:
        other = self.input("other", dtype, rank)
        return self.op("Gather", other, self.input("number", _INT32, 1), axis=0) if numbered else other

    def model(
        self, kind: str, inputs: Sequence[str], dtype: np.dtype[np.generic], rank: int, **attributes: Any
    ) -> bytes:
        """End with this node."""
        self._declared.node.append(helper.make_node(kind, inputs, ["y"], name="y", **attributes))
        self._declared.output.append(_value("y", dtype, rank))
        opset = helper.make_opsetid("", OPSET)
        made = helper.make_model(self._declared, opset_imports=[opset], ir_version=_IR_VERSION)
        return made.SerializeToString()


def _value(name: str, dtype: np.dtype[np.generic] | int, rank: int) -> ValueInfoProto:
    elem = dtype if isinstance(dtype, int) else _elem(dtype)
    return helper.make_tensor_value_info(name, elem, [None] * rank)


def _elem(dtype: np.dtype[np.generic]) -> int:
    return helper.np_dtype_to_tensor_dtype(dtype)


def _select(stage: Select) -> bytes:
    graph = _Graph()
    x, other = graph.input("x", stage.dtype, stage.rank), graph.other(stage.dtype, stage.rank, stage.numbered)
    return graph.model("Where", [_condition(graph, stage), other, x], stage.dtype, stage.rank)


def _condition(graph: _Graph, stage: Select) -> str:
    rank = stage.rank
    if stage.where == "rows":
        return graph.input("absent", _BOOL, rank)
    if stage.where == "features":
        return graph.op("Gather", graph.input("absent", _BOOL, 2), graph.input("ids", _INT32, rank - 1), axis=1)
    if stage.where == "feature":
        return graph.op("Equal", graph.input("ids", _INT32, rank), graph.input("feature", _INT32, rank))
    inside = ""
    for axis in range(stage.boxed):
        at, before, stop = (graph.input(f"{name}{axis}", _INT32, rank) for name in ("at", "before", "stop"))
        along = graph.op("And", graph.op("Less", before, at), graph.op("Less", at, stop))
        inside = graph.op("And", inside, along) if inside else along
    return inside


def _blend(stage: Blend) -> bytes:
    graph, kind, computed = _Graph(), stage.dtype, stage.computed
    ids = graph.input("ids", _INT32, stage.rank - 1)
    terms = []
    for share, source in (
        ("kept", graph.input("x", kind, stage.rank)),
        ("rest", graph.other(kind, stage.rank, stage.numbered)),
    ):
        factor = graph.op("Gather", graph.input(share, computed, 2), ids, axis=1)
        terms.append(graph.op("Mul", graph.cast(source, kind, computed), factor))
    return _rounded(graph, graph.op("Add", *terms), computed, kind, stage.rank)


def _move(stage: Move) -> bytes:
    graph, double = _Graph(), np.dtype(np.float64)
    x = graph.cast(graph.input("x", stage.dtype, stage.rank), stage.dtype, double)
    by = graph.op("Mul", graph.input("step", _DOUBLE, stage.rank), graph.input("scale", _DOUBLE, stage.rank))
    return _rounded(graph, graph.op("Add", x, by), double, stage.dtype, stage.rank)


def _rounded(graph: _Graph, source: str, given: np.dtype[np.generic], wanted: np.dtype[np.generic], rank: int) -> bytes:
    if given == wanted:
        return graph.model("Identity", [source], wanted, rank)
    return graph.model("Cast", [source], wanted, rank, to=_elem(wanted))
