"""What the walk knows of a tensor: its shape, and its value where small, at two batch extents side by side."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import TypeAlias

import numpy as np
from onnx import TensorProto, TypeProto, helper, numpy_helper

from assayd.graph.payload import BITS
from assayd.types.arrays import Array

Shape: TypeAlias = tuple[int, ...]

MARKER = 97
"""The batch extent of the second shape: a prime, so that an axis that holds the batch shows it."""

SMALL = 16384
"""Tensors of at most so many elements have their values followed."""


class Unopenable(Exception):
    """The batch axis can't be opened; the message says why to the model's owner."""


@dataclass(frozen=True, eq=False)
class Fact:
    """A tensor at the file's batch extent and at MARKER.

    elem: element type. shape, opened: its shape at either. value, value_opened: its value, where known and small.
    lead: where the batch is folded into an axis with others (torch folds heads: N*H), the extent of what stands
    before the batch inside that axis. baked: the value stands in the file, it doesn't come from a shape.
    """

    elem: int
    shape: Shape
    opened: Shape
    value: Array | None = None
    value_opened: Array | None = None
    lead: int = 1
    baked: bool = False

    @cached_property
    def axes(self) -> tuple[int, ...]:
        """Axes whose extent changes with the batch."""
        return tuple(axis for axis, pair in enumerate(zip(self.shape, self.opened, strict=True)) if pair[0] != pair[1])

    @property
    def axis(self) -> int:
        """The batch axis; only where `batched`."""
        return self.axes[0]

    @property
    def batched(self) -> bool:
        """Whether its shape depends on the batch."""
        return bool(self.axes)

    @property
    def varies(self) -> bool:
        """Whether its shape or its value depends on the batch."""
        return self.batched or self.value is not self.value_opened

    @cached_property
    def types(self) -> tuple[TypeProto, TypeProto]:
        """As onnx's shape inference wants it."""
        here = helper.make_tensor_type_proto(self.elem, self.shape)
        return here, here if not self.batched else helper.make_tensor_type_proto(self.elem, self.opened)

    @cached_property
    def data(self) -> tuple[TensorProto | None, TensorProto | None]:
        """The values as tensors, for shape inference."""
        if self.value is None or self.value_opened is None:
            return None, None
        here = numpy_helper.from_array(self.value)
        return here, here if self.value_opened is self.value else numpy_helper.from_array(self.value_opened)

    def with_opened(self, opened: Shape, lead: int = 1) -> Fact:
        """The same tensor with another shape at MARKER, as after a mend."""
        return replace(self, opened=opened, lead=lead)


def constant(array: Array, *, baked: bool = True) -> Fact:
    """A tensor whose value is known and doesn't depend on the batch."""
    elem = helper.np_dtype_to_tensor_dtype(array.dtype)
    return Fact(elem, array.shape, array.shape, array, array, baked=baked)


def of_tensor(tensor: TensorProto) -> Fact:
    """An initializer. Its value is followed where it is small and numeric."""
    shape = tuple(tensor.dims)
    value = None
    if prod(shape) <= SMALL and BITS.get(tensor.data_type, 0) >= 8 and tensor.data_type != TensorProto.BFLOAT16:
        array = numpy_helper.to_array(tensor)
        value = array if array.dtype.kind in "fiub" and array.dtype.isbuiltin == 1 else None
    return Fact(tensor.data_type, shape, shape, value, value, baked=True)


def uniform_along(value: Array, axis: int) -> bool:
    """Whether every slice along the axis is the same."""
    return bool(np.array_equal(value, np.broadcast_to(np.take(value, [0], axis), value.shape)))
