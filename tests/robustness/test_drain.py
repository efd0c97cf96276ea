"""A drain loses nothing: the short form of `make drain`."""

import pytest

from tests.robustness.drain import drain


@pytest.mark.parametrize("seed", [0, 1, 4])
def test_a_drain_under_load_loses_nothing(tmp_path, seed):
    found = drain(tmp_path, seed)
    assert not found.outcomes.faults
    last = [what for _, what in found.outcomes.counts if what != "OK"]
    assert "UNAVAILABLE DRAINING" in last
