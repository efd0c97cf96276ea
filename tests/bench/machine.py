"""The machine and the versions that figures were taken on."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = (
    "onnx-assay", "onnxruntime", "onnxruntime-gpu", "onnx", "numpy", "scipy", "scikit-learn", "scikit-image", "grpcio",
    "protobuf", "torch", "captum", "lime", "shap", "dianna",
)  # fmt: skip


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def described() -> dict[str, object]:
    """What a reader of figures asks first. load_average: of the last minute, before anything here ran."""
    return {
        "taken": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "revision": _said("git", "rev-parse", "--short", "HEAD")
        + ("+" if _said("git", "status", "-s", "-uno") else ""),
        "cpu": _cpu(),
        "cores": cores(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "gpu": _said("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"),
        "kernel": platform.release(),
        "python": sys.version.split()[0],
        "load_average": round(os.getloadavg()[0], 2),
        "versions": {name: found for name in _PACKAGES if (found := _version(name))},
    }


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _said(*command: str) -> str:
    """The output of a command, or "" where there is none."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
