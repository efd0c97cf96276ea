"""What the owner of a device chooses."""

import pytest

from assayd.engine import options
from assayd.engine.options import SessionOptions, fingerprint, provider_of


@pytest.mark.parametrize(("devices", "runtime", "taken"), [(1, True, "cuda"), (0, True, "cpu"), (1, False, "cpu")])
def test_auto_takes_cuda_only_where_there_is_a_device_and_a_runtime_for_it(monkeypatch, devices, runtime, taken):
    monkeypatch.setattr(options, "_cuda_devices", lambda: devices)
    monkeypatch.setattr(options, "_gpu_runtime", lambda: runtime)
    assert provider_of("auto") == taken
    assert [provider_of(asked) for asked in ("cpu", "cuda")] == ["cpu", "cuda"]


def test_what_was_found_for_one_precision_is_not_taken_for_another():
    found = [fingerprint(SessionOptions(precision=kind), None) for kind in ("fp32", "fp32", "tf32", "fp16")]
    assert found[0] == found[1]
    assert len(set(found)) == 3
