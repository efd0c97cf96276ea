"""A buffer that is used again holds the same bits as a new one, whatever it held before."""

from dataclasses import replace
from itertools import count

import numpy as np
import pytest

from assayd.engine.backend import Chunk, Whole
from assayd.engine.realise import realise_chunk
from assayd.engine.traces import Trace, Traces
from tests.slow_realise import slow_realise
from tests.unit.engine.test_realise import (
    a_subject,
    assert_same_bits,
    blends,
    boxes,
    masks,
    nudges,
    plain,
    samples,
    values,
)

ROWS = 5


def twin(rng, subject):
    """Another subject with the same shapes, dtypes and segments."""
    again = {name: values(rng, x.dtype.type, x.shape) for name, x in subject.inputs.items()}
    return replace(subject, inputs=again, number=next(_NUMBERS))


_NUMBERS = count(10**6)


@pytest.mark.parametrize("seed", range(150))
def test_what_a_buffer_held_before_leaves_nothing_behind(seed):
    rng = np.random.default_rng([7, seed])
    first = a_subject(rng, (np.float32, np.int64))
    subjects = [first, twin(rng, first)]
    out = {name: values(rng, x.dtype.type, (ROWS, *x.shape)) for name, x in first.inputs.items()}
    traces = Traces()
    makers = [boxes, boxes, boxes, plain, masks, samples]
    if not any(x.dtype == np.int64 for x in first.inputs.values()):
        makers += [blends, nudges]
    for _ in range(12):
        start = int(rng.integers(0, ROWS))
        for subject in subjects:
            rows = int(rng.integers(1, ROWS - start + 1))
            block = makers[rng.integers(len(makers))](rng, subject, rows)
            into = {name: view[start : start + rows] for name, view in out.items()}
            with np.errstate(all="ignore"):
                want = slow_realise(subject, [block])
                realise_chunk(Chunk(subject, [block], Whole(), rows), into, traces, start)
            assert_same_bits(into, want)


def test_the_next_box_of_an_instance_writes_nothing_beside_both_boxes():
    rng = np.random.default_rng(0)
    subject = a_subject(rng, (np.float32,))
    out = {name: values(rng, np.float32, (1, *x.shape)) for name, x in subject.inputs.items()}
    traces = Traces()
    beside = {name: np.ones(view.shape, bool) for name, view in out.items()}
    blocks = [boxes(rng, subject, 1) for _ in range(2)]
    for block in blocks:
        realise_chunk(Chunk(subject, [block], Whole(), 1), out, traces)
        held = traces.of(0, subject.number)
        beside[held.tensor][0][held.where] = False
    assert any(marked.any() for marked in beside.values())
    for name, view in out.items():
        view[beside[name]] = 123
    for block in blocks:
        realise_chunk(Chunk(subject, [block], Whole(), 1), out, traces)
    assert all((view[beside[name]] == 123).all() for name, view in out.items())


def test_rows_are_forgotten_and_known_by_their_subject():
    traces = Traces()
    for row in range(4):
        traces.leave(row, Trace(1, "x", ()))
    traces.forget(1, 3)
    assert [traces.of(row, 1) is None for row in range(5)] == [False, True, True, False, True]
    assert traces.of(0, 2) is None
