"""Tables of all kinds: where their columns lie, what dtypes they have, what is refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from assayd.errors import InvalidRequest, InvalidTensor
from assayd.methods.lime import Lime, tables
from assayd.methods.lime.columns import chosen
from assayd.types.arrays import Array
from assayd.types.request import Member, PerInput
from assayd.types.result import Scores
from assayd.types.rows import SampleRows
from assayd.types.statistics import CategoricalColumn, GaussianColumn, GaussianTable, QuartileColumn, QuartileTable
from assayd.types.subject import Subject
from tests.lime_cases import answer, fit_quartile, row

NAN = np.nan


def subject_of(**inputs: Array) -> Subject:
    return Subject(inputs, {name: x[None] for name, x in inputs.items()})


def rows_of(method: Lime, subject: Subject) -> dict[str, Array]:
    plan = next(method.explain(subject))
    [block] = plan.rows(0, plan.size)
    assert isinstance(block, SampleRows)
    return dict(block.values)


def normal(name: str, element: int, mean: float = 0.0, std: float = 1.0, missing: float = 0.0) -> GaussianColumn:
    return GaussianColumn(name, element, mean, std, missing)


def two(*members: Member, levels: object = (0.0, 1.0)) -> CategoricalColumn:
    return CategoricalColumn(members, np.asarray(levels), (0.5, 0.5), "two")


def test_elements_that_no_column_names_stay_at_x() -> None:
    x = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    table = GaussianTable((normal("", 7), normal("", 2)), (two(Member("", 5)),))
    got = rows_of(Lime(40, sampling=table), subject_of(x=x))["x"]
    assert got.shape == (40, 2, 2, 3)
    assert got.dtype == np.float32
    moved = (got.reshape(40, 12) != x.ravel()).any(axis=0)
    np.testing.assert_array_equal(np.flatnonzero(moved), [2, 5, 7])
    assert set(got[1:, 0, 1, 2]) == {0.0, 1.0}


def test_one_input_a_column_and_groups_across_inputs() -> None:
    """Inputs without columns aren't in the rows; a one-hot group draws one level for all its members."""
    subject = subject_of(
        age=np.array([30.0]), red=np.array([1], np.int64), blue=np.array([0], np.int64), city=np.array(["B"], object)
    )
    group = two(Member("red", 0), Member("blue", 0), levels=np.eye(2))
    towns = two(Member("city", 0), levels=np.array(["A", "B"], object))
    got = rows_of(Lime(50, sampling=GaussianTable((normal("age", 0, 40, 5),), (towns, group))), subject)
    assert set(got) == {"age", "red", "blue", "city"}
    assert {name: v.dtype for name, v in got.items()} == {name: v.dtype for name, v in subject.inputs.items()}
    np.testing.assert_array_equal(got["red"] + got["blue"], np.ones((50, 1)))
    assert set(got["city"][:, 0]) == {"A", "B"}
    assert set(rows_of(Lime(50, sampling=GaussianTable((normal("age", 0),))), subject)) == {"age"}


def test_rows_that_are_equal_run_once_where_all_features_are_categorical() -> None:
    table = QuartileTable((), (two(Member("", 0)), two(Member("", 1))))
    subject = subject_of(x=np.array([0.0, 1.0]))
    plan = next(Lime(500, sampling=table).explain(subject))
    assert plan.size == 4
    [block] = plan.rows(0, 4)
    assert {tuple(r) for r in block.values["x"].tolist()} == {(0, 0), (0, 1), (1, 0), (1, 1)}
    unseen = next(Lime(500, sampling=table).explain(subject_of(x=np.array([0.0, 7.0]))))
    assert unseen.size == 5
    np.testing.assert_array_equal(unseen.rows(0, 1)[0].values["x"], [[0.0, 7.0]])


def test_integers_are_rounded_to_the_nearest() -> None:
    table = GaussianTable((normal("", 0, 7.9, 0.05), normal("", 1, -7.9, 0.05)))
    got = rows_of(Lime(500, sampling=table), subject_of(x=np.array([3, 3])))["x"]
    np.testing.assert_array_equal(got[1:], np.tile([8, -8], (499, 1)))


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.int8])
def test_integers_stay_in_range(dtype: type) -> None:
    table = GaussianTable((normal("", 0, 120, 60),))
    got = rows_of(Lime(2000, sampling=table), subject_of(x=np.array([3], dtype)))["x"]
    assert got.dtype == dtype
    assert got.min() >= np.iinfo(dtype).min
    if dtype == np.int64:
        assert got.max() > 200
    else:
        assert got.max() == np.iinfo(dtype).max


