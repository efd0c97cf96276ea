"""Requests to the domain's values."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from assay.v1 import explain_pb2, explain_service_pb2, model_service_pb2
from assay.v1.tensor_pb2 import Tensor
from assayd.api.codec.as_sent import own_targets
from assayd.api.codec.enums import word
from assayd.api.codec.memo import Settings
from assayd.api.codec.parts import per_input
from assayd.api.codec.tensors import Fetch, decode_tensor
from assayd.errors import InvalidRequest
from assayd.explain.request import AsSent, Budget, ExplainRequest, PredictRequest
from assayd.scheduler.work import Caller
from assayd.types.arrays import Array
from assayd.types.method import differentiates
from assayd.types.model import ModelSpec, ModelVersion
from assayd.types.request import AtIndex, AtLabel, AtRank, PerInput, TargetSpec, Weighted

MAX_TARGETS = 1024
_MAX_KEY_BYTES = 256
_MAX_REQUEST_ID = 128
_MAX_BUDGET_S = 86400.0


def decode_caller(tenant: str, priority: int) -> Caller:
    """Whom the rows are counted for."""
    return Caller(tenant, word(explain_pb2.Priority.DESCRIPTOR, priority) or "normal")


def check_request_id(request_id: str) -> None:
    """Raises InvalidRequest where it can't go into headers and logs."""
    if len(request_id) > _MAX_REQUEST_ID or any(not " " <= c <= "~" for c in request_id):
        raise InvalidRequest(f"at most {_MAX_REQUEST_ID} printable ASCII characters", field="request_id")


def decode_explain(
    message: explain_service_pb2.ExplainRequest,
    caller: Caller,
    version: ModelVersion,
    spec: ModelSpec,
    arrived: float,
    deadline: float | None,
    settings_of: Callable[[Fetch], Settings],
    fetch: Fetch,
) -> ExplainRequest:
    """A vetted request. arrived: on the monotonic clock, from which its budget of time counts. settings_of: finds
    what it asks of every instance.

    Raises InvalidRequest, InvalidTensor, TensorNotFound, MethodRevision with the field.
    """
    inputs = _inputs(message.inputs, fetch)
    instances = len(next(iter(inputs.values())))
    settings = settings_of(fetch)
    name, method = settings.method_name, settings.method
    if differentiates(method) and (message.targets or message.instance_targets):
        raise InvalidRequest(f"{name} differentiates whole outputs: name those in {name}.outputs", field="targets")
    if message.keys and len(message.keys) != instances:
        raise InvalidRequest(f"{len(message.keys)} keys for {instances} instances", field="keys")
    for n, key in enumerate(message.keys):
        if len(key.encode()) > _MAX_KEY_BYTES:
            raise InvalidRequest(f"a key has at most {_MAX_KEY_BYTES} bytes", field=f"keys[{n}]")
    return ExplainRequest(
        caller=caller,
        model=version,
        spec=spec,
        inputs=inputs,
        method_name=name,
        method=method,
        targets=_targets(message, instances, fetch),
        inputs_to_explain=tuple(message.inputs_to_explain),
        layouts=_layouts(message),
        keys=tuple(message.keys),
        seed=message.seed,
        deadline=deadline,
        budget=_budget(message, instances, arrived),
        skip_failed=message.on_instance_error == explain_pb2.ON_INSTANCE_ERROR_SKIP,
        validate_only=message.validate_only,
        reproducible=message.reproducible,
        return_rows=message.return_rows,
        as_sent=AsSent(settings.as_sent(fetch), own_targets(message, fetch)),
    )


