"""An explanation doesn't depend on its company: alone, together, in another order, beside other jobs."""

import concurrent.futures

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import assay
from tests.models import zoo

X = np.random.default_rng(3).standard_normal((12, 8)).astype(np.float32)
METHODS = [
    assay.Occlusion(window=(3,), stride=(2,), baseline=0.5),
    assay.Occlusion(features=assay.Elements(), baseline=np.nan_to_num(X[:4])),
    assay.Rows(keep=np.random.default_rng(0).random((9, 8)), features=assay.Elements()),
]


@pytest.fixture(scope="module")
def mlp(server):
    with assay.Client(server.address) as client:
        yield client.upload_model(zoo.mlp(), name="company")


def numbers(ex, n):
    rows = ex.rows[n].scores if ex.rows and ex.rows[n] is not None else None
    return rows if rows is not None else ex.feature_values[n]


@pytest.mark.parametrize("method", METHODS, ids=["windows", "background", "rows"])
def test_alone_is_together_in_any_order(client, mlp, method):
    order = np.random.default_rng(1).permutation(len(X))
    together = client.explain(mlp, X, method, target=1, keys=[str(n) for n in range(len(X))])
    shuffled = client.explain(mlp, X[order], method, target=1, keys=[str(n) for n in order])
    for place, n in enumerate(order):
        alone = client.explain(mlp, X[n : n + 1], method, target=1)
        np.testing.assert_allclose(numbers(together, n), numbers(alone, 0), atol=2e-6)
        np.testing.assert_allclose(numbers(shuffled, place), numbers(alone, 0), atol=2e-6)


def test_beside_other_jobs_of_other_methods_and_models(client, mlp, digits):
    want = [client.explain(mlp, X, method, target=1) for method in METHODS]
    images = digits["images"][:2]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        others = [pool.submit(client.explain, "digits", images, assay.Occlusion(window=(8, 8))) for _ in range(2)]
        jobs = [
            (pool.submit(client.explain, mlp, X, m, target=1), w)
            for _ in range(5)
            for m, w in zip(METHODS, want, strict=True)
        ]
        for job, expected in jobs:
            got = job.result()
            for n in range(len(X)):
                np.testing.assert_allclose(numbers(got, n), numbers(expected, n), atol=2e-6)
        first, second = (other.result().feature_values for other in others)
        np.testing.assert_allclose(first, second, atol=1e-5)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.integers(0, 11), min_size=1, max_size=20), window=st.integers(1, 8), stride=st.integers(1, 8))
def test_any_selection_in_any_order_with_any_window(client, mlp, rows, window, stride):
    method = assay.Occlusion(window=(window,), stride=(stride,))
    whole = client.explain(mlp, X, method, target=0).feature_values
    chosen = client.explain(mlp, X[rows], method, target=0).feature_values
    np.testing.assert_allclose(chosen, whole[rows], atol=2e-6)


def test_superpixels_and_grids_on_images(client, digits):
    images = digits["images"][:2]
    for features in (assay.Superpixels(12), assay.Grid(4, 4)):
        ex = client.explain("digits", images, assay.Occlusion(features=features), target=3)
        for n in range(2):
            instance = ex.instances[n]
            painted = instance.attributions["image"]
            assert set(np.unique(painted.round(5))) <= set(np.unique(instance.feature_values.round(5))) | {0.0}
            assert sum(f.elements for f in instance.features) == 64 * 64
