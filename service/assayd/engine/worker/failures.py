"""A worker's errors, on their way to the front."""

from __future__ import annotations

import errno
import traceback

from assayd import errors
from assayd.engine.worker.arrays import Malformed
from assayd.engine.worker.messages import Bug, Failed

_MOST_MESSAGE, _MOST_METADATA, _MOST_TRACEBACK = 2000, 20, 16_000

_CROSSING: dict[str, type[errors.AssayError]] = {
    kind.__name__: kind
    for kind in (
        errors.InvalidRequest, errors.InvalidTensor, errors.InvalidModel, errors.ModelUnfit, errors.ModelFailed,
        errors.ModelNotFinite, errors.NotReproducible, errors.TooLarge, errors.OutOfMemory, errors.Terminated,
    )
}  # fmt: skip
"""All that a model may be the cause of. No other can be had from a worker, least of all one that says: try again."""


def told(error: Exception) -> Failed | Bug:
    """An error as an answer."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        error = errors.OutOfMemory("the model's process has no memory left")
    if isinstance(error, errors.AssayError) and type(error).__name__ in _CROSSING:
        return Failed(type(error).__name__, error.message, error.field, error.metadata, error.retry_after_s)
    return Bug("".join(traceback.format_exception(error))[-_MOST_TRACEBACK:])


def raised(failed: Failed) -> errors.AssayError:
    """The error to raise in front. Raises Malformed where no such error crosses."""
    kind = _CROSSING.get(failed.kind)
    if kind is None:
        raise Malformed("an impossible error")
    metadata = {
        key[:_MOST_MESSAGE]: value[:_MOST_MESSAGE] for key, value in list(failed.metadata.items())[:_MOST_METADATA]
    }
    field = failed.field and failed.field[:_MOST_MESSAGE]
    return kind(failed.message[:_MOST_MESSAGE], field=field, metadata=metadata, retry_after_s=failed.retry_after_s)
