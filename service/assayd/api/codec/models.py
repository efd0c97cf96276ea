"""Models, their specs and signatures."""

from __future__ import annotations

import math

from google.protobuf.timestamp_pb2 import Timestamp

from assay.v1 import model_service_pb2 as pb
from assayd.api.codec.enums import word
from assayd.api.codec.parts import decode_baseline, decode_group
from assayd.api.codec.tensors import Fetch, data_type
from assayd.engine.backend import LoadedModel
from assayd.errors import InvalidRequest
from assayd.explain.targets import with_labels
from assayd.types.model import InputFacts, ModelSpec, ModelVersion, Signature, TensorSignature


def decode_spec(spec: pb.ModelSpec, fetch: Fetch) -> ModelSpec:
    """A spec as the domain's value. Raises InvalidRequest with a field relative to the spec."""
    _unique("inputs", [i.name for i in spec.inputs])
    _unique("outputs", [o.name for o in spec.outputs])
    inputs = {}
    for n, entry in enumerate(spec.inputs):
        layout = word(pb.Layout.DESCRIPTOR, entry.layout)
        baseline = None
        if entry.HasField("baseline"):
            baseline = decode_baseline(entry.baseline, f"inputs[{n}].baseline", fetch)
        inputs[entry.name] = InputFacts(layout.upper() if layout else None, tuple(entry.feature_names), baseline)
    labels = {o.name: tuple(o.class_labels) for o in spec.outputs if o.class_labels}
    return ModelSpec(inputs, labels, tuple(decode_group(g) for g in spec.groups))


def _unique(field: str, names: list[str]) -> None:
    for n, name in enumerate(names):
        if name in names[:n]:
            raise InvalidRequest(f"{name!r} has two entries", field=f"{field}[{n}].name")


def check_spec(spec: pb.ModelSpec, signature: Signature) -> None:
    """A spec must speak of this model. Raises InvalidRequest with a field relative to the spec."""
    inputs = {s.name: s for s in signature.inputs}
    outputs = {s.name: s for s in signature.outputs}
    for n, entry in enumerate(spec.inputs):
        field = f"inputs[{n}]"
        known = _known(entry.name, inputs, field, "input")
        layout = word(pb.Layout.DESCRIPTOR, entry.layout)
        rank = len(known.shape or ())
        if layout is not None and len(layout) - 1 != rank:
            raise InvalidRequest(
                f"layout {layout.upper()} has {len(layout) - 1} axes beside the batch, an instance of "
                f"{entry.name!r} has {rank}",
                field=f"{field}.layout",
            )
        _count(len(entry.feature_names), known, f"{field}.feature_names", "feature names")
        if entry.HasField("baseline") and entry.baseline.input not in ("", entry.name):
            raise InvalidRequest("a baseline inside an input's spec is that input's", field=f"{field}.baseline.input")
    for n, out in enumerate(spec.outputs):
        known = _known(out.name, outputs, f"outputs[{n}]", "output")
        _count(len(out.class_labels), known, f"outputs[{n}].class_labels", "class labels")
    _unique("groups", [g.name for g in spec.groups])
    columns = {
        name: [name] for name, s in inputs.items() if s.shape is not None and math.prod(n or 0 for n in s.shape) == 1
    }
    names = columns | {entry.name: list(entry.feature_names) for entry in spec.inputs if entry.feature_names}
    for g, group in enumerate(spec.groups):
        for m, member in enumerate(group.members):
            _check_member(member, inputs, names, f"groups[{g}].members[{m}]")


def _check_member(
    member: pb.Member, inputs: dict[str, TensorSignature], names: dict[str, list[str]], field: str
) -> None:
    """A member must be an element of an input: by index inside it, or by one of its feature names."""
    if member.WhichOneof("element") == "name" and not member.input:
        holders = [name for name, features in names.items() for feature in features if feature == member.name]
        if len(holders) != 1:
            what = "of no input" if not holders else f"in {', '.join(map(repr, holders))}"
            raise InvalidRequest(f"{member.name[:80]!r} is a feature name {what}: name the input", field=field)
        return
    if not member.input and len(inputs) > 1:
        raise InvalidRequest(f"name the input of this member; the model has {list(inputs)}", field=field)
    if member.input and member.input not in inputs:
        raise InvalidRequest(f"the model has no input {member.input[:80]!r}; it has {list(inputs)}", field=field)
    known = inputs[member.input] if member.input else next(iter(inputs.values()))
    if member.WhichOneof("element") == "name":
        if names.get(known.name, []).count(member.name) != 1:
            raise InvalidRequest(f"{member.name[:80]!r} isn't one feature name of input {known.name!r}", field=field)
        return
    size = math.prod(n or 0 for n in known.shape or ()) or math.inf
    if not 0 <= member.index < size:
        raise InvalidRequest(f"input {known.name!r} has {size} elements, and no element {member.index}", field=field)


def _known(name: str, all_known: dict[str, TensorSignature], field: str, kind: str) -> TensorSignature:
    if name not in all_known:
        raise InvalidRequest(f"the model has no {kind} {name[:80]!r}; it has {list(all_known)}", field=f"{field}.name")
    return all_known[name]


def _count(count: int, known: TensorSignature, field: str, what: str) -> None:
    size = 1
    for n in known.shape or (None,):
        if n is None:
            return
        size *= n
    if count not in (0, size):
        raise InvalidRequest(f"{count} {what} for {size} elements of {known.name!r}", field=field)


def encode_version(version: ModelVersion) -> pb.Model:
    """A stored version, without what only loading tells."""
    message = pb.Model(
        name=version.name,
        version=version.version,
        digest=version.digest,
        spec_digest=version.spec_digest,
        size_bytes=version.size_bytes,
    )
    if version.created:
        created = Timestamp()
        created.FromNanoseconds(int(version.created * 1e9))
        message.create_time.CopyFrom(created)
    return message


def encode_model(version: ModelVersion, loaded: LoadedModel, spec: pb.ModelSpec, facts: ModelSpec) -> pb.Model:
    """A stored version with its signature, batching and spec."""
    message = encode_version(version)
    signature = with_labels(loaded.signature, facts)
    message.inputs.extend(_info(s) for s in signature.inputs)
    message.outputs.extend(_info(s) for s in signature.outputs)
    batching = loaded.batching
    mode = pb.BATCHING_MODE_BATCHED if batching.batched else pb.BATCHING_MODE_ROW_BY_ROW
    message.batching.CopyFrom(pb.Batching(mode=mode, reason=batching.reason, max_rows=batching.max_rows))
    message.spec.CopyFrom(spec)
    return message


def _info(s: TensorSignature) -> pb.TensorInfo:
    shape = [-1 if n is None else n for n in s.shape or ()]
    info = pb.TensorInfo(name=s.name, dtype=data_type(s.dtype), shape=shape, class_labels=s.class_labels)
    if s.batch_axis is not None:
        info.batch_axis = s.batch_axis
    return info
