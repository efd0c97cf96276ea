"""Workers that die or fall silent while nobody asks them anything."""

from types import SimpleNamespace

import pytest

from assayd.engine.backend import Worker
from assayd.metrics import Metrics
from assayd.scheduler.keeper import Keeper


class Backend:
    def __init__(self, *workers, silent=()):
        self.found, self.silent, self.kills, self.pinged = list(workers), silent, [], []

    def workers(self):
        return self.found

    def ping(self, digest, timeout_s):
        self.pinged.append(digest)
        return digest not in self.silent

    def kill(self, digest, why):
        self.kills.append((digest, why))


class Scheduler:
    def __init__(self, *reviving):
        self.reviving, self.revived = set(reviving), []

    def revive(self, digest, cause):
        self.revived.append((digest, cause))


def worker(digest, alive=True):
    return Worker(digest, 1, alive, 1000)


def keeper(backend, scheduler, *loaded):
    metrics = Metrics()
    return Keeper(backend, SimpleNamespace(digests=loaded), scheduler, metrics), metrics


async def test_the_living_are_left_alone():
    backend, scheduler = Backend(worker("a"), worker("b")), Scheduler()
    kept, metrics = keeper(backend, scheduler, "a", "b")
    await kept.look()
    assert (scheduler.revived, backend.kills, kept.serving) == ([], [], True)
    assert metrics.registry.get_sample_value("assayd_workers_alive") == 2
    assert metrics.registry.get_sample_value("assayd_worker_memory_bytes") == 2000


async def test_the_dead_are_revived_and_the_silent_ended_first():
    backend, scheduler = Backend(worker("a", alive=False), worker("b"), worker("c"), silent=("b",)), Scheduler()
    kept, metrics = keeper(backend, scheduler, "a", "b", "c")
    await kept.look()
    assert sorted(scheduler.revived) == [("a", "gone"), ("b", "silent")]
    assert backend.kills == [("b", "it didn't answer")]
    assert "a" not in backend.pinged
    assert kept.serving
    assert metrics.registry.get_sample_value("assayd_workers_alive") == 2


async def test_loads_and_revivals_under_way_are_not_disturbed():
    backend = Backend(worker("loading"), worker("reviving", alive=False), worker("c"), silent=("loading", "reviving"))
    scheduler = Scheduler("reviving")
    kept, _ = keeper(backend, scheduler, "reviving", "c")
    await kept.look()
    assert (scheduler.revived, backend.kills) == ([], [])
    assert backend.pinged == ["c"]


@pytest.mark.parametrize(
    ("workers", "serving"),
    [((), True), ((worker("a", alive=False),), False), ((worker("a", alive=False), worker("c")), True)],
)
async def test_it_serves_while_any_model_can_run(workers, serving):
    kept, _ = keeper(Backend(*workers), Scheduler(), "a", "c")
    await kept.look()
    assert kept.serving == serving


async def test_one_that_crashes_during_its_ping_is_dead_and_not_silent():
    backend, scheduler = Backend(worker("a"), silent=("a",)), Scheduler()
    answer = backend.ping

    def ping(digest, timeout_s):
        backend.found = [worker("a", alive=False)]
        return answer(digest, timeout_s)

    backend.ping = ping
    kept, _ = keeper(backend, scheduler, "a")
    await kept.look()
    assert (backend.kills, scheduler.revived) == ([], [])
    await kept.look()
    assert scheduler.revived == [("a", "gone")]
