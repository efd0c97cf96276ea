"""Batches that run before anybody asks for their scores."""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from assayd.engine.backend import NotRun
from assayd.engine.worker.ahead import Ahead
from assayd.errors import DeviceLost, ModelFailed


class Model:
    """Runs batches that are names, or errors; remembers the order. gate: while it is closed nothing ends."""

    def __init__(self):
        self.begun = []
        self.running = []
        self.gate = threading.Event()
        self.gate.set()
        self.ahead = Ahead(self.run)
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


def test_a_lost_device_is_known_at_once(model, ends):
    model.add(DeviceLost("gone"), behind=0)
    with pytest.raises(DeviceLost):
        until(model, ends)


def test_the_batch_that_runs_is_known_by_its_ticket(model, ends):
    tickets = [model.add(name, behind=0) for name in "ab"]
    until(model, ends)
    assert model.running == tickets
    assert model.ahead.running not in tickets
