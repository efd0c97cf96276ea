"""The mends: what bakes a batch extent into a graph, op by op, and how to free it.

A mend never changes what the node computes at the file's own batch extent. Where it can't tell, it raises Unopenable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from assayd.graph.edits import SetShape
from assayd.graph.facts import Fact, uniform_along
from assayd.graph.mixing import attributes_of
from assayd.graph.picks import gather, gather_nd, slice_
from assayd.graph.reshape import batch_of, landed, landings, resolve
from assayd.graph.site import Site


def reshape(site: Site) -> None:
    """A baked target: put -1, 0 or the run-time batch where the batch belongs."""
    source, target = site.fact(0), site.fact(1)
    if source is None or not source.batched or len(site.inputs) < 2:
        return
    if target is None or target.value is None or target.value_opened is None:
        raise site.fail("takes its shape from data, so it can't be followed")
    allow_zero = bool(attributes_of(site.node).get("allowzero", 0))
    output = resolve(tuple(target.value.tolist()), source.shape, allow_zero)
    if output is None or 0 in output:
        raise site.fail("doesn't fit the shape of its input")
    natural = resolve(tuple(target.value_opened.tolist()), source.opened, allow_zero)
    if target.value is not target.value_opened:
        spot = landed(source, output, natural) if natural is not None else None
        if spot is None:
            raise site.fail("works out a shape that puts the batch in the wrong place")
    else:
        spots = landings(source, output)
        if not spots:
            raise site.fail("cuts across the batch axis")
        spot = spots[site.choose(len(spots))]
        if natural != spot.shape:
            _aim(site, source, tuple(target.value.tolist()), output, spot.axis, allow_zero)
    site.made = [Fact(source.elem, output, spot.shape, lead=spot.lead)]


def _aim(
    site: Site, source: Fact, target: tuple[int, ...], output: tuple[int, ...], axis: int, allow_zero: bool
) -> None:
    """Change the target so that its axis `axis` holds the batch."""
    dims = list(target) if site.symbols else list(output)
    kept = output[axis] == source.shape[source.axis] and axis == source.axis
    fact = site.fact(1)
    if fact is None or not site.frozen(fact):
        _patch(site, 1, tuple(dims), axis, output[axis] // batch_of(source))
        return
    if -1 not in dims or dims[axis] == -1:
        dims[axis] = -1
    elif kept and not allow_zero:
        dims[axis] = 0
    else:
        site.edits.append(SetShape(site.index, 1, tuple(dims), axis, output[axis] // batch_of(source)))
        return
    site.set_constant(1, fact, np.array(dims, np.int64))


def _patch(site: Site, slot: int, dims: tuple[int, ...], at: int, times: int) -> None:
    """Put the batch into a shape that is worked out from other free axes at run time."""
    if site.opset < 10:
        raise site.fail("mixes the batch with other free axes, and operator sets before 10 can't patch that")
    site.edits.append(SetShape(site.index, slot, dims, at, times, patch=True))


def concat(site: Site) -> None:
    """A constant beside batched tensors (a class token): repeat it for each row."""
    like = _first_batched(site)
    if like is None:
        return
    rank = len(like.shape)
    if attributes_of(site.node).get("axis", 1) % rank == like.axis:
        raise site.fail("joins tensors along the batch axis")
    for slot in range(len(site.inputs)):
        site.grow(slot, like.axis, like)


def recurrent(site: Site) -> None:
    """Initial states and lengths made for one row: repeat them."""
    like = site.fact(0)
    if like is None or not like.batched:
        return
    axis = 0 if attributes_of(site.node).get("layout", 0) else 1
    if like.axis != axis:
        raise site.fail(f"takes axis {axis} for the batch, which stands at axis {like.axis}")
    for slot, at in ((4, 0), (5, axis), (6, axis)):
        if slot < len(site.inputs):
            site.grow(slot, at, like)


def resize(site: Site) -> None:
    """Baked output sizes: the batch's comes from the input at run time."""
    source, sizes = site.fact(0), site.fact(3)
    if source is None or not source.batched or sizes is None or sizes.value is None or not sizes.value.size:
        return
    rank = len(source.shape)
    axes = [axis % rank for axis in attributes_of(site.node).get("axes", range(rank))]
    if sizes.value is not sizes.value_opened or source.axis not in axes:
        return
    at, dims = axes.index(source.axis), tuple(sizes.value.tolist())
    if dims[at] != source.shape[source.axis]:
        raise site.fail("resizes the batch axis")
    if site.frozen(sizes):
        site.edits.append(SetShape(site.index, 3, dims, at, dims[at] // batch_of(source)))
    else:
        _patch(site, 3, dims, at, dims[at] // batch_of(source))
    opened = sizes.value.copy()
    opened[at] = source.opened[source.axis]
    site.inputs[3] = Fact(sizes.elem, sizes.shape, sizes.shape, sizes.value, opened)


def expand(site: Site) -> None:
    """A target that repeats the batch's own extent: 1 means the same and holds for any batch."""
    source, target = site.fact(0), site.fact(1)
    if source is None or target is None or target.value is None:
        return
    if not source.batched:
        _expand_one_row(site, source, target)
        return
    at = source.axis - len(source.shape) + len(target.value)
    if at < 0 or target.value is not target.value_opened or target.value[at] in (1, -1):
        return
    if target.value[at] != source.shape[source.axis] or not site.frozen(target):
        raise site.fail("expands the batch axis")
    dims = target.value.copy()
    dims[at] = 1
    site.set_constant(1, target, dims)


def _expand_one_row(site: Site, source: Fact, target: Fact) -> None:
    """A constant that already has as many rows as the baked batch, expanded to the batch at run time: one row of it."""
    if target.value is None or target.value_opened is None or source.value is None or not site.frozen(source):
        return
    pairs = zip(target.value.tolist()[::-1], target.value_opened.tolist()[::-1], strict=True)
    for back, (here, opened) in enumerate(pairs, 1):
        axis = len(source.shape) - back
        if axis >= 0 and here != opened and source.shape[axis] != 1 and uniform_along(source.value, axis):
            site.set_constant(0, source, np.take(source.value, [0], axis))


def affine_grid(site: Site) -> None:
    """A baked size: the batch's comes from the input at run time."""
    theta, size = site.fact(0), site.fact(1)
    if theta is None or not theta.batched or size is None or size.value is None or size.value is not size.value_opened:
        return
    if not site.frozen(size) or size.value[0] != theta.shape[0]:
        raise site.fail("has a size that can't be freed")
    site.edits.append(SetShape(site.index, 1, tuple(size.value.tolist()), 0, theta.shape[0] // batch_of(theta)))
    opened = size.value.copy()
    opened[0] = theta.opened[0]
    site.inputs[1] = Fact(size.elem, size.shape, size.shape, size.value, opened)


def broadcast(site: Site) -> None:
    """A constant with as many rows as the baked batch: repeat it for the batch at run time."""
    like = _first_batched(site)
    if like is None or len(like.axes) != 1:
        return
    from_right = len(like.shape) - like.axis
    if site.node.op_type == "MatMul" and from_right <= 2:
        return
    for slot, fact in enumerate(site.inputs):
        axis = -1 if fact is None else len(fact.shape) - from_right
        if fact is None or fact.batched or axis < 0 or fact.shape[axis] in (1, *like.opened[like.axis : like.axis + 1]):
            continue
        if fact.shape[axis] == like.shape[like.axis]:
            site.grow(slot, axis, like)


def _together(slots: Iterable[int], axis: int | None = None) -> Callable[[Site], None]:
    """A mend for ops whose inputs must hold the batch together: at `axis`, or wherever the first has it."""
    chosen = tuple(slots)

    def mend(site: Site) -> None:
        like = next((f for slot in chosen if (f := site.fact(slot)) is not None and f.batched), None)
        if like is None or (axis is not None and like.axis != axis):
            return
        for slot in chosen:
            if slot < len(site.inputs):
                site.grow(slot, like.axis, like)

    return mend


def _first_batched(site: Site) -> Fact | None:
    """The batched input with the most axes."""
    batched = [fact for fact in site.inputs if fact is not None and fact.batched]
    return max(batched, key=lambda fact: len(fact.shape), default=None)


_BROADCASTING = (
    "Add", "Sub", "Mul", "Div", "Pow", "Mod", "Min", "Max", "Sum", "Mean", "And", "Or", "Xor", "Equal", "Greater",
    "GreaterOrEqual", "Less", "LessOrEqual", "Where", "PRelu", "MatMul",
)  # fmt: skip

MENDS: Mapping[str, Callable[[Site], None]] = {
    "Reshape": reshape,
    "Concat": concat,
    "LSTM": recurrent,
    "GRU": recurrent,
    "RNN": recurrent,
    "Resize": resize,
    "Expand": expand,
    "Slice": slice_,
    "Gather": gather,
    "GatherND": gather_nd,
    "AffineGrid": affine_grid,
    "GatherElements": _together((0, 1)),
    "ScatterElements": _together((0, 1, 2)),
    "GridSample": _together((0, 1), axis=0),
    "Attention": _together((0, 1, 2), axis=0),
} | dict.fromkeys(_BROADCASTING, broadcast)
"""By op of the standard domain, what is done before its shapes are inferred."""
