"""One node on the walk, as its mend sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from onnx import NodeProto

from assayd.graph.edits import Edit, Grow, SetConstant
from assayd.graph.facts import Fact, Shape, Unopenable, uniform_along
from assayd.graph.mixing import called
from assayd.graph.reshape import batch_of


@dataclass(eq=False)
class Site:
    """index: the node's position in the graph. inputs: facts, changed by mends as they go; None absent or unknown.

    symbols: the model has other free axes, so extents seen on the walk may not be baked. choose(n): which of n
    possibilities to take; the walk comes back with another if this one leads nowhere. made: the outputs, where the
    mend knows them.
    """

    index: int
    node: NodeProto
    inputs: list[Fact | None]
    opset: int
    symbols: bool
    choose: Callable[[int], int]
    edits: list[Edit] = field(default_factory=list)
    made: list[Fact | None] | None = None

    def fact(self, slot: int) -> Fact | None:
        """The input's fact; None where absent or unknown."""
        return self.inputs[slot] if slot < len(self.inputs) else None

    def fail(self, why: str) -> Unopenable:
        """The error that names this node."""
        return Unopenable(f"{called(self.node)} {why}")

    def frozen(self, fact: Fact) -> bool:
        """Whether the value is the same for any batch, and not made of other free axes."""
        return fact.value is not None and fact.value is fact.value_opened and (fact.baked or not self.symbols)

    def set_constant(self, slot: int, fact: Fact, value: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> None:
        """Give the input a constant of its own."""
        self.edits.append(SetConstant(self.index, slot, value))
        self.inputs[slot] = Fact(fact.elem, value.shape, value.shape, value, value, baked=fact.baked)

    def grow(self, slot: int, axis: int, like: Fact) -> None:
        """Repeat an input that doesn't hold the batch along `axis`, as `like` does along its batch axis.

        Unopenable where what one row needs can't be told from what is baked.
        """
        fact = self.inputs[slot]
        if fact is None or fact.batched:
            return
        wanted, batch = like.shape[like.axis], batch_of(like)
        extent = fact.shape[axis] if axis < len(fact.shape) else 0
        opened: Shape = (*fact.shape[:axis], like.opened[like.axis], *fact.shape[axis + 1 :])
        if extent != wanted:
            raise self.fail(f"takes {self.node.input[slot]!r} with extent {extent} where the batch makes {wanted}")
        if self.opset < 8:
            raise self.fail("needs Expand, which operator sets before 8 lack")
        rank = len(fact.shape)
        if batch == 1 and extent == 1:
            self.edits.append(Grow(self.index, slot, axis, rank))
        elif fact.value is not None and uniform_along(fact.value, axis) and self.frozen(fact):
            row = np.take(fact.value, [0], axis)
            self.edits.append(Grow(self.index, slot, axis, rank, value=row, times=extent // batch))
        elif batch == 1 and like.lead == 1:
            self.edits.append(Grow(self.index, slot, axis, rank, tile=True))
        else:
            raise self.fail(f"takes {self.node.input[slot]!r}, which is made for a batch of {batch} alone")
        self.inputs[slot] = Fact(fact.elem, fact.shape, opened, lead=like.lead)