def _budget(message: explain_service_pb2.ExplainRequest, instances: int, arrived: float) -> Budget:
    asked = message.budget
    if asked.HasField("rows") and asked.rows < 1:
        raise InvalidRequest("a budget has at least one row", field="budget.rows")
    seconds = asked.time.seconds + asked.time.nanos / 1e9
    # The standard's own bounds of nanos: what lies beyond can't be written as JSON into a record.
    proper = abs(asked.time.nanos) < 1e9 and asked.time.seconds * asked.time.nanos >= 0
    if asked.HasField("time") and not (proper and 0 < seconds <= _MAX_BUDGET_S):
        raise InvalidRequest(
            f"a budget of time is above 0 and at most {_MAX_BUDGET_S:g} s, its nanos fewer than a second's",
            field="budget.time",
        )
    partial = asked.on_exhausted == explain_pb2.ON_BUDGET_PARTIAL
    if asked.HasField("time") and partial and message.reproducible:
        raise InvalidRequest(
            "how far an answer comes in a given time isn't reproducible: give a budget of rows", field="budget.time"
        )
    if partial and message.reproducible and instances > 1:
        raise InvalidRequest(
            "an instance's share of the rows depends on how many share them, which isn't reproducible: send one "
            "instance, or let the budget fail",
            field="budget.on_exhausted",
        )
    return Budget(
        asked.rows if asked.HasField("rows") else None, arrived + seconds if asked.HasField("time") else None, partial
    )


def decode_predict(
    message: explain_service_pb2.PredictRequest,
    caller: Caller,
    version: ModelVersion,
    deadline: float | None,
    fetch: Fetch,
) -> PredictRequest:
    """A vetted request. Raises InvalidTensor, TensorNotFound with the field."""
    inputs = _inputs(message.inputs, fetch)
    return PredictRequest(caller, version, inputs, tuple(message.outputs), deadline)


def _inputs(tensors: Mapping[str, Tensor], fetch: Fetch) -> dict[str, Array]:
    inputs = {}
    for name, tensor in tensors.items():
        field = f"inputs[{name[:80]}]"
        array = decode_tensor(tensor, field, fetch)
        if array.ndim == 0 or len(array) == 0:
            raise InvalidRequest("at least one instance is needed, on a leading axis of the tensor", field=field)
        inputs[name] = array
    if not inputs:
        raise InvalidRequest("no input tensor is given", field="inputs")
    return inputs


def _layouts(message: explain_service_pb2.ExplainRequest) -> PerInput[str]:
    def layout(entry: explain_pb2.InputLayout, path: str) -> str:
        named = word(model_service_pb2.Layout.DESCRIPTOR, entry.layout)
        if named is None:
            raise InvalidRequest("name a layout, or leave the entry out", field=f"{path}.layout")
        return named.upper()

    return per_input(message.layouts, "layouts", layout)


def _targets(message: explain_service_pb2.ExplainRequest, instances: int, fetch: Fetch) -> list[tuple[TargetSpec, ...]]:
    """Targets of each instance; the top score of the default output where none is given."""
    if not message.instance_targets:
        shared = tuple(_target(t, f"targets[{n}]", fetch) for n, t in enumerate(message.targets)) or (TargetSpec(),)
        _count(len(shared), "targets")
        return [shared] * instances
    if message.targets:
        raise InvalidRequest("targets for all instances and targets for each exclude each other", field="targets")
    if len(message.instance_targets) != instances:
        raise InvalidRequest(
            f"{len(message.instance_targets)} entries for {instances} instances", field="instance_targets"
        )
    each = []
    for i, entry in enumerate(message.instance_targets):
        field = f"instance_targets[{i}].targets"
        _count(len(entry.targets), field)
        if len(entry.targets) != len(message.instance_targets[0].targets):
            raise InvalidRequest("every instance needs as many targets as the first", field=field)
        each.append(tuple(_target(t, f"{field}[{n}]", fetch) for n, t in enumerate(entry.targets)))
    return each


def _count(targets: int, field: str) -> None:
    if not 1 <= targets <= MAX_TARGETS:
        raise InvalidRequest(f"{targets} targets; 1 to {MAX_TARGETS} can be explained at once", field=field)


def _target(message: explain_pb2.Target, field: str, fetch: Fetch) -> TargetSpec:
    element: AtIndex | AtLabel | AtRank | Weighted | None
    match message.WhichOneof("element"):
        case "index":
            element = AtIndex(tuple(message.index.position))
        case "label":
            element = AtLabel(message.label)
        case "top_rank":
            element = AtRank(message.top_rank)
        case "weights":
            element = Weighted(decode_tensor(message.weights, f"{field}.weights", fetch))
        case _:
            element = None
    scale = word(explain_pb2.Scale.DESCRIPTOR, message.scale) or "raw"
    return TargetSpec(message.output or None, element, scale)
