"""Two models asked the same: the numbers that are said of their differences."""

from __future__ import annotations

import math

import numpy as np
import pytest

import assay
from assay.compare import Mean, _ranks, _spearman, compare
from assay.explanation import Feature, ResolvedTarget


class Models:
    """A client whose models are functions of x: (score, values), or an exception."""

    def __init__(self, **functions):
        self.functions = functions
        self.asked = []

    def get_model(self, ref):
        return assay.Model(ref, "1", f"sha256:{ref}")

    def explain_many(self, model, parts, method, target, **settings):
        self.asked.append((model.ref, settings))
        position = 0
        for part in parts:
            for row, x in enumerate(part.inputs["x"]):
                key = part.keys[row] if part.keys else ""
                yield self._instance(self.functions[model.name], x, key, position)
                position += 1
        yield assay.Explanation((), "r", model)

    def _instance(self, function, x, key, position):
        try:
            score, values, *target = function(x)
        except ValueError as error:
            return assay.Instance(position, key, status=assay.InvalidArgument(str(error)))
        return assay.Instance(
            position,
            key,
            targets=tuple(target) or (ResolvedTarget("y", (0,)),),
            scores=np.asarray(score, np.float32),
            feature_values=np.asarray(values, np.float32),
            features=tuple(Feature(n, name, 1) for n, name in enumerate("abcd"[: len(values)])),
        )


X = np.random.default_rng(0).standard_normal((20, 4)).astype(np.float32)
METHOD = assay.Occlusion(features=assay.Elements())


def compared(one, two, x=X, **settings):
    return compare(Models(one=one, two=two), "one", "two", {"x": x}, METHOD, **settings)


def test_a_model_and_itself():
    found = compared(lambda x: (x.sum(), x), lambda x: (x.sum(), x))
    assert (found.instances, len(found.names), found.failed, found.other_target) == (20, 20, 0, 0)
    assert found.score_difference == Mean(0.0, 0.0)
    assert not found.changed.any()
    assert found.rank_correlation == pytest.approx(1)
    assert [f.name for f in found.features] == list("abcd")


def test_paired_differences_with_their_standard_errors():
    found = compared(lambda x: (x.sum(), x), lambda x: (x.sum() + x[0], x + np.array([x[1], 0, 0.5, 0])))
    assert found.score_difference.value == pytest.approx(X[:, 0].mean(), rel=1e-5)
    assert found.score_difference.error == pytest.approx(X[:, 0].std(ddof=1) / math.sqrt(20), rel=1e-5)
    assert found.largest_score_difference == pytest.approx(np.abs(X[:, 0]).max(), rel=1e-5)
    a, b, c, _ = found.features
    assert a.difference.value == pytest.approx(X[:, 1].mean(), rel=1e-5)
    assert a.difference.error == pytest.approx(X[:, 1].std(ddof=1) / math.sqrt(20), rel=1e-5)
    assert (b.difference.value, b.difference.error) == (0, 0)
    # The spread of x isn't in the error of a difference that is the same for all.
    assert c.difference.value == pytest.approx(0.5)
    assert c.difference.error < 1e-7
    assert c.a == pytest.approx(X[:, 2].mean(), rel=1e-5)


def test_changed_reasons_are_other_features_not_another_order():
    x = np.array([[4, 3, 2, 1], [4, 3, 2, 1]], np.float32)
    swapped = compared(lambda x: (0, x), lambda x: (0, x[[1, 0, 2, 3]]), x, k=2)
    assert not swapped.changed.any()
    assert swapped.rank_correlation == pytest.approx(0.8)
    other = compared(lambda x: (0, x), lambda x: (0, x * [1, 1, 1, -9]), x, k=2)
    assert other.changed.all()
    assert not compared(lambda x: (0, x), lambda x: (0, x * [1, 1, 1, -9]), x, k=4).changed.any()


def test_instances_that_failed_or_have_another_target_are_left_out():
    def picky(x):
        if x[0] > 0:
            raise ValueError("no")
        return 0, x

    found = compared(picky, lambda x: (0, x, ResolvedTarget("y", (int(x[1] > 0),))))
    failed, other = X[:, 0] > 0, (X[:, 0] <= 0) & (X[:, 1] > 0)
    assert (found.failed, found.other_target) == (failed.sum(), other.sum())
    np.testing.assert_array_equal(found.values_a, X[~failed & ~other])
    assert found.names == tuple(np.flatnonzero(~failed & ~other))


def test_labels_say_whether_targets_are_the_same():
    one = ResolvedTarget("p", (0,), "benign")
    for other, same in ((("q", (1,), "benign"), True), (("p", (0,), "malignant"), False), (("p", (0,)), True)):
        two = ResolvedTarget(*other)
        if same:
            assert len(compared(lambda x: (0, x, one), lambda x, two=two: (0, x, two)).names) == 20
        else:
            with pytest.raises(assay.InvalidArgument, match="nothing to compare: of 20 instances 0 failed and 20 had"):
                compared(lambda x: (0, x, one), lambda x, two=two: (0, x, two))


def test_the_same_seed_keys_and_parts_go_to_both():
    client = Models(one=lambda x: (0, x), two=lambda x: (0, x))
    data = assay.ArrayData({"x": X}, [f"k{n}" for n in range(20)], 6)
    found = compare(client, "one", "two", data, METHOD, seed=4)
    assert found.names == tuple(f"k{n}" for n in range(20))
    assert [settings["seed"] for _, settings in client.asked] == [4, 4]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"target": [0, 1]}, "one target"),
        ({"k": 0}, "1 is the least"),
        ({"data": iter([])}, "give a list"),
        ({"data": [assay.Part({"x": X})], "keys": ["a"]}, "hold their keys"),
    ],
)
def test_what_cant_be_compared_is_told(change, said):
    client = Models(one=lambda x: (0, x), two=lambda x: (0, x))
    with pytest.raises(assay.InvalidArgument, match=said):
        compare(client, "one", "two", **{"data": {"x": X}, "method": METHOD, **change})


def test_models_of_other_features_are_refused():
    with pytest.raises(assay.InvalidArgument, match="4 and 3 features"):
        compared(lambda x: (0, x), lambda x: (0, x[:3]))
    with pytest.raises(assay.InvalidArgument, match="instances have"):
        compared(lambda x: (0, x[: 3 + (x[0] > 0)]), lambda x: (0, x))


def test_ranks_and_their_correlation():
    np.testing.assert_array_equal(_ranks(np.array([3.0, 1, 3, 2])), [3.5, 1, 3.5, 2])
    stats = pytest.importorskip("scipy.stats")
    random = np.random.default_rng(1)
    for _ in range(20):
        a, b = random.integers(0, 5, (2, 9)).astype(float)
        assert _spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
    assert math.isnan(_spearman(np.ones(3), np.arange(3.0)))
