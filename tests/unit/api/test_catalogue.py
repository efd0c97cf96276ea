"""Changes of the store that calls ask for which end before they are made."""

import asyncio
import contextlib
import fcntl
import threading
import time

import numpy as np
import pytest

from assay.v1 import model_service_pb2 as pb
from assayd.api.catalogue import Catalogue
from assayd.engine.fleet import Device, Fleet
from assayd.engine.in_process import InProcessBackend
from assayd.engine.models import LoadedModels
from assayd.engine.options import SessionOptions
from assayd.errors import DeadlinePassed
from assayd.metrics import Metrics
from assayd.store import disk
from assayd.store.names import ModelRef
from assayd.store.store import Store
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
