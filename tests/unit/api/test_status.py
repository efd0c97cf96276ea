"""Errors to statuses: the code, the reason, the details, and how little is told of a bug."""

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from assay.v1 import error_reason_pb2
from assayd import errors
from assayd.api.status import code_of, new_incident, to_status

TREE = [
    kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.AssayError)
]  # fmt: skip
LEAVES = [kind for kind in TREE if not any(k is not kind and issubclass(k, kind) for k in TREE)]
CODES = {
    "INVALID_PARAMETER": "INVALID_ARGUMENT", "INVALID_TENSOR": "INVALID_ARGUMENT", "INVALID_MODEL": "INVALID_ARGUMENT",
    "DIGEST_MISMATCH": "INVALID_ARGUMENT", "NOT_FINITE": "INVALID_ARGUMENT",
    "MODEL_NOT_FOUND": "NOT_FOUND", "TENSOR_NOT_FOUND": "NOT_FOUND", "VERSION_TAKEN": "ALREADY_EXISTS",
    "MODEL_UNFIT": "FAILED_PRECONDITION", "MODEL_NOT_FINITE": "FAILED_PRECONDITION",
    "MODEL_QUARANTINED": "FAILED_PRECONDITION", "NOT_REPRODUCIBLE": "FAILED_PRECONDITION",
    "METHOD_REVISION": "FAILED_PRECONDITION", "MODEL_FAILED": "FAILED_PRECONDITION",
    "QUEUE_FULL": "RESOURCE_EXHAUSTED", "ROW_BUDGET": "RESOURCE_EXHAUSTED", "TOO_LARGE": "RESOURCE_EXHAUSTED",
    "TIME_BUDGET": "RESOURCE_EXHAUSTED", "QUOTA": "RESOURCE_EXHAUSTED", "OUT_OF_MEMORY": "RESOURCE_EXHAUSTED",
    "MODELS_FULL": "RESOURCE_EXHAUSTED",
    "DEADLINE": "DEADLINE_EXCEEDED", "CANCELLED": "CANCELLED",
    "DRAINING": "UNAVAILABLE", "WORKER_LOST": "UNAVAILABLE", "STORE_FULL": "UNAVAILABLE",
    "NO_DESCRIPTORS": "UNAVAILABLE", "DATA_LOSS": "DATA_LOSS",
    "NOT_SERVED": "UNIMPLEMENTED", "UNAUTHENTICATED": "UNAUTHENTICATED", "PERMISSION_DENIED": "PERMISSION_DENIED",
    "BUG": "INTERNAL", "UNPARSABLE": "INTERNAL",
}  # fmt: skip
"""As error_reason.proto says in its comments."""


def details(status):
    found = {}
    for packed in status.details:
        kind = getattr(error_details_pb2, packed.TypeName().rpartition(".")[2])
        found[kind.__name__] = message = kind()
        assert packed.Unpack(message)
    return found


def test_the_table_above_is_that_of_the_contract():
    known = {name.removeprefix("ERROR_REASON_") for name in error_reason_pb2.ErrorReason.keys()}  # noqa: SIM118
    assert set(CODES) == known - {"UNSPECIFIED"}


@pytest.mark.parametrize("kind", LEAVES, ids=lambda kind: kind.__name__)
def test_every_error_has_a_reason_of_the_contract_and_its_code(kind):
    assert f"ERROR_REASON_{kind.reason}" in error_reason_pb2.ErrorReason.keys()  # noqa: SIM118
    assert kind.reason != "BUG"
    status = to_status(kind("what happened"))
    assert code_of(kind("")).name == CODES[kind.reason]
    assert status.code == getattr(grpc.StatusCode, CODES[kind.reason]).value[0]
    assert status.message == "what happened"
    info = details(status)["ErrorInfo"]
    assert (info.reason, info.domain) == (kind.reason, "assay.v1")


def test_errors_above_the_leaves_map_as_their_families_do():
    inner = [kind for kind in TREE if kind not in LEAVES and kind is not errors.AssayError]
    assert inner
    for kind in inner:
        below = {code_of(k("")) for k in LEAVES if issubclass(k, kind)}
        assert below == {code_of(kind(""))}


def test_only_what_there_is_is_told():
    assert set(details(to_status(errors.ModelUnfit("no")))) == {"ErrorInfo"}
    status = to_status(errors.QueueFull("full", field="a.b", metadata={"k": "v"}, retry_after_s=1.5))
    found = details(status)
    assert set(found) == {"ErrorInfo", "BadRequest", "RetryInfo"}
    (violation,) = found["BadRequest"].field_violations
    assert (violation.field, violation.description) == ("a.b", "full")
    assert status.message == "a.b: full"
    assert dict(found["ErrorInfo"].metadata) == {"k": "v"}
    assert found["RetryInfo"].retry_delay.ToMilliseconds() == 1500


def test_what_is_cut_stays_text():
    info = details(to_status(errors.InvalidRequest("网" * 1000, field="é" * 1000, metadata={"a": "网" * 1000})))
    assert set(info["ErrorInfo"].metadata["a"]) == {"网"}
    (violation,) = info["BadRequest"].field_violations
    assert (set(violation.field), set(violation.description)) == ({"é"}, {"网"})


def test_a_field_may_be_empty_and_is_still_a_field():
    assert "BadRequest" in details(to_status(errors.InvalidRequest("no", field="")))


@pytest.mark.parametrize("bug", [ValueError("/etc/passwd"), KeyError("secret"), Exception()])
def test_of_a_bug_only_its_incident_is_told(bug):
    incident = new_incident()
    status = to_status(bug, incident)
    assert status.code == grpc.StatusCode.INTERNAL.value[0]
    assert incident in status.message
    assert dict(details(status)["ErrorInfo"].metadata) == {"incident": incident}
    for secret in (b"passwd", b"secret", b"ValueError", b"KeyError"):
        assert secret not in status.SerializeToString()


def test_incidents_differ():
    assert len({new_incident() for _ in range(100)}) == 100


HUGE = "x" * 100_000
NOT_ASCII = "网" * 100_000


@pytest.mark.parametrize(
    "error",
    [
        errors.InvalidRequest(HUGE, field=HUGE),
        errors.InvalidRequest(HUGE, field=HUGE, metadata={"a": HUGE, "b": HUGE}, retry_after_s=1),
        errors.InvalidRequest(NOT_ASCII, field=NOT_ASCII, metadata={"a": NOT_ASCII}, retry_after_s=1),
        errors.InvalidRequest("no", metadata={f"k{n}": HUGE for n in range(50)}),
        errors.InvalidRequest("no", metadata={HUGE: "v"}),
    ],
    ids=["long", "long with metadata", "not ascii", "much metadata", "a long key"],
)
def test_a_status_stays_below_4_kilobytes_since_it_travels_in_metadata(error):
    packed = to_status(error).SerializeToString()
    assert len(packed) < 4096
    assert status_pb2.Status.FromString(packed).message


def test_nothing_in_an_error_steers_the_terminal_that_it_is_read_on():
    error = errors.InvalidModel("node '\x1b[31mred\r\n\u202e'", field="a\x07", metadata={"node": "\x9b2J"})
    status = to_status(error)
    found = details(status)
    texts = (status.message, found["BadRequest"].field_violations[0].field, found["ErrorInfo"].metadata["node"])
    assert texts == ("a : node ' [31mred   '", "a ", " 2J")
