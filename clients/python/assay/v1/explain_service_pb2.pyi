from assay.v1 import explain_pb2 as _explain_pb2
from assay.v1 import model_service_pb2 as _model_service_pb2
from assay.v1 import tensor_pb2 as _tensor_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ExplainRequest(_message.Message):
    __slots__ = ("model", "inputs", "occlusion", "lime", "jacobian", "rows", "method_revision", "targets", "instance_targets", "inputs_to_explain", "layouts", "keys", "seed", "request_id", "priority", "budget", "on_instance_error", "validate_only", "reproducible", "return_rows", "element_maps")
    class InputsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _tensor_pb2.Tensor
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OCCLUSION_FIELD_NUMBER: _ClassVar[int]
    LIME_FIELD_NUMBER: _ClassVar[int]
    JACOBIAN_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    METHOD_REVISION_FIELD_NUMBER: _ClassVar[int]
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_TARGETS_FIELD_NUMBER: _ClassVar[int]
    INPUTS_TO_EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    LAYOUTS_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    ON_INSTANCE_ERROR_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    REPRODUCIBLE_FIELD_NUMBER: _ClassVar[int]
    RETURN_ROWS_FIELD_NUMBER: _ClassVar[int]
    ELEMENT_MAPS_FIELD_NUMBER: _ClassVar[int]
    model: str
    inputs: _containers.MessageMap[str, _tensor_pb2.Tensor]
    occlusion: _explain_pb2.Occlusion
    lime: _explain_pb2.Lime
    jacobian: _explain_pb2.Jacobian
    rows: _explain_pb2.Rows
    method_revision: int
    targets: _containers.RepeatedCompositeFieldContainer[_explain_pb2.Target]
    instance_targets: _containers.RepeatedCompositeFieldContainer[_explain_pb2.InstanceTargets]
    inputs_to_explain: _containers.RepeatedScalarFieldContainer[str]
    layouts: _containers.RepeatedCompositeFieldContainer[_explain_pb2.InputLayout]
    keys: _containers.RepeatedScalarFieldContainer[str]
    seed: int
    request_id: str
    priority: _explain_pb2.Priority
    budget: _explain_pb2.Budget
    on_instance_error: _explain_pb2.OnInstanceError
    validate_only: bool
    reproducible: bool
    return_rows: bool
    element_maps: bool
    def __init__(self, model: _Optional[str] = ..., inputs: _Optional[_Mapping[str, _tensor_pb2.Tensor]] = ..., occlusion: _Optional[_Union[_explain_pb2.Occlusion, _Mapping]] = ..., lime: _Optional[_Union[_explain_pb2.Lime, _Mapping]] = ..., jacobian: _Optional[_Union[_explain_pb2.Jacobian, _Mapping]] = ..., rows: _Optional[_Union[_explain_pb2.Rows, _Mapping]] = ..., method_revision: _Optional[int] = ..., targets: _Optional[_Iterable[_Union[_explain_pb2.Target, _Mapping]]] = ..., instance_targets: _Optional[_Iterable[_Union[_explain_pb2.InstanceTargets, _Mapping]]] = ..., inputs_to_explain: _Optional[_Iterable[str]] = ..., layouts: _Optional[_Iterable[_Union[_explain_pb2.InputLayout, _Mapping]]] = ..., keys: _Optional[_Iterable[str]] = ..., seed: _Optional[int] = ..., request_id: _Optional[str] = ..., priority: _Optional[_Union[_explain_pb2.Priority, str]] = ..., budget: _Optional[_Union[_explain_pb2.Budget, _Mapping]] = ..., on_instance_error: _Optional[_Union[_explain_pb2.OnInstanceError, str]] = ..., validate_only: bool = ..., reproducible: bool = ..., return_rows: bool = ..., element_maps: bool = ...) -> None: ...

