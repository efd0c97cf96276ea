from __future__ import annotations

import argparse
import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import assay
from assay.cli.arguments import parser
from assay.cli.flags import method_of, parameter_docs, target
from assay.methods import METHODS

DIGITS = assay.Model("digits", "1", "sha256:" + "12" * 32)
COMMON = ["explain", "METHOD", "digits", "--input", "x.npy"]


def parsed(method, *flags, model=None):
    words = [method if word == "METHOD" else word for word in COMMON]
    return method_of(parser().parse_args([*words, *flags]), model or DIGITS)


def same(method, expected):
    assert type(method) is type(expected)
    for parameter in dataclasses.fields(expected):
        found, wanted = getattr(method, parameter.name), getattr(expected, parameter.name)
        np.testing.assert_equal(found, wanted, parameter.name)


@pytest.mark.parametrize("name", METHODS)
def test_every_parameter_is_described_and_has_a_flag(name, capsys):
    parameters = {parameter.name for parameter in dataclasses.fields(METHODS[name])}
    assert set(parameter_docs(METHODS[name])) == parameters
    with pytest.raises(SystemExit) as done:
        parser().parse_args(["explain", name, "--help"])
    assert done.value.code == 0
    shown = capsys.readouterr().out
    assert all(f"--{parameter.replace('_', '-')} " in shown for parameter in parameters - {"error_estimate"})
    assert "CUT is elements, grid:ROWS,COLS" in " ".join(shown.split())


def test_no_flags_are_the_defaults():
    for name in ("occlusion", "lime", "jacobian"):
        same(parsed(name), METHODS[name]())


def test_a_new_method_gets_its_flags_by_itself():
    from assay.cli.flags import add_method_flags

    @dataclasses.dataclass(frozen=True)
    class Novel:
        """New.

        Attributes:
            count: how many,
                over two lines.
            share: which part, in %.
        """

        count: int
        share: float = 0.5

    command = argparse.ArgumentParser()
    add_method_flags(command.add_argument_group(), Novel)
    command.set_defaults(method=Novel)
    assert method_of(command.parse_args(["--count", "3"]), DIGITS) == Novel(3)
    assert method_of(command.parse_args(["--count", "3", "--share", "0.25"]), DIGITS) == Novel(3, 0.25)
    assert "how many, over two lines" in " ".join(command.format_help().split())


def test_occlusion():
    flags = ["--window", "8,8", "--stride", "image=4,4", "--stride", "mask=2", "--baseline", "0.5", "--edge", "valid"]
    expected = assay.Occlusion((8, 8), {"image": [4, 4], "mask": [2]}, baseline=0.5, edge="valid")
    same(dataclasses.replace(parsed("occlusion", *flags), window=(8, 8)), expected)
    assert parsed("occlusion", "--window", "8,8").window == [8, 8]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.5", 0.5),
        ("-1", -1.0),
        ("mean", assay.MeanBaseline()),
        ("mean:1,2", assay.MeanBaseline((1, 2))),
        ("blur:2", assay.GaussianBlur(2.0)),
        ("segment-mean", assay.SegmentMean()),
        ("sha256:" + "0" * 64, "sha256:" + "0" * 64),
        ("image=mean", {"image": assay.MeanBaseline()}),
    ],
)
def test_baselines(text, expected):
    assert parsed("occlusion", "--baseline", text).baseline == expected


def test_features(tmp_path):
    for text, expected in (
        ("elements", assay.Elements()),
        ("groups", assay.Groups()),
        ("grid:4,5", assay.Grid(4, 5)),
        ("superpixels:30", assay.Superpixels(30)),
    ):
        assert parsed("lime", "--features", text).features == expected
    np.save(tmp_path / "s.npy", np.arange(3))
    segments = parsed("lime", "--features", f"segments:{tmp_path}/s.npy").features
    np.testing.assert_array_equal(segments.ids, [0, 1, 2])
    segments = parsed("lime", "--features", f"segments:x={tmp_path}/s.npy").features
    assert list(segments.ids) == ["x"]


