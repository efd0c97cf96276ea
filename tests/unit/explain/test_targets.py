"""From what a caller calls a target to elements of an output."""

import hashlib

import numpy as np
import pytest

from assayd.errors import InvalidRequest, InvalidTensor, ModelUnfit
from assayd.explain.targets import needs_scores, output_of, resolve, score_dtype, with_labels
from assayd.types.model import ModelSpec, Signature, TensorSignature
from assayd.types.request import AtIndex, AtLabel, AtRank, TargetSpec, Weighted
from assayd.types.rows import Pick


def out(name="y", shape=(2, 3), dtype=np.float32, labels=()):
    return TensorSignature(name, None if dtype is None else np.dtype(dtype), shape, class_labels=tuple(labels))


def sig(*outputs):
    return Signature((), outputs or (out(),))


def found(element, signature=None, at_x=None, **kind):
    return resolve(TargetSpec(None, element, **kind), signature or sig(), at_x)


@pytest.mark.parametrize("position", [(1, 2), (5,)])
def test_an_index_by_axis_or_flattened(position):
    pick, said = found(AtIndex(position))
    assert (pick.output, pick.indices.tolist(), pick.weights, pick.scale) == ("y", [5], None, "raw")
    assert (said.output, said.index, said.rank, said.label, said.weights_digest) == ("y", (1, 2), 0, "", "")


@pytest.mark.parametrize("position", [(), (6,), (-1,), (2, 0), (0, 3), (0, -1), (0, 0, 0)])
def test_an_index_outside_the_output_is_refused(position):
    with pytest.raises(InvalidRequest) as got:
        found(AtIndex(position))
    assert got.value.field == "index"
    assert str(list(position)) in got.value.message
    assert "[2, 3]" in got.value.message


@pytest.mark.parametrize("position", [(), (0,)])
def test_a_scalar_output_has_one_index(position):
    pick, said = found(AtIndex(position), sig(out(shape=())))
    assert (pick.indices.tolist(), said.index) == ([0], ())


def test_a_label_is_found_among_the_outputs_labels():
    signature = sig(out(shape=(3,), labels=("cat", "dog", "eel")))
    pick, said = found(AtLabel("eel"), signature)
    assert (pick.indices.tolist(), said.index, said.label) == ([2], (2,), "eel")
    assert found(AtIndex((1,)), signature)[1].label == "dog"


@pytest.mark.parametrize(
    ("labels", "message"),
    [((), "no class labels"), (("a", "b", "c"), "no element"), (("z", "b", "z"), "more than one")],
)
def test_a_label_that_is_not_there_or_not_one_is_refused(labels, message):
    with pytest.raises(InvalidRequest, match=message) as got:
        found(AtLabel("z"), sig(out(shape=(3,), labels=labels)))
    assert got.value.field == "label"


def test_labels_of_the_spec_take_the_place_of_the_files():
    signature = with_labels(sig(out(labels="abcdef"), out("z")), ModelSpec(class_labels={"y": tuple("uvwxyz")}))
    assert signature.output("y").class_labels == tuple("uvwxyz")
    assert signature.output("z").class_labels == ()


def test_ranks_count_from_the_largest_and_equal_scores_rank_by_position():
    at_x = {"y": np.array([[3, 7, 7], [7, -1, 3]], np.float32)}
    ranked = [found(AtRank(rank), at_x=at_x) for rank in range(1, 7)]
    assert [pick.indices.item() for pick, _ in ranked] == [1, 2, 3, 0, 5, 4]
    assert [(said.index, said.rank) for _, said in ranked[:2]] == [((0, 1), 1), ((0, 2), 2)]


def test_ranks_of_many_equal_scores_are_stable():
    scores = np.random.default_rng(0).integers(0, 3, 500).astype(np.float32)
    ranks = [found(AtRank(r), sig(out(shape=(500,))), {"y": scores})[0].indices.item() for r in range(1, 501)]
    assert ranks == sorted(range(500), key=lambda n: (-scores[n], n))


def test_a_rank_puts_nan_last():
    at_x = {"y": np.array([np.nan, -np.inf, 2], np.float32)}
    ranks = [found(AtRank(r), sig(out(shape=(3,))), at_x)[0].indices.item() for r in (1, 2, 3)]
    assert ranks == [2, 1, 0]


