"""`python -m tests.robustness.durability.filled FOLDER`: upload to a disk that is full, but for a page more each time.

Of little use on a large disk: it is filled.
"""

import sys
from pathlib import Path

from assayd.errors import StoreFull
from assayd.store.store import Store
from tests.robustness.durability.changes import publish, seen

_PAGE_BYTES = 4096


def main(root):
    store, refused = Store(root), []
    publish(store, b"the first")
    for pages in range(12):
        before, files = seen(root), _files(root)
        name, data, spec = f"n{pages}", bytes([pages]) * 5000, bytes([pages + 100]) * 5000
        _fill(root / "filler", pages)
        said = ""
        try:
            publish(store, data, name, spec=spec)
        except StoreFull as error:
            said = error.message
            refused.append(pages)
        if said:
            assert "no space is left" in said, said
            assert (seen(root), _files(root)) == (before, files | {root / "filler"})
        (root / "filler").unlink()
        publish(store, data, name, spec=spec)
        assert seen(root).keys() == before.keys() | {(name, "1")}
    assert refused == list(range(len(refused))), refused
    assert 3 <= len(refused) < 12, refused


def _files(root):
    return {path for path in root.rglob("*") if path.is_file()}


def _fill(path, but_pages):
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(_PAGE_BYTES))
        except OSError:
            file.truncate(max(0, file.tell() // _PAGE_BYTES - but_pages) * _PAGE_BYTES)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
