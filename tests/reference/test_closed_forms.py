"""Attributions that can be written down: linear models, products, gates, missing values."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from assayd.methods.occlusion import Occlusion
from assayd.methods.rows import Rows
from assayd.types.arrays import Array
from assayd.types.request import Elements, PerInput
from assayd.types.subject import Segments, Subject
from tests.drive import drive

ABLATION = Occlusion(features=Elements())


def table(x: list[float], *baselines: list[float]) -> Subject:
    """A table's row, every column a feature."""
    ids = np.arange(len(x), dtype=np.int32)
    return Subject({"x": np.array(x)}, {"x": np.array(baselines)}, Segments({"x": ids}, len(x)))


def windows(*window: int, stride: tuple[int, ...] | None = None, edge: str = "clip") -> Occlusion:
    return Occlusion(PerInput({"": window}), PerInput() if stride is None else PerInput({"": stride}), edge=edge)


def column(values: Array) -> Array:
    return values.astype(np.float64).reshape(-1, 1)


def test_windows_on_a_2x2_image_by_hand() -> None:
    x = np.array([[[1.0, 2.0], [3.0, 4.0]]])  # one channel
    subject = Subject({"x": x}, {"x": np.zeros((1, *x.shape))}, spatial_axes={"x": (1, 2)})

    def f(batch: Mapping[str, Array]) -> Array:
        return column(batch["x"].sum(axis=(1, 2, 3)) + 10 * batch["x"][:, 0, 0, 0] * batch["x"][:, 0, 0, 1])

    got = drive(windows(1, 2, stride=(1, 1)), subject, f)
    # The upper row takes 1 + 2 and the product 10 * 1 * 2 with it, the lower row 3 + 4.
    np.testing.assert_array_equal(got.values, [[23.0, 7.0]])
    np.testing.assert_array_equal(got.maps["x"], [[[[23.0, 23.0], [7.0, 7.0]]]])
    assert got.maps["x"].shape == (1, 1, 2, 2)
    assert got.windows[0].grid == (2, 1)


def test_a_linear_model_sums_weight_times_difference_over_each_window() -> None:
    rng = np.random.default_rng(1)
    x, b, w = rng.normal(size=(3, 3, 6))
    subject = Subject({"x": x}, {"x": b[None]})
    got = drive(windows(2, 4, stride=(2, 3)), subject, lambda batch: column((batch["x"] * w).sum(axis=(1, 2))))
    part = w * (x - b)
    want = [[part[i : i + 2, j : j + 4].sum() for i in (0, 2) for j in (0, 3)]]
    np.testing.assert_allclose(got.values, want, rtol=1e-12)


def test_overlapping_windows_average_at_an_element() -> None:
    x = np.array([1.0, 2.0, 4.0, 8.0])
    subject = Subject({"x": x}, {"x": np.zeros((1, 4))})
    got = drive(windows(2, stride=(1,)), subject, lambda batch: column(batch["x"].sum(axis=1)))
    np.testing.assert_array_equal(got.values, [[3.0, 6.0, 12.0]])
    np.testing.assert_array_equal(got.maps["x"], [[3.0, 4.5, 9.0, 12.0]])


def test_elements_between_windows_get_zero() -> None:
    x = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    subject = Subject({"x": x}, {"x": np.zeros((1, 5))})
    f = lambda batch: column(batch["x"].sum(axis=1))  # noqa: E731
    np.testing.assert_array_equal(drive(windows(1, stride=(3,)), subject, f).maps["x"], [[1.0, 0, 0, 8.0, 0]])
    np.testing.assert_array_equal(drive(windows(2, edge="valid"), subject, f).maps["x"], [[3.0, 3.0, 12.0, 12.0, 0]])
    np.testing.assert_array_equal(drive(windows(2), subject, f).maps["x"], [[3.0, 3.0, 12.0, 12.0, 16.0]])


