"""The shape of a method."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import ClassVar, Protocol, TypeAlias, TypeGuard

from assayd.types.arrays import Array
from assayd.types.request import BaselineSpec, FeatureSpec, PerInput
from assayd.types.result import Attribution, Scores
from assayd.types.rows import Plan
from assayd.types.subject import Subject

Explanation: TypeAlias = Generator[Plan, Scores, Attribution]


class Method(Protocol):
    """A frozen dataclass whose fields are named like those of its proto message, which is all the codec needs.

    `explain` yields plans, receives each plan's scores, and returns the attribution. It raises `InvalidRequest` naming
    the parameter at fault before it yields its first plan. No device, thread or transport is in sight, so any Python
    function can drive it. x and the baselines are scored for it.
    """

    revision: ClassVar[int]

    @property
    def features(self) -> FeatureSpec | None:
        """What is cut into features, or None where the method has windows."""

    @property
    def baseline(self) -> PerInput[BaselineSpec]:
        """What absent features are."""

    def explain(self, subject: Subject) -> Explanation:
        """Plan, receive scores, reduce."""


class Differential(Method, Protocol):
    """A method that differentiates whole outputs by nudges.

    It has no targets and no baselines: its scores are all elements of its outputs, concatenated in order, and its
    subject's segments are the elements where it names no features.
    """

    @property
    def outputs(self) -> tuple[str, ...]:
        """Outputs differentiated; () means every floating-point one."""

    @property
    def grouped(self) -> bool:
        """Whether derivatives are along features in place of elements."""

    def nudge_scale(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """What `Subject.scale` has to be. inputs: the explained ones, [*input] each."""


def differentiates(method: Method) -> TypeGuard[Differential]:
    """Whether it is a differential method."""
    return hasattr(method, "nudge_scale")


def drawn_cells(method: Method, elements: int) -> float:
    """Numbers that it draws and fits a surrogate to, by its `cells`; 0 where it draws nothing. elements: explained."""
    cells: Callable[[int], float] | None = getattr(method, "cells", None)
    return 0 if cells is None else cells(elements)
