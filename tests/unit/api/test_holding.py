"""Room for messages: who gets it, who waits, who is sent away, and that none is lost."""

import asyncio

import pytest

from assayd.api.holding import Holding, Room
from assayd.errors import DeadlinePassed, TooManyCalls
from tests.unit.explain.made import until

MESSAGE, MOST = 10, 30


def room(**more):
    return Room(MOST, MESSAGE, **{"patience_s": 0.05} | more)


class Sender:
    """Sends one message when it is told to, to a call of a party."""

    def __init__(self, room, party="a", limit_s=None):
        self.holding = Holding(room, party)
        self._message = asyncio.get_running_loop().create_future()
        self.reading = asyncio.create_task(self.holding.read(self._next, limit_s))

    async def _next(self):
        return await self._message

    async def send(self, size):
        self._message.set_result(bytes(size))
        return await self.reading


async def stuck(room, *parties):
    """Calls that wait for a message, begun one after the other."""
    senders = []
    for party in parties:
        senders.append(Sender(room, party))
        await asyncio.sleep(0.002)
    return senders


def sent_away(senders):
    return [s.reading.done() and isinstance(s.reading.exception(), TooManyCalls) for s in senders]


async def test_a_message_counts_as_the_largest_until_its_size_is_known():
    r = room()
    sender = Sender(r)
    await asyncio.sleep(0)
    assert r.bytes == MESSAGE
    assert await sender.send(3) == b"000".replace(b"0", b"\0")
    assert r.bytes == 3
    sender.holding.close()
    assert r.bytes == 0


async def test_the_next_message_frees_the_one_before_but_not_one_that_is_kept():
    r = room()
    holding = Holding(r)

    async def message():
        return bytes(4)

    await holding.read(message, None)
    await holding.read(message, None)
    assert r.bytes == 4
    kept = holding.keep()
    await holding.read(message, None)
    assert (kept, r.bytes) == (4, 8)
    holding.give(kept)
    assert r.bytes == 4
    holding.close()
    assert (r.bytes, holding.take(100)) == (0, 0)


async def test_who_comes_when_it_is_full_waits_and_is_let_in_by_who_leaves():
    r = room(patience_s=60)
    first, *_ = await stuck(r, "a", "b", "c")
    late, later = await stuck(r, "d", "e")
    assert r.bytes == MOST
    assert await first.send(0) == b""
    await until(lambda: late.holding.room.bytes == MOST)
    assert await late.send(1) == b"\0"
    assert not later.reading.done()
    first.holding.close()
    late.holding.close()
    assert await later.send(10) == bytes(10)


async def test_what_is_held_and_not_read_sends_nobody_away_and_is_refused():
    r = room()
    for _ in range(3):
        await Sender(r).send(MESSAGE)
    with pytest.raises(TooManyCalls, match="try again") as got:
        await asyncio.wait_for(Sender(r).reading, 10)
    assert got.value.retry_after_s
    assert got.value.metadata == {"what": "message bytes", "limit": str(MOST)}
    assert r.bytes == MOST


async def test_the_oldest_reader_of_the_party_that_has_most_is_sent_away():
    r = room()
    others = await stuck(r, "good", "bad", "bad")
    new = Sender(r, "new")
    await asyncio.wait([others[1].reading], timeout=5)
    assert sent_away(others) == [False, True, False]
    assert await new.send(2) == bytes(2)


async def test_nobody_is_sent_away_before_its_time():
    r = room(patience_s=60)
    others = await stuck(r, "bad", "bad", "bad")
    Sender(r, "new")
    await asyncio.sleep(0.1)
    assert sent_away(others) == [False] * 3


async def test_a_party_with_its_share_makes_room_by_its_own_calls_alone():
    r = room(share=0.34)
    own, other = await stuck(r, "a", "b")
    second = Sender(r, "a")
    await asyncio.wait([own.reading], timeout=5)
    assert sent_away([own, other]) == [True, False]
    await second.send(MESSAGE)
    with pytest.raises(TooManyCalls, match="of tenant a hold") as got:
        await asyncio.wait_for(Sender(r, "a").reading, 10)
    assert got.value.metadata == {"what": "message bytes", "limit": "10", "tenant": "a"}
    await Sender(r, "c").send(MESSAGE)


async def test_answers_count_too():
    r = room()
    holding = Holding(r)
    holding.take(25)
    with pytest.raises(TooManyCalls):
        holding.take(6)
    assert r.bytes == 25
    holding.close()
    assert r.bytes == 0


async def test_a_message_that_does_not_come_in_time():
    r = room()
    with pytest.raises(DeadlinePassed, match=r"within 0\.01 s"):
        await asyncio.wait_for(Sender(r, limit_s=0.01).reading, 10)
    assert r.bytes == 0


@pytest.mark.parametrize("when", ["reading", "waiting", "let in"])
async def test_who_leaves_takes_no_room_along(when):
    r = room(patience_s=60)
    senders = await stuck(r, "a", "b", "c")
    if when != "reading":
        senders += await stuck(r, "d")
    if when == "let in":
        await senders.pop(0).send(0)
    senders[-1].reading.cancel()
    await asyncio.wait([senders[-1].reading])
    for sender in senders[:-1]:
        await sender.send(1)
        sender.holding.close()
    assert r.bytes == 0


async def test_a_call_that_is_over_before_its_reader_holds_nothing():
    r = room()
    sender = Sender(r)
    await asyncio.sleep(0)
    sender.holding.close()
    await sender.send(5)
    assert r.bytes == 0


def test_there_is_room_for_one_message():
    with pytest.raises(ValueError, match=r"max-bytes-in-flight 5 .*one message of 10"):
        Room(5, 10)