def test_lime_jacobian_and_rows(tmp_path):
    np.save(tmp_path / "a.npy", np.eye(2))
    path = f"{tmp_path}/a.npy"
    lime = parsed(
        "lime",
        *["--num-samples", "50", "--kernel-width", "0.3", "--surrogate", "lasso", "--alpha", "0.1", "--bootstrap", "5"],
    )
    same(lime, assay.Lime(50, kernel_width=0.3, surrogate="lasso", alpha=0.1, bootstrap=5))
    flags = f"--step x=0.1 --outputs p,q --bounds 0, --no-error-estimate --scale {path} --scheme forward".split()
    expected = assay.Jacobian("forward", {"x": 0.1}, None, np.eye(2), ("p", "q"), None, (0.0, None), False)
    same(parsed("jacobian", *flags), expected)
    same(parsed("rows", "--keep", path, "--features", "grid:1,2"), assay.Rows(np.eye(2), assay.Grid(1, 2)))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--window", "a"], "'a' is no list of integers such as 8,8"),
        (["--baseline", "none"], "'none' is none of a number, mean"),
        (["--features", "tiles"], "'tiles' is none of elements"),
        (["--features", "grid:3"], "'grid:3' is none of elements"),
        (["--edge", "wrap"], "invalid choice"),
        (["--target", "label"], "'label' is none of 3"),
        (["--wind", "3"], "unrecognized arguments"),
        (["--baseline", "missing.npy"], "missing.npy"),
    ],
)
def test_usage_errors_say_what_would_be_right(flags, said, capsys):
    with pytest.raises(SystemExit) as done:
        parsed("occlusion", *flags)
    assert done.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3", (None, 3, None, None)),
        ("-1", (None, -1, None, None)),
        ("1,2", (None, (1, 2), None, None)),
        ("logits:3", ("logits", 3, None, None)),
        ("dense:0:3", ("dense:0", 3, None, None)),
        ("label=a cat:2", (None, None, "a cat:2", None)),
        ("p:label=cat", ("p", None, "cat", None)),
        ("top=2", (None, None, None, 2)),
        ("logits:", ("logits", None, None, None)),
    ],
)
def test_targets(text, expected):
    found = target(text)
    assert (found.output, found.index, found.label, found.top_rank) == expected


# ---- training rows -------------------------------------------------------------------------------------------------

COLUMNS = {
    "age": np.array([[30], [40], [50], [60]]),
    "income": np.array([[1], [np.nan], [3], [5]], np.float32),
    "city": np.array([["Rome"], ["Oslo"], ["Rome"], ["Rome"]]),
}
BY_INPUT = assay.Model(
    "loans",
    "1",
    DIGITS.digest,
    inputs=(
        assay.TensorInfo("age", "int64", (1,)),
        assay.TensorInfo("income", "float32", (1,)),
        assay.TensorInfo("city", "str", (1,)),
    ),
)
MATRIX = np.array([[30, 1, 0, 1], [40, np.nan, 1, 0], [50, 3, 0, 1], [60, 5, 0, 0]], np.float32)
FEATURES = ("age", "income", "oslo", "rome")
ONE_INPUT = assay.Model(
    "flat",
    "1",
    DIGITS.digest,
    inputs=(assay.TensorInfo("x", "float32", (4,)),),
    spec=assay.ModelSpec(feature_names={"x": FEATURES}),
)


@pytest.fixture
def training(tmp_path, monkeypatch):
    """The same rows, of either model, in all forms."""
    monkeypatch.chdir(tmp_path)
    columns = {name: column[:, 0] for name, column in COLUMNS.items()}
    np.savez("columns.npz", **columns, bought=np.zeros(4))
    arrow = {name: pa.array(column, from_pandas=True) for name, column in columns.items()}
    pq.write_table(pa.table({**arrow, "bought": [0, 1, 0, 1]}), "columns.parquet", row_group_size=2)
    flat = dict(zip(FEATURES, MATRIX.T, strict=True))
    np.savez("flat.npz", **flat, bought=np.zeros(4))
    arrow = {name: pa.array(column, from_pandas=True) for name, column in flat.items()}
    pq.write_table(pa.table({**arrow, "id": list("abcd")}), "flat.parquet")
    np.save("matrix.npy", MATRIX)
    np.save("narrow.npy", MATRIX[:, :3])
    np.savez("ages.npz", age=np.ones((4, 2)), income=MATRIX[:, 1])
    np.savez("lone.npz", X=MATRIX)
    np.savez("named.npz", x=MATRIX, y=np.zeros(4))


def sampled(*flags, model):
    return parsed("lime", *flags, model=model).sampling.encode()


