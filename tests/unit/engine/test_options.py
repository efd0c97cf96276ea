"""What the owner of a device chooses."""

import pytest

from assayd.engine import options
from assayd.engine.options import SessionOptions, device_name, fingerprint, no_cuda, provider_of, visible_gpus


@pytest.mark.parametrize(("devices", "runtime", "taken"), [(1, True, "cuda"), (0, True, "cpu"), (1, False, "cpu")])
def test_auto_takes_cuda_only_where_there_is_a_device_and_a_runtime_for_it(monkeypatch, devices, runtime, taken):
    monkeypatch.setattr(options, "_cuda_devices", lambda: devices)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(options, "_gpu_runtime", lambda: runtime)
    assert provider_of("auto") == taken
    assert [provider_of(asked) for asked in ("cpu", "cuda")] == ["cpu", "cuda"]


def test_what_was_found_for_one_precision_is_not_taken_for_another():
    found = [fingerprint(SessionOptions(precision=kind), None) for kind in ("fp32", "fp32", "tf32", "fp16")]
    assert found[0] == found[1]
    assert len(set(found)) == 3


@pytest.mark.parametrize(
    ("named", "count"),
    [(None, 4), ("", 0), ("0", 1), ("2,0", 2), ("1,-1,0", 1), ("-1", 0), ("GPU-8932f937,GPU-4f1c", 2)],
)
def test_cuda_numbers_what_its_variable_names_up_to_the_first_that_it_would_not_take(monkeypatch, named, count):
    monkeypatch.setattr(options, "_cuda_devices", lambda: 4)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if named is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert visible_gpus() == count


@pytest.mark.parametrize(
    ("runtime", "devices", "visible", "why"),
    [
        (False, 1, None, "onnxruntime-gpu isn't installed"),
        (True, 0, None, "the driver shows no NVIDIA GPU"),
        (True, 1, "-1", "CUDA_VISIBLE_DEVICES names no GPU"),
        (True, 1, None, "CUDA 13 or cuDNN 9 wasn't found"),
    ],
)
def test_why_there_is_no_cuda_is_said_as_exactly_as_it_is_known(monkeypatch, runtime, devices, visible, why):
    monkeypatch.setattr(options, "_gpu_runtime", lambda: runtime)
    monkeypatch.setattr(options, "_cuda_devices", lambda: devices)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert no_cuda().startswith(why)


def test_devices_have_names():
    kinds = (SessionOptions(), SessionOptions(device=1), SessionOptions(provider="cuda"))
    assert [device_name(kind) for kind in kinds] == ["cpu", "cpu:1", "cuda:0"]
    assert device_name(SessionOptions(provider="cuda", device=3)) == "cuda:3"
