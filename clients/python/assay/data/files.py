"""Instances in files as data sets."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from assay.data.arrays import ArrayData, Dataset, fitted, keyed, listed, source_names
from assay.data.parquet import ParquetData
from assay.errors import invalid
from assay.models import Model, TensorInfo
from assay.tensors import Array


def read_data(
    path: str | os.PathLike[str],
    model: Model,
    *,
    columns: Mapping[str, Sequence[str]] | None = None,
    key_column: str | None = None,
    rows: slice | None = None,
    part_rows: int | None = None,
) -> Dataset:
    """The instances in a .npz or a .parquet file.

    Of a .npz file, each input is the array of its name, or the one that `columns` says, {input: [name]}. Of a Parquet
    file, each is the column of its name, which may hold lists; or the columns of its feature names in the model's
    spec; or those that `columns` says. Its rows are read as they are needed. A value that is missing in a floating
    column is NaN. Numbers become the input's dtype where they fit.

    key_column: array or column with each instance's key; made a string. rows: only these, with step 1. part_rows: most
    instances in a part.

    Raises `InvalidArgument` for what the model doesn't take, and while it is read for a missing string or integer;
    OSError for a file that can't be read.
    """
    path = Path(path)
    if part_rows is not None and part_rows < 1:
        raise invalid("part_rows", f"{part_rows} is no number of rows")
    if path.suffix == ".parquet":
        return ParquetData.open(path, model, columns or {}, key_column, rows or slice(None), part_rows)
    if path.suffix != ".npz":
        raise invalid("data", f"{path} is neither a .npz nor a .parquet file")
    return _read_npz(path, model, columns or {}, key_column, rows or slice(None), part_rows)


def _read_npz(
    path: Path,
    model: Model,
    columns: Mapping[str, Sequence[str]],
    key_column: str | None,
    rows: slice,
    part_rows: int | None,
) -> ArrayData:
    source_names(model, columns)
    try:
        archive = np.load(path, allow_pickle=False)
    except ValueError as error:
        raise invalid("data", f"{path} can't be read: {error}") from error
    with archive:

        def named(name: str, field: str, what: str) -> Array:
            if name not in archive.files:
                raise invalid(field, f"{path} has no array {name!r} for {what}; it holds {listed(archive.files)}")
            try:
                array: Array = archive[name]
            except ValueError as error:
                raise invalid(field, f"array {name!r} of {path} can't be read: {error}") from error
            if not array.ndim:
                raise invalid(field, f"array {name!r} of {path} has no instances")
            return array[rows]

        def of(info: TensorInfo) -> Array:
            names = columns.get(info.name, (info.name,))
            if len(names) != 1:
                raise invalid("columns", f"one array of {path} makes input {info}, not {len(names)}")
            return fitted(named(names[0], "columns" if columns else "data", f"input {info}"), info)

        inputs = {info.name: of(info) for info in model.inputs}
        keys = None
        if key_column is not None:
            keys = keyed(named(key_column, "key_column", "keys").tolist(), rows.start or 0)
    return ArrayData(inputs, keys, part_rows)
