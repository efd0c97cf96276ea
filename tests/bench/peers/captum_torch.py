"""Captum on the same net in torch, and around the same onnxruntime callable.

Its documentation recommends one setting for speed: `perturbations_per_eval`, default 1, as large as memory bears. Tuned
takes the best of a few, with torch's threads at all cores and channels last; gradients are off within captum itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

import assay
from tests.bench.case import Case
from tests.bench.machine import cores
from tests.bench.peers.peer import Peer
from tests.bench.peers.torch_nets import as_torch

_PER_EVAL = (8, 16, 32)


def peers(case: Case) -> Iterable[Peer]:
    """Default, tuned, and around onnxruntime at the raw model's best batch."""
    import torch

    torch.set_num_threads(cores())
    net = as_torch(_opened(case)).to(_device(case))
    yield _peer(case, "torch, default", net, 1)
    tuned = net.to(memory_format=torch.channels_last) if case.x.ndim == 4 else net
    best = min(_PER_EVAL, key=lambda size: _seconds(case, tuned, size))
    yield _peer(case, "torch, tuned", tuned, best)

    def onnxruntime(rows: Any) -> Any:
        return torch.from_numpy(case.raw.model(np.ascontiguousarray(rows.numpy())))

    yield _peer(case, "the same onnxruntime callable", onnxruntime, case.raw.batch, on_host=True)


def _opened(case: Case) -> bytes:
    from assayd.graph.programs import programs_of

    opened = programs_of(case.subject.model).opened
    if opened is None:
        raise ValueError("this model's batch axis can't be opened")
    return opened


def _device(case: Case) -> str:
    return "cuda" if case.raw.model.device == "cuda" else "cpu"


def _seconds(case: Case, net: Any, size: int) -> float:
    """Seconds a row of a short run."""
    import torch

    rows = torch.from_numpy(np.repeat(case.x[:1], size, 0)).to(_device(case))
    with torch.no_grad():
        net(rows)
        begun = time.perf_counter()
        for _ in range(max(1, 64 // size)):
            net(rows).cpu()
    return (time.perf_counter() - begun) / max(1, 64 // size) / size


def _peer(case: Case, setting: str, forward: Callable[..., Any], size: int, *, on_host: bool = False) -> Peer:
    import torch

    method, target = case.method, case.workload.target
    where = "cpu" if on_host else _device(case)
    x = torch.from_numpy(case.x[:1]).to(where)
    held: dict[str, np.ndarray] = {}
    if isinstance(method, assay.Lime):
        keep = np.asarray(case.answer.rows[0].keep)
        ids = torch.from_numpy(np.ascontiguousarray(case.segments).reshape(x.shape).astype(np.int64)).to(where)
        explain = _lime(forward, keep, where)

        def run() -> None:
            found = explain.attribute(
                x, target=target, baselines=0, feature_mask=ids, n_samples=len(keep), perturbations_per_eval=size,
                return_input_shape=False,
            )  # fmt: skip
            held["found"] = found[0].numpy(force=True)

        def check() -> tuple[np.ndarray, np.ndarray]:
            return held["found"], np.asarray(case.answer.feature_values)[0]
    else:
        run, check = _removal(case, forward, x, size, held)
    return Peer(setting, run, check, note=f"perturbations_per_eval={size}")


def _removal(
    case: Case, forward: Callable[..., Any], x: Any, size: int, held: dict[str, np.ndarray]
) -> tuple[Callable[[], None], Callable[[], tuple[np.ndarray, np.ndarray]]]:
    """Occlusion by windows, or ablation of groups."""
    import torch
    from captum.attr import FeatureAblation, Occlusion

    method, target = case.method, case.workload.target

    def run() -> None:
        if method.features is None:
            window, stride = (x.shape[1], *method.window), (x.shape[1], *method.stride)
            found = Occlusion(forward).attribute(x, window, stride, 0, target, perturbations_per_eval=size)
        else:
            mask = torch.from_numpy(case.segments.reshape(x.shape).astype(np.int64)).to(x.device)
            found = FeatureAblation(forward).attribute(x, 0, target, None, mask, perturbations_per_eval=size)
        held["found"] = found.numpy(force=True)

    def check() -> tuple[np.ndarray, np.ndarray]:
        (ours,) = case.answer.attributions.values()
        return held["found"], np.broadcast_to(ours, held["found"].shape)

    return run, check


def _lime(forward: Callable[..., Any], keep: np.ndarray, where: str) -> Any:
    """Its LIME on given masks, with the kernel and the ridge of the service."""
    import torch
    from captum._utils.models.linear_model import SkLearnLinearModel
    from captum.attr import Lime

    masks = torch.from_numpy(keep.astype(np.float32)).to(where)

    def perturb(original: Any, **_: Any) -> Any:
        for n in range(len(masks)):
            yield masks[n : n + 1]

    def similar(original: Any, perturbed: Any, mask: Any, **_: Any) -> Any:
        distance = 1 - mask.mean().sqrt()
        return torch.exp(-(distance**2) / (2 * 0.25**2))

    return Lime(forward, SkLearnLinearModel("linear_model.Ridge", alpha=1.0), similar, perturb)
