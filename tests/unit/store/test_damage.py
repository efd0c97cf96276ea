"""Bytes that a disk gives back otherwise than they were stored. None of them passes for what was stored."""

import contextlib
import errno
import json
import shutil

import numpy as np
import pytest

from assayd.errors import DataLoss, ModelNotFound, NoDescriptors
from assayd.store.digests import digest_of
from assayd.store.names import ModelRef
from assayd.store.store import Store
from assayd.types.model import Tuning
from tests.unit.store.test_store import files, keep

DATA, SPEC = bytes(range(256)) * 2, b"spec" * 20


@pytest.fixture
def store(tmp_path):
    """One model with two versions, and one that stays as it is."""
    made = Store(tmp_path)
    keep(made, DATA, name="bad", spec=SPEC)
    keep(made, DATA[::-1], name="bad", version="v2", spec=SPEC[::-1])
    keep(made, b"good", name="good")
    return made


def flips(data):
    """Each byte with a bit turned over, and with other values that files get."""
    for at, byte in enumerate(data):
        for other in {byte ^ 1 << at % 8, byte ^ 1, 0, 0x30}:
            if other != byte:
                yield data[:at] + bytes([other]) + data[at + 1 :]


def others(data):
    """Other damage."""
    yield from (b"", data[:1], data[: len(data) // 2], data[:-1], data + b"\0", data + data, bytes(len(data)))
    yield from (b"[" * 100_000, b"null", b"[]", b"{}", b"1", b'"', b"\xff\xfe")


def blob(store, kind, data):
    return store._root / "default" / kind / digest_of(data).removeprefix("sha256:")


def load(store, ref):
    version = store.resolve("default", ref)
    return version, store.model_bytes("default", version.digest), store.spec_bytes("default", version.spec_digest)


def check_others(store):
    assert load(store, ModelRef("good"))[1] == b"good"
    assert store.names("default") == ["bad", "good"]


@pytest.mark.parametrize(("kind", "data"), [("models", DATA), ("specs", SPEC)])
def test_no_damaged_blob_is_read(store, kind, data):
    path = blob(store, kind, data)
    for damaged in (*list(flips(data))[::11], *others(data), DATA[::-1], SPEC[::-1], b"good"):
        path.write_bytes(damaged)
        with pytest.raises(DataLoss) as found:
            load(store, ModelRef("bad", "1"))
        assert found.value.metadata == {"digest": digest_of(data)}
        assert str(store._root) not in found.value.message
    assert load(store, ModelRef("bad", "v2"))[1:] == (DATA[::-1], SPEC[::-1])
    check_others(store)
    assert keep(store, DATA, name="bad", version="1", spec=SPEC).version == "1"
    assert load(store, ModelRef("bad", "1"))[1:] == (DATA, SPEC)


def test_a_blob_that_is_gone_was_lost_where_a_version_has_it(store):
    blob(store, "models", DATA).unlink()
    with pytest.raises(DataLoss, match="are gone"):
        load(store, ModelRef("bad", "1"))
    with pytest.raises(ModelNotFound):
        store.resolve("default", ModelRef(digest=digest_of(DATA)))
    check_others(store)


def test_no_damaged_record_is_read(store):
    """A changed digit would be as good a moment, size or digest as the one before."""
    path = store._root / "default" / "names" / "bad" / "1.json"
    good = path.read_bytes()
    for damaged in (*flips(good), *others(good)):
        path.write_bytes(damaged)
        with contextlib.suppress(ValueError, RecursionError):
            if json.loads(damaged) == json.loads(good):
                continue  # other white space
        with pytest.raises(DataLoss) as found:
            store.resolve("default", ModelRef("bad", "1"))
        assert found.value.metadata == {"name": "bad", "version": "1"}


def test_a_damaged_record_costs_the_bare_name_and_no_other_version(store, tmp_path):
    (tmp_path / "default" / "names" / "bad" / "1.json").write_text("{")
    for refused in (
        lambda: store.resolve("default", ModelRef("bad")),  # who knows which was the newest
        lambda: store.resolve("default", ModelRef("bad", "1")),
        lambda: keep(store, b"c", name="bad"),
    ):
        with pytest.raises(DataLoss):
            refused()
    assert load(store, ModelRef("bad", "v2"))[1] == DATA[::-1]
    assert [v.version for v in store.readable_versions("default", "bad")] == ["v2"]
    check_others(store)
    assert store.delete("default", ModelRef("bad", "1")) == 1
    assert keep(store, b"c", name="bad").version == "2"
    assert load(store, ModelRef("bad"))[1] == b"c"


def test_the_record_of_another_version_is_not_read(store, tmp_path):
    folder = tmp_path / "default" / "names" / "bad"
    shutil.copyfile(folder / "v2.json", folder / "1.json")
    with pytest.raises(DataLoss):
        store.resolve("default", ModelRef("bad", "1"))


def test_nothing_is_removed_where_a_damaged_record_may_name_it(store, tmp_path):
    before = files(tmp_path)
    for record in ("bad/1.json", "good/1.json"):
        path = tmp_path / "default" / "names" / record
        good = path.read_bytes()
        path.write_text("{")
        Store(tmp_path).clean()
        assert files(tmp_path) == before
        path.write_bytes(good)
    store.delete("default", ModelRef("bad", "1"))
    (tmp_path / "default" / "names" / "bad" / ".deleted-1.json").write_text("{")
    Store(tmp_path).clean()
    assert blob(store, "models", DATA).exists()


def test_no_damaged_tuning_or_tensor_is_read(store):
    store.keep_tuning("default", digest_of(DATA), "cpu", Tuning(64, 1))
    (path,) = (store._root / "default" / "tunings").iterdir()
    for damaged in (*flips(path.read_bytes()), *others(b"")):
        path.write_bytes(damaged)
        assert store.tuning("default", digest_of(DATA), "cpu") in (None, Tuning(64, 1))
    digest = store.put_tensor("default", np.arange(3.0))
    path = store._root / "default" / "tensors" / digest.removeprefix("sha256:")
    for damaged in (*list(flips(path.read_bytes()))[::3], *others(path.read_bytes())):
        path.write_bytes(damaged)
        with pytest.raises(DataLoss):
            store.get_tensor("default", digest)


@pytest.mark.parametrize(("number", "error"), [(errno.EIO, DataLoss), (errno.EMFILE, NoDescriptors)])
def test_a_disk_that_reads_no_more_is_told_from_a_server_that_may_open_no_more(store, monkeypatch, number, error):
    def fail(path):
        raise OSError(number, "no", str(path))

    version = store.resolve("default", ModelRef("bad", "1"))
    monkeypatch.setattr("pathlib.Path.read_bytes", fail)
    for read in (lambda: store.model_bytes("default", version.digest), lambda: load(store, ModelRef("bad", "1"))):
        with pytest.raises(error) as found:
            read()
        assert str(store._root) not in found.value.message


def test_what_else_lies_there_is_no_matter(store, tmp_path):
    """A volume's own folder, an editor's copies, a tenant's name on a file."""
    (tmp_path / "lost+found").mkdir(mode=0)
    (tmp_path / "notes.txt").write_text("x")
    names = tmp_path / "default" / "names"
    (names / "README").write_text("x")
    (names / "bad" / "1.json~").write_text("x")
    (names / "bad" / "a copy of 1.json").write_text("x")
    (names / "bad" / "folder").mkdir()
    (names / "Upper").mkdir()
    Store(tmp_path).clean()
    check_others(store)
    assert len(store.versions("default", "bad")) == 2
    assert store.is_named(digest_of(DATA))
    assert not store.is_named(digest_of(b"x"))
