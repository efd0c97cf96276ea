import errno
import json

import numpy as np
import pytest

from assayd.errors import (
    DataLoss,
    DigestMismatch,
    InvalidRequest,
    ModelNotFound,
    StoreFull,
    TensorNotFound,
    VersionTaken,
)
from assayd.store.digests import digest_of, normal_digest
from assayd.store.drafts import Draft
from assayd.store.names import ModelRef, parse_ref
from assayd.store.store import Store
from assayd.types.model import Tuning


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def keep(store, data, name="m", version="", spec=b""):
    with store.draft() as draft:
        draft.write(data)
        return store.publish("default", name, version, draft, spec)


def files(folder):
    """What lies in a store, by path, but what is always there."""
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} - {".lock", "format.json"}


def test_bytes_come_back_after_a_restart(tmp_path):
    made = keep(Store(tmp_path), b"model")
    again = Store(tmp_path)
    assert again.resolve("default", ModelRef(name="m")) == made
    assert again.model_bytes("default", made.digest) == b"model"


def test_versions_are_the_next_integer_or_what_the_caller_says(store):
    assert [keep(store, d).version for d in (b"a", b"b")] == ["1", "2"]
    assert keep(store, b"c", version="2024-01").version == "2024-01"
    assert keep(store, b"d").version == "3"
    assert [v.version for v in store.versions("default", "m")] == ["1", "2", "2024-01", "3"]
    assert store.resolve("default", ModelRef(name="m")).version == "3"
    assert store.resolve("default", ModelRef(name="m", version="1")).digest == digest_of(b"a")


def test_the_same_pair_again_is_the_old_version(store):
    first = keep(store, b"a", version="v", spec=b"s")
    assert keep(store, b"a", version="v", spec=b"s") == first
    assert keep(store, b"a", spec=b"s") == first
    keep(store, b"b")
    assert keep(store, b"a", spec=b"s").version != first.version


@pytest.mark.parametrize(("data", "spec"), [(b"b", b"s"), (b"a", b"t")])
def test_another_pair_under_a_version_is_refused(store, data, spec):
    keep(store, b"a", version="v", spec=b"s")
    with pytest.raises(VersionTaken) as refused:
        keep(store, data, version="v", spec=spec)
    assert refused.value.metadata == {"name": "m", "version": "v"}
    assert store.resolve("default", ModelRef(name="m")).digest == digest_of(b"a")


def test_delete_removes_names_and_leaves_bytes(store):
    made = keep(store, b"a")
    keep(store, b"b")
    assert store.delete("default", ModelRef(name="m", version="1")) == 1
    assert store.delete("default", ModelRef(name="m")) == 1
    assert store.names("default") == []
    with pytest.raises(ModelNotFound):
        store.delete("default", ModelRef(name="m"))
    assert store.resolve("default", ModelRef(digest=made.digest)).digest == made.digest


def test_a_version_that_is_not_there_is_told_by_those_that_are(store):
    for version in range(7):
        keep(store, str(version).encode())
    with pytest.raises(ModelNotFound, match=r"no model 'm@9'; the newest versions are 3, 4, 5, 6, 7$"):
        store.resolve("default", ModelRef(name="m", version="9"))
    with pytest.raises(ModelNotFound, match=r"no model 'n@9'$"):
        store.resolve("default", ModelRef(name="n", version="9"))
    with pytest.raises(ModelNotFound, match=r"no model 'm@9'$"):
        store.resolve("other", ModelRef(name="m", version="9"))


def test_a_deleted_version_never_means_anything_else(store):
    keep(store, b"a", version="v")
    assert keep(store, b"z").version == "1"
    store.delete("default", ModelRef(name="m"))
    with pytest.raises(VersionTaken, match="before it was deleted"):
        keep(store, b"b", version="v")
    assert keep(store, b"a", version="v").version == "v"
    assert keep(store, b"b").version == "2"
    assert store.names("default") == ["m"]


def test_tenants_see_their_own(store):
    made = keep(store, b"a")
    for ref in (ModelRef(name="m"), ModelRef(digest=made.digest)):
        with pytest.raises(ModelNotFound):
            store.resolve("other", ref)


