from pathlib import Path

import numpy as np
import pytest

import assay
from tests.integration.server import ServerProcess

DEMO = Path(__file__).parents[2] / "deploy" / "demo"


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    with ServerProcess(tmp_path_factory.mktemp("server") / "store", "--models", str(DEMO / "models")) as running:
        yield running


@pytest.fixture
def client(server):
    with assay.Client(server.address) as connected:
        yield connected


@pytest.fixture(scope="session")
def digits():
    return dict(np.load(DEMO / "data" / "digits.npz"))


@pytest.fixture(scope="session")
def cancer():
    return dict(np.load(DEMO / "data" / "cancer.npz"))
