"""The training rows of `--sampling`: a file, made the statistics that LIME draws by."""

from __future__ import annotations

import argparse
import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from assay.cli.files import columns_of, load_array
from assay.data.arrays import fitted, listed
from assay.data.files import read_data
from assay.errors import InvalidArgument, invalid
from assay.features import Group
from assay.models import Model
from assay.statistics import Column, GaussianTable, QuartileTable
from assay.tensors import Array

_FILE = re.compile(r"(?P<path>.+?\.(?P<kind>npy|npz|parquet))(?P<which>[:\[].*)?")


@dataclasses.dataclass(frozen=True)
class TrainingRows:
    """A file of training rows, which is read when the model is known; table: what is made of them."""

    table: type[QuartileTable | GaussianTable]
    file: str

    def __post_init__(self) -> None:
        match = _FILE.fullmatch(self.file)
        if not match or (match["kind"] == "parquet" and match["which"]):
            raise invalid("sampling", f"{self.file!r} is no .npy, .npz (or .npz:ARRAY) or .parquet file")
        Path(match["path"]).open("rb").close()  # so that a missing one is told at once

    def fit(self, model: Model, args: argparse.Namespace) -> QuartileTable | GaussianTable:
        """The statistics, with what the flags of `add_training_flags` say of the columns."""
        rows = self._read(model, args)
        self._check_widths(rows, model, args.explain_input or ())
        categorical = [_column(name, model, rows, "categorical") for name in args.categorical or ()]
        groups = [
            Group(name, tuple(_column(member, model, rows, "group") for member in members), "one_hot")
            for name, members in args.group or ()
        ]
        return self.table.fit(rows, categorical=categorical, groups=groups)

    def _read(self, model: Model, args: argparse.Namespace) -> Array | dict[str, Array]:
        """A matrix, or columns by input; of a model with one input always a matrix."""
        if self.file.endswith(".parquet"):
            given = columns_of(args.columns, model) if ".parquet" in (args.data or "") else {}
            by_input = _parquet(self.file, model, given)
        elif self.file.endswith(".npz"):
            by_input = _npz(self.file, model)
        else:
            by_input = {}
        if not by_input:
            return load_array(self.file)
        if len(model.inputs) == 1:
            (array,) = by_input.values()
            return array.reshape(len(array), -1)
        return by_input

    def _check_widths(self, rows: Array | Mapping[str, Array], model: Model, explained: Sequence[str]) -> None:
        """InvalidArgument where an input has other than a column for each element.

        One without a column would get 0 for its value, with an error of 0, as if it were known not to matter.
        """
        if isinstance(rows, Mapping):
            found = {name: array for name, array in rows.items() if array.ndim}
        else:
            names = list(explained) or [info.name for info in model.inputs]
            found = {names[0]: rows} if len(names) == 1 and rows.ndim == 2 else {}
        for info in model.inputs:
            wanted = math.prod(info.shape)
            if info.name not in found or -1 in info.shape:
                continue
            columns = math.prod(found[info.name].shape[1:])
            if columns != wanted:
                many = f"{columns} column{'s' * (columns != 1)}"
                said = (
                    f"{self.file} has {many} for input {info.name!r}, which has {wanted} element{'s' * (wanted != 1)}"
                )
                whole = (
                    "; only whole inputs can be left out, of a .npz or .parquet file" if len(model.inputs) > 1 else ""
                )
                raise invalid("sampling", f"{said}: each needs its own{whole}")


def add_training_flags(group: argparse._ArgumentGroup) -> None:
    """The flags that say what the columns of training rows are."""
    group.add_argument(
        "--categorical",
        type=lambda text: tuple(text.split(",")),
        metavar="NAME,NAME",
        help="columns of the training rows that hold codes, as text does by itself: inputs, feature names or numbers",
    )
    group.add_argument(
        "--group",
        action="append",
        type=_group,
        metavar="NAME=A,B,C",
        help="columns of the training rows that are one category, one-hot; again for the next",
    )


