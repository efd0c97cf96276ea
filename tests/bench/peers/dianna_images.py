"""DIANNA's RISE and LIME for images, around the same onnxruntime callable.

Both draw their own masks and cut their own segments; here they are handed the service's. Its documentation names no
setting for speed but `batch_size` (default 100 for RISE, 10 for LIME).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

import assay
from tests.bench.case import Case
from tests.bench.peers.numpy_loop import lime_of
from tests.bench.peers.peer import Peer


def peers(case: Case) -> Iterable[Peer]:
    """Default and the raw model's best batch."""
    make = _rise if isinstance(case.method, assay.Rows) else _lime
    yield make(case, "default", {})
    yield make(case, "tuned", {"batch_size": case.raw.batch})


def _rise(case: Case, setting: str, given: dict[str, int]) -> Peer:
    from dianna.methods import rise_image

    keep = np.asarray(case.method.keep)
    plane = case.segments.reshape(case.x.shape[1:])[0]
    masks = keep[:, plane].astype(np.float32)[..., None]
    held: dict[str, np.ndarray] = {}

    def run() -> None:
        rise_image.generate_interpolated_float_masks_for_image = lambda *_: masks
        explaining = rise_image.RISEImage(n_masks=len(keep), p_keep=0.5, axis_labels={0: "channels"})
        explaining.explain(case.raw.model, case.x[0], [case.workload.target], **given)
        held["found"] = np.asarray(explaining.predictions)[:, case.workload.target]

    def check() -> tuple[np.ndarray, np.ndarray]:
        return held["found"], np.asarray(case.answer.rows[0].scores)

    return Peer(setting, run, check, note="RISE on masks of whole cells")


def _lime(case: Case, setting: str, given: dict[str, int]) -> Peer:
    from dianna.methods.lime_image import LIMEImage

    plane = case.segments.reshape(case.x.shape[1:])[0]
    held: dict[str, Any] = {}

    def run() -> None:
        explaining = LIMEImage(kernel_width=0.25, random_state=0, axis_labels={0: "channels"})
        draw = explaining.explainer.data_labels

        def remembered(*args: Any, **kwargs: Any) -> Any:
            held["keep"], labels = draw(*args, **kwargs)
            return held["keep"], labels

        explaining.explainer.data_labels = remembered
        maps = explaining.explain(
            case.raw.model, case.x[0], [case.workload.target], num_features=int(plane.max()) + 1, return_masks=False,
            num_samples=case.method.num_samples, segmentation_fn=lambda _: plane, hide_color=0.0, **given,
        )  # fmt: skip
        held["found"] = maps[0]

    def check() -> tuple[np.ndarray, np.ndarray]:
        return held["found"], lime_of(case, held["keep"].astype(bool))[plane]

    return Peer(setting, run, check, note="LIME on the same segments")