@pytest.mark.parametrize("file", ["columns.npz", "columns.parquet"])
@pytest.mark.parametrize("kind", ["quartile", "gaussian"])
def test_training_rows_of_columns_by_input(training, kind, file):
    table = {"quartile": assay.QuartileTable, "gaussian": assay.GaussianTable}[kind]
    assert sampled("--sampling", f"{kind}={file}", model=BY_INPUT) == table.fit(COLUMNS).encode()
    coded = table.fit(COLUMNS, categorical=["age"]).encode()
    assert sampled("--sampling", f"{kind}={file}", "--categorical", "age", model=BY_INPUT) == coded


@pytest.mark.parametrize(
    "file", ["flat.npz", "flat.parquet", "matrix.npy", "lone.npz", "lone.npz:X", "named.npz", "named.npz:x"]
)
def test_training_rows_of_one_input_by_its_features(training, file):
    flags = ["--sampling", f"quartile={file}"]
    assert sampled(*flags, model=ONE_INPUT) == assay.QuartileTable.fit(MATRIX).encode()
    town = assay.Group("town", (2, 3), "one_hot")
    wanted = assay.QuartileTable.fit(MATRIX, categorical=[0], groups=[town]).encode()
    for age, members in (("age", "oslo,rome"), ("0", "2,3")):
        assert sampled(*flags, "--categorical", age, "--group", f"town={members}", model=ONE_INPUT) == wanted


def test_training_rows_of_some_of_the_inputs(training):
    np.savez("two.npz", age=COLUMNS["age"], city=COLUMNS["city"])
    some = {name: COLUMNS[name] for name in ("age", "city")}
    assert sampled("--sampling", "quartile=two.npz", model=BY_INPUT) == assay.QuartileTable.fit(some).encode()


def test_training_rows_of_an_input_without_a_fixed_width(training):
    loose = dataclasses.replace(ONE_INPUT, inputs=(assay.TensorInfo("x", "float32", (-1,)),))
    assert sampled("--sampling", "quartile=narrow.npy", model=loose) == assay.QuartileTable.fit(MATRIX[:, :3]).encode()


def test_training_rows_by_the_columns_of_the_data(training):
    nameless = dataclasses.replace(ONE_INPUT, spec=assay.ModelSpec())
    flags = ["--sampling", "quartile=flat.parquet", "--columns", ",".join(FEATURES), "--data", "flat.parquet"]
    assert sampled(*flags, model=nameless) == assay.QuartileTable.fit(MATRIX).encode()


@pytest.mark.parametrize(
    ("flags", "model", "said"),
    [
        ("--sampling quartile=columns.parquet", ONE_INPUT, "no column 'oslo', a feature of input 'x'"),
        ("--sampling quartile=named.npz", BY_INPUT, "holds x, y: none of them is an input or a feature of loans@1"),
        ("--sampling quartile=matrix.npy --categorical town", ONE_INPUT, "no column 'town'; they have age, income"),
        ("--sampling quartile=columns.npz --categorical 0", BY_INPUT, "no column '0'; they have age, income, city"),
        ("--sampling quartile=matrix.npy --categorical 9", ONE_INPUT, "X has no column 9"),
        ("--sampling quartile=matrix.npy --group town=oslo,x", ONE_INPUT, "no column 'x'"),
        (
            "--sampling quartile=narrow.npy",
            ONE_INPUT,
            "sampling: narrow.npy has 3 columns for input 'x', which has 4 elements: each needs its own$",
        ),
        ("--sampling gaussian=narrow.npy", ONE_INPUT, "3 columns for input 'x', which has 4 elements"),
        (
            "--sampling quartile=narrow.npy --explain-input age",
            BY_INPUT,
            "3 columns for input 'age', which has 1 element",
        ),
        (
            "--sampling quartile=ages.npz",
            BY_INPUT,
            "ages.npz has 2 columns for input 'age', which has 1 element: each needs its own; only whole inputs can be",
        ),
        ("--categorical age", BY_INPUT, "tells of the columns of --sampling"),
        ("--sampling mask --group a=b", BY_INPUT, "tells of the columns of --sampling"),
    ],
)
def test_training_rows_that_dont_fit_are_told(training, flags, model, said):
    with pytest.raises(assay.InvalidArgument, match=said):
        parsed("lime", *flags.split(), model=model)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--sampling quartile=gone.parquet", "No such file"),
        ("--sampling quartile=rows.csv", "is no .npy, .npz"),
        ("--sampling quartile=columns.parquet:age", "is no .npy, .npz"),
        ("--group oslo,rome", "is no NAME=A,B,C"),
    ],
)
def test_usage_errors_of_training_rows(training, flags, said, capsys):
    with pytest.raises(SystemExit):
        parsed("lime", *flags.split())
    assert said in capsys.readouterr().err