def need_rows(args: argparse.Namespace) -> None:
    """InvalidArgument where something is said of columns, and there are no training rows."""
    for flag in ("categorical", "group"):
        if getattr(args, flag, None):
            raise invalid(flag, "tells of the columns of --sampling quartile=FILE or gaussian=FILE")


def _group(text: str) -> tuple[str, tuple[str, ...]]:
    name, _, members = text.partition("=")
    if not name or not members:
        raise argparse.ArgumentTypeError(f"{text!r} is no NAME=A,B,C")
    return name, tuple(members.split(","))


def _column(name: str, model: Model, rows: Array | Mapping[str, Array], field: str) -> Any:
    """What `fit` calls a column: an input, a feature's name in the model's spec, a number, or INPUT:NUMBER."""
    by_input = isinstance(rows, Mapping)
    if by_input and name in rows:
        return name
    places: list[Column] = [
        (of, names.index(name)) if by_input else names.index(name)
        for of, names in model.spec.feature_names.items()
        if name in names and (not by_input or of in rows)
    ]
    if len(places) == 1:
        return places[0]
    if places:
        raise invalid(field, f"several inputs have a feature {name!r}")
    of, _, number = name.rpartition(":")
    if number.isdecimal() and (of in rows if by_input else not of):
        return (of, int(number)) if by_input else int(number)
    known = [*(rows if by_input else ()), *(n for of, names in model.spec.feature_names.items() for n in names)]
    said = f"; they have {listed(known)}" if known else "; without feature names in the model's spec it has a number"
    raise invalid(field, f"the training rows have no column {name!r}{said}")


def _parquet(file: str, model: Model, columns: Mapping[str, Sequence[str]]) -> dict[str, Array]:
    """All rows of the columns that make inputs."""
    from assay.data.parquet import column_names

    try:
        held = column_names(Path(file))
        inputs = [info for info in model.inputs if columns.get(info.name) or _sources(info.name, model, held, file)]
        if not inputs:
            raise _nothing(file, held, model)
        chosen = dataclasses.replace(model, inputs=tuple(inputs))
        given = {info.name: columns[info.name] for info in inputs if info.name in columns}
        parts = [part.inputs for part in read_data(file, chosen, columns=given)]
    except InvalidArgument as error:
        raise invalid("sampling", error.message) from error
    return {info.name: np.concatenate([_of(part, info.name) for part in parts]) for info in inputs}


def _of(inputs: Any, name: str) -> Array:
    array: Array = inputs[name]
    return array


def _npz(file: str, model: Model) -> dict[str, Array]:
    """The arrays that make inputs; none where the file holds a lone matrix by any other name."""
    try:
        archive = np.load(file, allow_pickle=False)
        if isinstance(archive, np.ndarray):  # a .npy file by another name
            return {}
        with archive:
            held = archive.files
            found = {}
            for info in model.inputs:
                names = _sources(info.name, model, held, file)
                columns = [archive[name] for name in names]
                if columns:
                    array = columns[0] if names[0] == info.name else np.stack([c.reshape(-1) for c in columns], axis=1)
                    found[info.name] = fitted(array, info)
    except (ValueError, EOFError) as error:
        if isinstance(error, InvalidArgument):
            raise
        raise invalid("sampling", f"{file} can't be read: {error}") from error
    if not found and len(held) != 1:
        raise _nothing(file, held, model)
    return found


def _sources(name: str, model: Model, held: Sequence[str], file: str) -> Sequence[str]:
    """The columns that make an input: that of its name, or those of its feature names; () where there are none."""
    if name in held:
        return (name,)
    names = model.spec.feature_names.get(name, ())
    missing = [n for n in names if n not in held]
    if missing and len(missing) < len(names):
        raise invalid("sampling", f"{file} has no column {missing[0]!r}, a feature of input {name!r}")
    return () if missing else names


def _nothing(file: str, held: Sequence[str], model: Model) -> InvalidArgument:
    wanted = [*(info.name for info in model.inputs), *(n for names in model.spec.feature_names.values() for n in names)]
    said = f"{file} holds {listed(held)}: none of them is an input or a feature of {model.ref} ({listed(wanted)})"
    return invalid("sampling", f"{said}; a lone matrix is FILE.npz:ARRAY")
