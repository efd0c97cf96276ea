"""Occlusion as a loop that runs the model file itself, one row at a time: what the service must agree with."""

import itertools
import math

import numpy as np
import onnxruntime as ort


class PlainModel:
    """The file as it came. Instances have no batch axis; `axis` is where the file has one, None if it has none."""

    def __init__(self, data, axis=0, output=None):
        options = ort.SessionOptions()
        options.log_severity_level = 4
        self.session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        self.axis, self.output = axis, output

    def __call__(self, inputs):
        """Output of one instance, without the batch axis, as float64."""
        feeds = inputs if self.axis is None else {k: np.expand_dims(v, self.axis) for k, v in inputs.items()}
        (value,) = self.session.run([self.output] if self.output else None, feeds)[:1]
        out = value if self.axis is None else value[0] if value.shape[0] == 1 else np.take(value, 0, self.axis)
        return np.asarray(out, dtype=np.float64)


def occlude(model, inputs, name, axes, window, stride, baseline, pick, edge="clip"):
    """(values by window, map with the input's full shape) for one input of one instance."""
    x = inputs[name]
    fx = pick(model(inputs))
    starts = []
    for axis, w, s in zip(axes, window, stride, strict=True):
        n = x.shape[axis]
        last = math.ceil(max(0, n - w) / s) if edge == "clip" else (n - w) // s
        starts.append([k * s for k in range(last + 1)])
    values, total, cover = [], np.zeros(x.shape), np.zeros(x.shape)
    for corner in itertools.product(*starts):
        box = [slice(None)] * x.ndim
        for axis, start, w in zip(axes, corner, window, strict=True):
            box[axis] = slice(start, start + w)
        row = x.copy()
        row[tuple(box)] = baseline[tuple(box)]
        value = fx - pick(model({**inputs, name: row}))
        values.append(value)
        total[tuple(box)] += value
        cover[tuple(box)] += 1
    return np.array(values), np.divide(total, cover, out=np.zeros(x.shape), where=cover > 0)


def ablate(model, inputs, baselines, pick):
    """Value of every element of every input in `baselines`, one at a time, in order."""
    fx = pick(model(inputs))
    values = []
    for name, baseline in baselines.items():
        for position in np.ndindex(inputs[name].shape):
            row = inputs[name].copy()
            row[position] = baseline[position]
            values.append(fx - pick(model({**inputs, name: row})))
    return np.array(values)
