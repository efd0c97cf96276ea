from __future__ import annotations

import pickle

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

import assay
from assay.errors import AssayError, from_rpc_error, from_status


class Failed(grpc.RpcError):
    """What a failed call raises, as far as it is read."""

    def __init__(self, code, text="", trailers=()):
        self.parts = code, text, trailers

    def code(self):
        return self.parts[0]

    def details(self):
        return self.parts[1]

    def trailing_metadata(self):
        return self.parts[2]


def status(code, message, *details):
    message = status_pb2.Status(code=code, message=message)
    for detail in details:
        message.details.add().Pack(detail)
    return message


def with_details(code, made, request_id="r1"):
    trailers = (("grpc-status-details-bin", made.SerializeToString()), ("x-request-id", request_id))
    return from_rpc_error(Failed(code, made.message, trailers))


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_every_code_is_an_assay_error_that_says_its_code(code):
    error = from_rpc_error(Failed(code, "no"))
    family = "".join(word.title() for word in code.name.split("_"))
    if hasattr(assay, family):
        assert type(error) is getattr(assay, family)
    else:
        assert code.name in ("UNKNOWN", "ABORTED", "OUT_OF_RANGE")
    assert error.code == code.name
    assert (error.reason, error.metadata, error.violations, error.retry_after) == ("", {}, [], None)
    assert str(error) == "no"


def test_details_are_read():
    made = status(
        3,
        "2 fields are wrong",
        error_details_pb2.ErrorInfo(reason="INVALID_PARAMETER", domain="assay.v1", metadata={"limit": "7"}),
        error_details_pb2.BadRequest(
            field_violations=[
                error_details_pb2.BadRequest.FieldViolation(field="window", description="longer than its axis"),
                error_details_pb2.BadRequest.FieldViolation(field="stride", description="0 is no step"),
            ]
        ),
    )
    error = with_details(grpc.StatusCode.INVALID_ARGUMENT, made)
    assert isinstance(error, assay.InvalidArgument)
    assert error.reason == "INVALID_PARAMETER"
    assert error.metadata == {"limit": "7"}
    assert error.violations == [("window", "longer than its axis"), ("stride", "0 is no step")]
    assert error.request_id == "r1"
    assert error.message == "2 fields are wrong"
    assert str(error) == "window: longer than its axis; stride: 0 is no step (request id r1)"


def test_when_to_come_back():
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(1500)
    error = with_details(grpc.StatusCode.RESOURCE_EXHAUSTED, status(8, "the queue is full", retry))
    assert error.retry_after == 1.5
    assert isinstance(error, assay.ResourceExhausted)


@pytest.mark.parametrize(
    "trailers",
    [
        None,
        (),
        (("grpc-status-details-bin", b"\xff\xff\xff"),),
        (("grpc-status-details-bin", status(5, "of another error").SerializeToString()),),
    ],
)
def test_missing_damaged_and_foreign_details_leave_the_plain_error(trailers):
    error = from_rpc_error(Failed(grpc.StatusCode.UNAVAILABLE, "no route", trailers), "mine")
    assert isinstance(error, assay.Unavailable)
    assert str(error) == "no route (request id mine)"


@pytest.mark.parametrize("said", ["Deadline Exceeded", "Stream removed (Deadline Exceeded)"])
def test_a_call_that_ends_here_says_what_time_it_was_given(said):
    error = from_rpc_error(Failed(grpc.StatusCode.DEADLINE_EXCEEDED, said), "mine", 2.5)
    assert isinstance(error, assay.DeadlineExceeded)
    assert "no answer within 2.5 s: a longer timeout" in str(error)
    for mine, timeout in ((said, None), ("the gateway gave up", 2.5)):
        assert str(from_rpc_error(Failed(grpc.StatusCode.DEADLINE_EXCEEDED, mine), "", timeout)) == mine


def test_a_damaged_detail_does_not_hide_its_error():
    made = status(5, "no such model")
    made.details.append(any_pb2.Any(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff\xff"))
    made.details.append(any_pb2.Any(type_url="type.googleapis.com/some.Other", value=b"x"))
    assert isinstance(with_details(grpc.StatusCode.NOT_FOUND, made), assay.NotFound)


def test_an_error_that_is_no_call_still_maps():
    error = from_rpc_error(grpc.RpcError("odd"))
    assert isinstance(error, assay.Internal)
    assert "odd" in str(error)


def test_an_unknown_number_is_an_assay_error():
    assert from_status(status_pb2.Status(code=77, message="?")).code == "UNKNOWN"


def test_the_request_id_may_come_as_a_detail():
    assert from_status(status(13, "bug", error_details_pb2.RequestInfo(request_id="r9"))).request_id == "r9"


def test_errors_survive_a_process_boundary():
    error = assay.NotFound("no model", reason="MODEL_NOT_FOUND", metadata={"model": "m"}, request_id="r")
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is assay.NotFound
    assert (back.reason, back.metadata, str(back)) == ("MODEL_NOT_FOUND", {"model": "m"}, "no model (request id r)")


def test_the_tree_is_flat_below_its_root():
    families = [v for v in vars(assay).values() if isinstance(v, type) and issubclass(v, AssayError)]
    assert len(families) == 14
    assert all(family is AssayError or AssayError in family.__bases__ for family in families)
