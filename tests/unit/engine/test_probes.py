"""Inputs that make a model show whether its rows interact."""

import numpy as np
import pytest

from assayd.engine.probes import ROWS, blind_probes, probes_from, row
from assayd.types.model import Signature, TensorSignature
from assayd.types.subject import Subject


def signature(**inputs):
    return Signature(tuple(TensorSignature(name, np.dtype(d), s) for name, (d, s) in inputs.items()), ())


def test_blind_probes_have_the_models_shapes_and_dtypes():
    kinds = {"f": (np.float32, (2, 3)), "h": (np.float16, ()), "b": (bool, (4,))}
    kinds |= {"i": (np.int64, (5,)), "s": (object, (2,))}
    probes = list(blind_probes(signature(**kinds)))
    assert len(probes) > 1
    for probe in probes:
        for name, (dtype, shape) in kinds.items():
            assert (probe[name].shape, probe[name].dtype) == ((ROWS, *shape), np.dtype(dtype))
        assert np.isfinite(probe["h"]).all()
        assert len(np.unique(probe["f"].reshape(ROWS, -1), axis=0)) == ROWS
        assert all(isinstance(word, str) for word in probe["s"].ravel())


def test_blind_probes_are_the_same_every_time():
    for a, b in zip(*(blind_probes(signature(x=(np.float32, (3,)))) for _ in range(2)), strict=True):
        np.testing.assert_array_equal(a["x"], b["x"])


def test_floating_probes_come_at_several_scales():
    sizes = [float(np.abs(p["x"]).max()) for p in blind_probes(signature(x=(np.float32, (50,))))]
    assert min(sizes) < 1
    assert max(sizes) > 100


def test_ids_stay_below_the_vocabulary():
    tokens = TensorSignature("x", np.dtype(np.int64), (50,), vocabulary=7)
    for probe in blind_probes(Signature((tokens,), ())):
        assert probe["x"].min() >= 0
        assert probe["x"].max() < 7


def test_free_extents_are_tried_one_after_the_other():
    extents = [p["x"].shape[1:] for p in blind_probes(signature(x=(np.float32, (None, 3, None))))]
    assert {(8, 3, 8), (224, 3, 224), (1, 3, 1)} <= set(extents)
    assert len({e for e, *_ in extents}) == 7


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_probes_from_a_caller_hold_x_its_baseline_what_lies_between_and_noise(dtype):
    x, other = np.array([100, 102, 104], dtype), np.zeros((1, 3), dtype)
    near, far = (p["x"] for p in probes_from(Subject({"x": x}, {"x": other})))
    for probe in (near, far):
        assert probe.dtype == dtype
        np.testing.assert_array_equal(probe[:3], [x, other[0], x / 2])
    assert 0 < np.abs(near[3] - x).max() < np.abs(far[3] - x).max()


def test_probes_from_ids_hold_only_ids_that_the_caller_sent():
    x, other = np.arange(10, 20), np.full((1, 10), 3)
    for probe in probes_from(Subject({"x": x}, {"x": other})):
        assert set(probe["x"].ravel()) <= {*range(10, 20), 3}
        assert len(np.unique(probe["x"], axis=0)) == ROWS


def test_inputs_without_a_baseline_and_missing_values_are_no_obstacle():
    x = np.array([np.nan, 1, 2], np.float32)
    words = np.array(["a", "b"], dtype=object)
    for probe in probes_from(Subject({"x": x, "s": words}, {})):
        np.testing.assert_array_equal(probe["x"][0], x)
        assert (np.isnan(probe["x"]) == np.isnan(x)).all()
        assert probe["s"].dtype == object


def test_a_row_is_one_of_each_input():
    probe = {"a": np.arange(8).reshape(4, 2), "b": np.arange(4)}
    got = row(probe, 2)
    assert got["a"].tolist() == [4, 5]
    assert got["b"] == 2


def test_levels_that_encoders_know_come_in_turn():
    known = (("red", "green"), (), ("a", "b", "c"))
    words = TensorSignature("s", np.dtype(object), (3,), levels=known)
    codes = TensorSignature("i", np.dtype(np.int32), (2,), levels=((), (7, 9)))
    number = TensorSignature("f", np.dtype(np.float32), (), levels=((3, 4),))
    for probe in blind_probes(Signature((words, codes, number), ())):
        assert set(probe["s"][:, 0]) == {"red", "green"}
        assert set(probe["s"][:, 2]) == {"a", "b", "c"}
        assert not set(probe["s"][:, 1]) & {"a", "b", "c"} - {"a", "b"}
        assert set(probe["i"][:, 1]) == {7, 9}
        assert set(probe["f"]) == {3, 4}


def test_levels_of_a_cast_input_stand_in_its_own_dtype():
    inputs = (
        TensorSignature("s", np.dtype(object), (1,), levels=((1, 2),)),
        TensorSignature("i", np.dtype(np.int32), (1,), levels=((2**40, 2**40 + 1),)),
        TensorSignature("f", np.dtype(np.float32), (1,), levels=(("a", "b"),)),
    )
    for probe in blind_probes(Signature(inputs, ())):
        assert set(probe["s"].ravel()) == {"1", "2"}
        assert [probe[name].dtype for name in "if"] == [np.int32, np.float32]


def test_words_stay_in_their_columns_and_codes_do_in_one_probe():
    x, other = np.array(["a0", "b0", "c0"], dtype=object), np.array([["a1", "b1", "c1"]], dtype=object)
    for probe in probes_from(Subject({"s": x}, {"s": other})):
        assert all(word[0] == letter for words in probe["s"] for word, letter in zip(words, "abc", strict=True))
    codes = np.arange(0, 80, 10)
    first, second = probes_from(Subject({"i": codes}, {"i": codes[None] + 1}))
    assert (np.abs(second["i"] - codes) <= 1).all()
    assert not (np.abs(first["i"] - codes) <= 1).all()


def test_a_subject_of_no_baselines_is_probed_like_one_that_lacks_them():
    x = np.array([1, 2], np.float32)
    got = [p["x"] for p in probes_from(Subject({"x": x}, {"x": np.empty((0, 2), np.float32)}))]
    want = [p["x"] for p in probes_from(Subject({"x": x}, {}))]
    np.testing.assert_array_equal(got, want)


def test_text_without_axes_is_probed():
    words = Subject({"s": np.array("a", dtype=object)}, {"s": np.array(["b", "c"], dtype=object)})
    for probe in probes_from(words):
        assert probe["s"].shape == (ROWS,)
        assert set(probe["s"]) == {"a", "b"}
