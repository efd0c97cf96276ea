"""Run a test model on onnxruntime, on one thread of the CPU."""

from __future__ import annotations

import numpy as np
import onnxruntime

from assayd.types.model import Signature


def session(model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def feeds(signature: Signature, rows: int, seed: int = 0, free: int = 6) -> dict[str, np.ndarray]:
    """Random inputs of rows times the file's batch; other free axes get extent `free`."""
    random = np.random.default_rng(seed)
    made = {}
    for tensor in signature.inputs:
        shape = [free if extent is None else extent for extent in tensor.shape]
        shape.insert(tensor.batch_axis, rows * (tensor.batch_extent or 1))
        values = random.integers(0, tensor.vocabulary, shape) if tensor.vocabulary else random.standard_normal(shape)
        made[tensor.name] = values.astype(tensor.dtype)
    return made
