"""What a surrogate sees of a table's rows: whether a value lies where x does, or how far it is from the mean."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from assayd.errors import InvalidRequest
from assayd.methods.lime.columns import Columns, Part, compared_in
from assayd.methods.lime.distributions import Normals, place
from assayd.types.arrays import Array
from assayd.types.subject import Subject


def seen(columns: Columns, values: Sequence[Array]) -> tuple[Array, ...]:
    """What variables are made of and x has no part in, of each part's numeric columns, [n, columns].

    Quartile: the number of a value's bin, an unsigned integer; missing values have a bin of their own. Gaussian:
    (value - mean) / std, float64; a missing value stands at the mean. values: drawn elements, by part [n, c].

    Raises `InvalidRequest` (sampling.gaussian) where that isn't finite.
    """
    made = []
    for part, found in zip(columns.parts, values, strict=True):
        numbers = found[:, part.at] if len(part.edges) else np.empty((len(found), 0))
        if isinstance(columns.drawn_from, Normals):
            made.append(_standardised(numbers, columns.drawn_from, part))
        else:
            made.append(_binned(numbers, part))
    return tuple(made)


def variables(columns: Columns, subject: Subject, values: Sequence[Array], made: Sequence[Array] | None) -> Array:
    """1 where a column lies in x's bin or at x's level; a Gaussian column's standardised value. bool or float64 [n, F].

    made: what `seen` gives for the values, which may come back as it is: it isn't to be written to.
    """
    numbers = seen(columns, values) if made is None else made
    at_x = [subject.inputs[part.input].reshape(-1)[part.elements] for part in columns.parts]
    if not isinstance(columns.drawn_from, Normals):
        of_x = seen(columns, [x[np.newaxis] for x in at_x])
        numbers = [n == x for n, x in zip(numbers, of_x, strict=True)]
    first = columns.parts[0]
    if len(columns.parts) == 1 and not first.categorical and isinstance(first.features, slice):
        return numbers[0]  # which are all features in their order
    z = np.ones((len(values[0]), columns.segments.count), numbers[0].dtype)
    for part, found, number, x in zip(columns.parts, values, numbers, at_x, strict=True):
        if number.shape[1]:
            z[:, part.features] = number
        for feature in part.categorical:
            z[:, feature.feature] *= equal(found[:, feature.at], x[feature.at]).all(axis=1)
    return z


def equal(values: Array, x: Array) -> Array:
    """Elementwise, NaN equal to NaN. values: [n, m]; x: [m]."""
    same: Array = values == x
    if values.dtype.kind == "f":
        same |= np.isnan(values) & np.isnan(x)
    return same.astype(np.bool_, copy=False)


def _standardised(numbers: Array, normals: Normals, part: Part) -> Array:
    z = np.subtract(numbers, normals.mean[part.columns], dtype=np.float64)
    z /= normals.std[part.columns]
    if not np.isfinite(z).all():
        z[np.isnan(z)] = 0.0
        if np.isinf(z).any():
            raise InvalidRequest(
                "a normal distribution has finite numbers; x or a sample doesn't", field="sampling.gaussian"
            )
    return z


def _binned(numbers: Array, part: Part) -> Array:
    numbers = numbers.astype(compared_in(part.dtype), copy=False)
    bins = part.edges.shape[1] + 1
    number = place(numbers, part.edges, side="left")
    if part.dtype.kind == "f":
        number[np.isnan(numbers)] = bins
    return number
