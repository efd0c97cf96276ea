"""Files as parts of instances: what becomes of columns, and what is refused."""

from __future__ import annotations

import datetime as dt
import decimal
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import assay
from assay.data.arrays import ArrayData
from assay.data.files import read_data
from assay.models import ModelSpec, TensorInfo


def model(*infos, names=None):
    spec = ModelSpec(feature_names={} if names is None else {infos[0].name: names})
    return assay.Model("m", "1", "", inputs=infos, spec=spec)


def column(name, dtype, shape=(1,)):
    return TensorInfo(name, dtype, shape)


def parquet(path, columns, **options):
    pq.write_table(pa.table(columns), path, **options)
    return path


def joined(data):
    """All parts together: inputs, keys."""
    parts = list(data)
    inputs = {name: np.concatenate([p.inputs[name] for p in parts]) for name in parts[0].inputs}
    return inputs, None if parts[0].keys is None else [key for p in parts for key in p.keys]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_parts_stay_below_both_limits():
    assert [len(p.inputs["x"]) for p in ArrayData({"x": np.zeros((600, 2), np.float32)})] == [256, 256, 88]
    wide = ArrayData({"x": np.zeros((10, 1 << 20), np.float32)})  # 4 MiB a row
    assert [len(p.inputs["x"]) for p in wide] == [2] * 5
    assert [len(p.inputs["x"]) for p in ArrayData({"x": np.zeros((2, 3 << 20), np.float32)})] == [1, 1]
    assert [len(p.inputs["x"]) for p in ArrayData({"x": np.zeros((5, 1))}, None, 2)] == [2, 2, 1]
    keyed = list(ArrayData({"x": np.zeros((3, 1))}, ["a", "b", "c"], 2))
    assert [p.keys for p in keyed] == [["a", "b"], ["c"]]
    assert len(ArrayData({"x": np.zeros((5, 1))})) == 5


@pytest.mark.parametrize(
    ("inputs", "keys", "said"),
    [
        ({"x": np.zeros((3, 1)), "y": np.zeros(2)}, None, "same number of instances"),
        ({"x": np.zeros((0, 1))}, None, "at least 1"),
        ({}, None, "at least 1"),
        ({"x": np.zeros((3, 1))}, ["a"], "1 keys for 3 instances"),
    ],
)
def test_arrays_that_dont_fit_together_are_refused(inputs, keys, said):
    with pytest.raises(assay.InvalidArgument, match=said):
        ArrayData(inputs, keys)


# ---- npz ---------------------------------------------------------------------------------------------------------


def test_arrays_of_an_npz_by_name(folder):
    np.savez("d.npz", x=np.arange(6.0).reshape(3, 2), s=np.array(["a", "b", "c"]), id=np.array([7, 8, 9]), other=1)
    m = model(column("x", "float32", (2,)), column("s", "str", ()))
    inputs, keys = joined(read_data("d.npz", m, key_column="id"))
    assert inputs["x"].dtype == np.float32
    assert inputs["s"].tolist() == ["a", "b", "c"]
    assert keys == ["7", "8", "9"]
    inputs, keys = joined(read_data("d.npz", m, key_column="id", rows=slice(1, None)))
    assert (inputs["x"].tolist(), keys) == ([[2, 3], [4, 5]], ["8", "9"])
    inputs, _ = joined(read_data("d.npz", model(column("age", "float64", ())), columns={"age": ["id"]}))
    assert inputs["age"].tolist() == [7, 8, 9]


@pytest.mark.parametrize(
    ("options", "field", "said"),
    [
        ({}, "data", "no array 'z' for input z float32 [1]; it holds x, lone"),
        ({"columns": {"z": ["lone"]}}, "columns", "'lone' of d.npz has no instances"),
        ({"columns": {"z": ["x", "x"]}}, "columns", "one array of d.npz makes input"),
        ({"columns": {"q": ["x"]}}, "columns", "no input 'q'; it has z"),
        ({"columns": {"z": ["x"]}, "key_column": "id"}, "key_column", "no array 'id' for keys"),
        ({"part_rows": 0}, "part_rows", "0 is no number"),
    ],
)
def test_what_an_npz_lacks_is_named(folder, options, field, said):
    np.savez("d.npz", x=np.zeros((3, 1)), lone=1.0)
    with pytest.raises(assay.InvalidArgument) as refused:
        read_data("d.npz", model(column("z", "float32")), **options)
    ((named, text),) = refused.value.violations
    assert named == field
    assert said in text


