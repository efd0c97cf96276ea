"""Which score of a model is explained."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeAlias

import numpy as np

from assay.enums import enum_number
from assay.errors import invalid
from assay.tensors import Array, floating, to_tensor
from assay.v1 import explain_pb2


@dataclass(frozen=True, eq=False)
class PerInstance:
    """One value for each instance in place of one for all: targets, or a target's indices, labels, ranks, weights."""

    values: Sequence[Any]


@dataclass(frozen=True, eq=False)
class Target:
    """One scalar score: an element of an output, or a weighted sum of its elements.

    At most one of index, label, top_rank and weights; with none, the output's only element or its largest.

    Attributes:
        output: name of the output; None: the model's only floating-point one.
        index: position in one instance's output (an int for one axis, or to index it flattened).
        label: class label of the element.
        top_rank: rank of the score at the unperturbed x, 1 the largest; decided for each instance.
        weights: floating array of the shape of one instance's output; the score is the weighted sum.
        scale: "raw", or "logit" or "log" of an output that is a probability.
    """

    output: str | None = None
    index: int | Sequence[int] | PerInstance | None = None
    label: str | PerInstance | None = None
    top_rank: int | PerInstance | None = None
    weights: Array | str | PerInstance | None = None
    scale: str = "raw"


OneTarget: TypeAlias = Target | int | tuple[int, ...]
"""A target; an int or tuple is short for Target(index=...)."""

Targets: TypeAlias = OneTarget | Sequence[OneTarget] | PerInstance | None
"""What `target=` takes: a target; a list of several at once; one or a list for each instance; None: the top score."""


def has_target_axis(target: Targets) -> bool:
    """Whether results keep the axis T: where a list of targets was asked for, even of one."""
    if isinstance(target, PerInstance):
        return any(_is_list(one) for one in target.values)
    return _is_list(target)


def _is_list(target: Any) -> bool:
    """Whether these are several targets; a tuple of ints is one position."""
    return isinstance(target, list) or (isinstance(target, tuple) and any(isinstance(one, Target) for one in target))


def encode_targets(
    target: Targets,
) -> tuple[list[explain_pb2.Target], list[explain_pb2.InstanceTargets]]:
    """The request's `targets` and `instance_targets`, of which at least one is empty."""
    if target is None:
        return [], []
    if isinstance(target, PerInstance):
        return [], [_instance([_one(t) for t in (one if _is_list(one) else [one])]) for one in target.values]
    several: Any = target if _is_list(target) else [target]
    listed = [_one(one) for one in several]
    if not listed:
        raise invalid("target", "an empty list explains nothing; None is the top score")
    counts = {len(v.values) for t in listed for v in _values(t) if isinstance(v, PerInstance)}
    if not counts:
        return [_encode(t) for t in listed], []
    if len(counts) > 1:
        raise invalid("target", f"PerInstance lists of different lengths: {sorted(counts)}")
    return [], [_instance([_at(t, i) for t in listed]) for i in range(counts.pop())]


def _one(target: Any) -> Target:
    if isinstance(target, Target):
        return target
    if isinstance(target, tuple):
        return Target(index=target)
    if isinstance(target, (int, np.integer)):
        return Target(index=int(target))
    if isinstance(target, str):
        raise invalid("target", f"a text names nothing by itself: Target(label={target[:80]!r}) is a label")
    raise invalid("target", f"{type(target).__name__} is no Target, index, list of them or PerInstance")


def _values(target: Target) -> list[Any]:
    return [getattr(target, field.name) for field in fields(target)]


def _at(target: Target, instance: int) -> Target:
    """The target of one instance."""
    chosen: dict[str, Any] = {
        field.name: value.values[instance]
        for field, value in zip(fields(target), _values(target), strict=True)
        if isinstance(value, PerInstance)
    }
    return replace(target, **chosen)


def _instance(targets: Sequence[Target]) -> explain_pb2.InstanceTargets:
    return explain_pb2.InstanceTargets(targets=[_encode(target) for target in targets])


def _encode(target: Target) -> explain_pb2.Target:
    given = [name for name in ("index", "label", "top_rank", "weights") if getattr(target, name) is not None]
    if len(given) > 1:
        raise invalid("target", f"{' and '.join(given)} exclude each other")
    scale = enum_number(explain_pb2.Scale.DESCRIPTOR, target.scale, "target.scale")
    message = explain_pb2.Target(output=target.output or "", scale=scale)
    try:
        if target.index is not None:
            index: Any = target.index
            message.index.position.extend([operator.index(i) for i in ([index] if np.ndim(index) == 0 else index)])
            message.index.SetInParent()  # an empty tuple is the position in a scalar output
        elif target.label is not None:
            message.label = _plain(target.label)
        elif target.top_rank is not None:
            message.top_rank = operator.index(_plain(target.top_rank))
        elif target.weights is not None:
            message.weights.CopyFrom(to_tensor(floating(_plain(target.weights)), "target.weights"))
    except (TypeError, ValueError) as error:
        raise invalid(f"target.{given[0]}", str(error)) from error
    return message


def _plain(value: Any) -> Any:
    if isinstance(value, PerInstance):
        raise TypeError("a PerInstance can't hold another")
    return value
