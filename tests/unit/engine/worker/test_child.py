"""What a worker does with what it is told, in this process."""

import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest

from assayd import errors
from assayd.engine.options import SessionOptions
from assayd.engine.quarantine import cause_word
from assayd.engine.worker import child
from assayd.engine.worker import messages as m
from assayd.engine.worker.arrays import Malformed
from assayd.engine.worker.child import Worker, _too_large
from assayd.engine.worker.failures import raised, told
from assayd.engine.worker.frames import FROM_WORKER, Limits, Received, Wire, framed
from assayd.engine.worker.limits import DEVICE_LOST, OUT_OF_MEMORY
from assayd.engine.worker.memory import Shared, contents, file_of, mapped
from assayd.engine.worker.process import Process
from assayd.types.rows import Pick, PlainRows
from tests.models import zoo

PREFIX = 12
TICKETS = count()


def received(kind, message, fd=None):
    frame = framed(kind, message)
    whole = b"".join(frame.pieces)[PREFIX:]
    header, payload = whole[: frame.header_bytes], whole[frame.header_bytes :]
    return Received(header, np.frombuffer(payload, np.uint8), len(whole), fd)


@pytest.fixture
def worker():
    made = Worker()
    decided = made.control(received(m.Control, m.Load(SessionOptions(threads=1), None), file_of(zoo.linear())))
    assert (decided.loaded.batching.batched, decided.sessions_built) == (True, 1)
    return made


def prepare(worker, numbers, new=(), *, posted=False):
    subjects = tuple(m.SubjectParts(n, {"x": np.full(6, n, np.float32)}, {}, None, {}) for n in new)
    readouts = ((Pick("y", np.array([0])),),)
    chunks = np.array([(n, 0, 1) for n in numbers])
    blocks = (PlainRows(np.full(len(numbers), -1, np.int32)),)
    asked = m.Prepare(subjects, True, False, readouts, chunks, blocks, ticket=next(TICKETS), posted=posted)
    assert worker.prepare(received(m.Making, asked)) == (None if posted else m.Ready())
    return asked.ticket


def scores(worker, ticket):
    return np.concatenate(worker.run(received(m.Running, m.Run(ticket))).results)[:, 0].tolist()


def test_a_subject_may_come_a_moment_later_on_the_other_channel(worker):
    with ThreadPoolExecutor(1) as pool:
        early = pool.submit(prepare, worker, (4,))
        time.sleep(0.05)
        assert not early.done()
        late = prepare(worker, (4,), new=(4,))
        assert scores(worker, early.result()) == scores(worker, late)


def test_subjects_are_kept_until_they_are_released(worker, monkeypatch):
    monkeypatch.setattr(child, "_ARRIVES_S", 0.05)
    a, b = prepare(worker, (4, 7), new=(4, 7)), prepare(worker, (7,))
    assert scores(worker, a)[1:] == scores(worker, b)
    assert worker.prepare(received(m.Making, m.Release((4, 99), ()))) is None
    assert list(worker._subjects) == [7]
    with pytest.raises(KeyError):
        prepare(worker, (4,))
    assert not worker.ahead._waiting


def test_of_a_posted_batch_that_cannot_be_made_whoever_asks_hears_why(worker, monkeypatch):
    monkeypatch.setattr(child, "_ARRIVES_S", 0.05)
    bad, good = prepare(worker, (4,), posted=True), prepare(worker, (7,), new=(7,), posted=True)
    assert len(scores(worker, good)) == 1
    told = worker.run(received(m.Running, m.Run(bad)))
    assert isinstance(told, m.Unmade)
    assert "KeyError" in told.why.traceback


def test_it_answers_pings_and_survives_a_word_to_stop(worker):
    assert worker.watch(received(m.Watch, m.Ping(3))) == m.Ping(3)
    assert worker.watch(received(m.Watch, m.Terminate())) is None
    assert Worker().watch(received(m.Watch, m.Terminate())) is None
    with pytest.raises(AssertionError):
        Worker().control(received(m.Control, m.Steady()))


def test_a_word_to_stop_is_for_the_batch_it_names(worker, monkeypatch):
    stopped = []
    monkeypatch.setattr(worker._model, "terminate", stopped.append)
    ticket = prepare(worker, (4,), new=(4,))
    worker.ahead.running = ticket
    for named in (ticket + 1, ticket, None):
        worker.watch(received(m.Watch, m.Terminate(named)))
    assert len(stopped) == 2


