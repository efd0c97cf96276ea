import os
import resource

import pytest

from assayd.errors import StoreFull
from assayd.store.drafts import Draft, clear


def test_a_draft_that_is_dropped_leaves_nothing(tmp_path):
    with Draft(tmp_path) as draft:
        draft.write(b"half")
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []


def test_one_that_was_never_written_makes_no_file(tmp_path):
    with Draft(tmp_path / "drafts"):
        assert list(tmp_path.iterdir()) == []


def test_a_draft_on_a_full_disk_leaves_nothing_and_says_so(tmp_path):
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(StoreFull), Draft(tmp_path) as draft:
            draft.write(bytes(10**6))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert list(tmp_path.iterdir()) == []


def test_bytes_that_the_disk_takes_in_parts_are_all_there(tmp_path, monkeypatch):
    write, data = os.write, bytes(range(256)) * 4
    monkeypatch.setattr(os, "write", lambda handle, rest: write(handle, rest[:100]))
    with Draft(tmp_path) as draft:
        draft.write(data)
        assert draft.read() == data


def test_clearing_removes_what_nobody_writes(tmp_path):
    with Draft(tmp_path) as under_way:
        under_way.write(b"x")
        (tmp_path / "left").write_bytes(b"half")
        assert clear(tmp_path) == 1
        assert under_way.read() == b"x"
    assert clear(tmp_path / "none") == 0


def test_a_draft_that_is_cleared_before_it_has_its_lock_is_made_again(tmp_path, monkeypatch):
    made, cleared = os.open, []

    def late(path, *rest):
        handle = made(path, *rest)
        if not cleared:
            cleared.append(True)
            assert clear(tmp_path) == 1
        return handle

    monkeypatch.setattr(os, "open", late)
    with Draft(tmp_path) as draft:
        draft.write(b"x")
        assert draft.read() == b"x"
    assert cleared
