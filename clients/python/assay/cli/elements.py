"""The elements of a Jacobian's outputs: which of them `--target` names, and their derivatives."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from assay.data.arrays import listed
from assay.derivatives import Derivatives
from assay.errors import invalid
from assay.explanation import FEATURES, Instance, ResolvedTarget
from assay.models import Model
from assay.targets import Target
from assay.tensors import Array

_MOST_OF_AN_OUTPUT, _MOST = 3, 10


@dataclass(frozen=True)
class Element:
    """One element of an output, and the model's answer there (None where it isn't known)."""

    target: ResolvedTarget
    score: float | None


@dataclass(frozen=True, eq=False)
class _Output:
    """An output of one instance: shape, a label for each element or (), scores [elements] or None."""

    name: str
    shape: tuple[int, ...]
    labels: Sequence[str]
    scores: Array | None

    def element(self, place: int) -> Element:
        index = tuple(int(k) for k in np.unravel_index(place, self.shape)) if self.shape else ()
        label = self.labels[place] if place < len(self.labels) else ""
        score = None if self.scores is None else float(self.scores[place])
        return Element(ResolvedTarget(self.name, index, label), score)

    def by_score(self) -> list[int]:
        """Places, the largest score first."""
        count = math.prod(self.shape)
        scores = np.zeros(count) if self.scores is None else self.scores.astype(np.float64)
        return [int(place) for place in np.argsort(-scores, kind="stable")]


def need_elements(args: argparse.Namespace, model: Model) -> None:
    """InvalidArgument where `--target` names no element of what is differentiated, as far as the model's file says."""
    known = {info.name: info for info in model.outputs}
    names = args.method_outputs or [info.name for info in model.outputs if "float" in info.dtype]
    for wanted in args.target or ():
        name = _output_name(wanted, names)
        if name in known and -1 not in known[name].shape:
            _place(wanted, _Output(name, known[name].shape, known[name].class_labels, None))
    if len(names) > 1 and args.out and args.out.suffix != ".npz":
        raise invalid("out", f"the derivatives of several outputs ({listed(names)}) take a .npz file")


def chosen(instance: Instance, model: Model, wanted: Sequence[Target]) -> list[Element]:
    """The elements that `--target` names; without it those with the largest scores, a few of each output."""
    outputs = _outputs(instance, model)
    if wanted:
        return _named(outputs, wanted)
    return [o.element(place) for o in outputs.values() for place in o.by_score()[:_MOST_OF_AN_OUTPUT]][:_MOST]


def drawn(instance: Instance, model: Model, wanted: Sequence[Target]) -> list[Element]:
    """The elements that `--target` names; without it the one with the largest score, of each output."""
    outputs = _outputs(instance, model)
    return _named(outputs, wanted or [Target(name) for name, o in outputs.items() if math.prod(o.shape)])


def count(instance: Instance, model: Model) -> int:
    """The number of elements of all outputs."""
    return sum(math.prod(output.shape) for output in _outputs(instance, model).values())


def derivatives_of(instance: Instance, element: Element) -> Derivatives:
    """The derivatives of one element: a table [1, F]."""
    output, at = element.target.output, element.target.index
    maps = maps_of(instance.jacobian[output], at)
    spread = [error[at] for error in instance.jacobian_errors.get(output, {}).values() if error is not None]
    return Derivatives(
        _line(maps.values()),
        _line(spread) if len(spread) == len(maps) else None,
        instance.features,
        () if FEATURES in maps else [(name, part.shape) for name, part in maps.items()],
    )


def maps_of(blocks: Mapping[str, Array], index: tuple[int, ...]) -> dict[str, Array]:
    """By input, the part [*input] of each block [*output, *input] that belongs to an element."""
    return {name: block[index] for name, block in blocks.items()}


def _line(parts: Any) -> Array:
    return np.concatenate([np.ravel(part) for part in parts])[None]


def _outputs(instance: Instance, model: Model) -> dict[str, _Output]:
    """By name. A block's last axes are those of its input, or one of features; the others are the output's."""
    axes = {info.name: len(info.shape) for info in model.inputs}
    labels = {info.name: info.class_labels for info in model.outputs}
    shapes = {}
    for output, blocks in instance.jacobian.items():
        name, block = next(iter(blocks.items()))
        shapes[output] = block.shape[: block.ndim - axes.get(name, 1)]
    ends = np.cumsum([math.prod(shape) for shape in shapes.values()])
    scores = None if instance.scores is None else np.ravel(instance.scores)
    if scores is None or scores.size != (ends[-1] if len(ends) else 0):
        parts: list[Array | None] = [None] * len(shapes)
    else:
        parts = list(np.split(scores, ends[:-1]))
    return {
        name: _Output(name, shape, labels.get(name, ()), part)
        for (name, shape), part in zip(shapes.items(), parts, strict=True)
    }


def _named(outputs: Mapping[str, _Output], wanted: Sequence[Target]) -> list[Element]:
    found = []
    for target in wanted:
        output = outputs[_output_name(target, list(outputs))]
        found.append(output.element(_place(target, output)))
    return found


def _output_name(target: Target, names: Sequence[str]) -> str:
    if target.output is None and len(names) == 1:
        return names[0]
    if target.output is None:
        example = f"{names[0]}:0" if names else "OUTPUT:0"
        raise invalid("target", f"the outputs {listed(names)} are differentiated: name one, as in {example}")
    if target.output not in names:
        raise invalid("target", f"{target.output!r} is none of the outputs that are differentiated: {listed(names)}")
    return target.output


def _place(target: Target, output: _Output) -> int:
    """Row-major, of the element that a target names; InvalidArgument where there is none."""
    size = math.prod(output.shape)
    label, index, rank = target.label, target.index, target.top_rank
    if isinstance(label, str):
        if label not in output.labels:
            known = f"it has {listed(output.labels)}" if output.labels else "it has none"
            raise invalid("target", f"{output.name} has no label {label!r}; {known}")
        return list(output.labels).index(label)
    if isinstance(index, (int, Sequence)):
        given = (index,) if isinstance(index, int) else tuple(index)
        extents = output.shape if len(given) == len(output.shape) else (size,)
        if len(given) != len(extents) or not all(-n <= k < n for k, n in zip(given, extents, strict=True)):
            raise invalid("target", f"{','.join(map(str, given))} is no place in {output.name} {list(output.shape)}")
        inside = tuple(k % n for k, n in zip(given, extents, strict=True))
        return int(np.ravel_multi_index(inside, extents))
    wanted = rank if isinstance(rank, int) else 1
    if not 1 <= wanted <= size:
        raise invalid("target", f"{output.name} has {size} elements, and none of rank {wanted}")
    return output.by_score()[wanted - 1]
