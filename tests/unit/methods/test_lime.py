"""Plans, rounds, refusals and cost of LIME; its numbers stand in tests/reference and tests/property."""

from __future__ import annotations

import dataclasses
import time
import tracemalloc
from collections.abc import Mapping

import numpy as np
import pytest

from assayd.errors import InvalidRequest, InvalidTensor
from assayd.methods.lime import Lime, kept
from assayd.types.arrays import Array
from assayd.types.request import Constant, Elements, PerInput
from assayd.types.result import Scores
from assayd.types.rows import MaskRows, Plan
from assayd.types.subject import Segments, Subject
from tests.drive import drive
from tests.lime_cases import answer, fit_gaussian, fit_quartile, row
from tests.reference.cuts import cut

DATA = np.random.default_rng(0).normal(size=(50, 9))
QUARTILE, GAUSSIAN = fit_quartile(DATA), fit_gaussian(DATA)


def given(tensor: object, name: str = "") -> PerInput[Array]:
    return PerInput({name: np.asarray(tensor)})


def plan_of(method: Lime, subject: Subject) -> Plan:
    return next(method.explain(subject))


def masks_of(plan: Plan) -> MaskRows:
    [block] = plan.rows(0, plan.size)
    assert isinstance(block, MaskRows)
    return block


def test_all_masks_once_where_there_are_no_more_of_them_than_samples() -> None:
    block = masks_of(plan_of(Lime(8, Elements()), row(np.ones(3))))
    assert block.keep[0].all()
    assert {tuple(mask) for mask in block.keep.tolist()} == {(a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1)}
    assert block.keep.dtype == np.bool_
    assert block.baseline.dtype == np.int32
    drawn = masks_of(plan_of(Lime(7, Elements()), row(np.ones(3))))
    assert drawn.keep[0].all()
    assert len(drawn) <= 7


def test_a_mask_takes_one_baseline_after_the_other() -> None:
    plan = plan_of(Lime(40, Elements()), row(np.ones(7), *np.zeros((3, 7))))
    block = masks_of(plan)
    np.testing.assert_array_equal(block.baseline, np.arange(plan.size) % 3)
    np.testing.assert_array_equal(block.keep[::3], block.keep[2::3])
    [part] = plan.rows(4, 8)
    assert isinstance(part, MaskRows)
    np.testing.assert_array_equal(part.keep, block.keep[4:8])
    np.testing.assert_array_equal(part.baseline, block.baseline[4:8])


@pytest.mark.parametrize("count", [1, 12, 63, 64, 65, 130])
def test_a_coin_is_tossed_for_every_feature(count: int) -> None:
    subject = row(np.ones(count), stream=5)
    block = masks_of(plan_of(Lime(5000, Elements()) if count > 12 else Lime(4000, Elements()), subject))
    if count > 12:
        assert block.keep[0].all()
        np.testing.assert_allclose(block.keep[1:].mean(axis=0), 0.5, atol=0.05)
        apart = np.corrcoef(block.keep[1:].astype(float), rowvar=False) - np.eye(count)
        assert np.abs(apart).max() < 0.09
    else:
        assert len(block) <= 2**count


def test_defaults_are_1000_masks_and_5000_rows_of_a_table() -> None:
    assert plan_of(Lime(features=Elements()), row(np.ones(70))).size == 1000
    assert plan_of(Lime(sampling=QUARTILE), row(DATA[0])).size == 5000


def test_samples_are_given_in_place_of_drawn_ones() -> None:
    plan = plan_of(Lime(features=Elements(), samples=given([[0, 1], [1, 1], [0, 1]])), row(np.ones(2)))
    np.testing.assert_array_equal(masks_of(plan).keep, [[0, 1], [1, 1]])
    rows = np.arange(90.0).reshape(10, 9)
    plan = plan_of(Lime(sampling=QUARTILE, samples=given(rows, "x")), row(DATA[0]))
    np.testing.assert_array_equal(plan.rows(1, 10)[0].values["x"], rows[1:])