def test_a_file_that_is_neither_or_isnt_there_is_told(folder):
    m = model(column("x", "float32"))
    for name in ("d.npz", "d.parquet"):
        with pytest.raises(FileNotFoundError) as gone:
            read_data(name, m)
        assert gone.value.filename
        (folder / name).write_bytes(b"nonsense")
        with pytest.raises(assay.InvalidArgument, match=name):
            read_data(name, m)
    with pytest.raises(assay.InvalidArgument, match=r"neither a \.npz nor a \.parquet"):
        read_data("d.csv", m)


# ---- Parquet -----------------------------------------------------------------------------------------------------


def test_columns_become_inputs_of_their_name_and_dtype(folder):
    parquet(
        "d.parquet",
        {
            "age": pa.array([30, 41, 52], pa.int32()),
            "income": pa.array([1.5, None, float("nan")], pa.float64()),
            "debt": pa.array([1, None, 3], pa.int64()),
            "rate": [decimal.Decimal("1.25")] * 3,
            "city": pa.array(["Bern", "Ö", ""]),
            "job": pa.array(["a", "b", "a"]).dictionary_encode(),
            "own": [True, False, True],
            "spare": [0, 0, 0],
        },
    )
    m = model(
        column("age", "int64"),
        column("income", "float32"),
        column("debt", "float64", ()),
        column("rate", "float32"),
        column("city", "str"),
        column("job", "str", ()),
        column("own", "bool"),
    )
    inputs, keys = joined(read_data("d.parquet", m))
    assert keys is None
    assert {name: (a.dtype.name, a.shape) for name, a in inputs.items()} == {
        "age": ("int64", (3, 1)),
        "income": ("float32", (3, 1)),
        "debt": ("float64", (3,)),
        "rate": ("float32", (3, 1)),
        "city": ("object", (3, 1)),
        "job": ("object", (3,)),
        "own": ("bool", (3, 1)),
    }
    np.testing.assert_array_equal(inputs["income"].ravel(), [1.5, np.nan, np.nan])
    np.testing.assert_array_equal(inputs["debt"], [1, np.nan, 3])
    assert inputs["city"].ravel().tolist() == ["Bern", "Ö", ""]
    assert inputs["job"].tolist() == ["a", "b", "a"]
    assert inputs["own"].ravel().tolist() == [True, False, True]
    assert inputs["rate"][0, 0] == 1.25


def test_several_columns_make_one_input(folder):
    parquet("d.parquet", {"a": [1.0, 2], "b": [3, 4], "c": [5.0, None], "id": [10, 11]})
    x = column("x", "float32", (3,))
    for m, columns in ((model(x), {"x": ["a", "b", "c"]}), (model(x, names=("a", "b", "c")), None)):
        inputs, keys = joined(read_data("d.parquet", m, columns=columns, key_column="id"))
        np.testing.assert_array_equal(inputs["x"], np.array([[1, 3, 5], [2, 4, np.nan]], np.float32))
        assert keys == ["10", "11"]
    inputs, _ = joined(read_data("d.parquet", model(x), columns={"x": ["c", "a", "b"]}))
    np.testing.assert_array_equal(inputs["x"][0], [5, 1, 3])


def test_columns_of_lists(folder):
    rows = [[1.0, 2, 3, 4], [5, 6, None, 8]]
    parquet(
        "d.parquet", {"x": rows, "fixed": pa.array(rows, pa.list_(pa.float32(), 4)), "words": [["a", "b"], ["c", "d"]]}
    )
    expected = np.array([[1, 2, 3, 4], [5, 6, np.nan, 8]], np.float32)
    for name in ("x", "fixed"):
        for shape, made in (((4,), (4,)), ((2, 2), (2, 2)), ((-1,), (4,)), ((2, -1), (2, 2))):
            data = read_data("d.parquet", model(column("i", "float32", shape)), columns={"i": [name]})
            inputs, _ = joined(data)
            np.testing.assert_array_equal(inputs["i"].reshape(2, 4), expected)
            assert inputs["i"].shape == (2, *made)
    inputs, _ = joined(read_data("d.parquet", model(column("words", "str", (2,)))))
    assert inputs["words"].tolist() == [["a", "b"], ["c", "d"]]


