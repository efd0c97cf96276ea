"""Requests and models that are nearly right: only the service's own errors come of them, and no process dies.

Short as a test, long by `make fuzz`. What fails is kept in crashers/, and tried again each time.
"""

import ast
import hashlib
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, event, given, settings
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
from tests.robustness import corpus
from tests.robustness.mutations import mutated, reshaped

CRASHERS = Path(__file__).parent / "crashers"
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
"""0 for the short run, which is the same each time."""

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


def run(examples):
    """How long, and how, hypothesis tries."""
    return settings(
        max_examples=EXAMPLES or examples,
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


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
    """A process that admits models, started again where it died."""

    def __init__(self):
        self._process = None

    def __call__(self, data):
        if self._process is None or self._process.poll() is not None:
            command = [sys.executable, "-m", "tests.robustness.admission_child"]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._process.stdin.write(len(data).to_bytes(4, "little") + data)
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        return ast.literal_eval(line.decode()) if line else f"died: {self._process.wait(60)}"

    def close(self):
        if self._process is not None:
            self._process.stdin.close()
            self._process.stdout.close()
            self._process.wait(60)


@pytest.fixture(scope="module")
def child():
    made = Child()
    yield made
    made.close()


MODELS = [
    zoo.mlp(), zoo.forest(), zoo.strings(), zoo.tokens(), zoo.strict_columns(), zoo.old_style(), zoo.cnn(),
    *(held.make() for held in corpus.ALL if held.row in (5, 11, 17) or held.name.startswith("nested beyond the")),
]  # fmt: skip


@run(2000)
@given(data=mutated(_requests()) | reshaped(_requests(), ExplainRequest))
def test_requests(data):
    try:
        event(read_request(data))
    except Exception:
        kept("requests", data)
        raise


@run(300)
@given(data=mutated(MODELS) | reshaped(MODELS, ModelProto))
def test_models(child, data):
    found = child(data)
    event(found[:8])
    if found not in ("admitted", "refused"):
        pytest.fail(f"crashers/models/{kept('models', data)}: {found}")


def test_what_once_failed(child):
    for path in (CRASHERS / "requests").glob("*.bin"):
        read_request(path.read_bytes())
    for path in (CRASHERS / "models").glob("*.bin"):
        assert child(path.read_bytes()) in ("admitted", "refused"), path.name


def test_the_samples_are_right_before_they_are_changed(child):
    assert {read_request(data) for data in _requests()} == {"taken"}
    assert {child(data) for data in MODELS[:7]} == {"admitted"}
    assert child(b"\xff" * 2) == "refused"
