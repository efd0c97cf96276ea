"""What is measured against the model's own rate and against other packages, and what is hoped for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

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
    quick: bool = False

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


QUICK_PEERS = ("numpy", "lime", "scipy")
"""Of a quick run; the others take long by themselves."""


def workloads(name: str) -> Iterator[Workload]:
    """Those of a subject."""
    if name == "mlp":
        yield Workload("ablation, 10 groups", name, _ablation, peers=("numpy", "captum"), quick=True)
        yield from _tables(name)
        yield Workload("2048 masks, 100 baselines", name, _shap_masks, peers=("numpy", "shap"))
        jacobian = Workload(
            "Jacobian", name, _jacobian, target=None, peers=("numpy", "scipy"), marks=_SCIPY, quick=True
        )  # fmt: skip
        yield jacobian
        yield replace(jacobian, name="Jacobian of 64", count=64, quick=False)
        yield Workload("ablation of 256", name, _ablation, count=256)
    elif name == "forest":
        yield Workload("ablation, 10 groups", name, _ablation)
        yield from _tables(name)
    else:
        yield from _images(name)


def _tables(name: str) -> Iterator[Workload]:
    peers = ("numpy", "lime")
    yield Workload("LIME 5000, quartiles", name, _lime_quartiles, peers=peers, marks=_LIME_TABLE, quick=True)
    yield Workload("LIME 5000, Gaussian", name, _lime_gaussian, peers=peers, marks=_LIME_GAUSSIAN)


def _images(net: str) -> Iterator[Workload]:
    """Packages are compared with on squeezenet: what they cost beside the model shows best beside a small one."""
    good, small = Mark(0.95 if net == "resnet50" else 0.92), net == "squeezenet"
    others = _CAPTUM | _LIME_IMAGE | _DIANNA
    own: tuple[str, ...] = ("numpy",)
    peers = (*own, "captum") if small else own
    yield Workload("occlusion 16/8", net, _occlusion, efficiency=good, peers=peers, marks=_CAPTUM, quick=True)
    peers = (*own, "lime", "captum", "dianna") if small else own
    yield Workload("LIME 1000, segments", net, _lime_segments, efficiency=good, peers=peers, marks=others, quick=True)
    peers = (*own, "lime") if small else own
    yield Workload("LIME 1000, superpixels", net, _lime_superpixels, efficiency=Mark(0.90), peers=peers, marks=others)
    if small:
        yield Workload("1000 masks of a grid", net, _masks, peers=(*own, "dianna"), marks=_DIANNA)
        yield Workload("Jacobian, grid 14", net, _jacobian_grid, target=None, peers=(*own, "scipy"), marks=_SCIPY)


def _shap_masks(x: np.ndarray) -> assay.Rows:
    """Coalitions as KernelSHAP draws them, against a background of 100 rows."""
    keep = np.random.default_rng(8).random((2048, COLUMNS)) < 0.5
    return assay.Rows(keep, features=assay.Elements(), baseline=table(100, seed=3))
