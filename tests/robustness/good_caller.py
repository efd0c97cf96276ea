"""A caller who does nothing wrong, and must not notice what others do."""

import threading
import time

import numpy as np

import assay
from tests.models import zoo

_X = np.random.default_rng(0).standard_normal((2, 8)).astype(np.float32)
_METHOD = assay.Occlusion(features=assay.Elements())


class GoodCaller:
    """`with GoodCaller(address) as good:` explains one small model again and again; `good.check()` between.

    credentials: a client's. answers, failures, seconds: how many were right, what went wrong, and how long each took.
    """

    def __init__(self, address, **credentials):
        self._client = assay.Client(address, **credentials)
        self.model = self._client.upload_model(zoo.mlp(), name="good")
        self._want = self._explain()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self.answers, self.failures, self.seconds = 0, [], []

    def _explain(self):
        got = self._client.explain(self.model, _X, _METHOD, target=1, reproducible=True, timeout=60)
        return got.feature_values.tobytes(), got.scores.tobytes()

    def _work(self):
        while not self._ended.wait(0.05):
            began = time.monotonic()
            try:
                if self._explain() != self._want:
                    self.failures.append("other numbers")
                self.answers += 1
                self.seconds.append(time.monotonic() - began)
            except Exception as error:  # noqa: BLE001
                self.failures.append(repr(error))

    def beside(self, bad):
        """Do what is bad again and again, until an answer has come that was asked for and got meanwhile."""
        before = self.answers
        while self.answers < before + 2 and not self.failures:
            bad()
        self.check()

    def check(self):
        """One more answer, as good as the first, and none in between that wasn't."""
        assert self._explain() == self._want
        assert not self.failures, self.failures

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join(120)
        self._client.close()
