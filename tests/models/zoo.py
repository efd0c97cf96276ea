"""Small models for tests, made from onnx.helper and seeded numpy weights. Each function gives serialised bytes.

Unless a docstring says otherwise the batch is fixed at 1, and the lone input is "x", float32, and the output "y".
`batch` is what the file says of the batch axis: a number fixes it, a string frees it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8
FLOAT, INT64, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING
_KINDS = {"float32": FLOAT, "float64": TensorProto.DOUBLE, "float16": TensorProto.FLOAT16}


class Builder:
    """Collects nodes and weights; `op` adds a node and returns the name of its (first) output."""

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def constant(self, value: Any, dtype: Any = None) -> str:
        """An initializer of this value; lists of ints become int64."""
        name = f"c{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def weight(self, *shape: int, scale: float | None = None, dtype: str = "float32") -> str:
        """A random initializer, scaled by its fan-in unless told otherwise."""
        scale = scale if scale is not None else 1 / np.sqrt(np.prod(shape[:-1]) if len(shape) > 1 else 1)
        return self.constant((self.random.standard_normal(shape) * scale).astype(dtype))

    def op(self, kind: str, *inputs: str, outputs: int | Sequence[str] = 1, domain: str = "", **attributes: Any) -> Any:
        """Add a node. One output gives its name, more a list."""
        name = f"{kind.lower()}_{len(self.nodes)}"
        made = [f"{name}_out{k}" for k in range(outputs)] if isinstance(outputs, int) else list(outputs)
        self.nodes.append(helper.make_node(kind, inputs, made, name=name, domain=domain, **attributes))
        return made[0] if len(made) == 1 else made

    def linear(self, x: str, ins: int, outs: int, dtype: str = "float32", output: str | None = None) -> str:
        """MatMul and Add."""
        product = self.op("MatMul", x, self.weight(ins, outs, dtype=dtype))
        bias = self.weight(outs, scale=0.1, dtype=dtype)
        return self.op("Add", product, bias, outputs=[output] if output else 1)

    def model(
        self,
        inputs: Mapping[str, tuple[int, Sequence[Any]]],
        outputs: Mapping[str, tuple[int, Sequence[Any] | None]],
        opset: int = OPSET,
        ml: bool = False,
    ) -> bytes:
        """The serialised model; inputs and outputs are name -> (element type, dims)."""
        graph = helper.make_graph(
            self.nodes,
            "zoo",
            [helper.make_tensor_value_info(name, *kind) for name, kind in inputs.items()],
            [helper.make_tensor_value_info(name, *kind) for name, kind in outputs.items()],
            self.weights,
        )
        opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid("ai.onnx.ml", 3)] if ml else [])]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION).SerializeToString()


def linear(features: int = 6, outputs: int = 3, dtype: str = "float32", batch: Any = "N", seed: int = 0) -> bytes:
    """y = x W + b. x [batch, features] of `dtype` (float32, float64, float16), y [batch, outputs]."""
    b = Builder(seed)
    b.linear("x", features, outputs, dtype, "y")
    kind = _KINDS[dtype]
    return b.model({"x": (kind, [batch, features])}, {"y": (kind, [batch, outputs])})


def linear_weights(model: bytes) -> tuple[np.ndarray, np.ndarray]:
    """W [features, outputs] and b [outputs] of a model made by `linear`."""
    first, second = onnx.load_from_string(model).graph.initializer
    return numpy_helper.to_array(first), numpy_helper.to_array(second)


def mlp(features: int = 8, hidden: int = 16, outputs: int = 3, batch: Any = "N", seed: int = 0) -> bytes:
    """Two layers with tanh. x [batch, features], y [batch, outputs]."""
    b = Builder(seed)
    b.linear(b.op("Tanh", b.linear("x", features, hidden)), hidden, outputs, output="y")
    return b.model({"x": (FLOAT, [batch, features])}, {"y": (FLOAT, [batch, outputs])})


def cnn(batch: Any = 1, target: Sequence[int] = (1, 128), seed: int = 0) -> bytes:
    """Conv, Relu, a Reshape to `target`, linear. x [batch, 3, 8, 8], y [batch, 5]. The Reshape bakes a batch of 1."""
    b = Builder(seed)
    conv = b.op("Conv", "x", b.weight(8, 3, 3, 3, scale=0.2), strides=[2, 2], pads=[1, 1, 1, 1])
    flat = b.op("Reshape", b.op("Relu", conv), b.constant(list(target)))
    b.linear(flat, 128, 5, output="y")
    return b.model({"x": (FLOAT, [batch, 3, 8, 8])}, {"y": (FLOAT, [batch, 5])})


def dense(batch: Any = "N", classes: int = 4, seed: int = 0) -> bytes:
    """Segmentation by two convolutions. x [batch, 3, height 8, width 10], y [batch, classes, 8, 10]."""
    b = Builder(seed)
    hidden = b.op("Relu", b.op("Conv", "x", b.weight(6, 3, 3, 3, scale=0.2), pads=[1, 1, 1, 1]))
    b.op("Conv", hidden, b.weight(classes, 6, 1, 1, scale=0.4), outputs=["y"])
    return b.model({"x": (FLOAT, [batch, 3, 8, 10])}, {"y": (FLOAT, [batch, classes, 8, 10])})


def _attend(b: Builder, q: str, k: str, v: str) -> str:
    """softmax(q kT / 2) v over the last two axes, of rank 3 or 4 (k comes transposed)."""
    scores = b.op("Mul", b.op("MatMul", q, k), b.constant(0.5, np.float32))
    return b.op("MatMul", b.op("Softmax", scores, axis=-1), v)


def transformer(batch: int = 1, length: int = 6, seed: int = 0) -> bytes:
    """Attention, heads split by Reshape to [batch, length, 4, 4]. x [batch, length, 16], y [batch, 3]."""
    b = Builder(seed)
    split, joined = b.constant([batch, length, 4, 4]), b.constant([batch, length, 16])

    def heads(perm: list[int]) -> str:
        return b.op("Transpose", b.op("Reshape", b.linear("x", 16, 16), split), perm=perm)

    mixed = _attend(b, heads([0, 2, 1, 3]), heads([0, 2, 3, 1]), heads([0, 2, 1, 3]))
    back = b.op("Reshape", b.op("Transpose", mixed, perm=[0, 2, 1, 3]), joined)
    hidden = b.op("Add", "x", b.op("Relu", b.linear(back, 16, 16)))
    b.linear(b.op("ReduceMean", hidden, axes=[1], keepdims=0), 16, 3, output="y")
    return b.model({"x": (FLOAT, [batch, length, 16])}, {"y": (FLOAT, [batch, 3])})


def folded_attention(length: int = 6, seed: int = 0) -> bytes:
    """torch's MultiheadAttention: [length, 1*4, 4], then [length*1, 16]. x, y [length, 1, 16], batch at 1."""
    b = Builder(seed)
    split = b.constant([length, 4, 4])

    def heads(perm: list[int]) -> str:
        return b.op("Transpose", b.op("Reshape", b.linear("x", 16, 16), split), perm=perm)

    mixed = _attend(b, heads([1, 0, 2]), heads([1, 2, 0]), heads([1, 0, 2]))
    flat = b.op("Reshape", b.op("Transpose", mixed, perm=[1, 0, 2]), b.constant([length, 16]))
    b.op("Reshape", b.linear(flat, 16, 16), b.constant([length, 1, 16]), outputs=["y"])
    return b.model({"x": (FLOAT, [length, 1, 16])}, {"y": (FLOAT, [length, 1, 16])})


