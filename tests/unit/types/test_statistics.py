"""Statistics that contradict each other are refused, naming the field."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from assayd.errors import InvalidRequest
from assayd.methods import METHODS
from assayd.types.request import Member
from assayd.types.statistics import (
    CategoricalColumn,
    GaussianColumn,
    GaussianTable,
    QuartileColumn,
    QuartileTable,
    inputs_of,
    table_of,
    with_names,
)

NAN, INF = np.nan, np.inf
COLUMN = QuartileColumn(
    "x", 3, (1.0, 2.0), (0.25, 0.5, 0.25), (0.5, 1.5, 3.0), (0.1, 0.2, 0.0), (0.0, 1.0, 2.0), (1.0, 2.0, 4.0), 0.1
)
GAUSSIAN = GaussianColumn("x", 3, 1.0, 2.0, 0.1)
CODE = CategoricalColumn((Member("x", 4),), np.array([0.0, 1.0]), (0.3, 0.7), "code")
GROUP = CategoricalColumn((Member("x", 4), Member("x", 5)), np.eye(2), (0.3, 0.7), "group")


def test_what_is_in_order_passes() -> None:
    QuartileTable((COLUMN,), (CODE, GROUP)).check()
    GaussianTable((GAUSSIAN,), (CODE,)).check()
    GaussianTable((), (GROUP,)).check()
    # What nobody draws from may be anything: `lime` leaves zeros in bins without training rows.
    empty = dataclasses.replace(COLUMN, frequencies=(0.5, 0.5, 0.0), means=(0.5, 1.5, 0.0))
    QuartileTable((empty,)).check()
    one = QuartileColumn("", 0, (), (1.0,), (2.0,), (0.0,), (2.0,), (2.0,))
    QuartileTable((one,)).check()


@pytest.mark.parametrize(
    ("change", "field", "says"),
    [
        ({"frequencies": ()}, "frequencies", "1 to 256 bins, not 0"),
        ({"boundaries": (1.0,)}, "boundaries", "3 bins have 2 boundaries between them, not 1"),
        ({"boundaries": (1.0, NAN)}, "boundaries", "finite"),
        ({"boundaries": (2.0, 1.0)}, "boundaries", "ascend"),
        ({"boundaries": (1.0, 1.0)}, "boundaries", "ascend"),
        ({"frequencies": (0.5, 0.5, 0.5)}, "frequencies", "sum to 1.5"),
        ({"frequencies": (1.5, -0.5, 0.0)}, "frequencies", "aren't negative"),
        ({"frequencies": (NAN, 0.5, 0.5)}, "frequencies", "aren't negative"),
        ({"means": (0.5, 1.5)}, "means", "2 means for 3 bins"),
        ({"means": (0.5, 1.5, INF)}, "means", "finite"),
        ({"means": (0.5, 2.5, 3.0)}, "means", r"the mean 2.5 of bin 1 lies outside 1.0 to 2.0"),
        ({"stds": (0.1, -0.2, 0.0)}, "stds", "bin 1 has -0.2"),
        ({"stds": (0.1, NAN, 0.0)}, "stds", "finite"),
        ({"mins": (0.0, 1.0, 5.0)}, "mins", "bin 2 has its smallest value 5.0 above its largest 4.0"),
        ({"mins": (0.0, 0.5, 2.0)}, "mins", "bin 1 begins at 1.0; 0.5 lies below"),
        ({"maxs": (1.0, 2.5, 4.0)}, "maxs", "bin 1 ends at 2.0; 2.5 lies above"),
        ({"missing_rate": -0.1}, "missing_rate", "between 0 and 1; -0.1"),
        ({"missing_rate": 1.1}, "missing_rate", "between 0 and 1"),
        ({"missing_rate": NAN}, "missing_rate", "between 0 and 1"),
    ],
)
def test_bins_that_contradict_each_other(change: dict[str, object], field: str, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says) as caught:
        QuartileTable((COLUMN, dataclasses.replace(COLUMN, **change))).check()
    assert caught.value.field == f"columns[1].{field}"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"mean": NAN}, "mean"),
        ({"std": 0.0}, "std"),
        ({"std": -1.0}, "std"),
        ({"std": INF}, "std"),
        ({"std": NAN}, "std"),
        ({"missing_rate": 2.0}, "missing_rate"),
    ],
)
def test_normal_distributions_that_are_none(change: dict[str, float], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        GaussianTable((dataclasses.replace(GAUSSIAN, **change),)).check()
    assert caught.value.field == f"columns[0].{field}"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"members": ()}, "members"),
        ({"levels": np.zeros(3)}, "levels"),
        ({"levels": np.eye(2)}, "levels"),
        ({"levels": np.zeros(0), "frequencies": ()}, "levels"),
        ({"frequencies": (0.3, 0.3)}, "frequencies"),
    ],
)
def test_levels_that_contradict_each_other(change: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        QuartileTable((), (GROUP, dataclasses.replace(CODE, **change))).check()
    assert caught.value.field == f"categorical[1].{field}"


def test_a_table_without_columns() -> None:
    with pytest.raises(InvalidRequest, match="at least one column") as caught:
        GaussianTable().check()
    assert caught.value.field == "columns"


def test_too_many_bins() -> None:
    n = 257
    ends = tuple(float(k) for k in range(n))
    column = QuartileColumn("", 0, ends[1:], (1 / n,) * n, ends, ends, ends, ends)
    with pytest.raises(InvalidRequest, match="1 to 256 bins, not 257"):
        column.check()


def test_names_come_from_the_models_spec() -> None:
    names = {"x": ("a", "b", "c", "d", "e", "f")}
    by_name = CategoricalColumn((Member("", "e"), Member("x", "f")), np.eye(2), (0.5, 0.5), "mine")
    unnamed = dataclasses.replace(CODE, name="")
    table = QuartileTable((dataclasses.replace(COLUMN, input=""),), (by_name, unnamed))
    got = with_names(table, ["x"], names)
    assert isinstance(got, QuartileTable)
    assert got.columns[0].name == "d"
    assert got.categorical[0].members == (Member("x", 4), Member("x", 5))
    assert [c.name for c in got.categorical] == ["mine", "e"]
    other = with_names(GaussianTable((GAUSSIAN,)), ["x", "y"], {})
    assert other.columns[0].name == ""


@pytest.mark.parametrize(("name", "says"), [("z", "is no feature named 'z'"), ("a", "several features are named 'a'")])
def test_a_name_must_be_that_of_one_feature(name: str, says: str) -> None:
    column = CategoricalColumn((Member("x", 0), Member("x", name)), np.eye(2), (0.5, 0.5))
    with pytest.raises(InvalidRequest, match=says) as caught:
        with_names(QuartileTable((), (CODE, column)), ["x"], {"x": ("a", "a", "b")})
    assert caught.value.field == "categorical[1].members[1]"


def test_a_member_by_name_finds_its_input() -> None:
    column = CategoricalColumn((Member("", "b"), Member("y", "c")), np.eye(2), (0.5, 0.5))
    got = with_names(QuartileTable((), (column,)), ["x", "y"], {"x": ("a", "b"), "y": ("c",)})
    assert got.categorical[0].members == (Member("x", 1), Member("y", 0))
    with pytest.raises(InvalidRequest, match="several features are named 'b' among the explained inputs"):
        with_names(QuartileTable((), (column,)), ["x", "y"], {"x": ("a", "b"), "y": ("b", "c")})


def test_a_table_says_whose_columns_it_has() -> None:
    column = CategoricalColumn((Member("u", 0), Member("v", 1)), np.eye(2), (0.5, 0.5))
    table = QuartileTable((dataclasses.replace(COLUMN, input="w"),), (column,))
    assert inputs_of(table) == {"u", "v", "w"}
    assert inputs_of(GaussianTable((dataclasses.replace(GAUSSIAN, input=""),))) == {""}


def test_the_table_of_a_method_is_the_one_it_draws_from() -> None:
    table = GaussianTable((GAUSSIAN,))
    assert table_of(METHODS["lime"](sampling=table)) is table
    assert table_of(METHODS["lime"]()) is None
    assert table_of(METHODS["occlusion"]()) is None
