"""Batches that run before anybody asks for their scores."""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from assayd.engine.backend import NotRun
from assayd.engine.worker.ahead import Ahead
from assayd.errors import DeviceLost, ModelFailed, Terminated


class Model:
    """Runs batches that are names, or errors; remembers the order, and what was terminated. gate: while it is closed
    nothing ends.
    """

    def __init__(self):
        self.begun = []
        self.running = []
        self.terminated = []
        self.gate = threading.Event()
        self.gate.set()
        self.ahead = Ahead(self.run, self.terminate)
        self.tickets = count(7)

    def add(self, batch, behind):
        ticket = next(self.tickets)
        self.ahead.add(ticket, batch, behind=behind)
        return ticket

    def run(self, batch):
        self.begun.append(batch)
        self.running.append(self.ahead.running)
        assert self.gate.wait(10)
        if isinstance(batch, Exception):
            raise batch
        return [f"scores of {batch}"]

    def terminate(self):
        self.terminated.append(self.ahead.running)


@pytest.fixture
def model():
    return Model()


@pytest.fixture
def ends():
    near, far = socket.socketpair()
    with near, far:
        yield near, far


def until(model, ends):
    """What runs until something comes to be read, which is at once."""
    near, far = ends
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(model.ahead.until, near)
        end = time.monotonic() + 0.3
        while time.monotonic() < end and not waiting.done():
            time.sleep(0.01)
        far.send(b"x")
        waiting.result(10)
    near.recv(1)


def test_what_comes_next_runs_unasked_and_its_results_are_had_once(model, ends):
    first, second = model.add("a", behind=0), model.add("b", behind=None)
    until(model, ends)
    assert model.begun == ["a"]
    assert model.ahead.results(first) == ["scores of a"]
    assert model.ahead.results(second) == ["scores of b"]
    assert model.begun == ["a", "b"]
    assert not model.ahead._waiting
    assert not model.ahead._done


def test_one_that_is_asked_for_while_it_is_made_is_waited_for(model):
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(model.ahead.results, ticket) for ticket in (1, 2)]
        time.sleep(0.05)
        assert model.begun == []
        model.ahead.add(2, "b", behind=None)
        model.ahead.add_unmade(1, ValueError("no such row"))
        assert asked[1].result(10) == ["scores of b"]
        with pytest.raises(NotRun) as got:
            asked[0].result(10)
    assert str(got.value.error) == "no such row"
    assert not model.ahead._unmade


def test_what_was_asked_for_before_its_turn_runs_once(model, ends):
    ticket = model.add("a", behind=0)
    assert model.ahead.results(ticket) == ["scores of a"]
    until(model, ends)
    assert model.begun == ["a"]


def test_a_batch_that_is_added_while_it_waits_begins(model, ends):
    near, far = ends
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(model.ahead.until, near)
        time.sleep(0.05)
        ticket = model.add("a", behind=0)
        end = time.monotonic() + 10
        while not model.ahead._done and time.monotonic() < end:
            time.sleep(0.01)
        far.send(b"x")
        waiting.result(10)
    assert model.ahead.results(ticket) == ["scores of a"]


def test_a_question_that_waits_goes_first(model, ends):
    model.add("a", behind=0)
    ends[1].send(b"x")
    model.ahead.until(ends[0])
    assert model.begun == []


def test_an_error_is_raised_to_whoever_asks_and_what_lies_behind_it_waits_to_be_asked(model, ends):
    bad, good = model.add(ModelFailed("no"), behind=0), model.add("b", behind=0)
    until(model, ends)
    assert len(model.begun) == 1
    assert model.ahead.results(good) == ["scores of b"]
    with pytest.raises(ModelFailed, match="no"):
        model.ahead.results(bad)


def test_what_follows_a_question_begins_when_that_is_answered(model, ends):
    ticket = model.add("b", behind=1)
    until(model, ends)
    assert model.begun == []
    with model.ahead.question():
        pass
    until(model, ends)
    assert model.begun == ["b"]
    assert model.ahead.results(ticket) == ["scores of b"]


def test_behind_a_question_that_failed_nothing_begins_unasked(model, ends):
    ticket = model.add("b", behind=1)
    with pytest.raises(ModelFailed), model.ahead.question():
        raise ModelFailed("no")
    until(model, ends)
    assert model.begun == []
    assert model.ahead.results(ticket) == ["scores of b"]


def test_behind_what_is_told_to_stop_nothing_begins_unasked(model, ends):
    ticket = model.add("b", behind=1)
    with model.ahead.question():
        model.ahead.stop(ticket - 1)  # too late: it ends by itself
    assert model.terminated == []
    until(model, ends)
    assert model.begun == []
    assert model.ahead.results(ticket) == ["scores of b"]


def told_to_stop(model):
    with model.ahead.question():
        model.ahead.stop(99)


def fails(model):
    with pytest.raises(ModelFailed), model.ahead.question():
        raise ModelFailed("no")


def fails_unasked(model):
    with model.ahead.question():
        pass
    model.ahead._run_ahead(model.add(ModelFailed("no"), behind=1))
    model.begun.clear()


