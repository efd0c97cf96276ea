"""Arguments to request messages; no connection in sight, so that every client shares it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
from numpy.typing import ArrayLike

from assay.baselines import encode_baselines
from assay.enums import enum_number
from assay.errors import invalid
from assay.features import encode_features
from assay.methods import METHODS, Method
from assay.perinput import PerInput, entries
from assay.statistics import GaussianTable, QuartileTable
from assay.targets import PerInstance, Targets, encode_targets
from assay.tensors import floating, is_digest, to_tensor
from assay.v1 import explain_pb2, explain_service_pb2, model_service_pb2


@dataclass(frozen=True)
class Budget:
    """Most a request may spend.

    Attributes:
        rows: rows over all instances; None: the server's limit. With "partial" each instance gets an equal share.
        time: seconds of wall time; None: the timeout. With "partial" the instances share it evenly, once each in turn
            has what it needs to say anything.
        on_exhausted: "fail", or "partial" to take what is there, with wider errors.
    """

    rows: int | None = None
    time: float | None = None
    on_exhausted: str = "fail"


class Settings(TypedDict, total=False):
    """The keyword arguments of a request for explanations, described at `Client.explain`."""

    inputs_to_explain: Sequence[str] | None
    keys: Sequence[str] | None
    seed: int
    layout: PerInput[str] | None
    priority: str
    budget: Budget | None
    on_instance_error: str
    validate_only: bool
    reproducible: bool
    return_rows: bool
    element_maps: bool
    method_revision: int | None


def explain_request(
    model: str,
    inputs: Mapping[str, ArrayLike],
    method: Method,
    target: Targets = None,
    *,
    inputs_to_explain: Sequence[str] | None = None,
    keys: Sequence[str] | None = None,
    seed: int = 0,
    layout: PerInput[str] | None = None,
    request_id: str = "",
    priority: str = "normal",
    budget: Budget | None = None,
    on_instance_error: str = "fail",
    validate_only: bool = False,
    reproducible: bool = False,
    return_rows: bool = False,
    element_maps: bool = True,
    method_revision: int | None = None,
) -> explain_service_pb2.ExplainRequest:
    """The message of an explanation; InvalidArgument, naming the field, for what can't be said on the wire."""
    targets, instance_targets = encode_targets(target)
    request = explain_service_pb2.ExplainRequest(
        inputs=encode_inputs(inputs),
        targets=targets,
        instance_targets=instance_targets,
        inputs_to_explain=_names(inputs_to_explain, "inputs_to_explain"),
        keys=_names(keys, "keys"),
    )
    _write(request, "model", model)
    _write(request, "request_id", request_id)
    _write(request, "validate_only", validate_only)
    _write(request, "reproducible", reproducible)
    _write(request, "return_rows", return_rows)
    _write(request, "seed", seed)
    _write(request, "priority", priority)
    _write(request, "on_instance_error", on_instance_error)
    _write(request, "method_revision", method_revision)
    _write(request, "element_maps", element_maps)
    if request.element_maps:  # only the caller's wish is said: absent means true
        request.ClearField("element_maps")
    if budget is not None:
        request.budget.CopyFrom(_budget(budget))
    for name, word in entries(layout) if layout is not None else ():
        request.layouts.add(input=name, layout=enum_number(model_service_pb2.Layout.DESCRIPTOR, word, "layout"))
    for field_name, kind in METHODS.items():
        if isinstance(method, kind):
            message = getattr(request, field_name)
            message.SetInParent()  # a method with no parameter set is still the method asked for
            for parameter in dataclasses.fields(method):
                _write(message, parameter.name, getattr(method, parameter.name), f"{field_name}.{parameter.name}")
            return request
    raise invalid("method", f"{method!r} is none of {', '.join(kind.__name__ for kind in METHODS.values())}")


def part_request(
    inputs: Mapping[str, ArrayLike], keys: Sequence[str] | None = None, targets: Sequence[Any] | None = None
) -> explain_service_pb2.ExplainRequest:
    """The message of one part of a data set: its instances, without settings."""
    each: list[explain_pb2.InstanceTargets] = []
    if targets is not None:
        if isinstance(targets, str) or not isinstance(targets, (Sequence, np.ndarray, PerInstance)):
            raise invalid("targets", f"{type(targets).__name__} is no list of one target for each instance")
        _, each = encode_targets(targets if isinstance(targets, PerInstance) else PerInstance(list(targets)))
    return explain_service_pb2.ExplainRequest(
        inputs=encode_inputs(inputs), keys=_names(keys, "keys"), instance_targets=each
    )


def predict_request(
    model: str,
    inputs: Mapping[str, ArrayLike],
    outputs: Sequence[str] | None = None,
    *,
    request_id: str = "",
    priority: str = "normal",
) -> explain_service_pb2.PredictRequest:
    """The message of a prediction."""
    request = explain_service_pb2.PredictRequest(inputs=encode_inputs(inputs), outputs=_names(outputs, "outputs"))
    _write(request, "model", model)
    _write(request, "request_id", request_id)
    _write(request, "priority", priority)
    return request


