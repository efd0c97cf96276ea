"""The quicker of several ways, by a clock that the test turns."""

import pytest

from assayd.engine.search import quickest
from assayd.errors import OutOfMemory


class Clock:
    now = 0.0

    def __call__(self):
        return self.now

    def way(self, *seconds):
        """Takes so long, the last from then on."""
        left = list(seconds)

        def run():
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return run


def no_room():
    raise OutOfMemory("no room")


@pytest.mark.parametrize(
    ("first", "second", "taken"),
    [((2.0,), (1.0,), "b"), ((1.0,), (2.0,), "a"), ((1.0,), (0.98,), "a"), ((2.0,), (99.0, 99.0, 99.0, 1.0), "b")],
    ids=["quicker", "slower", "hardly quicker", "quicker once warm"],
)
def test_another_way_is_taken_where_it_is_clearly_quicker_when_warm(first, second, taken):
    clock = Clock()
    assert quickest({"a": clock.way(*first), "b": clock.way(*second)}, clock) == taken


def test_a_way_without_memory_is_out_but_for_the_first():
    clock = Clock()
    assert quickest({"a": clock.way(9.0), "b": no_room}, clock) == "a"
    with pytest.raises(OutOfMemory):
        quickest({"a": no_room, "b": clock.way(1.0)}, clock)