@pytest.mark.parametrize("table", [False, True])
def test_rounds_go_on_until_the_error_is_small_enough(table: bool) -> None:
    def model(rows: Array) -> Array:
        return np.stack([np.tanh(rows.sum(axis=1)), rows[:, 0] ** 2], axis=1)

    cut = {"sampling": GAUSSIAN} if table else {"features": Elements()}
    x = DATA[0] if table else np.linspace(-1, 1, 12)
    sizes = {}
    goals = (1.0, 0.1, 1e-9) if table else (0.3, 0.02, 1e-9)
    for goal in goals:
        explanation = Lime(3000, until_error=goal, **cut).explain(row(x))
        plan = next(explanation)
        sizes[goal] = []
        try:
            while True:
                sizes[goal].append(plan.size)
                tensors = plan.rows(0, plan.size)[0]
                realised = np.where(tensors.keep, x, 0) if isinstance(tensors, MaskRows) else tensors.values["x"]
                plan = explanation.send(Scores(model(realised), model(x[None])[0], model(np.zeros((1, len(x))))))
        except StopIteration as end:
            errors = end.value.errors
            assert (errors.max() < goal) == (goal > 1e-6)
    assert len(sizes[goals[0]]) < len(sizes[goals[1]]) < len(sizes[goals[2]])
    if table:
        assert sizes[1e-9] == [100, 100, 200, 400, 800, 1400]
    else:
        assert sizes[1e-9][0] > 100  # ten a feature
        assert sum(sizes[1e-9]) < 3000  # of 4096 masks some were drawn twice
    whole = answer(Lime(3000, **cut), row(x), model)
    np.testing.assert_array_equal(answer(Lime(3000, until_error=1e-9, **cut), row(x), model).values, whole.values)


def test_a_round_that_finds_nothing_new_asks_for_nothing() -> None:
    """Masks drawn twice are known: a plan holds the new ones alone and is never empty."""
    explanation = Lime(8000, Elements(), until_error=1e-9).explain(row(np.ones(13)))
    plan: Plan | None = next(explanation)
    asked = 0
    while plan is not None:
        assert plan.size > 0
        asked += plan.size
        scores = Scores(masks_of(plan).keep[:, :1] * 1.0, np.ones(1), np.zeros((1, 1)))
        try:
            plan = explanation.send(scores)
        except StopIteration:
            plan = None
    assert 4096 < asked < 8000


@pytest.mark.parametrize(
    ("method", "baselines", "least"),
    [
        (Lime(1000, Elements()), 1, 50),
        (Lime(1000, Elements()), 3, 150),
        (Lime(1000, Elements(), until_error=0.1), 3, 150),
        (Lime(1000, sampling=QUARTILE), 1, 50),
        (Lime(30, Elements()), 2, None),
        (Lime(features=Elements(), samples=given(np.eye(10, 9))), 2, None),
    ],
)
def test_a_plan_says_how_few_rows_make_an_answer(method: Lime, baselines: int, least: int | None) -> None:
    plan = plan_of(method, row(DATA[0], *np.zeros((baselines, 9))))
    assert plan.least == (plan.size if least is None else least)


def test_with_many_features_an_answer_takes_five_rows_for_each_coefficient() -> None:
    assert plan_of(Lime(1000, Elements()), row(np.ones(70), *np.zeros((2, 70)))).least == 2 * 5 * 71
    assert plan_of(Lime(300, Elements()), row(np.ones(70))).least == 300
    wide = fit_quartile(np.random.default_rng(0).normal(size=(50, 20)))
    assert plan_of(Lime(sampling=wide), row(np.ones(20))).least == 5 * 21


def test_an_answer_takes_a_sample_that_weighs_something() -> None:
    """Else the surrogate of a cut plan would have nothing to be fitted to, when it's too late to refuse."""
    samples = np.concatenate([np.full((60, 9), 1e3), np.tile(DATA[0], (5, 1))])
    method = Lime(sampling=GAUSSIAN, kernel_width=0.1, samples=given(samples))
    assert plan_of(method, row(DATA[0])).least == 61
    assert cut(method, row(DATA[0]), lambda rows: rows[:, :1]).values is not None


def test_later_rounds_need_no_row() -> None:
    explanation = Lime(1000, Elements(), until_error=1e-9).explain(row(np.ones(12)))
    plan = next(explanation)
    for least in (65, 0, 0):
        assert plan.least == least
        plan = explanation.send(Scores(masks_of(plan).keep[:, :1] * 1.0, np.ones(1), np.zeros((1, 1))))


