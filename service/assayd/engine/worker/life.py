"""A worker's life as the front sees it: whether it is there and answers, why it ended, how it is ended."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

from assayd.engine.quarantine import DEVICE, MEMORY
from assayd.engine.worker import messages as m
from assayd.engine.worker.arrays import Malformed
from assayd.engine.worker.frames import FROM_WORKER, Frame, Wire, framed
from assayd.engine.worker.limits import DEVICE_LOST, OUT_OF_MEMORY
from assayd.engine.worker.room import MemoryKills
from assayd.engine.worker.spawn import Started
from assayd.errors import WorkerLost

log = logging.getLogger(__name__)

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_REAP_S = 1.0
_STOPPED_S, _IDLE_S, _BUSY_S, _BUSY_S_PER_BYTE = 0.4, 3.0, 10.0, 1 / 50e6
"""So long may a worker be silent: one that a signal stopped; any other; one that loads, proves or decides, with its
file's bytes on top: parsing 575 MB kept its interpreter busy for 2.4 s.
"""
_LOG_LINES, _LOG_LINE_BYTES = 100, 500


class Channel:
    """A conversation with the worker; who speaks holds the lock."""

    def __init__(self, end: socket.socket) -> None:
        self.lock = threading.Lock()
        self.end = end
        self.wire = Wire(end, FROM_WORKER)

    def hang_up(self) -> None:
        """Whoever waits for an answer is told that there will be none."""
        with suppress(OSError):
            self.end.shutdown(socket.SHUT_RDWR)


class Life:
    """Of one worker, which ends when it is killed, when it dies or when it hangs up; then so do all its channels."""

    def __init__(self, started: Started, digest: str, memory_kills: MemoryKills) -> None:
        self.digest = digest
        self._process = started.process
        self._memory_kills = memory_kills
        self._bad_alloc = False
        self._control, self._prepare, self._run, self._watch = self._channels = [
            Channel(end) for end in (started.control, started.prepare, started.run, started.watch)
        ]
        self._state = threading.Lock()
        self._cause: str | None = None
        self._over = threading.Event()
        self._pings = self._pongs = 0
        self._starved_s = 0.0
        self._pinged = self._decided = time.monotonic()
        self._file_bytes = 0
        name = f"worker-{self.pid}"
        self._reader = threading.Thread(target=self._read_log, name=f"{name}-log", daemon=True)
        self._reader.start()
        threading.Thread(target=self._read_pongs, name=f"{name}-pongs", daemon=True).start()
        threading.Thread(target=self._wait, name=name, daemon=True).start()

    @property
    def pid(self) -> int:
        """Of the worker."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """False as soon as it is known to be lost."""
        return self._cause is None

    @property
    def cause(self) -> str:
        """Of its loss; empty while it is alive."""
        return self._cause or ""

    @property
    def rss_bytes(self) -> int:
        """Memory that it holds now; 0 when it is gone."""
        return self._pages()[0] * _PAGE_BYTES

    @property
    def own_bytes(self) -> int:
        """Of that, what would be free without it: the code of its libraries is shared by all workers."""
        resident, shared = self._pages()
        return (resident - shared) * _PAGE_BYTES

    def _pages(self) -> tuple[int, int]:
        try:
            resident, shared = Path(f"/proc/{self.pid}/statm").read_text().split()[1:3] if self.alive else (0, 0)
        except (OSError, ValueError):
            return 0, 0
        return int(resident), int(shared)

    def kill(self, why: str) -> None:
        """End the worker now; `why` is the cause that calls are told, unless it was lost before."""
        with self._state:
            self._cause = self._cause or why
        self._process.kill()
        for channel in self._channels:
            channel.hang_up()

    def join(self, timeout_s: float) -> bool:
        """Wait until the process is gone."""
        return self._over.wait(timeout_s)

    def _wait(self) -> None:
        status = self._process.wait()
        ending = self._ending(status)
        with self._state:
            self._cause = self._cause or ending
        self._over.set()
        for channel in self._channels:
            channel.hang_up()
        for channel in self._channels:
            with channel.lock:
                channel.end.close()

    def _ending(self, status: int) -> str:
        """Why the process ended by itself, or by whom."""
        if status == -signal.SIGABRT:
            self._reader.join(_REAP_S / 2)  # its last words say why it gave up
        memory = (
            status == OUT_OF_MEMORY
            or (status == -signal.SIGABRT and self._bad_alloc)
            or (status == -signal.SIGKILL and self._memory_kills.lately())
        )
        if memory:
            return MEMORY
        if status == DEVICE_LOST:
            return DEVICE
        return f"killed by signal {-status}" if status < 0 else f"exit {status}"

    def _read_log(self) -> None:
        """Into the server's log, so much of it that a worker can't flood it."""
        if self._process.stdout is None:
            raise AssertionError("a worker has a log")
        about = {"model": self.digest, "pid": self.pid}
        with self._process.stdout as pipe:
            for n, line in enumerate(iter(lambda: pipe.readline(_LOG_LINE_BYTES), b"")):
                self._bad_alloc |= b"std::bad_alloc" in line
                if n < _LOG_LINES:
                    log.warning("a worker says", extra=about | {"line": line.decode(errors="replace").rstrip()})
                elif n == _LOG_LINES:
                    log.warning("a worker says too much; the rest is dropped", extra=about)

    def _hung_up(self) -> WorkerLost:
        """The cause is known when the process is reaped, a moment after its channels close."""
        if self.alive and not self._over.wait(_REAP_S):
            self.kill("it hung up")
        return self._lost()

    def _lost(self) -> WorkerLost:
        cause = self._cause or ""
        return WorkerLost(
            f"the process that ran the model was lost: {cause}", metadata={"cause": cause}, retry_after_s=1.0
        )

    # ---- watch -------------------------------------------------------------------------------------------------

    def ping(self) -> bool:
        """Ask for a sign of life, without waiting for it. False where the last one has been missing for longer than
        what the worker does explains, or the worker is lost. Called by one thread at a time.
        """
        if self.alive and self._pongs == self._pings:
            self._pinged, self._starved_s = time.monotonic(), self._waited_s()
            self._pings += 1
            self._post(self._watch, framed(m.Watch, m.Ping(self._pings)))
            return self.alive
        return self.alive and self.silent_s <= self._patience_s()

    @property
    def silent_s(self) -> float:
        """Seconds since the oldest ping without an answer, while nothing was being decided before. Those in which it
        wanted to run and no core was free don't count.
        """
        if self._pongs == self._pings:
            return 0.0
        busy = self._control.lock.locked()
        since = time.monotonic() - (self._pinged if busy else max(self._pinged, self._decided))
        return max(0.0, since - (self._waited_s() - self._starved_s))

    def _waited_s(self) -> float:
        """So long has its first thread waited for a core until now; 0 where the system doesn't say."""
        try:
            return int(Path(f"/proc/{self.pid}/schedstat").read_bytes().split()[1]) / 1e9
        except (OSError, IndexError, ValueError):
            return 0.0

    def _patience_s(self) -> float:
        if self._stopped():
            return _STOPPED_S
        return _BUSY_S + self._file_bytes * _BUSY_S_PER_BYTE if self._control.lock.locked() else _IDLE_S

    def _stopped(self) -> bool:
        """Whether a signal stopped it."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_bytes().rpartition(b")")[2].split()[0] == b"T"
        except (OSError, IndexError):
            return False

    def _read_pongs(self) -> None:
        with self._watch.lock:
            try:
                while True:
                    self._pongs = self._watch.wire.receive().read(m.Ping).number
            except Malformed as malformed:
                self.kill(f"it sent nonsense: {malformed}")
            except (EOFError, OSError):
                pass  # it is gone, or will be found silent

    def _post(self, channel: Channel, frame: Frame) -> bool:
        """Send without waiting; False where the worker is gone or doesn't read."""
        try:
            return self.alive and channel.wire.post(frame)
        except OSError:
            return False
