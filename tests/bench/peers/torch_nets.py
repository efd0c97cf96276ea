"""An ONNX net of plain convolutions as a torch module, with the same weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
from onnx import helper, numpy_helper


def as_torch(model: bytes) -> Any:
    """A module from [N, …] to the first output, for the operators that squeezenet and a small net of layers need.

    Raises ValueError for any other operator.
    """
    import torch
    from torch.nn import functional as f

    graph = onnx.load_from_string(model).graph
    (given,) = (value.name for value in graph.input)
    steps = [(node, {a.name: helper.get_attribute_value(a) for a in node.attribute}) for node in graph.node]

    def pads(attributes: dict[str, Any]) -> tuple[int, int]:
        top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
        if (top, left) != (bottom, right):
            raise ValueError("torch pads both ends alike")
        return top, left

    known: dict[str, Callable[[dict[str, Any], list[Any]], Any]] = {
        "Add": lambda _, x: x[0] + x[1],
        "Concat": lambda a, x: torch.cat(x, a["axis"]),
        "Conv": lambda a, x: f.conv2d(*x, stride=a.get("strides", (1, 1)), padding=pads(a), groups=a.get("group", 1)),
        "Dropout": lambda _, x: x[0],
        "GlobalAveragePool": lambda _, x: x[0].mean((2, 3), keepdim=True),
        "MatMul": lambda _, x: x[0] @ x[1],
        "MaxPool": lambda a, x: f.max_pool2d(x[0], a["kernel_shape"], a.get("strides"), pads(a)),
        "Relu": lambda _, x: x[0].relu(),
        "Softmax": lambda _, x: x[0].flatten(1).softmax(1).view_as(x[0]),
        "Tanh": lambda _, x: x[0].tanh(),
    }
    unknown = {node.op_type for node, _ in steps} - known.keys()
    if unknown:
        raise ValueError(f"{', '.join(sorted(unknown))} isn't translated")

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for n, tensor in enumerate(graph.initializer):
                self.register_buffer(f"w{n}", torch.from_numpy(numpy_helper.to_array(tensor).copy()))

        def forward(self, x: Any) -> Any:
            held = {given: x} | {t.name: getattr(self, f"w{n}") for n, t in enumerate(graph.initializer)}
            for node, attributes in steps:
                held[node.output[0]] = known[node.op_type](attributes, [held[name] for name in node.input])
            return held[graph.output[0].name].flatten(1)

    return Net().eval()
