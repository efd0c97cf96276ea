"""A table's columns brought to the inputs of a subject: where they lie, what they draw, what dtypes they have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np

from assayd.errors import InvalidRequest, InvalidTensor, within
from assayd.methods.lime.distributions import Bins, Normals, bins_of, cumulated, normals_of, padded
from assayd.types.arrays import Array, Floats, Ints
from assayd.types.statistics import CategoricalColumn, GaussianColumn, QuartileColumn, QuartileTable, Table
from assayd.types.subject import Segments, Subject

_Place: TypeAlias = tuple[str, int]
"""An input and a row-major position in one of its instances."""

Chosen: TypeAlias = "Ints | slice"
"""What an axis is indexed by."""

_Inputs: TypeAlias = Mapping[str, tuple[tuple[int, ...], np.dtype[np.generic]]]


@dataclass(frozen=True, eq=False)
class Level:
    """What one input holds of a categorical feature.

    feature: its number. number: its place among the table's categorical ones. at: where its members stand among the
    part's elements. levels: [L, members] in the input's dtype.
    """

    feature: int
    number: int
    at: Ints
    levels: Array


@dataclass(frozen=True, eq=False)
class Part:
    """The columns that lie in one input.

    elements: row-major positions in an instance, ascending, [c]. at: where the numeric ones stand among them; columns:
    their numbers in the table; features: their feature; each as a slice where it is one. edges: boundaries of their
    bins in the dtype they are compared in, +inf where there are no more, [columns, bins - 1]; empty for normal
    distributions.
    """

    input: str
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    elements: Ints
    at: Chosen
    columns: Chosen
    features: Chosen
    edges: Array
    categorical: tuple[Level, ...]


@dataclass(frozen=True, eq=False)
class Columns:
    """A table bound to inputs.

    segments: its features. numeric: the features of the numeric columns, in the table's order; missing: their rates;
    drawn_from: their distributions. categorical: the features of the categorical ones; shares: for each, where its
    levels end among the uniform numbers.
    """

    segments: Segments
    parts: tuple[Part, ...]
    numeric: Chosen
    missing: Floats
    drawn_from: Bins | Normals
    categorical: Ints
    shares: tuple[Floats, ...]

    def numbers(self, uniform: Floats) -> Floats:
        """Values of the numeric columns [n, columns], from a uniform number for each feature [n, F]."""
        if not len(self.missing):
            return np.empty((len(uniform), 0))
        u = uniform[:, self.numeric]
        values = self.drawn_from.values(u)
        if self.missing.any():
            values[u < self.missing] = np.nan
        return values

    def levels(self, uniform: Floats) -> Ints:
        """Levels of the categorical features [n, features], from the same."""
        found = np.empty((len(uniform), len(self.shares)), np.int64)
        for number, (feature, ends) in enumerate(zip(self.categorical, self.shares, strict=True)):
            found[:, number] = np.searchsorted(ends, uniform[:, feature], side="right")
        return found


def bind(table: Table, subject: Subject) -> Columns:
    """Bring a table to a subject's inputs. Features are numbered by the position of their first element.

    Raises `InvalidRequest` or `InvalidTensor` with a field counted from the table: statistics that contradict each
    other, unknown inputs, elements out of range or in two columns, a dtype that can't hold what would be drawn.
    """
    explained = {name: subject.inputs[name] for name in subject.explained}
    return _bound(table, tuple((name, x.shape, x.dtype) for name, x in explained.items()))


@lru_cache(maxsize=8)
def _bound(table: Table, inputs: tuple[tuple[str, tuple[int, ...], np.dtype[np.generic]], ...]) -> Columns:
    """Once for all instances of a request: tables equal themselves alone."""
    table.check()
    return _Binding(table, {name: (shape, dtype) for name, shape, dtype in inputs}).columns()


def chosen(numbers: Ints) -> Chosen:
    """A slice where the numbers follow each other, as they mostly do: to take those is to copy nothing."""
    if len(numbers) and (np.diff(numbers) == 1).all():
        return slice(int(numbers[0]), int(numbers[-1]) + 1)
    return numbers


def compared_in(dtype: np.dtype[np.generic]) -> np.dtype[np.generic]:
    """Boundaries round to a floating input's dtype, so that one equals the value that it was made of."""
    return dtype if dtype.kind == "f" else np.dtype(np.float64)


