"""Mends of ops that pick elements by number: with a baked batch they pick the rows that the file had."""

from __future__ import annotations

import numpy as np

from assayd.graph.edits import GatherByRow
from assayd.graph.facts import Fact
from assayd.graph.mixing import attributes_of
from assayd.graph.reshape import batch_of
from assayd.graph.site import Site


def gather_nd(site: Site) -> None:
    """Rows picked by number: with a baked batch of 1 the number is 0, and each row means itself."""
    source, indices = site.fact(0), site.fact(1)
    if source is None or indices is None or not source.batched:
        return
    first, depth = attributes_of(site.node).get("batch_dims", 0), indices.shape[-1]
    if not first <= source.axis < first + depth:
        return
    if first or source.axis or not indices.batched or indices.axis or batch_of(source) != 1 or source.shape[0] != 1:
        raise site.fail("picks rows of the batch by number")
    site.edits.append(GatherByRow(site.index))
    rest = source.shape[depth:]
    site.made = [Fact(source.elem, (*indices.shape[:-1], *rest), (*indices.opened[:-1], *rest))]


def gather(site: Site) -> None:
    """Rows picked by number are picked for the baked batch alone."""
    source = site.fact(0)
    if (
        source is not None
        and source.batched
        and attributes_of(site.node).get("axis", 0) % len(source.shape) == source.axis
    ):
        raise site.fail("picks rows of the batch by number")


def slice_(site: Site) -> None:
    """A slice that takes the whole batch axis by its number: to the end instead."""
    source, starts, ends = site.fact(0), site.fact(1), site.fact(2)
    if source is None or not source.batched or starts is None or ends is None:
        return
    if starts.value is None or ends.value is None or not site.frozen(ends):
        return
    given, steps = site.fact(3), site.fact(4)
    rank, count = len(source.shape), len(ends.value)
    axes = range(count) if given is None else given.value
    for k, axis in enumerate(() if axes is None else axes):
        step = 1 if steps is None else None if steps.value is None else steps.value[k]
        whole = starts.value[k] == 0 and step == 1 and ends.value[k] >= source.shape[source.axis]
        if axis % rank == source.axis and whole and ends.value[k] < source.opened[source.axis]:
            dims = ends.value.copy()
            dims[k] = np.iinfo(dims.dtype).max
            site.set_constant(2, ends, dims)
            return
