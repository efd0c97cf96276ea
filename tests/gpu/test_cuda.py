"""On a machine with a GPU: sessions really run on CUDA, and explain as the CPU does."""

import numpy as np
import pytest

import assay
from tests.integration.server import ServerProcess
from tests.models import zoo

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpu")
    with (
        ServerProcess(folder / "cuda", "--provider", "cuda") as cuda,
        ServerProcess(folder / "cpu", "--provider", "cpu") as cpu,
    ):
        yield cuda, cpu


@pytest.mark.parametrize("name", ["cnn", "vit", "transformer", "mlp"])
def test_cuda_agrees_with_the_cpu(servers, name):
    found = []
    for server in servers:
        with assay.Client(server.address) as client:
            model = client.upload_model(getattr(zoo, name)(), name=name)
            assert model.batching.mode == "batched"
            shape = model.inputs[0].shape
            x = np.random.default_rng(0).standard_normal((3, *shape)).astype(np.float32)
            ex = client.explain(model, x, assay.Occlusion(window=(2,) * len(shape)), target=1)
            found.append(ex.feature_values)
    np.testing.assert_allclose(found[0], found[1], atol=1e-4 * np.abs(found[1]).max())


def test_the_metrics_name_the_provider_that_runs(servers):
    cuda, cpu = (server.metrics() for server in servers)
    assert cuda['assayd_provider{provider="CUDAExecutionProvider"}'] == 1
    assert cpu['assayd_provider{provider="CPUExecutionProvider"}'] == 1
