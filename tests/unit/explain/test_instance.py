"""One instance between a method and the scheduler."""

import itertools

import numpy as np
import pytest

from assayd.explain.instance import _plain_plan, joined
from assayd.types.rows import MaskRows, PlainRows, Plan


def a_plan(size):
    """Row r keeps r features, so that rows can be told apart."""
    return Plan(size, lambda a, b: [MaskRows(np.arange(a, b)[:, None], np.zeros(b - a, np.int32))] if b > a else [])


def told(blocks):
    """("plain", baseline) and ("mask", number), in order."""
    rows = []
    for block in blocks:
        if isinstance(block, PlainRows):
            rows += [("plain", int(b)) for b in block.baseline]
        else:
            rows += [("mask", int(k)) for k in block.keep[:, 0]]
    return rows


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("baselines", [1, 3])
def test_plans_stand_one_after_the_other_however_their_rows_are_cut(size, baselines):
    plan = joined([_plain_plan([-1, *range(baselines)]), a_plan(size), _plain_plan([-1])])
    want = [
        ("plain", -1),
        *(("plain", b) for b in range(baselines)),
        *(("mask", r) for r in range(size)),
        ("plain", -1),
    ]
    assert plan.size == len(want)
    for a, b in itertools.combinations(range(plan.size + 1), 2):
        blocks = plan.rows(a, b)
        assert told(blocks) == want[a:b]
        assert all(len(block) for block in blocks)
        assert told(plan.rows(a, b)) == want[a:b]