def vit(seed: int = 0) -> bytes:
    """Patches, a class token joined by Concat, one attention, the class token's logits. x [1, 3, 8, 8], y [1, 5]."""
    b = Builder(seed)
    patches = b.op("Conv", "x", b.weight(16, 3, 4, 4, scale=0.2), strides=[4, 4])
    tokens = b.op("Transpose", b.op("Reshape", patches, b.constant([1, 16, 4])), perm=[0, 2, 1])
    joined = b.op("Concat", b.weight(1, 1, 16, scale=1), tokens, axis=1)
    placed = b.op("Add", joined, b.weight(1, 5, 16, scale=1))
    keys = b.op("Transpose", b.linear(placed, 16, 16), perm=[0, 2, 1])
    mixed = _attend(b, b.linear(placed, 16, 16), keys, b.linear(placed, 16, 16))
    first = b.op("Gather", mixed, b.constant(0, np.int64), axis=1)
    b.linear(first, 16, 5, output="y")
    return b.model({"x": (FLOAT, [1, 3, 8, 8])}, {"y": (FLOAT, [1, 5])})


def _lstm_weights(b: Builder, gates: int, inputs: int, hidden: int) -> list[str]:
    return [
        b.weight(1, gates * hidden, inputs, scale=0.4),
        b.weight(1, gates * hidden, hidden, scale=0.4),
        b.weight(1, 2 * gates * hidden, scale=0.1),
    ]


