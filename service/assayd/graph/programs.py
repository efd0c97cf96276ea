"""The door of this room: bytes in, the programs an engine can run out."""

from __future__ import annotations

from dataclasses import dataclass, replace

from onnx import ModelProto, inliner

from assayd.graph.admit import admit
from assayd.graph.chance import random_operators
from assayd.graph.open_batch import Batch, find_batch, open_batch
from assayd.graph.signature import signature_of
from assayd.graph.tidy import remove_zipmaps, strip_weights
from assayd.types.admission import AdmissionLimits
from assayd.types.model import Signature


@dataclass(frozen=True)
class Programs:
    """A model's programs, serialised.

    plain: the model, but for a trailing ZipMap and weights listed as inputs; the very bytes given where it has neither.
    opened: the same with its batch axis free and the same results for one row (the same object as plain where it was
    free), or None, and then reason says why in words for the model's owner. Opening is an inference from the graph:
    whether rows really are independent is for the engine to prove.
    """

    signature: Signature
    plain: bytes
    opened: bytes | None
    reason: str
    random: tuple[str, ...] = ()


def programs_of(data: bytes, limits: AdmissionLimits | None = None) -> Programs:
    """Check, tidy and open a model. limits: None for the default ones.

    Raises InvalidModel where the bytes are no model that can be taken, TooLarge where they are one beyond the limits.
    """
    model = admit(data, limits)
    stripped = strip_weights(model)
    labels = remove_zipmaps(model)
    plain = model.SerializeToString() if stripped or labels else data
    model, obstacle = _inlined(model)
    batch = find_batch(model)
    if obstacle and not batch.reason and batch.extent is not None:
        batch = replace(batch, walked=None, reason=obstacle)
    signature = signature_of(model.graph, batch, labels)
    random = random_operators(model)
    return Programs(signature, plain, _opened(model, batch, plain), batch.reason, random)


def _inlined(model: ModelProto) -> tuple[ModelProto, str]:
    """The model without functions of its own, so that the batch can be followed; or a reason why not."""
    if not model.functions:
        return model, ""
    try:
        return inliner.inline_local_functions(model), ""
    except Exception:  # noqa: BLE001  whatever onnx finds wrong with a function, onnxruntime will say it better
        return model, "its functions can't be inlined, so the batch can't be followed through them"


def _opened(model: ModelProto, batch: Batch, plain: bytes) -> bytes | None:
    if batch.reason:
        return None
    if batch.walked is None:
        return plain
    open_batch(model, batch)
    return model.SerializeToString()