def test_a_full_disk_is_said_in_words(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path))

    monkeypatch.setattr("os.fsync", full)
    with Draft(tmp_path) as draft:
        draft.write(b"x")
        with pytest.raises(StoreFull) as said:
            draft.seal()
    assert "no space" in said.value.message
    assert str(tmp_path) not in said.value.message
    assert said.value.retry_after_s


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.array(3, dtype=np.int64),
        np.array([["a", "ß"]], dtype=object),
        np.zeros((0, 4), dtype=bool),
    ],
)
def test_tensors_come_back_by_digest(store, array):
    digest = store.put_tensor("default", array)
    back = store.get_tensor("default", digest)
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert (back == array).all()
    assert store.put_tensor("default", array) == digest


def test_the_digest_covers_dtype_and_shape(store):
    flat = np.zeros(4, dtype=np.float32)
    same_bytes = (flat, flat.reshape(2, 2), flat.view(np.int32))
    assert len({store.put_tensor("default", a) for a in same_bytes}) == 3


def test_an_unknown_tensor(store):
    with pytest.raises(TensorNotFound):
        store.get_tensor("default", digest_of(b"never"))


@pytest.mark.parametrize(
    "text", ["", "UPPER", "a@", "a@b@c", "../../etc", "a/b", "sha256:12", "sha256:../x", "x" * 128, ".hidden", "a@../b"]
)
def test_references_that_are_refused(text):
    with pytest.raises(InvalidRequest) as refused:
        parse_ref(text)
    assert refused.value.field == "model"


def test_references():
    assert parse_ref("a.b-c_1") == ModelRef(name="a.b-c_1")
    assert parse_ref("a@V1.0") == ModelRef(name="a", version="V1.0")
    assert parse_ref("sha256:" + "0" * 64).digest == "sha256:" + "0" * 64


@pytest.mark.parametrize("bad", ["abc", "sha256:" + "g" * 64, "0" * 63, "../" * 20])
def test_digests_that_are_refused(bad):
    with pytest.raises(DigestMismatch):
        normal_digest(bad)


def test_a_version_file_holds_no_more_than_it_needs(store, tmp_path):
    keep(store, b"a")
    record = json.loads((tmp_path / "default" / "names" / "m" / "1.json").read_text())
    assert set(record) == {"name", "version", "model", "spec", "size_bytes", "created", "check"}


def test_what_was_damaged_is_healed_by_storing_it_again(store, tmp_path):
    array = np.arange(3.0)
    digest = store.put_tensor("default", array)
    path = tmp_path / "default" / "tensors" / digest.removeprefix("sha256:")
    path.write_bytes(b"damaged")
    with pytest.raises(DataLoss):
        store.get_tensor("default", digest)
    assert store.put_tensor("default", array) == digest
    assert (store.get_tensor("default", digest) == array).all()


def test_a_version_of_many_digits_is_not_counted_on_from(store):
    keep(store, b"a", version="9" * 63)
    assert keep(store, b"b").version == "1"


def test_a_tuning_is_kept_by_model_and_device_and_a_damaged_one_is_none(store):
    a, b = (f"sha256:{c * 64}" for c in "ab")
    assert store.tuning("t", a, "cpu") is None
    store.keep_tuning("t", a, "cpu", Tuning(64, 1))
    store.keep_tuning("t", a, "gpu", Tuning(8, 0))
    store.keep_tuning("t", a, "cpu", Tuning(128, 0))
    assert (store.tuning("t", a, "cpu"), store.tuning("t", a, "gpu")) == (Tuning(128, 0), Tuning(8, 0))
    assert store.tuning("t", b, "cpu") is store.tuning("u", a, "cpu") is None
    folder = store._root / "t" / "tunings"
    assert len(list(folder.iterdir())) == 2
    for damage in ("", "{", "[]", '{"rows": 0, "threads": 0}', '{"rows": "8", "threads": 1}', '{"rows": 8}'):
        (folder / f"{'a' * 64}-cpu.json").write_text(damage)
        assert store.tuning("t", a, "cpu") is None
