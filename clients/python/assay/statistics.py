"""Training statistics of a table, for LIME: made here from training rows, sent as plain messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.errors import invalid
from assay.features import Group, encode_group
from assay.tensors import Array, to_tensor
from assay.v1 import explain_pb2

Training: TypeAlias = Array | Mapping[str, ArrayLike]
"""Training rows: a matrix for one input, or columns by input; data frames and structured arrays count as the latter."""

Column: TypeAlias = int | str | tuple[str, int | str]
"""A column: its number in a matrix; of columns by input the input's name, or (input, number)."""

_Place: TypeAlias = tuple[str, int]

_TINY = 1e-11
"""Keeps a bin whose values are all equal from having no width."""


@dataclass(frozen=True, eq=False)
class QuartileColumn:
    """A numeric column by bins between its quartiles; fields as in the message of the same name."""

    element: int
    boundaries: tuple[float, ...]
    frequencies: tuple[float, ...]
    means: tuple[float, ...]
    stds: tuple[float, ...]
    mins: tuple[float, ...]
    maxs: tuple[float, ...]
    missing_rate: float = 0.0
    input: str = ""


@dataclass(frozen=True, eq=False)
class GaussianColumn:
    """A numeric column as a normal distribution."""

    element: int
    mean: float
    std: float
    missing_rate: float = 0.0
    input: str = ""


@dataclass(frozen=True, eq=False)
class CategoricalColumn:
    """A categorical feature: one coded column (levels [L]) or a one-hot group (levels [L, members]).

    group: names the feature and its members. frequencies: share of the training rows at each level.
    """

    group: Group
    levels: Array
    frequencies: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class QuartileTable:
    """Statistics for LIME by quartile bins: two values are alike where they lie in the same bin."""

    columns: tuple[QuartileColumn, ...] = ()
    categorical: tuple[CategoricalColumn, ...] = ()

    @classmethod
    def fit(
        cls, X: Training, *, categorical: Sequence[Column] = (), groups: Sequence[Group] = (), input: str = ""
    ) -> QuartileTable:  # fmt: skip
        """Statistics of training rows.

        X: [rows, columns] of numbers or of text, the columns of one input. Or, for a model with an input a column, the
        columns by input: {name: array [rows] or [rows, *input]}, a data frame, or a structured array; the inputs named
        there are then explained by default. NaN is a missing value, and the share of missing ones is kept; text has
        none. categorical: columns that hold codes; text and bool do so by themselves, and there NaN is a level. groups:
        one-hot groups, members by column. input: the name of X's input, where the model explains several. Every column
        that is in neither is cut at its quartiles; one with a single value has a single bin.

        Raises `InvalidArgument` where X isn't that, names a column that isn't there or has one without a value or with
        an infinite one.
        """
        table = _Table(X, input)
        features = table.features(categorical, groups)
        return cls(tuple(_quartiles(table, place) for place in table.numeric), features)

    def encode(self) -> explain_pb2.Sampling:
        """The message."""
        columns = [explain_pb2.QuartileColumn(**_fields(c)) for c in self.columns]
        table = explain_pb2.QuartileTable(columns=columns, categorical=_encode(self.categorical))
        return explain_pb2.Sampling(quartile=table)


@dataclass(frozen=True, eq=False)
class GaussianTable:
    """Statistics for LIME by normal distributions: alike is measured in standard deviations."""

    columns: tuple[GaussianColumn, ...] = ()
    categorical: tuple[CategoricalColumn, ...] = ()

    @classmethod
    def fit(
        cls, X: Training, *, categorical: Sequence[Column] = (), groups: Sequence[Group] = (), input: str = ""
    ) -> GaussianTable:  # fmt: skip
        """Statistics of training rows; parameters as in `QuartileTable.fit`. Constant columns are left out."""
        table = _Table(X, input)
        features = table.features(categorical, groups)
        columns = []
        for name, n in table.numeric:
            held, missing = table.present((name, n))
            if (spread := float(held.std())) > 0:
                columns.append(GaussianColumn(n, float(held.mean()), spread, missing, name))
        return cls(tuple(columns), features)

    def encode(self) -> explain_pb2.Sampling:
        """The message."""
        columns = [explain_pb2.GaussianColumn(**_fields(c)) for c in self.columns]
        table = explain_pb2.GaussianTable(columns=columns, categorical=_encode(self.categorical))
        return explain_pb2.Sampling(gaussian=table)


