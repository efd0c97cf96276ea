"""Whether a device computes, asked of it by a model that is known to be good."""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor

from assayd.engine.backend import Backend
from assayd.errors import AssayError

log = logging.getLogger(__name__)

RELU = bytes.fromhex(
    "08083a3d0a0c0a0178120179220452656c751201675a140a0178120f0a0d080112090a0312014e0a02080462140a0179120f0a0d08011209"
    "0a0312014e0a02080442040a00100d"
)
"""A model of one Relu, float32 [N, 4], opset 13: a process that answers callers can't make one."""

_DIGEST = "pulse"
_LONGEST_S = 60.0
_STILL_S = 1.0
"""So long an answer holds for all who ask."""


class Pulse:
    """Of one device. A model may be what ended a process on it; this tells whether any other still runs.

    strict: a GPU whose sessions come out on the CPU is lost, though they compute. lost: what was found last. why: in
    words.
    """

    def __init__(self, backend: Backend, *, strict: bool = True) -> None:
        self._backend = backend
        self._strict = strict
        self._asking = asyncio.Lock()
        self._asked = float("-inf")
        self._thread = ThreadPoolExecutor(1, "pulse")
        self.lost = False
        self.why = ""

    @property
    def on_gpu(self) -> bool:
        """Whether the device is one."""
        return self._backend.device.startswith("cuda")

    async def beats(self) -> bool:
        """Ask the device, in a process of its own where models have one."""
        async with self._asking:
            if time.monotonic() - self._asked > _STILL_S:
                self.why = await self._wrong()
                self._asked = time.monotonic()
                if self.why and not self.lost:
                    log.error("a device is lost", extra={"device": self._backend.device, "why": self.why})
                elif self.lost and not self.why:
                    log.warning("a device is back", extra={"device": self._backend.device})
                self.lost = bool(self.why)
        return not self.lost

    async def _wrong(self) -> str:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_LONGEST_S):
                return await loop.run_in_executor(self._thread, self._ask)
        except TimeoutError:
            await asyncio.to_thread(self._backend.kill, _DIGEST, "its device doesn't answer")
            return f"it didn't run a model of one operator within {_LONGEST_S:g} s"

    def _ask(self) -> str:
        try:
            loaded = self._backend.load(_DIGEST, RELU)
        except AssayError as error:
            return error.message
        self._backend.unload(_DIGEST)
        if self._strict and self.on_gpu and not loaded.on_gpu:
            return f"onnxruntime gave {loaded.provider} in its place"
        return ""

    def close(self) -> None:
        """End its thread."""
        self._thread.shutdown(wait=False)
