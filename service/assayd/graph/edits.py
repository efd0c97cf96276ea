"""Mends as data, and their application to a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper

from assayd.graph.facts import Shape
from assayd.graph.walk import bodies
from assayd.types.arrays import Array


@dataclass(frozen=True, eq=False)
class SetConstant:
    """Input `slot` of node `node` (by position) becomes a constant of its own."""

    node: int
    slot: int
    value: Array


@dataclass(frozen=True)
class SetShape:
    """The input becomes the 1-d int64 `dims` with times * (batch at run time) at `batch_at`.

    patch: the rest stays what the input is at run time, instead of `dims`.
    """

    node: int
    slot: int
    dims: Shape
    batch_at: int
    times: int = 1
    patch: bool = False


@dataclass(frozen=True, eq=False)
class Grow:
    """The input, or `value` in its place, is repeated along an axis: `times` for each row of the batch.

    tile: repeat it as a whole, not a single slice.
    """

    node: int
    slot: int
    axis: int
    rank: int
    tile: bool = False
    value: Array | None = None
    times: int = 1


@dataclass(frozen=True)
class GatherByRow:
    """A GatherND that picks row number 0, the only one, picks within each row instead: batch_dims 1, number dropped."""

    node: int


Edit: TypeAlias = SetConstant | SetShape | Grow | GatherByRow


class _Names:
    """Names that the model doesn't use."""

    def __init__(self, model: ModelProto) -> None:
        self.taken = {name for body in bodies(model) for node in body.nodes for name in (*node.input, *node.output)}
        self.taken |= {value.name for body in bodies(model) if body.graph for value in body.graph.input}
        self.taken |= {tensor.name for body in bodies(model) if body.graph for tensor in body.graph.initializer}

    def fresh(self, stem: str) -> str:
        name, k = stem, 1
        while name in self.taken:
            k += 1
            name = f"{stem}_{k}"
        self.taken.add(name)
        return name


class _Editor:
    def __init__(self, model: ModelProto, source: str, axis: int) -> None:
        self.graph: GraphProto = model.graph
        self.names = _Names(model)
        self.source, self.axis = source, axis
        self.first: list[NodeProto] = []
        self._batch = ""

    def constant(self, value: Array, stem: str) -> str:
        name = self.names.fresh(stem)
        self.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def batch(self) -> str:
        """The batch at run time, int64 [1]."""
        if not self._batch:
            shape, self._batch = self.names.fresh("assay_input_shape"), self.names.fresh("assay_batch")
            axis = self.constant(np.array([self.axis], np.int64), "assay_batch_axis")
            self.first.append(helper.make_node("Shape", [self.source], [shape], name=shape))
            self.first.append(helper.make_node("Gather", [shape, axis], [self._batch], name=self._batch, axis=0))
        return self._batch

    def cut(self, source: str, start: int, end: int) -> NodeProto:
        """A Slice of the source's last axis."""
        limits = [self.constant(np.array([number], np.int64), "assay_slice") for number in (start, end, -1)]
        made = self.names.fresh("assay_cut")
        return helper.make_node("Slice", [source, *limits], [made], name=made)

    def shape(self, dims: Shape, batch_at: int, times: int, patched: str | None = None) -> tuple[str, list[NodeProto]]:
        """A run-time shape and the nodes that make it. patched: a tensor whose values stand instead of dims."""
        nodes: list[NodeProto] = []
        part = self.batch()
        if times != 1:
            scaled = self.names.fresh("assay_folded")
            factor = self.constant(np.array([times], np.int64), "assay_times")
            nodes.append(helper.make_node("Mul", [part, factor], [scaled], name=scaled))
            part = scaled
        if len(dims) == 1:
            return part, nodes
        parts = [part]
        for place, start, end in ((0, 0, batch_at), (len(parts) + 1, batch_at + 1, len(dims))):
            if start < end and patched is not None:
                nodes.append(self.cut(patched, start, end))
                parts.insert(place, nodes[-1].output[0])
            elif start < end:
                parts.insert(place, self.constant(np.array(dims[start:end], np.int64), "assay_dims"))
        made = self.names.fresh("assay_shape")
        nodes.append(helper.make_node("Concat", parts, [made], name=made, axis=0))
        return made, nodes

    def gather_by_row(self, node: NodeProto) -> NodeProto:
        """Change the GatherND; return the Slice that drops the first number of each index."""
        drop = self.cut(node.input[1], 1, np.iinfo(np.int64).max)
        node.input[1] = drop.output[0]
        kept = [attribute for attribute in node.attribute if attribute.name != "batch_dims"]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute("batch_dims", 1)])
        return drop

    def apply(self, edit: Edit) -> Iterator[NodeProto]:
        """Change the node; yield the nodes that must stand before it."""
        node = self.graph.node[edit.node]
        if isinstance(edit, SetConstant):
            node.input[edit.slot] = self.constant(edit.value, "assay_constant")
            return
        if isinstance(edit, SetShape):
            node.input[edit.slot], nodes = self.shape(
                edit.dims, edit.batch_at, edit.times, node.input[edit.slot] if edit.patch else None
            )
            yield from nodes
            return
        if isinstance(edit, GatherByRow):
            yield self.gather_by_row(node)
            return
        source = node.input[edit.slot] if edit.value is None else self.constant(edit.value, "assay_row")
        shape, nodes = self.shape((1,) * edit.rank, edit.axis, edit.times)
        grown = self.names.fresh("assay_grown")
        node.input[edit.slot] = grown
        yield from nodes
        yield helper.make_node("Tile" if edit.tile else "Expand", [source, shape], [grown], name=grown)


def apply_edits(model: ModelProto, edits: Sequence[Edit], source: str, axis: int) -> None:
    """Apply the mends in place. source, axis: an input and its batch axis, from which run-time extents are read."""
    editor = _Editor(model, source, axis)
    before: dict[int, list[NodeProto]] = {}
    for edit in edits:
        before.setdefault(edit.node, []).extend(editor.apply(edit))
    for position in sorted(before, reverse=True):
        for node in reversed(before[position]):
            model.graph.node.insert(position, node)
    for node in reversed(editor.first):
        model.graph.node.insert(0, node)
