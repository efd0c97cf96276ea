"""An upload's pace."""

import asyncio

import pytest

from assayd.api.pace import Pace
from assayd.errors import DeadlinePassed


async def chunks(*given):
    for chunk in given:
        yield chunk


async def all_of(pace, source):
    return [chunk async for chunk in pace.kept(source)]


async def test_chunks_come_through_as_they_are():
    assert await all_of(Pace(), chunks(b"a", b"", b"bc")) == [b"a", b"", b"bc"]
    assert await all_of(Pace(), chunks()) == []


async def silent():
    yield b"x" * 10
    await asyncio.Event().wait()


async def test_silence_ends_it():
    with pytest.raises(DeadlinePassed, match="an upload keeps 100 bytes a second, after 0"):
        await all_of(Pace(0.1, 100), silent())


async def drips():
    while True:
        yield b"x"
        await asyncio.sleep(0.01)


async def test_drips_end_it_however_steady_they_are():
    with pytest.raises(DeadlinePassed):
        await all_of(Pace(0.1, 1000), drips())


async def test_what_came_early_is_time_gained():
    async def late():
        yield b"x" * 1000
        await asyncio.sleep(1.0)
        yield b"y"

    assert len(await all_of(Pace(0.5, 10), late())) == 2


async def test_time_that_the_server_takes_does_not_count():
    seen = []
    async for chunk in Pace(1.0, 10_000).kept(chunks(*[b"x"] * 5)):
        await asyncio.sleep(0.4)
        seen.append(chunk)
    assert len(seen) == 5


async def test_the_field_is_named():
    with pytest.raises(DeadlinePassed) as got:
        await all_of(Pace(0.05, 1), silent_at_once())
    assert got.value.field == "chunk"


async def silent_at_once():
    await asyncio.Event().wait()
    yield b""
