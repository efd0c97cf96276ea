"""What LIME must answer by calculation, and how sure it says it is."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from assayd.explain.notices import doubts
from assayd.methods.lime import Lime
from assayd.types.arrays import Array, Floats
from assayd.types.request import Elements, Member, PerInput
from assayd.types.result import Attribution
from assayd.types.statistics import CategoricalColumn, GaussianColumn, GaussianTable, QuartileColumn, QuartileTable
from tests.lime_cases import answer, fit_gaussian, fit_quartile, row
from tests.reference.cuts import cut

NAN = np.nan


@pytest.mark.parametrize(("features", "samples"), [(4, 1000), (12, 1000), (70, 500)])
def test_a_linear_model_with_hardly_any_penalty_gets_weight_times_difference(features: int, samples: int) -> None:
    rng = np.random.default_rng(features)
    x, b, w = rng.normal(size=(3, features))
    got = answer(Lime(samples, Elements(), alpha=1e-6), row(x, b), lambda rows: (rows @ w)[:, None] + 4)
    want = w * (x - b)
    np.testing.assert_allclose(got.values, want[None], atol=1e-3 * np.abs(want).max())
    np.testing.assert_allclose(got.maps["x"], got.values)
    np.testing.assert_allclose(got.intercept, [4 + w @ b], atol=1e-3)
    np.testing.assert_allclose(got.r_squared, [1.0], atol=1e-6)
    assert got.errors is not None
    assert got.errors.max() < 1e-3 * np.abs(want).max()


def test_without_penalty_collinear_features_share_what_they_explain() -> None:
    masks = np.repeat(np.random.default_rng(0).integers(0, 2, size=(40, 2)), 2, axis=1)
    method = Lime(features=Elements(), alpha=0.0, samples=PerInput({"": masks}))
    got = answer(method, row(np.ones(4)), lambda rows: (rows @ [4.0, 0, -1, -1])[:, None])
    np.testing.assert_allclose(got.values, [[2.0, 2.0, -1.0, -1.0]], atol=1e-9)


def test_a_gaussian_table_gives_a_linear_model_weight_times_spread() -> None:
    rng = np.random.default_rng(3)
    data = rng.normal(size=(300, 5)) * [1, 10, 0.01, 3, 1] + [0, 5, 100, -2, 1]
    w = np.array([1.0, -0.2, 50.0, 0.0, 2.0])
    got = answer(Lime(sampling=fit_gaussian(data), alpha=1e-6), row(data[0]), lambda rows: (rows @ w)[:, None])
    want = w * data.std(axis=0)
    np.testing.assert_allclose(got.values, want[None], atol=1e-3 * np.abs(want).max())


def test_enumerated_masks_at_alpha_1_equal_the_mean_of_sampled_ones() -> None:
    """DESIGN.md: at F = 3 masks of unit weight would shrink the answer to 0.47 of this mean."""
    x = np.array([1.0, 2.0, -1.0])
    model = lambda rows: (rows[:, 0] * rows[:, 1] + 2 * rows[:, 2] + np.tanh(rows[:, 0]))[:, None]  # noqa: E731
    exact = answer(Lime(features=Elements()), row(x), model)
    assert exact.values is not None
    np.testing.assert_array_equal(exact.errors, np.zeros((1, 3)))
    drawn = []
    for seed in range(200):
        masks = np.random.default_rng(seed).integers(0, 2, size=(1000, 3))
        masks[0] = 1
        drawn.append(answer(Lime(features=Elements(), samples=PerInput({"": masks})), row(x), model).values)
    np.testing.assert_allclose(np.mean(drawn, axis=0), exact.values, atol=0.01 * np.abs(exact.values).max())

    all_masks = PerInput({"": np.array(list(itertools.product([0, 1], repeat=3)))})
    unit = answer(Lime(8, Elements(), samples=all_masks), row(x), model)
    assert unit.values is not None
    assert np.abs(unit.values).max() < 0.7 * np.abs(exact.values).max()
    for weighed in (Lime(1000, Elements(), samples=all_masks), Lime(features=Elements(), samples=all_masks)):
        got = answer(weighed, row(x), model)
        np.testing.assert_allclose(got.values, exact.values, rtol=1e-12)
        np.testing.assert_array_equal(got.errors, np.zeros((1, 3)))


def rough(rows: Array) -> Floats:
    """Two scores that no linear surrogate fits."""
    filled = np.where(np.isnan(rows), 2.0, rows)
    return np.stack([np.tanh(filled.sum(axis=1)) + filled[:, 0] * filled[:, 1], (filled**2).sum(axis=1)], axis=1)


def table(columns: int = 6) -> Array:
    data = np.random.default_rng(8).normal(size=(500, columns))
    data[:, 5] = np.random.default_rng(9).integers(0, 3, size=500)
    data[::7, 2] = NAN
    return data


@pytest.mark.parametrize("kind", ["masks", "quartile", "gaussian"])
def test_standard_errors_are_the_spread_over_seeds(kind: str) -> None:
    data = table()
    method = {
        "masks": Lime(300, Elements()),
        "quartile": Lime(800, sampling=fit_quartile(data, (5,))),
        "gaussian": Lime(3000, sampling=fit_gaussian(data, (5,))),
    }[kind]
    x = np.linspace(-1, 2, 12) if kind == "masks" else data[1]
    runs = [answer(method, row(x, stream=seed), rough) for seed in range(100)]
    said = np.mean([run.errors for run in runs], axis=0)
    seen = np.std([run.values for run in runs], axis=0, ddof=1)
    ratio = said / seen
    assert 0.8 < ratio.mean() < 1.25
    assert (ratio > 0.6).all()  # each of some ten estimates of a spread from 100 numbers
    assert (ratio < 1.6).all()


@pytest.mark.parametrize("rows", [None, 10 * 13])
@pytest.mark.parametrize("kind", ["masks", "quartile", "gaussian"])
def test_standard_errors_of_a_cut_fit_are_the_spread_over_seeds(kind: str, rows: int | None) -> None:
    """From the least rows on, here 5 for each of 13 coefficients; and they are wider than those of the whole."""
    data = table(12)
    method = {
        "masks": Lime(1000, Elements()),
        "quartile": Lime(1000, sampling=fit_quartile(data, (5,))),
        "gaussian": Lime(1000, sampling=fit_gaussian(data, (5,))),
    }[kind]
    x = np.linspace(-1, 2, 12) if kind == "masks" else data[1]
    runs = [cut(method, row(x, stream=seed), rough, rows) for seed in range(100)]
    said, seen = said_and_seen(runs)
    assert 0.8 < (said / seen).mean() < 1.25
    assert (said / seen > 0.55).all()
    assert (said / seen < 1.6).all()
    whole = [answer(method, row(x, stream=seed), rough).errors for seed in range(20)]
    assert np.median(said) > 1.25 * np.median(np.mean(whole, axis=0))


@pytest.mark.parametrize("rows", [50, 80, 115, 127])
def test_a_part_of_all_masks_has_errors_that_are_its_spread_about_the_whole(rows: int) -> None:
    """Drawn without repetition, so the errors shrink as fewer masks are missing; and weighed like all of them."""
    x = np.linspace(-1, 2, 7)
    exact = answer(Lime(features=Elements()), row(x), rough)
    np.testing.assert_array_equal(exact.errors, np.zeros((2, 7)))
    runs = [cut(Lime(features=Elements()), row(x, stream=seed), rough, rows) for seed in range(100)]
    said, seen = said_and_seen(runs)
    assert min(run.errors.min() for run in runs if run.errors is not None) > 0
    assert 0.8 < (said / seen).mean() < 1.25
    assert (np.abs(np.mean([run.values for run in runs], axis=0) - exact.values) < 0.8 * seen).all()


def test_bootstrap_errors_of_a_part_of_all_masks_shrink_with_what_is_missing() -> None:
    method = Lime(features=Elements(), surrogate="lasso", alpha=0.02, bootstrap=20)
    x = np.linspace(-1, 2, 7)
    runs = [cut(method, row(x, stream=seed), lambda rows: rough(rows)[:, 1:], 115) for seed in range(40)]
    said, seen = said_and_seen(runs)
    assert 0.6 < said.mean() / seen.mean() < 1.6


def said_and_seen(runs: Sequence[Attribution]) -> tuple[Floats, Floats]:
    """The mean of the standard errors and the deviation of the values, [T, F] each."""
    return np.mean([run.errors for run in runs], axis=0), np.std([run.values for run in runs], axis=0, ddof=1)


@pytest.mark.parametrize("surrogate", ["lasso", "tree"])
def test_bootstrap_errors_are_the_spread_over_seeds(surrogate: str) -> None:
    alpha = 0.02 if surrogate == "lasso" else 5.0
    method = Lime(300, Elements(), surrogate=surrogate, alpha=alpha, bootstrap=20)
    x = np.linspace(-1, 2, 9)
    model = lambda rows: rough(rows)[:, 1:]  # noqa: E731
    runs = [answer(method, row(x, stream=seed), model) for seed in range(40)]
    said = np.mean([run.errors for run in runs])
    seen = np.std([run.values for run in runs], axis=0, ddof=1).mean()
    assert 0.6 < said / seen < 1.6


def test_lasso_on_an_orthogonal_design_shrinks_by_a_soft_threshold() -> None:
    """All masks of a wide kernel: variances 1/4, so coefficients lose 4 alpha."""
    w = np.array([3.0, -2.0, 0.1, 0.0])
    model = lambda rows: (rows @ w)[:, None]  # noqa: E731
    method = Lime(features=Elements(), surrogate="lasso", alpha=0.05, kernel_width=1e6)
    got = answer(method, row(np.ones(4)), model)
    np.testing.assert_allclose(got.values, [[2.8, -1.8, 0.0, 0.0]], atol=1e-9)
    np.testing.assert_array_equal(got.errors, np.zeros((1, 4)))
    none = answer(Lime(features=Elements(), surrogate="lasso", alpha=0.0), row(np.ones(4)), model)
    np.testing.assert_allclose(none.values, [w], atol=1e-9)


def test_a_tree_follows_x_and_adds_up_to_its_answer_there() -> None:
    """x0 and x1, else x2: without a penalty the tree is the model, and at x its answer the model's."""
    model = lambda rows: np.where(rows[:, 0] > 0, rows[:, 1] * 5, rows[:, 2])[:, None]  # noqa: E731
    got = answer(Lime(features=Elements(), surrogate="tree", alpha=0.0), row(np.ones(4)), model)
    assert got.values is not None
    assert got.intercept is not None
    np.testing.assert_allclose(got.intercept + got.values.sum(axis=1), [5.0], atol=1e-12)
    np.testing.assert_allclose(got.r_squared, [1.0], atol=1e-12)
    assert got.values[0, 0] > 0.5
    assert got.values[0, 1] > 0.5
    assert got.values[0, 3] == 0.0


