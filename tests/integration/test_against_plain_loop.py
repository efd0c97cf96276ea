"""Occlusion over real gRPC against a loop over the model file itself, for every kind of model a caller may bring."""

import numpy as np
import pytest

import assay
from tests.integration.plain_loop import PlainModel, ablate, occlude
from tests.models import zoo

RANDOM = np.random.default_rng(7)


def noise(*shape, dtype=np.float32):
    return RANDOM.standard_normal(shape).astype(dtype)


def close(got, want, top, half=False):
    """The service's promise: 1e-5 of max|attribution| and 1e-6 of max|f|; 5e-3 in half precision."""
    allowed = 5e-3 * (np.abs(want).max() + top) if half else 1e-5 * np.abs(want).max() + 1e-6 * top
    assert np.abs(np.asarray(got, np.float64) - want).max() <= allowed


# name, model file, output, x (one input, B = 2), window, axes of an instance, axis of the file's batch, batched?
WINDOWS = [
    ("cnn with a baked Reshape", zoo.cnn(), "y", noise(2, 3, 8, 8), (3, 3), (1, 2), 0, True),
    ("vit with a class token", zoo.vit(), "y", noise(2, 3, 8, 8), (4, 4), (1, 2), 0, True),
    ("transformer fixed at 1", zoo.transformer(), "y", noise(2, 6, 16), (2, 16), (0, 1), 0, True),
    ("folded attention", zoo.folded_attention(), "y", noise(2, 6, 16), (2, 16), (0, 1), 1, True),
    ("lstm, batch first", zoo.lstm_batch_first(), "y", noise(2, 7, 4), (2, 4), (0, 1), 0, True),
    ("lstm, time first, initial states", zoo.lstm_time_first(), "y", noise(2, 7, 4), (2, 4), (0, 1), 1, True),
    ("gru, free axes, batch at 1", zoo.gru_time_first(), "y", noise(2, 5, 4), (1, 4), (0, 1), 1, True),
    ("dense output", zoo.dense(), "y", noise(2, 3, 8, 10), (4, 4), (1, 2), 0, True),
    ("table", zoo.mlp(), "y", noise(2, 8), (2,), (0,), 0, True),
    ("double", zoo.linear(dtype="float64"), "y", noise(2, 6, dtype=np.float64), (2,), (0,), 0, True),
    ("half", zoo.linear(dtype="float16"), "y", noise(2, 6, dtype=np.float16), (2,), (0,), 0, None),
    ("rows interact", zoo.batch_mean(batch=1), "y", noise(2, 6), (2,), (0,), 0, False),
    ("rows interact, free axis", zoo.batch_mean(), "y", noise(2, 6), (2,), (0,), 0, False),
    ("batch of 2 in the file", zoo.mlp(batch=2), "y", noise(2, 8), (2,), (0,), None, True),
]