def lstm_batch_first(length: int = 7, seed: int = 0) -> bytes:
    """x transposed into an LSTM, last step to logits. x [1, length, 4], y [1, 3]."""
    b = Builder(seed)
    steps = b.op("Transpose", "x", perm=[1, 0, 2])
    _, last = b.op("LSTM", steps, *_lstm_weights(b, 4, 4, 5), outputs=2, hidden_size=5)
    b.linear(b.op("Squeeze", last, b.constant([0])), 5, 3, output="y")
    return b.model({"x": (FLOAT, [1, length, 4])}, {"y": (FLOAT, [1, 3])})


def lstm_time_first(length: int = 7, batch: int = 1, seed: int = 0) -> bytes:
    """x straight into an LSTM with constant initial states [1, batch, 5]. x [length, batch, 4], y [batch, 3]."""
    b = Builder(seed)
    states = [b.constant(np.repeat(b.random.standard_normal((1, 1, 5)), batch, 1).astype(np.float32)) for _ in "hc"]
    _, last = b.op("LSTM", "x", *_lstm_weights(b, 4, 4, 5), "", *states, outputs=2, hidden_size=5)
    b.linear(b.op("Squeeze", last, b.constant([0])), 5, 3, output="y")
    return b.model({"x": (FLOAT, [length, batch, 4])}, {"y": (FLOAT, [batch, 3])})


def gru_time_first(seed: int = 0) -> bytes:
    """A GRU with free axes, batch at 1. x ["seq", "batch", 4], y ["seq", "batch", 5]."""
    b = Builder(seed)
    every, _ = b.op("GRU", "x", *_lstm_weights(b, 3, 4, 5), outputs=2, hidden_size=5)
    b.op("Squeeze", every, b.constant([1]), outputs=["y"])
    return b.model({"x": (FLOAT, ["seq", "batch", 4])}, {"y": (FLOAT, ["seq", "batch", 5])})


def two_by_two(batch: Any = "N", seed: int = 0) -> bytes:
    """Inputs a [batch, 4] and b [batch, 6] float32; outputs logits [batch, 3] and total [batch, 1]."""
    b = Builder(seed)
    both = b.op("Tanh", b.op("Concat", b.linear("a", 4, 8), b.linear("b", 6, 8), axis=1))
    b.linear(both, 16, 3, output="logits")
    b.op("ReduceSum", both, b.constant([1]), outputs=["total"], keepdims=1)
    inputs = {"a": (FLOAT, [batch, 4]), "b": (FLOAT, [batch, 6])}
    return b.model(inputs, {"logits": (FLOAT, [batch, 3]), "total": (FLOAT, [batch, 1])})


def tokens(batch: Any = "N", length: Any = 8, vocabulary: int = 20, seed: int = 0) -> bytes:
    """Embedding, mean, tanh, linear. ids int64 [batch, length] in 0..vocabulary-1, y [batch, 3]."""
    b = Builder(seed)
    looked_up = b.op("Gather", b.weight(vocabulary, 6, scale=1), "ids", axis=0)
    b.linear(b.op("Tanh", b.op("ReduceMean", looked_up, axes=[1], keepdims=0)), 6, 3, output="y")
    return b.model({"ids": (INT64, [batch, length])}, {"y": (FLOAT, [batch, 3])})


def forest(
    batch: Any = "N", zipmap: bool = True, labels: Sequence[Any] = ("cat", "dog", "eel"), seed: int = 0
) -> bytes:
    """Eight trees of depth 3 on x [batch, 5]; 3 classes. Outputs label [batch] and probabilities.

    probabilities is seq(map) behind a ZipMap, or float32 [batch, 3] without. labels: str or int. NaN goes left.
    """
    b = Builder(seed)
    table = _trees(b.random, 8, 3, 5)
    kind = "classlabels_strings" if isinstance(labels[0], str) else "classlabels_int64s"
    text = STRING if isinstance(labels[0], str) else INT64
    scores = "scores" if zipmap else "probabilities"
    label_kind: dict[str, Any] = {kind: list(labels)}
    b.op(
        "TreeEnsembleClassifier", "x", outputs=["label", scores], domain="ai.onnx.ml", post_transform="SOFTMAX",
        **table, **label_kind,
    )  # fmt: skip
    outputs: dict[str, Any] = {"label": (text, [batch]), "probabilities": (FLOAT, [batch, 3])}
    if zipmap:
        b.op("ZipMap", scores, outputs=["probabilities"], domain="ai.onnx.ml", **label_kind)
    model = onnx.load_from_string(b.model({"x": (FLOAT, [batch, 5])}, outputs, ml=True))
    if zipmap:
        pair = helper.make_map_type_proto(text, helper.make_tensor_type_proto(FLOAT, []))
        model.graph.output[1].type.CopyFrom(helper.make_sequence_type_proto(pair))
    return model.SerializeToString()


