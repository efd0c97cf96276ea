"""Operators that draw random numbers."""

from __future__ import annotations

from collections.abc import Iterable

from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from assayd.graph.walk import Body, bodies_under

_DRAWING = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)


def random_operators(model: ModelProto) -> tuple[str, ...]:
    """Names of the operators by which a model draws, sorted. A seed makes only a session's first run the same."""
    constants = {t.name: t for t in model.graph.initializer}
    found = set()
    for body in bodies_under([model.graph, *model.functions]):
        held = constants | _constants(body)
        found |= {node.op_type for node in body.nodes if _draws(node, held)}
    return tuple(sorted(found))


def _draws(node: NodeProto, constants: dict[str, TensorProto]) -> bool:
    if node.domain not in ("", "ai.onnx"):
        return False
    return node.op_type in _DRAWING or (node.op_type == "Dropout" and _trains(node, constants))


def _trains(dropout: NodeProto, constants: dict[str, TensorProto]) -> bool:
    """Whether a Dropout drops: by its third input, which is false where it is left out."""
    if len(dropout.input) < 3 or not dropout.input[2]:
        return False
    mode = constants.get(dropout.input[2])
    return mode is None or bool(numpy_helper.to_array(mode).any())


def _constants(body: Body) -> dict[str, TensorProto]:
    named: Iterable[TensorProto] = body.graph.initializer if body.graph is not None else ()
    found = {t.name: t for t in named}
    for node in body.nodes:
        if node.op_type == "Constant" and node.output:
            found.update((node.output[0], a.t) for a in node.attribute if a.name == "value")
    return found
