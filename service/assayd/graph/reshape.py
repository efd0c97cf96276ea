"""Where the batch lands when a tensor is reshaped: plain arithmetic on shapes.

Reshaping keeps elements in row-major order. So if P elements' worth of axes stand before the batch in the input (its
*prefix*), they do in the output, and the batch belongs to the axis in which that boundary falls.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from assayd.graph.facts import MARKER, Fact, Shape


@dataclass(frozen=True)
class Landing:
    """The batch lands in output axis `axis`, after `lead` of that axis's extent."""

    axis: int
    lead: int
    shape: Shape
    """The output's shape at MARKER."""


def batch_of(fact: Fact) -> int:
    """The file's batch extent, from a batched fact with one batch axis: shape is lead * batch * rest there."""
    return fact.shape[fact.axis] * MARKER // fact.opened[fact.axis]


def prefix_of(fact: Fact) -> int:
    """Extent of everything that stands before the batch in row-major order."""
    return prod(fact.shape[: fact.axis]) * fact.lead


def resolve(target: Shape, source: Shape, allow_zero: bool) -> Shape | None:
    """Reshape's output shape: 0 copies the source's extent, -1 takes what is left. None where it doesn't fit."""
    dims = list(target)
    for axis, dim in enumerate(dims):
        if dim == 0 and not allow_zero:
            if axis >= len(source):
                return None
            dims[axis] = source[axis]
    total, known = prod(source), prod(dim for dim in dims if dim != -1)
    if dims.count(-1) == 1:
        if known == 0 or total % known:
            return None
        dims[dims.index(-1)] = total // known
    elif -1 in dims or known != total:
        return None
    return tuple(dims)


def landed(source: Fact, output: Shape, opened: Shape) -> Landing | None:
    """The landing if reshaping `source` to these shapes puts the batch where it belongs, else None."""
    changed = [axis for axis, pair in enumerate(zip(output, opened, strict=True)) if pair[0] != pair[1]]
    if len(changed) != 1:
        return None
    return next((spot for spot in landings(source, output) if spot.shape == opened), None)


def landings(source: Fact, output: Shape) -> list[Landing]:
    """Every axis of an output shape (at the file's batch) that the batch can land in, likeliest first.

    There is a choice where the batch is 1: an axis of that very extent comes first, the input's own axis before others.
    Failing that the batch stands on a boundary between two axes and joins the right one where that one was split
    (E -> N*H, D: heads) or where nothing stands left, and else the left one (S, N, E -> S*N, E).
    """
    batch, prefix = batch_of(source), prefix_of(source)
    found: list[tuple[tuple[int, int], Landing]] = []
    right_first = prefix == 1 or _is_split(source, output, prefix)
    before = 1
    for axis, dim in enumerate(output):
        lead, rest = divmod(prefix, before)
        if rest == 0 and dim % (lead * batch) == 0:
            opened = (*output[:axis], dim // batch * MARKER, *output[axis + 1 :])
            if lead == 1 and dim == batch:
                rank = (0, 0 if axis == source.axis else 1 + axis)
            elif lead == 1:
                rank = (1 if right_first else 2, axis)
            elif lead * batch == dim:
                rank = (2 if right_first else 1, -axis)
            else:
                rank = (3, axis)
            found.append((rank, Landing(axis, lead, opened)))
        before *= dim
    return [spot for _, spot in sorted(found, key=lambda pair: pair[0])]


def _is_split(source: Fact, output: Shape, prefix: int) -> bool:
    """Whether what stands right after the batch is cut into smaller axes."""
    batch = batch_of(source)
    rest = (source.shape[source.axis] // (source.lead * batch), *source.shape[source.axis + 1 :])
    before, first = 1, next((dim for dim in rest if dim != 1), 1)
    for dim in output:
        if (before == prefix * batch and dim != 1) or (before == prefix and dim % batch == 0 and dim // batch != 1):
            return (dim if before == prefix * batch else dim // batch) < first
        before *= dim
    return False
