"""What lies where in a store, and which servers may use it.

    <root>/format.json                which format it has, and which is the oldest that a server must know
    <root>/.lock                      held by whoever publishes, deletes or cleans up
    <root>/.drafts/<random>           files on their way; whoever writes one holds its lock
    <root>/<tenant>/models/<hex>      the .onnx bytes as they came
    <root>/<tenant>/specs/<hex>       deterministic serialisation of a ModelSpec
    <root>/<tenant>/tensors/<hex>     a header line (dtype and shape) and the elements
    <root>/<tenant>/tunings/<hex>-<fingerprint>.json  how a model runs fastest on a kind of device
    <root>/<tenant>/names/<name>/<version>.json, and .deleted-<version>.json of what was deleted

A file is moved or linked into place whole, and that of a version is never rewritten, so readers take no lock.

Format 1 had no `format.json`, no checks in its records and no locks. Servers of format 2 read it, and those of format 1
find all they know in format 2; but since they take no lock, they may read beside newer ones and not take uploads.

A newer format may add fields to records, files whose names begin with a dot, and folders. An older server reads the
rest and leaves those alone; as it can't know which bytes they name, it removes none at start-up. With what an older
server would get wrong `reads` is raised, and the older one refuses to start.
"""

from __future__ import annotations

import logging
from pathlib import Path

from assayd.errors import Unavailable
from assayd.store import records
from assayd.store.disk import settle, writing
from assayd.store.drafts import Draft

log = logging.getLogger(__name__)

FORMAT = 2
_READS = 1
"""The oldest format whose servers find all they need in ours."""
_FILE = "format.json"


def enter(root: Path, drafts: Path) -> None:
    """Check that this server may use the store, and leave its mark. Raises ValueError where it is too old for it."""
    found, needed = _marks(root)
    if needed > FORMAT:
        raise ValueError(
            f"the store has format {found} and wants a server that knows format {needed}; this one knows {FORMAT}: "
            "use a newer one"
        )
    if found < FORMAT:
        try:
            _mark(root, drafts)
        except Unavailable as error:  # it can still be read
            log.warning("the store's format isn't written down", extra={"why": error.message})


def is_newer(root: Path) -> bool:
    """Whether there may be things in the store that this server doesn't know."""
    return _marks(root)[0] > FORMAT


def _mark(root: Path, drafts: Path) -> None:
    with Draft(drafts) as draft:
        draft.write(records.encode({"format": FORMAT, "reads": _READS}))
        draft.seal()
        with writing():
            draft.move(root / _FILE)
            settle(root, root)


def _marks(root: Path) -> tuple[int, int]:
    """`format` and `reads`. A mark that is damaged counts as a newer one that lets us in: so nothing is lost."""
    try:
        fields = records.decode((root / _FILE).read_bytes(), frozenset())
        return int(fields["format"]), int(fields["reads"])
    except FileNotFoundError:
        return 1, 1
    except (ValueError, KeyError, TypeError):
        log.error("the store's format.json is damaged: remove it if no newer server uses this store")  # noqa: TRY400
        return FORMAT + 1, FORMAT