@pytest.mark.parametrize("case", WINDOWS, ids=[c[0] for c in WINDOWS])
def test_windows(client, case):
    name, data, output, x, window, axes, batch_axis, batched = case
    model = client.upload_model(data, name="case-" + str([c[0] for c in WINDOWS].index(name)))
    if batched is not None:
        assert (model.batching.mode == "batched") is batched, model.batching
    stride = tuple(max(1, w // 2) for w in window)
    shape = model.outputs[0].shape
    index = (1,) * len(shape) if len(shape) > 1 else 1
    ex = client.explain(
        model,
        x,
        assay.Occlusion(window=window, stride=stride, baseline=0.25),
        target=assay.Target(output=output, index=index),
    )
    plain = PlainModel(zoo.mlp(), 0, output) if name.startswith("batch of 2") else PlainModel(data, batch_axis, output)
    for b in range(len(x)):
        inputs = {model.inputs[0].name: x[b]}
        baseline = np.full_like(x[b], 0.25)
        values, element_map = occlude(
            plain, inputs, model.inputs[0].name, axes, window, stride, baseline, lambda f: f[index]
        )
        top = np.abs(plain(inputs)).max()
        half = x.dtype == np.float16
        close(ex.feature_values[b], values, top, half)
        close(ex.attributions[model.inputs[0].name][b], element_map, top, half)
        close(ex.scores[b], plain(inputs)[index], top, half)
        close(ex.baseline_scores[b].ravel(), plain({model.inputs[0].name: baseline})[index], top, half)
    if model.batching.mode != "batched":
        assert any("row by row" in w.message for w in ex.warnings)


def test_two_inputs_and_two_outputs(client):
    data = zoo.two_by_two()
    model = client.upload_model(data, name="two-by-two")
    inputs = {"a": noise(3, 4), "b": noise(3, 6)}
    targets = [assay.Target(output="logits", index=2), assay.Target(output="total", index=0)]
    method = assay.Occlusion(features=assay.Elements(), baseline={"a": 0.5, "b": np.arange(6, dtype=np.float32)})
    ex = client.explain(model, inputs, method, target=targets)
    assert ex.feature_values.shape == (3, 2, 10)
    for t, target in enumerate(targets):
        plain = PlainModel(data, 0, target.output)
        for b in range(3):
            row = {k: v[b] for k, v in inputs.items()}
            baselines = {"a": np.full(4, 0.5, np.float32), "b": np.arange(6, dtype=np.float32)}
            want = ablate(plain, row, baselines, lambda f, i=target.index: f[i])
            close(ex.feature_values[b, t], want, np.abs(plain(row)).max())
            close(ex.attributions["b"][b, t], want[4:], np.abs(plain(row)).max())
    only_b = client.explain(
        model, inputs, method.__class__(features=assay.Elements()), targets, inputs_to_explain=["b"]
    )
    assert set(only_b.attributions) == {"b"}
    assert only_b.feature_values.shape == (3, 2, 6)


def test_windows_of_two_inputs_have_their_own_sizes(client):
    model = client.upload_model(zoo.two_by_two(), name="two-by-two")
    inputs = {"a": noise(1, 4), "b": noise(1, 6)}
    method = assay.Occlusion(window={"a": (2,), "b": (3,)}, stride={"": (1,), "b": (3,)})
    ex = client.explain(model, inputs, method, target=assay.Target(output="total"))
    assert [(w.input, tuple(w.grid)) for w in ex.windows] == [("a", (3,)), ("b", (2,))]
    plain = PlainModel(zoo.two_by_two(), 0, "total")
    row = {k: v[0] for k, v in inputs.items()}
    for name, window, stride in (("a", (2,), (1,)), ("b", (3,), (3,))):
        _, want = occlude(plain, row, name, (0,), window, stride, np.zeros_like(row[name]), lambda f: f[0])
        close(ex.attributions[name][0], want, np.abs(plain(row)).max())


@pytest.mark.parametrize("length", [8, "L"])
def test_tokens_by_their_baseline_id(client, length):
    data = zoo.tokens(length=length)
    model = client.upload_model(data, name=f"tokens-{length}".lower())
    assert model.batching.mode == "batched"
    ids = RANDOM.integers(0, 20, (2, 8))
    ex = client.explain(model, ids, assay.Occlusion(window=(1,), baseline=3), target=1)
    plain = PlainModel(data)
    for b in range(2):
        _, want = occlude(plain, {"ids": ids[b]}, "ids", (0,), (1,), (1,), np.full(8, 3), lambda f: f[1])
        close(ex.attributions["ids"][b], want, np.abs(plain({"ids": ids[b]})).max())


def test_a_zipmap_classifier_with_nan_as_missing(client):
    model = client.upload_model(zoo.forest(), name="forest")
    assert model.outputs[1].class_labels == ("cat", "dog", "eel")
    x = noise(3, 5)
    x[1, 2] = np.nan
    ex = client.explain(
        model, x, assay.Occlusion(features=assay.Elements(), baseline=np.nan), assay.Target(label="dog")
    )
    plain = PlainModel(zoo.forest(zipmap=False), 0, "probabilities")
    for b in range(3):
        want = ablate(plain, {"x": x[b]}, {"x": np.full(5, np.nan, np.float32)}, lambda f: f[1])
        close(ex.feature_values[b], want, 1.0)
    assert client.predict(model, x)["label"].tolist()[0] in ("cat", "dog", "eel")


def test_a_side_input_without_a_batch_axis_runs_row_by_row(client):
    data = zoo.scalar_side()
    model = client.upload_model(data, name="side")
    assert model.batching.mode == "row_by_row"
    assert "batch axis" in model.batching.reason
    inputs = {"x": noise(2, 6), "t": np.array([0.5, 2.0], np.float32)}
    ex = client.explain(model, inputs, assay.Occlusion(features=assay.Elements()), 0, inputs_to_explain=["x"])
    session = PlainModel(data, None, "y").session
    for b in range(2):

        def f(x, b=b):
            return session.run(["y"], {"x": x[None], "t": inputs["t"][b : b + 1].reshape(())})[0][0, 0]

        for i in range(6):
            row = inputs["x"][b].copy()
            row[i] = 0
            assert ex.feature_values[b, i] == pytest.approx(f(inputs["x"][b]) - f(row), abs=1e-5)


def test_targets_by_weights_label_rank_and_position(client):
    model = client.upload_model(zoo.mlp(), name="mlp")
    x, method = noise(2, 8), assay.Occlusion(features=assay.Elements())
    scores = client.predict(model, x)["y"]
    by_index = client.explain(model, x, method, [assay.Target(index=i) for i in range(3)])
    weights = np.array([0.5, -1.0, 2.0], np.float32)
    weighted = client.explain(model, x, method, assay.Target(weights=weights))
    np.testing.assert_allclose(
        weighted.feature_values, np.einsum("btf,t->bf", by_index.feature_values, weights), atol=1e-5
    )
    top = client.explain(model, x, method)
    assert [t[0].index for t in top.targets] == [(int(i),) for i in scores.argmax(1)]
    second = client.explain(model, x, method, assay.Target(top_rank=2))
    assert [t[0].index for t in second.targets] == [(int(i),) for i in np.argsort(-scores, axis=1)[:, 1]]
    each = client.explain(model, x, method, assay.PerInstance([0, 2]))
    np.testing.assert_array_equal(each.feature_values[1], by_index.feature_values[1, 2])


def test_log_and_logit_scales(client, cancer):
    x, method = cancer["X"][:3], assay.Occlusion(features=assay.Elements())
    probability = client.predict("cancer-mlp", x)["output_probability"][:, 1].astype(float)
    for scale, want in (("log", np.log(probability)), ("logit", np.log(probability / (1 - probability)))):
        ex = client.explain("cancer-mlp", x, method, assay.Target(label="benign", scale=scale))
        np.testing.assert_allclose(ex.scores, want, rtol=1e-4)


def test_rows_scores_given_masks(client):
    data = zoo.mlp()
    model = client.upload_model(data, name="mlp")
    x, keep = noise(2, 8), RANDOM.random((20, 8)) < 0.5
    ex = client.explain(model, x, assay.Rows(keep=keep, features=assay.Elements(), baseline=0.1), target=2)
    plain = PlainModel(data)
    for b in range(2):
        want = [plain({"x": np.where(k, x[b], np.float32(0.1))})[2] for k in keep]
        np.testing.assert_allclose(ex.rows[b].scores.ravel(), want, atol=1e-6)


def test_a_background_set_is_averaged_over(client):
    data = zoo.mlp()
    model = client.upload_model(data, name="mlp")
    x, background = noise(1, 8), noise(5, 8)
    ex = client.explain(model, x, assay.Occlusion(features=assay.Elements(), baseline=background), target=0)
    plain = PlainModel(data)
    each = np.array([ablate(plain, {"x": x[0]}, {"x": row}, lambda f: f[0]) for row in background])
    close(ex.feature_values[0], each.mean(0), np.abs(plain({"x": x[0]})).max())
    np.testing.assert_allclose(ex.feature_errors[0], each.std(0, ddof=1) / np.sqrt(5), rtol=1e-3)


def test_stored_baselines_are_used_by_digest(client):
    model = client.upload_model(zoo.mlp(), name="mlp")
    x, baseline = noise(1, 8), noise(8)
    digest = client.put_tensor(baseline)
    by_digest = client.explain(model, x, assay.Occlusion(features=assay.Elements(), baseline=digest), target=0)
    inline = client.explain(model, x, assay.Occlusion(features=assay.Elements(), baseline=baseline), target=0)
    np.testing.assert_array_equal(by_digest.feature_values, inline.feature_values)
