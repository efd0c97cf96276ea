"""How many workers, and how large, the system lets a server have."""

import os
import resource
import subprocess
import sys

import pytest

from assayd.engine.worker.room import MemoryKills, oom_kills, worker_memory

GIB = 2**30
PHYSICAL = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.fixture
def groups(tmp_path):
    """A tree a/b in which the process is in b."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    own = tmp_path / "own"
    own.write_text("0::/a/b\n")
    return tmp_path, own


@pytest.mark.parametrize(
    ("limits", "most"),
    [
        ({}, 0.8 * PHYSICAL),
        ({"a": "max", "a/b": "max"}, 0.8 * PHYSICAL),
        ({"a/b": str(4 * GIB)}, 3.2 * GIB),
        ({"a": str(4 * GIB), "a/b": str(8 * GIB)}, 3.2 * GIB),
        ({"": str(3 * GIB)}, 2.4 * GIB),
        ({"a/b": str(GIB)}, 2 * GIB),
    ],
)
def test_memory_is_that_of_the_narrowest_group(groups, limits, most):
    root, own = groups
    for folder, limit in limits.items():
        (root / folder / "memory.max").write_text(limit)
    assert worker_memory(root, own) == max(2 * GIB, int(most))


def test_without_groups_memory_is_the_machines(tmp_path):
    assert worker_memory(tmp_path, tmp_path / "none") == max(2 * GIB, int(0.8 * PHYSICAL))


def test_processes_ended_for_memory_are_those_of_the_own_group(groups):
    root, own = groups
    (root / "a" / "memory.events").write_text("oom 7\noom_kill 7\n")
    (root / "a" / "b" / "memory.events").write_text("low 1\noom 3\noom_kill 2\n")
    assert oom_kills(root, own) == 2


def test_without_groups_they_are_the_machines(tmp_path):
    assert oom_kills(tmp_path, tmp_path / "none") >= 0


def test_the_killer_was_at_work_lately_or_long_ago():
    now, killed = [0.0], [7]
    kills = MemoryKills(lambda: killed[0], lambda: now[0])
    assert not kills.lately()
    killed[0] = 8
    kills.look()
    assert kills.lately()
    for _ in range(8):
        now[0] += 0.5
        kills.look()
    assert not kills.lately()


def test_the_counter_is_read_twice_a_second_at_most():
    now, reads = [0.0], []
    kills = MemoryKills(lambda: reads.append(now[0]) or 0, lambda: now[0])
    for _ in range(16):
        now[0] += 0.125
        kills.look()
    assert reads == [0, 0.5, 1, 1.5, 2]


@pytest.mark.parametrize(("hard", "most"), [(200, 4), (1024, 56), (100, 1)])
def test_the_number_of_workers_follows_from_the_descriptors(hard, most):
    code = (
        "import resource\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, (64, {hard}))\n"
        "from assayd.engine.worker.room import most_workers, take_descriptors\n"
        "print(most_workers(take_descriptors()), resource.getrlimit(resource.RLIMIT_NOFILE))\n"
    )
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] >= hard
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out == f"{most} ({hard}, {hard})\n"
