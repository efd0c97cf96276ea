# Copyright The Assay Authors. SPDX-License-Identifier: Apache-2.0
"""Two classifiers of scikit-learn's breast cancer table, exported by skl2onnx with its default options."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import skl2onnx
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from . import artefacts
from .artefacts import Float, Log


def _spec(names: list[str], labels: list[str], baseline: Float) -> dict[str, Any]:
    """The ModelSpec of a table with these columns; baseline [30] stands where a request gives none.

    The columns' ranges lie far from 0, so a baseline of 0 would be no patient at all.
    """
    tensor = {
        "dtype": "DATA_TYPE_FLOAT",
        "shape": [str(extent) for extent in baseline.shape],
        "data": base64.b64encode(baseline.astype("<f4").tobytes()).decode(),
    }
    column = {"name": "X", "layout": "LAYOUT_NF", "featureNames": names, "baseline": {"tensor": tensor}}
    outputs = [{"name": "output_probability", "classLabels": labels}] if labels else []
    return {"inputs": [column], "outputs": outputs}


def _hist(rows: Float, labels: NDArray[Any], log: Log) -> None:
    """Logs whether skl2onnx converts HistGradientBoostingClassifier, the first choice for the trees."""
    model = HistGradientBoostingClassifier(max_iter=20, random_state=0).fit(rows, labels)
    try:
        skl2onnx.to_onnx(model, rows[:1])
    except Exception as problem:  # noqa: BLE001 - whatever it raises is the finding
        cause = problem.__cause__ or problem  # the outer message lists every attribute of the trees
        reason = str(cause).splitlines()[0]
        log(f"  HistGradientBoostingClassifier isn't converted: {type(problem).__name__} from {type(cause).__name__}:")
        log(f"    {reason}")
    else:
        log("  HistGradientBoostingClassifier is converted as well; this model doesn't use it")


def _make(
    name: str, model: ClassifierMixin, rows: list[Float], labels: list[NDArray[Any]], spec: Any, log: Log
) -> None:
    """Fits, exports and checks one classifier on rows and labels, [training, held out] each."""
    model.fit(rows[0], labels[0])
    # A name of its own: the default is a random one, and the file would change with each run.
    exported = skl2onnx.to_onnx(model, rows[0][:1], name=name)
    session = artefacts.describe(artefacts.save_model(name, exported, spec), log)
    label, probability = session.run(None, {"X": rows[1]})
    table = np.array([[row[key] for key in model.classes_] for row in probability])
    apart = np.abs(table - model.predict_proba(rows[1])).max()
    log(f"  ZipMap's keys: {list(probability[0])}")
    log(f"  held-out accuracy: {float((label == labels[1]).mean()):.4f} ({len(label)} rows)")
    log(f"  probabilities differ from scikit-learn's by at most {apart:.1e}")


def make(log: Log) -> None:
    """Makes the models `cancer-mlp` and `cancer-trees`, and stores held-out rows."""
    bunch = load_breast_cancer()
    names = [str(name) for name in bunch.feature_names]
    classes = np.array([str(name) for name in bunch.target_names])
    table = bunch.data.astype(np.float32)
    train, held, train_y, held_y = train_test_split(
        table, bunch.target.astype(np.int64), test_size=143, stratify=bunch.target, random_state=0
    )
    mean = train.mean(axis=0, dtype=np.float64).astype(np.float32)

    # Integer classes: the ZipMap's keys are 0 and 1, and what they mean stands in the spec.
    log("cancer-mlp: standardised columns and two hidden layers")
    mlp = make_pipeline(StandardScaler(), MLPClassifier((32, 16), alpha=0.01, max_iter=1000, random_state=0))
    _make("cancer-mlp", mlp, [train, held], [train_y, held_y], _spec(names, classes.tolist(), mean), log)

    # Classes as strings: the ZipMap's keys are the labels, and the spec needs none.
    log("cancer-trees: boosted trees")
    _hist(train, classes[train_y], log)
    trees = GradientBoostingClassifier(n_estimators=60, max_depth=3, subsample=0.8, random_state=0)
    _make("cancer-trees", trees, [train, held], [classes[train_y], classes[held_y]], _spec(names, [], mean), log)

    artefacts.save_data(
        "cancer",
        X=held[:64],
        y=held_y[:64],
        feature_names=np.array(names),
        class_names=classes,
        baseline=mean,
        medians=np.median(train, axis=0).astype(np.float32),
    )
    log(f"  data/cancer.npz: 64 held-out rows, {int(held_y[:64].sum())} of them {classes[1]}")
