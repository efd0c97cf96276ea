"""The error tree. It knows nothing of gRPC; `assayd.api.status` alone maps it to the wire.

AssayError
├── InvalidRequest            a field of the request is wrong
│   ├── InvalidTensor         … an input, baseline or segments tensor
│   ├── InvalidModel          … the model's bytes
│   ├── DigestMismatch        … a stated digest
│   └── NotFinite             … x or a baseline where the model's score isn't finite
├── NotFound
│   ├── ModelNotFound
│   └── TensorNotFound
├── VersionTaken              name and version belong to other bytes
├── ModelUnfit                the model can't do what was asked
│   ├── ModelFailed           the runtime refused to compute
│   ├── ModelNotFinite        it answered NaN for an ordinary input
│   ├── ModelQuarantined      it ended its processes
│   ├── MethodRevision        another revision of the method was pinned
│   └── NotReproducible       the same bits can't be promised
├── Exhausted
│   ├── QueueFull             come back later
│   │   └── TooManyCalls      … or uploads, or bytes of messages, at once
│   ├── RowBudget             more rows than allowed
│   ├── TimeBudget            more time than the request's budget
│   ├── TooLarge              more bytes than allowed
│   ├── OutOfMemory           the device has no room for one row
│   ├── ModelsFull            all models that may be loaded are in use
│   └── QuotaUsedUp           the tenant's
├── DeadlinePassed
│   └── Terminated            the batch was stopped while it ran
├── Unavailable
│   ├── Draining
│   ├── WorkerLost            the process that runs the model died
│   │   ├── WorkerNotStarted  the system has no room for another process
│   │   └── DeviceGone        with its GPU, on which nothing runs any more
│   ├── NoDescriptors         the system lets this process open no more
│   └── StoreFull
├── Unauthenticated           no, expired or foreign credentials
├── PermissionDenied          credentials without the right
├── Unparsable                the request's bytes are no message
└── DataLoss                  stored bytes no longer match their digest
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar

_BUSY_S = 1.0


class AssayError(Exception):
    """Root of the domain's errors.

    `reason` is the name of a value of `assay.v1.ErrorReason` without its prefix. `message` is written for the caller:
    it names what was wrong and what would be right, and holds no path of the server. `metadata` is for programs.
    `retry_after_s` is set where trying again is useful.
    """

    reason: ClassVar[str] = "BUG"

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        metadata: Mapping[str, str] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.metadata = dict(metadata or {})
        self.retry_after_s = retry_after_s


@contextmanager
def within(prefix: str, *, beside: tuple[str, ...] = ()) -> Iterator[None]:
    """Put `prefix` before the field of an error, as it travels up from a part to the request that holds it.

    Fields that begin with one of `beside` aren't the part's own and stay as they are.
    """
    try:
        yield
    except AssayError as error:
        if error.field and error.field.startswith(beside):
            raise
        error.field = f"{prefix}.{error.field}" if error.field else prefix
        raise


class InvalidRequest(AssayError):
    """A field of the request is out of range, contradictory or missing."""

    reason = "INVALID_PARAMETER"


class InvalidTensor(InvalidRequest):
    """A tensor has the wrong name, dtype, rank or extent, or its bytes don't fit its shape."""

    reason = "INVALID_TENSOR"


class InvalidModel(InvalidRequest):
    """The bytes are no ONNX model that this service takes."""

    reason = "INVALID_MODEL"


class DigestMismatch(InvalidRequest):
    """The stated digest isn't that of the bytes."""

    reason = "DIGEST_MISMATCH"


class NotFinite(InvalidRequest):
    """The score at x or at a baseline isn't finite, so there is nothing to attribute."""

    reason = "NOT_FINITE"


class NotFound(AssayError):
    """Something named by the caller doesn't exist for this caller."""


class ModelNotFound(NotFound):
    """No such model, version or digest."""

    reason = "MODEL_NOT_FOUND"


class TensorNotFound(NotFound):
    """No such stored tensor."""

    reason = "TENSOR_NOT_FOUND"


class VersionTaken(AssayError):
    """A version is immutable, and this one belongs to other bytes."""

    reason = "VERSION_TAKEN"


