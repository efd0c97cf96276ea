"""The only file that knows onnxruntime."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

import onnxruntime as ort

from assayd.engine.options import SessionOptions
from assayd.errors import AssayError, InvalidModel, ModelFailed, OutOfMemory, Terminated
from assayd.types.arrays import Array

VERSION: str = ort.__version__

log = logging.getLogger(__name__)

_FOLDED_CONSTANT_BYTES = str(64 * 1024 * 1024)
_SHRINK = ("memory.enable_memory_arena_shrinkage", "cpu:0")
_NO_MEMORY = ("Failed to allocate memory", "bad allocation", "std::bad_alloc", "ALLOC_FAILED", "out of memory")
_PATH = re.compile(r"(?:/[\w.+-]+){2,}(?::\d+)?\s*")


class Session:
    """One loaded program. `run` is called by one thread at a time, `terminate` by any."""

    def __init__(self, program: bytes, options: SessionOptions, *, free_shapes: bool) -> None:
        """Load. free_shapes: instances come in many shapes.

        Raises InvalidModel where onnxruntime refuses the model, OutOfMemory, and ModelFailed where a required
        provider isn't to be had.
        """
        begun = time.monotonic()
        settings = ort.SessionOptions()
        settings.intra_op_num_threads = options.threads
        settings.inter_op_num_threads = 1
        settings.log_severity_level = 4
        if options.spin_us is not None:
            settings.add_session_config_entry("session.intra_op.spin_duration_us", str(options.spin_us))
        # A memory pattern is kept for every shape ever seen.
        settings.enable_mem_pattern = not free_shapes
        settings.add_session_config_entry(
            "optimization.constant_folding_max_output_size_in_bytes", _FOLDED_CONSTANT_BYTES
        )
        wanted: list[str | tuple[str, dict[str, str]]] = ["CPUExecutionProvider"]
        if options.provider == "cuda":
            ort.preload_dlls()
            cuda = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
            if options.gpu_memory_bytes is not None:
                cuda["gpu_mem_limit"] = str(options.gpu_memory_bytes)
            wanted.insert(0, ("CUDAExecutionProvider", cuda))
        try:
            self._session = ort.InferenceSession(program, settings, providers=wanted)
        except Exception as error:
            if _no_memory(str(error)):
                raise OutOfMemory("the device has no memory left to load this model") from error
            raise InvalidModel(f"onnxruntime can't load the model: {said(error)}", field="chunk") from error
        # A CUDA session that fails would otherwise be rebuilt on CPU without a word.
        self._session.disable_fallback()
        self.provider: str = self._session.get_providers()[0]
        if options.provider == "cuda" and self.provider != "CUDAExecutionProvider":
            told = f"CUDA was asked for, and onnxruntime gave {self.provider}: see deploy/README.md, 'CUDA'"
            if options.required:
                raise ModelFailed(told)
            log.warning(told)
        self.outputs: list[str] = [output.name for output in self._session.get_outputs()]
        self._running = ort.RunOptions()
        self.load_seconds = time.monotonic() - begun

    def run(self, feeds: Mapping[str, Array], *, shrink: bool = False) -> dict[str, Array]:
        """Run every output. shrink: give memory back that earlier runs took and this one doesn't need; CPU alone.

        Raises ModelFailed, OutOfMemory, Terminated.
        """
        running = self._running = ort.RunOptions()
        if shrink:
            running.add_run_config_entry(*_SHRINK)
        try:
            results: Sequence[Any] = self._session.run(self.outputs, dict(feeds), running)
        except Exception as error:
            if running.terminate:
                raise Terminated("the model was stopped while it ran") from error
            raise _run_error(error) from error
        outputs: dict[str, Array] = {}
        for name, value in zip(self.outputs, results, strict=True):
            if not hasattr(value, "dtype"):
                raise ModelFailed(f"output {name!r} isn't a tensor: sequences and maps can't be scored")
            outputs[name] = value
        return outputs

    def terminate(self) -> None:
        """The run under way ends as Terminated, between two operators; runs that follow are as ever."""
        self._running.terminate = True


def said(error: Exception) -> str:
    """onnxruntime's message without the paths it likes to tell, 400 characters at most."""
    text = _PATH.sub("", str(error)).strip()
    return text.split("\n", 1)[0][:400]


def _no_memory(text: str) -> bool:
    return any(sign in text for sign in _NO_MEMORY)


def _run_error(error: Exception) -> AssayError:
    if _no_memory(str(error)):
        return OutOfMemory("the device has no memory left for a batch of this model")
    return ModelFailed(f"onnxruntime failed to run the model: {said(error)}")
