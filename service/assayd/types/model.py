"""What is known of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from assayd.types.request import BaselineSpec, Group

LAYOUTS: Mapping[str, str] = {"NCHW": "CHW", "NHWC": "HWC", "NCDHW": "CDHW", "NTC": "TC", "NF": "F"}
"""Layout -> the axes of an instance. C holds channels; the other axes are spatial."""

MOST_AXES, MOST_EXTENT = 32, 2**40
"""Of an instance's shape."""


@dataclass(frozen=True)
class TensorSignature:
    """One input or output of a model.

    dtype: numpy's, object for strings; None for bfloat16. shape: of one instance, None where any extent is allowed; for
    an output it may be None as a whole. batch_axis: position of the batch axis in the model's own tensor, or None.
    batch_extent: what the model file fixes that axis to, or None where it is free.
    """

    name: str
    dtype: np.dtype[np.generic] | None
    shape: tuple[int | None, ...] | None
    batch_axis: int | None = 0
    batch_extent: int | None = None
    class_labels: tuple[str, ...] = ()
    vocabulary: int | None = None
    """For integer inputs that index an embedding: the number of its rows."""
    levels: tuple[tuple[str | int, ...], ...] = ()
    """For tables some of whose columns are encoded: by column the values that the encoder knows, or ()."""


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs in the model's order."""

    inputs: tuple[TensorSignature, ...]
    outputs: tuple[TensorSignature, ...]

    def input(self, name: str) -> TensorSignature:
        """The input of that name; KeyError if there is none."""
        return {t.name: t for t in self.inputs}[name]

    def output(self, name: str) -> TensorSignature:
        """The output of that name; KeyError if there is none."""
        return {t.name: t for t in self.outputs}[name]


@dataclass(frozen=True)
class Batching:
    """How a model's rows run. reason is empty where they share batches."""

    batched: bool
    reason: str
    max_rows: int


@dataclass(frozen=True)
class Tuning:
    """How a model runs fastest on one device. rows: of one run. threads: of one run, 0 where onnxruntime chooses. runs:
    that one batch takes, one after the other.
    """

    rows: int
    threads: int
    runs: int = 1


@dataclass(frozen=True, eq=False)
class InputFacts:
    """What a spec says of one input."""

    layout: str | None = None
    feature_names: tuple[str, ...] = ()
    baseline: BaselineSpec | None = None


@dataclass(frozen=True, eq=False)
class ModelSpec:
    """Facts that the file lacks. class_labels: by output."""

    inputs: Mapping[str, InputFacts] = field(default_factory=dict)
    class_labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    groups: tuple[Group, ...] = ()


@dataclass(frozen=True)
class ModelVersion:
    """One stored version. name and version are empty where a model is asked for by digest. created: Unix seconds."""

    name: str
    version: str
    digest: str
    spec_digest: str
    size_bytes: int
    created: float
    tenant: str = "default"
