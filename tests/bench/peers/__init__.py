"""Other ways to the same answers, one file a package; each imports its package where it is used."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tests.bench.case import Case
from tests.bench.peers import captum_torch, dianna_images, lime_package, numpy_loop, scipy_differences, shap_kernel
from tests.bench.peers.peer import Peer

PEERS: dict[str, Callable[[Case], Iterable[Peer]]] = {
    "numpy": numpy_loop.peers,
    "captum": captum_torch.peers,
    "dianna": dianna_images.peers,
    "lime": lime_package.peers,
    "scipy": scipy_differences.peers,
    "shap": shap_kernel.peers,
}
"""By name: from a case to the settings that are measured."""
