"""A GPU as far as scores tell: the CPU's, changed a little with the size of the batch, as by cuDNN's algorithms."""

from dataclasses import replace

import numpy as np

from assayd.engine.onnxruntime_session import Device, Session


class PretendedGpu(Session):
    """Where CUDA is asked for. apart: by what share of themselves scores of two rows differ from those of one, and less
    with more rows. failure: of runs of several.
    """

    apart = 1e-4
    failure: Exception | None = None

    def __init__(self, program, options, **kind):
        super().__init__(program, replace(options, provider="cpu"), **kind)
        self._options = options
        if options.provider == "cuda":
            self.provider, self.device = "CUDAExecutionProvider", Device("cuda")

    def run(self, feeds, **kind):
        return self._told(feeds, super().run(feeds, **kind))

    def run_bound(self, feeds, into, **kind):
        return self._told(feeds, super().run_bound(feeds, into, **kind))

    def _told(self, feeds, outputs):
        rows = next(iter(feeds.values())).shape[0]
        if self.device.kind == "cpu" or rows == 1:
            return outputs
        if self.failure is not None:
            raise self.failure
        factor = np.float32(1 + 2 * self.apart / rows)
        return {name: v * factor if v.dtype == np.float32 else v for name, v in outputs.items()}


def pretend(monkeypatch, *, apart=1e-4, failure=None):
    """Sessions are such from now on."""
    monkeypatch.setattr(PretendedGpu, "apart", apart)
    monkeypatch.setattr(PretendedGpu, "failure", failure)
    monkeypatch.setattr("assayd.engine.in_process.Session", PretendedGpu)
    monkeypatch.setattr("assayd.engine.onnxruntime_session.Session", PretendedGpu)