@pytest.mark.parametrize(
    ("values", "dtype", "said"),
    [
        (["a", None], "str", "column 'v' has no value in row 1, and only a floating one may be missing"),
        ([1, None], "int64", "column 'v' has no value in row 1"),
        ([True, None], "bool", "column 'v' has no value in row 1"),
        ([["a", "b"], None], "str", "column 'v' has no value in row 1"),
        ([1, 2], "str", "column 'v' holds int64, input 'v' takes str"),
        (["1", "2"], "float32", "column 'v' holds string, input 'v' takes float32"),
        (["1", "2"], "int64", "column 'v' holds string, input 'v' takes int64"),
        ([1.5, 2.0], "int64", "column 'v' holds double, input 'v' takes int64"),
        ([1, 300], "uint8", "column 'v' doesn't fit uint8"),
        ([1, 2], "bool", "column 'v' holds int64, input 'v' takes bool"),
        ([dt.date(2020, 1, 1)] * 2, "float32", "column 'v' holds date32"),
        ([[1.0], [1.0, 2.0]], "float32", "lists of column 'v' differ in length"),
        ([[1.0, 2.0]] * 2, "float32", "takes 1 values a row; column 'v': 2"),
    ],
)
def test_values_that_arent_the_inputs_are_refused(folder, values, dtype, said):
    parquet("d.parquet", {"v": values})
    with pytest.raises(assay.InvalidArgument) as refused:
        list(read_data("d.parquet", model(column("v", dtype))))
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "say which columns of d.parquet make input x float32 [2]; it has a, b, k"),
        ({"columns": {"x": ["a", "q"]}}, "no column 'q'; it has a, b, k"),
        ({"columns": {"q": ["a"]}}, "m@1 has no input 'q'; it has x"),
        ({"columns": {"x": ["a"]}}, "takes 2 values a row; column 'a': 1"),
        ({"columns": {"x": ["a", "b", "a"]}}, "takes 2 values a row; 3 columns: 3"),
        ({"columns": {"x": ["a", "b"]}, "key_column": "q"}, "no column 'q'"),
        ({"columns": {"x": ["a", "b"]}, "key_column": "k"}, "row 1 has no key"),
        ({"columns": {"x": ["a", "b"]}, "rows": slice(5, 9)}, "has 2 rows, and none of those"),
    ],
)
def test_columns_that_arent_there_are_named(folder, options, said):
    parquet("d.parquet", {"a": [1.0, 2], "b": [1.0, 2], "k": ["x", None]})
    with pytest.raises(assay.InvalidArgument) as refused:
        list(read_data("d.parquet", model(column("x", "float32", (2,))), **options))
    assert said in str(refused.value)


def test_rows_are_picked_across_row_groups(folder):
    parquet("d.parquet", {"x": np.arange(100.0), "id": [f"r{n}" for n in range(100)]}, row_group_size=7)
    m = model(column("x", "float64"))
    for rows in (slice(None), slice(0, 7), slice(7, 14), slice(5, 40), slice(41, 42), slice(90, None)):
        data = read_data("d.parquet", m, key_column="id", rows=rows, part_rows=4)
        inputs, keys = joined(data)
        wanted = np.arange(100.0)[rows]
        np.testing.assert_array_equal(inputs["x"].ravel(), wanted)
        assert keys == [f"r{int(n)}" for n in wanted]
        assert len(data) == len(wanted)
        assert max(len(p.inputs["x"]) for p in data) <= 4  # and they can be gone through again


def test_a_missing_value_is_told_by_its_row_in_the_file(folder):
    parquet("d.parquet", {"s": ["a"] * 50 + [None] + ["b"] * 9}, row_group_size=8)
    data = read_data("d.parquet", model(column("s", "str")), rows=slice(20, None), part_rows=5)
    with pytest.raises(assay.InvalidArgument, match="row 50"):
        list(data)


LEAN = """
import sys
import assay, pyarrow, pyarrow.parquet
from assay.models import TensorInfo
if sys.argv[2] == "parts":
    data = assay.read_data(sys.argv[1], assay.Model("m", "1", "", inputs=(TensorInfo("x", "float32", (2500,)),)))
    assert sum(len(part.inputs["x"]) for part in data) == 8000
else:
    pyarrow.parquet.read_table(sys.argv[1])
print(pyarrow.default_memory_pool().max_memory())
"""


@pytest.mark.parametrize(("how", "lean"), [("parts", True), ("whole", False)])
@pytest.mark.parametrize("group", [500, 8000])
def test_a_large_file_is_read_as_it_is_needed(folder, group, how, lean):
    """80 MB in row groups of 5 MB, or a single one; and as a whole, to see that the memory is seen."""
    values = pa.array(np.random.default_rng(0).random(8000 * 2500, np.float32))
    pq.write_table(pa.table({"x": pa.FixedSizeListArray.from_arrays(values, 2500)}), "d.parquet", row_group_size=group)
    done = subprocess.run([sys.executable, "-c", LEAN, "d.parquet", how], capture_output=True, text=True, check=True)
    assert (int(done.stdout) < 40e6) == lean


def test_without_pyarrow_it_says_what_to_install(folder, monkeypatch):
    parquet("d.parquet", {"x": [1.0]})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(assay.InvalidArgument, match=r"pip install 'onnx-assay\[parquet\]'"):
        read_data("d.parquet", model(column("x", "float32")))