def _trees(random: np.random.Generator, trees: int, depth: int, features: int, missing: bool = False) -> dict[str, Any]:
    """Attributes of full binary trees with random splits; each leaf votes for all of three classes.

    NaN goes left, or where `missing` is set at random.
    """
    held: dict[str, Any] = {f"nodes_{k}": [] for k in ("treeids", "nodeids", "featureids", "values", "modes")}
    held |= {f"nodes_{k}": [] for k in ("truenodeids", "falsenodeids", "missing_value_tracks_true")}
    held |= {f"class_{k}": [] for k in ("treeids", "nodeids", "ids", "weights")}
    inner = 2**depth - 1
    for tree in range(trees):
        for node in range(2 * inner + 1):
            leaf = node >= inner
            held["nodes_treeids"].append(tree)
            held["nodes_nodeids"].append(node)
            held["nodes_featureids"].append(0 if leaf else int(random.integers(features)))
            held["nodes_values"].append(0.0 if leaf else float(random.standard_normal()))
            held["nodes_modes"].append("LEAF" if leaf else "BRANCH_LEQ")
            held["nodes_truenodeids"].append(0 if leaf else 2 * node + 1)
            held["nodes_falsenodeids"].append(0 if leaf else 2 * node + 2)
            left = int(random.integers(2)) if missing else 1
            held["nodes_missing_value_tracks_true"].append(0 if leaf else left)
            if leaf:
                for label in range(3):
                    held["class_treeids"].append(tree)
                    held["class_nodeids"].append(node)
                    held["class_ids"].append(label)
                    held["class_weights"].append(float(random.standard_normal()))
    return held


def batch_mean(batch: Any = "N", seed: int = 0) -> bytes:
    """Rows interact: the batch's mean is subtracted. x [batch, 6], y [batch, 3]."""
    b = Builder(seed)
    mean = b.op("ReduceMean", "x", axes=[0], keepdims=1)
    b.linear(b.op("Tanh", b.op("Sub", "x", mean)), 6, 3, output="y")
    return b.model({"x": (FLOAT, [batch, 6])}, {"y": (FLOAT, [batch, 3])})


def batch_softmax(batch: Any = "N", seed: int = 0) -> bytes:
    """Rows interact: softmax over axis 0. x [batch, 6], y [batch, 3]."""
    b = Builder(seed)
    b.op("Softmax", b.linear("x", 6, 3), outputs=["y"], axis=0)
    return b.model({"x": (FLOAT, [batch, 6])}, {"y": (FLOAT, [batch, 3])})


def scalar_side(batch: Any = "N", seed: int = 0) -> bytes:
    """x [batch, 6] and a scalar t [] that scales it; y [batch, 3]. t has no batch axis."""
    b = Builder(seed)
    b.linear(b.op("Mul", "x", "t"), 6, 3, output="y")
    return b.model({"x": (FLOAT, [batch, 6]), "t": (FLOAT, [])}, {"y": (FLOAT, [batch, 3])})


def strings(batch: Any = "N", hidden: bool = True, seed: int = 0) -> bytes:
    """s string [batch, 2], each "red", "green", "blue" or other, through a LabelEncoder to y float32 [batch, 3].

    hidden: a Slice stands in front, through which the words aren't traced to the input.
    """
    b = Builder(seed)
    words = b.op("Slice", "s", b.constant([0]), b.constant([2]), b.constant([1])) if hidden else "s"
    codes = b.op(
        "LabelEncoder", words, domain="ai.onnx.ml", keys_strings=["red", "green", "blue"],
        values_floats=[1.0, 2.0, 4.0], default_float=-1.0,
    )  # fmt: skip
    b.linear(codes, 2, 3, output="y")
    return b.model({"s": (STRING, [batch, 2])}, {"y": (FLOAT, [batch, 3])}, ml=True)


