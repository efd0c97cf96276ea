import pytest

from assayd.engine.models import LoadedModels
from assayd.metrics import Metrics
from tests.unit.engine.fake_backend import FakeBackend, FakeStore


@pytest.fixture
def backend():
    return FakeBackend()


@pytest.fixture
def metrics():
    return Metrics()


@pytest.fixture
def models(backend, metrics):
    made = LoadedModels(backend, FakeStore(), metrics, max_bytes=10)
    yield made
    backend.gate.set()
    made.close()


@pytest.fixture
def few(backend, metrics):
    made = LoadedModels(backend, FakeStore(), metrics, max_bytes=1000, max_models=2, loads_at_once=4)
    yield made
    backend.gate.set()
    made.close()
