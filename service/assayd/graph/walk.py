"""One walk over a model's proto: every graph, function, node, attribute and tensor, however deep, without recursion."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto


@dataclass(frozen=True, eq=False)
class Body:
    """A graph or a function. depth: 1 for the model's own graphs and functions, one more for each subgraph inside."""

    proto: GraphProto | FunctionProto
    depth: int

    @property
    def nodes(self) -> Sequence[NodeProto]:
        """The body's own nodes."""
        return self.proto.node

    @property
    def graph(self) -> GraphProto | None:
        """The graph, or None for a function."""
        return self.proto if isinstance(self.proto, GraphProto) else None


def attributes(body: Body) -> Iterator[AttributeProto]:
    """Attributes of the body's own nodes, and a function's default attributes."""
    for node in body.nodes:
        yield from node.attribute
    if isinstance(body.proto, FunctionProto):
        yield from body.proto.attribute_proto


def subgraphs(attribute: AttributeProto) -> Iterator[GraphProto]:
    """The graphs an attribute holds, whatever type it claims to be."""
    if attribute.HasField("g"):
        yield attribute.g
    yield from attribute.graphs


def bodies_under(roots: Iterable[GraphProto | FunctionProto]) -> Iterator[Body]:
    """The roots and everything nested in them, outer before inner."""
    stack = [Body(root, 1) for root in roots]
    while stack:
        body = stack.pop()
        yield body
        stack.extend(Body(graph, body.depth + 1) for held in attributes(body) for graph in subgraphs(held))


def bodies(model: ModelProto) -> Iterator[Body]:
    """The main graph, functions, training graphs and everything nested in them."""
    training = [graph for info in model.training_info for graph in (info.initialization, info.algorithm)]
    return bodies_under([model.graph, *model.functions, *training])


def tensors_in(body: Body) -> Iterator[TensorProto]:
    """Every dense tensor that stands in the body itself; a sparse one counts as its values and its indices."""
    if body.graph is not None:
        yield from body.graph.initializer
        for sparse in body.graph.sparse_initializer:
            yield sparse.values
            yield sparse.indices
    for attribute in attributes(body):
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        single = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
        for sparse in (*single, *attribute.sparse_tensors):
            yield sparse.values
            yield sparse.indices