def test_a_tree_of_one_split_by_hand() -> None:
    """Mean 1.5 where half the masks keep feature 0: x lies above it by 1.5. A heavy penalty leaves the mean alone."""
    model = lambda rows: 3.0 * rows[:, :1]  # noqa: E731
    cut = {"features": Elements(), "surrogate": "tree", "kernel_width": 1e6}
    got = answer(Lime(**cut), row(np.ones(3)), model)
    np.testing.assert_allclose(got.values, [[1.5, 0.0, 0.0]], atol=1e-12)
    np.testing.assert_allclose(got.intercept, [1.5], atol=1e-12)
    lowers = answer(Lime(**cut), row(np.ones(3)), lambda rows: -model(rows))
    np.testing.assert_allclose(lowers.values, [[-1.5, 0.0, 0.0]], atol=1e-12)
    pruned = answer(Lime(**cut, alpha=1e4), row(np.ones(3)), model)
    np.testing.assert_array_equal(pruned.values, np.zeros((1, 3)))
    np.testing.assert_allclose(pruned.r_squared, [0.0], atol=1e-12)


def test_a_constant_model_gets_zeros_that_are_zeros() -> None:
    for surrogate in ("ridge", "lasso", "tree"):
        model = lambda rows: np.full((len(rows), 1), 0.1)  # noqa: E731
        got = answer(Lime(50, Elements(), surrogate=surrogate), row(np.ones(9)), model)
        np.testing.assert_array_equal(got.values, np.zeros((1, 9)))
        np.testing.assert_array_equal(got.intercept, [0.1])
        np.testing.assert_array_equal(got.r_squared, [np.nan])
        if surrogate == "ridge":
            np.testing.assert_array_equal(got.errors, np.zeros((1, 9)))