def test_boundaries_round_to_the_inputs_dtype() -> None:
    """float32(0.1) lies above 0.1, but a table fitted to 0.1s in float64 means the bin that ends there."""
    column = QuartileColumn("", 0, (0.1,), (0.5, 0.5), (0.05, 0.2), (0.1, 0.1), (0.0, 0.1), (0.1, 0.3))
    for dtype, share in ((np.float32, 1.0), (np.float64, 1.0)):
        samples = np.array([[0.1], [0.04], [0.2]], dtype)
        method = Lime(sampling=QuartileTable((column,)), samples=PerInput({"": samples}), alpha=1e-9)
        explanation = method.explain(subject_of(x=np.array([0.1], dtype)))
        next(explanation)
        with pytest.raises(StopIteration) as end:
            explanation.send(Scores(np.array([[1.0], [1.0], [0.0]]), np.ones(1), np.ones((1, 1))))
        np.testing.assert_allclose(end.value.value.values, [[share]], atol=1e-6)


@pytest.mark.parametrize("missing", [False, True])
def test_a_missing_x_is_alike_to_missing_values(missing: bool) -> None:
    data = np.random.default_rng(0).normal(size=(200, 2))
    data[::4, 0] = NAN
    x = np.array([NAN if missing else 0.1, 0.2])
    got = answer(Lime(4000, sampling=fit_quartile(data), alpha=1e-6), row(x), lambda rows: np.isnan(rows[:, :1]) * 1.0)
    assert got.values is not None
    # Missing is a bin of its own: being in it is all the score. Else x's bin is without missing values, others mix.
    want = 1.0 if missing else -0.25 / (1 - 0.25 * 0.75)
    np.testing.assert_allclose(got.values[0], [want, 0.0], atol=0.03)


def test_all_missing() -> None:
    column = QuartileColumn("", 0, (), (1.0,), (0.0,), (1.0,), (-1.0,), (1.0,), 1.0)
    got = rows_of(Lime(30, sampling=QuartileTable((column,))), subject_of(x=np.array([0.5])))["x"]
    assert np.isnan(got[1:]).all()
    got = rows_of(Lime(30, sampling=GaussianTable((normal("", 0, missing=1.0),))), subject_of(x=np.array([0.5])))["x"]
    assert np.isnan(got[1:]).all()


def test_empty_bins_are_never_drawn() -> None:
    column = QuartileColumn(
        "",
        0,
        (0.0, 1.0, 2.0),
        (0.0, 0.5, 0.5, 0.0),
        (9.0, 0.5, 1.5, 9.0),
        (0.0,) * 4,
        (0.0, 0.0, 1.0, 0.0),
        (0.0, 1.0, 2.0, 0.0),
        0.2,
    )
    got = rows_of(Lime(5000, sampling=QuartileTable((column,))), subject_of(x=np.array([0.5])))["x"]
    assert set(got[~np.isnan(got)]) == {0.5, 1.5}
    np.testing.assert_allclose(np.isnan(got).mean(), 0.2, atol=0.03)


X = np.array([0.0, 1.0, 2.0])


@pytest.mark.parametrize(
    ("table", "field", "says"),
    [
        (GaussianTable((normal("y", 0),)), "columns[0].input", "'y' is not explained; explained: 'x', 'n', 's', 'b'"),
        (GaussianTable((normal("", 0),)), "columns[0].input", "'' is not explained"),
        (GaussianTable((normal("x", 0), normal("x", 3))), "columns[1].element", "elements 0 to 2"),
        (GaussianTable((normal("x", -1),)), "columns[0].element", "elements 0 to 2"),
        (GaussianTable((normal("x", 1), normal("x", 1))), "columns[1].element", "is in column 0 already"),
        (GaussianTable((normal("x", 1),), (two(Member("x", 1)),)), "categorical[0].members[0].element", "in column 0"),
        (
            GaussianTable((), (two(Member("x", 1), Member("x", 1), levels=np.eye(2)),)),
            "categorical[0].members[1].element",
            "is a member twice",
        ),
        (GaussianTable((), (two(Member("x", "age")),)), "categorical[0].members[0]", "no feature named 'age'"),
        (GaussianTable((normal("s", 0),)), "columns[0].element", "'s' holds text"),
        (GaussianTable((normal("b", 0),)), "columns[0].element", "'b' holds bool"),
        (GaussianTable((normal("n", 0, missing=0.1),)), "columns[0].missing_rate", "holds int64, which has no NaN"),
        (GaussianTable((), (two(Member("s", 0)),)), "categorical[0].levels", "levels of text"),
        (
            GaussianTable((), (two(Member("x", 0), levels=np.array(["a", "b"], object)),)),
            "categorical[0].levels",
            "text",
        ),
        (GaussianTable((), (two(Member("n", 0), levels=(0.0, 0.5)),)), "categorical[0].levels", "don't fit"),
        (GaussianTable((), (two(Member("b", 0), levels=(0, 2)),)), "categorical[0].levels", "don't fit"),
        (GaussianTable((normal("x", 0, std=0.0),)), "columns[0].std", "above 0"),
        (GaussianTable(), "columns", "at least one column"),
    ],
)
def test_tables_that_don_t_fit_the_inputs(table: GaussianTable, field: str, says: str) -> None:
    subject = subject_of(x=X, n=np.array([1, 2]), s=np.array(["a"], object), b=np.array([True]))
    with pytest.raises(InvalidRequest, match=says) as caught:
        next(Lime(sampling=table).explain(subject))
    assert caught.value.field == f"sampling.gaussian.{field}"


