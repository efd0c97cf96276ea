"""A load generator in a process of its own, so that it shares no interpreter lock with what it measures.

Open loop: calls begin at times drawn beforehand (Poisson arrivals), whether or not earlier ones have ended, and latency
counts from the time that was meant: a server that stalls can't slow down the clock that judges it. Closed loop: each
caller asks again as soon as it has its answer.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

import assay

_PATIENCE_S = 30.0
"""Of a decision: nobody waits so long, and a slow server shan't hold up the run for ever."""


@dataclass(frozen=True, eq=False)
class Ask:
    """A call, over and over.

    x: [n, *input], from which each call takes the next `count` instances. stream: by explain_stream, for the time to
    the first progress. patience_s: each call's deadline, of streams a twentieth.
    """

    address: str
    model: str
    input: str
    x: np.ndarray
    method: Any
    target: Any = 0
    layout: str | None = None
    count: int = 1
    stream: bool = False
    priority: str = "normal"
    patience_s: float = _PATIENCE_S


@dataclass(frozen=True)
class OpenLoop:
    """rate: of arrivals in a second."""

    rate: float
    seconds: float
    seed: int = 0

    def starts(self) -> np.ndarray:
        """Seconds after the beginning at which calls are meant to start."""
        gaps = np.random.default_rng(self.seed).exponential(1 / self.rate, int(2 * self.rate * self.seconds) + 20)
        times = np.cumsum(gaps)
        return times[times < self.seconds]


@dataclass(frozen=True)
class ClosedLoop:
    """calls: of each caller; None goes on for so many seconds. Calls under way at the end are waited for."""

    callers: int
    seconds: float = 0.0
    calls: int | None = None


@dataclass(frozen=True)
class Call:
    """One call; times are seconds after the beginning, of the machine's monotonic clock. first: of progress, or NaN."""

    caller: int
    intended: float
    sent: float
    first: float
    ended: float
    rows: int
    failed: str = ""

    @property
    def latency(self) -> float:
        """Seconds from when it was meant to start."""
        return self.ended - self.intended


@dataclass(frozen=True)
class Load:
    """What a generator saw. busy: share of one core that it took itself."""

    calls: tuple[Call, ...] = ()
    busy: float = 0.0

    @property
    def answered(self) -> tuple[Call, ...]:
        """The calls that got an answer."""
        return tuple(call for call in self.calls if not call.failed)

    def latencies(self) -> list[float]:
        """Seconds from the intended starts, in the order of those; a failed call counts as no answer, for ever."""
        ordered = sorted(self.calls, key=lambda call: call.intended)
        return [np.inf if call.failed else call.latency for call in ordered]

    def lateness(self) -> list[float]:
        """Seconds by which the generator itself was late to send."""
        return [call.sent - call.intended for call in self.calls]

    def rows_by_caller(self) -> list[int]:
        """Rows answered to each caller."""
        callers = max((call.caller for call in self.calls), default=-1) + 1
        return [sum(call.rows for call in self.answered if call.caller == n) for n in range(callers)]


