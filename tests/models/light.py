"""The nine light graphs of the onnx package, with weights that make them answer like networks.

In the package their weights are constants: every image gets the same saturated answer, which proves nothing. Here they
are seeded He weights, batch-norm statistics come from data, and the last layer is scaled and centred so that logits
are of order 1 and differ between images.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

NAMES = (
    "bvlc_alexnet", "densenet121", "inception_v1", "inception_v2", "resnet50", "shufflenet", "squeezenet", "vgg19",
    "zfnet512",
)  # fmt: skip
"""One input float32 [1, 3, 224, 224], one output [1, 1000] ([1, 1000, 1, 1] of squeezenet and densenet121)."""

SMALL = ("squeezenet", "shufflenet")
"""The quickest two."""

LARGE = ("vgg19", "zfnet512")
"""Those that take a minute each to be made, loaded twice and proven."""

_FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
_BEHIND_LOGITS = {"Relu", "GlobalAveragePool", "AveragePool", "Reshape", "Dropout", "Softmax", "Flatten"}


def images(count: int, seed: int = 0) -> np.ndarray:
    """Smooth random pictures with some noise: float32 [count, 3, 224, 224] of order 1."""
    random = np.random.default_rng([seed, 224])
    coarse = random.standard_normal((count, 3, 8, 8)).astype(np.float32)
    contrast = random.uniform(0.5, 2, (count, 1, 1, 1)).astype(np.float32)
    noise = random.standard_normal((count, 3, 224, 224), dtype=np.float32)
    return np.asarray(np.kron(coarse, np.ones((28, 28), np.float32)) * contrast + 0.2 * noise)


@lru_cache(maxsize=1)
def light_model(name: str, seed: int = 0) -> bytes:
    """One of NAMES, serialised. Takes 0.1 s (squeezenet) to some seconds (vgg19, 575 MB); the last one is kept."""
    model = onnx.load(_FOLDER / f"light_{name}.onnx")
    _fill(model, np.random.default_rng([seed, NAMES.index(name)]))
    _normalise(model, images(2, seed))
    _centre(model, images(4, seed + 1))
    return model.SerializeToString()


def with_batch_mean_subtracted(model: bytes) -> bytes:
    """The same graph, its first input minus the input's mean over axis 0, and that axis free: rows of a batch interact.

    For models whose batch stands at axis 0; one with a fixed batch is opened first.
    """
    from assayd.graph.programs import programs_of

    opened = programs_of(model).opened
    if opened is None:
        raise ValueError("this model's batch axis can't be opened")
    proto = onnx.load_from_string(opened)
    name = proto.graph.input[0].name
    for node in proto.graph.node:
        if node.op_type == "Shape":
            continue
        for slot, read in enumerate(node.input):
            if read == name:
                node.input[slot] = "batch_mean_subtracted"
    mean = helper.make_node("ReduceMean", [name], ["batch_mean"], axes=[0], keepdims=1)
    if next(opset.version for opset in proto.opset_import if not opset.domain) >= 18:
        proto.graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), "batch_mean_axes"))
        mean = helper.make_node("ReduceMean", [name, "batch_mean_axes"], ["batch_mean"], keepdims=1)
    proto.graph.node.insert(0, mean)
    proto.graph.node.insert(1, helper.make_node("Sub", [name, "batch_mean"], ["batch_mean_subtracted"]))
    return proto.SerializeToString()


def _fill(model: onnx.ModelProto, random: np.random.Generator) -> None:
    """Turn the constants into initializers with fitting values, in place."""
    graph = model.graph
    held = {tensor.name: tensor for tensor in graph.initializer}
    shapes = {
        node.output[0]: numpy_helper.to_array(held[node.input[0]])
        for node in graph.node
        if node.op_type == "ConstantOfShape"
    }
    role: dict[str, tuple[str, int]] = {}
    for node in reversed(graph.node):
        for slot, name in enumerate(node.input):
            passing = node.op_type in ("Reshape", "Unsqueeze") and slot == 0 and node.output[0] in role
            role[name] = role[node.output[0]] if passing else (node.op_type, slot)
    for name, tensor in held.items():
        if tensor.data_type == TensorProto.FLOAT:
            shapes[name] = np.array(tensor.dims)
    kept = [node for node in graph.node if node.op_type != "ConstantOfShape"]
    del graph.node[:]
    graph.node.extend(kept)
    fresh = {name: _value(random, role.get(name, ("", 0)), tuple(map(int, shape))) for name, shape in shapes.items()}
    others = [tensor for name, tensor in held.items() if name not in fresh]
    inputs = [value for value in graph.input if value.name not in held]
    del graph.initializer[:], graph.input[:]
    graph.input.extend(inputs)
    graph.initializer.extend([*others, *(numpy_helper.from_array(value, name) for name, value in fresh.items())])
    model.ir_version = 4


def _value(random: np.random.Generator, role: tuple[str, int], shape: tuple[int, ...]) -> np.ndarray:
    """He weights, scales near 1, small offsets; statistics come later."""
    op, slot = role
    if op in ("Conv", "Gemm") and slot == 1:
        scale = np.float32(np.sqrt(2 / max(1, np.prod(shape[1:]))))
        return random.standard_normal(shape, dtype=np.float32) * scale
    offset = 0.1 * random.standard_normal(shape, dtype=np.float32)
    return offset + np.float32(1) if (op, slot) in (("BatchNormalization", 1), ("Mul", 1)) else offset


def _session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 2
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _normalise(model: onnx.ModelProto, pictures: np.ndarray) -> None:
    """Give batch norms the mean and variance of what they see, in one run in which each normalises by its own."""
    norms = [node for node in model.graph.node if node.op_type == "BatchNormalization"]
    if not norms:
        return
    trial = onnx.ModelProto()
    trial.CopyFrom(model)
    nodes: list[onnx.NodeProto] = []
    trial.graph.initializer.append(numpy_helper.from_array(np.array([1, -1, 1, 1], np.int64), "column"))
    trial.graph.initializer.append(numpy_helper.from_array(np.array([1e-5], np.float32), "tiny"))
    for node in trial.graph.node:
        if node.op_type != "BatchNormalization":
            nodes.append(node)
            continue
        x, scale, offset = node.input[:3]
        y = node.output[0]
        make = helper.make_node
        nodes += [
            make("ReduceMean", [x], [f"{y}/mean"], axes=[0, 2, 3], keepdims=1),
            make("Sub", [x, f"{y}/mean"], [f"{y}/centred"]),
            make("Mul", [f"{y}/centred", f"{y}/centred"], [f"{y}/square"]),
            make("ReduceMean", [f"{y}/square"], [f"{y}/variance"], axes=[0, 2, 3], keepdims=1),
            make("Add", [f"{y}/variance", "tiny"], [f"{y}/safe"]),
            make("Sqrt", [f"{y}/safe"], [f"{y}/deviation"]),
            make("Div", [f"{y}/centred", f"{y}/deviation"], [f"{y}/unit"]),
            make("Reshape", [scale, "column"], [f"{y}/scale"]),
            make("Reshape", [offset, "column"], [f"{y}/offset"]),
            make("Mul", [f"{y}/unit", f"{y}/scale"], [f"{y}/scaled"]),
            make("Add", [f"{y}/scaled", f"{y}/offset"], [y]),
        ]
        for kind in ("mean", "safe"):
            trial.graph.output.append(helper.make_tensor_value_info(f"{y}/{kind}", TensorProto.FLOAT, None))
    del trial.graph.node[:]
    trial.graph.node.extend(nodes)
    names = [f"{node.output[0]}/{kind}" for node in norms for kind in ("mean", "safe")]
    found = dict(zip(names, _session(trial).run(names, {model.graph.input[0].name: pictures[:1]}), strict=True))
    held = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in norms:
        for slot, kind in ((3, "mean"), (4, "safe")):
            value = found[f"{node.output[0]}/{kind}"].reshape(-1)
            held[node.input[slot]].CopyFrom(numpy_helper.from_array(value, node.input[slot]))


def _centre(model: onnx.ModelProto, pictures: np.ndarray) -> None:
    """Scale and shift the last layer so that its outputs have spread 1 between pictures, about 0."""
    makers = {node.output[0]: node for node in model.graph.node}
    last = makers[model.graph.output[0].name]
    while last.op_type in _BEHIND_LOGITS:
        last = makers[last.input[0]]
    model.graph.output.append(helper.make_tensor_value_info(last.output[0], TensorProto.FLOAT, None))
    session, name = _session(model), model.graph.input[0].name
    seen = np.stack([session.run([last.output[0]], {name: picture[None]})[0][0] for picture in pictures])
    del model.graph.output[-1]
    seen = seen.reshape(len(pictures), seen.shape[1], -1).mean(2)
    scale = 1 / max(float(np.sqrt(seen.var(0).mean())), 1e-9)
    held = {tensor.name: tensor for tensor in model.graph.initializer}
    weight, offset = (_root(model, held, last.input[slot]) for slot in (1, 2))
    shift = (numpy_helper.to_array(offset).reshape(-1) - seen.mean(0)) * scale
    offset.CopyFrom(numpy_helper.from_array(shift.astype(np.float32).reshape(tuple(offset.dims)), offset.name))
    value = numpy_helper.to_array(weight) * np.float32(scale)
    weight.CopyFrom(numpy_helper.from_array(value, weight.name))


def _root(model: onnx.ModelProto, held: dict[str, TensorProto], name: str) -> TensorProto:
    """The initializer behind a name, through reshapes."""
    makers = {node.output[0]: node for node in model.graph.node}
    while name not in held:
        name = makers[name].input[0]
    return held[name]
