"""Proofs for a GPU are run on the CPU, here with a GPU that is pretended."""

import pytest

from assayd.engine import in_process, witness
from assayd.engine.in_process import InProcessBackend
from assayd.engine.onnxruntime_session import Session
from assayd.engine.options import SessionOptions
from assayd.errors import InvalidModel, ModelFailed
from tests.models import zoo
from tests.unit.engine.pretended_gpu import PretendedGpu, pretend
from tests.unit.engine.test_proof import saturated
from tests.unit.engine.test_steady import settled_by

GPU = SessionOptions(threads=1, provider="cuda", required=True, realiser="numpy")


def loaded(model):
    backend = InProcessBackend(GPU, 8)
    return backend, backend.load("m", model)


def test_an_honest_convolution_whose_algorithm_goes_by_the_batch_is_proven(monkeypatch):
    pretend(monkeypatch)
    backend, of = loaded(zoo.cnn())
    assert (of.provider, of.batching.batched) == ("CUDAExecutionProvider", True)
    resident = backend._residents["m"]
    assert resident.several.session.device.kind == "cuda"
    assert (resident.witnesses, resident.opened) == (None, None)
    monkeypatch.setattr(in_process, "witnesses", lambda *both: both)
    assert "rows interact" in loaded(zoo.cnn())[1].batching.reason


@pytest.mark.parametrize("model", [zoo.batch_mean, zoo.batch_softmax])
def test_rows_that_interact_are_found_all_the_same(monkeypatch, model):
    pretend(monkeypatch, apart=0.0)
    of = loaded(model())[1]
    assert not of.batching.batched
    assert "rows interact" in of.batching.reason


def test_a_gpu_that_fails_with_several_rows_runs_them_one_by_one(monkeypatch):
    pretend(monkeypatch, failure=ModelFailed("no kernel"))
    of = loaded(zoo.cnn())[1]
    assert not of.batching.batched
    assert "fails on the GPU" in of.batching.reason


def test_what_the_cpu_cannot_load_is_proven_on_the_gpu(monkeypatch, caplog):
    pretend(monkeypatch, apart=0.0)
    made = PretendedGpu.__init__

    def cuda_alone(self, program, options, **kind):
        if options.provider == "cpu":
            raise InvalidModel("no kernel for it")
        made(self, program, options, **kind)

    monkeypatch.setattr(PretendedGpu, "__init__", cuda_alone)
    assert loaded(zoo.cnn())[1].batching.batched
    assert "proven on the GPU" in caplog.text


def test_an_open_question_keeps_its_witnesses_until_an_instance_settles_it(monkeypatch):
    pretend(monkeypatch)
    backend, of = loaded(saturated(batch=1))
    assert of.open_question
    plain, opened = backend._residents["m"].witnesses
    assert {plain.session.device.kind, opened.device.kind} == {"cpu"}
    settled_by(backend)
    resident = backend._residents["m"]
    assert resident.loaded.batching.batched
    assert resident.witnesses is None
    assert resident.several.session.device.kind == "cuda"


def test_on_a_cpu_the_proof_takes_no_session_more(monkeypatch):
    built = []

    class Counted(Session):
        def another(self, *arguments, **options):
            built.append(options)
            return super().another(*arguments, **options)

    monkeypatch.setattr("assayd.engine.in_process.Session", Counted)
    backend = InProcessBackend(SessionOptions(threads=1), 8)
    assert backend.load("m", zoo.cnn()).batching.batched
    assert built == []
    one = backend._keep_one(backend._residents["m"], zoo.cnn())
    assert witness.witnesses(one, one.session) == (one, one.session)
