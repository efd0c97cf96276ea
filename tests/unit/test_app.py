"""Which devices a server takes, and what reaches those who run models."""

import pytest

from assayd.app import _devices, _numbers, _session_options
from assayd.metrics import Metrics
from assayd.settings import Settings
from assayd.store.store import Store
from assayd.types.admission import AdmissionLimits


def settings(tmp_path, **kind):
    return Settings(store=tmp_path / "store", isolation="none", _env_file=None, **kind)


@pytest.mark.parametrize(
    ("devices", "provider", "numbers"),
    [
        ("all", "cpu", [None]),
        ("0", "cpu", [None]),
        ("0,1", "cpu", [0, 1]),
        ("all", "cuda", [0, 1, 2]),
        ("2,0,2", "cuda", [2, 0]),
    ],
)
def test_all_gpus_that_cuda_sees_or_those_that_are_named(tmp_path, monkeypatch, devices, provider, numbers):
    monkeypatch.setattr("assayd.app.visible_gpus", lambda: 3)
    assert _numbers(settings(tmp_path, devices=devices), provider) == numbers


def test_a_gpu_that_is_not_there_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("assayd.app.visible_gpus", lambda: 2)
    with pytest.raises(ValueError, match=r"names \[2\], and CUDA numbers its devices here from 0 to 1"):
        _numbers(settings(tmp_path, devices="0,2"), "cuda")


@pytest.mark.parametrize("devices", ["", "0,", "one", "-1", "0;1"])
def test_other_words_are_no_devices(tmp_path, devices):
    with pytest.raises(ValueError, match="devices"):
        settings(tmp_path, devices=devices)


@pytest.mark.parametrize(("threads", "each"), [(0, 4), (3, 3)])
def test_shares_of_the_cpu_divide_its_cores_unless_threads_are_said(tmp_path, monkeypatch, threads, each):
    monkeypatch.setattr("assayd.app.os.cpu_count", lambda: 8)
    chosen = settings(tmp_path, devices="0,1", provider="cpu", threads=threads)
    devices = _devices(chosen, Store(tmp_path / "store"), Metrics())
    assert [(d.name, d.backend._options.threads) for d in devices] == [("cpu:0", each), ("cpu:1", each)]
    assert len({id(d.models._quarantine) for d in devices}) == 1
    for device in devices:
        device.models.close()


def test_limits_of_models_reach_their_sessions_and_have_one_default(tmp_path):
    assert _session_options(settings(tmp_path)).admission == AdmissionLimits()
    chosen = settings(
        tmp_path,
        max_model_nodes=1,
        max_model_ends=2,
        max_model_depth=3,
        max_model_weights_bytes=4,
        max_folded_bytes=5,
    )
    assert _session_options(chosen).admission == AdmissionLimits(1, 2, 3, 4, 5)
