"""Chunks that cross as one are the same chunks on the other side."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assayd.engine.backend import Chunk, Whole
from assayd.engine.worker.arrays import Malformed
from assayd.engine.worker.stack import distinct, results_stacked, results_unstacked, stacked, unstacked
from assayd.types.rows import BoxRows, MaskRows, NudgeRows, Pick, PlainRows, SampleRows
from assayd.types.subject import Subject

quick = settings(deadline=None, max_examples=200, database=None)
SUBJECT = Subject({"x": np.zeros(3, np.float32)}, {}, None)


@st.composite
def blocks(draw):
    n, kind = draw(st.integers(1, 3)), draw(st.integers(0, 6))
    ids = np.array(draw(st.lists(st.integers(-1, 9), min_size=n, max_size=n)), np.int32)
    return (
        lambda: PlainRows(ids),
        lambda: MaskRows(np.arange(2 * n).reshape(n, 2) % 3 == 0, ids),
        lambda: MaskRows(np.arange(2 * n, dtype=np.float32).reshape(n, 2) / 9, ids),
        lambda: MaskRows(np.ones((n, 4), bool), ids),
        lambda: BoxRows("x", (0,), ids[:, None].astype(np.int64), ids[:, None].astype(np.int64) + 1, ids),
        lambda: NudgeRows(ids, ids / 7),
        lambda: SampleRows({"x": ids[:, None] * np.ones((1, 3), np.float16)}),
    )[kind]()


def rows(of):
    """Every row by itself, so that it doesn't matter where one block ends and the next begins."""
    apart = []
    for block in of:
        for r in range(len(block)):
            match block:
                case SampleRows(values):
                    apart.append((SampleRows, {k: (v.dtype, v[r].tolist()) for k, v in values.items()}))
                case BoxRows(tensor, axes, starts, sizes, ids):
                    apart.append((BoxRows, tensor, axes, starts[r].tolist(), sizes[r].tolist(), int(ids[r])))
                case _:
                    apart.append((type(block), [(a.dtype, a[r].tolist()) for a in vars(block).values()]))
    return apart


@quick
@given(st.lists(st.lists(blocks(), min_size=1, max_size=3), min_size=1, max_size=6))
def test_rows_come_back_to_their_chunks(chunks):
    sent = [Chunk(SUBJECT, own, (), sum(map(len, own))) for own in chunks]
    back = unstacked(stacked(sent), [chunk.rows for chunk in sent])
    assert [rows(own) for own in back] == [rows(own) for own in chunks]


def test_blocks_that_are_alike_become_one_and_a_single_one_isnt_copied():
    one = MaskRows(np.ones((1, 30), bool), np.zeros(1, np.int32))
    assert stacked([Chunk(SUBJECT, (one,), (), 1)])[0] is one
    assert [len(b) for b in stacked([Chunk(SUBJECT, (one,), (), 1)] * 32)] == [32]
    other = MaskRows(np.ones((1, 29), bool), np.zeros(1, np.int32))
    assert len(stacked([Chunk(SUBJECT, (b,), (), 1) for b in (one, other, one)])) == 3


def test_rows_that_dont_come_out_even_are_refused():
    with pytest.raises(Malformed, match="belong to no chunk"):
        unstacked([PlainRows(np.zeros(3, np.int32))], [1, 1])


def test_a_plan_that_makes_other_rows_than_it_promised_is_a_bug():
    long, short = [Chunk(SUBJECT, (PlainRows(np.zeros(2, np.int32)),), (), n) for n in (1, 3)]
    with pytest.raises(AssertionError, match="promised 1 rows and made 2"):
        stacked([long, short])


def test_equal_readouts_cross_once():
    first, same = (Pick("y", np.array([1])),), (Pick("y", np.array([1])),)
    others = ((Pick("y", np.array([2])),), (Pick("y", np.array([1]), None, "log"),), Whole(("y",)), (Pick("y"),))
    chunks = [Chunk(SUBJECT, (), readout, 1) for readout in (first, same, *others, Whole(("y",)))]
    readouts, of = distinct(chunks)
    assert readouts == (first, *others)
    assert of == [0, 0, 1, 2, 3, 4, 3]


def test_scores_come_back_to_their_chunks():
    a, b = np.arange(6.0).reshape(3, 2), np.arange(6.0, 10).reshape(2, 2)
    (joined,) = results_stacked([a, b])
    assert [r.tolist() for r in results_unstacked([joined], [3, 2])] == [a.tolist(), b.tolist()]
    for apart in ([a, b[:, :1]], [a, {"y": b}], [{"y": a}, {"y": b}], [a]):
        assert results_unstacked(results_stacked(apart), [3, 2][: len(apart)]) == apart


@pytest.mark.parametrize("wrong", [np.zeros((4, 1)), np.zeros(5), {"y": np.zeros((5, 1))}])
def test_scores_that_dont_come_out_even_are_refused(wrong):
    with pytest.raises(Malformed, match="number of results"):
        results_unstacked([wrong], [3, 2])
