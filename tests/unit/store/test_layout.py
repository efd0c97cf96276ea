"""Stores of other formats: `golden` holds one as servers of each format wrote it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from assayd.store import layout, records
from assayd.store.names import ModelRef
from assayd.store.store import Store
from assayd.types.model import Tuning
from tests.unit.store.test_store import files, keep

GOLDEN = Path(__file__).parent / "golden"
MLP = "sha256:d0ac15d2e0bb17c54c00652da53920b4983a78434b19156ffdfd498a07d37c4a"
VECTOR = "sha256:6baff84e5cb44de354c559b74b77464e8f23fc9b448a40968e5c459cd86fdd3d"


def copy(tmp_path, form=layout.FORMAT):
    return Path(shutil.copytree(GOLDEN / f"format-{form}", tmp_path / "store"))


def newer(root, form=99, reads=1):
    """What a server of a later format might have made of a store."""
    mark = records.encode({"format": form, "reads": reads, "features": ["aliases"]})
    (root / "format.json").write_bytes(mark)
    for path in [*root.glob("*/names/*/*.json"), *root.glob("*/names/*/.deleted-*.json"), *root.glob("*/tunings/*")]:
        fields = records.decode(path.read_bytes(), frozenset())
        path.write_bytes(records.encode(fields | {"signed": {"by": "key", "at": [1, 2.5, None]}}))
    tenant = root / "default"
    (tenant / "aliases").mkdir()
    for extra in ("aliases/live", "names/scores/.aliases.json", "names/.index", "models/.index", "models/" + "0" * 64):
        (tenant / extra).write_text(extra)
    return root


def test_golden_stores_are_all_there():
    assert {path.name for path in GOLDEN.iterdir()} == {f"format-{n}" for n in range(1, layout.FORMAT + 1)}
    assert json.loads((GOLDEN / f"format-{layout.FORMAT}" / "format.json").read_text())["format"] == layout.FORMAT


def read_all(root):
    """All that the golden stores hold."""
    store = Store(root)
    store.clean()
    assert store.names("default") == ["scores"]
    versions = store.versions("default", "scores")
    assert [v.version for v in versions] == ["1", "2024-01", "named"]
    assert [len(store.model_bytes("default", v.digest)) for v in versions] == [1122, 252, 1122]
    assert [store.spec_bytes("default", v.spec_digest)[-24:][2::3] == b"abcdefgh" for v in versions] == [0, 0, 1]
    np.testing.assert_array_equal(store.get_tensor("default", VECTOR), np.linspace(-1, 1, 8).astype(np.float32))
    (tuning,) = (root / "default" / "tunings").glob(MLP.removeprefix("sha256:") + "-*")
    assert store.tuning("default", MLP, tuning.stem.rpartition("-")[2]) == Tuning(1024, 1)
    with pytest.raises(Exception, match="before it was deleted"):
        keep(store, b"other", name="gone", version="v1")
    assert keep(store, b"other", name="scores").version == "2"
    assert store.delete("default", ModelRef("scores", "named")) == 1


@pytest.mark.parametrize("form", range(1, layout.FORMAT + 1))
def test_stores_of_every_format_are_read_and_written(form, tmp_path):
    root = copy(tmp_path, form)
    before = files(root)
    read_all(root)
    assert layout._marks(root)[0] == layout.FORMAT
    assert {path.replace("/named.json", "/.deleted-named.json") for path in before} < files(root)


def test_what_a_newer_server_wrote_is_read_and_left_alone(tmp_path):
    root = newer(copy(tmp_path))
    before = {path: (root / path).read_bytes() for path in files(root) | {"format.json"}}
    read_all(root)
    moved = {path.replace("/named.json", "/.deleted-named.json"): data for path, data in before.items()}
    assert {path: (root / path).read_bytes() for path in moved} == moved


def test_bytes_that_nothing_here_names_are_removed_unless_a_newer_server_was_here(tmp_path):
    root = copy(tmp_path)
    blob = root / "default" / "models" / ("0" * 64)
    for form, kept in ((99, True), (layout.FORMAT, False)):
        (root / "format.json").write_bytes(records.encode({"format": form, "reads": 1}))
        blob.write_text("whose?")
        Store(root).clean()
        assert blob.exists() is kept


def test_a_store_that_wants_a_newer_server_is_refused_and_not_touched(tmp_path):
    root = newer(copy(tmp_path), reads=layout.FORMAT + 1)
    before = files(root)
    with pytest.raises(ValueError, match=f"format 99 and wants a server that knows format {layout.FORMAT + 1}"):
        Store(root)
    assert files(root) == before


def test_a_damaged_mark_lets_in_and_nothing_is_removed_or_overwritten(tmp_path, caplog):
    root = newer(copy(tmp_path))
    good = (root / "format.json").read_bytes()
    for at in range(0, len(good), 7):
        damaged = good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]
        (root / "format.json").write_bytes(damaged)
        Store(root).clean()
        assert (root / "format.json").read_bytes() == damaged
        assert (root / "default" / "models" / ("0" * 64)).exists()
    assert "format.json is damaged" in caplog.text


def test_an_older_server_finds_its_fields_where_they_were(tmp_path):
    """What format 1 reads of a version and of a tuning."""
    store = Store(tmp_path)
    made = keep(store, b"a")
    store.keep_tuning("default", made.digest, "cpu", Tuning(8, 1))
    record = json.loads((tmp_path / "default/names/m/1.json").read_text())
    old = {"model": made.digest, "spec": made.spec_digest, "size_bytes": 1, "created": made.created}
    assert record.items() > old.items()
    (tuning,) = (tmp_path / "default/tunings").iterdir()
    assert json.loads(tuning.read_text()).items() > {"rows": 8, "threads": 1}.items()
