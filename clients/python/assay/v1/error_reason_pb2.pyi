from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from typing import ClassVar as _ClassVar

DESCRIPTOR: _descriptor.FileDescriptor

class ErrorReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ERROR_REASON_UNSPECIFIED: _ClassVar[ErrorReason]
    ERROR_REASON_INVALID_PARAMETER: _ClassVar[ErrorReason]
    ERROR_REASON_INVALID_TENSOR: _ClassVar[ErrorReason]
    ERROR_REASON_INVALID_MODEL: _ClassVar[ErrorReason]
    ERROR_REASON_DIGEST_MISMATCH: _ClassVar[ErrorReason]
    ERROR_REASON_NOT_FINITE: _ClassVar[ErrorReason]
    ERROR_REASON_MODEL_NOT_FOUND: _ClassVar[ErrorReason]
    ERROR_REASON_TENSOR_NOT_FOUND: _ClassVar[ErrorReason]
    ERROR_REASON_VERSION_TAKEN: _ClassVar[ErrorReason]
    ERROR_REASON_MODEL_UNFIT: _ClassVar[ErrorReason]
    ERROR_REASON_MODEL_NOT_FINITE: _ClassVar[ErrorReason]
    ERROR_REASON_MODEL_QUARANTINED: _ClassVar[ErrorReason]
    ERROR_REASON_NOT_REPRODUCIBLE: _ClassVar[ErrorReason]
    ERROR_REASON_METHOD_REVISION: _ClassVar[ErrorReason]
    ERROR_REASON_MODEL_FAILED: _ClassVar[ErrorReason]
    ERROR_REASON_QUEUE_FULL: _ClassVar[ErrorReason]
    ERROR_REASON_ROW_BUDGET: _ClassVar[ErrorReason]
    ERROR_REASON_TIME_BUDGET: _ClassVar[ErrorReason]
    ERROR_REASON_TOO_LARGE: _ClassVar[ErrorReason]
    ERROR_REASON_QUOTA: _ClassVar[ErrorReason]
    ERROR_REASON_OUT_OF_MEMORY: _ClassVar[ErrorReason]
    ERROR_REASON_MODELS_FULL: _ClassVar[ErrorReason]
    ERROR_REASON_DEADLINE: _ClassVar[ErrorReason]
    ERROR_REASON_CANCELLED: _ClassVar[ErrorReason]
    ERROR_REASON_DRAINING: _ClassVar[ErrorReason]
    ERROR_REASON_WORKER_LOST: _ClassVar[ErrorReason]
    ERROR_REASON_STORE_FULL: _ClassVar[ErrorReason]
    ERROR_REASON_NO_DESCRIPTORS: _ClassVar[ErrorReason]
    ERROR_REASON_DATA_LOSS: _ClassVar[ErrorReason]
    ERROR_REASON_NOT_SERVED: _ClassVar[ErrorReason]
    ERROR_REASON_UNAUTHENTICATED: _ClassVar[ErrorReason]
    ERROR_REASON_PERMISSION_DENIED: _ClassVar[ErrorReason]
    ERROR_REASON_BUG: _ClassVar[ErrorReason]
    ERROR_REASON_UNPARSABLE: _ClassVar[ErrorReason]
ERROR_REASON_UNSPECIFIED: ErrorReason
ERROR_REASON_INVALID_PARAMETER: ErrorReason
ERROR_REASON_INVALID_TENSOR: ErrorReason
ERROR_REASON_INVALID_MODEL: ErrorReason
ERROR_REASON_DIGEST_MISMATCH: ErrorReason
ERROR_REASON_NOT_FINITE: ErrorReason
ERROR_REASON_MODEL_NOT_FOUND: ErrorReason
ERROR_REASON_TENSOR_NOT_FOUND: ErrorReason
ERROR_REASON_VERSION_TAKEN: ErrorReason
ERROR_REASON_MODEL_UNFIT: ErrorReason
ERROR_REASON_MODEL_NOT_FINITE: ErrorReason
ERROR_REASON_MODEL_QUARANTINED: ErrorReason
ERROR_REASON_NOT_REPRODUCIBLE: ErrorReason
ERROR_REASON_METHOD_REVISION: ErrorReason
ERROR_REASON_MODEL_FAILED: ErrorReason
ERROR_REASON_QUEUE_FULL: ErrorReason
ERROR_REASON_ROW_BUDGET: ErrorReason
ERROR_REASON_TIME_BUDGET: ErrorReason
ERROR_REASON_TOO_LARGE: ErrorReason
ERROR_REASON_QUOTA: ErrorReason
ERROR_REASON_OUT_OF_MEMORY: ErrorReason
ERROR_REASON_MODELS_FULL: ErrorReason
ERROR_REASON_DEADLINE: ErrorReason
ERROR_REASON_CANCELLED: ErrorReason
ERROR_REASON_DRAINING: ErrorReason
ERROR_REASON_WORKER_LOST: ErrorReason
ERROR_REASON_STORE_FULL: ErrorReason
ERROR_REASON_NO_DESCRIPTORS: ErrorReason
ERROR_REASON_DATA_LOSS: ErrorReason
ERROR_REASON_NOT_SERVED: ErrorReason
ERROR_REASON_UNAUTHENTICATED: ErrorReason
ERROR_REASON_PERMISSION_DENIED: ErrorReason
ERROR_REASON_BUG: ErrorReason
ERROR_REASON_UNPARSABLE: ErrorReason