def steps(rows: Array) -> Floats:
    """Flat but for a step at 0 of each column, as a forest is, and a target that is constant."""
    return np.stack([(rows > 0).sum(axis=1), np.full(len(rows), 0.1)], axis=1)


ONE_BIN = QuartileTable(tuple(QuartileColumn("", j, (), (1.0,), (7.0,), (0.0,), (7.0,), (7.0,)) for j in range(3)))
ONE_WIDE_BIN = QuartileTable(
    tuple(QuartileColumn("", j, (), (1.0,), (0.0,), (1.0,), (-3.0,), (3.0,)) for j in range(3))
)
NORMALS = GaussianTable(tuple(GaussianColumn("", j, 0.0, 1.0) for j in range(3)))
DEGENERATE = {
    "a kernel in which x alone weighs": (Lime(200, Elements(), kernel_width=1e-3), np.ones(9)),
    "the same of all masks": (Lime(features=Elements(), kernel_width=1e-3), np.ones(5)),
    "equal given masks": (Lime(features=Elements(), samples=PerInput({"": np.ones((30, 9))})), np.ones(9)),
    "equal given rows": (Lime(sampling=NORMALS, samples=PerInput({"": np.full((30, 3), 0.5)})), np.ones(3)),
    "columns that are constant": (Lime(sampling=ONE_BIN), np.full(3, 7.0)),
    "columns of one bin, whose values differ": (Lime(sampling=ONE_WIDE_BIN), np.ones(3)),
    "x far outside of a table": (Lime(sampling=NORMALS), np.full(3, 25.0)),
}