def encode_inputs(inputs: Mapping[str, ArrayLike]) -> dict[str, Any]:
    """The tensors of {input name: array with the batch axis in front, or digest of a stored one}."""
    if not isinstance(inputs, Mapping):
        raise invalid("inputs", f"{type(inputs).__name__} is no mapping of input name to array")
    return {name: to_tensor(value, f"inputs[{name}]") for name, value in inputs.items()}


def instance_shape(value: ArrayLike) -> tuple[int, ...] | None:
    """Shape of one instance of an input, or None where only the server knows it."""
    return None if is_digest(value) else np.shape(value)[1:]


def instance_count(inputs: Mapping[str, ArrayLike], stored: Mapping[str, tuple[int, ...] | None]) -> int | None:
    """B of some inputs; None where only the server knows it. stored: shapes of those given by digest."""
    for name, value in inputs.items():
        shape = stored.get(name) if is_digest(value) else np.shape(value)
        if shape is not None:
            if not shape:
                raise invalid(f"inputs[{name}]", "a lone number has no batch axis in front")
            return shape[0]
    return None


def _budget(budget: Budget) -> explain_pb2.Budget:
    message = explain_pb2.Budget()
    if budget.time is not None:
        if not 0 < budget.time < math.inf:
            raise invalid("budget.time", f"{budget.time} s is no time to spend")
        message.time.FromMicroseconds(round(budget.time * 1e6))
    _write(message, "rows", budget.rows, "budget.rows")
    _write(message, "on_exhausted", budget.on_exhausted, "budget.on_exhausted")
    return message


def _names(names: Sequence[str] | None, field: str) -> list[str]:
    if isinstance(names, str):  # or each letter would become a name
        return [names]
    listed = list(names or ())
    if not all(isinstance(name, str) for name in listed):
        raise invalid(field, "names are strings")
    return listed


# ---- the descriptor of a message says how each of its fields is written ----------------------------


def _write(message: Any, name: str, value: Any, field: str | None = None) -> None:
    """Writes one field the way its type asks for; None leaves it out."""
    if value is None:
        return
    field = field or name
    descriptor = message.DESCRIPTOR.fields_by_name[name]
    try:
        if descriptor.enum_type is not None:
            setattr(message, name, enum_number(descriptor.enum_type, value, field))
        elif descriptor.message_type is not None:
            encoded = _ENCODERS[descriptor.message_type.name](value, field)
            if isinstance(encoded, list):
                getattr(message, name).extend(encoded)
            else:
                getattr(message, name).CopyFrom(encoded)
        elif isinstance(value, (list, tuple)) and hasattr(getattr(message, name), "extend"):
            getattr(message, name).extend(value)
        else:
            setattr(message, name, value.item() if isinstance(value, np.generic) else value)
    except (TypeError, ValueError) as error:
        if type(error) in (TypeError, ValueError):
            raise invalid(field, str(error)) from error
        raise


def _sizes(value: Any, field: str) -> list[Any]:
    listed = []
    for name, given in entries(value):
        sizes = np.atleast_1d(np.asarray(given))
        if sizes.ndim != 1 or sizes.dtype.kind not in "iu":
            raise invalid(field, f"{given!r} is no integer and no list of one for each axis")
        listed.append(explain_pb2.AxisSizes(input=name, sizes=sizes.tolist()))
    return listed


def _doubles(value: Any, field: str) -> list[Any]:
    listed = []
    for name, number in entries(value):
        if np.ndim(number) != 0:
            raise invalid(field, f"{number!r} is no number")
        listed.append(explain_pb2.InputDouble(input=name, value=float(number)))
    return listed


def _tensors(value: Any, field: str) -> list[Any]:
    listed = []
    if isinstance(value, Mapping) and not value:  # such as the samples of rows that were masks
        raise invalid(field, "an empty mapping holds no array for any input; None leaves the parameter out")
    for name, given in entries(value):
        # A lone 1 means the number 1.0; arrays keep the dtype their maker chose.
        tensor = to_tensor(floating(given) if np.ndim(given) == 0 else given, field)
        listed.append(explain_pb2.InputTensor(input=name, tensor=tensor))
    return listed


def _bounds(value: Any, field: str) -> list[Any]:
    listed = []
    for name, ends in entries(value):
        if not isinstance(ends, (tuple, list)) or len(ends) != 2:
            raise invalid(field, "bounds are a pair (lower, upper), either of which may be None")
        lower, upper = (None if end is None else to_tensor(floating(end), field) for end in ends)
        listed.append(explain_pb2.Bounds(input=name, lower=lower, upper=upper))
    return listed


def _sampling(value: Any, field: str) -> Any:
    if isinstance(value, (QuartileTable, GaussianTable)):
        return value.encode()
    if value != "mask":
        raise invalid(field, f"{value!r} is neither 'mask' nor a QuartileTable or GaussianTable")
    return explain_pb2.Sampling(mask=explain_pb2.Sampling.Mask())


_ENCODERS: Mapping[str, Callable[[Any, str], Any]] = {
    "AxisSizes": _sizes,
    "InputDouble": _doubles,
    "InputTensor": _tensors,
    "Bounds": _bounds,
    "Sampling": _sampling,
    "Tensor": to_tensor,
    "Features": encode_features,
    "Baseline": encode_baselines,
}
