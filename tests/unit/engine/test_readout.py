"""Outputs to scores, against numbers written by hand."""

import numpy as np
import pytest

from assayd.engine.backend import Whole
from assayd.engine.readout import clipped, read_out, scaled
from assayd.errors import ModelUnfit
from assayd.types.model import Signature, TensorSignature
from assayd.types.rows import Pick

Y = np.array([[[1, 2], [3, 4]], [[5, 6], [7, 8]]], np.float32)
P = np.array([[0.25, 0.75]], np.float32)


def at(*indices, **kind):
    return Pick("y", np.array(indices), **kind)


def test_a_pick_is_a_column_an_index_row_major():
    got = read_out((at(3), at(0, 2)), {"y": Y})
    assert got.dtype == np.float64
    np.testing.assert_array_equal(got, [[4, 1, 3], [8, 5, 7]])


def test_no_indices_are_all_elements():
    np.testing.assert_array_equal(read_out((Pick("y"),), {"y": Y}), Y.reshape(2, 4))


def test_weights_make_one_column_of_the_weighted_sum():
    got = read_out((Pick("y", None, np.array([1.0, 0, 0, -2])),), {"y": Y})
    np.testing.assert_array_equal(got, [[1 - 8], [5 - 16]])


def test_the_scale_comes_before_the_sum():
    got = read_out((Pick("y", None, np.array([1.0, 1.0]), "log"),), {"y": P})
    np.testing.assert_allclose(got, [[np.log(0.25) + np.log(0.75)]])


def test_picks_of_several_outputs_stand_side_by_side_in_their_order():
    got = read_out((at(1), Pick("z", np.array([0]))), {"z": np.array([[9.0], [10.0]]), "y": Y})
    np.testing.assert_array_equal(got, [[2, 9], [6, 10]])


@pytest.mark.parametrize("dtype", [np.float16, np.int64, np.bool_])
def test_scores_are_float64_whatever_the_output(dtype):
    got = read_out((at(0),), {"y": np.array([[1], [0]], dtype)})
    assert got.dtype == np.float64
    np.testing.assert_array_equal(got, [[1], [0]])


def test_log_and_logit_of_probabilities():
    np.testing.assert_allclose(scaled(P, "log"), np.log([[0.25, 0.75]]))
    np.testing.assert_allclose(scaled(P, "logit"), [[-np.log(3), np.log(3)]])
    np.testing.assert_array_equal(scaled(P, "raw"), P)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_saturated_probabilities_stay_finite_by_the_resolution_of_the_output(dtype):
    edges, kind = np.array([0, 1], dtype), np.finfo(dtype)
    tiny, near = float(kind.tiny), 1 - float(kind.eps) / 2
    np.testing.assert_array_equal(scaled(edges, "log"), [np.log(tiny), 0])
    np.testing.assert_array_equal(
        scaled(edges, "logit"), [np.log(tiny) - np.log1p(-tiny), np.log(near) - np.log1p(-near)]
    )
    assert np.isfinite(scaled(np.array([0, 1]), "logit")).all()


@pytest.mark.parametrize("scale", ["log", "logit"])
@pytest.mark.parametrize("value", [-1e-6, 1.001, 7.0, np.inf])
def test_what_is_no_probability_is_refused(scale, value):
    with pytest.raises(ModelUnfit, match=f"scale {scale} needs a probability"):
        scaled(np.array([0.5, value]), scale)


def test_nan_stays_nan_so_that_it_is_seen_later():
    assert np.isnan(scaled(np.array([np.nan, 0.5]), "logit")).tolist() == [True, False]


def test_whole_outputs_are_copies_of_those_that_were_named():
    outputs = {"y": Y.copy(), "z": np.zeros((2, 1))}
    assert list(read_out(Whole(), outputs)) == ["y", "z"]
    (got,) = read_out(Whole(("y",)), outputs).values()
    outputs["y"][...] = 0
    np.testing.assert_array_equal(got, Y)


@pytest.mark.parametrize("scale", ["log", "logit"])
def test_votes_that_round_beyond_0_and_1_are_probabilities(scale):
    votes = np.array([1 + 3e-7, -3e-7], np.float32)
    np.testing.assert_array_equal(scaled(votes, scale), scaled(np.array([1, 0], np.float32), scale))
    with pytest.raises(ModelUnfit):
        scaled(np.array([1.001], np.float32), scale)


SIGNATURE = Signature((), tuple(TensorSignature(name, np.dtype(d), (2,)) for name, d in (("y", "f4"), ("z", "f8"))))


@pytest.mark.parametrize(
    ("pick", "values", "want"),
    [
        (at(0, scale="log"), [0.5, 0], False),
        (at(1, scale="log"), [0.5, 0], True),
        (at(0, scale="log"), [1, 0.5], False),
        (at(0, scale="logit"), [1, 0.5], True),
        (at(0, scale="logit"), [1e-20, 0.5], False),
        (at(0), [0, 1], False),
        (Pick("y", None, np.array([0.0, -3.7]), "logit"), [0.5, 0], True),
        (Pick("y", None, np.array([0.0, -3.7]), "logit"), [0, 0.5], False),
    ],
)
def test_a_probability_that_was_clipped_is_seen_in_its_score(pick, values, want):
    y = np.array([[0.3, 0.7], values], np.float32)
    picks = (Pick("z", np.array([0]), None, "logit"), pick)
    scores = read_out(picks, {"y": y, "z": np.full((2, 2), 0.5)})
    assert clipped(picks, SIGNATURE, scores) is want


def test_each_output_is_clipped_by_its_own_resolution():
    for picks, want in (((at(0, scale="log"),), True), ((Pick("z", np.array([0]), None, "log"),), False)):
        p = np.array([[np.finfo(np.float32).tiny]])
        assert clipped(picks, SIGNATURE, read_out(picks, {"y": p.astype(np.float32), "z": p})) is want


def test_whole_outputs_are_never_scaled():
    assert not clipped((Pick("y"), Pick("z")), SIGNATURE, np.zeros((3, 4)))


@pytest.mark.parametrize("pick", [Pick("y", indices=np.array([0, 6])), Pick("y", weights=np.ones(7))])
def test_an_output_that_is_shorter_for_this_row_is_the_models_fault(pick):
    with pytest.raises(ModelUnfit, match="'y' has 2 values for a perturbed row"):
        read_out((pick,), {"y": np.zeros((3, 2))})
