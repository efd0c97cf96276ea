"""What holds for the Jacobian of any subject."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assayd.engine.realise import realise_block
from assayd.methods.jacobian import Jacobian
from assayd.types.arrays import Array
from assayd.types.request import Bounds, GivenSegments, PerInput
from assayd.types.rows import NudgeRows
from assayd.types.subject import Segments, Subject
from tests.drive import drive
from tests.property.strategies import curved, linear, quick, seeds, subjects, weights_for
from tests.slow_realise import slow_realise

GROUPS = GivenSegments({})
schemes = st.sampled_from(["forward", "central", "richardson"])
dtypes = st.sampled_from([np.float16, np.float32, np.float64])


@st.composite
def methods(draw: st.DrawFn, *, features: GivenSegments | None = GROUPS) -> Jacobian:
    step = PerInput({"": draw(st.sampled_from([0.0625, 0.25]))})
    kind = draw(st.sampled_from([{}, {"step": step}, {"rel_step": step}]))
    return Jacobian(draw(schemes), features=features, error_estimate=draw(st.booleans()), **kind)


def fitted(method: Jacobian, subject: Subject, dtype: type = np.float64) -> Subject:
    """The subject with the scale that the method asks for."""
    inputs = {name: x.astype(dtype) for name, x in subject.inputs.items()}
    baselines = {name: b.astype(dtype) for name, b in subject.baselines.items()}
    return Subject(inputs, baselines, subject.segments, scale=method.nudge_scale(inputs))


def segments(subject: Subject) -> Segments:
    assert subject.segments is not None
    return subject.segments


def by_element(subject: Subject) -> Subject:
    """Every element a feature."""
    ids, count = {}, 0
    for name, x in subject.inputs.items():
        ids[name] = np.arange(count, count + x.size, dtype=np.int32).reshape(x.shape)
        count += x.size
    return Subject(subject.inputs, subject.baselines, Segments(ids, count))


@quick
@given(subjects(), seeds, methods(features=None))
def test_a_group_of_a_linear_model_is_the_sum_of_its_elements_times_their_scale(
    subject: Subject, seed: int, method: Jacobian
) -> None:
    f = linear(weights_for(subject, seed))
    each = drive(method, fitted(method, by_element(subject)), f)
    together = Jacobian(method.scheme, method.step, method.rel_step, features=GROUPS)
    whole = fitted(together, subject)
    got = drive(together, whole, f)
    assert each.values is not None
    want, at = np.zeros(segments(subject).count), 0
    for name, ids in segments(subject).ids.items():
        for flat, feature in enumerate(ids.ravel()):
            if feature >= 0:
                want[feature] += each.values[0, at + flat] * whole.scale[name].ravel()[flat]
        at += ids.size
    np.testing.assert_allclose(got.values, want[None], rtol=0, atol=1e-5 if method.scheme == "forward" else 1e-7)


@quick
@given(subjects(), seeds, methods(), dtypes)
def test_renumbering_the_features_renumbers_their_values(
    subject: Subject, seed: int, method: Jacobian, dtype: type
) -> None:
    count = segments(subject).count
    order = np.random.default_rng(seed).permutation(count).astype(np.int32)
    renumber = np.append(order, np.int32(-1))
    ids = {name: renumber[ids] for name, ids in segments(subject).ids.items()}
    f = curved(weights_for(subject, seed))
    before = drive(method, fitted(method, subject, dtype), f)
    after = drive(method, fitted(method, Subject(subject.inputs, subject.baselines, Segments(ids, count)), dtype), f)
    assert after.values is not None
    np.testing.assert_array_equal(after.values[:, order], before.values)
    if after.errors is not None:
        np.testing.assert_array_equal(after.errors[:, order], before.errors)


@quick
@given(subjects(), seeds, methods(), dtypes)
def test_targets_together_are_what_they_are_alone(subject: Subject, seed: int, method: Jacobian, dtype: type) -> None:
    f = curved(weights_for(subject, seed))
    subject = fitted(method, subject, dtype)
    together = drive(method, subject, f)
    for target in (0, 1):
        alone = drive(method, subject, lambda batch, t=target: f(batch)[:, t : t + 1])
        assert together.values is not None
        np.testing.assert_array_equal(alone.values, together.values[target : target + 1])
        if together.errors is not None:
            np.testing.assert_array_equal(alone.errors, together.errors[target : target + 1])


@quick
@given(subjects(), seeds, methods())
def test_a_dummy_feature_gets_zero(subject: Subject, seed: int, method: Jacobian) -> None:
    weights = weights_for(subject, seed)
    for name, ids in segments(subject).ids.items():
        weights[name][ids == 0] = 0.0
    got = drive(method, fitted(method, subject), curved(weights), chunk=10**9)
    assert got.values is not None
    np.testing.assert_allclose(got.values[:, 0], 0.0, atol=1e-6)


@quick
@given(subjects(), seeds, methods(), dtypes, st.booleans())
def test_no_row_leaves_the_bounds_and_no_element_that_isnt_meant(
    subject: Subject, seed: int, method: Jacobian, dtype: type, by_elements: bool
) -> None:
    rng = np.random.default_rng(seed)
    room = [0.0, 0.05, 0.3, 1e4]
    inputs = {name: x.astype(dtype) for name, x in subject.inputs.items()}
    low = {name: (x - rng.choice(room, size=x.shape)).astype(dtype) for name, x in inputs.items()}
    high = {name: (x + rng.choice([0.9, 2.5], size=x.shape)).astype(dtype) for name, x in inputs.items()}
    ends = PerInput({name: Bounds(low[name], high[name]) for name in inputs})
    if by_elements:
        subject = by_element(subject)
    method = Jacobian(
        method.scheme, method.step, method.rel_step, bounds=ends, features=None if by_elements else GROUPS
    )
    subject = fitted(method, subject, dtype)
    plan = next(method.explain(subject))
    blocks = plan.rows(0, plan.size)
    out = slow_realise(subject, blocks)
    each = plan.size // segments(subject).count
    for name, rows in out.items():
        assert rows.dtype == dtype
        assert (rows >= low[name]).all()
        assert (rows <= high[name]).all()
        moved = rows != inputs[name]
        for row in range(plan.size):
            np.testing.assert_array_equal(moved[row] & (segments(subject).ids[name] != row // each), False)
            if by_elements:
                np.testing.assert_array_equal(moved[row], segments(subject).ids[name] == row // each)


@quick
@given(subjects(), methods(), dtypes, st.data())
def test_rows_are_the_same_however_they_are_asked_for_and_whoever_makes_them(
    subject: Subject, method: Jacobian, dtype: type, data: st.DataObject
) -> None:
    subject = fitted(method, subject, dtype)
    plan = next(method.explain(subject))
    whole = slow_realise(subject, plan.rows(0, plan.size))
    a = data.draw(st.integers(0, plan.size - 1))
    b = data.draw(st.integers(a + 1, plan.size))
    part = {name: np.empty((b - a, *x.shape), dtype) for name, x in subject.inputs.items()}
    [rows] = plan.rows(a, b)
    realise_block(subject, rows, part)
    for name in whole:
        np.testing.assert_array_equal(part[name], whole[name][a:b])


@quick
@given(subjects(), seeds, methods(), dtypes, st.integers(1, 7))
def test_what_was_drawn_are_all_nudges_and_their_scores(
    subject: Subject, seed: int, method: Jacobian, dtype: type, features_a_plan: int
) -> None:
    subject, f = fitted(method, subject, dtype), curved(weights_for(subject, seed))
    asked = next(method.explain(subject))
    [rows] = asked.rows(0, asked.size)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("assayd.methods.jacobian.method.FEATURES_A_PLAN", features_a_plan)
        got = drive(method, subject, f)
    assert got.drawn is not None
    drawn = got.drawn()
    assert isinstance(rows, NudgeRows)
    assert drawn.features is not None
    assert drawn.steps is not None
    assert (drawn.features.dtype, drawn.steps.dtype, drawn.samples) == (np.int32, np.float64, {})
    # Rows that are known ahead come first.
    np.testing.assert_array_equal(drawn.features[: asked.size], rows.feature)
    np.testing.assert_array_equal(drawn.steps[: asked.size], rows.step)
    again = slow_realise(subject, [NudgeRows(drawn.features, drawn.steps)])
    np.testing.assert_allclose(drawn.scores, f(again).T, rtol=1e-9, atol=1e-12)


@quick
@given(subjects(), seeds, st.integers(1, 7), st.booleans())
def test_derivatives_can_be_had_again_from_what_was_drawn(
    subject: Subject, seed: int, features_a_plan: int, by_elements: bool
) -> None:
    method = Jacobian("central", PerInput({"": 0.0625}), features=None if by_elements else GROUPS, error_estimate=False)
    subject = fitted(method, by_element(subject) if by_elements else subject)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("assayd.methods.jacobian.method.FEATURES_A_PLAN", features_a_plan)
        got = drive(method, subject, curved(weights_for(subject, seed)))
    assert got.drawn is not None
    drawn = got.drawn()
    assert drawn.features is not None
    assert drawn.steps is not None
    np.testing.assert_array_equal(drawn.features, np.repeat(np.arange(segments(subject).count), 2))
    rise = np.diff(drawn.scores.reshape(2, -1, 2), axis=2)[..., 0]
    np.testing.assert_allclose(rise / np.diff(drawn.steps.reshape(-1, 2), axis=1)[:, 0], got.values, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_an_element_that_stays_may_be_anything(dtype: type) -> None:
    """Not even a warning comes of elements that no feature has, at the end of the range or beyond it."""
    x = np.array([1.0, np.finfo(dtype).max, np.nan, -np.inf], dtype)
    ids = {"x": np.array([0, -1, -1, -1], np.int32)}
    method = Jacobian(features=GROUPS)
    subject = fitted(method, Subject({"x": x}, {"x": x[None]}, Segments(ids, 1)), dtype)

    def f(batch: Mapping[str, Array]) -> Array:
        np.testing.assert_array_equal(batch["x"][:, 1:], np.broadcast_to(x[1:], batch["x"][:, 1:].shape))
        return batch["x"][:, :1].astype(np.float64)

    np.testing.assert_allclose(drive(method, subject, f).values, [[1.0]], rtol=1e-9)
    plan = next(method.explain(subject))
    out = {"x": np.empty((plan.size, 4), dtype)}
    realise_block(subject, plan.rows(0, plan.size)[0], out)
    np.testing.assert_array_equal(out["x"][:, 1:], np.broadcast_to(x[1:], (plan.size, 3)))


@pytest.mark.parametrize(("seed", "dtype"), [(82, np.float16), (125, np.float16), (86, np.float32), (103, np.float32)])
def test_targets_that_need_other_steps_than_each_other_are_what_they_are_alone(seed: int, dtype: type) -> None:
    """An entry at a step for another target's sake isn't typical of its own, and rows that are there already count."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=8)
    method, ids = Jacobian("richardson", features=GROUPS), np.arange(8, dtype=np.int32) % 5
    subject = fitted(method, Subject({"x": x}, {"x": x[None]}, Segments({"x": ids}, 5)), dtype)
    weights = rng.normal(size=(8, 2)) * 0.3

    def total(batch: Mapping[str, Array], weights: Array) -> Array:
        """Row by row, as a product's last bits may depend on how many rows there are."""
        terms: Array = batch["x"].astype(np.float64)[:, :, np.newaxis] * weights
        return np.add.accumulate(terms, axis=1)[:, -1]

    def f(batch: Mapping[str, Array]) -> Array:
        scores: Array = np.tanh(total(batch, weights)) + np.sin(total(batch, weights[:, ::-1]))
        return scores

    together = drive(method, subject, f)
    assert together.values is not None
    assert together.errors is not None
    for target in (0, 1):
        alone = drive(method, subject, lambda batch, t=target: f(batch)[:, t : t + 1])
        np.testing.assert_array_equal(alone.values, together.values[target : target + 1])
        np.testing.assert_array_equal(alone.errors, together.errors[target : target + 1])
