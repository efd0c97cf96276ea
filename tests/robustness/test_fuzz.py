"""Requests and models that are nearly right: only the service's own errors come of them, and no process dies.

Short as a test, which is the same each time; long by `make fuzz`, which goes on after a find. What fails is kept in
crashers/, and tried again each time.
"""

import ast
import contextlib
import hashlib
import os
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, Phase, event, given, seed, settings
from onnx import ModelProto

import assay
from assay.requests import explain_request
from assay.v1.explain_service_pb2 import ExplainRequest
from assayd.api.codec.memo import Memo
from assayd.api.codec.requests import decode_explain
from assayd.api.codec.vet import vet
from assayd.errors import AssayError, TensorNotFound
from assayd.scheduler.work import Caller
from assayd.types.model import ModelSpec, ModelVersion
from tests.models import zoo
from tests.robustness.mutations import mutated, reshaped
from tests.robustness.samples import late_refused, taken

CRASHERS = Path(__file__).parent / "crashers"
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))
SEED = os.environ.get("FUZZ_SEED", "") or str(time.time_ns())
"""How long a long run is, by either; 0 of both is the short one."""

_A_ROUND = 2000
_HANGS_S = 60
_FOUND = ("admitted", "refused", "out of memory")

X = np.random.default_rng(0).standard_normal((2, 8)).astype(np.float32)
_ELEMENTS = assay.Elements()


def _requests():
    asked = (
        (assay.Occlusion(window=(2,), stride=(1,)), dict(target=1)),
        (assay.Occlusion(features=assay.Segments(np.zeros(8, np.int32)), baseline=X[:1]), dict(target=0)),
        (assay.Lime(num_samples=50, features=_ELEMENTS), dict(keys=["a", "b"], seed=4)),
        (assay.Lime(num_samples=50, sampling=assay.QuartileTable.fit(np.repeat(X, 9, axis=0))), dict(target=0)),
        (assay.Jacobian(step=0.1), dict(reproducible=True)),
        (assay.Rows(keep=np.ones((3, 8)), features=_ELEMENTS), dict(target=[assay.Target(index=0)])),
        (assay.Occlusion(features=_ELEMENTS), dict(budget=assay.Budget(rows=9), target=assay.Target(label="a"))),
    )
    return [explain_request("m", {"x": X}, method, **more).SerializeToString() for method, more in asked]


def _fetch(digest):
    raise TensorNotFound(f"there is no tensor {digest}")


def how(examples, **more):
    """hypothesis tries."""
    return settings(
        max_examples=examples,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        **more,
    )


def explore(kind, strategy, check, examples, capsys):
    """check: of bytes; says in a word what came of them, and raises where that should not have happened.

    examples: of the short run, which ends with the smallest bytes that fail.
    """
    if not (EXAMPLES or SECONDS):
        failed = []

        def tried(data):
            try:
                check(data)
            except Exception:
                failed[:] = [data]
                raise

        try:
            how(examples, derandomize=True)(given(data=strategy)(tried))()
        except Exception:
            print(f"kept as crashers/{kind}/{kept(kind, failed[0])}")
            raise
        return
    counts, finds = _for_long(kind, strategy, check)
    with capsys.disabled():
        shares = ", ".join(f"{word} {number:,}" for word, number in counts.most_common())
        print(f"\n{kind}, seed {SEED}: {counts.total():,} tried, {len(finds)} finds. {shares}")
    assert not finds, "\n\n".join(f"{name}: {told}" for name, told in finds.values())


def _for_long(kind, strategy, check):
    """What came of how many, and a file and the words for each kind of find."""
    counts, finds, end = Counter(), {}, time.monotonic() + SECONDS

    def tried(data):
        if SECONDS and time.monotonic() > end:
            return
        try:
            counts[check(data)] += 1
        except Exception as error:  # noqa: BLE001 - it is what is looked for
            told = f"{type(error).__name__}: {error}"
            counts["find"] += 1
            if (last := told.strip().splitlines()[-1][:120]) not in finds:
                finds[last] = kept(kind, data), told

    turn = 0
    while time.monotonic() < end or counts.total() < EXAMPLES:
        made = how(min(_A_ROUND, EXAMPLES - counts.total()) if EXAMPLES else _A_ROUND, phases=[Phase.generate])
        seed(f"{SEED} {turn}")(made(given(data=strategy)(tried)))()
        turn += 1
    return counts, finds


def kept(kind, data):
    """Keep a crasher."""
    path = CRASHERS / kind / f"{hashlib.sha256(data).hexdigest()[:16]}.bin"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path.name


def read_request(data):
    """As the server reads it; what came of it, in a word."""
    try:
        request = ExplainRequest.FromString(data)
    except DecodeError:
        return "no message"
    version = ModelVersion("m", "1", "sha256:m", "", 1, 0.0)
    try:
        vet(request)
        settings_of = partial(Memo().settings, request, "t")
        decode_explain(request, Caller("t"), version, ModelSpec(), 2.0, 12.0, settings_of, _fetch)
    except AssayError as error:
        return error.reason
    return "taken"


class Child:
    """A process that admits models, started again where it died or hung."""

    def __init__(self):
        self._process = None

    def __call__(self, data):
        if self._process is None or self._process.poll() is not None:
            self.close()
            command = [sys.executable, "-m", "tests.robustness.admission_child"]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            self._process.stdin.write(len(data).to_bytes(4, "little") + data)
            self._process.stdin.flush()
        except BrokenPipeError:
            return f"died: {self._process.wait(60)}"
        if not select.select([self._process.stdout], [], [], _HANGS_S)[0]:
            self._process.kill()
            self._process.wait(60)
            return "hung"
        line = self._process.stdout.readline()
        return ast.literal_eval(line.decode()) if line else f"died: {self._process.wait(60)}"

    def close(self):
        if self._process is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
            self._process.stdout.close()
            self._process.wait(60)


@pytest.fixture(scope="module")
def child():
    made = Child()
    yield made
    made.close()


MODELS = [*taken(), *late_refused()]


def test_requests(capsys):
    def check(data):
        found = read_request(data)
        event(found)
        return found

    explore("requests", mutated(_requests()) | reshaped(_requests(), ExplainRequest), check, 2000, capsys)


def test_models(child, capsys):
    def check(data):
        found = child(data)
        event(found[:8])
        assert found in _FOUND, found
        return found

    explore("models", mutated(MODELS) | reshaped(MODELS, ModelProto), check, 300, capsys)


def test_a_child_that_dies_or_hangs_is_told_and_replaced(child, monkeypatch):
    assert child(zoo.mlp()) == "admitted"
    child._process.kill()
    child._process.wait()
    assert child(zoo.mlp()) == "admitted"
    os.kill(child._process.pid, signal.SIGSTOP)
    monkeypatch.setattr(sys.modules[__name__], "_HANGS_S", 0.1)
    assert child(zoo.mlp()) == "hung"
    monkeypatch.undo()
    assert child(zoo.mlp()) == "admitted"


def test_what_once_failed(child):
    for path in (CRASHERS / "requests").glob("*.bin"):
        read_request(path.read_bytes())
    for path in (CRASHERS / "models").glob("*.bin"):
        assert child(path.read_bytes()) in _FOUND, path.name


def test_the_samples_are_right_before_they_are_changed(child):
    assert {read_request(data) for data in _requests()} == {"taken"}
    assert {child(data) for data in taken()} == {"admitted"}
    assert child(b"\xff" * 2) == "refused"
