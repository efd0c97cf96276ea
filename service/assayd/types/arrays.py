"""Names for the numpy arrays that the rooms exchange.

Spelt out: models' processes read them at run time, and `NDArray` is an alias that hides what it stands for in numpy 2.5.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

_Shape: TypeAlias = tuple[Any, ...]

Array: TypeAlias = np.ndarray[_Shape, np.dtype[Any]]
"""Any dtype a tensor can have; strings are object arrays of `str`."""

Floats: TypeAlias = np.ndarray[_Shape, np.dtype[np.float64]]
Ints: TypeAlias = np.ndarray[_Shape, np.dtype[np.int64]]
Ids: TypeAlias = np.ndarray[_Shape, np.dtype[np.int32]]
