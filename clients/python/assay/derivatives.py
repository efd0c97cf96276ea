"""A Jacobian as a table: a line for each element of the outputs, a column for each feature."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from assay.errors import invalid
from assay.names import Feature, element_name, named
from assay.tensors import Array


@dataclass(frozen=True, eq=False)
class Derivatives:
    """Values and errors (None without an estimate) [R, F]; `columns` are inputs and their shapes, in order."""

    values: Array
    errors: Array | None
    features: Sequence[Feature]
    columns: Sequence[tuple[str, tuple[int, ...]]]

    def name(self, feature: int) -> str:
        """What to call a column: its feature's name, else the place of the element: x[3]."""
        known = named(feature, self.features)
        place = feature
        for name, shape in () if known else self.columns:
            if place < math.prod(shape):
                return element_name(name, place, shape)
            place -= math.prod(shape)
        return known or f"feature {feature}"


def derivatives(
    jacobian: Mapping[str, Mapping[str, Array]],
    errors: Mapping[str, Mapping[str, Array | None]],
    features: Sequence[Feature],
    elements: int,
    over_features: str,
) -> Derivatives:
    """The table of output -> input -> [*output, *input], or output -> `over_features` -> [*output, F].

    Lines are the outputs' elements, columns the inputs', both in order and row-major. elements: of all outputs.

    Raises InvalidArgument without a Jacobian, and where nothing says which axes are the output's: several outputs by
    elements without names.
    """
    if not jacobian:
        raise invalid("instance", "it holds neither feature values nor a Jacobian")
    values, spread = [], []
    columns: list[tuple[str, tuple[int, ...]]] = []
    for output, blocks in jacobian.items():
        lines = _lines(blocks, len(features), blocks.get(over_features), elements if len(jacobian) == 1 else 0)
        values.append(np.concatenate([block.reshape(lines, -1) for block in blocks.values()], axis=1))
        known = [error for error in errors.get(output, {}).values() if error is not None]
        if len(known) == len(blocks):
            spread.append(np.concatenate([error.reshape(lines, -1) for error in known], axis=1))
        if over_features not in blocks:
            columns = [(name, _input_shape(block.shape, lines)) for name, block in blocks.items()]
    whole = np.concatenate(spread) if len(spread) == len(values) else None
    return Derivatives(np.concatenate(values), whole, features, columns)


def _lines(blocks: Mapping[str, Array], named_features: int, over_features: Array | None, elements: int) -> int:
    """How many elements an output has; `elements` where nothing else tells."""
    width = named_features or (over_features.shape[-1] if over_features is not None else 0)
    lines = sum(block.size for block in blocks.values()) // width if width else elements
    if lines == 0 or any(block.size % lines for block in blocks.values()):
        raise invalid("instance", "which axes of its Jacobian are the output's isn't known; read `jacobian` itself")
    return lines


def _input_shape(shape: tuple[int, ...], lines: int) -> tuple[int, ...]:
    """What is left of [*output, *input] once the output's axes are taken off the front."""
    taken = next(n for n in range(len(shape) + 1) if math.prod(shape[:n]) == lines)
    return shape[taken:]
