"""Where the batch lands when a tensor is reshaped; N stands for the batch in the comments."""

import pytest

from assayd.graph.facts import MARKER, Fact
from assayd.graph.reshape import Landing, landed, landings, resolve


def fact(shape, axis, lead=1, batch=1) -> Fact:
    opened = list(shape)
    opened[axis] = opened[axis] // batch * MARKER
    return Fact(1, tuple(shape), tuple(opened), lead=lead)


@pytest.mark.parametrize(
    ("source", "output", "axis", "lead"),
    [
        (fact((1, 512, 1, 1), 0), (1, 512), 0, 1),  # N, 512, 1, 1 -> N, 512
        (fact((6, 1, 16), 1), (6, 4, 4), 1, 1),  # S, N, E -> S, N*H, D
        (fact((6, 4, 4), 1), (6, 16), 0, 6),  # S, N*H, D -> S*N, E
        (fact((6, 16), 0, lead=6), (6, 1, 16), 1, 1),  # S*N, E -> S, N, E
        (fact((6, 1, 16), 1), (6, 16), 0, 6),  # S, N, E -> S*N, E
        (fact((1, 4, 6, 4), 0), (4, 6, 4), 0, 1),  # N, H, S, D -> N*H, S, D
        (fact((4, 6, 4), 0), (1, 4, 6, 4), 0, 1),  # and back
        (fact((8, 3, 2), 0, batch=4), (4, 12), 0, 1),  # 4 * 2 rows
        (fact((3, 4, 5), 1, batch=4), (12, 5), 0, 3),  # S, N, E -> S*N, E with N = 4
    ],
)
def test_the_likeliest_landing(source, output, axis, lead):
    spot = landings(source, output)[0]
    assert (spot.axis, spot.lead) == (axis, lead)
    assert landed(source, output, spot.shape) == Landing(axis, lead, spot.shape)


def test_a_target_that_cuts_across_the_batch_has_no_landing():
    assert landings(fact((4, 6), 0, batch=4), (3, 8)) == []


def test_a_batch_in_the_wrong_place_is_seen():
    source = fact((1, 3, 4), 0)
    assert landed(source, (3, 4), (3, 4 * MARKER)) is None


@pytest.mark.parametrize(
    ("target", "source", "zero", "shape"),
    [
        ((0, -1), (2, 3, 4), False, (2, 12)),
        ((4, 6), (2, 3, 4), False, (4, 6)),
        ((5, -1), (2, 3, 4), False, None),
        ((0, 0, 0, 0), (2, 3, 4), False, None),
        ((-1, -1), (2, 3, 4), False, None),
        ((0, 5), (0, 4), True, (0, 5)),
    ],
)
def test_resolve(target, source, zero, shape):
    assert resolve(target, source, zero) == shape
