"""What the server keeps under a name: models and the facts their files lack."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from google.protobuf import json_format

from assay.baselines import Baseline, decode_baseline, encode_baselines
from assay.enums import enum_number, enum_word
from assay.errors import invalid
from assay.features import Group, decode_group, encode_group
from assay.tensors import dtype_name
from assay.v1 import model_service_pb2


@dataclass(frozen=True, eq=False)
class ModelSpec:
    """Facts about a model that explanations need and its file lacks. Part of a version's identity.

    Attributes:
        layouts: input -> "NCHW", "NHWC", "NCDHW", "NTC" or "NF", the meaning of its axes.
        feature_names: input -> one name for each element of an instance, row-major.
        baselines: input -> the baseline where a request gives none.
        class_labels: output -> the class of each element of an instance's output, row-major.
        groups: named groups of elements, which `Groups()` means.
    """

    layouts: Mapping[str, str] = field(default_factory=dict)
    feature_names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    baselines: Mapping[str, Baseline] = field(default_factory=dict)
    class_labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    groups: Sequence[Group] = ()

    @classmethod
    def from_json(cls, text: str | bytes) -> ModelSpec:
        """The spec that the protobuf JSON of an `assay.v1.ModelSpec` says; InvalidArgument if it is none."""
        message = model_service_pb2.ModelSpec()
        try:
            json_format.Parse(text, message)
        except (json_format.ParseError, UnicodeDecodeError) as error:
            raise invalid("spec", str(error)) from error
        return decode_spec(message)

    def to_json(self) -> str:
        """The protobuf JSON of the spec."""
        return str(json_format.MessageToJson(encode_spec(self)))


@dataclass(frozen=True)
class TensorInfo:
    """One input or output of a model.

    Attributes:
        name: name in the model.
        dtype: numpy's name of the element type, "str" for strings.
        shape: shape of one instance (no batch axis), -1 where any extent is allowed.
        batch_axis: position of the batch axis in the model's own tensor, or None.
        class_labels: labels of an output's elements, or ().
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    batch_axis: int | None = 0
    class_labels: tuple[str, ...] = ()

    def __str__(self) -> str:
        shape = ", ".join("?" if extent < 0 else str(extent) for extent in self.shape)
        return f"{self.name} {self.dtype} [{shape}]"


@dataclass(frozen=True)
class Batching:
    """How the server runs a model's rows: mode "batched", or "row_by_row" with the reason; max_rows in one batch."""

    mode: str
    reason: str = ""
    max_rows: int = 0


@dataclass(frozen=True, eq=False, repr=False)
class Model:
    """One version of a model, immutable for ever.

    `models()` lists versions without inputs, outputs and batching; `get_model(model.ref)` fills them.

    Attributes:
        name, version: "" where it was asked for by digest.
        digest: "sha256:…" of the .onnx bytes.
        spec_digest: "sha256:…" of the spec.
        size_bytes: size of the .onnx bytes.
        created: when the version was stored, in UTC.
        inputs, outputs: in the model's order.
        batching: how its rows run.
        spec: what it was stored with.
    """

    name: str
    version: str
    digest: str
    spec_digest: str = ""
    size_bytes: int = 0
    created: datetime | None = None
    inputs: tuple[TensorInfo, ...] = ()
    outputs: tuple[TensorInfo, ...] = ()
    batching: Batching = Batching("")
    spec: ModelSpec = field(default_factory=ModelSpec)

    @property
    def ref(self) -> str:
        """What names exactly this version in a request: "name@version", or the digest where it has no name."""
        return f"{self.name}@{self.version}" if self.name and self.version else self.digest

    def __repr__(self) -> str:
        inputs, outputs = (", ".join(map(str, infos)) for infos in (self.inputs, self.outputs))
        does = f": {inputs} -> {outputs}" if inputs else ""
        return f"<Model {self.ref} {self.digest[:19]}{does}>"


def is_immutable(ref: str) -> bool:
    """Whether a reference means the same model for ever: a digest or "name@version", not a bare name."""
    return ref.startswith("sha256:") or "@" in ref


def encode_spec(spec: ModelSpec | Mapping[str, Any] | None) -> model_service_pb2.ModelSpec:
    """The message of a spec, or of a mapping in the form of its protobuf JSON. None is the empty spec."""
    if spec is None:
        return model_service_pb2.ModelSpec()
    if isinstance(spec, Mapping):
        spec = ModelSpec.from_json(json.dumps(spec))
    message = model_service_pb2.ModelSpec(groups=[encode_group(group) for group in spec.groups])
    for name in dict.fromkeys([*spec.layouts, *spec.feature_names, *spec.baselines]):
        entry = message.inputs.add(name=name, feature_names=spec.feature_names.get(name, ()))
        if name in spec.layouts:
            entry.layout = enum_number(model_service_pb2.Layout.DESCRIPTOR, spec.layouts[name], "spec.layouts")
        if name in spec.baselines:
            entry.baseline.CopyFrom(encode_baselines(spec.baselines[name])[0])
    for name, labels in spec.class_labels.items():
        message.outputs.add(name=name, class_labels=labels)
    return message


def decode_spec(message: model_service_pb2.ModelSpec) -> ModelSpec:
    """The spec of a message."""
    layout = model_service_pb2.Layout.DESCRIPTOR
    return ModelSpec(
        layouts={i.name: enum_word(layout, i.layout).upper() for i in message.inputs if i.layout},
        feature_names={i.name: tuple(i.feature_names) for i in message.inputs if i.feature_names},
        baselines={i.name: decode_baseline(i.baseline) for i in message.inputs if i.HasField("baseline")},
        class_labels={o.name: tuple(o.class_labels) for o in message.outputs if o.class_labels},
        groups=tuple(decode_group(group) for group in message.groups),
    )


def decode_model(message: model_service_pb2.Model) -> Model:
    """The model of a message."""
    created = message.create_time.ToDatetime(timezone.utc) if message.HasField("create_time") else None
    batching, modes = message.batching, model_service_pb2.BatchingMode.DESCRIPTOR
    return Model(
        name=message.name,
        version=message.version,
        digest=message.digest,
        spec_digest=message.spec_digest,
        size_bytes=message.size_bytes,
        created=created,
        inputs=tuple(map(_tensor_info, message.inputs)),
        outputs=tuple(map(_tensor_info, message.outputs)),
        batching=Batching(enum_word(modes, batching.mode), batching.reason, batching.max_rows),
        spec=decode_spec(message.spec),
    )


def _tensor_info(message: model_service_pb2.TensorInfo) -> TensorInfo:
    return TensorInfo(
        name=message.name,
        dtype=dtype_name(message.dtype),
        shape=tuple(message.shape),
        batch_axis=message.batch_axis if message.HasField("batch_axis") else None,
        class_labels=tuple(message.class_labels),
    )
