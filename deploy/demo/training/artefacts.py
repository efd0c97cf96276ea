# Copyright The Assay Authors. SPDX-License-Identifier: Apache-2.0
"""Where the demo's files go, and the checks that every exported model passes before it is reported."""

from __future__ import annotations

import hashlib
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from google.protobuf import json_format
from numpy.typing import NDArray

DEMO = Path(__file__).resolve().parents[1]
MODELS = DEMO / "models"
DATA = DEMO / "data"

sys.path.insert(0, str(DEMO.parents[1] / "clients" / "python"))  # the generated stubs, for ModelSpec

from assay.v1.model_service_pb2 import ModelSpec  # noqa: E402

Float = NDArray[np.float32]
Log = Callable[[str], None]


def without_metadata(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns a copy of the model without exporter notes.

    The exporter writes stack traces with source paths into them, which would make the file differ by machine.
    """
    clean = onnx.ModelProto()
    clean.CopyFrom(model)
    scopes: list[Any] = [clean.graph, *clean.functions]
    holders: list[Any] = [clean, *scopes, *clean.graph.input, *clean.graph.output, *clean.graph.initializer]
    for scope in scopes:
        holders += [*scope.node, *scope.value_info]
    for holder in holders:
        holder.ClearField("doc_string")
        holder.ClearField("metadata_props")
    return clean


def save_model(name: str, model: onnx.ModelProto, spec: dict[str, Any], version: str = "1") -> Path:
    """Writes `models/<name>/<version>/model.onnx` and its `spec.json`; returns the model's path."""
    json_format.ParseDict(spec, ModelSpec())  # raises on anything that isn't a ModelSpec
    folder = MODELS / name / version
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString(deterministic=True))
    (folder / "spec.json").write_text(json.dumps(spec, indent=2) + "\n", encoding="utf-8")
    return path


def save_data(name: str, **arrays: NDArray[Any]) -> None:
    """Writes `data/<name>.npz`, compressed."""
    DATA.mkdir(parents=True, exist_ok=True)
    packed = io.BytesIO()
    np.savez_compressed(packed, allow_pickle=False, **arrays)
    (DATA / f"{name}.npz").write_bytes(packed.getvalue())


def open_session(path: Path) -> ort.InferenceSession:
    """Loads a model on the CPU, one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def logits(session: ort.InferenceSession, rows: Float, batch: int) -> Float:
    """Runs rows [N, ...] in batches and returns the output "logits" [N, K]."""
    feed = session.get_inputs()[0].name
    parts = [session.run(["logits"], {feed: rows[i : i + batch]})[0] for i in range(0, len(rows), batch)]
    return np.concatenate(parts)


def accuracy(scores: NDArray[Any], labels: NDArray[Any]) -> float:
    """Share of rows of scores [N, K] whose largest element stands at labels [N]."""
    return float((scores.argmax(axis=1) == labels).mean())


def describe(path: Path, log: Log) -> ort.InferenceSession:
    """Checks one file, logs its size, digest and signature, and returns a session on it."""
    model = onnx.load(str(path))
    onnx.checker.check_model(model, full_check=True)
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer):
        raise ValueError(f"{path.name} keeps weights outside the file")
    session = open_session(path)
    content = path.read_bytes()
    opsets = ", ".join(f"{entry.domain or 'ai.onnx'} {entry.version}" for entry in model.opset_import)
    log(f"  file    models/{path.relative_to(MODELS)}, {len(content)} bytes")
    log(f"  sha256  {hashlib.sha256(content).hexdigest()}")
    log(f"  opsets  {opsets}; IR {model.ir_version}")
    log(f"  nodes   {', '.join(node.op_type for node in model.graph.node)}")
    for kind, values in (("input", session.get_inputs()), ("output", session.get_outputs())):
        for value in values:
            log(f"  {kind:7} {value.name}: {value.type} {value.shape}")
    return session
