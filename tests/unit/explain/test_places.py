"""As many instances at once as the device needs, and no more."""

import asyncio

from assayd.explain.places import Places


async def under_way(places, wanted=50):
    """How many of so many have come in."""
    inside, leave = 0, asyncio.Event()

    async def one():
        nonlocal inside
        async with places:
            inside += 1
            await leave.wait()

    tasks = [asyncio.create_task(one()) for _ in range(wanted)]
    for _ in range(5):
        await asyncio.sleep(0)
    found = inside
    leave.set()
    await asyncio.gather(*tasks)
    return found


async def test_a_few_begin_before_anybody_knows_their_rows():
    assert await under_way(Places(32)) == 4
    assert await under_way(Places(2)) == 2


async def test_small_ones_come_in_until_batches_are_full_and_large_ones_don_t():
    for rows, max_rows, wanted in ((14, 1024, 32), (1002, 1024, 5), (731, 8, 4), (3, 10, 14), (0, 8, 32)):
        places = Places(32)
        places.suit(rows, max_rows)
        assert await under_way(places) == wanted


async def test_those_that_wait_come_in_when_there_is_room():
    places, inside = Places(32), []

    async def one(n):
        async with places:
            inside.append(n)
            if n == 0:
                places.suit(1, 2)
            await asyncio.sleep(0.01)

    await asyncio.gather(*(one(n) for n in range(20)))
    assert inside == list(range(20))
    assert await under_way(places) == 8