def test_ablation_of_a_linear_model_is_weight_times_difference() -> None:
    w = np.array([2.0, -3.0, 0.5])
    got = drive(ABLATION, table([1.0, 2.0, 4.0], [0.0, 1.0, -4.0]), lambda batch: column(batch["x"] @ w))
    np.testing.assert_array_equal(got.values, [[2.0, -3.0, 4.0]])
    np.testing.assert_array_equal(got.maps["x"], got.values)
    assert got.errors is None
    assert not got.map_errors


def test_a_background_set_is_averaged_with_the_standard_error_of_its_mean() -> None:
    got = drive(ABLATION, table([1.0], [0.0], [2.0], [7.0]), lambda batch: column(2 * batch["x"]))
    # Differences 2, -2, -12: mean -4, deviations 6, 2, -8, variance 104 / 2, error sqrt(52 / 3).
    np.testing.assert_allclose(got.values, [[-4.0]], rtol=1e-15)
    assert got.errors is not None
    np.testing.assert_allclose(got.errors, [[np.sqrt(52 / 3)]], rtol=1e-15)
    np.testing.assert_allclose(got.map_errors["x"], [[np.sqrt(52 / 3)]], rtol=1e-15)


def test_gates() -> None:
    both = drive(ABLATION, table([1.0, 1.0], [0.0, 0.0]), lambda batch: column(batch["x"].min(axis=1)))
    np.testing.assert_array_equal(both.values, [[1.0, 1.0]])
    either = drive(ABLATION, table([1.0, 1.0], [0.0, 0.0]), lambda batch: column(batch["x"].max(axis=1)))
    np.testing.assert_array_equal(either.values, [[0.0, 0.0]])


def test_missing_is_a_value_that_features_can_take_and_have() -> None:
    def tree(batch: Mapping[str, Array]) -> Array:
        missing = np.isnan(batch["x"])
        return column(missing[:, 0] * 5.0 + np.where(missing[:, 1], -1.0, np.nan_to_num(batch["x"][:, 1])))

    got = drive(ABLATION, table([np.nan, 3.0], [0.0, np.nan]), tree)
    np.testing.assert_array_equal(got.values, [[5.0, 4.0]])


def test_a_group_paints_its_own_value_and_leaves_the_rest() -> None:
    subject = Subject(
        {"x": np.array([1.0, 2.0, 4.0]), "y": np.array([[8.0, 16.0]])},
        {"x": np.zeros((1, 3)), "y": np.zeros((1, 1, 2))},
        Segments({"x": np.array([1, -1, 0], np.int32), "y": np.array([[1]], np.int32)}, 2),
    )
    got = drive(ABLATION, subject, lambda batch: column(batch["x"].sum(axis=1) + batch["y"].sum(axis=(1, 2))))
    np.testing.assert_array_equal(got.values, [[4.0, 25.0]])
    np.testing.assert_array_equal(got.maps["x"], [[25.0, 0.0, 4.0]])
    np.testing.assert_array_equal(got.maps["y"], [[[25.0]]])


def test_rows_are_scored_and_averaged_over_the_baselines() -> None:
    keep = np.array([[1, 1], [1, 0], [0, 0], [0.5, 1]])
    got = drive(
        Rows(keep, Elements()),
        table([1.0, 2.0], [0.0, 0.0], [10.0, 20.0]),
        lambda batch: np.stack([batch["x"].sum(axis=1), batch["x"][:, 0]], axis=1),
        chunk=3,
    )
    np.testing.assert_array_equal(got.row_scores, [[3.0, 11.0, 15.0, 5.0], [1.0, 1.0, 5.0, 3.0]])
    assert got.values is None
    assert not got.maps


def test_rows_that_only_select_never_multiply() -> None:
    got = drive(
        Rows(np.array([[0.0, 1.0]]), Elements()),
        table([np.nan, 1.0], [2.0, np.inf]),
        lambda batch: column(batch["x"].sum(axis=1)),
    )
    np.testing.assert_array_equal(got.row_scores, [[3.0]])