class _Binding:
    """One table on its way to one set of inputs."""

    def __init__(self, table: Table, inputs: _Inputs) -> None:
        self._table = table
        self._inputs = inputs
        self._order = {name: number for number, name in enumerate(inputs)}
        self._taken: dict[_Place, str] = {}
        numeric: Sequence[QuartileColumn | GaussianColumn] = table.columns
        self._numeric = [self._numeric_place(i, c) for i, c in enumerate(numeric)]
        self._members = [self._member_places(i, c) for i, c in enumerate(table.categorical)]
        firsts = [self._rank(place) for place in self._numeric]
        firsts += [min(map(self._rank, places)) for places in self._members]
        self._ids = np.empty(len(firsts), np.int64)
        self._ids[sorted(range(len(firsts)), key=firsts.__getitem__)] = np.arange(len(firsts))

    def columns(self) -> Columns:
        table, numeric = self._table, len(self._numeric)
        return Columns(
            segments=self._segments(),
            parts=tuple(part for name in self._inputs if (part := self._part(name)) is not None),
            numeric=chosen(self._ids[:numeric]),
            missing=np.array([c.missing_rate for c in table.columns]),
            drawn_from=bins_of(table.columns) if isinstance(table, QuartileTable) else normals_of(table.columns),
            categorical=self._ids[numeric:],
            shares=tuple(cumulated(np.array(c.frequencies)) for c in table.categorical),
        )

    def _segments(self) -> Segments:
        names = [""] * len(self._ids)
        ids = {name: np.full(int(np.prod(shape)), -1, np.int32) for name, (shape, _) in self._inputs.items()}
        given = [c.name for c in (*self._table.columns, *self._table.categorical)]
        all_places = [*([place] for place in self._numeric), *self._members]
        for feature, name, places in zip(self._ids, given, all_places, strict=True):
            names[feature] = name or self._position(*places[0])
            for where, element in places:
                ids[where][element] = feature
        shaped = {name: flat.reshape(self._inputs[name][0]) for name, flat in ids.items()}
        return Segments(shaped, len(names), tuple(names))

    def _part(self, name: str) -> Part | None:
        shape, dtype = self._inputs[name]
        numeric = [n for n, (where, _) in enumerate(self._numeric) if where == name]
        groups = [[m for m, (where, _) in enumerate(places) if where == name] for places in self._members]
        positions = [self._numeric[n][1] for n in numeric]
        positions += [self._members[n][m][1] for n, members in enumerate(groups) for m in members]
        if not positions:
            return None
        elements = np.array(sorted(positions))
        return Part(
            input=name,
            shape=shape,
            dtype=dtype,
            elements=elements,
            at=chosen(np.searchsorted(elements, np.array(positions[: len(numeric)], np.int64))),
            columns=chosen(np.array(numeric, np.int64)),
            features=chosen(self._ids[np.array(numeric, np.int64)]),
            edges=self._edges(numeric, dtype),
            categorical=tuple(self._level(n, m, elements, dtype) for n, m in enumerate(groups) if m),
        )

    def _edges(self, numeric: list[int], dtype: np.dtype[np.generic]) -> Array:
        if not isinstance(self._table, QuartileTable):
            return np.empty((len(numeric), 0))
        edges = padded([self._table.columns[n].boundaries for n in numeric], np.inf)
        with np.errstate(over="ignore"):
            return edges.astype(compared_in(dtype))

    def _level(self, number: int, members: list[int], elements: Ints, dtype: np.dtype[np.generic]) -> Level:
        given = self._table.categorical[number].levels
        with within(f"categorical[{number}]"):
            levels = _cast(given.reshape(len(given), -1)[:, members], dtype)
        at = np.searchsorted(elements, np.array([self._members[number][m][1] for m in members]))
        return Level(int(self._ids[len(self._numeric) + number]), number, at, levels)

    def _numeric_place(self, number: int, column: QuartileColumn | GaussianColumn) -> _Place:
        with within(f"columns[{number}]"):
            place = self._place(column.input, column.element, f"column {number}")
            dtype = self._inputs[place[0]][1]
            if dtype.kind not in "fiu":
                shown = "text" if dtype.kind == "O" else str(dtype)
                raise InvalidRequest(f"input {place[0]!r} holds {shown}: its columns are categorical", field="element")
            if column.missing_rate > 0 and dtype.kind != "f":
                raise InvalidRequest(
                    f"input {place[0]!r} holds {dtype}, which has no NaN for a missing value", field="missing_rate"
                )
        return place

    def _member_places(self, number: int, column: CategoricalColumn) -> list[_Place]:
        places = []
        for j, member in enumerate(column.members):
            with within(f"categorical[{number}].members[{j}]"):
                if isinstance(member.element, str):
                    raise InvalidRequest(f"there is no feature named {member.element!r}: use an index")
                places.append(self._place(member.input, member.element, f"categorical feature {number}"))
                if places[-1] in places[:-1]:
                    raise InvalidRequest(f"element {member.element} is a member twice", field="element")
        return places

    def _place(self, given: str, element: int, owner: str) -> _Place:
        name = next(iter(self._inputs)) if given == "" and len(self._inputs) == 1 else given
        if name not in self._inputs:
            explained = ", ".join(map(repr, self._inputs))
            raise InvalidRequest(f"input {given!r} is not explained; explained: {explained}", field="input")
        size = int(np.prod(self._inputs[name][0]))
        if not 0 <= element < size:
            raise InvalidRequest(
                f"element {element} is out of range: input {name!r} has elements 0 to {size - 1}", field="element"
            )
        other = self._taken.setdefault((name, element), owner)
        if other != owner:
            raise InvalidRequest(f"element {element} of input {name!r} is in {other} already", field="element")
        return name, element

    def _rank(self, place: _Place) -> tuple[int, int]:
        return self._order[place[0]], place[1]

    def _position(self, name: str, element: int) -> str:
        index = np.unravel_index(element, self._inputs[name][0])
        return f"{name}[{','.join(map(str, index))}]" if index else name


def _cast(levels: Array, dtype: np.dtype[np.generic]) -> Array:
    """Levels in the input's dtype; floats round, all else must stay what it is."""
    if (levels.dtype.kind == "O") != (dtype.kind == "O"):
        raise InvalidTensor("levels of text belong to inputs of text, numbers to inputs of numbers", field="levels")
    if levels.dtype == dtype:
        return levels
    with np.errstate(over="ignore", invalid="ignore"):
        cast = levels.astype(dtype)
        if dtype.kind == "f" and levels.dtype.kind == "f":
            fits = np.isfinite(cast) | ~np.isfinite(levels)
        else:
            fits = cast.astype(levels.dtype) == levels
    if not fits.all():
        raise InvalidTensor(f"{levels.dtype} levels don't fit the input's {dtype}", field="levels")
    return cast
