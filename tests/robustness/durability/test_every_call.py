"""At every call by which a change reaches the disk: a kill, a power cut, a full disk. Absent or whole, never half."""

import contextlib
import errno
import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from assayd.errors import StoreFull
from assayd.store.store import Store
from tests.robustness.durability.changes import CHANGES, LAX, seen, seen_or_damage
from tests.robustness.durability.disk_calls import DiskCalls, tree
from tests.robustness.durability.platter import Platter, lay_out

each_change = pytest.mark.parametrize("change", CHANGES)
_ALWAYS = {".lock", ".drafts", "format.json"}


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """A store before each change."""
    folder = tmp_path_factory.mktemp("bases")
    for name, (prepare, _) in CHANGES.items():
        (folder / name).mkdir()
        with DiskCalls(folder):
            prepare(folder / name)
    return folder


def states(base, act, folder):
    """What a reader finds before and after, and the files there are after a start-up, before and after."""
    found = []
    for which, changes in (("before", False), ("after", True)):
        root = shutil.copytree(base, folder / which)
        with DiskCalls(root):
            if changes:
                act(Store(root))
            found.append(seen_or_damage(root))
            Store(root).clean()
        found.append(files(root))
    return found[0], found[2], found[1], found[3]


def files(root):
    return {path for path, data in tree(root).items() if data is not None} - _ALWAYS


def drafts(root):
    return {path for path in files(root) if path.startswith(".drafts/")}


def check(root, change, before, after, clean):
    """Absent or whole, found so and after the start-up's cleaning; nothing is left over, and it can be done again."""
    with DiskCalls(root):
        first = seen_or_damage(root)
        assert first in (before, after)
        store = Store(root)
        store.clean()
        assert seen_or_damage(root) == first
        assert files(root) in clean
        assert not drafts(root)
        change(store)
        assert seen(root) == after
    return first


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed")
    run = [sys.executable, "-m", "tests.robustness.durability.killed", str(folder)]
    subprocess.run(run, check=True, env=os.environ | {"OPENBLAS_NUM_THREADS": "1"}, cwd=Path(__file__).parents[3])
    return folder


@each_change
def test_a_process_killed_at_any_call_leaves_it_absent_or_whole(change, killed, bases, tmp_path):
    act = CHANGES[change][1]
    before, after, *clean = states(bases / change, act, tmp_path)
    roots = sorted((killed / change).iterdir(), key=lambda root: int(root.name))
    found = [check(root, act, before, after, clean) for root in roots]
    assert found[-1] == after
    root = shutil.copytree(bases / change, tmp_path / "counted")
    with DiskCalls(root) as calls:
        act(Store(root))
    assert len(found) == calls.count + 1  # no call was left out


@each_change
def test_a_power_cut_at_any_call_leaves_it_absent_or_whole(change, bases, tmp_path):
    act = CHANGES[change][1]
    before, after, *clean = states(bases / change, act, tmp_path)
    root = shutil.copytree(bases / change, tmp_path / "cut")
    platter, survivors = Platter(root), []

    def after_each(*what):
        platter.happened(*what)
        survivors.append(platter.survivors())

    with DiskCalls(root, after=after_each) as calls:
        act(Store(root))
    assert not calls.unseen
    found = {}
    for survivor in itertools.chain(*survivors):
        key = tuple(survivor.items())
        if key not in found:
            root = lay_out(survivor, tmp_path / str(len(found)))
            found[key] = check(root, act, before, after, clean)
    if change not in LAX:
        assert {str(found[tuple(s.items())]) for s in survivors[-1]} == {str(after)}


class Killed(BaseException):
    pass


@pytest.mark.parametrize("change", sorted(set(CHANGES) - {*LAX, "cleaning"}))
def test_what_another_left_unsynced_is_synced_before_it_is_acknowledged(change, bases, tmp_path):
    """The first comes to any call, the second does the same, and then the power is cut."""
    act = CHANGES[change][1]
    _, after, *_ = states(bases / change, act, tmp_path)
    whole = set()
    for call in itertools.count():
        root = shutil.copytree(bases / change, tmp_path / str(call))
        platter = Platter(root)

        def kill(number, *_, call=call):
            if number >= call:
                raise Killed

        with DiskCalls(root, kill, platter.happened) as calls, contextlib.suppress(Killed):
            act(Store(root))
        with DiskCalls(root, after=platter.happened):
            act(Store(root))
        for survivor in platter.survivors():
            key = tuple(survivor.items())
            if key not in whole:
                with DiskCalls(tmp_path):
                    assert seen(lay_out(survivor, tmp_path / f"cut-{len(whole)}")) == after
                whole.add(key)
        if calls.count <= call:
            break


@each_change
@pytest.mark.parametrize("lasts", [False, True])
def test_a_full_disk_at_any_call_loses_nothing_and_the_next_try_works(change, lasts, bases, tmp_path):
    act = CHANGES[change][1]
    before, after, *_ = states(bases / change, act, tmp_path)
    refused = 0
    for call in itertools.count():
        root = shutil.copytree(bases / change, tmp_path / str(call))
        had = files(root)

        def full(number, name, _, call=call):
            if (number >= call if lasts else number == call) and name != "unlink":
                raise OSError(errno.ENOSPC, "No space left on device")

        with DiskCalls(root, full) as calls:
            try:
                act(Store(root))
            except StoreFull:
                refused += 1
        with DiskCalls(root):
            first = seen_or_damage(root)
            assert first in (before, after)
            assert first == after or files(root) == had
            assert not drafts(root) or change == "cleaning"
            act(Store(root))
            assert seen(root) == after
        if calls.count <= call:
            break
    assert refused or change == "cleaning"


def careless(root, *, sync_file, sync_folder):
    """What the store does for a blob, with a step left out."""
    handle = os.open(root / "draft", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    os.write(handle, b"bytes")
    if sync_file:
        os.fsync(handle)
    os.close(handle)
    os.replace(root / "draft", root / "blob")  # noqa: PTH105
    if sync_folder:
        handle = os.open(root, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)


@pytest.mark.parametrize(("sync_file", "sync_folder"), [(True, True), (False, True), (True, False)])
def test_the_platter_loses_what_was_not_synced(sync_file, sync_folder, tmp_path):
    platter = Platter(tmp_path)
    with DiskCalls(tmp_path, after=platter.happened):
        careless(tmp_path, sync_file=sync_file, sync_folder=sync_folder)
    found = [survivor.get("blob") for survivor in platter.survivors()]
    assert (b"" in found, None in found) == (not sync_file, not sync_folder)
    assert b"bytes" in found


def test_changes_that_go_another_way_than_by_os_are_seen(tmp_path):
    with DiskCalls(tmp_path) as calls:
        (tmp_path / "a").mkdir()
        assert not calls.unseen
        (tmp_path / "b").write_bytes(b"x")
        assert [event for event, _ in calls.unseen] == ["open"]
