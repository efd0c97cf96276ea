"""Changes of the store that calls ask for which end before they are made."""

import asyncio
import contextlib
import fcntl
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from assay.v1 import model_service_pb2 as pb
from assayd.api import catalogue as of_catalogue
from assayd.api.catalogue import Catalogue
from assayd.engine.fleet import Device, Fleet
from assayd.engine.in_process import InProcessBackend
from assayd.engine.models import LoadedModels
from assayd.engine.options import SessionOptions
from assayd.errors import DeadlinePassed, ModelNotFound
from assayd.metrics import Metrics
from assayd.store import disk
from assayd.store.names import ModelRef
from assayd.store.store import Store
from assayd.store.versions import Versions
from tests.models import zoo
from tests.unit.explain.made import until


@pytest.fixture
def catalogue(tmp_path):
    store, metrics, backend = Store(tmp_path), Metrics(), InProcessBackend(SessionOptions(threads=1), 1)
    with store.draft() as draft:
        draft.write(zoo.linear())
        store.publish("default", "old", "1", draft, b"")
    fleet = Fleet([Device(backend, LoadedModels(backend, store, metrics, 10**9))], metrics)
    yield Catalogue(store, fleet, metrics, 10**6)
    fleet.close()


@contextlib.contextmanager
def locked(folder):
    """As by another server that changes the store."""
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture
def waits(monkeypatch):
    """Set once somebody waits for the lock."""
    found, wait_for = threading.Event(), disk._wait_for

    def seen(*arguments):
        found.set()
        wait_for(*arguments)

    monkeypatch.setattr(disk, "_wait_for", seen)
    return found


@pytest.fixture
async def go():
    """Set at the latest when the test is over, before its loop, which would wait for what waits for this."""
    event = threading.Event()
    yield event
    event.set()


async def parts():
    yield zoo.linear()


CALLS = {
    "delete": (lambda catalogue, deadline: catalogue.delete("default", ModelRef("old"), deadline), set()),
    "upload": (
        lambda catalogue, deadline: catalogue.upload("default", pb.UploadModelHeader(name="new"), parts(), deadline),
        {"new", "old"},
    ),
}


@pytest.mark.parametrize("cancelled", [False, True])
@pytest.mark.parametrize("call", CALLS)
async def test_a_change_that_waits_for_the_lock_is_not_made_for_a_call_that_was_cancelled(
    catalogue, tmp_path, waits, call, cancelled
):
    make, names = CALLS[call]
    with locked(tmp_path):
        task = asyncio.create_task(make(catalogue, None))
        await until(waits.is_set)
        if cancelled:
            task.cancel()
            await asyncio.sleep(0)
    await asyncio.wait({task})
    await asyncio.to_thread(catalogue._changing.shutdown)
    assert task.cancelled() == cancelled
    assert set(catalogue.store.names("default")) == ({"old"} if cancelled else names)
    assert not list(tmp_path.glob(".drafts/*"))


@pytest.mark.parametrize("call", CALLS)
async def test_a_change_that_waits_for_the_lock_waits_no_longer_than_its_deadline(catalogue, tmp_path, call):
    with locked(tmp_path), pytest.raises(DeadlinePassed):
        await CALLS[call][0](catalogue, time.monotonic() + 0.2)
    await asyncio.to_thread(catalogue._changing.shutdown)
    assert catalogue.store.names("default") == ["old"]


async def test_a_tensor_is_not_stored_after_the_deadline(catalogue):
    stored = catalogue.store.stored_bytes("default")
    with pytest.raises(DeadlinePassed):
        await catalogue.keep_tensor("default", np.ones(3), time.monotonic())
    assert catalogue.store.stored_bytes("default") == stored
    await catalogue.keep_tensor("default", np.ones(3), time.monotonic() + 60)
    assert catalogue.store.stored_bytes("default") > stored


async def test_a_delete_that_has_begun_comes_to_its_end_though_its_call_was_cancelled(catalogue, monkeypatch, go):
    begun, delete = threading.Event(), Versions.delete

    def slow(*arguments):
        begun.set()
        go.wait()
        return delete(*arguments)

    monkeypatch.setattr(Versions, "delete", slow)
    monkeypatch.setattr(of_catalogue, "_RESOLVED_S", 60)
    await catalogue.describe("default", "old")
    (loaded,) = [device.models.in_memory for device in catalogue._models.devices]
    assert len(loaded) == 1
    task = asyncio.create_task(catalogue.delete("default", ModelRef("old")))
    await until(begun.is_set)
    task.cancel()
    await asyncio.sleep(0)
    await catalogue.resolve("default", "old")  # it is still there, and remembered
    go.set()
    await asyncio.wait({task})
    await asyncio.to_thread(catalogue._changing.shutdown)
    assert task.cancelled()
    with pytest.raises(ModelNotFound):
        await catalogue.resolve("default", "old")
    await until(lambda: not loaded)


def hold(pool, threads, go):
    for _ in range(threads):
        pool.submit(go.wait)


@pytest.fixture
def uploading(catalogue, go):
    """An upload with a draft, whose second part waits for a thread; and what is set once it does."""
    asked = asyncio.Event()

    async def chunks():
        yield b"first"
        hold(catalogue._changing, of_catalogue._CHANGES_AT_ONCE, go)
        asked.set()
        yield b"second"

    return catalogue.upload("default", pb.UploadModelHeader(name="new"), chunks()), asked


async def test_a_cancelled_upload_waits_for_no_change_that_came_before_it(uploading, tmp_path):
    upload, asked = uploading
    task = asyncio.create_task(upload)
    await asked.wait()
    assert list(tmp_path.glob(".drafts/*"))
    task.cancel()
    await until(task.done)  # while every thread for changes is still held
    assert task.cancelled()
    assert not list(tmp_path.glob(".drafts/*"))


async def test_an_upload_that_is_cancelled_again_before_its_draft_is_gone_leaves_none(uploading, tmp_path, go):
    upload, asked = uploading
    readers = ThreadPoolExecutor(1)
    asyncio.get_running_loop().set_default_executor(readers)
    task = asyncio.create_task(upload)
    await asked.wait()
    hold(readers, 1, go)
    await until(readers._work_queue.empty)
    task.cancel()
    await until(readers._work_queue.qsize)
    task.cancel()
    await asyncio.wait({task})
    assert list(tmp_path.glob(".drafts/*"))
    go.set()
    await until(lambda: not list(tmp_path.glob(".drafts/*")))
