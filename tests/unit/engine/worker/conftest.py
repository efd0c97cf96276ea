"""A backend whose models run in processes, and threads that wait for it."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from assayd.engine.options import SessionOptions
from assayd.engine.worker.backend import WorkerBackend


@pytest.fixture
def backend():
    made = WorkerBackend(SessionOptions(threads=1), None)
    yield made
    made.close()


@pytest.fixture
def pool():
    made = ThreadPoolExecutor(4)
    yield made
    made.shutdown(wait=False)  # closing the backend ends what still waits
