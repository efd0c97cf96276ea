"""Training statistics of tables, made from what callers have: matrices, columns by input, data frames."""

import numpy as np
import pytest

from assay.errors import InvalidArgument
from assay.features import Group
from assay.statistics import GaussianTable, QuartileTable

NAN = float("nan")
AGE, CITY = [30, 40, 50, 60], ["Rome", "Oslo", "Rome", "Rome"]
DEBT = np.array([1, NAN, 3, 5], np.float32)


class Frame:
    """What a data frame looks like from outside."""

    def __init__(self, **columns):
        self._held = columns
        self.columns = list(columns)

    def __getitem__(self, name):
        return self._held[name]


RECORDS = np.array(list(zip(AGE, CITY, DEBT, strict=True)), [("age", "i8"), ("city", object), ("debt", "f4")])


@pytest.mark.parametrize(
    "rows",
    [
        {"age": np.array(AGE), "city": np.array(CITY), "debt": DEBT},
        {"age": np.array(AGE)[:, None], "city": np.array(CITY, dtype=object)[:, None], "debt": DEBT[:, None]},
        Frame(age=AGE, city=CITY, debt=DEBT),
        RECORDS,
    ],
    ids=["columns", "inputs", "frame", "records"],
)
@pytest.mark.parametrize("kind", [QuartileTable, GaussianTable])
def test_columns_by_input(kind, rows):
    table = kind.fit(rows)
    assert [(c.input, c.element) for c in table.columns] == [("age", 0), ("debt", 0)]
    assert [c.missing_rate for c in table.columns] == [0, 0.25]
    (city,) = table.categorical
    assert city.group.members == (("city", 0),)
    assert (city.levels.tolist(), city.frequencies) == (["Oslo", "Rome"], (0.25, 0.75))
    message = table.encode()
    (column,) = (message.quartile if kind is QuartileTable else message.gaussian).categorical
    assert (column.members[0].input, column.members[0].index) == ("city", 0)
    assert list(column.levels.strings.values) == ["Oslo", "Rome"]


@pytest.mark.parametrize("kind", [QuartileTable, GaussianTable])
@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (np.array([[1, 2], [3, np.inf], [np.nan, 5]]), "column 1 is infinite in row 1"),
        ({"age": AGE, "debt": np.array([1, NAN, -np.inf, 5], np.float32)}, "'debt' is infinite in row 2"),
    ],
)
def test_infinite_values_are_refused_by_their_column(kind, rows, said):
    with pytest.raises(InvalidArgument, match=said):
        kind.fit(rows)
    with pytest.raises(InvalidArgument, match=said):
        kind.fit(rows, categorical=["debt" if isinstance(rows, dict) else 1])


def test_integers_are_categorical_as_told():
    table = QuartileTable.fit({"age": AGE, "two": np.array([[1, 5], [2, 5], [2, 6], [1, 5]])}, categorical=["two"])
    assert [c.input for c in table.columns] == ["age"]
    assert [(f.group.members, f.levels.tolist()) for f in table.categorical] == [
        ((("two", 0),), [1, 2]),
        ((("two", 1),), [5, 6]),
    ]
    one = QuartileTable.fit({"two": np.array([[1, 5], [2, 5]])}, categorical=[("two", 1)])
    assert [c.element for c in one.columns] == [0]


@pytest.mark.parametrize("rows", [np.array([CITY, CITY]).T, np.array([[True, False]] * 3)], ids=["text", "bool"])
def test_a_matrix_of_text_or_bool_is_categorical_by_itself(rows):
    table = GaussianTable.fit(rows)
    assert not table.columns
    assert [f.group.members for f in table.categorical] == [(0,), (1,)]


def test_the_input_of_a_matrix_stands_in_every_column():
    rows = np.array([[1, 0, 1], [2, 1, 0], [3, 1, 0]], np.float64)
    group = Group("hot", (1, 2), "one_hot")
    table = QuartileTable.fit(rows, groups=[group], input="x")
    assert [(c.input, c.element) for c in table.columns] == [("x", 0)]
    (feature,) = table.categorical
    assert (feature.group.name, feature.group.members) == ("hot", (("x", 1), ("x", 2)))
    assert feature.levels.tolist() == [[0, 1], [1, 0]]
    coded = QuartileTable.fit(rows, categorical=[1], input="x").categorical[0]
    assert coded.group.members == (("x", 1),)
    assert QuartileTable.fit(rows, groups=[group]).categorical[0].group.members == (1, 2)


def test_a_group_over_several_inputs_has_the_rows_that_were_seen():
    rows = {"job": ["a", "b", "a", "a"], "city": CITY}
    (feature,) = QuartileTable.fit(rows, groups=[Group("who", ("city", ("job", 0)))]).categorical
    assert feature.levels.tolist() == [["Oslo", "b"], ["Rome", "a"]]
    assert feature.frequencies == (0.25, 0.75)
    assert feature.group.members == (("city", 0), ("job", 0))


def test_a_missing_code_is_a_level():
    (feature,) = QuartileTable.fit(np.array([[1.0], [NAN], [2.0], [NAN]]), categorical=[0]).categorical
    np.testing.assert_array_equal(feature.levels, [1, 2, NAN])
    assert feature.frequencies == (0.25, 0.25, 0.5)
    rows = np.array([[1, NAN], [1, NAN], [0, 1]])
    (group,) = QuartileTable.fit(rows, groups=[Group("g", (0, 1))]).categorical
    assert group.frequencies == (1 / 3, 2 / 3)


@pytest.mark.parametrize(
    ("rows", "kind", "field", "says"),
    [
        (np.zeros(3), {}, "X", "training rows are a matrix"),
        (np.zeros((0, 3)), {}, "X", "matrix"),
        (np.zeros((2, 1), "M8[s]"), {}, "X", "datetime64"),
        ({"a": np.float32(1)}, {}, "X", "input 'a' takes an array"),
        ({}, {}, "X", "names of inputs"),
        ({"": [1]}, {}, "X", "names of inputs"),
        ({"a": [1, 2], "b": [1]}, {}, "X", "'b' has 1 rows, the first 2"),
        ({"a": [1, 2]}, {"input": "x"}, "input", "name their inputs themselves"),
        ({"a": [1, 2]}, {"categorical": ["b"]}, "categorical", "no column 'b'; it has 'a'"),
        ({"a": [1, 2]}, {"categorical": [0]}, "categorical", "no column 0"),
        (np.zeros((2, 2)), {"categorical": [2]}, "categorical", "no column 2; it has column 0, column 1"),
        (np.zeros((2, 2)), {"groups": [Group("g", ("a",))]}, "groups", "no column 'a'"),
        ({"a": np.array(["x", NAN], object)}, {}, "X", "'a' holds text and something else"),
        ({"a": np.array([["x", "y"], ["x", 1]], object)}, {}, "X", "column 1 of 'a' holds text and"),
        ({"a": CITY, "b": AGE}, {"groups": [Group("g", ("a", "b"))]}, "groups", "'g' holds text and numbers"),
        (np.full((3, 1), NAN), {}, "X", "column 0 has no value at all"),
        ({"a": [NAN, NAN]}, {}, "X", "'a' has no value at all"),
    ],
)
@pytest.mark.parametrize("table", [QuartileTable, GaussianTable])
def test_what_is_no_table_is_refused(table, rows, kind, field, says):
    with pytest.raises(InvalidArgument, match=says) as got:
        table.fit(rows, **kind)
    assert got.value.violations[0][0] == field
