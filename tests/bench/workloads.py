"""What is measured against the model's own rate and against other packages, and what is hoped for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

import assay
from tests.bench.figures import Mark
from tests.bench.models import COLUMNS, Subject, segments, table

SUPERPIXELS = 50
GROUPS = assay.Groups([assay.Group(f"group {k}", list(range(3 * k, 3 * k + 3))) for k in range(COLUMNS // 3)])


@dataclass(frozen=True, eq=False)
class Workload:
    """A call, repeated.

    method: made from the instance, for segments. count: instances in the call. target: index in the output, None for
    Jacobians. efficiency: its mark. peers: names of modules in `peers`, in `marks` by "peer: setting".
    """

    name: str
    subject: str
    method: Callable[[np.ndarray], assay.Occlusion | assay.Lime | assay.Jacobian | assay.Rows]
    count: int = 1
    target: int | None = 0
    efficiency: Mark | None = None
    peers: tuple[str, ...] = ("numpy",)
    marks: dict[str, Mark] = field(default_factory=dict)

    def instances(self, subject: Subject) -> np.ndarray:
        """The instances of one call."""
        return subject.x[: self.count]


_CAPTUM = {
    "captum: torch, default": Mark(5),
    "captum: torch, tuned": Mark(4),
    "captum: the same onnxruntime callable": Mark(1.3),
}
_LIME_IMAGE = {"lime: default": Mark(1.3), "lime: tuned": Mark(1.3)}
_LIME_TABLE = {"lime: default": Mark(5)}
_LIME_GAUSSIAN = {"lime: default": Mark(1.5)}
_DIANNA = {"dianna: default": Mark(1.4), "dianna: tuned": Mark(1.4)}
_SCIPY = {"scipy: one call at a time": Mark(2)}


def _occlusion(x: np.ndarray) -> assay.Occlusion:
    return assay.Occlusion(window=(16, 16), stride=(8, 8))


def _lime_segments(x: np.ndarray) -> assay.Lime:
    return assay.Lime(num_samples=1000, features=assay.Segments(segments(x, SUPERPIXELS)))


def _lime_superpixels(x: np.ndarray) -> assay.Lime:
    return assay.Lime(num_samples=1000, features=assay.Superpixels(SUPERPIXELS))


def _lime_quartiles(x: np.ndarray) -> assay.Lime:
    return assay.Lime(num_samples=5000, sampling=assay.QuartileTable.fit(table(1000, seed=2)))


def _lime_gaussian(x: np.ndarray) -> assay.Lime:
    return assay.Lime(num_samples=5000, sampling=assay.GaussianTable.fit(table(1000, seed=2)))


def _ablation(x: np.ndarray) -> assay.Occlusion:
    return assay.Occlusion(features=GROUPS)


def _jacobian(x: np.ndarray) -> assay.Jacobian:
    return assay.Jacobian(step=2.0**-7, error_estimate=False)


def _jacobian_grid(x: np.ndarray) -> assay.Jacobian:
    return assay.Jacobian(step=2.0**-5, features=assay.Grid(14, 14), scale=1.0, error_estimate=False)


def _masks(x: np.ndarray) -> assay.Rows:
    keep = np.random.default_rng(7).random((1000, 64)) < 0.5
    return assay.Rows(keep, features=assay.Grid(8, 8))


def workloads(names: tuple[str, ...]) -> Iterator[Workload]:
    """Those of the subjects named, by subject."""
    for net in ("squeezenet", "shufflenet", "resnet50"):
        good = Mark(0.95 if net == "resnet50" else 0.92)
        peers = net == "squeezenet"  # what others cost beside the model is seen best on a small one
        if net in names:
            yield Workload(
                "occlusion 16/8", net, _occlusion, efficiency=good,
                peers=("numpy", "captum") if peers else ("numpy",), marks=_CAPTUM,
            )  # fmt: skip
            yield Workload(
                "LIME 1000, segments", net, _lime_segments, efficiency=good,
                peers=("numpy", "lime", "captum", "dianna") if peers else ("numpy",),
                marks=_CAPTUM | _LIME_IMAGE | _DIANNA,
            )  # fmt: skip
            yield Workload(
                "LIME 1000, superpixels", net, _lime_superpixels, efficiency=Mark(0.90),
                peers=("numpy", "lime") if peers else ("numpy",), marks=_LIME_IMAGE,
            )  # fmt: skip
        if net in names and peers:
            yield Workload("1000 masks of a grid", net, _masks, peers=("numpy", "dianna"), marks=_DIANNA)
            yield Workload(
                "Jacobian, grid 14", net, _jacobian_grid, target=None, peers=("numpy", "scipy"), marks=_SCIPY
            )
    if "mlp" in names:
        yield Workload("ablation, 10 groups", "mlp", _ablation, peers=("numpy", "captum"))
        yield Workload("LIME 5000, quartiles", "mlp", _lime_quartiles, peers=("numpy", "lime"), marks=_LIME_TABLE)
        yield Workload("LIME 5000, Gaussian", "mlp", _lime_gaussian, peers=("numpy", "lime"), marks=_LIME_GAUSSIAN)
        yield Workload("2048 masks, 100 baselines", "mlp", _shap_masks, peers=("numpy", "shap"))
        yield Workload("Jacobian", "mlp", _jacobian, target=None, peers=("numpy", "scipy"), marks=_SCIPY)
        yield Workload("Jacobian of 64", "mlp", _jacobian, 64, target=None, peers=("numpy", "scipy"), marks=_SCIPY)
        yield Workload("ablation of 256", "mlp", _ablation, 256)
    if "forest" in names:
        yield Workload("ablation, 10 groups", "forest", _ablation, peers=("numpy",))
        yield Workload("LIME 5000, quartiles", "forest", _lime_quartiles, peers=("numpy", "lime"), marks=_LIME_TABLE)
        yield Workload("LIME 5000, Gaussian", "forest", _lime_gaussian, peers=("numpy", "lime"), marks=_LIME_GAUSSIAN)


def _shap_masks(x: np.ndarray) -> assay.Rows:
    """Coalitions as KernelSHAP draws them, against a background of 100 rows."""
    keep = np.random.default_rng(8).random((2048, COLUMNS)) < 0.5
    return assay.Rows(keep, features=assay.Elements(), baseline=table(100, seed=3))
