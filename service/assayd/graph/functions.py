"""A model's own functions: refuse recursion, and inline them where the batch axis is to be opened."""

from __future__ import annotations

from typing import TypeAlias

from onnx import FunctionProto, ModelProto, NodeProto

from assayd.errors import InvalidModel
from assayd.graph.operators import domain_of
from assayd.graph.payload import shown
from assayd.graph.walk import bodies_under

Key: TypeAlias = tuple[str, str, str]


def key_of(function: FunctionProto) -> Key:
    """What calls of it name."""
    return domain_of(function.domain), function.name, function.overload


def called_by(node: NodeProto) -> Key:
    """Key of the function that a node would call."""
    return domain_of(node.domain), node.op_type, node.overload


def call_order(model: ModelProto, max_depth: int) -> list[Key]:
    """The functions, callees before callers. InvalidModel: a function calls itself, or calls nest beyond max_depth."""
    known = {key_of(function) for function in model.functions}
    calls = {
        key_of(function): {called_by(node) for body in bodies_under([function]) for node in body.nodes} & known
        for function in model.functions
    }
    order: dict[Key, int] = {}
    for root in calls:
        path: list[Key] = []
        open_: set[Key] = set()
        stack: list[tuple[Key, bool]] = [(root, False)]
        while stack:
            key, leaving = stack.pop()
            if leaving:
                open_.discard(path.pop())
                order[key] = 1 + max((order[callee] for callee in calls[key]), default=0)
            elif key not in order:
                if key in open_:
                    raise InvalidModel(f"function {shown(key[1])} calls itself", field="chunk")
                open_.add(key)
                path.append(key)
                stack.append((key, True))
                stack.extend((callee, False) for callee in calls[key])
    deepest = max(order.values(), default=0)
    if deepest > max_depth:
        raise InvalidModel(f"functions call functions {deepest} deep; the limit is {max_depth}", field="chunk")
    return sorted(order, key=order.__getitem__)


def inlined_size(model: ModelProto, max_depth: int) -> int:
    """Number of nodes the model would have with every call replaced by the function's body."""
    sizes: dict[Key, int] = {}
    by_key = {key_of(function): function for function in model.functions}

    def size(root: FunctionProto | ModelProto) -> int:
        under = bodies_under([root.graph if isinstance(root, ModelProto) else root])
        return sum(sizes.get(called_by(node), 1) for body in under for node in body.nodes)

    for key in call_order(model, max_depth):
        sizes[key] = size(by_key[key])
    return size(model)