def test_features_may_span_inputs_and_leave_elements_alone() -> None:
    subject = Subject(
        {"a": np.array([1.0, 2.0]), "b": np.array([[3.0, 4.0]])},
        {"a": np.zeros((1, 2)), "b": np.zeros((1, 1, 2))},
        Segments({"a": np.array([1, -1], np.int32), "b": np.array([[1]], np.int32)}, 2),
    )

    def f(batch: Mapping[str, Array]) -> Array:
        return (batch["a"].sum(axis=1) + batch["b"].sum(axis=(1, 2)))[:, None]

    got = drive(Lime(features=Elements(), alpha=1e-9), subject, f)
    np.testing.assert_allclose(got.values, [[0.0, 8.0]], atol=1e-6)
    np.testing.assert_allclose(got.maps["a"], [[8.0, 0.0]], atol=1e-6)
    np.testing.assert_allclose(got.maps["b"], [[[8.0]]], atol=1e-6)
    np.testing.assert_array_equal(got.map_errors["b"], [[[0.0]]])


@pytest.mark.parametrize(
    ("method", "field", "says"),
    [
        (Lime(), "features", "say by features"),
        (Lime(0, Elements()), "num_samples", "1 to 10000000 samples, not 0"),
        (Lime(-5, Elements()), "num_samples", "not -5"),
        (Lime(10_000_001, Elements()), "num_samples", "not 10000001"),
        (Lime(9, Elements()), "num_samples", "9 features need 10 samples at least, not 9"),
        (Lime(9, sampling=QUARTILE), "num_samples", "9 features need 10"),
        (Lime(9_000_000, sampling=QUARTILE), "num_samples", "67108864 at most, not 9000000 x 9"),
        (Lime(features=Elements(), kernel_width=0.0), "kernel_width", "above 0, not 0.0"),
        (Lime(features=Elements(), kernel_width=-1.0), "kernel_width", "above 0, not -1.0"),
        (Lime(features=Elements(), kernel_width=np.nan), "kernel_width", "above 0, not nan"),
        (Lime(features=Elements(), kernel_width=np.inf), "kernel_width", "above 0, not inf"),
        (Lime(features=Elements(), surrogate="forest"), "surrogate", "one of ridge, lasso, tree, not 'forest'"),
        (Lime(features=Elements(), alpha=-1.0), "alpha", "at least 0, not -1"),
        (Lime(features=Elements(), alpha=np.nan), "alpha", "at least 0, not nan"),
        (Lime(features=Elements(), alpha=np.inf), "alpha", "at least 0, not inf"),
        (Lime(features=Elements(), until_error=0.0), "until_error", "above 0, not 0.0"),
        (Lime(features=Elements(), until_error=-1.0), "until_error", "above 0, not -1.0"),
        (Lime(features=Elements(), until_error=np.nan), "until_error", "above 0, not nan"),
        (Lime(features=Elements(), until_error=0.1, surrogate="tree"), "until_error", "by bootstrap alone"),
        (Lime(features=Elements(), until_error=0.1, samples=given(np.ones((3, 9)))), "until_error", "nothing is drawn"),
        (Lime(features=Elements(), bootstrap=10), "bootstrap", "ridge has errors of its own"),
        (Lime(features=Elements(), surrogate="lasso", bootstrap=1), "bootstrap", "2 to 1000 replicates"),
        (Lime(features=Elements(), surrogate="lasso", bootstrap=-1), "bootstrap", "2 to 1000 replicates"),
        (Lime(features=Elements(), surrogate="lasso", bootstrap=1001), "bootstrap", "2 to 1000 replicates"),
        (Lime(features=Elements(), sampling=QUARTILE), "features", "features are for masks"),
        (Lime(baseline=PerInput({"": Constant()}), sampling=QUARTILE), "baseline", "baseline are for masks"),
        (Lime(features=Elements(), samples=given(np.ones((3, 9)), "x")), "samples", "under no input's name"),
        (Lime(features=Elements(), samples=given(np.full((3, 9), 0.5))), "samples", "hold 0 and 1 alone"),
        (Lime(features=Elements(), samples=given(np.full((3, 9), np.nan))), "samples", "hold 0 and 1 alone"),
        (Lime(features=Elements(), samples=given(np.full((3, 9), -1))), "samples", "hold 0 and 1 alone"),
        (Lime(sampling=GAUSSIAN, kernel_width=1e-200, samples=given(np.ones((10, 9)))), "kernel_width", "all samples"),
        (Lime(sampling=QUARTILE, samples=given(np.ones((3, 9)), "y")), "samples", "samples for input 'y'"),
        (Lime(sampling=GAUSSIAN, samples=given(np.full((10, 9), np.inf))), "sampling.gaussian", "finite"),
        (Lime(features=Elements(), samples=given(np.eye(9))), "samples", "9 features need 10 samples at least, not 9"),
        (Lime(1000, Elements(), samples=given(np.eye(2, 9))), "samples", "9 features need 10 samples at least, not 2"),
        (Lime(sampling=QUARTILE, samples=given(np.eye(9))), "samples", "9 features need 10 samples at least, not 9"),
    ],
)
def test_refused_before_the_first_plan(method: Lime, field: str, says: str) -> None:
    subject = row(DATA[0])
    if not method.features:
        subject = Subject(subject.inputs, subject.baselines)
    with pytest.raises(InvalidRequest, match=says) as caught:
        plan_of(method, subject)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("samples", "says"),
    [
        (np.ones((0, 9)), r"shape \[0, 9\], not \[n, 9\]"),
        (np.ones((3, 8)), r"shape \[3, 8\], not \[n, 9\]"),
        (np.ones(9), r"shape \[9\], not \[n, 9\]"),
        (np.full((3, 9), "a", object), "bool or numbers"),
    ],
)
def test_masks_that_are_none(samples: Array, says: str) -> None:
    with pytest.raises(InvalidTensor, match=says) as caught:
        plan_of(Lime(features=Elements(), samples=given(samples)), row(DATA[0]))
    assert caught.value.field == "samples"


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int64, np.float32])
def test_masks_of_any_dtype(dtype: type) -> None:
    masks = np.random.default_rng(0).integers(0, 2, size=(20, 9)).astype(dtype)
    plan = plan_of(Lime(features=Elements(), samples=given(masks)), row(DATA[0]))
    np.testing.assert_array_equal(masks_of(plan).keep, masks)


