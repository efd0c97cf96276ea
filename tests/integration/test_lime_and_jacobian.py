"""LIME and Jacobians over real gRPC: closed forms, keys, company, tables as they are."""

import concurrent.futures

import numpy as np
import pytest

import assay
from tests.models import zoo

X = np.random.default_rng(3).standard_normal((6, 6)).astype(np.float32)
W, _ = zoo.linear_weights(zoo.linear())
KEYS = [f"customer {n}" for n in range(6)]


@pytest.fixture(scope="module")
def linear(server):
    with assay.Client(server.address) as client:
        yield client.upload_model(zoo.linear(), name="linear")


@pytest.fixture(scope="module")
def mlp(server):
    with assay.Client(server.address) as client:
        yield client.upload_model(zoo.mlp(features=12), name="lime-mlp")


WIDE = np.random.default_rng(4).standard_normal((8, 12)).astype(np.float32)


def test_lime_of_a_linear_model_is_weight_times_difference(client, linear):
    method = assay.Lime(features=assay.Elements(), baseline=0.5, alpha=1e-6)
    ex = client.explain(linear, X, method, target=2)
    np.testing.assert_allclose(ex.feature_values, W[:, 2] * (X - 0.5), atol=1e-3 * np.abs(W).max())
    assert all(d.r_squared > 0.999 for d in ex.diagnostics)


def test_a_decision_gets_the_same_reasons_wherever_it_stands(client, mlp):
    method = assay.Lime(num_samples=300, features=assay.Elements())
    keys = [str(n) for n in range(len(WIDE))]
    night = client.explain(mlp, WIDE, method, target=0, keys=keys, seed=7)
    order = [5, 2, 7]
    again = client.explain(mlp, WIDE[order], method, target=0, keys=[keys[n] for n in order], seed=7)
    np.testing.assert_allclose(again.feature_values, night.feature_values[order], atol=1e-5)
    alone = client.explain(mlp, WIDE[5:6], method, target=0, keys=["5"], seed=7)
    np.testing.assert_allclose(alone.feature_values[0], night.feature_values[5], atol=1e-5)
    other_seed = client.explain(mlp, WIDE[5:6], method, target=0, keys=["5"], seed=8)
    assert np.abs(other_seed.feature_values - alone.feature_values).max() > 1e-5
    other_key = client.explain(mlp, WIDE[5:6], method, target=0, keys=["6"], seed=7)
    assert np.abs(other_key.feature_values - alone.feature_values).max() > 1e-5


def test_errors_of_coefficients_are_of_the_size_of_their_spread(client, mlp):
    method = assay.Lime(num_samples=200, features=assay.Elements())
    found = [client.explain(mlp, WIDE[:1], method, target=0, seed=s) for s in range(30)]
    spread = np.std([ex.feature_values[0] for ex in found], axis=0, ddof=1)
    errors = np.mean([ex.feature_errors[0] for ex in found], axis=0)
    assert 0.7 < float(np.mean(errors / spread)) < 1.4


@pytest.mark.parametrize("table", [assay.QuartileTable, assay.GaussianTable])
def test_a_table_by_its_training_statistics(client, cancer, table):
    method = assay.Lime(sampling=table.fit(cancer["X"]))
    ex = client.explain("cancer-mlp", cancer["X"][:2], method, [assay.Target(label=c) for c in ("malignant", "benign")])
    assert ex.feature_values.shape == (2, 2, 30)
    np.testing.assert_allclose(ex.feature_values[:, 0], -ex.feature_values[:, 1], atol=1e-5)
    assert [f.name for f in ex.features][:2] == ["mean radius", "mean texture"]


def test_a_jacobian_of_a_linear_model_is_its_weights(client, linear):
    ex = client.explain(linear, X, assay.Jacobian())
    found, errors = ex.jacobian["y"]["x"], ex.jacobian_errors["y"]["x"]
    assert found.shape == errors.shape == (6, 3, 6)
    assert np.mean(np.abs(found - W.T) <= errors) >= 0.95
    for n in range(6):
        np.testing.assert_allclose(found[n], W.T, atol=1e-3 * np.abs(W).max())
    np.testing.assert_array_equal(ex.attributions["x"], found)