def strict_columns(batch: Any = "N", seed: int = 0) -> bytes:
    """An input a column: age int64 and income float32 [batch, 1], city and job string [batch, 1], y float32 [batch, 2].

    Words that its encoders don't know are refused: cities are "Bern", "Oslo", "Rome", jobs "clerk" and "nurse".
    """
    b = Builder(seed)
    known = {"city": ["Bern", "Oslo", "Rome"], "job": ["clerk", "nurse"]}
    hot = [
        b.op("OneHotEncoder", name, domain="ai.onnx.ml", cats_strings=words, zeros=0) for name, words in known.items()
    ]
    flat = [b.op("Reshape", one, b.constant([-1, len(words)])) for one, words in zip(hot, known.values(), strict=True)]
    age = b.op("Mul", b.op("Cast", "age", to=FLOAT), b.constant(0.05, np.float32))
    b.linear(b.op("Tanh", b.op("Concat", age, "income", *flat, axis=1)), 7, 2, output="y")
    inputs = {"age": (INT64, [batch, 1]), "income": (FLOAT, [batch, 1])}
    inputs |= {name: (STRING, [batch, 1]) for name in known}
    return b.model(inputs, {"y": (FLOAT, [batch, 2])}, ml=True)


def boosted(batch: Any = "N", features: int = 4, seed: int = 0) -> bytes:
    """Boosted trees that send missing values either way, and a sigmoid. x [batch, features], p [batch, 1]."""
    b = Builder(seed)
    held = _trees(b.random, 10, 3, features, missing=True)
    votes = {f"target_{k.removeprefix('class_')}": v for k, v in held.items() if k.startswith("class_")}
    trees = {k: v for k, v in held.items() if k.startswith("nodes_")}
    kept = [n for n, label in enumerate(votes["target_ids"]) if label == 0]
    votes = {k: [v[n] for n in kept] for k, v in votes.items()}
    score = b.op("TreeEnsembleRegressor", "x", domain="ai.onnx.ml", n_targets=1, **trees, **votes)
    b.op("Sigmoid", score, outputs=["p"])
    return b.model({"x": (FLOAT, [batch, features])}, {"p": (FLOAT, [batch, 1])}, ml=True)


def resized(seed: int = 0) -> bytes:
    """A tiny U-Net: pooled, resized back by constant sizes [1, 4, 8, 8], joined. x [1, 3, 8, 8], y [1, 2, 8, 8]."""
    b = Builder(seed)
    wide = b.op("Relu", b.op("Conv", "x", b.weight(4, 3, 3, 3, scale=0.3), pads=[1, 1, 1, 1]))
    small = b.op("MaxPool", wide, kernel_shape=[2, 2], strides=[2, 2])
    back = b.op("Resize", small, "", "", b.constant([1, 4, 8, 8]), mode="linear")
    b.op("Conv", b.op("Concat", wide, back, axis=1), b.weight(2, 8, 1, 1, scale=0.3), outputs=["y"])
    return b.model({"x": (FLOAT, [1, 3, 8, 8])}, {"y": (FLOAT, [1, 2, 8, 8])})


def old_style(seed: int = 0) -> bytes:
    """IR 3, opset 9, weights listed among the inputs. x [1, 3, 8, 8], y [1, 5], as `cnn`."""
    model = onnx.load_from_string(cnn(seed=seed))
    model.ir_version, model.opset_import[0].version = 3, 9
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    return model.SerializeToString()


def chain(levels: int) -> dict[str, Any]:
    """Attributes of a tree ensemble of one tree, each branch of which has a leaf and the next branch."""
    count = 2 * levels + 1
    return dict(
        nodes_treeids=[0] * count,
        nodes_nodeids=list(range(count)),
        nodes_featureids=[0] * count,
        nodes_modes=["BRANCH_LEQ"] * levels + ["LEAF"] * (levels + 1),
        nodes_values=[0.5] * count,
        nodes_truenodeids=[*range(1, levels), count - 1, *[0] * (levels + 1)],
        nodes_falsenodeids=[*range(levels, 2 * levels), *[0] * (levels + 1)],
        target_treeids=[0] * (levels + 1),
        target_nodeids=list(range(levels, count)),
        target_ids=[0] * (levels + 1),
        target_weights=[1.0] * (levels + 1),
    )