def test_a_few_given_masks_are_enough() -> None:
    """A mask more than features, of which some may be equal."""
    same = [[0, 0], [1, 1], [1, 1]]
    got = answer(Lime(features=Elements(), samples=given(same)), row(np.ones(2)), lambda r: r[:, :1])
    assert got.values is not None
    np.testing.assert_allclose(got.values[0, 0], got.values[0, 1])


def pair(rows: Array) -> Array:
    return np.stack([np.tanh(rows.sum(axis=1)), rows[:, 0] * rows[:, 1]], axis=1)


@pytest.mark.parametrize("count", [1, 2, 6, 9])
@pytest.mark.parametrize("surrogate", ["ridge", "lasso", "tree"])
def test_the_masks_of_an_enumeration_given_again_are_that_enumeration(count: int, surrogate: str) -> None:
    method, subject = Lime(features=Elements(), surrogate=surrogate, alpha=0.01), row(np.linspace(-1, 2, count + 1))
    subject = row(subject.inputs["x"][:count], stream=3)
    model = np.tanh if count == 1 else pair
    first = answer(method, subject, model)
    assert first.drawn is not None
    drawn = first.drawn().samples[""]
    again = answer(dataclasses.replace(method, samples=given(drawn)), subject, model)
    for name in ("values", "errors", "intercept", "r_squared"):
        np.testing.assert_array_equal(getattr(again, name), getattr(first, name), err_msg=name)
    assert again.settled == first.settled
    turned = answer(dataclasses.replace(method, samples=given(drawn[::-1])), subject, model)
    np.testing.assert_array_equal(turned.errors, np.zeros_like(first.values))
    if surrogate != "tree":  # which may tell equally good splits apart by rounding
        np.testing.assert_allclose(turned.values, first.values, rtol=1e-12, atol=1e-14)


def test_an_enumeration_given_again_stands_for_the_number_given_with_it() -> None:
    subject = row(np.linspace(-1, 2, 10))
    first = answer(Lime(3000, Elements()), subject, pair)
    assert first.drawn is not None
    drawn = given(first.drawn().samples[""])
    again = answer(Lime(3000, Elements(), samples=drawn), subject, pair)
    np.testing.assert_array_equal(again.values, first.values)
    alone = answer(Lime(features=Elements(), samples=drawn), subject, pair)
    assert alone.settled["num_samples"] == 1024  # more than the default of 1000
    np.testing.assert_array_equal(alone.values, answer(Lime(1024, Elements()), subject, pair).values)


