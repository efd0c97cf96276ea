"""The errors a caller meets, and how they are read from an answer of the server.

AssayError
├── InvalidArgument       a field of the request is wrong; also raised here, before anything is sent. A ValueError too
├── NotFound              no such model, version or tensor
├── AlreadyExists         name and version belong to other bytes
├── FailedPrecondition    the model can't do what was asked
├── ResourceExhausted     a queue, budget, limit or quota is full
├── DeadlineExceeded      the time was too short
├── Unavailable           no server there, or it is going down: try again
├── Unimplemented         part of the contract that this server doesn't serve
├── Unauthenticated       credentials are missing, expired or foreign
├── PermissionDenied      the credentials don't hold the right
├── Cancelled             the call was given up
├── DataLoss              bytes don't match their digest
└── Internal              a bug, of the server or in its answer
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import code_pb2, error_details_pb2, status_pb2


class AssayError(Exception):
    """Root of everything that this package raises on purpose.

    Attributes:
        code: name of the gRPC status, such as "INVALID_ARGUMENT".
        reason: name of a value of `assay.v1.ErrorReason` without its prefix, such as "MODEL_NOT_FOUND"; "" where the
            error isn't the service's own (no connection, a proxy).
        message: the server's words, for people.
        metadata: facts for programs, by name.
        violations: (field, description) of each field of the request that is wrong.
        request_id: the id under which the server's log has the call, or "".
        retry_after: seconds after which trying again is useful, or None where it isn't known to be.
    """

    code: str = "UNKNOWN"

    def __init__(
        self,
        message: str = "",
        *,
        code: str | None = None,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[tuple[str, str]] = (),
        request_id: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.reason = reason
        self.metadata = dict(metadata or {})
        self.violations = list(violations)
        self.request_id = request_id
        self.retry_after = retry_after

    def __str__(self) -> str:
        named = "; ".join(f"{field}: {text}" for field, text in self.violations if field and text)
        text = named or self.message or self.reason or self.code
        return f"{text} (request id {self.request_id})" if self.request_id else text


class InvalidArgument(AssayError, ValueError):
    """A field of the request is out of range, contradictory, missing or of the wrong shape."""

    code = "INVALID_ARGUMENT"


class NotFound(AssayError):
    """No such model, version or tensor for this caller."""

    code = "NOT_FOUND"


class AlreadyExists(AssayError):
    """A version is immutable, and this one belongs to another model or spec."""

    code = "ALREADY_EXISTS"


class FailedPrecondition(AssayError):
    """The model can't do what was asked."""

    code = "FAILED_PRECONDITION"


class ResourceExhausted(AssayError):
    """A queue, budget, size limit or quota is full; `retry_after` says whether waiting helps."""

    code = "RESOURCE_EXHAUSTED"


class DeadlineExceeded(AssayError):
    """The answer wasn't there in time; what remained of the work was dropped."""

    code = "DEADLINE_EXCEEDED"


class Unavailable(AssayError):
    """No server answers, or it is going down; trying again is safe."""

    code = "UNAVAILABLE"


class Unimplemented(AssayError):
    """Part of the contract that this server doesn't serve."""

    code = "UNIMPLEMENTED"


class Unauthenticated(AssayError):
    """Credentials are missing, expired or foreign."""

    code = "UNAUTHENTICATED"


class PermissionDenied(AssayError):
    """The credentials don't hold the right."""

    code = "PERMISSION_DENIED"


class Cancelled(AssayError):
    """The call was given up before its answer came."""

    code = "CANCELLED"


class DataLoss(AssayError):
    """Bytes don't match their digest."""

    code = "DATA_LOSS"


class Internal(AssayError):
    """A bug: of the server (the incident's id is in `metadata`), or an answer that breaks the contract."""

    code = "INTERNAL"


_FAMILIES: tuple[type[AssayError], ...] = (
    InvalidArgument,
    NotFound,
    AlreadyExists,
    FailedPrecondition,
    ResourceExhausted,
    DeadlineExceeded,
    Unavailable,
    Unimplemented,
    Unauthenticated,
    PermissionDenied,
    Cancelled,
    DataLoss,
    Internal,
)
# UNKNOWN is what gRPC itself says of a handler that crashed.
_BY_CODE = {family.code: family for family in _FAMILIES} | {"UNKNOWN": Internal}


def invalid(field: str, description: str) -> InvalidArgument:
    """An error found before anything was sent, in the form the server would give it."""
    return InvalidArgument(description, reason="INVALID_PARAMETER", violations=[(field, description)])


def from_status(status: status_pb2.Status, request_id: str = "") -> AssayError:
    """The error that a google.rpc.Status other than OK stands for; details of unknown types are skipped."""
    known: dict[str, Any] = {}
    for packed in status.details:
        for kind in (
            error_details_pb2.ErrorInfo,
            error_details_pb2.BadRequest,
            error_details_pb2.RetryInfo,
            error_details_pb2.RequestInfo,
        ):
            detail = kind()
            try:
                if packed.Unpack(detail):
                    known[kind.DESCRIPTOR.name] = detail
            except DecodeError:  # a damaged detail must not hide the error it comes with
                continue
    info, bad, retry = known.get("ErrorInfo"), known.get("BadRequest"), known.get("RetryInfo")
    code = code_pb2.Code.Name(status.code) if status.code in code_pb2.Code.values() else "UNKNOWN"
    return _BY_CODE.get(code, AssayError)(
        status.message,
        code=code,
        reason=info.reason if info else "",
        metadata=info.metadata if info else None,
        violations=[(v.field, v.description) for v in bad.field_violations] if bad else (),
        request_id=request_id or (known["RequestInfo"].request_id if "RequestInfo" in known else ""),
        retry_after=retry.retry_delay.seconds + retry.retry_delay.nanos * 1e-9 if retry else None,
    )


def from_rpc_error(error: grpc.RpcError, request_id: str = "", timeout: float | None = None) -> AssayError:
    """The error behind a failed call: details from the trailer `grpc-status-details-bin`, where there is one.

    `request_id` is the id the caller sent, used where the server didn't get to name it; so is the `timeout`, in
    seconds, where it ended the call here.
    """
    call: Any = error  # every error of a call is also a grpc.Call, which the type doesn't say
    code = call.code() if hasattr(call, "code") else grpc.StatusCode.UNKNOWN
    # Read as pairs: the metadata of asyncio calls looks like a mapping and in gRPC 1.66 is none.
    trailers = dict(iter((call.trailing_metadata() if hasattr(call, "trailing_metadata") else None) or ()))
    status = status_pb2.Status()
    try:
        status.ParseFromString(trailers.get("grpc-status-details-bin", b""))
    except DecodeError:
        status.Clear()
    # The call's own code and text hold for everyone; details that contradict them were not made for this answer.
    if status.code != code.value[0]:
        status.Clear()
    status.code = code.value[0]
    said = (call.details() if hasattr(call, "details") else None) or str(error)
    here = code is grpc.StatusCode.DEADLINE_EXCEEDED and "deadline exceeded" in said.lower()
    if here and not status.message and timeout is not None:
        status.message = (
            f"no answer within {timeout:g} s: a longer timeout gives it time, and a budget of less time that takes a "
            "partial answer gives what is there by then"
        )
    status.message = status.message or said
    return from_status(status, str(trailers.get("x-request-id", "")) or request_id)


@contextmanager
def translated(request_id: str = "", timeout: float | None = None) -> Iterator[None]:
    """Raises gRPC's errors as this package's, with gRPC's as the cause."""
    try:
        yield
    except grpc.RpcError as error:
        raise from_rpc_error(error, request_id, timeout) from error
