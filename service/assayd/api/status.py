"""The one file that maps errors to gRPC statuses with their details."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from assayd import errors

DOMAIN = "assay.v1"
_MAX_MESSAGE_BYTES = 1000
_MAX_FIELD_BYTES = 300
_MAX_METADATA_BYTES = 1000
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")

_CODES: Mapping[type[errors.AssayError], grpc.StatusCode] = {
    errors.InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.VersionTaken: grpc.StatusCode.ALREADY_EXISTS,
    errors.ModelUnfit: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Exhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.DeadlinePassed: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.DataLoss: grpc.StatusCode.DATA_LOSS,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    errors.Unparsable: grpc.StatusCode.INTERNAL,
}
"""The nearest class of an error's own family decides."""


def code_of(error: Exception) -> grpc.StatusCode:
    """The status code of an error; INTERNAL for whatever isn't the domain's."""
    for kind in type(error).__mro__:
        if kind in _CODES:
            return _CODES[kind]
    return grpc.StatusCode.INTERNAL


def new_incident() -> str:
    """An id under which the log holds what the caller isn't told."""
    return uuid.uuid4().hex[:12]


def to_status(error: Exception, incident: str = "") -> status_pb2.Status:
    """A google.rpc.Status with ErrorInfo, and BadRequest, QuotaFailure, RetryInfo where they apply; under 4 kB.

    Of a bug it tells only the incident id.
    """
    number: int = code_of(error).value[0]
    if not isinstance(error, errors.AssayError):
        bug = error_details_pb2.ErrorInfo(reason="BUG", domain=DOMAIN, metadata={"incident": incident})
        text = f"a bug in the server; its log has the details under incident {incident}"
        return status_pb2.Status(code=number, message=text, details=_pack([bug]))
    message = _cut(error.message, _MAX_MESSAGE_BYTES)
    metadata = _cut_all(error.metadata)
    details: list[Message] = [error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata)]
    if error.field is not None:
        field = _cut(error.field, _MAX_FIELD_BYTES)
        violation = error_details_pb2.BadRequest.FieldViolation(field=field, description=message)
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
        message = f"{field}: {message}"
    if isinstance(error, errors.QuotaUsedUp):
        subject = "tenant:" + metadata.get("tenant", "")
        used_up = error_details_pb2.QuotaFailure.Violation(subject=subject, description=message)
        details.append(error_details_pb2.QuotaFailure(violations=[used_up]))
    if error.retry_after_s is not None:
        delay = Duration()
        delay.FromMilliseconds(int(error.retry_after_s * 1000))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    return status_pb2.Status(code=number, message=message, details=_pack(details))


def _cut(text: str, most_bytes: int) -> str:
    # What a model calls its nodes may steer the terminal that an error is read on.
    return _CONTROL.sub(" ", text).encode(errors="replace")[:most_bytes].decode(errors="ignore")


def _cut_all(metadata: Mapping[str, str]) -> dict[str, str]:
    """Values cut, and entries left out that would make it too much."""
    kept: dict[str, str] = {}
    room = _MAX_METADATA_BYTES
    for key, value in metadata.items():
        short = _cut(value, _MAX_FIELD_BYTES)
        room -= len(key.encode(errors="replace")) + len(short.encode())
        if room < 0:
            break
        kept[key] = short
    return kept


def _pack(details: list[Message]) -> list[Any]:
    packed = []
    for detail in details:
        box = Any()
        box.Pack(detail)
        packed.append(box)
    return packed