@pytest.mark.parametrize("surrogate", ["ridge", "lasso", "tree"])
@pytest.mark.parametrize("case", DEGENERATE)
def test_where_nothing_varies_nothing_is_known(case: str, surrogate: str) -> None:
    """It isn't a perfect fit of 0 +- 0: no row speaks of any coefficient."""
    method, x = DEGENERATE[case]
    bootstrap = 0 if surrogate == "ridge" else 3
    got = answer(dataclasses.replace(method, surrogate=surrogate, bootstrap=bootstrap), row(x), steps)
    np.testing.assert_allclose(got.values, np.zeros((2, len(x))), atol=1e-12)
    np.testing.assert_array_equal(got.r_squared, [np.nan, np.nan])
    np.testing.assert_array_equal(got.errors, np.full((2, len(x)), np.nan))
    np.testing.assert_array_equal(got.map_errors["x"], np.full((2, len(x)), np.nan))
    assert got.effective_rows == 0.0
    assert any("nothing to fit" in notice.message for notice in doubts(got, differential=False, clipped=False))


def test_where_one_target_varies_its_fit_alone_is_known() -> None:
    got = answer(Lime(200, Elements()), row(np.ones(9)), steps)
    assert got.r_squared is not None
    assert got.r_squared[0] > 0.9
    assert np.isnan(got.r_squared[1])
    assert got.errors is not None
    assert got.errors[0].min() > 0
    np.testing.assert_array_equal(got.errors[1], np.zeros(9))


def test_rows_that_all_score_the_same_are_a_constant_model_as_far_as_they_reach() -> None:
    """Those that score otherwise lie where nothing weighs."""
    near = 5 + 0.3 * np.random.default_rng(0).normal(size=(40, 3))
    samples = PerInput({"": np.concatenate([near, np.full((5, 3), -30.0)])})
    for surrogate in ("ridge", "lasso", "tree"):
        got = answer(Lime(sampling=NORMALS, surrogate=surrogate, samples=samples), row(np.full(3, 5.0)), steps)
        assert got.effective_rows is not None
        assert 30 < got.effective_rows < 40
        np.testing.assert_allclose(got.values, np.zeros((2, 3)), atol=1e-12)
        np.testing.assert_array_equal(got.r_squared, [np.nan, np.nan])
        if surrogate == "ridge":
            np.testing.assert_allclose(got.errors, np.zeros((2, 3)), atol=1e-12)
        [notice] = doubts(got, differential=False, clipped=False)
        assert notice.message.startswith("every row that weighs anything scores the same: there is nothing to fit")


def test_without_bootstrap_errors_stay_unknown_where_nothing_varies() -> None:
    method, x = DEGENERATE["equal given rows"]
    got = answer(dataclasses.replace(method, surrogate="lasso"), row(x), steps)
    assert (got.errors, got.errors_unknown) == (None, True)
    np.testing.assert_array_equal(got.r_squared, [np.nan, np.nan])


def test_rounds_end_where_nothing_is_known() -> None:
    method = Lime(400, Elements(), kernel_width=1e-3, until_error=0.1)
    got = answer(method, row(np.ones(9)), steps)
    assert got.drawn is not None
    assert len(got.drawn().samples[""]) == 400


def test_effective_rows_are_those_of_equal_weight() -> None:
    """All but alike in a wide kernel; few where x lies outside of its table; none are told of all masks."""
    wide = answer(Lime(300, Elements(), kernel_width=1e3), row(np.ones(12)), rough)
    np.testing.assert_allclose(wide.effective_rows, 300, rtol=1e-5)
    assert answer(Lime(features=Elements()), row(np.ones(4)), rough).effective_rows is None
    part = cut(Lime(features=Elements(), kernel_width=1e3), row(np.ones(7)), rough, 80)
    np.testing.assert_allclose(part.effective_rows, 80, rtol=1e-5)

    told = []
    for sigmas in (0.0, 3.0, 6.0):
        got = answer(Lime(sampling=NORMALS), row(np.full(3, sigmas)), rough)
        plan = next(Lime(sampling=NORMALS).explain(row(np.full(3, sigmas))))
        z = plan.rows(0, plan.size)[0].values["x"]
        weights = np.exp(-((z - sigmas) ** 2).sum(axis=1) / (2 * 0.75**2 * 3))
        np.testing.assert_allclose(got.effective_rows, weights.sum() ** 2 / (weights**2).sum(), rtol=1e-9)
        notices = doubts(got, differential=False, clipped=False)
        told.append(any("all rows count as about" in notice.message for notice in notices))
    assert told == [False, False, True]