class ModelUnfit(AssayError):
    """The model can't do what was asked."""

    reason = "MODEL_UNFIT"


class ModelFailed(ModelUnfit):
    """The runtime refused to load the model or failed to compute with it."""

    reason = "MODEL_FAILED"


class DeviceLost(ModelFailed):
    """A kernel left the GPU unusable for the process that ran it; only a new process can compute there again."""


class ModelNotFinite(ModelUnfit):
    """The model answered NaN or infinity for a perturbed row, though x and the baselines score finite."""

    reason = "MODEL_NOT_FINITE"


class ModelQuarantined(ModelUnfit):
    """The model ended its processes too often, and isn't run for a while; metadata: digest."""

    reason = "MODEL_QUARANTINED"


class MethodRevision(ModelUnfit):
    """Another revision of the method was pinned than the one served."""

    reason = "METHOD_REVISION"


class NotReproducible(ModelUnfit):
    """The same bits can't be promised for this model."""

    reason = "NOT_REPRODUCIBLE"


class Exhausted(AssayError):
    """A queue, budget or quota is full."""


class QueueFull(Exhausted):
    """Too many rows wait for the device."""

    reason = "QUEUE_FULL"


class TooManyCalls(QueueFull):
    """As many calls or uploads are under way, or bytes of messages held, as may be; metadata: what, limit."""


class QuotaUsedUp(Exhausted):
    """The tenant has had what it may have; metadata: tenant, quota, limit."""

    reason = "QUOTA"


class RowBudget(Exhausted):
    """More rows than the request's budget or the server's limit."""

    reason = "ROW_BUDGET"


class TimeBudget(Exhausted):
    """The request's budget of time ended before it had an answer."""

    reason = "TIME_BUDGET"


class TooLarge(Exhausted):
    """More bytes than the limit."""

    reason = "TOO_LARGE"


class OutOfMemory(Exhausted):
    """The device has no memory for a single row."""

    reason = "OUT_OF_MEMORY"


class ModelsFull(Exhausted):
    """As many models as may be loaded are in use; metadata: limit."""

    reason = "MODELS_FULL"


class DeadlinePassed(AssayError):
    """The deadline passed before the work was done; what remained was dropped."""

    reason = "DEADLINE"


class Terminated(DeadlinePassed):
    """A batch was told to stop while it ran. Who told it knows which of its rows were late; others can run again."""


class Unavailable(AssayError):
    """Not now; perhaps soon."""


class Draining(Unavailable):
    """The server is going down and takes no new work."""

    reason = "DRAINING"


class WorkerLost(Unavailable):
    """The process that runs the model died or was killed; metadata: cause. Another one may take over."""

    reason = "WORKER_LOST"


class WorkerNotStarted(WorkerLost):
    """The system gave no process, memory or descriptors for another worker; metadata: cause."""


class DeviceGone(WorkerLost):
    """No process computes on this device any more; another device may take over."""


class NoDescriptors(Unavailable):
    """As many files and connections are open as the system lets this process have."""

    reason = "NO_DESCRIPTORS"


def no_descriptors(error: OSError) -> NoDescriptors | None:
    """What a caller hears where nothing could be opened for want of descriptors; None where that isn't why."""
    if error.errno not in (errno.EMFILE, errno.ENFILE):
        return None
    return NoDescriptors(
        "the server has as many files and connections open as the system lets it have: try again in a moment, with "
        "fewer connections",
        retry_after_s=_BUSY_S,
    )


class StoreFull(Unavailable):
    """The store can't write, or not read for now."""

    reason = "STORE_FULL"


class Unauthenticated(AssayError):
    """Credentials are missing, expired or foreign."""

    reason = "UNAUTHENTICATED"


class PermissionDenied(AssayError):
    """The credentials are good and don't hold the right; metadata: right."""

    reason = "PERMISSION_DENIED"


class Unparsable(AssayError):
    """The bytes of a request are no message of its type."""

    reason = "UNPARSABLE"


class DataLoss(AssayError):
    """Stored bytes no longer match their digest."""

    reason = "DATA_LOSS"
