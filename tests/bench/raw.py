"""The model's own rate: onnxruntime on one array, run again and again, nothing made and nothing read."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort

from assayd.graph.programs import programs_of
from tests.bench.machine import cores
from tests.bench.pairs import Arm

_PROVIDERS = {
    "cpu": ["CPUExecutionProvider"],
    "cuda": [("CUDAExecutionProvider", {"use_tf32": "0"}), "CPUExecutionProvider"],
}


class RawModel:
    """A model with its batch axis opened as the server opens it, in this process."""

    def __init__(self, program: bytes, device: str, threads: int, output: str | None) -> None:
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        self.session = ort.InferenceSession(program, options, providers=_PROVIDERS[device])
        if device == "cuda" and self.session.get_providers()[0] != "CUDAExecutionProvider":
            raise RuntimeError("CUDA was asked for, and onnxruntime doesn't have it here")
        self.device, self.threads = device, threads
        self.input = self.session.get_inputs()[0].name
        self.output = output or self.session.get_outputs()[0].name

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """The output explained, a row each, flat: [n, outputs]."""
        (values,) = self.session.run([self.output], {self.input: rows})
        return np.asarray(values).reshape(len(rows), -1)

    def again_and_again(self, batch: np.ndarray, runs: int) -> Any:
        """A function that runs one batch so often, all outputs; on a GPU from and to the device's own memory."""
        if self.device == "cpu":
            session, feeds = self.session, {self.input: batch}

            def loop() -> None:
                for _ in range(runs):
                    session.run(None, feeds)

            return loop
        binding = self.session.io_binding()
        binding.bind_ortvalue_input(self.input, ort.OrtValue.ortvalue_from_numpy(batch, "cuda", 0))
        for output in self.session.get_outputs():
            binding.bind_output(output.name, "cuda")

        def bound() -> None:
            for _ in range(runs):
                self.session.run_with_iobinding(binding)

        return bound


@dataclass(frozen=True, eq=False)
class Raw:
    """The quickest way found to run a model. swept: rows/s by (threads, batch)."""

    model: RawModel
    batch: int
    swept: dict[tuple[int, int], float]

    def arm(self, x: np.ndarray, rows: int, most_s: float) -> Arm:
        """So many rows, or as many as `most_s` seconds allow and the rest by proportion. x: as of `sweep`."""
        rate = self.swept[self.model.threads, self.batch]
        runs = max(1, math.ceil(min(rows, rate * most_s) / self.batch))
        return Arm(self.model.again_and_again(_of(x, self.batch), runs), runs * self.batch / rows)


def sweep(model: bytes, x: np.ndarray, device: str, batches: Sequence[int], seconds: float, output: str | None) -> Raw:
    """Try all batch sizes with one thread and with all cores, each for so long, and keep the best.

    model: the file. x: instances, over and over: trees take the same row again in a third of the time of another one.
    """
    opened = programs_of(model).opened
    if opened is None:
        raise ValueError("this model's batch axis can't be opened")
    tried: dict[int, RawModel] = {}
    rates: dict[tuple[int, int], float] = {}
    for threads in sorted({1, cores()}) if device == "cpu" else [cores()]:
        tried[threads] = RawModel(opened, device, threads, output)
        for batch in batches:
            run = tried[threads].again_and_again(_of(x, batch), 1)
            run()
            begun, runs = time.perf_counter(), 0
            while not runs or time.perf_counter() - begun < seconds:
                run()
                runs += 1
            rates[threads, batch] = runs * batch / (time.perf_counter() - begun)
    threads, batch = max(rates, key=lambda key: rates[key])
    return Raw(tried[threads], batch, rates)


def _of(x: np.ndarray, batch: int) -> np.ndarray:
    return np.resize(x, (batch, *x.shape[1:]))