@pytest.mark.parametrize("rank", [0, 7])
def test_a_rank_beyond_the_scores_is_refused(rank):
    with pytest.raises(InvalidRequest) as got:
        found(AtRank(rank), at_x={"y": np.zeros((2, 3))})
    assert got.value.field == "top_rank"


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_weights_sum_over_all_elements(dtype):
    weights = np.arange(6, dtype=dtype).reshape(2, 3)
    pick, said = found(Weighted(weights), scale="log")
    assert (pick.indices, pick.scale) == (None, "log")
    assert pick.weights.dtype == np.float64
    np.testing.assert_array_equal(pick.weights, np.arange(6))
    assert said.weights_digest == "sha256:" + hashlib.sha256(weights.tobytes()).hexdigest()
    assert (said.index, said.rank, said.scale) == ((), 0, "log")


@pytest.mark.parametrize(
    "weights",
    [
        np.ones(6), np.ones((3, 2)), np.ones((1, 2, 3)), np.full((2, 3), np.nan), np.full((2, 3), np.inf),
        np.full((2, 3), "a", dtype=object), np.ones((2, 3), np.int64),
    ],
    ids=["flat", "transposed", "batch", "nan", "inf", "strings", "integers"],
)  # fmt: skip
def test_weights_of_another_shape_or_not_finite_floats_are_refused(weights):
    with pytest.raises(InvalidTensor) as got:
        found(Weighted(weights))
    assert got.value.field == "weights"


def test_without_an_element_it_is_the_only_one_or_the_largest():
    assert found(None, sig(out(shape=(1, 1))))[1].index == (0, 0)
    assert found(None, sig(out(shape=())))[1].index == ()
    pick, said = found(None, at_x={"y": np.array([[0, 1, 2], [9, 4, 5]])})
    assert (pick.indices.tolist(), said.rank) == ([3], 1)


@pytest.mark.parametrize(
    ("element", "shape", "needed"),
    [
        (AtIndex((0,)), (3,), False),
        (AtIndex((0,)), (None,), True),
        (AtIndex((0,)), None, True),
        (AtLabel("a"), (3,), False),
        (AtRank(1), (3,), True),
        (AtRank(1), (1,), True),
        (None, (3,), True),
        (None, (1, 1), False),
        (None, (), False),
        (Weighted(np.ones(3)), (3,), False),
        (Weighted(np.ones(3)), (None,), True),
    ],
)
def test_the_scores_at_x_are_needed_for_ranks_and_unknown_shapes(element, shape, needed):
    assert needs_scores(TargetSpec(None, element), sig(out(shape=shape))) is needed


def test_an_output_of_unknown_shape_is_the_one_seen_at_x():
    at_x = {"y": np.zeros((4, 2))}
    assert found(AtIndex((3, 1)), sig(out(shape=(None, 2))), at_x)[0].indices.tolist() == [7]
    assert found(AtIndex((3, 1)), sig(out(shape=None)), at_x)[0].indices.tolist() == [7]
    with pytest.raises(InvalidRequest):
        found(AtIndex((4, 1)), sig(out(shape=(None, 2))), at_x)


def test_the_default_output_is_the_only_floating_one_or_else_the_only_number():
    label = out("label", (), object)
    assert output_of(TargetSpec(), sig(label, out("p"))).name == "p"
    assert output_of(TargetSpec(), sig(label, out("n", (), np.int64))).name == "n"
    assert output_of(TargetSpec(), sig(out("i", (), np.int64), out("p"))).name == "p"
    for ambiguous in (sig(out("a"), out("b")), sig(out("i", (), np.int64), out("j", (), np.int64))):
        with pytest.raises(InvalidRequest, match="name one of") as got:
            output_of(TargetSpec(), ambiguous)
        assert got.value.field == "output"


def test_an_output_by_name():
    signature = sig(out("a"), out("b"), out("s", (), object))
    assert output_of(TargetSpec("b"), signature).name == "b"
    with pytest.raises(InvalidRequest, match=r"no output 'z'; its outputs are \['a', 'b', 's'\]"):
        output_of(TargetSpec("z"), signature)
    with pytest.raises(ModelUnfit):
        output_of(TargetSpec("s"), signature)


def test_scores_are_float32_unless_some_output_is_finer_or_an_integer():
    kinds = {"h": np.float16, "f": np.float32, "d": np.float64, "i": np.int64}
    signature = sig(*(out(name, (1,), dtype) for name, dtype in kinds.items()))
    got = {names: score_dtype(tuple(Pick(n) for n in names), signature) for names in ("h", "f", "hf", "d", "fd", "i")}
    assert {k: v.itemsize for k, v in got.items()} == {"h": 4, "f": 4, "hf": 4, "d": 8, "fd": 8, "i": 8}


def test_a_model_of_text_alone_is_told_so_and_not_that_it_has_several_outputs():
    with pytest.raises(ModelUnfit, match=r"no output .* holds numbers .* \['y'\]"):
        output_of(TargetSpec(None, AtRank(1)), sig(out(dtype=object)))
