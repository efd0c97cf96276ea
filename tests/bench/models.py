"""What is explained: nets for images with calibrated weights, a small net and a forest for a table of 30 columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tests.models import zoo
from tests.models.light import images, light_model

COLUMNS = 30


@dataclass(frozen=True, eq=False)
class Subject:
    """A model and instances for it.

    output: the one explained, where there are several. batches: tried for the raw rate.
    """

    name: str
    model: bytes
    x: np.ndarray
    layout: str | None
    output: str | None
    batches: Sequence[int]


def table(rows: int, seed: int = 0) -> np.ndarray:
    """Rows for the models of a table, standard normal: float32 [rows, COLUMNS]."""
    return np.random.default_rng([seed, COLUMNS]).standard_normal((rows, COLUMNS)).astype(np.float32)


def subject(name: str) -> Subject:
    """One by name: "mlp", "forest", or a net of `tests.models.light`. Made anew each time; nets take seconds."""
    if name == "mlp":
        return Subject(name, zoo.mlp(COLUMNS, 64, 2), table(256), None, None, _TABLE_BATCHES)
    if name == "forest":
        return Subject(name, _forest(), table(256), None, "probabilities", _TABLE_BATCHES)
    return Subject(name, light_model(name), images(1), "NCHW", None, (1, 4, 8, 10, 16, 32))


_TABLE_BATCHES = (1, 8, 32, 128, 512, 2048, 5000)


@lru_cache(maxsize=1)
def _forest() -> bytes:
    """300 trees on made-up classes; outputs label and probabilities [N, 2]."""
    from skl2onnx import to_onnx
    from sklearn.ensemble import RandomForestClassifier

    rows = table(2000, seed=1)
    y = (np.tanh(rows[:, :5]).sum(1) + rows[:, 5] * rows[:, 6] > 0).astype(np.int64)
    forest = RandomForestClassifier(300, max_depth=8, random_state=0, n_jobs=-1).fit(rows, y)
    model = to_onnx(forest, rows[:1], options={"zipmap": False}, target_opset={"": 17, "ai.onnx.ml": 3})
    return bytes(model.SerializeToString())


def segments(x: np.ndarray, count: int = 50) -> np.ndarray:
    """SLIC superpixels of an image [1, 3, H, W] by scikit-image: int32 [1, H, W], 0.. without gaps."""
    from skimage.segmentation import slic

    labels = slic(x[0].transpose(1, 2, 0).astype(np.float64), n_segments=count, compactness=10.0, start_label=0)
    return np.unique(labels, return_inverse=True)[1].reshape(1, *labels.shape).astype(np.int32)