@pytest.mark.parametrize("before", [told_to_stop, fails, fails_unasked])
def test_nor_does_what_was_still_being_made(model, ends, before):
    before(model)
    late = model.add("b", behind=1)
    until(model, ends)
    with model.ahead.question():
        assert model.begun == []
        assert model.ahead.results(late) == ["scores of b"]
    with model.ahead.question():
        after = model.add("c", behind=3)
    until(model, ends)
    assert model.begun == ["b", "c"]
    assert model.ahead.results(after) == ["scores of c"]


def test_what_is_made_behind_one_that_is_told_to_stop_waits_to_be_asked(model, ends):
    model.ahead.stop(5)
    six = model.add("six", behind=0)
    until(model, ends)
    assert model.begun == []
    assert model.ahead.results(six) == ["scores of six"]


class Stopped(Model):
    """Its first batch is told to stop."""

    def run(self, batch):
        super().run(batch)
        if len(self.begun) == 1:
            raise Terminated("told to stop")
        return [f"scores of {batch}"]


def begun_unasked(model, ends):
    """A batch that runs while its gate is closed, and a call by which it ends."""
    model.gate.clear()
    ticket = model.add("b", behind=0)
    waiting = threading.Thread(target=model.ahead.until, args=(ends[0],))
    waiting.start()
    limit = time.monotonic() + 10
    while not model.begun and time.monotonic() < limit:
        time.sleep(0.01)

    def end():
        model.gate.set()
        ends[1].send(b"x")
        waiting.join(10)
        ends[0].recv(1)

    return ticket, end


@pytest.mark.parametrize("named", ["before", None])
def test_what_began_unasked_and_is_stopped_for_what_came_before_waits_to_be_asked(ends, named):
    model = Stopped()
    ticket, end = begun_unasked(model, ends)
    model.ahead.stop(ticket - 1 if named else None)
    assert model.terminated == [ticket]
    end()
    assert model.ahead.results(ticket) == ["scores of b"]
    assert model.begun == ["b", "b"]
    assert not model.ahead._waiting


def test_what_began_unasked_and_was_asked_for_since_is_stopped_for_good(ends):
    model = Stopped()
    ticket, end = begun_unasked(model, ends)
    model.ahead.stop(None)
    model.ahead.stop(ticket)
    assert model.terminated == [ticket, ticket]
    end()
    with pytest.raises(Terminated):
        model.ahead.results(ticket)
    assert model.begun == ["b"]


@pytest.mark.parametrize("kind", [Model, Stopped])
def test_of_a_batch_that_is_dropped_nothing_stays(ends, kind):
    model = kind()
    ticket, end = begun_unasked(model, ends)
    waits, unmade = model.add("c", behind=0), next(model.tickets)
    model.ahead.add_unmade(unmade, ValueError("no such row"))
    model.ahead.stop(None)
    for each in (ticket, waits, unmade):
        model.ahead.drop(each)
    assert model.terminated == [ticket, ticket]
    end()
    for _ in range(2):
        with model.ahead.question():
            pass
    ran = model.add("d", behind=2)
    until(model, ends)
    assert model.begun == ["b", "d"]
    model.ahead.drop(ran)
    assert len(model.terminated) == 2
    assert not model.ahead._waiting | model.ahead._unmade | model.ahead._done
    assert not model.ahead._due


class Ending(Model):
    """What is terminated ends by itself just then. next: what comes behind it could begin. hit: whether that was so
    when it was terminated.
    """

    def __init__(self):
        super().__init__()
        self.next, self.hit = threading.Event(), []

    def terminate(self):
        self.gate.set()
        self.hit.append(self.next.wait(0.2))


@pytest.mark.parametrize(
    ("unasked", "word"),
    [
        (True, lambda ahead, ticket: ahead.stop(ticket - 1)),
        (True, lambda ahead, ticket: ahead.drop(ticket)),
        (False, lambda ahead, ticket: ahead.stop(ticket)),
    ],
    ids=["held", "dropped", "asked"],
)
def test_a_word_to_stop_hits_nothing_that_comes_next(ends, unasked, word):
    model = Ending()
    model.gate.clear()
    ticket = model.add("a", behind=0 if unasked else None)

    def run():
        if unasked:
            model.ahead.until(ends[0])
        else:
            model.ahead.results(ticket)
        model.next.set()

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run)
        limit = time.monotonic() + 10
        while not model.begun and time.monotonic() < limit:
            time.sleep(0.01)
        ends[1].send(b"x")
        word(model.ahead, ticket)
        running.result(10)
    assert model.hit == [False]
    assert model.next.is_set()


def test_a_lost_device_is_known_at_once(model, ends):
    model.add(DeviceLost("gone"), behind=0)
    with pytest.raises(DeviceLost):
        until(model, ends)


def test_the_batch_that_runs_is_known_by_its_ticket(model, ends):
    tickets = [model.add(name, behind=0) for name in "ab"]
    until(model, ends)
    assert model.running == tickets
    assert model.ahead.running not in tickets