class _Table:
    """The columns of training rows, by input and number. `numeric`: those that no feature of `features` took."""

    def __init__(self, X: Training, name: str) -> None:
        names = _names(X)
        self._single = None if names else name
        if names and name:
            raise invalid("input", "columns by input name their inputs themselves")
        given = {n: np.asarray(X[n]) for n in names} if names else {name: np.asarray(X)}
        self._columns: dict[_Place, Array] = {}
        for n, array in given.items():
            if (
                (not names and array.ndim != 2)
                or array.ndim == 0
                or not array.size
                or array.dtype.kind not in "fiubUOT"
            ):
                what = f"input {n!r} takes an array [rows, ...]" if names else "training rows are a matrix"
                raise invalid("X", f"{what} of numbers or text, not {array.dtype} {list(array.shape)}")
            flat = array.reshape(len(array), -1)
            self._columns |= {(n, k): flat[:, k] for k in range(flat.shape[1])}
        self._rows = len(next(iter(self._columns.values())))
        for place, column in self._columns.items():
            if len(column) != self._rows:
                raise invalid("X", f"{self._shown(place)} has {len(column)} rows, the first {self._rows}")
            if column.dtype.kind in "OT" and not all(isinstance(v, str) for v in column.tolist()):
                raise invalid("X", f"{self._shown(place)} holds text and something else: text has no missing value")
            if column.dtype.kind == "f" and np.isinf(column).any():
                row = int(np.argmax(np.isinf(column)))
                raise invalid("X", f"{self._shown(place)} is infinite in row {row}; a missing value is NaN")
        self.numeric = list(self._columns)

    def features(self, categorical: Sequence[Column], groups: Sequence[Group]) -> tuple[CategoricalColumn, ...]:
        """The categorical features: coded columns by their place, then groups."""
        taken = {place for column in categorical for place in self._places(column, "categorical")}
        taken |= {place for place, column in self._columns.items() if column.dtype.kind in "bUOT"}
        members = [[p for m in group.members for p in self._places(m, "groups")] for group in groups]
        grouped = {place for places in members for place in places}
        listed = [p for p in self._columns if p in taken and p not in grouped]
        self.numeric = [p for p in self._columns if p not in taken and p not in grouped]
        coded = [self._feature(Group("", (), "categorical"), [place], lone=True) for place in listed]
        return (*coded, *(self._feature(g, places) for g, places in zip(groups, members, strict=True)))

    def _feature(self, group: Group, places: list[_Place], *, lone: bool = False) -> CategoricalColumn:
        """A feature with its levels, [L, members] or [L] for a lone one, and how often they are."""
        columns = [self._columns[place] for place in places]
        if len({column.dtype.kind in "UOT" for column in columns}) > 1:
            raise invalid("groups", f"group {group.name!r} holds text and numbers")
        known, codes = zip(*(np.unique(c, return_inverse=True) for c in columns), strict=True)
        found, counts = np.unique(np.stack(codes, axis=1), axis=0, return_counts=True)
        levels = np.stack([values[found[:, n]] for n, values in enumerate(known)], axis=1)
        members = tuple(place if place[0] else place[1] for place in places)
        frequencies = tuple((counts / counts.sum()).tolist())
        return CategoricalColumn(Group(group.name, members, group.kind), levels[:, 0] if lone else levels, frequencies)

    def _places(self, column: Column, field: str) -> list[_Place]:
        """Where a column stands; by an input's name alone all of that input's."""
        if isinstance(column, tuple):
            places = [p for p in self._columns if p == column]
        elif isinstance(column, str):
            places = [p for p in self._columns if p[0] == column] if self._single is None else []
        else:
            places = [p for p in self._columns if p == (self._single, int(column))]
        if not places:
            known = ", ".join(self._shown(p) for p in list(self._columns)[:20])
            raise invalid(field, f"X has no column {column!r}; it has {known}")
        return places

    def present(self, place: _Place) -> tuple[NDArray[np.float64], float]:
        """The values of a column that aren't missing, and the share of those that are."""
        values = self._columns[place].astype(np.float64)
        held: NDArray[np.float64] = values[~np.isnan(values)]
        if not len(held):
            raise invalid("X", f"{self._shown(place)} has no value at all; leave it out")
        return held, 1 - len(held) / len(values)

    def _shown(self, place: _Place) -> str:
        name, n = place
        several = (name, 1) in self._columns
        return f"column {n}" if self._single is not None else f"column {n} of {name!r}" if several else f"{name!r}"


def _names(X: Training) -> list[str]:
    """The inputs of columns by input; none where X is one input's matrix."""
    columns = getattr(X, "columns", None)  # of a data frame, whoever made it
    if columns is None:
        columns = X if isinstance(X, Mapping) else getattr(getattr(X, "dtype", None), "names", None)
    if columns is None:
        return []
    names = list(columns)
    if not names or not all(isinstance(name, str) and name for name in names):
        raise invalid("X", "columns by input have the names of inputs")
    return names


def _quartiles(table: _Table, place: _Place) -> QuartileColumn:
    held, missing = table.present(place)
    low, high = float(held.min()), float(held.max())
    inner = np.unique(np.percentile(held, [25, 50, 75]))
    boundaries = inner[inner < high]  # a boundary at the largest value would close an empty bin
    bins = np.searchsorted(boundaries, held)
    count = len(boundaries) + 1
    parts = [held[bins == k] for k in range(count)]
    edges = [low, *boundaries.tolist(), high]
    return QuartileColumn(
        element=place[1],
        boundaries=tuple(boundaries.tolist()),
        frequencies=tuple(len(p) / len(held) for p in parts),
        means=tuple(float(p.mean()) if len(p) else edges[k] for k, p in enumerate(parts)),
        stds=tuple((float(p.std()) if len(p) else 0.0) + _TINY for p in parts),
        mins=tuple(edges[:-1]),
        maxs=tuple(edges[1:]),
        missing_rate=missing,
        input=place[0],
    )


def _fields(column: QuartileColumn | GaussianColumn) -> Mapping[str, Any]:
    return vars(column)


def _encode(features: Sequence[CategoricalColumn]) -> list[explain_pb2.CategoricalColumn]:
    encoded = []
    for feature in features:
        group = encode_group(feature.group)
        levels = to_tensor(feature.levels, "sampling.categorical.levels")
        encoded.append(
            explain_pb2.CategoricalColumn(
                members=group.members, levels=levels, frequencies=feature.frequencies, name=feature.group.name
            )
        )
    return encoded
