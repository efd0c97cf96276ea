"""What the owner of a device chooses, free of any runtime, for those who start a backend and hold no sessions."""

from __future__ import annotations

import hashlib
import os
import platform
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from assayd.engine.sweep import REVISION, is_small
from assayd.types.admission import AdmissionLimits
from assayd.types.model import Signature

MOST_ROWS = 4096
"""Of any batch, unless the owner of the device says otherwise."""

# On two cores and rows of 600 kB the service reaches 0.94 of the raw rate with 8 rows, 0.90 with 10, 0.82 with 16.
# Ten callers with small jobs fill tens exactly.
_SMALL_ROW_BATCH, _LARGE_ROW_BATCH = 32, 10


@dataclass(frozen=True)
class SessionOptions:
    """threads: 0 lets onnxruntime choose. provider: "cpu" or "cuda". device: which GPU, as CUDA numbers those that it
    sees; on the CPU the number of a share of the machine, or None where there is one. required: better no session than
    on another provider.
    gpu_memory_bytes: most that one session's arena takes on a GPU, or None. sweep_s: time for finding how many rows and
    threads suit a model when it is loaded, or a quarter of its load where that is longer; 0 for none.
    precision: of the arithmetic on a GPU, "fp32", "tf32" or "fp16". search: how cuDNN finds a convolution's algorithm.
    realiser: what makes tensors from rows there, "numpy" or "graph"; "auto" is graph. With "graph" models run on the
    CPU as they would on a GPU, for tests. admission: what models are taken at all.

    spin_us: how long a session's threads stay awake for its next operator or run; None lets onnxruntime choose. By
    squeezenet on two cores: a model alone takes 0.98 of the default's time with 100 us and 1.03 to 1.10 with none; two
    in turn, a process each, 0.5 and 0.45, for the default keeps the first one's threads at the second one's cores.
    """

    threads: int = 0
    provider: str = "cpu"
    device: int | None = None
    required: bool = False
    spin_us: int | None = None
    gpu_memory_bytes: int | None = None
    sweep_s: float = 0.0
    precision: str = "fp32"
    search: str = "HEURISTIC"
    realiser: str = "auto"
    admission: AdmissionLimits = field(default_factory=AdmissionLimits)


def fingerprint(options: SessionOptions, batch_rows: int | None) -> str:
    """What a sweep's result depends on beside the model: machine, runtime, the owner's choices. 16 hex digits.

    batch_rows: most rows in a batch, or None where the sweep is to say.
    """
    chosen = (options.provider, options.precision, options.threads, batch_rows)
    about = (REVISION, *chosen, _runtime_version(), _cpu(), os.cpu_count())
    return hashlib.sha256(repr(about).encode()).hexdigest()[:16]


def _cpu() -> str:
    """The processor's name, as the kernel has it."""
    with suppress(OSError), Path("/proc/cpuinfo").open() as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _runtime_version() -> tuple[str, ...]:
    """Of onnxruntime, without importing it."""
    found = []
    for name in ("onnxruntime", "onnxruntime-gpu"):
        with suppress(PackageNotFoundError):
            found.append(version(name))
    return tuple(found)


def provider_of(wanted: str) -> str:
    """The provider to ask sessions for. "auto" is CUDA where there is a GPU and a runtime for it; what a session then
    really gets, it says itself: the list of available providers names CUDA on machines that have no GPU.
    """
    if wanted != "auto":
        return wanted
    return "cuda" if _cuda_devices() and visible_gpus() and _gpu_runtime() else "cpu"


def device_name(options: SessionOptions) -> str:
    """For metrics and records: "cpu", "cuda:1", or "cpu:1" where the CPU is shared out."""
    if options.provider == "cuda":
        return f"cuda:{options.device or 0}"
    return "cpu" if options.device is None else f"cpu:{options.device}"


def visible_gpus() -> int:
    """How many GPUs CUDA numbers: what its variable names, up to the first that it wouldn't take, or all."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return _cuda_devices()
    words = [word.strip() for word in named.split(",")]
    return next((n for n, word in enumerate(words) if not word or word.startswith("-")), len(words))


def no_cuda() -> str:
    """Why there can be no CUDA session on this machine, in words; empty where nothing speaks against it."""
    if not _gpu_runtime():
        return "onnxruntime-gpu isn't installed, or onnxruntime was put in its place"
    if not _cuda_devices():
        return "the driver shows no NVIDIA GPU"
    if not visible_gpus():
        return "CUDA_VISIBLE_DEVICES names no GPU"
    return "CUDA 13 or cuDNN 9 wasn't found, or doesn't suit the driver"


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
    """Most rows of a model's batch where the owner of the device doesn't say, and nothing was measured."""
    return _SMALL_ROW_BATCH if is_small(signature) else _LARGE_ROW_BATCH
