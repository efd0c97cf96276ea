"""The tensors of a result as they were sent, found by the digests that its record states."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from assay.errors import DataLoss
from assay.explanation import FEATURES, Instance
from assay.kept.digests import tensor_digest
from assay.tensors import Array


def by_digest(instance: Instance, record: Mapping[str, Any]) -> dict[str, Array]:
    """{digest: array as sent} of all tensors of a result that its record names.

    What a caller gets lost its axis of one target, and maps were broadcast; this undoes both. DataLoss, naming it, for
    a tensor that isn't what the record says.
    """
    stated = dict(named_digests(record["results"]))
    found = {}
    for name, array in named_arrays(instance):
        if name not in stated:
            continue
        sent = next((a for a in _as_sent(array) if tensor_digest(a) == stated[name]), None)
        if sent is None:
            raise DataLoss(f"{' '.join(name)} of instance {instance.position} isn't what its record says")
        found[stated[name]] = sent
    return found


def named_digests(results: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """(path, digest) of a record's results, such as (("maps", "image"), "sha256:…")."""
    for name, value in results.items():
        if isinstance(value, Mapping):
            for rest, digest in named_digests(value):
                yield (name, *rest), digest
        elif isinstance(value, str):
            yield (name,), value


def named_arrays(instance: Instance) -> Iterator[tuple[tuple[str, ...], Array]]:
    """(path in a record's results, array as the caller got it)."""
    single = {
        "feature_values": instance.feature_values,
        "feature_errors": instance.feature_errors,
        "row_scores": None if instance.rows is None else instance.rows.scores,
        "intercept": instance.diagnostics.intercept,
        "r_squared": instance.diagnostics.r_squared,
        "scores": instance.scores,
    }
    nested: Mapping[str, Mapping[str, Array | None]] = {"maps": instance.attributions, "map_errors": instance.errors}
    deep: Mapping[str, Mapping[str, Mapping[str, Array | None]]] = {
        "jacobian": instance.jacobian,
        "jacobian_errors": instance.jacobian_errors,
    }
    for name, array in single.items():
        if array is not None:
            yield (name,), array
    for name, arrays in nested.items():
        yield from (((name, of), array) for of, array in arrays.items() if array is not None)
    for name, blocks in deep.items():
        for output, arrays in blocks.items():
            for of, array in arrays.items():
                if array is not None:
                    yield (name, output, of), array
                    if of == FEATURES:  # which an input may be called as well
                        yield (name, output, ""), array


def _as_sent(array: Array) -> Iterator[Array]:
    """What it may have been on the wire: with an axis of one target more, without its broadcasting."""
    compact = array[tuple(slice(0, 1) if stride == 0 else slice(None) for stride in array.strides)]
    for one in (array, compact):
        yield one
        yield one[None]