def test_the_field_of_a_quartile_table() -> None:
    column = dataclasses.replace(fit_quartile(np.random.default_rng(0).normal(size=(9, 1))).columns[0], input="y")
    with pytest.raises(InvalidRequest) as caught:
        next(Lime(sampling=QuartileTable((column,))).explain(subject_of(x=X)))
    assert caught.value.field == "sampling.quartile.columns[0].input"


@pytest.mark.parametrize(
    ("samples", "says"),
    [
        ({"x": np.zeros((4, 3))}, "no samples for input 'y'"),
        ({"x": np.zeros((4, 2)), "y": np.zeros((4, 1), np.float32)}, r"shape \[4, 2\], not \[n, 3\]"),
        ({"x": np.zeros((0, 3)), "y": np.zeros((4, 1), np.float32)}, r"shape \[0, 3\], not \[n, 3\]"),
        ({"x": np.zeros((4, 3)), "y": np.zeros((5, 1), np.float32)}, "as many samples"),
        ({"x": np.zeros((4, 3), np.float32), "y": np.zeros((4, 1))}, "are float32, the input float64"),
        ({"x": np.zeros((4, 3), np.int64), "y": np.zeros((4, 1))}, "are int64"),
    ],
)
def test_samples_that_don_t_fit_the_inputs(samples: dict[str, Array], says: str) -> None:
    table = GaussianTable((normal("x", 0), normal("y", 0)))
    with pytest.raises(InvalidTensor, match=says) as caught:
        next(Lime(sampling=table, samples=PerInput(samples)).explain(subject_of(x=X, y=np.zeros(1, np.float32))))
    assert caught.value.field == "samples"


def test_given_rows_are_taken_whole() -> None:
    """Elements that no column names as well."""
    samples = np.random.default_rng(0).normal(size=(4, 3))
    got = rows_of(
        Lime(sampling=GaussianTable((normal("x", 1),)), samples=PerInput({"x": samples})),
        subject_of(x=X.astype(np.float32)),
    )
    np.testing.assert_array_equal(got["x"], samples.astype(np.float32))


def drawn(x: float, table: object, stream: int = 5, samples: int = 40) -> Array:
    subject = dataclasses.replace(subject_of(x=np.full(2, x, np.float32)), stream=stream)
    return rows_of(Lime(sampling=table, num_samples=samples), subject)["x"]  # type: ignore[arg-type]


def test_instances_of_one_stream_draw_the_same_rows_but_for_x_itself() -> None:
    table = GaussianTable((normal("x", 0), normal("x", 1)))
    first, again = drawn(1.0, table), drawn(2.0, table)
    np.testing.assert_array_equal(first[0], [1.0, 1.0])
    np.testing.assert_array_equal(again[0], [2.0, 2.0])
    np.testing.assert_array_equal(first[1:], again[1:])
    np.testing.assert_array_equal(drawn(1.0, table), first)  # which the second one left as they were
    assert not (drawn(1.0, table, stream=6)[1:] == first[1:]).any()
    np.testing.assert_array_equal(drawn(1.0, table, samples=30), first[:30])
    fresh = GaussianTable((normal("x", 0), normal("x", 1)))  # equal, and another
    np.testing.assert_array_equal(drawn(1.0, fresh), first)


def test_samples_that_are_kept_are_those_that_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    table = GaussianTable((normal("x", 0), normal("x", 1, missing=0.3)))
    kept = [drawn(1.0, table) for _ in range(2)]
    monkeypatch.setattr("assayd.methods.lime.tables._KEPT_CELLS", 0)
    for rows in kept:
        np.testing.assert_array_equal(rows, drawn(1.0, table))


def test_rows_are_drawn_once_for_all_who_draw_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    table = GaussianTable((normal("x", 0), normal("x", 1)))
    kept = tables._drawn_before.cache
    kept.clear()
    for x, stream in ((1.0, 5), (2.0, 5), (1.0, 6), (3.0, 5)):
        drawn(x, table, stream=stream, samples=30)
    assert len(kept) == 2
    assert kept.currsize >= 2 * 30 * 2 * 4  # counted by what they hold
    assert kept.currsize < kept.maxsize == 64 * 2**20
    monkeypatch.setattr(tables, "_KEPT_CELLS", 59)
    drawn(1.0, table, stream=7, samples=30)
    assert len(kept) == 2


def test_columns_that_follow_each_other_are_a_slice() -> None:
    grid = np.arange(12).reshape(2, 6)
    for numbers, sliced in (([2, 3, 4], True), ([0], True), ([4, 3], False), ([0, 2], False), ([], False)):
        found = chosen(np.array(numbers, np.int64))
        assert isinstance(found, slice) is sliced
        np.testing.assert_array_equal(grid[:, found], grid[:, np.array(numbers, np.int64)])
