"""Short forms of `make soak`, and what shows that it would find a leak."""

import subprocess
import sys

import numpy as np
import pytest

from tests.robustness.soak import questions
from tests.robustness.soak.callers import Careless, Good, HalfOpen, Impatient, Uploader
from tests.robustness.soak.judge import Grown, trend
from tests.robustness.soak.run import ALLOWED, IN_USE, soak
from tests.robustness.soak.sampler import held

_HELPER = """
import os, sys
kept = []
for line in sys.stdin:
    leaks = line.strip() == "leak"
    held = b"x" * 200_000 if leaks else os.urandom(200_000)
    kept.append(bytearray(held)) if leaks else None
    kept.append(os.open(os.devnull, os.O_RDONLY)) if leaks else None
    print(flush=True)
"""


@pytest.mark.parametrize("says", ["leak", "work"])
def test_a_process_that_leaks_is_found_and_one_that_works_is_not(says):
    with subprocess.Popen(
        [sys.executable, "-c", _HELPER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as helper:
        samples = []
        for calls in range(100):
            print(says, file=helper.stdin, flush=True)
            helper.stdout.readline()
            samples.append(held(helper.pid, calls))
        helper.stdin.close()
    for what in ("front_bytes", "descriptors"):
        found = trend(what, [s.calls for s in samples], [getattr(s, what) for s in samples], *ALLOWED[what])
        assert found.leaks == (says == "leak"), found


def test_the_judge_looks_past_warm_up_noise_and_outliers():
    random, calls = np.random.default_rng(0), np.arange(0, 90_000, 300)
    calm = 1e8 + 3e7 * np.minimum(1, calls / 25_000) + random.normal(0, 1e6, len(calls))
    calm[200:230] += 5e7
    assert not trend("bytes", calls, calm, 100_000, 1e6).leaks
    grows = trend("bytes", calls, calm + 300 * calls, 100_000, 1e6)
    assert grows.leaks
    assert 250_000 < grows.slope < 350_000
    assert not trend("bytes", calls, calm + 300 * calls, 100_000, 1e9).leaks
    with pytest.raises(ValueError, match="too few"):
        trend("bytes", [0, 1], [0, 1], 1, 0)


_WEIGHED = """
from assayd.metrics import Metrics
from prometheus_client import generate_latest
from tests.robustness.weighed import weigh
weigh()
registry, kept = Metrics().registry, []
def told():
    page = dict(line.split() for line in generate_latest(registry).decode().splitlines() if not line.startswith("#"))
    return float(page["python_blocks"]), float(page["malloc_bytes"])
told()
before = told()
for n in range(1000):
    held = [[n + 300.0 + m] for m in range(9)], bytearray(2000)
    kept.append(held[%d])
print(*(int(after - was) for was, after in zip(before, told())))
"""


@pytest.mark.parametrize(("kept", "what"), [(0, "blocks"), (1, "malloc_bytes")])
def test_some_bytes_for_each_of_a_thousand_models_are_told_and_found(kept, what):
    ran = subprocess.run([sys.executable, "-c", _WEIGHED % kept], capture_output=True, check=True, text=True)
    grown = dict(zip(IN_USE, map(int, ran.stdout.split()), strict=True))
    leaks = {w: Grown(w, 0, grown[w], most).leaks for w, (most, _) in IN_USE.items()}
    assert leaks == {w: w == what for w in IN_USE}, grown


def test_a_short_soak(tmp_path):
    found = soak(tmp_path, calls=300, crew=(Good, Good, Uploader, Careless, Impatient, HalfOpen))
    assert not found.faults
    for who in ("uploads: predict", "bad arguments", "cancelled calls", "half-open connections"):
        assert any(asked == who for asked, _ in found.outcomes.counts), who
    assert not found.leaking
    assert 0 < found.warm.models < found.end.models
    assert 0 < found.warm.left < found.end.left
    assert found.warm.blocks > 100_000


def test_a_short_soak_of_a_server_that_leaks(tmp_path):
    found = soak(tmp_path, calls=300, crew=(Careless,), module="tests.robustness.leaky")
    assert found.leaking == {"descriptors"}
    assert any("descriptors at rest" in fault for fault in found.faults)


def test_other_answers_are_told():
    first = [np.ones(3, np.float32)]
    assert not questions.differs([np.ones(3, np.float32)], first, tolerance=0)
    nearly = [np.float32([1, 1, 1 + 1e-6])]
    assert questions.differs(nearly, first, tolerance=0) == "other bits"
    assert not questions.differs(nearly, first, tolerance=questions.TOLERANCE)
    assert "off by" in questions.differs([np.float32([1, 1, 1.1])], first, tolerance=questions.TOLERANCE)
    assert questions.differs([np.ones(2, np.float32)], first, tolerance=0) == "other shapes"