def test_jacobians_of_two_inputs_and_outputs_and_along_groups(client):
    model = client.upload_model(zoo.two_by_two(), name="two-by-two")
    inputs = {"a": WIDE[:2, :4], "b": WIDE[:2, :6]}
    ex = client.explain(model, inputs, assay.Jacobian())
    assert {o: {i: v.shape for i, v in by.items()} for o, by in ex.jacobian.items()} == {
        "logits": {"a": (2, 3, 4), "b": (2, 3, 6)},
        "total": {"a": (2, 1, 4), "b": (2, 1, 6)},
    }
    one = client.explain(model, inputs, assay.Jacobian(outputs=["total"], error_estimate=False))
    np.testing.assert_allclose(one.jacobian["total"]["b"], ex.jacobian["total"]["b"], atol=1e-2)
    group = assay.Groups([assay.Group("pair", [("a", 0), ("b", 1)])])
    along = client.explain(model, inputs, assay.Jacobian(features=group, scale=1.0))
    want = ex.jacobian["logits"]["a"][..., 0] + ex.jacobian["logits"]["b"][..., 1]
    np.testing.assert_allclose(along.jacobian["logits"]["features"][..., 0], want, atol=1e-2)


@pytest.mark.parametrize(
    ("method", "field"),
    [
        (assay.Lime(features=assay.Elements(), num_samples=0), "lime.num_samples"),
        (assay.Lime(features=assay.Elements(), kernel_width=-1.0), "lime.kernel_width"),
        (assay.Lime(), "lime.features"),
        (assay.Jacobian(step=0.0), "jacobian.step"),
        (assay.Jacobian(step=1e-30), "jacobian.step"),
        (assay.Jacobian(outputs=["z"]), "jacobian.outputs"),
    ],
)
def test_bad_parameters_name_their_field(client, linear, method, field):
    with pytest.raises(assay.InvalidArgument) as got:
        client.explain(linear, X, method)
    assert got.value.violations[0][0].startswith(field)


def test_a_jacobian_cannot_step_from_nan_nor_on_integers(client, linear):
    with pytest.raises(assay.InvalidArgument) as got:
        client.explain(linear, np.full((1, 6), np.nan, np.float32), assay.Jacobian())
    assert got.value.reason == "NOT_FINITE"
    assert got.value.violations[0][0] == "inputs[x]"
    tokens = client.upload_model(zoo.tokens(), name="tokens-jacobian")
    with pytest.raises(assay.FailedPrecondition):
        client.explain(tokens, np.ones((1, 8), np.int64), assay.Jacobian())


def test_jobs_of_all_methods_share_batches_and_get_the_numbers_they_get_alone(client, server, mlp):
    methods = [
        assay.Occlusion(window=(1,)),
        assay.Lime(num_samples=200, features=assay.Elements()),
        assay.Rows(keep=np.random.default_rng(0).random((40, 12)) < 0.5, features=assay.Elements()),
        assay.Jacobian(features=assay.Elements()),
    ]

    def numbers(method):
        ex = client.explain(mlp, WIDE, method, keys=[str(n) for n in range(8)])
        return np.stack([r.scores for r in ex.rows]) if isinstance(method, assay.Rows) else ex.instances

    def flat(found):
        if isinstance(found, np.ndarray):
            return found.ravel()
        return np.concatenate(
            [
                (i.feature_values if i.feature_values is not None else next(iter(i.jacobian["y"].values()))).ravel()
                for i in found
            ]
        )

    want = [flat(numbers(method)) for method in methods]
    before = server.metrics()["assayd_shared_batches_total"]
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        jobs = [(pool.submit(numbers, m), w, m) for _ in range(3) for m, w in zip(methods, want, strict=True)]
        for job, expected, method in jobs:
            # Differences of float32 scores are divided by small steps.
            allowed = 2e-2 if isinstance(method, assay.Jacobian) else 1e-4
            np.testing.assert_allclose(flat(job.result()), expected, atol=allowed * np.abs(expected).max())
    assert server.metrics()["assayd_shared_batches_total"] > before


def test_numbers_that_say_little_come_with_a_warning(client):
    trees = client.upload_model(zoo.forest(), name="forest")
    x = np.random.default_rng(0).standard_normal((1, 5)).astype(np.float32)
    flat = client.explain(trees, x, assay.Jacobian(step=1e-3))
    assert [w.code for w in flat.warnings] == ["zero_jacobian"]
    b = zoo.Builder(0)
    b.op("Cos", b.op("Mul", b.linear("x", 12, 3), b.constant(50.0, np.float32)), outputs=["y"])
    wild = b.model({"x": (zoo.FLOAT, ["N", 12])}, {"y": (zoo.FLOAT, ["N", 3])})
    model = client.upload_model(wild, name="wild")
    ex = client.explain(model, WIDE[:1], assay.Lime(num_samples=300, features=assay.Elements()), target=0)
    assert "low_fit" in [w.code for w in ex.warnings]
    assert not client.explain(model, WIDE[:1], assay.Occlusion(window=(1,)), target=0).warnings
