"""Instances in a Parquet file. Needs pyarrow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from assay.data.arrays import PART_ROWS, keyed, listed, shaped, source_names, split
from assay.data.parts import Part
from assay.errors import InvalidArgument, invalid
from assay.models import Model, TensorInfo
from assay.tensors import Array

_BUFFER_BYTES = 1 << 20
_FLOATS = ("float16", "float32", "float64")


@dataclass(frozen=True, eq=False)
class ParquetData:
    """Some rows of a Parquet file. sources: by input, what it is and the columns it is made of."""

    path: Path
    sources: Mapping[str, tuple[TensorInfo, Sequence[str]]]
    key_column: str | None
    rows: range
    part_rows: int | None

    @classmethod
    def open(
        cls,
        path: Path,
        model: Model,
        columns: Mapping[str, Sequence[str]],
        key_column: str | None,
        rows: slice,
        part_rows: int | None,
    ) -> ParquetData:
        """As `files.read_data`."""
        source_names(model, columns)
        held = column_names(path)
        with _opened(path) as file:
            count = file.metadata.num_rows
        sources = {info.name: (info, _columns_of(info, model, columns, held, path)) for info in model.inputs}
        if key_column is not None and key_column not in held:
            raise invalid("key_column", f"{path} has no column {key_column!r}; it has {listed(held)}")
        picked = range(count)[rows]
        if not picked:
            raise invalid("data", f"{path} has {count} rows, and none of those asked for")
        return cls(path, sources, key_column, picked, part_rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Part]:
        wanted = dict.fromkeys(name for _, names in self.sources.values() for name in names)
        if self.key_column is not None:
            wanted[self.key_column] = None
        with _opened(self.path) as file:
            groups, first = _groups(file, self.rows)
            for batch in file.iter_batches(self.part_rows or PART_ROWS, row_groups=groups, columns=list(wanted)):
                start, stop = max(first, self.rows.start), min(first + len(batch), self.rows.stop)
                if start < stop:
                    yield from self._parts(batch.slice(start - first, stop - start), start)
                first += len(batch)

    def _parts(self, batch: Any, first: int) -> Iterator[Part]:
        inputs = {name: _input(batch, names, info, first) for name, (info, names) in self.sources.items()}
        keys = None if self.key_column is None else keyed(batch.column(self.key_column).to_pylist(), first)
        yield from split(inputs, keys, self.part_rows)


def column_names(path: Path) -> list[str]:
    """The columns of a Parquet file."""
    with _opened(path) as file:
        return [str(name) for name in file.schema_arrow.names]


def _pyarrow() -> Any:
    try:
        import pyarrow as pa  # type: ignore[import-untyped]
        import pyarrow.parquet  # type: ignore[import-untyped]
    except ImportError as error:
        raise invalid("data", "Parquet needs pyarrow: pip install 'onnx-assay[parquet]'") from error
    return pa


def _opened(path: Path) -> Any:
    pa = _pyarrow()
    path.open("rb").close()  # so that a missing file is told as any other
    try:
        # Otherwise pyarrow holds whole row groups, or all of them, before it gives the first row.
        return pa.parquet.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False)
    except pa.ArrowInvalid as error:
        raise invalid("data", f"{path} is no Parquet file: {error}") from error


def _groups(file: Any, rows: range) -> tuple[list[int], int]:
    """The row groups that hold some of the rows, and the first row of the first."""
    groups: list[int] = []
    first = start = 0
    for n in range(file.metadata.num_row_groups):
        stop = start + file.metadata.row_group(n).num_rows
        if start < rows.stop and stop > rows.start:
            if not groups:
                first = start
            groups.append(n)
        start = stop
    return groups, first


def _columns_of(
    info: TensorInfo, model: Model, columns: Mapping[str, Sequence[str]], held: Sequence[str], path: Path
) -> Sequence[str]:
    """The columns that an input is made of."""
    asked = columns.get(info.name)
    if asked is None and info.name in held:
        return (info.name,)
    names = model.spec.feature_names.get(info.name, ()) if asked is None else asked
    missing = [name for name in names if name not in held]
    if asked is not None and missing:
        raise invalid("columns", f"{path} has no column {missing[0]!r}; it has {listed(held)}")
    if not names or missing:
        raise invalid("columns", f"say which columns of {path} make input {info}; it has {listed(held)}")
    return names


def _input(batch: Any, names: Sequence[str], info: TensorInfo, first: int) -> Array:
    arrays = [_column(batch.column(name), info, name, first) for name in names]
    if len(arrays) == 1:
        return shaped(arrays[0], info, f"column {names[0]!r}")
    if any(array.ndim > 1 for array in arrays):
        raise invalid("columns", f"a column of lists makes an input alone, not one of {len(names)}: {listed(names)}")
    return shaped(np.stack(arrays, axis=1), info, f"{len(names)} columns")


def _column(column: Any, info: TensorInfo, name: str, first: int) -> Array:
    """One column's values in an input's dtype: [B], or [B, L] of lists."""
    pa = _pyarrow()
    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        if column.null_count:
            raise _missing(column, name, first)
        lengths = set(column.value_lengths().to_pylist()) if not pa.types.is_fixed_size_list(kind) else {kind.list_size}
        if len(lengths) != 1:
            raise invalid("data", f"lists of column {name!r} differ in length: {sorted(lengths)[:5]}")
        return _column(column.flatten(), info, name, first).reshape(len(column), *lengths, -1).squeeze(-1)
    if pa.types.is_dictionary(kind):
        column = column.dictionary_decode()
        kind = column.type
    if info.dtype in _FLOATS and _is_number(kind):
        floats: Array = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)  # a missing one is NaN
        return floats.astype(info.dtype)
    if column.null_count:
        raise _missing(column, name, first)
    if info.dtype == "str" and (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        texts = np.empty(len(column), dtype=object)
        texts[:] = column.to_pylist()
        return texts
    if info.dtype == "bool" and pa.types.is_boolean(kind):
        return np.asarray(column.to_numpy(zero_copy_only=False))
    if np.dtype(_numpy_name(info)).kind in "iu" and (pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        return _whole(column, info, name)
    raise invalid("data", f"column {name!r} holds {kind}, input {info.name!r} takes {info.dtype}")


def _whole(column: Any, info: TensorInfo, name: str) -> Array:
    pa = _pyarrow()
    try:
        return np.asarray(column.cast(getattr(pa, info.dtype)()).to_numpy(zero_copy_only=False))
    except pa.ArrowInvalid as error:
        raise invalid("data", f"column {name!r} doesn't fit {info.dtype}, which input {info.name!r} takes") from error


def _is_number(kind: Any) -> bool:
    pa = _pyarrow()
    known = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean)
    return any(is_kind(kind) for is_kind in known)


def _numpy_name(info: TensorInfo) -> str:
    """numpy's name of a dtype, "object" for those it doesn't know by one."""
    return "object" if info.dtype in ("", "str", "bfloat16") else info.dtype


def _missing(column: Any, name: str, first: int) -> InvalidArgument:
    row = first + int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
    return invalid("data", f"column {name!r} has no value in row {row}, and only a floating one may be missing")
