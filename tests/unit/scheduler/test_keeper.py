"""Workers that die or fall silent while nobody asks them anything."""

import resource
from dataclasses import replace

import pytest

from assayd.engine.backend import Worker
from assayd.engine.quarantine import SILENT
from assayd.metrics import Metrics
from assayd.scheduler.keeper import Keeper


class Backend:
    device = "cpu"

    def __init__(self, *workers, silent=()):
        self.found, self.silent, self.kills, self.pinged = list(workers), silent, [], []

    def workers(self):
        return self.found

    def ping(self, digest):
        self.pinged.append(digest)
        return digest not in self.silent

    def kill(self, digest, why):
        self.kills.append((digest, why))
        self.found = [
            replace(w, alive=False, cause=w.cause or why, rss_bytes=0) if w.digest == digest else w for w in self.found
        ]


class Scheduler:
    def __init__(self, *reviving):
        self.reviving, self.revived = set(reviving), []

    def is_reviving(self, device, digest):
        return digest in self.reviving

    def revive(self, device, digest, cause):
        self.revived.append((digest, cause))


def worker(digest, alive=True, cause=""):
    return Worker(digest, 1, alive, 1000, cause)


@pytest.fixture
def keeper():
    made = []

    def one(backend, scheduler, *loaded):
        metrics = Metrics()
        made.append(Keeper(backend, loaded, scheduler, metrics))
        return made[-1], metrics

    yield one
    for each in made:
        each.close()


async def test_the_living_are_left_alone(keeper):
    backend, scheduler = Backend(worker("a"), worker("b")), Scheduler()
    kept, metrics = keeper(backend, scheduler, "a", "b")
    await kept.look()
    assert (scheduler.revived, backend.kills, kept.serving) == ([], [], True)
    assert metrics.registry.get_sample_value("assayd_workers_alive") == 2
    assert metrics.registry.get_sample_value("assayd_worker_memory_bytes") == 2000


@pytest.mark.parametrize(
    ("cause", "word"),
    [("exit 1", "gone"), ("killed by signal 9", "killed"), ("killed by signal 11", "crashed"), ("memory", "memory")],
)
async def test_the_dead_are_revived_for_what_they_died_of_and_the_silent_ended_first(keeper, cause, word):
    backend, scheduler = Backend(worker("a", False, cause), worker("b"), worker("c"), silent=("b",)), Scheduler()
    kept, metrics = keeper(backend, scheduler, "a", "b", "c")
    await kept.look()
    assert sorted(scheduler.revived) == [("a", word), ("b", "silent")]
    assert backend.kills == [("b", SILENT)]
    assert "a" not in backend.pinged
    assert kept.serving
    assert metrics.registry.get_sample_value("assayd_workers_alive") == 1


async def test_loads_and_revivals_that_fall_silent_are_ended_and_the_rest_is_theirs_who_wait(keeper):
    backend = Backend(worker("loading"), worker("reviving"), worker("c"), silent=("loading", "reviving"))
    scheduler = Scheduler("reviving")
    kept, _ = keeper(backend, scheduler, "reviving", "c")
    await kept.look()
    assert scheduler.revived == []
    assert sorted(backend.kills) == [("loading", SILENT), ("reviving", SILENT)]


async def test_loads_and_revivals_that_answer_are_not_disturbed(keeper):
    backend = Backend(worker("loading"), worker("reviving", alive=False), worker("c"))
    kept, _ = keeper(backend, scheduler := Scheduler("reviving"), "reviving", "c")
    await kept.look()
    assert (scheduler.revived, backend.kills) == ([], [])


async def test_a_worker_that_is_about_to_leave_does_not_stand_for_its_successor(keeper):
    backend = Backend(worker("a", alive=False, cause="killed by signal 9"), worker("a"))
    kept, _ = keeper(backend, scheduler := Scheduler(), "a")
    await kept.look()
    assert scheduler.revived == [("a", "killed")]
    assert not kept.serving


@pytest.mark.parametrize(
    ("workers", "serving"),
    [((), True), ((worker("a", alive=False),), False), ((worker("a", alive=False), worker("c")), True)],
)
async def test_it_serves_while_any_model_can_run(keeper, workers, serving):
    kept, _ = keeper(Backend(*workers), Scheduler(), "a", "c")
    await kept.look()
    assert kept.serving == serving


async def test_one_that_crashes_during_its_ping_is_dead_and_not_silent(keeper):
    backend, scheduler = Backend(worker("a"), silent=("a",)), Scheduler()
    answer = backend.ping

    def ping(digest):
        backend.found = [worker("a", alive=False, cause="killed by signal 11")]
        return answer(digest)

    backend.ping = ping
    kept, _ = keeper(backend, scheduler, "a")
    await kept.look()
    assert scheduler.revived == [("a", "crashed")]


async def test_it_does_not_serve_while_it_can_open_nothing(keeper):
    kept, _ = keeper(Backend(worker("a")), Scheduler(), "a")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        await kept.look()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert not kept.serving
    await kept.look()
    assert kept.serving
