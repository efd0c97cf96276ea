"""What is shown of an answer, in text and in pictures: the features that matter most, with their values of x."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from assay.cli.elements import Element, derivatives_of
from assay.explanation import Instance
from assay.models import Model
from assay.reasons import Reason, rank_reasons
from assay.targets import Target
from assay.tensors import Array

_ELEMENT = re.compile(r"(?P<input>.+)\[(?P<index>\d+(?:,\d+)*)\]")


@dataclass(frozen=True, eq=False)
class Shown:
    """How an answer is shown.

    Attributes:
        model: the model that answered.
        top: most features of a score.
        wanted: elements of a Jacobian's outputs; () for those with the largest scores.
        rows: the instances' inputs {input: [*input]} by position, as far as they are at hand.
    """

    model: Model
    top: int
    wanted: Sequence[Target] = ()
    rows: Mapping[int, Mapping[str, Array]] = field(default_factory=dict)

    def reasons(self, instance: Instance, target: int) -> list[Reason]:
        """The features that matter most to a score, then those of value 0, with their values of x."""
        if instance.feature_values is None or self.top < 1:
            return []
        found = instance.top_reasons(self.top, target=target)
        held = np.atleast_2d(instance.feature_values)[target]
        errors = None if instance.feature_errors is None else np.atleast_2d(instance.feature_errors)[target]
        taken = {reason.feature for reason in found}
        others = (f for f in range(held.size) if f not in taken)
        for f, _ in zip(others, range(self.top - len(found)), strict=False):
            error = None if errors is None else float(errors[f])
            found.append(Reason(len(found) + 1, f, instance.feature_name(f), float(held[f]), error))
        return self.with_x(instance, found)

    def slopes(self, instance: Instance, element: Element) -> list[Reason]:
        """The features that an element of an output changes most by, with their values of x."""
        if self.top < 1:
            return []
        table = derivatives_of(instance, element)
        errors = None if table.errors is None else table.errors[0]
        known = not instance.errors_unknown
        found = rank_reasons(table.values[0], errors, table.name, self.top, "both", errors_known=known)
        return self.with_x(instance, found)

    def with_x(self, instance: Instance, reasons: Sequence[Reason]) -> list[Reason]:
        """The same, with the values of x of those features that are one element each, where x is at hand."""
        x, spans = self.rows.get(instance.position, {}), {f.id: f.elements for f in instance.features}
        return [_told(r, _own_value(r.name, self.model, x)) if spans.get(r.feature, 1) <= 1 else r for r in reasons]


def rows_of(inputs: Mapping[str, Array]) -> dict[int, dict[str, Array]]:
    """The instances of arrays {input: [B, *input]}, by position."""
    count = min((len(array) for array in inputs.values() if array.ndim), default=0)
    return {n: {name: array[n] for name, array in inputs.items() if array.ndim} for n in range(count)}


def _told(reason: Reason, value: Any) -> Reason:
    if value is None:
        return reason
    if isinstance(value, (str, np.str_)):  # which `x_value` can't hold
        return replace(reason, name=f"{reason.name} = {value}")
    return replace(reason, x_value=float(value))


def _own_value(name: str, model: Model, x: Mapping[str, Array]) -> Any:
    """The value of the element that results call by a name: the spec's, the input's or x[3]; None where none is."""
    listed = model.spec.feature_names
    places = [(of, names.index(name)) for of, names in listed.items() if name in names and of in x]
    if places:
        ((of, place), *others) = places
        return None if others or place >= x[of].size else np.ravel(x[of])[place]
    if name in x:
        return np.ravel(x[name])[0] if x[name].size == 1 else None
    match = _ELEMENT.fullmatch(name)
    if not match or match["input"] not in x:
        return None
    array, index = x[match["input"]], tuple(int(k) for k in match["index"].split(","))
    fits = len(index) == array.ndim and all(k < extent for k, extent in zip(index, array.shape, strict=True))
    return array[index] if fits else None
