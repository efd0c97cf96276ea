"""Without a GPU these tests say so and are skipped; nothing else is a reason to skip one."""

from __future__ import annotations

import pytest

from assayd.engine.options import provider_of


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU where `--provider auto` wouldn't ask for one."""
    if provider_of("auto") == "cuda":
        return
    why = "NOT RUN: no NVIDIA device with its driver and onnxruntime-gpu on this machine"
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason=why))
