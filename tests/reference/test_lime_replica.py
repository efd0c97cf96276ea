"""LIME against its slow restatement, on samples that the test knows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from assayd.methods.lime import Lime
from assayd.types.arrays import Array
from assayd.types.request import Elements, Member, PerInput
from assayd.types.result import Attribution
from assayd.types.statistics import CategoricalColumn, GaussianColumn, GaussianTable, QuartileColumn, QuartileTable
from assayd.types.subject import Segments, Subject
from tests.drive import drive
from tests.reference.slow_lime import Slow, cosine_weights, euclidean_weights, in_quartile, slow_ridge

NAN = np.nan


def check(got: Attribution, target: int, want: Slow) -> None:
    assert got.values is not None
    assert got.errors is not None
    assert got.intercept is not None
    assert got.r_squared is not None
    scale = np.abs(want.values).max() + 1e-12
    np.testing.assert_allclose(got.values[target] / scale, want.values / scale, atol=1e-10)
    np.testing.assert_allclose(got.errors[target], want.errors, rtol=1e-8, atol=1e-12 * scale)
    np.testing.assert_allclose(got.intercept[target], want.intercept, atol=1e-9 * max(1, scale))
    np.testing.assert_allclose(got.r_squared[target], want.r_squared, atol=1e-9)


@pytest.mark.parametrize("seed", range(25))
def test_masks_over_any_features_with_repetitions_and_several_baselines(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count, baselines = int(rng.integers(1, 7)), int(rng.integers(1, 4))
    ids = {
        "a": rng.integers(-1, count, size=(2, 3)).astype(np.int32),
        "b": rng.integers(-1, count, size=4).astype(np.int32),
    }
    inputs = {name: rng.normal(size=i.shape) for name, i in ids.items()}
    subject = Subject(
        inputs,
        {name: rng.normal(size=(baselines, *i.shape)) for name, i in ids.items()},
        Segments(ids, count),
    )
    w = rng.normal(size=(10, 2))

    def f(batch: Mapping[str, Array]) -> Array:
        flat = np.concatenate([batch[name].reshape(len(batch[name]), -1) for name in ("a", "b")], axis=1)
        return np.tanh(flat @ w) + 3.0

    masks = np.concatenate([np.ones((1, count)), rng.integers(0, 2, size=(int(rng.integers(6, 40)), count))])
    masks[1] = 0
    alpha, width = float(rng.choice([0.01, 1.0, 10.0])), float(rng.choice([0.25, 0.1, 2.0]))
    if count == 1:
        width = max(width, 0.25)  # or the empty mask weighs nothing
    method = Lime(features=Elements(), samples=PerInput({"": masks}), alpha=alpha, kernel_width=width)
    got = drive(method, subject, f)

    scores = np.zeros((len(masks), 2))
    for b in range(baselines):
        rows = {
            name: np.stack([np.where(np.append(m, 1)[i] == 1, inputs[name], subject.baselines[name][b]) for m in masks])
            for name, i in ids.items()
        }
        scores += f(rows) / baselines
    for target in range(2):
        check(got, target, slow_ridge(masks, cosine_weights(masks, width), scores[:, target], alpha))


@pytest.mark.parametrize("seed", range(10))
def test_enumerated_masks_weigh_what_they_stand_for(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count, samples = int(rng.integers(1, 6)), int(rng.integers(32, 100))
    x = rng.normal(size=count)
    w = rng.normal(size=(count, 2))
    f = lambda batch: np.tanh(batch["x"] @ w)  # noqa: E731
    subject = Subject({"x": x}, {"x": np.zeros((1, count))}, Segments({"x": np.arange(count, dtype=np.int32)}, count))
    got = drive(Lime(num_samples=samples, features=Elements()), subject, f)
    masks = np.array([[(n >> j) & 1 for j in range(count)] for n in range(2**count)])
    weights = [v * samples / 2**count for v in cosine_weights(masks, 0.25)]
    for target in range(2):
        want = slow_ridge(masks, weights, f({"x": masks * x})[:, target], 1.0)
        want.errors = np.zeros(count)
        check(got, target, want)


def a_table(rng: np.random.Generator) -> tuple[Subject, dict[str, Array]]:
    """Inputs: four numbers, the first of which may be missing, a code and one-hot columns; text; and samples."""
    x = np.array([NAN if rng.random() < 0.3 else 0.4, -0.7, 2.0, 1.0, 0.0, 1.0], np.float32)
    subject = Subject(
        {"x": x, "text": np.array(["b"], object), "else": np.array(3.0)},
        {"x": x[None], "text": np.array([["b"]], object)},
    )
    count = 30
    samples = rng.normal(size=(count, 6)).astype(np.float32)
    samples[rng.random(count) < 0.3, 0] = NAN
    samples[:, 2] = rng.integers(0, 4, size=count)
    samples[:, 3] = rng.integers(0, 3, size=count)
    samples[:, 4:] = np.eye(2)[rng.integers(0, 2, size=count)]
    text = rng.choice(["a", "b"], size=(count, 1)).astype(object)
    samples[0], text[0] = x, "b"
    return subject, {"x": samples, "text": text}


CATEGORICAL = (
    CategoricalColumn((Member("text", 0),), np.array(["a", "b"], object), (0.5, 0.5), "text"),
    CategoricalColumn((Member("x", 4), Member("x", 5)), np.eye(2), (0.5, 0.5), "group"),
    CategoricalColumn((Member("x", 3),), np.arange(3.0), (0.2, 0.3, 0.5), "code"),
)
BOUNDARIES = ((-0.5, 0.0, 0.5), (-0.7, 0.1), (1.0, 2.0))


def table_model(batch: Mapping[str, Array]) -> Array:
    x = np.where(np.isnan(batch["x"]), 9.0, batch["x"]).astype(np.float64)
    text = (batch["text"][:, 0] == "b") * 0.7
    return np.stack([np.sin(x.sum(axis=1)) + text, x[:, 0] * x[:, 4] + x[:, 3] ** 2 - text], axis=1)


@pytest.mark.parametrize("seed", range(12))
def test_given_rows_of_a_quartile_table(seed: int) -> None:
    rng = np.random.default_rng(seed)
    subject, samples = a_table(rng)
    columns = []
    for j, b in enumerate(BOUNDARIES):
        shares, values = (1 / (len(b) + 1),) * (len(b) + 1), (*b, b[-1] + 1)
        columns.append(QuartileColumn("x", j, b, shares, values, shares, values, values, 0.1 * (j == 0)))
    got = drive(
        Lime(sampling=QuartileTable(tuple(columns), CATEGORICAL), samples=PerInput(samples)), subject, table_model
    )
    x = subject.inputs["x"]
    bounds = [tuple(float(np.float32(v)) for v in b) for b in BOUNDARIES]
    z = np.array(
        [
            [in_quartile(float(r[j]), float(x[j]), bounds[j]) for j in range(3)]
            + [float(r[3] == x[3]), float(r[4] == x[4] and r[5] == x[5]), float(t[0] == "b")]
            for r, t in zip(samples["x"], samples["text"], strict=True)
        ]
    )
    want = euclidean_weights(z, np.ones(6), 0.75 * np.sqrt(6))
    scores = table_model(samples)
    assert got.segments is not None
    assert got.segments.names == ("x[0]", "x[1]", "x[2]", "code", "group", "text")
    for target in range(2):
        check(got, target, slow_ridge(z, want, scores[:, target], 1.0))


@pytest.mark.parametrize("seed", range(12))
def test_given_rows_of_a_gaussian_table(seed: int) -> None:
    rng = np.random.default_rng(seed)
    subject, samples = a_table(rng)
    moments = ((0.1, 2.0), (-0.3, 0.5), (1.0, 1.5))
    columns = tuple(GaussianColumn("x", j, m, s, 0.1 * (j == 0)) for j, (m, s) in enumerate(moments))
    got = drive(Lime(sampling=GaussianTable(columns, CATEGORICAL), samples=PerInput(samples)), subject, table_model)
    x = subject.inputs["x"]

    def standardised(r: Array) -> list[float]:
        return [0.0 if np.isnan(r[j]) else (float(r[j]) - m) / s for j, (m, s) in enumerate(moments)]

    z = np.array(
        [
            [*standardised(r), float(r[3] == x[3]), float(r[4] == x[4] and r[5] == x[5]), float(t[0] == "b")]
            for r, t in zip(samples["x"], samples["text"], strict=True)
        ]
    )
    want = euclidean_weights(z, np.array([*standardised(x), 1, 1, 1]), 0.75 * np.sqrt(6))
    scores = table_model(samples)
    for target in range(2):
        check(got, target, slow_ridge(z, want, scores[:, target], 1.0))
