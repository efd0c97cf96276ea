"""What holds for LIME on whatever rows are there when a budget ends."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from assayd.methods.lime import Lime
from assayd.types.arrays import Array
from assayd.types.request import Elements, PerInput
from assayd.types.result import Attribution
from tests.lime_cases import answer, fit_quartile, row
from tests.property.strategies import quick, seeds
from tests.property.test_lime import given_masks, same, tables
from tests.reference.cuts import cut, square

# Bootstrap draws from the instance's stream, so its errors are comparable as well.
surrogates = st.sampled_from(
    [
        Lime(alpha=0.1),
        Lime(alpha=0.0),
        Lime(surrogate="lasso", alpha=0.02, bootstrap=2),
        Lime(surrogate="tree", bootstrap=2),
    ]
)


@quick
@given(surrogates, seeds, st.integers(9, 12), st.integers(1, 3), st.data())
def test_masks_that_are_there_when_a_budget_ends_are_a_smaller_sample(
    method: Lime, seed: int, count: int, baselines: int, data: st.DataObject
) -> None:
    """Of as many draws as the rows make up: the next draw would be a mask that isn't there."""
    x = row(np.ones(count), *np.random.default_rng(seed).normal(size=(baselines, count)), stream=seed)
    whole = dataclasses.replace(method, num_samples=500, features=Elements())
    plan = next(whole.explain(x))
    assert plan.least is not None
    kept = data.draw(st.integers(plan.least, plan.size - 1))
    got = cut(whole, x, square, kept)
    drawn = samples_of(got)[""]
    assert len(np.unique(drawn, axis=0)) == kept // baselines
    same(got, answer(dataclasses.replace(whole, num_samples=len(drawn)), x, square), exactly=True)
    more = samples_of(answer(dataclasses.replace(whole, num_samples=len(drawn) + 1), x, square))[""]
    assert len(np.unique(more, axis=0)) == kept // baselines + 1


@quick
@given(surrogates, seeds, st.sampled_from(["quartile", "gaussian", "levels"]), st.data())
def test_rows_of_a_table_that_are_there_when_a_budget_ends_are_a_smaller_sample(
    method: Lime, seed: int, kind: str, data: st.DataObject
) -> None:
    training, quartile, gaussian = tables(seed)
    levels = np.random.default_rng(seed).integers(0, 3, size=(60, 5)).astype(np.float32)
    table = {"quartile": quartile, "gaussian": gaussian, "levels": fit_quartile(levels, (0, 1, 2, 3, 4))}[kind]
    x = row(levels[0] if kind == "levels" else training[0], stream=seed)
    whole = dataclasses.replace(method, num_samples=200, sampling=table)
    plan = next(whole.explain(x))
    assert plan.least is not None
    kept = data.draw(st.integers(plan.least, plan.size - 1))
    got = cut(whole, x, square, kept)
    drawn = samples_of(got)["x"]
    assert len(drawn) >= kept
    same(got, answer(dataclasses.replace(whole, num_samples=len(drawn)), x, square), exactly=True)


@quick
@given(surrogates, seeds, st.sampled_from(["masks", "quartile", "gaussian"]), st.sampled_from([None, 90]), st.data())
def test_of_given_samples_the_first_ones_stand_for_as_many_draws(
    method: Lime, seed: int, kind: str, total: int | None, data: st.DataObject
) -> None:
    training, quartile, gaussian = tables(seed)
    if kind == "masks":
        whole, x, name, there = (
            dataclasses.replace(method, features=Elements()),
            np.ones(7),
            "",
            given_masks(7, seed, 80),
        )
    else:
        table = quartile if kind == "quartile" else gaussian
        whole, x, name, there = dataclasses.replace(method, sampling=table), training[0], "x", training
    whole = dataclasses.replace(whole, num_samples=total, samples=PerInput({name: there}))
    subject = row(x, stream=seed)
    plan = next(whole.explain(subject))
    assert plan.least is not None
    got = cut(whole, subject, square, data.draw(st.integers(plan.least, plan.size)))
    drawn = samples_of(got)[name]
    np.testing.assert_array_equal(drawn, there[: len(drawn)])
    first = dataclasses.replace(whole, samples=PerInput({name: there[: len(drawn)]}))
    same(got, answer(first, subject, square), exactly=True)


@quick
@given(surrogates, seeds, st.integers(1, 3), st.data())
def test_a_later_round_may_bring_nothing(method: Lime, seed: int, baselines: int, data: st.DataObject) -> None:
    x = row(np.ones(9), *np.random.default_rng(seed).normal(size=(baselines, 9)), stream=seed)
    fixed = dataclasses.replace(method, num_samples=500, features=Elements())
    rounds = dataclasses.replace(fixed, until_error=1e-300)
    kept = data.draw(st.one_of(st.just(0), st.integers(0, 50)))
    got = cut(rounds, x, square, kept, after=1)
    drawn = samples_of(got)[""]
    before = next(rounds.explain(x)).size // baselines
    assert len(np.unique(drawn, axis=0)) == before + kept // baselines
    same(got, answer(dataclasses.replace(fixed, num_samples=len(drawn)), x, square), exactly=True)


def samples_of(got: Attribution) -> Mapping[str, Array]:
    assert got.drawn is not None
    return got.drawn().samples
