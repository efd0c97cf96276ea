"""Whatever a worker that was taken over sends: the front loses that worker, and nothing else."""

import logging
import select
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import numpy as np
import pytest

from assayd.engine.backend import Batch, Chunk, Whole
from assayd.engine.options import SessionOptions
from assayd.engine.worker import spawn
from assayd.engine.worker.arrays import Malformed
from assayd.engine.worker.backend import WorkerBackend
from assayd.engine.worker.limits import OUT_OF_MEMORY
from assayd.engine.worker.room import MemoryKills
from assayd.engine.worker.vet import vet_results
from assayd.errors import WorkerLost
from assayd.types.rows import Pick, SampleRows
from assayd.types.subject import Subject
from tests.unit.engine.worker import fake

SPAWNED = subprocess.Popen
ROWS = np.zeros((2, 6), np.float32)


@pytest.fixture
def taken_over(monkeypatch):
    """A backend whose workers are fakes: `taken_over(case)`."""
    made = []

    def one(case):
        def popen(command, **options):
            arguments = command[command.index(spawn.__package__) + 1 :]
            return SPAWNED([sys.executable, fake.__file__, case, *arguments], **options)

        monkeypatch.setattr(spawn.subprocess, "Popen", popen)
        made.append(WorkerBackend(SessionOptions(threads=1), None))
        return made[-1]

    yield one
    for each in made:
        each.close()


def batch(readout):
    return Batch("m", True, (Chunk(Subject({"x": ROWS[0]}, {}), [SampleRows({"x": ROWS})], readout, 2),))


def explain(backend):
    backend.load("m", b"any")
    return backend.run(backend.prepare(batch((Pick("y", np.array([0])),))))


def asked(backend):
    """As `explain`, but the answer is read without waiting where that can be."""
    backend.load("m", b"any")
    question = backend.ask(backend.prepare(batch((Pick("y", np.array([0])),))))
    assert question is not None
    select.select([question], [], [], 10)
    return found[0] if (found := question.at_hand()) is not None else question.results()[0]


@pytest.mark.parametrize("how", [explain, asked])
def test_the_fake_is_believed_while_it_behaves(taken_over, how):
    np.testing.assert_array_equal(how(taken_over("honest"))[0], np.zeros((2, 1)))


NONSENSE = [case for case in fake.CASES if case not in fake.HANG]


@pytest.mark.parametrize(
    ("case", "how"),
    [(case, explain) for case in NONSENSE] + [(case, asked) for case in NONSENSE if fake.CASES[case][0] == 2],
)
def test_nonsense_costs_the_worker_alone(taken_over, case, how):
    backend = taken_over(case)
    with pytest.raises(WorkerLost) as got:
        how(backend)
    assert got.value.metadata["cause"].startswith("it sent nonsense")
    assert not any(w.alive for w in backend.workers())
    assert not backend.ping("m")


@pytest.mark.parametrize(
    ("case", "cause"),
    [
        ("hang up", "it hung up"),
        ("exit 3", "exit 3"),
        (f"exit {OUT_OF_MEMORY}", "memory"),
        ("abort", "killed by signal 6"),
        ("bad alloc", "memory"),
        ("killed", "killed by signal 9"),
    ],
)
def test_a_worker_that_leaves_is_lost(taken_over, case, cause):
    with pytest.raises(WorkerLost, match=cause):
        explain(taken_over(case))


def test_one_that_the_systems_killer_took_is_none_that_others_killed(taken_over):
    backend = taken_over("killed")
    backend._memory_kills = MemoryKills(count().__next__)
    with pytest.raises(WorkerLost) as got:
        explain(backend)
    assert got.value.metadata == {"cause": "memory"}


@pytest.mark.parametrize("case", fake.HANG)
def test_a_worker_that_says_nothing_is_waited_for_until_it_is_killed(taken_over, case):
    backend = taken_over(case)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(explain, backend)
        time.sleep(1)
        assert not waiting.done()
        backend.ping("m")
        backend._processes["m"]._pinged -= 100
        backend._processes["m"]._decided -= 100
        assert not backend.ping("m")
        backend.kill("m", "deadline")
        with pytest.raises(WorkerLost, match="deadline"):
            waiting.result(1)


def test_a_flood_of_log_lines_is_cut_and_its_words_stay_words(taken_over, caplog):
    with caplog.at_level(logging.WARNING):
        explain(taken_over("flood"))
    lines = [r for r in caplog.records if r.name == "assayd.engine.worker.life"]
    assert len(lines) == 101
    assert lines[0].message == "a worker says"
    assert "forged" in lines[0].line
    assert lines[-1].message == "a worker says too much; the rest is dropped"


@pytest.mark.parametrize(
    ("readout", "result"),
    [
        (Whole(), {}),
        (Whole(), {"y": np.zeros((2, 3)), "z": np.zeros((2, 3))}),
        (Whole(("y",)), {"z": np.zeros((2, 3))}),
        (Whole(), {"y": np.zeros((3, 3))}),
        (Whole(), {"y": np.array(0.0)}),
        (Whole(), np.zeros((2, 3))),
        ((Pick("y"),), np.zeros((3, 3))),
        ((Pick("y"), Pick("y", None, np.ones(3))), np.zeros(2)),
        ((Pick("y", None, np.ones(3)), Pick("y", np.arange(2))), np.zeros((2, 2))),
    ],
)
def test_results_that_do_not_fit_are_refused(readout, result):
    with pytest.raises(Malformed):
        vet_results(batch(readout), [result], fake.SIGNATURE)


@pytest.mark.parametrize(
    ("readout", "result"),
    [
        (Whole(), {"y": np.zeros((2, 3))}),
        ((Pick("y"),), np.zeros((2, 3))),
        ((Pick("y", None, np.ones(3)), Pick("y", np.arange(2))), np.zeros((2, 3))),
    ],
)
def test_results_that_fit_pass(readout, result):
    vet_results(batch(readout), [result], fake.SIGNATURE)
