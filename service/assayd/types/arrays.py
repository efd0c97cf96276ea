"""Names for the numpy arrays that the rooms exchange.

Spelt out: the codec of models' processes reads them at run time, and numpy's `NDArray` hides what it stands for since
numpy 2.5.
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
