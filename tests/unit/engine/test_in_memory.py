"""Which models stay in memory, and which make room."""

import asyncio

import numpy as np
import pytest

from assayd.errors import ModelsFull, WorkerNotStarted
from assayd.types.subject import Subject
from tests.unit.engine.fake_backend import used, value


async def test_the_least_recently_used_goes_when_room_is_needed(models, backend):
    for digest in ("a:1234", "b:1234", "a:1234", "c:1234"):
        await used(models, digest)
    assert backend.unloads == ["b:1234"]
    assert backend.loads == ["a:1234", "b:1234", "c:1234"]


async def test_what_is_pinned_stays(models, backend):
    await used(models, "m:abcdef")
    models.pin("m:abcdef")
    models.pin("n:not loaded")
    await used(models, "n:abcd")
    await used(models, "o:abcd")
    assert list(models.in_memory) == ["m:abcdef", "o:abcd"]


async def test_what_is_in_use_stays_however_little_room_there_is(models, backend):
    async with models.use("t", "a:12345678"), models.use("t", "b:12345678"):
        async with models.use("t", "b:12345678"):
            await used(models, "c:12345678")
        assert backend.unloads == ["c:12345678"]
    assert backend.unloads == ["c:12345678", "b:12345678"]


async def test_a_model_larger_than_all_room_lives_while_it_is_used(models, backend):
    async with models.use("t", "a:" + "x" * 99) as model:
        assert model.loaded.size_bytes == 99
        assert backend.unloads == []
    assert len(backend.unloads) == 1


async def test_memory_that_a_process_holds_counts_where_it_is_more_than_its_file(models, backend):
    backend.memory = 6
    await used(models, "a:1")
    await used(models, "b:1")
    assert list(models.in_memory) == ["b:1"]
    backend.memory = 0
    await used(models, "c:12345")
    assert list(models.in_memory) == ["c:12345"]


async def test_the_least_recently_used_goes_when_there_are_too_many(few, backend):
    for digest in ("a:1", "b:1", "a:1", "c:1"):
        await used(few, digest)
    assert list(few.in_memory) == ["a:1", "c:1"]


async def test_one_more_than_can_be_is_refused_while_all_are_in_use(few, backend):
    await used(few, "p:1")
    few.pin("p:1")
    async with few.use("t", "a:1"):
        with pytest.raises(ModelsFull, match="2 models") as got:
            await used(few, "b:1")
        assert got.value.retry_after_s > 0
        assert got.value.metadata == {"limit": "2"}
    await used(few, "b:1")
    assert backend.loads == ["p:1", "a:1", "b:1"]
    assert list(few.in_memory) == ["p:1", "b:1"]


async def test_many_who_want_more_models_than_can_be_all_get_theirs_in_turn(few, backend):
    await asyncio.gather(*(used(few, f"{n}:1") for n in range(2)))
    got = await asyncio.gather(*(used(few, f"{n}:1") for n in range(10)), return_exceptions=True)
    assert all(isinstance(g, ModelsFull) or g.loaded for g in got)
    assert len(few.in_memory) == 2
    assert set(backend.loads) - set(backend.unloads) == set(few.in_memory)


@pytest.mark.parametrize(("full", "others", "starts"), [(1, True, True), (2, True, False), (1, False, False)])
async def test_where_the_system_has_no_room_for_a_process_another_model_makes_some_once(
    few, backend, full, others, starts
):
    if others:
        await used(few, "a:1")
    backend.full = full
    if starts:
        await used(few, "b:1")
        assert list(few.in_memory) == ["b:1"]
    else:
        with pytest.raises(WorkerNotStarted):
            await used(few, "b:1")
        assert list(few.in_memory) == []
    assert not few._quarantine._strikes.get("b:1")


async def test_a_dropped_model_leaves_at_once_or_with_its_last_user(few, backend):
    async with few.use("t", "a:1"):
        few.drop("a:1")
        few.drop("unknown")
        assert backend.unloads == []
    assert backend.unloads == ["a:1"]
    await used(few, "b:1")
    few.drop("b:1")
    assert (backend.unloads, list(few.in_memory)) == (["a:1", "b:1"], [])


async def test_one_that_comes_back_while_it_is_dropped_stays(few, backend):
    async with few.use("t", "a:1"):
        few.drop("a:1")
        await few.load("t", "a:1", b"1")
    assert list(few.in_memory) == ["a:1"]


async def test_metrics_show_what_is_loaded_and_how_it_runs(models, metrics):
    async with models.use("t", "a:1234"), models.use("t", "b:open") as second:
        assert value(metrics, "assayd_models_loaded", provider="CPU", batching="batched") == 1
        assert value(metrics, "assayd_models_loaded", provider="CPU", batching="row_by_row") == 1
        await models.prove(second, Subject({"x": np.float32(0)}, {}))
        assert value(metrics, "assayd_models_loaded", provider="CPU", batching="batched") == 2
        assert value(metrics, "assayd_models_loaded_bytes") == 8
    assert value(metrics, "assayd_model_loads_total", outcome="loaded") == 2
    assert value(metrics, "assayd_model_load_seconds_sum") == 1.0
    assert value(metrics, "assayd_provider", provider="CPU") == 1
    assert models.in_memory.providers == ["CPU"]
