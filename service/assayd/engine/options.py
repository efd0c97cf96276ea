"""What the owner of a device chooses, free of any runtime, for those who start a backend and hold no sessions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from assayd.types.model import Signature

# On two cores and rows of 600 kB the service reaches 0.94 of the raw rate with 8 rows, 0.90 with 10, 0.82 with 16.
# Ten callers with small jobs fill tens exactly. Small models want as many rows as there are.
_SMALL_ROW_BYTES = 64 * 1024
MOST_ROWS, _LARGE_ROW_BATCH = 32, 10


@dataclass(frozen=True)
class SessionOptions:
    """threads: 0 lets onnxruntime choose. provider: "cpu" or "cuda". required: better no session than on another.
    gpu_memory_bytes: most that one session's arena takes on a GPU, or None.

    spin_us: how long a session's threads stay awake for its next operator or run; None lets onnxruntime choose. By
    squeezenet on two cores: a model alone takes 0.98 of the default's time with 100 us and 1.03 to 1.10 with none; two
    in turn, a process each, 0.5 and 0.45, for the default keeps the first one's threads at the second one's cores.
    """

    threads: int = 0
    provider: str = "cpu"
    required: bool = False
    spin_us: int | None = None
    gpu_memory_bytes: int | None = None


def provider_of(wanted: str) -> str:
    """The provider to ask sessions for. "auto" is CUDA where there is a GPU and a runtime for it; what a session then
    really gets, it says itself: the list of available providers names CUDA on machines that have no GPU.
    """
    if wanted != "auto":
        return wanted
    return "cuda" if _cuda_devices() and _gpu_runtime() else "cpu"


def _cuda_devices() -> int:
    """Number of NVIDIA devices that the driver shows."""
    return len(list(Path("/proc/driver/nvidia/gpus").glob("*")))


def _gpu_runtime() -> bool:
    """Whether onnxruntime-gpu is installed; importing it would bring a runtime into processes that shall have none."""
    try:
        version("onnxruntime-gpu")
    except PackageNotFoundError:
        return False
    return True


def default_rows(signature: Signature) -> int:
    """Most rows of a model's batch where the owner of the device doesn't say."""
    row_bytes = sum(math.prod(n or 1 for n in s.shape or ()) * np.dtype(s.dtype).itemsize for s in signature.inputs)
    return MOST_ROWS if row_bytes <= _SMALL_ROW_BYTES else _LARGE_ROW_BATCH
