"""On a machine with a GPU: whatever its precision, a Jacobian is that of fp32."""

import numpy as np
import pytest

import assay
from tests.integration.server import ServerProcess
from tests.models import zoo

pytestmark = pytest.mark.gpu


def test_jacobians_are_those_of_fp32_in_any_precision(tmp_path):
    found = {}
    x = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)
    for precision in ("fp32", "tf32", "fp16"):
        flags = ("--provider", "cuda", "--precision", precision)
        with ServerProcess(tmp_path / precision, *flags) as server, assay.Client(server.address) as client:
            model = client.upload_model(zoo.cnn(), name="cnn")
            ex = client.explain(model, x, assay.Jacobian())
            found[precision] = ex.jacobian["y"]["x"]
    top = np.abs(found["fp32"]).max()
    for precision in ("tf32", "fp16"):
        np.testing.assert_allclose(found[precision], found["fp32"], atol=1e-4 * top)
