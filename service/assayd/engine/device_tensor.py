"""A tensor in a device's memory, as far as one can say without a runtime: where, what, and what keeps it there."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True, eq=False)
class DeviceTensor:
    """Contiguous. held: keeps the memory alive. address: of the first element, on the device."""

    held: object
    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]

    @property
    def nbytes(self) -> int:
        """Of its elements."""
        return math.prod(self.shape) * self.dtype.itemsize

    def rows(self, start: int, stop: int) -> DeviceTensor:
        """A part of the first axis, in the same memory."""
        step = math.prod(self.shape[1:]) * self.dtype.itemsize
        return replace(self, address=self.address + start * step, shape=(stop - start, *self.shape[1:]))

    def seen_as(self, dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> DeviceTensor:
        """The same bits under another dtype and shape. Raises ValueError where these take other bytes."""
        seen = replace(self, dtype=dtype, shape=shape)
        if seen.nbytes != self.nbytes:
            raise ValueError(f"{self.nbytes} bytes can't be seen as {dtype} {list(shape)}")
        return seen