class Estimate(_message.Message):
    __slots__ = ("rows", "device_seconds")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    rows: int
    device_seconds: float
    def __init__(self, rows: _Optional[int] = ..., device_seconds: _Optional[float] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("request_id", "model", "results", "usage", "warnings", "completion", "estimate")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_FIELD_NUMBER: _ClassVar[int]
    ESTIMATE_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model: _model_service_pb2.Model
    results: _containers.RepeatedCompositeFieldContainer[_explain_pb2.InstanceResult]
    usage: _explain_pb2.Usage
    warnings: _containers.RepeatedCompositeFieldContainer[_explain_pb2.Warning]
    completion: _explain_pb2.Completion
    estimate: Estimate
    def __init__(self, request_id: _Optional[str] = ..., model: _Optional[_Union[_model_service_pb2.Model, _Mapping]] = ..., results: _Optional[_Iterable[_Union[_explain_pb2.InstanceResult, _Mapping]]] = ..., usage: _Optional[_Union[_explain_pb2.Usage, _Mapping]] = ..., warnings: _Optional[_Iterable[_Union[_explain_pb2.Warning, _Mapping]]] = ..., completion: _Optional[_Union[_explain_pb2.Completion, str]] = ..., estimate: _Optional[_Union[Estimate, _Mapping]] = ...) -> None: ...

class ExplainStreamRequest(_message.Message):
    __slots__ = ("request",)
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    request: ExplainRequest
    def __init__(self, request: _Optional[_Union[ExplainRequest, _Mapping]] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("rows_done", "rows_planned", "instances_done", "instances")
    ROWS_DONE_FIELD_NUMBER: _ClassVar[int]
    ROWS_PLANNED_FIELD_NUMBER: _ClassVar[int]
    INSTANCES_DONE_FIELD_NUMBER: _ClassVar[int]
    INSTANCES_FIELD_NUMBER: _ClassVar[int]
    rows_done: int
    rows_planned: int
    instances_done: int
    instances: int
    def __init__(self, rows_done: _Optional[int] = ..., rows_planned: _Optional[int] = ..., instances_done: _Optional[int] = ..., instances: _Optional[int] = ...) -> None: ...

class TensorChunk(_message.Message):
    __slots__ = ("digest", "offset", "size_bytes", "data")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    digest: str
    offset: int
    size_bytes: int
    data: bytes
    def __init__(self, digest: _Optional[str] = ..., offset: _Optional[int] = ..., size_bytes: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class ExplainStreamResponse(_message.Message):
    __slots__ = ("progress", "chunk", "instance", "summary")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    progress: Progress
    chunk: TensorChunk
    instance: _explain_pb2.InstanceResult
    summary: ExplainResponse
    def __init__(self, progress: _Optional[_Union[Progress, _Mapping]] = ..., chunk: _Optional[_Union[TensorChunk, _Mapping]] = ..., instance: _Optional[_Union[_explain_pb2.InstanceResult, _Mapping]] = ..., summary: _Optional[_Union[ExplainResponse, _Mapping]] = ...) -> None: ...

class ExplainManyRequest(_message.Message):
    __slots__ = ("request",)
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    request: ExplainRequest
    def __init__(self, request: _Optional[_Union[ExplainRequest, _Mapping]] = ...) -> None: ...

class ExplainManyResponse(_message.Message):
    __slots__ = ("event",)
    EVENT_FIELD_NUMBER: _ClassVar[int]
    event: ExplainStreamResponse
    def __init__(self, event: _Optional[_Union[ExplainStreamResponse, _Mapping]] = ...) -> None: ...

class PredictRequest(_message.Message):
    __slots__ = ("model", "inputs", "outputs", "request_id", "priority")
    class InputsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _tensor_pb2.Tensor
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ...) -> None: ...
    MODEL_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    model: str
    inputs: _containers.MessageMap[str, _tensor_pb2.Tensor]
    outputs: _containers.RepeatedScalarFieldContainer[str]
    request_id: str
    priority: _explain_pb2.Priority
    def __init__(self, model: _Optional[str] = ..., inputs: _Optional[_Mapping[str, _tensor_pb2.Tensor]] = ..., outputs: _Optional[_Iterable[str]] = ..., request_id: _Optional[str] = ..., priority: _Optional[_Union[_explain_pb2.Priority, str]] = ...) -> None: ...

class PredictResponse(_message.Message):
    __slots__ = ("request_id", "model", "outputs", "usage")
    class OutputsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _tensor_pb2.Tensor
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_tensor_pb2.Tensor, _Mapping]] = ...) -> None: ...
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model: _model_service_pb2.Model
    outputs: _containers.MessageMap[str, _tensor_pb2.Tensor]
    usage: _explain_pb2.Usage
    def __init__(self, request_id: _Optional[str] = ..., model: _Optional[_Union[_model_service_pb2.Model, _Mapping]] = ..., outputs: _Optional[_Mapping[str, _tensor_pb2.Tensor]] = ..., usage: _Optional[_Union[_explain_pb2.Usage, _Mapping]] = ...) -> None: ...
