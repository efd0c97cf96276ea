"""The share of the roofline, by a clock that the test turns."""

import pytest

from tests.bench import pairs, roofline
from tests.bench.pairs import Arm, Effort
from tests.bench.work import Work
from tests.unit.bench.test_pairs import Clock

EFFORT = Effort(least=3, slow=1, most=3, seconds=1e9, arm_s=1e-9, load_s=0)
GEMM_FLOPS, COPIED = 2 * 2048**3, 2 * 2**28


@pytest.mark.parametrize(
    ("work", "bound", "share"),
    [
        # A roof of 10 GFLOP/s and 5 GB/s; the batch takes 2 s.
        (Work(10**10, 10**9), "arithmetic", 0.5),
        (Work(10**9, 5 * 10**9), "memory", 0.5),
        (Work(4 * 10**9, 10**9), "arithmetic", 0.2),
    ],
)
def test_the_lower_of_two_roofs_counts(monkeypatch, work, bound, share):
    clock = Clock()
    monkeypatch.setattr(pairs, "time", clock)
    monkeypatch.setattr(roofline, "product", lambda *_: clock.arm("gemm", GEMM_FLOPS / 1e10).run)
    monkeypatch.setattr(roofline, "copier", lambda *_: clock.arm("copy", COPIED / 5e9).run)
    model = clock.arm("model", 2.0)
    figures = {f.what: f for f in roofline.roof("m", work, 4, model, "cpu", EFFORT)}
    found = figures["raw model, share of the roofline"]
    assert found.estimate.value == pytest.approx(share)
    assert found.note == f"bound by {bound}"
    assert figures["roof, arithmetic"].estimate.value == pytest.approx(10)
    assert figures["roof, memory"].estimate.value == pytest.approx(5)
    assert figures["work of a row"].estimate.value == pytest.approx(work.flops / 4e6)


def test_an_arm_of_a_part_of_the_batch_counts_as_such(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(pairs, "time", clock)
    monkeypatch.setattr(roofline, "product", lambda *_: clock.arm("gemm", GEMM_FLOPS / 1e10).run)
    monkeypatch.setattr(roofline, "copier", lambda *_: clock.arm("copy", COPIED / 5e9).run)
    twice = Arm(clock.arm("model", 4.0).run, 2.0)
    figures = {f.what: f for f in roofline.roof("m", Work(10**10, 10**9), 4, twice, "cpu", EFFORT)}
    assert figures["raw model, share of the roofline"].estimate.value == pytest.approx(0.5)


def test_the_roof_is_measured_by_what_really_runs():
    """Both run here, on small sizes."""
    roofline.product(8, "cpu")()
    roofline.copier(4096 * 3, "cpu")()
