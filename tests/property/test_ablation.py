"""What holds for the ablation of any features, and for any masks."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from assayd.methods.occlusion import Occlusion
from assayd.methods.rows import Rows
from assayd.types.request import Elements
from assayd.types.subject import Segments, Subject
from tests.drive import drive
from tests.property.strategies import curved, linear, quick, seeds, subjects, weights_for
from tests.slow_realise import slow_realise

ABLATION = Occlusion(features=Elements())


def segments(subject: Subject) -> Segments:
    assert subject.segments is not None
    return subject.segments


@quick
@given(subjects(), seeds)
def test_a_linear_model_gets_weight_times_difference_summed_over_each_feature(subject: Subject, seed: int) -> None:
    weights = weights_for(subject, seed)
    got = drive(ABLATION, subject, linear(weights))
    want = np.zeros(segments(subject).count)
    for name, x in subject.inputs.items():
        part = weights[name] * (x - subject.baselines[name].mean(axis=0))
        for feature in range(len(want)):
            want[feature] += part[segments(subject).ids[name] == feature].sum()
    np.testing.assert_allclose(got.values, want[None], rtol=1e-9, atol=1e-11)


@quick
@given(subjects(untouched=False), seeds)
def test_values_of_a_linear_model_add_up_to_the_whole_difference(subject: Subject, seed: int) -> None:
    f = linear(weights_for(subject, seed))
    got = drive(ABLATION, subject, f)
    at_x = f({name: x[None] for name, x in subject.inputs.items()})[0]
    at_baselines = f(subject.baselines).mean(axis=0)
    assert got.values is not None
    np.testing.assert_allclose(got.values.sum(axis=1), at_x - at_baselines, rtol=1e-9, atol=1e-11)


@quick
@given(subjects(), seeds, st.data())
def test_a_dummy_feature_gets_zero(subject: Subject, seed: int, data: st.DataObject) -> None:
    dummy = data.draw(st.integers(0, segments(subject).count - 1))
    weights = weights_for(subject, seed)
    for name, ids in segments(subject).ids.items():
        weights[name][ids == dummy] = 0.0
    got = drive(ABLATION, subject, curved(weights))
    assert got.values is not None
    np.testing.assert_allclose(got.values[:, dummy], 0.0, atol=1e-12)


@quick
@given(subjects(), seeds)
def test_renumbering_the_features_renumbers_their_values_and_leaves_the_maps(subject: Subject, seed: int) -> None:
    count = segments(subject).count
    order = np.random.default_rng(seed).permutation(count).astype(np.int32)
    renumber = np.append(order, np.int32(-1))
    ids = {name: renumber[ids] for name, ids in segments(subject).ids.items()}
    f = curved(weights_for(subject, seed))
    before = drive(ABLATION, subject, f)
    after = drive(ABLATION, Subject(subject.inputs, subject.baselines, Segments(ids, count)), f)
    assert before.values is not None
    assert after.values is not None
    np.testing.assert_array_equal(after.values[:, order], before.values)
    for name in ids:
        np.testing.assert_array_equal(after.maps[name], before.maps[name])


@quick
@given(subjects(), seeds)
def test_a_map_holds_the_value_of_each_elements_feature(subject: Subject, seed: int) -> None:
    got = drive(ABLATION, subject, curved(weights_for(subject, seed)))
    assert got.values is not None
    for name, ids in segments(subject).ids.items():
        for index in np.ndindex(ids.shape):
            want = got.values[:, ids[index]] if ids[index] >= 0 else 0.0
            np.testing.assert_array_equal(got.maps[name][(slice(None), *index)], want)


@quick
@given(subjects(), seeds)
def test_symmetric_features_get_the_same(subject: Subject, seed: int) -> None:
    """Every element the same, every feature of one size: no feature may stand out."""
    count = segments(subject).count
    rng = np.random.default_rng(seed)
    ids = rng.permutation(np.repeat(np.arange(count, dtype=np.int32), 2))
    level = rng.normal(size=2)
    even = Subject(
        {"x": np.full(2 * count, level[0])},
        {"x": np.full((1, 2 * count), level[1])},
        Segments({"x": ids}, count),
    )
    got = drive(ABLATION, even, curved({"x": np.ones(2 * count)}))
    assert got.values is not None
    np.testing.assert_allclose(got.values, np.repeat(got.values[:, :1], count, axis=1), rtol=1e-9, atol=1e-11)


@quick
@given(subjects(), seeds)
def test_masks_that_leave_one_out_score_what_ablation_subtracts(subject: Subject, seed: int) -> None:
    f = curved(weights_for(subject, seed))
    rows = drive(Rows(1.0 - np.eye(segments(subject).count), Elements()), subject, f)
    ablation = drive(ABLATION, subject, f)
    at_x = f({name: x[None] for name, x in subject.inputs.items()})[0]
    assert rows.row_scores is not None
    np.testing.assert_allclose(at_x[:, None] - rows.row_scores, ablation.values, rtol=1e-9, atol=1e-11)


@quick
@given(subjects(), seeds, st.integers(1, 4))
def test_masks_of_a_linear_model_blend_its_scores(subject: Subject, seed: int, count: int) -> None:
    """f(kept) is bias + weight * (x * k + mean baseline * (1 - k)) for any k between 0 and 1."""
    rng = np.random.default_rng(seed)
    keep = rng.choice([0.0, 1.0, 0.25, 0.7], size=(count, segments(subject).count))
    weights = weights_for(subject, seed)
    got = drive(Rows(keep, Elements()), subject, linear(weights, bias=0.5))
    want = np.full(count, 0.5)
    for name, x in subject.inputs.items():
        k = np.append(keep, np.ones((count, 1)), axis=1)[:, segments(subject).ids[name]]
        part = weights[name] * (x * k + subject.baselines[name].mean(axis=0) * (1 - k))
        want += part.reshape(count, -1).sum(axis=1)
    np.testing.assert_allclose(got.row_scores, want[None], rtol=1e-9, atol=1e-11)


@quick
@given(subjects(), st.data())
def test_rows_are_the_same_however_they_are_asked_for(subject: Subject, data: st.DataObject) -> None:
    plan = next(ABLATION.explain(subject))
    whole = slow_realise(subject, plan.rows(0, plan.size))
    a = data.draw(st.integers(0, plan.size - 1))
    b = data.draw(st.integers(a + 1, plan.size))
    part = slow_realise(subject, plan.rows(a, b))
    for name in whole:
        np.testing.assert_array_equal(part[name], whole[name][a:b])


@quick
@given(subjects(), seeds)
def test_values_can_be_had_again_from_what_was_drawn(subject: Subject, seed: int) -> None:
    f = curved(weights_for(subject, seed))
    got = drive(ABLATION, subject, f)
    assert got.drawn is not None
    drawn = got.drawn()
    assert (drawn.samples, drawn.features, drawn.steps) == ({}, None, None)
    rows = drive(Rows(1.0 - np.eye(segments(subject).count), Elements()), subject, f)
    np.testing.assert_array_equal(drawn.scores, rows.row_scores)
    at_x = f({name: x[None] for name, x in subject.inputs.items()})[0]
    np.testing.assert_allclose(at_x[:, None] - drawn.scores, got.values, rtol=1e-9, atol=1e-11)
