"""The package of Ribeiro et al., around the same onnxruntime callable.

Its documentation knows two ways to be quicker: a larger `batch_size` for images (default 10) and feature_selection
"none", which fits once in place of twice ("auto" is the default; with all features kept the answer is the same).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

import assay
from tests.bench.case import Case
from tests.bench.models import table
from tests.bench.peers.numpy_loop import lime_of
from tests.bench.peers.peer import Peer


def peers(case: Case) -> Iterable[Peer]:
    """Its defaults, and tuned."""
    make = _images if case.x.ndim == 4 else _table
    yield make(case, "default", {}, {})
    yield make(case, "tuned", {"feature_selection": "none"}, {"batch_size": case.raw.batch})


def _images(case: Case, setting: str, explainer: dict[str, Any], call: dict[str, Any]) -> Peer:
    from lime.lime_image import LimeImageExplainer
    from skimage.segmentation import slic

    method, image = case.method, case.x[0].transpose(1, 2, 0)
    plane = case.segments.reshape(case.x.shape[1:])[0]
    drawn: dict[str, np.ndarray] = {}

    def cut(shown: np.ndarray) -> np.ndarray:
        if isinstance(method.features, assay.Segments):
            return plane
        return np.asarray(slic(shown.astype(np.float64), n_segments=method.features.n, compactness=10.0, start_label=0))

    def classify(rows: np.ndarray) -> np.ndarray:
        return case.raw.model(np.ascontiguousarray(rows.transpose(0, 3, 1, 2)))

    def run() -> None:
        explaining = LimeImageExplainer(random_state=0, **explainer)
        draw = explaining.data_labels

        def remembered(*args: Any, **kwargs: Any) -> Any:
            drawn["keep"], labels = draw(*args, **kwargs)
            return drawn["keep"], labels

        explaining.data_labels = remembered
        target = case.workload.target
        found = explaining.explain_instance(
            image, classify, labels=(target,), top_labels=None, hide_color=0.0, num_samples=method.num_samples,
            segmentation_fn=cut, **call,
        )  # fmt: skip
        drawn["found"] = _in_order(found.local_exp[target], drawn["keep"].shape[1])

    def check() -> tuple[np.ndarray, np.ndarray]:
        return drawn["found"], lime_of(case, drawn["keep"].astype(bool))

    given = call | explainer
    return Peer(setting, run, check, note=", ".join(f"{k}={v}" for k, v in given.items()))


def _table(case: Case, setting: str, explainer: dict[str, Any], call: dict[str, Any]) -> Peer:
    from lime.lime_tabular import LimeTabularExplainer

    method, x = case.method, case.x[0]
    discretised = isinstance(method.sampling, assay.QuartileTable)
    drawn: dict[str, np.ndarray] = {}
    every = len(x)
    made = LimeTabularExplainer(
        table(1000, seed=2).astype(np.float64), discretize_continuous=discretised, random_state=0, **explainer
    )

    def predict(rows: np.ndarray) -> np.ndarray:
        drawn["rows"] = rows.astype(np.float32)
        return case.raw.model(drawn["rows"])  # it warns where they don't sum to 1, and goes on

    def run(kept: int | None = None) -> None:
        # Its default keeps ten features; "tuned" all, as the service does.
        most = kept or (every if explainer else 10)
        found = made.explain_instance(
            x.astype(np.float64), predict, labels=(case.workload.target,), num_features=most,
            num_samples=method.num_samples,
        )  # fmt: skip
        drawn["found"] = _in_order(found.local_exp[case.workload.target], every)

    def check() -> tuple[np.ndarray, np.ndarray]:
        run(every)
        return drawn["found"], lime_of(case, drawn["rows"])

    note = "feature_selection=none, all features" if explainer else "10 features by highest_weights"
    return Peer(setting, run, check, note=note)


def _in_order(pairs: Iterable[tuple[int, float]], count: int) -> np.ndarray:
    values = np.zeros(count)
    for feature, value in pairs:
        values[feature] = value
    return values
