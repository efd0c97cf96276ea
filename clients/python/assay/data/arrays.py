"""Instances in arrays as the parts of a data set, each small enough to send."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from assay.data.parts import Part
from assay.errors import invalid
from assay.models import Model, TensorInfo
from assay.tensors import Array

PART_ROWS = 256
PART_BYTES = 8 << 20

_MOST_NAMES = 8


class Dataset(Protocol):
    """Instances of a known number, gone through part by part, as often as wanted."""

    def __len__(self) -> int:
        """The number of instances."""

    def __iter__(self) -> Iterator[Part]:
        """The instances in order, in parts of at most `PART_ROWS` rows and about `PART_BYTES`."""


@dataclass(frozen=True, eq=False)
class ArrayData:
    """Instances in arrays: {input name: [B, *input]}, and one key each or none."""

    inputs: Mapping[str, Array]
    keys: Sequence[str] | None = None
    part_rows: int | None = None

    def __post_init__(self) -> None:
        counts = {name: len(array) if array.ndim else 0 for name, array in self.inputs.items()}
        if len(set(counts.values())) != 1 or not len(self):
            raise invalid("inputs", f"inputs need the same number of instances, at least 1, not {counts}")
        if self.keys is not None and len(self.keys) != len(self):
            raise invalid("keys", f"{len(self.keys)} keys for {len(self)} instances")

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values()), ()))

    def __iter__(self) -> Iterator[Part]:
        yield from split(self.inputs, self.keys, self.part_rows)


def split(inputs: Mapping[str, Array], keys: Sequence[str] | None, part_rows: int | None = None) -> Iterator[Part]:
    """Parts of arrays {input name: [B, *input]}. part_rows: by default what stays below both limits."""
    count = len(next(iter(inputs.values())))
    rows = part_rows or max(1, min(PART_ROWS, PART_BYTES * count // max(1, sum(a.nbytes for a in inputs.values()))))
    for start in range(0, count, rows):
        cut = slice(start, start + rows)
        yield Part({name: array[cut] for name, array in inputs.items()}, None if keys is None else list(keys[cut]))


def keyed(values: Sequence[Any], first_row: int) -> list[str]:
    """Keys of rows; InvalidArgument where one is missing."""
    for row, value in enumerate(values, first_row):
        if value is None or value in ("", b""):
            raise invalid("key_column", f"row {row} has no key")
    return [str(value) for value in values]


def fitted(array: Array, info: TensorInfo) -> Array:
    """Floats in the precision that an input has."""
    if array.dtype.kind == "f" and info.dtype in ("float16", "float32", "float64"):
        return array.astype(info.dtype, copy=False)
    return array


def shaped(array: Array, info: TensorInfo, what: str) -> Array:
    """Values of rows, [B] or [B, L], in the shape of an input: [B, *input]."""
    shape, per_row = info.shape, math.prod(array.shape[1:])
    fixed = math.prod(extent for extent in shape if extent >= 0)
    unknown = sum(extent < 0 for extent in shape)
    fits = per_row == fixed if not unknown else unknown == 1 and fixed and per_row % fixed == 0
    if not fits:
        raise invalid("columns", f"input {info} takes {fixed} values a row; {what}: {per_row}")
    return array.reshape(len(array), *(per_row // fixed if extent < 0 else extent for extent in shape))


def source_names(model: Model, columns: Mapping[str, Sequence[str]]) -> None:
    """InvalidArgument where `columns` speaks of an input that the model doesn't have."""
    known = [info.name for info in model.inputs]
    for name in columns:
        if name not in known:
            raise invalid("columns", f"{model.ref} has no input {name!r}; it has {', '.join(known)}")


def listed(names: Sequence[str]) -> str:
    """Names for people, not all of very many."""
    return ", ".join(names[:_MOST_NAMES]) + (f" and {len(names) - _MOST_NAMES} more" * (len(names) > _MOST_NAMES))
