"""Training statistics of a table, for LIME: made here from training rows, sent as plain messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.errors import invalid
from assay.features import Group, encode_group
from assay.tensors import Array, to_tensor
from assay.v1 import explain_pb2

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
        cls, X: Array, *, categorical: Sequence[int] = (), groups: Sequence[Group] = (), input: str = ""
    ) -> QuartileTable:  # fmt: skip
        """Statistics of training rows.

        X: [rows, columns] of numbers; NaN is a missing value. categorical: columns that hold codes. groups: one-hot
        groups, members by index. input: the input's name, where the model explains several. Every column that is in
        neither is cut at its quartiles; one with a single value has a single bin.

        Raises `InvalidArgument` where X isn't a matrix of numbers or a column has no value at all.
        """
        numeric, features = _split(X, categorical, groups)
        return cls(tuple(_quartiles(X[:, n], n, input) for n in numeric), features)

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
        cls, X: Array, *, categorical: Sequence[int] = (), groups: Sequence[Group] = (), input: str = ""
    ) -> GaussianTable:  # fmt: skip
        """Statistics of training rows; parameters as in `QuartileTable.fit`. Constant columns are left out."""
        numeric, features = _split(X, categorical, groups)
        columns = []
        for n in numeric:
            held = _present(X[:, n], n)
            if (spread := float(held.std())) > 0:
                missing = 1 - len(held) / len(X)
                columns.append(GaussianColumn(n, float(held.mean()), spread, missing, input))
        return cls(tuple(columns), features)

    def encode(self) -> explain_pb2.Sampling:
        """The message."""
        columns = [explain_pb2.GaussianColumn(**_fields(c)) for c in self.columns]
        table = explain_pb2.GaussianTable(columns=columns, categorical=_encode(self.categorical))
        return explain_pb2.Sampling(gaussian=table)


def _split(
    X: Array, categorical: Sequence[int], groups: Sequence[Group]
) -> tuple[list[int], tuple[CategoricalColumn, ...]]:
    """Numeric columns, and the categorical features."""
    if X.ndim != 2 or not len(X) or X.dtype.kind not in "fiub":
        raise invalid("X", f"training rows are a matrix of numbers [rows, columns], not {X.dtype} {list(X.shape)}")
    features = []
    taken = {int(n) for n in categorical}
    for n in sorted(taken):
        levels, counts = np.unique(_present(X[:, n], n), return_counts=True)
        features.append(CategoricalColumn(Group("", (n,), "categorical"), levels, tuple(counts / counts.sum())))
    for group in groups:
        members = [int(m) for m in group.members]  # type: ignore[arg-type]
        taken.update(members)
        levels, counts = np.unique(X[:, members], axis=0, return_counts=True)
        features.append(CategoricalColumn(group, levels, tuple(counts / counts.sum())))
    return [n for n in range(X.shape[1]) if n not in taken], tuple(features)


def _present(column: Array, n: int) -> NDArray[np.float64]:
    values = column.astype(np.float64)
    held: NDArray[np.float64] = values[~np.isnan(values)]
    if not len(held):
        raise invalid("X", f"column {n} has no value at all; leave it out")
    return held


def _quartiles(column: Array, n: int, name: str) -> QuartileColumn:
    held = _present(column, n)
    low, high = float(held.min()), float(held.max())
    inner = np.unique(np.percentile(held, [25, 50, 75]))
    boundaries = inner[inner < high]  # a boundary at the largest value would close an empty bin
    bins = np.searchsorted(boundaries, held)
    count = len(boundaries) + 1
    parts = [held[bins == k] for k in range(count)]
    edges = [low, *boundaries.tolist(), high]
    return QuartileColumn(
        element=n,
        boundaries=tuple(boundaries.tolist()),
        frequencies=tuple(len(p) / len(held) for p in parts),
        means=tuple(float(p.mean()) if len(p) else edges[k] for k, p in enumerate(parts)),
        stds=tuple((float(p.std()) if len(p) else 0.0) + _TINY for p in parts),
        mins=tuple(edges[:-1]),
        maxs=tuple(edges[1:]),
        missing_rate=1 - len(held) / len(column),
        input=name,
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