def test_a_one_hot_group_is_one_column() -> None:
    """A model of the level alone: the group gets the level's score less the others' mean, nothing else does."""
    group = CategoricalColumn(tuple(Member("", j) for j in (1, 2, 3)), np.eye(3), (0.5, 0.25, 0.25), "colour")
    columns = GaussianTable((GaussianColumn("", 0, 0.0, 1.0),), (group,))
    method = Lime(20_000, sampling=columns, alpha=1e-6)
    got = answer(method, row(np.array([0.3, 0, 1, 0])), lambda rows: rows @ [[0.0], [10.0], [40.0], [20.0]])
    assert got.segments is not None
    assert got.segments.names == ("x[0]", "colour")
    np.testing.assert_array_equal(got.segments.ids["x"], [0, 1, 1, 1])
    want = 40 - (10 * 0.5 + 20 * 0.25) / 0.75
    np.testing.assert_allclose(got.values, [[0.0, want]], atol=0.2)
    np.testing.assert_array_equal(got.maps["x"][0], got.values[0, [0, 1, 1, 1]])


def test_quartile_drawing_restores_the_training_distribution() -> None:
    data = table()
    fitted = fit_quartile(data, (5,))
    plan = next(Lime(40_000, sampling=fitted).explain(row(data[1])))
    [block] = plan.rows(1, plan.size)
    drawn = block.values["x"]
    for j, column in enumerate(fitted.columns):
        missing = np.isnan(drawn[:, j])
        np.testing.assert_allclose(missing.mean(), column.missing_rate, atol=0.01)
        there = drawn[~missing, j]
        bins = np.searchsorted(column.boundaries, there)
        np.testing.assert_allclose(np.bincount(bins) / len(there), column.frequencies, atol=0.01)
        for k, (low, high) in enumerate(zip(column.mins, column.maxs, strict=True)):
            assert there[bins == k].min() >= low
            assert there[bins == k].max() <= high
            spread = column.stds[k]
            assert column.means[k] - spread < there[bins == k].mean() < column.means[k] + spread
    shares = np.bincount(drawn[:, 5].astype(int)) / len(drawn)
    np.testing.assert_allclose(shares, fitted.categorical[0].frequencies, atol=0.01)
    others = np.corrcoef(np.nan_to_num(drawn), rowvar=False) - np.eye(6)
    assert np.abs(others).max() < 0.02  # columns are drawn independently


def test_gaussian_drawing_restores_mean_spread_and_missing_rate() -> None:
    data = table()
    fitted = fit_gaussian(data, (5,))
    plan = next(Lime(40_000, sampling=fitted).explain(row(data[1])))
    [block] = plan.rows(1, plan.size)
    for j, column in enumerate(fitted.columns):
        drawn = block.values["x"][:, j]
        np.testing.assert_allclose(np.isnan(drawn).mean(), column.missing_rate, atol=0.01)
        np.testing.assert_allclose(np.nanmean(drawn), column.mean, atol=0.02)
        np.testing.assert_allclose(np.nanstd(drawn), column.std, atol=0.02)
        tail = np.mean(np.abs(drawn[~np.isnan(drawn)] - column.mean) > 2 * column.std)
        np.testing.assert_allclose(tail, 0.0455, atol=0.005)


def test_a_truncated_normal_has_its_known_mean() -> None:
    """Standard normal cut to 0..1: mean (pdf(0) - pdf(1)) / (cdf(1) - cdf(0)) = 0.4599."""
    data = np.random.default_rng(0).normal(size=(10, 1))
    [column] = fit_quartile(data).columns
    one = QuartileTable((type(column)("", 0, (), (1.0,), (0.0,), (1.0,), (0.0,), (1.0,)),))
    plan = next(Lime(40_000, sampling=one).explain(row(np.array([0.5]))))
    [block] = plan.rows(1, plan.size)
    np.testing.assert_allclose(block.values["x"].mean(), 0.4599, atol=0.005)
    np.testing.assert_allclose(block.values["x"].std(), np.sqrt(0.0796), atol=0.005)