def test_a_word_to_stop_holds_back_what_would_begin_unasked(worker, monkeypatch):
    stopped = []
    monkeypatch.setattr(worker._model, "terminate", stopped.append)
    ticket = prepare(worker, (4,), new=(4,))
    worker.ahead._due.append((0, ticket))
    worker.watch(received(m.Watch, m.Terminate(ticket - 1)))
    assert not worker.ahead._due
    worker.ahead._unasked = worker.ahead.running = ticket
    worker.watch(received(m.Watch, m.Terminate(ticket - 1)))
    worker.prepare(received(m.Making, m.Release((), (ticket,))))
    assert len(stopped) == 2


@pytest.mark.parametrize(
    "error",
    [
        errors.InvalidModel("no model", field="chunk"),
        errors.TooLarge("too large", metadata={"bytes": "9"}),
        errors.Terminated("stopped"),
    ],
)
def test_errors_of_the_domain_cross(error):
    got = raised(told(error))
    assert (type(got), got.message, got.field, got.metadata) == (
        type(error),
        error.message,
        error.field,
        error.metadata,
    )


def test_want_of_memory_is_an_error_of_the_domain_and_a_bug_is_none():
    for error in (MemoryError(), OSError(12, "Cannot allocate memory")):
        assert isinstance(raised(told(error)), errors.OutOfMemory)
    for error in (KeyError("x"), OSError(2, "No such file"), errors.Draining("no")):
        assert type(error).__name__ in told(error).traceback


def test_no_error_crosses_by_which_callers_would_try_again():
    for kind in ("Draining", "WorkerLost", "QueueFull", "KeyboardInterrupt", "AssayError"):
        with pytest.raises(Malformed):
            raised(m.Failed(kind, "", None, {}, 1.0))
    long = raised(m.Failed("ModelFailed", "x" * 10**6, None, {str(n): "x" * 10**5 for n in range(100)}, None))
    assert len(long.message) + sum(map(len, long.metadata.values())) < 50_000


def test_an_answer_beyond_the_limit_is_refused_here_already():
    frame = framed(m.RunAnswer, m.Results((np.zeros((10, 10)),)))
    assert frame.within(FROM_WORKER)
    assert not frame.within(Limits(2**20, 799))
    assert not frame.within(Limits(5, 2**20))
    assert "2000000000 bytes" in _too_large(2 * 10**9).message


def test_a_worker_that_lost_its_gpu_ends_and_any_other_error_is_an_answer(monkeypatch):
    class Ended(BaseException):
        pass

    def end(status):
        raise Ended(status)

    def answer(_):
        raise failures.pop(0)

    monkeypatch.setattr(child.os, "_exit", end)
    front, back = socket.socketpair()
    with front, back:
        wire = Wire(front, FROM_WORKER)
        for number in range(2):
            wire.send(framed(m.Run, m.Run(number)))
        front.shutdown(socket.SHUT_WR)
        failures = [errors.ModelFailed("once"), errors.DeviceLost("an illegal memory access")]
        with pytest.raises(Ended) as ended:
            child._converse(back, answer, m.RunAnswer)
        assert ended.value.args == (DEVICE_LOST,)
        assert wire.receive().read(m.RunAnswer).message == "once"


@pytest.mark.parametrize(
    ("status", "word"), [(-11, "crashed"), (1, "gone"), (OUT_OF_MEMORY, "memory"), (DEVICE_LOST, "gpu")]
)
def test_a_cause_of_loss_is_told_by_how_the_process_ended(status, word):
    process = SimpleNamespace(_bad_alloc=False, _memory_kills=SimpleNamespace(lately=lambda: False))
    assert cause_word(Process._ending(process, status)) == word


@pytest.mark.parametrize("data", [b"", b"x", os.urandom(3_000_000)], ids=len)
def test_bytes_pass_through_memory(data):
    fd = file_of(data)
    assert contents(fd) == data
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_shared_memory_grows_by_powers_of_two_and_cannot_be_cut_from_the_other_side():
    shared = Shared()
    fd = shared.put([(0, np.arange(100, dtype=np.uint8))], 112)
    for change in (0, 2**20):
        with pytest.raises(PermissionError):
            os.ftruncate(fd, change)
    seen = mapped(fd)
    assert len(seen) == 128
    assert not seen.flags.writeable
    assert shared.put([(16, np.full(5, 7, np.uint8))], 128) is None
    assert seen[:24].tolist() == [*range(16), 7, 7, 7, 7, 7, 21, 22, 23]
    assert shared.put([], 0) is None
