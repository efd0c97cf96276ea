"""Training statistics of a table, by which LIME draws rows and compares them with x."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from assayd.errors import InvalidRequest, within
from assayd.types.arrays import Array
from assayd.types.request import Member

MAX_BINS = 256
"""Bins of one column. Every cell drawn meets each of them."""

_SUM_TOLERANCE = 1e-6
_BIN_TOLERANCE = 1e-6


@dataclass(frozen=True)
class QuartileColumn:
    """A numeric column by bins; usually four, whose three boundaries are the quartiles.

    input: "" for the only explained one. element: row-major in one instance. boundaries: [bins - 1], the upper ends of
    all bins but the last; a value equal to one lies in the lower bin. frequencies: [bins], of the rows that aren't
    missing. means, stds, mins, maxs: [bins], of the column within each bin; a bin of frequency 0 is never drawn.
    missing_rate: share of the training rows that are NaN. name: from the model's spec (`with_names`), or empty.
    """

    input: str
    element: int
    boundaries: tuple[float, ...]
    frequencies: tuple[float, ...]
    means: tuple[float, ...]
    stds: tuple[float, ...]
    mins: tuple[float, ...]
    maxs: tuple[float, ...]
    missing_rate: float = 0.0
    name: str = ""

    def check(self) -> None:
        """Raises `InvalidRequest` naming the field at fault."""
        bins = len(self.frequencies)
        if not 1 <= bins <= MAX_BINS:
            raise InvalidRequest(f"a column has 1 to {MAX_BINS} bins, not {bins}", field="frequencies")
        if len(self.boundaries) != bins - 1:
            raise InvalidRequest(
                f"{bins} bins have {bins - 1} boundaries between them, not {len(self.boundaries)}", field="boundaries"
            )
        _finite("boundaries", self.boundaries)
        if any(b <= a for a, b in zip(self.boundaries, self.boundaries[1:], strict=False)):
            raise InvalidRequest("boundaries ascend; merge bins between equal ones", field="boundaries")
        for field, values in (("means", self.means), ("stds", self.stds), ("mins", self.mins), ("maxs", self.maxs)):
            if len(values) != bins:
                raise InvalidRequest(f"{len(values)} {field} for {bins} bins", field=field)
            _finite(field, values)
        _shares(self.frequencies)
        _rate(self.missing_rate)
        for k in range(bins):
            if self.frequencies[k] > 0:
                self._check_bin(k)

    def _check_bin(self, k: int) -> None:
        low, high = self.mins[k], self.maxs[k]
        slack = _BIN_TOLERANCE * max(abs(low), abs(high), 1e-300)
        if self.stds[k] < 0:
            raise InvalidRequest(f"standard deviations aren't negative; bin {k} has {self.stds[k]}", field="stds")
        if low > high:
            raise InvalidRequest(f"bin {k} has its smallest value {low} above its largest {high}", field="mins")
        if not low - slack <= self.means[k] <= high + slack:
            raise InvalidRequest(f"the mean {self.means[k]} of bin {k} lies outside {low} to {high}", field="means")
        if k > 0 and low < self.boundaries[k - 1] - slack:
            raise InvalidRequest(f"bin {k} begins at {self.boundaries[k - 1]}; {low} lies below it", field="mins")
        if k < len(self.boundaries) and high > self.boundaries[k] + slack:
            raise InvalidRequest(f"bin {k} ends at {self.boundaries[k]}; {high} lies above it", field="maxs")


@dataclass(frozen=True)
class GaussianColumn:
    """A numeric column as a normal distribution.

    input: "" for the only explained one. element: row-major in one instance. mean, std: of the rows that aren't
    missing. missing_rate: share of the training rows that are NaN. name: from the model's spec, or empty.
    """

    input: str
    element: int
    mean: float
    std: float
    missing_rate: float = 0.0
    name: str = ""

    def check(self) -> None:
        """Raises `InvalidRequest` naming the field at fault."""
        _finite("mean", (self.mean,))
        if not 0 < self.std < math.inf:
            raise InvalidRequest(
                f"a standard deviation is above 0, not {self.std}; leave constant columns out", field="std"
            )
        _rate(self.missing_rate)


@dataclass(frozen=True, eq=False)
class CategoricalColumn:
    """A categorical feature: one coded element, or a one-hot group.

    members: one element, or the columns of the group in the order of `levels`; they may lie in several inputs. levels:
    [L] for one element, [L, members] for a group; any dtype. frequencies: [L]. name: of the feature.
    """

    members: tuple[Member, ...]
    levels: Array
    frequencies: tuple[float, ...]
    name: str = ""

    def check(self) -> None:
        """Raises `InvalidRequest` naming the field at fault."""
        if not self.members:
            raise InvalidRequest("a categorical feature has at least one member", field="members")
        shapes: list[tuple[int, ...]] = [(len(self.frequencies), len(self.members))]
        if len(self.members) == 1:
            shapes.append((len(self.frequencies),))
        if self.levels.shape not in shapes or not len(self.levels):
            raise InvalidRequest(
                f"levels have shape {list(self.levels.shape)}, not {list(shapes[-1])}: one level a frequency, at least"
                " one of them",
                field="levels",
            )
        _shares(self.frequencies)


@dataclass(frozen=True, eq=False)
class QuartileTable:
    """Columns drawn from bins; two values are alike where they lie in the same one."""

    columns: tuple[QuartileColumn, ...] = ()
    categorical: tuple[CategoricalColumn, ...] = ()

    def check(self) -> None:
        """Raises `InvalidRequest` naming the field at fault, counted from the table."""
        _check_table(self.columns, self.categorical)


@dataclass(frozen=True, eq=False)
class GaussianTable:
    """Columns drawn from normal distributions; alike is measured in standard deviations."""

    columns: tuple[GaussianColumn, ...] = ()
    categorical: tuple[CategoricalColumn, ...] = ()

    def check(self) -> None:
        """Raises `InvalidRequest` naming the field at fault, counted from the table."""
        _check_table(self.columns, self.categorical)


Table: TypeAlias = QuartileTable | GaussianTable


def table_of(method: object) -> Table | None:
    """The training statistics that a method draws rows by, if it does."""
    sampling = getattr(method, "sampling", None)
    return sampling if isinstance(sampling, QuartileTable | GaussianTable) else None


def draws_missing(method: object) -> bool:
    """Whether some of what a method draws is missing: NaN."""
    table = table_of(method)
    return table is not None and any(column.missing_rate > 0 for column in table.columns)


def inputs_of(table: Table) -> set[str]:
    """Names of the inputs that a table has columns of; "" among them where it leaves one unnamed."""
    members = [member.input for feature in table.categorical for member in feature.members]
    return {*(column.input for column in table.columns), *members}


def with_names(table: Table, explained: Sequence[str], feature_names: Mapping[str, tuple[str, ...]]) -> Table:
    """Give columns the names of their features, and members given by name their input and index.

    feature_names: by input, one name an element, row-major; or absent. A column whose input or element doesn't exist is
    left as it is, for whoever uses the table to refuse.

    Raises `InvalidRequest` (categorical[i].members[j]) where a member's name isn't that of exactly one element.
    """

    def input_of(given: str) -> str:
        return explained[0] if given == "" and len(explained) == 1 else given

    def name(given: str, element: int) -> str:
        names = feature_names.get(input_of(given), ())
        return names[element] if 0 <= element < len(names) else ""

    def place(member: Member) -> Member:
        if not isinstance(member.element, str):
            return member
        given = input_of(member.input)
        among = [given] if given else explained
        hits = [(i, n) for i in among for n, known in enumerate(feature_names.get(i, ())) if known == member.element]
        if len(hits) != 1:
            why = "several features are" if hits else "there is no feature"
            where = f"in input {given!r}" if given else "among the explained inputs"
            raise InvalidRequest(f"{why} named {member.element!r} {where}: use an index")
        return Member(*hits[0])

    categorical = []
    for i, column in enumerate(table.categorical):
        members = []
        for j, member in enumerate(column.members):
            with within(f"categorical[{i}].members[{j}]"):
                members.append(place(member))
        own = column.name
        if not own and len(members) == 1 and isinstance(members[0].element, int):
            own = name(members[0].input, members[0].element)
        categorical.append(replace(column, members=tuple(members), name=own))
    if isinstance(table, QuartileTable):
        quartile = tuple(replace(c, name=c.name or name(c.input, c.element)) for c in table.columns)
        return QuartileTable(quartile, tuple(categorical))
    gaussian = tuple(replace(c, name=c.name or name(c.input, c.element)) for c in table.columns)
    return GaussianTable(gaussian, tuple(categorical))


def _check_table(columns: Sequence[QuartileColumn | GaussianColumn], categorical: Sequence[CategoricalColumn]) -> None:
    if not columns and not categorical:
        raise InvalidRequest("a table has at least one column", field="columns")
    for i, column in enumerate(columns):
        with within(f"columns[{i}]"):
            column.check()
    for i, feature in enumerate(categorical):
        with within(f"categorical[{i}]"):
            feature.check()


def _finite(field: str, values: Sequence[float]) -> None:
    if not np.isfinite(np.asarray(values, np.float64)).all():
        raise InvalidRequest(f"{field} are finite numbers", field=field)


def _shares(frequencies: Sequence[float]) -> None:
    shares = np.asarray(frequencies, np.float64)
    if not ((shares >= 0) & (shares <= 1 + _SUM_TOLERANCE)).all() or abs(shares.sum() - 1) > _SUM_TOLERANCE:
        raise InvalidRequest(
            f"frequencies aren't negative and sum to 1; these sum to {shares.sum():.9g}", field="frequencies"
        )


def _rate(missing_rate: float) -> None:
    if not 0 <= missing_rate <= 1:
        raise InvalidRequest(f"a missing rate lies between 0 and 1; {missing_rate} doesn't", field="missing_rate")
