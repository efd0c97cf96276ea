"""How batches get to a backend and back: small ones of a process without a thread, all else by one."""

import asyncio
import socket
import threading

import numpy as np
import pytest

from assayd.engine.backend import ASKED_BYTES
from assayd.errors import ModelFailed, WorkerLost
from assayd.scheduler.queue import Slice
from assayd.scheduler.runner import Runner
from tests.unit.explain.made import until
from tests.unit.scheduler.test_device import FakeBackend, work


class Question:
    """Is answered when the test says so."""

    def __init__(self, backend, what):
        self.backend, self.what = backend, what
        self.posted, self.whole, self.coming = backend.posts, True, False
        self.end, self.other = socket.socketpair()
        self.taken = []

    def fileno(self):
        return self.end.fileno()

    def answer(self, *, whole=True, coming=False):
        self.whole, self.coming = whole, coming
        self.other.send(b"!")

    def at_hand(self):
        if self.coming:
            self.end.recv(1)
        return self._taken() if self.whole else None

    def results(self):
        if self.posted:
            self.end.recv(1)  # waits
        return self._taken()

    def _taken(self):
        self.taken.append(threading.current_thread().name)
        for each in (self.end, self.other):
            each.close()
        if isinstance(self.what, list):
            return self.backend.score(self.what)
        return [self.backend.run(self.what)]


class Apart(FakeBackend):
    apart = True

    def __init__(self):
        super().__init__()
        self.posts, self.busy, self.questions, self.called = True, False, [], []

    def ask(self, what):
        if self.busy:
            return None
        self.questions.append(Question(self, what))
        return self.questions[-1]

    def run(self, prepared):
        self.called.append(threading.current_thread().name)
        return super().run(prepared)


HERE = threading.main_thread().name


@pytest.fixture
def backend():
    return Apart()


@pytest.fixture
async def runner(backend):
    made = Runner(backend)
    yield made
    await made.stop()


async def begun(runner, backend, slices, ready=None):
    """What runs, and its question."""
    running = asyncio.create_task(runner.run(slices, ready))
    await until(lambda: backend.questions)
    return running, backend.questions[-1]


@pytest.mark.parametrize("made", [False, True])
async def test_a_small_answer_wakes_no_thread(runner, backend, made):
    slices = [Slice(work([1.0, 2.0]), 0, 2), Slice(work([5.0]), 0, 1)]
    ready = runner.post(slices, at_once=False) if made else None
    running, question = await begun(runner, backend, slices, ready)
    await asyncio.sleep(0.02)
    assert not running.done()
    question.answer()
    first, second = await running
    assert (first.tolist(), second.tolist()) == ([[1.0], [2.0]], [[5.0]])
    assert question.taken == backend.called == [HERE]


async def test_rows_that_share_no_batch_come_back_to_their_works(runner, backend):
    slices = [Slice(work([7.0, 8.0], alone=True), 0, 2), Slice(work([1.0]), 0, 1)]
    running, question = await begun(runner, backend, slices)
    question.answer()
    lone, shared = await running
    assert (lone.tolist(), shared.tolist()) == ([[7.0], [8.0]], [[1.0]])
    assert backend.batches == [1, 1, 1]


async def test_the_rest_of_a_small_answer_is_waited_for(runner, backend):
    running, question = await begun(runner, backend, [Slice(work([1.0]), 0, 1)])
    for _ in range(3):
        question.answer(whole=False, coming=True)
        await asyncio.sleep(0.01)
        assert not running.done()
    question.answer()
    assert [s.tolist() for s in await running] == [[[1.0]]]
    assert question.taken == [HERE]


async def test_an_answer_that_is_large_or_amiss_is_read_by_a_thread(runner, backend):
    slices = [Slice(work([1.0]), 0, 1)]
    running, question = await begun(runner, backend, slices)
    question.answer(whole=False)
    assert [s.tolist() for s in await running] == [[[1.0]]]
    assert question.taken[0].startswith("device-run")


async def test_a_question_that_is_too_large_to_be_posted_is_sent_by_a_thread(runner, backend):
    backend.posts = False
    running, question = await begun(runner, backend, [Slice(work([1.0]), 0, 1)])
    assert [s.tolist() for s in await running] == [[[1.0]]]
    assert question.taken[0].startswith("device-run")


@pytest.mark.parametrize("why", ["busy", "large", "not apart"])
async def test_what_cannot_be_asked_at_once_is_run_by_a_thread(runner, backend, why):
    backend.busy = why == "busy"
    backend.apart = why != "not apart"
    rows = 1 + ASKED_BYTES // 4 if why == "large" else 1
    [scores] = await runner.run([Slice(work(np.ones(rows)), 0, rows)], None)
    assert len(scores) == rows
    assert not backend.questions
    assert backend.called[0].startswith("device-run")


async def test_what_fails_is_raised_wherever_it_is_read(runner, backend):
    for whole in (True, False):
        running, question = await begun(runner, backend, [Slice(work([-13.0]), 0, 1)])
        question.answer(whole=whole)
        with pytest.raises(ModelFailed):
            await running
        backend.questions.clear()


async def test_nobody_s_answer_is_taken_for_that_of_the_next(runner, backend):
    running, question = await begun(runner, backend, [Slice(work([1.0]), 0, 1)])
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not question.taken
    question.answer()
    await until(lambda: question.taken)
    assert question.taken[0].startswith("device-run")


async def test_the_end_waits_for_what_was_asked(backend):
    runner = Runner(backend)
    for whole in (True, False):
        running, question = await begun(runner, backend, [Slice(work([1.0]), 0, 1)])
        stopping = asyncio.create_task(runner.stop())
        await asyncio.sleep(0.02)
        assert not stopping.done()
        question.answer(whole=whole)
        await stopping
        assert [s.tolist() for s in await running] == [[[1.0]]]
        backend.questions.clear()
        runner = Runner(backend)
    await runner.stop()


async def test_one_that_is_lost_before_it_is_asked_is_found_by_a_thread(runner, backend, monkeypatch):
    def gone(_):
        raise WorkerLost("gone", metadata={}, retry_after_s=1.0)

    monkeypatch.setattr(backend, "ask", gone)
    monkeypatch.setattr(backend, "score", gone)
    with pytest.raises(WorkerLost):
        await runner.run([Slice(work([1.0]), 0, 1)], None)
