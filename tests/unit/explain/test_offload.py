"""What runs on the event loop keeps nobody waiting, and what runs beside it is on a thread."""

from __future__ import annotations

import asyncio
import threading

import pytest

from assayd.explain.offload import Offload, Takes


@pytest.fixture
def offload():
    made = Offload()
    yield made
    made.close()


async def test_each_kind_of_work_has_its_place(offload):
    here = threading.current_thread().name
    for takes in (Takes.MICROSECONDS, Takes.MILLISECONDS):
        assert await offload.plan(lambda: threading.current_thread().name, takes=takes) == here
        assert await offload.reduce(lambda: threading.current_thread().name, takes=takes) == here
    assert (await offload.plan(lambda: threading.current_thread().name)).startswith("plan")
    assert (await offload.reduce(lambda: threading.current_thread().name)).startswith("reduce")


async def test_what_takes_no_time_and_the_first_of_the_rest_waits_for_nothing(offload):
    done = []
    for takes in (Takes.MICROSECONDS, Takes.MILLISECONDS):
        with pytest.raises(StopIteration):  # it never gave the loop away
            offload.plan(done.append, takes, takes=takes).send(None)
    assert done == [Takes.MICROSECONDS, Takes.MILLISECONDS]


async def test_others_have_their_turn_between_two_pieces_of_a_millisecond(offload):
    turns, seen = 0, []

    async def others():
        nonlocal turns
        while len(seen) < 12:
            turns += 1
            await asyncio.sleep(0)

    async def piece(number):
        work = offload.plan if number % 2 else offload.reduce
        await work(lambda: seen.append((number, turns)), takes=Takes.MILLISECONDS)

    await asyncio.gather(others(), *map(piece, range(12)))
    assert [number for number, _ in seen] == list(range(12))
    assert len({at for _, at in seen}) == 12


async def test_a_decision_waits_for_one_of_many_instances_at_most_and_they_for_one_decision(offload):
    done = []

    def begin(name, decision):
        return asyncio.create_task(offload.plan(done.append, name, takes=Takes.MILLISECONDS, decision=decision))

    many = [begin(n, False) for n in range(4)]
    await asyncio.sleep(0)
    decisions = [begin(n, True) for n in "abcdef"]
    await asyncio.gather(*many, *decisions)
    assert done[0] == 0
    assert "".join(map(str, done[1:])) in ("a1b2c3def", "1a2b3cdef")


async def test_one_who_left_is_passed_over_and_an_error_stops_nobody(offload):
    done = []

    def fails():
        raise ArithmeticError

    first = asyncio.create_task(offload.plan(fails, takes=Takes.MILLISECONDS))
    left = asyncio.create_task(offload.plan(done.append, "left", takes=Takes.MILLISECONDS))
    stays = asyncio.create_task(offload.reduce(done.append, "stays", takes=Takes.MILLISECONDS))
    await asyncio.sleep(0)
    left.cancel()
    await stays
    with pytest.raises(ArithmeticError):
        await first
    assert left.cancelled()
    assert done == ["stays"]
    await offload.plan(done.append, "later", takes=Takes.MILLISECONDS)
    assert done == ["stays", "later"]