def test_masks_that_are_not_all_or_not_once_are_drawn_ones() -> None:
    every = np.array([[a, b, c] for a in (1, 0) for b in (1, 0) for c in (1, 0)])
    for masks in (every[:7], np.concatenate([every[:7], every[:1]]), np.concatenate([every, every])):
        got = answer(Lime(features=Elements(), samples=given(masks)), row(np.ones(3)), pair)
        assert got.errors is not None
        assert got.errors.min() > 0
        assert got.settled["num_samples"] == len(masks)


@pytest.mark.parametrize(
    ("method", "settled"),
    [
        (Lime(features=Elements()), {"num_samples": 1000, "kernel_width": 0.25}),
        (Lime(500, Elements()), {"kernel_width": 0.25}),
        (Lime(features=Elements(), kernel_width=1.0), {"num_samples": 1000}),
        (Lime(500, Elements(), kernel_width=1.0), {}),
        (Lime(features=Elements(), until_error=100.0), {"num_samples": 1000, "kernel_width": 0.25}),
        (Lime(sampling=QUARTILE), {"num_samples": 5000, "kernel_width": 2.25}),
        (Lime(sampling=GAUSSIAN, samples=given(DATA)), {"num_samples": 50, "kernel_width": 2.25}),
        (Lime(features=Elements(), samples=given(np.eye(12, 9))), {"num_samples": 12, "kernel_width": 0.25}),
    ],
)
def test_what_the_caller_leaves_open_is_told(method: Lime, settled: dict[str, float]) -> None:
    got = answer(method, row(DATA[0]), pair)
    assert got.settled == settled
    told = dataclasses.replace(method, **settled)
    np.testing.assert_array_equal(answer(told, row(DATA[0]), pair).values, got.values)


def test_a_budget_that_ends_leaves_what_was_settled() -> None:
    got = cut(Lime(features=Elements()), row(DATA[0]), pair)
    assert got.settled == {"num_samples": 1000, "kernel_width": 0.25}
    assert cut(Lime(features=Elements(), samples=given(np.eye(90, 9))), row(DATA[0]), pair).settled["num_samples"] == 90


@pytest.mark.parametrize("surrogate", ["lasso", "tree"])
def test_errors_that_nobody_estimated_are_unknown_and_not_0(surrogate: str) -> None:
    got = answer(Lime(200, Elements(), surrogate=surrogate), row(DATA[0]), pair)
    assert (got.errors is None, got.errors_unknown) == (True, True)
    for known in (Lime(200, Elements(), surrogate=surrogate, bootstrap=2), Lime(600, Elements(), surrogate=surrogate)):
        got = answer(known, row(DATA[0]), pair)
        assert (got.errors is None, got.errors_unknown) == (False, False)
    assert not answer(Lime(200, Elements()), row(DATA[0]), pair).errors_unknown


def test_more_features_than_fit_into_a_block_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def model(rows: Array) -> Array:
        return np.tanh(rows @ np.arange(9.0) / 9)[:, None]

    for method in (Lime(100, Elements()), Lime(100, Elements(), surrogate="lasso", alpha=0.01)):
        whole = answer(method, row(DATA[0]), model)
        monkeypatch.setattr("assayd.methods.lime.sample.BLOCK_CELLS", 30)
        kept.forget()
        blocks = answer(method, row(DATA[0]), model)
        monkeypatch.undo()
        np.testing.assert_allclose(blocks.values, whole.values, rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(blocks.r_squared, whole.r_squared, rtol=1e-10)
        if whole.errors is not None:
            np.testing.assert_allclose(blocks.errors, whole.errors, rtol=1e-10)


def test_many_masks_are_kept_as_bits() -> None:
    subject = row(np.ones(600))
    tracemalloc.start()
    plan = plan_of(Lime(100_000, Elements()), subject)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert plan.size == 100_000
    assert held < 15_000_000  # 60 million bits are 7.5 MB, and their weights
    assert peak < 100_000_000


def test_5000_rows_of_30_columns_cost_milliseconds() -> None:
    method = Lime(sampling=fit_quartile(np.random.default_rng(1).normal(size=(200, 30))))
    x = np.zeros(30, np.float32)
    scores = Scores(np.random.default_rng(0).normal(size=(5000, 1)), np.zeros(1), np.zeros((1, 1)))
    took = []
    for _ in range(5):
        begun = time.perf_counter()
        explanation = method.explain(row(x))
        plan = next(explanation)
        plan.rows(0, plan.size)
        with pytest.raises(StopIteration):
            explanation.send(scores)
        took.append(time.perf_counter() - begun)
    assert min(took) < 0.08  # 7 ms on two idle cores, where the package takes 24
