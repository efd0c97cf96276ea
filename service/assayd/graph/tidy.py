"""Small changes every model gets where it needs them: weights leave the inputs, a trailing ZipMap goes."""

from __future__ import annotations

from onnx import ModelProto, NodeProto, TensorProto, helper

from assayd.graph.walk import bodies

_IR_WITH_INNER_WEIGHTS = 4
"""From this version on an initializer need not be listed among the inputs."""


def strip_weights(model: ModelProto) -> bool:
    """Take initializers out of the graph's inputs, in place, raising ir_version where old. True if anything changed."""
    weights = {tensor.name for tensor in model.graph.initializer}
    kept = [value for value in model.graph.input if value.name not in weights]
    if len(kept) == len(model.graph.input):
        return False
    del model.graph.input[:]
    model.graph.input.extend(kept)
    model.ir_version = max(model.ir_version, _IR_WITH_INNER_WEIGHTS)
    return True


def _labels(node: NodeProto) -> tuple[str, ...]:
    """The keys of a ZipMap's maps, as text."""
    for attribute in node.attribute:
        if attribute.name == "classlabels_strings" and attribute.strings:
            return tuple(label.decode("utf-8", "replace") for label in attribute.strings)
        if attribute.name == "classlabels_int64s" and attribute.ints:
            return tuple(str(label) for label in attribute.ints)
    return ()


def remove_zipmaps(model: ModelProto) -> dict[str, tuple[str, ...]]:
    """Replace each ZipMap that makes a graph output by its input, in place: a float tensor [N, C] of the output's name.

    Returns output name -> class labels, one for each ZipMap removed. A ZipMap that feeds other nodes stays.
    """
    graph = model.graph
    outputs = {value.name: value for value in graph.output}
    read = {name for body in bodies(model) for node in body.nodes for name in node.input}
    labels: dict[str, tuple[str, ...]] = {}
    for node in list(graph.node):
        if node.op_type != "ZipMap" or node.domain != "ai.onnx.ml" or len(node.input) != 1 or len(node.output) != 1:
            continue
        name, source = node.output[0], node.input[0]
        if name not in outputs or name in read:
            continue
        labels[name] = _labels(node)
        # An Identity keeps both names; onnxruntime removes it at load.
        node.CopyFrom(helper.make_node("Identity", [source], [name], name=node.name))
        value = outputs[name]
        value.type.CopyFrom(helper.make_tensor_type_proto(TensorProto.FLOAT, [None, len(labels[name]) or None]))
    return labels
