"""What holds for LIME on any features, masks and tables."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from assayd.methods.lime import Lime, kept, masks
from assayd.methods.lime.sample import unmerged
from assayd.methods.rows import Rows
from assayd.types.arrays import Array
from assayd.types.request import Elements, PerInput
from assayd.types.result import Attribution
from assayd.types.statistics import GaussianTable, QuartileTable
from assayd.types.subject import Segments, Subject
from tests.drive import Score, drive
from tests.lime_cases import answer, fit_gaussian, fit_quartile, row
from tests.property.strategies import curved, quick, seeds, subjects, weights_for
from tests.slow_realise import slow_realise


def methods_with(surrogate: str, *widths: float | None) -> st.SearchStrategy[Lime]:
    return st.builds(
        Lime,
        num_samples=st.integers(7, 40),
        features=st.just(Elements()),
        kernel_width=st.sampled_from(widths),
        surrogate=st.just(surrogate),
        alpha=st.sampled_from([0.01, 1.0]),
    )


# No lasso in a narrow kernel: the few masks that weigh anything there leave some direction all but free, along which
# coordinate descent goes on for 100,000 steps and scikit-learn warns that it didn't arrive.
methods = st.one_of(methods_with("ridge", None, 0.1, 1.0), methods_with("lasso", None, 1.0))


def segments(subject: Subject) -> Segments:
    assert subject.segments is not None
    return subject.segments


def on(subject: Subject, stream: int) -> Subject:
    return dataclasses.replace(subject, stream=stream)


def same(a: Attribution, b: Attribution, *, exactly: bool = False) -> None:
    for name in ("values", "errors", "intercept", "r_squared"):
        left, right = getattr(a, name), getattr(b, name)
        if exactly or left is None:
            np.testing.assert_array_equal(left, right)
        else:
            np.testing.assert_allclose(left, right, rtol=1e-7, atol=1e-9)


def given_masks(count: int, seed: int, size: int = 12) -> Array:
    made = np.random.default_rng(seed).integers(0, 2, size=(size, count))
    made[0] = 1
    return made


@quick
@given(methods, subjects(), seeds)
def test_the_same_stream_gives_the_same_answer_and_another_stream_another(
    method: Lime, subject: Subject, seed: int
) -> None:
    f = curved(weights_for(subject, seed))
    first = drive(method, on(subject, seed), f)
    same(first, drive(method, on(subject, seed), f, chunk=3), exactly=True)
    plans = [next(Lime(50, Elements()).explain(on(row(np.ones(9)), stream))) for stream in (seed, seed + 1)]
    one, other = (plan.rows(0, min(p.size for p in plans))[0].keep for plan in plans)
    assert not np.array_equal(one, other)


@quick
@given(methods, subjects(), seeds)
def test_rows_don_t_depend_on_the_model_or_the_number_of_targets(method: Lime, subject: Subject, seed: int) -> None:
    """All targets together are each alone."""
    f = curved(weights_for(subject, seed))
    both = drive(method, on(subject, seed), f)
    for target in (0, 1):
        alone = drive(method, on(subject, seed), lambda batch, t=target: f(batch)[:, [t]])
        for name in ("values", "errors", "intercept", "r_squared"):
            if getattr(both, name) is not None:
                np.testing.assert_allclose(
                    getattr(both, name)[target], getattr(alone, name)[0], rtol=1e-9, atol=1e-11, err_msg=name
                )


@quick
@given(methods, subjects(), seeds)
def test_renumbering_the_features_renumbers_their_values(method: Lime, subject: Subject, seed: int) -> None:
    count = segments(subject).count
    order = np.random.default_rng(seed).permutation(count)
    renumber = np.append(order, -1).astype(np.int32)
    ids = {name: renumber[ids] for name, ids in segments(subject).ids.items()}
    chosen = given_masks(count, seed)
    # Lasso's minimum is one point only where the columns are independent. Of two equal ones (in 12 masks of 6 features
    # they turn up once in 140) any split has the same fit and penalty, and scikit-learn takes what it comes by first.
    assume(method.surrogate == "ridge" or np.linalg.matrix_rank(chosen - chosen[0]) == count)
    moved = np.empty_like(chosen)
    moved[:, order] = chosen
    f = curved(weights_for(subject, seed))
    before = drive(dataclasses.replace(method, samples=PerInput({"": chosen})), subject, f)
    other = dataclasses.replace(subject, segments=Segments(ids, count))
    after = drive(dataclasses.replace(method, samples=PerInput({"": moved})), other, f)
    assert before.values is not None
    assert after.values is not None
    np.testing.assert_allclose(after.values[:, order], before.values, rtol=1e-7, atol=1e-10)
    for name in ids:
        np.testing.assert_allclose(after.maps[name], before.maps[name], rtol=1e-7, atol=1e-10)


@quick
@given(subjects(), seeds, st.data())
def test_a_dummy_feature_gets_zero_where_masks_are_enumerated(subject: Subject, seed: int, data: st.DataObject) -> None:
    """Without penalty: the kernel weighs by the number kept alone, so a fit on all masks is symmetric."""
    count = segments(subject).count
    dummy = data.draw(st.integers(0, count - 1))
    w = np.random.default_rng(seed).normal(size=count)
    w[dummy] = 0.0
    model = lambda rows: (rows @ w)[:, None]  # noqa: E731
    got = answer(Lime(features=Elements(), alpha=1e-9), row(np.ones(count)), model)
    assert got.values is not None
    np.testing.assert_allclose(got.values, w[None], atol=1e-7)


@quick
@given(seeds, st.integers(9, 14))
def test_a_dummy_feature_gets_zero_within_its_error(seed: int, count: int) -> None:
    w = np.random.default_rng(seed).uniform(0.2, 1, count)
    w[0] = 0.0
    model = lambda rows: np.tanh(rows @ w / 2)[:, None]  # noqa: E731
    got = answer(Lime(400, Elements()), row(np.ones(count), stream=seed), model)
    assert got.values is not None
    assert got.errors is not None
    assert abs(got.values[0, 0]) < 6 * got.errors[0, 0] + 1e-12
    assert got.values[0, 1:].mean() > 2 * abs(got.values[0, 0])


@quick
@given(methods, subjects(), seeds)
def test_merged_duplicates_are_scored_once_and_weigh_what_unmerged_ones_do(
    method: Lime, subject: Subject, seed: int
) -> None:
    repeated = given_masks(segments(subject).count, seed, size=30)
    method = dataclasses.replace(method, samples=PerInput({"": repeated}))
    f = curved(weights_for(subject, seed))
    merged = drive(method, subject, f)
    plan = next(method.explain(subject))
    assert plan.size == len(np.unique(repeated, axis=0)) * subject.baseline_count
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(masks, "merge", lambda words: (np.arange(len(words)), unmerged(len(words))))
        kept.forget()
        assert next(method.explain(subject)).size == 30 * subject.baseline_count
        same(merged, drive(method, subject, f))
    kept.forget()


@quick
@given(subjects(), seeds)
def test_what_was_drawn_can_be_given_again(subject: Subject, seed: int) -> None:
    """And all that is said of them: masks that are all there are have no error."""
    f = curved(weights_for(subject, seed))
    for method in (Lime(100, Elements()), Lime(segments(subject).count + 7, Elements())):
        first = drive(method, on(subject, seed), f)
        assert first.drawn is not None
        drawn = first.drawn()
        scored = drive(Rows(drawn.samples[""], Elements()), subject, f).row_scores
        np.testing.assert_allclose(drawn.scores, scored, rtol=1e-9, atol=1e-12)
        again = drive(dataclasses.replace(method, samples=PerInput(drawn.samples)), subject, f)
        same(again, first, exactly=True)
        assert again.drawn is not None
        np.testing.assert_array_equal(again.drawn().samples[""], drawn.samples[""])
        np.testing.assert_allclose(again.drawn().scores, drawn.scores, rtol=1e-12)


@quick
@given(methods, subjects(), seeds, st.data())
def test_rows_are_the_same_however_they_are_asked_for(
    method: Lime, subject: Subject, seed: int, data: st.DataObject
) -> None:
    plan = next(method.explain(on(subject, seed)))
    whole = slow_realise(subject, plan.rows(0, plan.size))
    a = data.draw(st.integers(0, plan.size - 1))
    b = data.draw(st.integers(a + 1, plan.size))
    part = slow_realise(subject, plan.rows(a, b))
    for name in whole:
        np.testing.assert_array_equal(part[name], whole[name][a:b])


@quick
@given(seeds, st.integers(1, 30))
def test_fewer_samples_are_the_first_of_more(seed: int, more: int) -> None:
    few, many = (next(Lime(n, Elements()).explain(row(np.ones(9), stream=seed))) for n in (20, 20 + more))
    np.testing.assert_array_equal(few.rows(0, few.size)[0].keep, many.rows(0, few.size)[0].keep)
    data, quartile, gaussian = tables(seed)
    for table in (quartile, gaussian):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("assayd.methods.lime.tables._BLOCK_CELLS", 40)  # 8 rows at a time
            few = next(Lime(20, sampling=table).explain(row(data[0], stream=seed)))
        many = next(Lime(20 + more, sampling=table).explain(row(data[0], stream=seed)))
        np.testing.assert_array_equal(few.rows(0, 20)[0].values["x"], many.rows(0, 20)[0].values["x"])


def tables(seed: int) -> tuple[Array, QuartileTable, GaussianTable]:
    rng = np.random.default_rng(seed)
    data = rng.normal(size=(60, 5)).astype(np.float32)
    data[:, 3] = rng.integers(0, 3, size=60)
    data[rng.random(60) < 0.2, 1] = np.nan
    return data, fit_quartile(data, (3,)), fit_gaussian(data, (3,))


def smooth(rows: Array) -> Array:
    filled = np.where(np.isnan(rows), 1.5, rows).astype(np.float64)
    return np.stack([np.tanh(filled.sum(axis=1)), filled[:, 0] * filled[:, 3]], axis=1)


@quick
@given(seeds, st.booleans())
def test_tables_hold_x_first_and_are_given_again(seed: int, bins: bool) -> None:
    data, quartile, gaussian = tables(seed)
    method = Lime(50, sampling=quartile if bins else gaussian)
    subject = row(data[seed % 60], stream=seed)
    first = answer(method, subject, smooth)
    assert first.drawn is not None
    drawn = first.drawn()
    np.testing.assert_array_equal(drawn.samples["x"][0], subject.inputs["x"])
    assert drawn.samples["x"].dtype == np.float32
    # Scores are kept less f(x), so that those near 0 have the rounding of f(x).
    np.testing.assert_allclose(drawn.scores, smooth(drawn.samples["x"]).T, rtol=1e-12, atol=1e-14)
    same(first, answer(dataclasses.replace(method, samples=PerInput(drawn.samples)), subject, smooth))
    same(first, answer(method, subject, smooth), exactly=True)


@quick
@given(seeds, st.booleans())
def test_the_order_of_a_tables_columns_doesn_t_matter_to_the_numbering(seed: int, bins: bool) -> None:
    data, quartile, gaussian = tables(seed)
    table = quartile if bins else gaussian
    turned = dataclasses.replace(table, columns=table.columns[::-1])
    subject = row(data[0], stream=seed)
    same(
        answer(Lime(50, sampling=table), subject, smooth),
        answer(Lime(50, sampling=turned), subject, smooth),
        exactly=True,
    )


@quick
@given(seeds, st.booleans())
def test_a_column_the_model_ignores_gets_zero_within_its_error(seed: int, bins: bool) -> None:
    data, quartile, gaussian = tables(seed)
    ignoring: Score = lambda rows: smooth(rows * np.array([1, 1, 0, 1, 1]) + 0.0)  # noqa: E731
    got = answer(Lime(1000, sampling=quartile if bins else gaussian), row(data[2], stream=seed), ignoring)
    assert got.values is not None
    assert got.errors is not None
    assert (np.abs(got.values[:, 2]) < 6 * got.errors[:, 2]).all()
