"""What holds for windows of any size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assayd.methods.occlusion import Occlusion
from assayd.types.request import PerInput
from assayd.types.rows import BoxRows, Plan
from assayd.types.subject import Subject
from tests.drive import drive
from tests.property.strategies import Windows, curved, linear, quick, seeds, weights_for, windows
from tests.slow_realise import slow_realise


def subject_of(shape: tuple[int, ...], seed: int, baselines: int = 1) -> Subject:
    rng = np.random.default_rng(seed)
    return Subject({"x": rng.normal(size=shape)}, {"x": rng.normal(size=(baselines, *shape))})


def method_of(cut: Windows, edge: str = "clip") -> Occlusion:
    return Occlusion(PerInput({"x": cut.window}), PerInput({"x": cut.stride}), edge=edge)


def plan_of(cut: Windows, subject: Subject, edge: str = "clip") -> Plan:
    return next(method_of(cut, edge).explain(subject))


def boxes_of(cut: Windows, edge: str = "clip") -> BoxRows:
    plan = plan_of(cut, subject_of(cut.shape, 0), edge)
    [boxes] = plan.rows(0, plan.size)
    assert isinstance(boxes, BoxRows)
    return boxes


def cover_of(cut: Windows, edge: str = "clip") -> np.ndarray:
    cover = np.zeros(cut.shape, int)
    boxes = boxes_of(cut, edge)
    for starts, sizes in zip(boxes.starts, boxes.sizes, strict=True):
        cover[tuple(slice(start, start + size) for start, size in zip(starts, sizes, strict=True))] += 1
    return cover


@quick
@given(windows(gaps=False))
def test_clipped_windows_cover_every_element_where_stride_is_within_window(cut: Windows) -> None:
    assert (cover_of(cut) > 0).all()


@quick
@given(windows(gaps=True), st.sampled_from(["clip", "valid"]))
def test_boxes_lie_inside_and_differ(cut: Windows, edge: str) -> None:
    boxes = boxes_of(cut, edge)
    assert (boxes.starts >= 0).all()
    assert (boxes.sizes >= 1).all()
    assert (boxes.starts + boxes.sizes <= cut.shape).all()
    assert (boxes.sizes <= cut.window).all()
    assert (boxes.starts % cut.stride == 0).all()
    if edge == "valid":
        assert (boxes.sizes == cut.window).all()
    assert len(np.unique(boxes.starts, axis=0)) == len(boxes)


@quick
@given(windows(gaps=True), st.sampled_from(["clip", "valid"]), seeds)
def test_an_element_gets_zero_only_where_no_window_covers_it(cut: Windows, edge: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Every occlusion lowers this score: all weights and all differences are positive.
    subject = Subject({"x": rng.uniform(1, 2, cut.shape)}, {"x": rng.uniform(-1, 0, (1, *cut.shape))})
    got = drive(method_of(cut, edge), subject, linear({"x": rng.uniform(1, 2, cut.shape)}))
    np.testing.assert_array_equal(got.maps["x"][0] > 0, cover_of(cut, edge) > 0)
    assert (got.maps["x"] >= 0).all()


@quick
@given(windows(gaps=True), seeds)
def test_windows_of_one_element_give_a_linear_model_exactly(cut: Windows, seed: int) -> None:
    subject = subject_of(cut.shape, seed)
    weights = weights_for(subject, seed)
    ones = (1,) * len(cut.shape)
    got = drive(method_of(Windows(cut.shape, ones, ones)), subject, linear(weights))
    want = weights["x"] * (subject.inputs["x"] - subject.baselines["x"][0])
    np.testing.assert_allclose(got.maps["x"][0], want, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(got.values, want.reshape(1, -1), rtol=1e-9, atol=1e-11)


@quick
@given(windows(gaps=True), seeds, st.integers(1, 3))
def test_a_window_over_dummy_elements_gets_zero(cut: Windows, seed: int, baselines: int) -> None:
    subject = subject_of(cut.shape, seed, baselines)
    weights = weights_for(subject, seed)
    weights["x"][0] = 0.0  # nothing in the first row has any effect
    got = drive(method_of(cut), subject, curved(weights))
    boxes = boxes_of(cut)
    within = boxes.starts[:, 0] + boxes.sizes[:, 0] <= 1
    assert got.values is not None
    np.testing.assert_allclose(got.values[:, within], 0.0, atol=1e-12)


@quick
@given(windows(gaps=True), seeds, st.integers(1, 3), st.data())
def test_rows_are_the_same_however_they_are_asked_for(
    cut: Windows, seed: int, baselines: int, data: st.DataObject
) -> None:
    subject = subject_of(cut.shape, seed, baselines)
    plan = plan_of(cut, subject)
    whole = slow_realise(subject, plan.rows(0, plan.size))["x"]
    a = data.draw(st.integers(0, plan.size - 1))
    b = data.draw(st.integers(a + 1, plan.size))
    np.testing.assert_array_equal(slow_realise(subject, plan.rows(a, b))["x"], whole[a:b])


@quick
@given(windows(gaps=True), seeds)
def test_errors_are_zero_where_all_baselines_agree_and_positive_where_they_differ(cut: Windows, seed: int) -> None:
    one = subject_of(cut.shape, seed)
    same = Subject(one.inputs, {"x": np.repeat(one.baselines["x"], 3, axis=0)})
    weights = weights_for(one, seed)
    alone, thrice = (drive(method_of(cut), subject, curved(weights)) for subject in (one, same))
    assert alone.errors is None
    assert thrice.errors is not None
    np.testing.assert_allclose(thrice.values, alone.values, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(thrice.errors, 0.0, atol=1e-12)
    np.testing.assert_allclose(thrice.map_errors["x"], 0.0, atol=1e-12)

    apart = drive(method_of(cut), subject_of(cut.shape, seed, 3), curved(weights))
    assert apart.errors is not None
    assert (apart.errors > 0).all()
    np.testing.assert_array_equal(apart.map_errors["x"][0] > 0, cover_of(cut) > 0)


@quick
@given(windows(gaps=True), st.sampled_from(["clip", "valid"]), seeds, st.integers(1, 3))
def test_values_can_be_had_again_from_what_was_drawn(cut: Windows, edge: str, seed: int, baselines: int) -> None:
    subject = subject_of(cut.shape, seed, baselines)
    f = curved(weights_for(subject, seed))
    got = drive(method_of(cut, edge), subject, f)
    assert got.drawn is not None
    drawn = got.drawn()
    assert (drawn.samples, drawn.features, drawn.steps) == ({}, None, None)
    boxes = boxes_of(cut, edge)
    for number, (starts, sizes) in enumerate(zip(boxes.starts, boxes.sizes, strict=True)):
        occluded = np.repeat(subject.inputs["x"][None], baselines, axis=0)
        inside = tuple(slice(start, start + size) for start, size in zip(starts, sizes, strict=True))
        occluded[:, *inside] = subject.baselines["x"][:, *inside]
        np.testing.assert_allclose(drawn.scores[:, number], f({"x": occluded}).mean(axis=0), rtol=1e-9, atol=1e-12)
    at_x = f({"x": subject.inputs["x"][None]})[0]
    np.testing.assert_allclose(at_x[:, None] - drawn.scores, got.values, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("edge", ["clip", "valid"])
def test_the_grid_counts_the_windows(edge: str) -> None:
    cut = Windows((7, 5), (3, 2), (2, 2))
    [grid] = drive(method_of(cut, edge), subject_of(cut.shape, 0), linear({"x": np.ones(cut.shape)})).windows
    assert grid.grid == ((3, 3) if edge == "clip" else (3, 2))
    assert (grid.input, grid.first_feature, grid.axes) == ("x", 0, (0, 1))
    assert (grid.window, grid.stride) == (cut.window, cut.stride)
