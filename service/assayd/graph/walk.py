"""One walk over a model's proto: every graph, function, node, attribute and tensor, however deep, without recursion."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from onnx import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    OperatorSetIdProto,
    SparseTensorProto,
    TensorProto,
)


@dataclass(frozen=True, eq=False)
class Body:
    """A graph or a function. depth: 1 for the model's own graphs and functions, one more for each subgraph inside.
    path: the nodes and attributes that lead to it, and first the function, for people. imports: of operator sets, by
    its function; empty where the model's hold.
    """

    proto: GraphProto | FunctionProto
    depth: int
    path: tuple[str, ...] = ()
    imports: Sequence[OperatorSetIdProto] = ()

    @property
    def nodes(self) -> Sequence[NodeProto]:
        """The body's own nodes."""
        return self.proto.node

    @property
    def graph(self) -> GraphProto | None:
        """The graph, or None for a function."""
        return self.proto if isinstance(self.proto, GraphProto) else None


def subgraphs(attribute: AttributeProto) -> Iterator[GraphProto]:
    """The graphs an attribute holds, whatever type it claims to be."""
    if attribute.HasField("g"):
        yield attribute.g
    yield from attribute.graphs


def _step(node: NodeProto, held: AttributeProto) -> str:
    name = node.name or next(iter(node.output), "")
    return f"{node.op_type[:80]} {name[:80]!r} {held.name[:80]}"


def bodies_under(roots: Iterable[GraphProto | FunctionProto]) -> Iterator[Body]:
    """The roots and everything nested in them, outer before inner."""
    stack = [_root(root) for root in roots]
    while stack:
        body = stack.pop()
        yield body
        for node in body.nodes:
            stack.extend(
                Body(graph, body.depth + 1, (*body.path, _step(node, held)), body.imports)
                for held in node.attribute
                for graph in subgraphs(held)
            )
        if isinstance(body.proto, FunctionProto):
            stack.extend(
                Body(graph, body.depth + 1, body.path, body.imports)
                for held in body.proto.attribute_proto
                for graph in subgraphs(held)
            )


def _root(proto: GraphProto | FunctionProto) -> Body:
    if isinstance(proto, GraphProto):
        return Body(proto, 1)
    return Body(proto, 1, (f"function {proto.name[:80]!r}",), proto.opset_import)


def bodies(model: ModelProto) -> Iterator[Body]:
    """The main graph, functions, training graphs and everything nested in them."""
    training = [graph for info in model.training_info for graph in (info.initialization, info.algorithm)]
    return bodies_under([model.graph, *model.functions, *training])


def tensors_in(body: Body) -> Iterator[TensorProto | SparseTensorProto]:
    """Every tensor that stands in the body itself, but for its nodes' attributes."""
    if isinstance(body.proto, GraphProto):
        yield from body.proto.initializer
        yield from body.proto.sparse_initializer
    else:
        yield from tensors_of(body.proto.attribute_proto)


def tensors_of(attributes: Iterable[AttributeProto]) -> Iterator[TensorProto | SparseTensorProto]:
    """Every tensor that attributes hold, whatever types they claim to be."""
    for attribute in attributes:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        if attribute.HasField("sparse_tensor"):
            yield attribute.sparse_tensor
        yield from attribute.sparse_tensors
