"""`python -m tests.robustness.durability.killed FOLDER`: FOLDER/CHANGE/K is a store whose server died before call K.

The last K of a change is where it came to its end. A program of its own, since it forks.
"""

import os
import shutil
import signal
import sys
from pathlib import Path

from assayd.store.store import Store
from tests.robustness.durability.changes import CHANGES
from tests.robustness.durability.disk_calls import DiskCalls


def main(folder):
    for name, (prepare, change) in CHANGES.items():
        base = folder / name / "base"
        base.mkdir(parents=True)
        with DiskCalls(base):
            prepare(base)
        last = 0
        while not _survives(shutil.copytree(base, folder / name / str(last)), change, last):
            last += 1
        shutil.rmtree(base)


def _survives(root, change, last):
    """Whether the change came to its end in a process that was to be killed before its call number `last`."""
    child = os.fork()
    if not child:
        try:
            with DiskCalls(root, lambda number, *_: number == last and os.kill(os.getpid(), signal.SIGKILL)) as calls:
                change(Store(root))
            os._exit(bool(calls.unseen))
        except BaseException as error:  # noqa: BLE001
            print(repr(error), file=sys.stderr)
            os._exit(2)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return False
    if status:
        raise RuntimeError(f"neither killed nor done: {status}")
    return True


if __name__ == "__main__":
    main(Path(sys.argv[1]))
