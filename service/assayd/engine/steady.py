"""Whether a program gives a row the same bits wherever it stands in a batch of one size, and whatever stands beside it.

Equal shapes make a runtime take the same path through its kernels; that this is so for a model is tried out here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from assayd.engine.probes import ROWS, Probe, row
from assayd.engine.program import Program
from assayd.errors import AssayError
from assayd.types.arrays import Array


def unsteady(program: Program, size: int, probes: Iterable[Probe]) -> str:
    """What was seen to change a row's bits in batches of `size` rows, in words; empty where nothing was.

    The first probe that runs decides.
    """
    failure = "no input was found that it answers"
    for probe in probes:
        try:
            return _changes(program, size, probe)
        except AssayError as error:  # ids out of range, a shape it doesn't take: another probe may do
            failure = error.message
    return f"not to be told: {failure}"


def _changes(program: Program, size: int, probe: Probe) -> str:
    known: dict[int, list[bytes]] = {}
    for order in _orders(size):
        for number, bits in zip(order, _bits(program, probe, order), strict=True):
            if known.setdefault(number, bits) != bits:
                return (
                    "a row's bits change with its place and company in a batch"
                    if size > 1
                    else "its answers to the same row differ"
                )
    return ""


def _orders(size: int) -> list[tuple[int, ...]]:
    """Batches of numbers of probe rows: each row at several places, among others, and all of it again."""
    if size == 1:
        return [(n,) for n in (*range(ROWS), *range(ROWS))]
    cycled = tuple(n % ROWS for n in range(size))
    mostly = (*(0,) * (size - 1), ROWS - 1)
    return [cycled, cycled[::-1], mostly, mostly[::-1], cycled]


def _bits(program: Program, probe: Probe, order: Sequence[int]) -> list[list[bytes]]:
    """Every output of each place, as bytes."""
    buffers = program.buffers({name: values.shape[1:] for name, values in probe.items()}, len(order))
    views = buffers.views(len(order))
    for place, number in enumerate(order):
        for name, value in row(probe, number).items():
            views[name][place] = value
    outputs = program.run(buffers, len(order))
    return [[_raw(values[place : place + 1]) for values in outputs.values()] for place in range(len(order))]


def _raw(value: Array) -> bytes:
    return repr(value.tolist()).encode() if value.dtype == object else np.ascontiguousarray(value).tobytes()
