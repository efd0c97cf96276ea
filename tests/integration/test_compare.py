"""Two versions of a model, asked the same."""

import numpy as np
import pytest

import assay
from tests.models import zoo

X = np.random.default_rng(0).standard_normal((12, 6)).astype(np.float32)


@pytest.fixture(scope="module")
def versions(server):
    with assay.Client(server.address) as client:
        for version, seed in (("1", 0), ("2", 1), ("3", 0)):
            client.upload_model(zoo.linear(seed=seed), name="compared", version=version)


def test_linear_models_differ_by_their_weights(client, versions):
    method = assay.Occlusion(features=assay.Elements())
    found = assay.compare(client, "compared@1", "compared@2", {"x": X}, method, 1, keys=[f"k{n}" for n in range(12)])
    (w1, _), (w2, _) = (zoo.linear_weights(zoo.linear(seed=seed)) for seed in (0, 1))
    difference = X * (w2[:, 1] - w1[:, 1])
    for n, feature in enumerate(found.features):
        assert feature.difference.value == pytest.approx(difference[:, n].mean(), abs=1e-5)
        assert feature.difference.error == pytest.approx(difference[:, n].std(ddof=1) / np.sqrt(12), abs=1e-5)
    outputs = [client.predict(ref, {"x": X})["y"][:, 1] for ref in ("compared@1", "compared@2")]
    assert found.score_difference.value == pytest.approx(float((outputs[1] - outputs[0]).mean()), abs=1e-5)
    assert found.names == tuple(f"k{n}" for n in range(12))


def test_the_same_model_under_two_names_has_the_same_random_draws(client, versions):
    method = assay.Lime(60, assay.Elements())
    found = assay.compare(client, "compared@1", "compared@3", {"x": X}, method, 1, seed=5)
    np.testing.assert_allclose(found.values_a, found.values_b, rtol=1e-5, atol=1e-6)
    assert not found.changed.any()
    assert found.rank_correlation > 0.999
