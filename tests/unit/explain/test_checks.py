"""What is looked at before scores are believed."""

import numpy as np
import pytest

from assayd.errors import ModelNotFinite, NotFinite
from assayd.explain.checks import allowed_difference, alone_difference, check_finite
from assayd.types.model import Signature, TensorSignature
from assayd.types.rows import Pick
from assayd.types.subject import Subject


def difference(alone, in_batch, *, weights=None, scale="raw"):
    pick = Pick("y", None if weights is not None else np.array([0]), weights, scale)
    return alone_difference({"y": np.array([alone], np.float32)}, (pick,), np.array([in_batch]))


def test_the_difference_is_a_share_of_the_largest_score():
    assert difference([1.0, -100.0], 1.5) == pytest.approx(0.005)
    assert difference([1.0, 0.0], 1.0) == 0
    assert difference([0.0, 0.0], 0.0) == 0
    assert difference([0.0, 0.0], 1e-30) > 1
    assert difference([1.0, 2.0], 4.0, weights=np.array([1.0, 1.0])) == pytest.approx(1 / 4)


def test_a_score_that_is_no_number_differs_from_none():
    assert difference([np.nan, 1.0], 1.0) == 0
    assert difference([1.0, 1.0], np.nan) == 0
    assert difference([np.inf, 1.0], 1.0) == 0  # said by check_finite, in other words


def test_a_difference_may_be_as_large_as_the_error_of_the_precision_that_rows_ran_in():
    signature = Signature((), (TensorSignature("y", np.dtype("float32"), (2,)),))
    picks = (Pick("y", np.array([0])),)
    exact = allowed_difference(picks, signature)
    assert allowed_difference(picks, signature, precision_error=exact / 10) == exact
    assert allowed_difference(picks, signature, precision_error=0.003) == pytest.approx(0.006)


@pytest.mark.parametrize(("dtype", "on_gpu", "allowed"), [("float32", 1e-3, 1e-5), ("float16", 2**-9, 2**-9)])
def test_on_a_gpu_a_difference_may_be_as_large_as_that_of_its_algorithms(dtype, on_gpu, allowed):
    signature = Signature((), (TensorSignature("y", np.dtype(dtype), (2,)),))
    picks = (Pick("y", np.array([0])),)
    assert allowed_difference(picks, signature) == allowed
    assert allowed_difference(picks, signature, on_gpu=True) == on_gpu
    assert allowed_difference(picks, signature, on_gpu=True, precision_error=0.003) == pytest.approx(0.006)


def scores(*values):
    return np.array(values, dtype=float)


def test_what_is_not_finite_is_told_apart_by_where_it_comes_from():
    ordinary, missing = Subject({"x": np.ones(2)}, {}), Subject({"x": np.array([1, np.nan])}, {})
    check_finite(missing, "occlusion", scores(1), scores([1]), scores([1], [2]))
    with pytest.raises(ModelNotFinite, match="ordinary input"):
        check_finite(ordinary, "occlusion", scores(np.inf), scores([1]), scores([1]))
    with pytest.raises(NotFinite, match=r"'x' holds nan at \[1\]") as got:
        check_finite(missing, "occlusion", scores(np.nan), scores([1]), scores([1]))
    assert got.value.field == "inputs[x]"
    with pytest.raises(NotFinite) as got:
        check_finite(ordinary, "occlusion", scores(1), scores([1], [np.nan]), scores([1]))
    assert got.value.field == "occlusion.baseline"
    with pytest.raises(ModelNotFinite, match="for 2 of 3 perturbed rows"):
        check_finite(ordinary, "occlusion", scores(1), scores([1]), scores([1, np.nan], [1, 2], [np.inf, np.nan]))
    with pytest.raises(ModelNotFinite, match="for 1 of 1 perturbed rows: the table has missing values"):
        check_finite(ordinary, "lime", scores(1), scores([1]), scores([np.nan]), draws_missing=True)