@dataclass(eq=False)
class Generator:
    """A generator's process, connected and warm, that begins when told to."""

    ask: Ask
    arrivals: OpenLoop | ClosedLoop
    _pipe: Any = None
    _process: Any = None
    load: Load = field(default_factory=Load)

    def prepare(self) -> None:
        """Start the process and wait until it has asked once."""
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_generate, args=(self.ask, self.arrivals, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self._receive()

    def begin(self) -> None:
        """Let it run."""
        self._pipe.send(time.monotonic())

    def end(self) -> None:
        """Wait for what it saw."""
        self.load = self._receive()
        self._process.join()

    def kill(self) -> None:
        """End it in whatever it does."""
        if self._process is not None and self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _receive(self) -> Any:
        try:
            said = self._pipe.recv()
        except EOFError:
            raise RuntimeError("the load generator ended before its time") from None
        if isinstance(said, str) and said:
            raise RuntimeError(f"the load generator failed: {said}")
        return said


def run(*loads: tuple[Ask, OpenLoop | ClosedLoop]) -> list[Load]:
    """Run some loads beside each other, from the same moment on."""
    with _prepared(Generator(ask, arrivals) for ask, arrivals in loads) as generators:
        for generator in generators:
            generator.begin()
        for generator in generators:
            generator.end()
        return [generator.load for generator in generators]


@contextmanager
def _prepared(generators: Iterable[Generator]) -> Iterator[list[Generator]]:
    held: list[Generator] = []
    try:
        for generator in generators:
            held.append(generator)
            generator.prepare()
        yield held
    finally:
        for generator in held:
            generator.kill()


def _generate(ask: Ask, arrivals: OpenLoop | ClosedLoop, pipe: Connection) -> None:
    try:
        pipe.send(asyncio.run(_drive(ask, arrivals, pipe)))
    except Exception as error:  # noqa: BLE001 - whatever it is, the other side wants to hear it
        pipe.send(f"{type(error).__name__}: {error}")


async def _drive(ask: Ask, arrivals: OpenLoop | ClosedLoop, pipe: Connection) -> Load:
    callers = arrivals.callers if isinstance(arrivals, ClosedLoop) else 1
    clients = [assay.AsyncClient(ask.address) for _ in range(callers)]
    caller = _Caller(ask)
    for client in clients:
        await caller.ask(client, 0, 0.0, 0.0)
    pipe.send("")
    begun = await asyncio.to_thread(pipe.recv)
    busy = time.process_time()
    if isinstance(arrivals, OpenLoop):
        tasks = []
        for intended in arrivals.starts():
            await asyncio.sleep(max(0.0, begun + intended - time.monotonic()))
            tasks.append(asyncio.create_task(caller.ask(clients[0], 0, float(intended), begun)))
        calls = list(await asyncio.gather(*tasks))
    else:
        each = await asyncio.gather(*(_repeat(caller, c, n, arrivals, begun) for n, c in enumerate(clients)))
        calls = [call for some in each for call in some]
    busy = (time.process_time() - busy) / (time.monotonic() - begun)
    for client in clients:
        await client.close()
    return Load(tuple(calls), busy)


async def _repeat(caller: _Caller, client: assay.AsyncClient, n: int, arrivals: ClosedLoop, begun: float) -> list[Call]:
    calls: list[Call] = []
    while arrivals.calls is None or len(calls) < arrivals.calls:
        now = time.monotonic() - begun
        if arrivals.calls is None and now >= arrivals.seconds:
            break
        calls.append(await caller.ask(client, n, now, begun))
    return calls


class _Caller:
    """Asks for one slice of the instances after the other."""

    def __init__(self, ask: Ask) -> None:
        self._ask, self._next = ask, 0

    async def ask(self, client: assay.AsyncClient, n: int, intended: float, begun: float) -> Call:
        ask = self._ask
        places = np.arange(self._next, self._next + ask.count) % len(ask.x)
        self._next += ask.count
        x = {ask.input: ask.x[places]}
        keys = [f"instance {place}" for place in places]
        sent, first = time.monotonic() - begun, np.nan
        more = {
            "layout": ask.layout,
            "priority": ask.priority,
            "keys": keys,
            "timeout": ask.patience_s * (20 if ask.stream else 1),
        }
        try:
            if not ask.stream:
                found = await client.explain(ask.model, x, ask.method, ask.target, **more)
            else:
                async for event in client.explain_stream(ask.model, x, ask.method, ask.target, **more):
                    first = time.monotonic() - begun if np.isnan(first) else first
                    found = event
        except assay.AssayError as error:
            ended = time.monotonic() - begun
            return Call(n, intended, sent, first, ended, 0, f"{type(error).__name__}: {error}"[:200])
        return Call(n, intended, sent, first, time.monotonic() - begun, found.usage.rows_run)
