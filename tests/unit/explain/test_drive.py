"""One instance between a method and the scheduler."""

import itertools

import numpy as np
import pytest

from assayd.errors import ModelNotFinite, NotFinite
from assayd.explain.checks import alone_difference, check_finite
from assayd.explain.drive import _notices, _with_plain
from assayd.types.rows import MaskRows, Pick, PlainRows, Plan
from assayd.types.subject import Subject


def a_plan(size):
    """Row r keeps r features, so that rows can be told apart."""
    return Plan(size, lambda a, b: [MaskRows(np.arange(a, b)[:, None], np.zeros(b - a, np.int32))] if b > a else [])


def told(blocks):
    """("plain", baseline) and ("mask", number), in order."""
    rows = []
    for block in blocks:
        if isinstance(block, PlainRows):
            rows += [("plain", int(b)) for b in block.baseline]
        else:
            rows += [("mask", int(k)) for k in block.keep[:, 0]]
    return rows


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("baselines", [1, 3])
def test_x_and_the_baselines_stand_in_front_however_the_rows_are_cut(size, baselines):
    plan = _with_plain(a_plan(size), baselines)
    want = [("plain", -1), *(("plain", b) for b in range(baselines)), *(("mask", r) for r in range(size))]
    assert plan.size == len(want)
    for a, b in itertools.combinations(range(plan.size + 1), 2):
        blocks = plan.rows(a, b)
        assert told(blocks) == want[a:b]
        assert all(len(block) for block in blocks)
        assert told(plan.rows(a, b)) == want[a:b]


def difference(alone, in_batch, *, weights=None, scale="raw"):
    pick = Pick("y", None if weights is not None else np.array([0]), weights, scale)
    return alone_difference({"y": np.array([alone], np.float32)}, (pick,), np.array([in_batch]))


def test_the_difference_is_a_share_of_the_largest_score():
    assert difference([1.0, -100.0], 1.5) == pytest.approx(0.005)
    assert difference([1.0, 0.0], 1.0) == 0
    assert difference([0.0, 0.0], 0.0) == 0
    assert difference([0.0, 0.0], 1e-30) > 1
    assert difference([1.0, 2.0], 4.0, weights=np.array([1.0, 1.0])) == pytest.approx(1 / 4)


def scores(*values):
    return np.array(values, dtype=float)


def test_what_is_not_finite_is_told_apart_by_where_it_comes_from():
    ordinary, missing = Subject({"x": np.ones(2)}, {}), Subject({"x": np.array([1, np.nan])}, {})
    check_finite(missing, "occlusion", scores(1), scores([1]), scores([1], [2]))
    with pytest.raises(ModelNotFinite, match="ordinary input"):
        check_finite(ordinary, "occlusion", scores(np.inf), scores([1]), scores([1]))
    with pytest.raises(NotFinite) as got:
        check_finite(missing, "occlusion", scores(np.nan), scores([1]), scores([1]))
    assert got.value.field == "inputs"
    with pytest.raises(NotFinite) as got:
        check_finite(ordinary, "occlusion", scores(1), scores([1], [np.nan]), scores([1]))
    assert got.value.field == "occlusion.baseline"
    with pytest.raises(ModelNotFinite, match="for 2 of 3 perturbed rows"):
        check_finite(ordinary, "occlusion", scores(1), scores([1]), scores([1, np.nan], [1, 2], [np.inf, np.nan]))


def test_a_baseline_that_equals_the_input_is_noticed():
    x = np.array([1, np.nan])
    assert _notices(Subject({"x": x}, {"x": np.array([[1, 2]])})) == []
    (notice,) = _notices(Subject({"x": x, "z": x}, {"x": np.array([[0, 0], x]), "z": x[None]}))
    assert notice.code == "BASELINE_EQUALS_INPUT"
    assert "x, z" in notice.message
    words = np.array(["a"], dtype=object)
    assert len(_notices(Subject({"s": words}, {"s": words[None]}))) == 1
