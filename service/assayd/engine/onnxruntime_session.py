"""The only file that knows onnxruntime."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnxruntime as ort

from assayd.engine.device_tensor import DeviceTensor
from assayd.engine.options import SessionOptions, no_cuda
from assayd.engine.placement import Placement
from assayd.errors import AssayError, DeviceLost, InvalidModel, ModelFailed, OutOfMemory, Terminated
from assayd.types.arrays import Array

VERSION: str = ort.__version__

log = logging.getLogger(__name__)

_MOST_SAID = 2000
_SHRINK = ("memory.enable_memory_arena_shrinkage", "cpu:0")
_NO_MEMORY = (
    "Failed to allocate memory", "bad allocation", "std::bad_alloc", "ALLOC_FAILED", "out of memory",
    "cudaErrorMemoryAllocation",
    "exceeds the supported maximum of",  # bytes of one tensor, which Tile has a limit of its own for
)  # fmt: skip
_PATH = re.compile(r"(?:/[\w.+-]+){2,}(?::\d+)?\s*")
_NOISE = re.compile(
    r"\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : |Non-zero status code returned |Exception during initialization: ?|"
    r"\b\w+\.(?:cc|h|cpp):\d+ "
)
_FUNCTION = re.compile(
    r"(?:[\w:]+(?:<[^<>]*>)?[\s&*]+){0,4}[\w:]*(?:onnxruntime::|SafeInt)[\w:{}]*(?:<[^<>]*>)?[\w:~]*"
    r"\([^()]*\)(?:\([^()]*\))?(?: const)?(?:::<lambda\([^()]*\)>)?(?: \[with [^\]]*\])?\s"
)
"""Where in its own code something failed: of no use to who made the model."""
_LOST = re.compile(
    r"illegal memory access|misaligned address|unspecified launch failure|device-side assert|"
    r"cudaError(?:IllegalAddress|LaunchFailure|MisalignedAddress|Assert|ECCUncorrectable)|"
    r"CUDA failure 7(?:00|10|16|19)\b"
)
"""After these no call of the process on that device succeeds."""


@dataclass(frozen=True)
class Device:
    """Where a session computes: "cpu" or "cuda", and which of them."""

    kind: str
    number: int = 0

    def upload(self, array: Array) -> DeviceTensor:
        """A copy of the array; on the CPU it may be the array itself."""
        array = np.ascontiguousarray(array).reshape(array.shape)  # it makes a row of what has no axis
        value = ort.OrtValue.ortvalue_from_numpy(array, self.kind, self.number)
        return DeviceTensor(value, value.data_ptr(), array.shape, array.dtype)

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> DeviceTensor:
        """Memory that holds anything. Raises OutOfMemory."""
        try:
            value = ort.OrtValue.ortvalue_from_shape_and_type(shape, dtype, self.kind, self.number)
        except Exception as error:
            raise _run_error(error) from error
        return DeviceTensor(value, value.data_ptr(), shape, np.dtype(dtype))


class Session:
    """One loaded program. `run` is called by one thread at a time, `terminate` by any."""

    def __init__(self, program: bytes, options: SessionOptions, *, free_shapes: bool) -> None:
        """Load. free_shapes: instances come in many shapes.

        Raises InvalidModel where onnxruntime refuses the model, OutOfMemory, and ModelFailed where a required
        provider isn't to be had.
        """
        begun = time.monotonic()
        self._program, self._options, self._free_shapes = program, options, free_shapes
        settings = ort.SessionOptions()
        settings.intra_op_num_threads = options.threads
        settings.inter_op_num_threads = 1
        settings.log_severity_level = 4
        if options.spin_us is not None:
            settings.add_session_config_entry("session.intra_op.spin_duration_us", str(options.spin_us))
        # A memory pattern is kept for every shape ever seen.
        settings.enable_mem_pattern = not free_shapes
        settings.add_session_config_entry(
            "optimization.constant_folding_max_output_size_in_bytes", str(options.admission.folded_bytes)
        )
        settings.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        self._wanted: list[str | tuple[str, dict[str, str]]] = ["CPUExecutionProvider"]
        if options.provider == "cuda":
            ort.preload_dlls()
            cuda = {
                "device_id": str(options.device or 0),
                "use_tf32": "1" if options.precision == "tf32" else "0",
                "cudnn_conv_algo_search": options.search,
            }
            if options.gpu_memory_bytes is not None:
                cuda["gpu_mem_limit"] = str(options.gpu_memory_bytes)
            self._wanted.insert(0, ("CUDAExecutionProvider", cuda))
        try:
            self._session = ort.InferenceSession(program, settings, providers=self._wanted)
        except Exception as error:
            if _no_memory(str(error)):
                raise OutOfMemory("the device has no memory left to load this model") from error
            raise InvalidModel(f"onnxruntime can't load the model: {said(error)}", field="chunk") from error
        # A CUDA session that fails would otherwise be rebuilt on CPU without a word.
        self._session.disable_fallback()
        self.provider: str = self._session.get_providers()[0]
        if options.provider == "cuda" and self.provider != "CUDAExecutionProvider":
            told = f"CUDA was asked for, and onnxruntime gave {self.provider}: {no_cuda()} (deploy/README.md, 'CUDA')"
            if options.required:
                raise ModelFailed(told)
            log.warning(told)
        self.outputs: list[str] = [output.name for output in self._session.get_outputs()]
        on_gpu = self.provider == "CUDAExecutionProvider"
        self.device = Device("cuda", options.device or 0) if on_gpu else Device("cpu")
        self._running = ort.RunOptions()
        self.load_seconds = time.monotonic() - begun

    def placement(self) -> Placement:
        """Which operators run where."""
        nodes = [(part.ep_name, node.op_type) for part in self._assigned() for node in part.get_nodes()]
        return Placement.of(self.provider, nodes)

    def _assigned(self) -> Sequence[Any]:
        found: Sequence[Any] = self._session.get_provider_graph_assignment_info()
        return found

    def another(self, program: Callable[[bytes], bytes] = bytes, **options: Any) -> Session:
        """A session of the same program, or of what `program` makes of it, with some options changed.

        onnxruntime's own session holds the bytes as long as it lives, so that keeping them costs nothing.
        """
        changed = replace(self._options, **options)
        return Session(program(self._program), changed, free_shapes=self._free_shapes)

    def rebuild(self) -> None:
        """Load the same program again, in memory that nothing has fragmented. Raises OutOfMemory, ModelFailed."""
        try:
            self._session.set_providers(self._wanted)
        except Exception as error:
            raise _run_error(error) from error
        self._session.disable_fallback()

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

    def run_bound(
        self,
        feeds: Mapping[str, Array | DeviceTensor],
        into: Mapping[str, DeviceTensor],
        *,
        fetch: Sequence[str] = (),
        leave: Sequence[str] = (),
    ) -> dict[str, Array | DeviceTensor]:
        """Run with inputs on the host or the device. into: outputs that are written there, of that dtype and shape.

        fetch: outputs that come to the host. leave: outputs that stay on the device, in memory of the runtime's.
        Returns the last two. Raises as `run`.
        """
        running = self._running = ort.RunOptions()
        kind, number = self.device.kind, self.device.number
        try:
            binding = self._bound(feeds)
            for name, place in into.items():
                binding.bind_output(name, kind, number, place.dtype.type, place.shape, place.address)
            for name in fetch:
                binding.bind_output(name)
            for name in leave:
                binding.bind_output(name, kind, number)
            self._session.run_with_iobinding(binding, running)
            made = binding.get_outputs()[len(into) :]
        except Exception as error:
            if running.terminate:
                raise Terminated("the model was stopped while it ran") from error
            raise _run_error(error) from error
        found: dict[str, Array | DeviceTensor] = {}
        for name, value in zip((*fetch, *leave), made, strict=True):
            if not value.is_tensor():
                raise ModelFailed(f"output {name!r} isn't a tensor: sequences and maps can't be scored")
            if name in fetch:
                found[name] = value.numpy()
            else:
                dtype = _dtype(value.data_type())
                found[name] = DeviceTensor(value, value.data_ptr(), tuple(value.shape()), dtype)
        return found

    def _bound(self, feeds: Mapping[str, Array | DeviceTensor]) -> Any:
        """A binding of the inputs."""
        binding = self._session.io_binding()
        for name, value in feeds.items():
            if isinstance(value, DeviceTensor):
                where = (self.device.kind, self.device.number)
                binding.bind_input(name, *where, value.dtype.type, value.shape, value.address)
            else:
                binding.bind_cpu_input(name, np.ascontiguousarray(value).reshape(value.shape))
        return binding

    def terminate(self) -> None:
        """The run under way ends as Terminated, between two operators; runs that follow are as ever."""
        self._running.terminate = True


def said(error: Exception) -> str:
    """onnxruntime's message without the paths and the C++ it likes to tell, 400 characters at most."""
    text = _FUNCTION.sub("", _NOISE.sub("", _PATH.sub("", str(error)).strip().split("\n", 1)[0][:_MOST_SAID]))
    return text[:400] or "it gives no reason"


def _no_memory(text: str) -> bool:
    return any(sign in text for sign in _NO_MEMORY)


def _run_error(error: Exception) -> AssayError:
    text = str(error)
    if _no_memory(text):
        return OutOfMemory("the device has no memory left for a batch of this model")
    if _LOST.search(text):
        return DeviceLost(f"the GPU can't be used by this process any more: {said(error)}")
    return ModelFailed(f"onnxruntime failed to run the model: {said(error)}")


_NUMPY_NAMES = {"float": "float32", "double": "float64"}


def _dtype(told: str) -> np.dtype[np.generic]:
    """Of what onnxruntime calls tensor(float)."""
    name = told.removeprefix("tensor(").removesuffix(")")
    return np.dtype(_NUMPY_NAMES.get(name, name))
