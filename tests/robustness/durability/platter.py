"""What a disk still has after a power cut, by the least that POSIX promises.

Bytes are there once their file was synced; a name once its folder was. What wasn't synced may be there or not, each
name for itself and whatever the order. A rename within one folder is one change, as on every disk that keeps a journal;
one between folders is taken to be two.
"""

from dataclasses import dataclass, field
from pathlib import Path

from tests.robustness.durability.disk_calls import tree


@dataclass(eq=False)
class _File:
    data: bytes = b""
    synced: bytes = b""


@dataclass(eq=False)
class _Folder:
    """names: as programs see them. synced: as they are on the disk. waiting: changes on their way there."""

    names: dict = field(default_factory=dict)
    synced: dict = field(default_factory=dict)
    waiting: list = field(default_factory=list)

    def change(self, change):
        self.names.update(change)
        self.waiting.append(change)

    def sync(self):
        self.synced = dict(self.names)
        self.waiting = []


class Platter:
    """A disk with what lies under `root` now, all of it synced; `happened` tells it of changes there."""

    def __init__(self, root):
        self._root = Path(root)
        self._top = _Folder()
        self._handles = {}
        for path, data in tree(root).items():
            *_, last = parts = Path(path).parts
            self._folder(parts[:-1]).names[last] = _Folder() if data is None else _File(data, data)
        for folder in self._folders():
            folder.sync()

    def happened(self, name, arguments, result):
        """For `DiskCalls(after=…)`."""
        getattr(self, f"_{name}")(arguments, result)

    def _open(self, arguments, handle):
        folder, last = self._place(arguments[0])
        if last not in folder.names:
            folder.change({last: _File()})
        self._handles[handle] = folder.names[last]

    def _write(self, arguments, count):
        self._handles[arguments[0]].data += arguments[1][:count]

    def _fsync(self, arguments, _):
        handle, path = arguments
        at = self._at(path)
        if isinstance(at, _Folder):
            at.sync()
        else:
            self._handles[handle].synced = self._handles[handle].data

    def _mkdir(self, arguments, _):
        folder, last = self._place(arguments[0])
        folder.change({last: _Folder()})

    def _link(self, arguments, _):
        folder, last = self._place(arguments[1])
        folder.change({last: self._at(arguments[0])})

    def _replace(self, arguments, _):
        (source, before), (target, after) = map(self._place, arguments)
        moved = source.names[before]
        if source is target:
            source.change({before: None, after: moved})
        else:
            source.change({before: None})
            target.change({after: moved})

    def _unlink(self, arguments, _):
        folder, last = self._place(arguments[0])
        folder.change({last: None})

    def survivors(self):
        """Trees that may be found when the power comes back, as `tree` tells them, each once."""
        waiting = [(folder, change) for folder in self._folders() for change in folder.waiting]
        some = [waiting[:n] for n in range(len(waiting) + 1)]
        some += [[each] for each in waiting] + [[w for w in waiting if w is not each] for each in waiting]
        found = {}
        for chosen in some:
            for which in ("synced", "data"):
                survivor = self._survivor(chosen, which)
                found[tuple(survivor.items())] = survivor
        return list(found.values())

    def _survivor(self, chosen, which):
        result = {}

        def walk(folder, path):
            names = dict(folder.synced)
            for where, change in chosen:
                if where is folder:
                    names.update(change)
            for name, node in names.items():
                if isinstance(node, _Folder):
                    result[path + name] = None
                    walk(node, path + name + "/")
                elif node is not None:
                    result[path + name] = getattr(node, which)

        walk(self._top, "")
        return dict(sorted(result.items()))

    def _folders(self):
        found = [self._top]
        for folder in found:
            nodes = [*folder.names.values(), *folder.synced.values()]
            found += {id(n): n for n in nodes if isinstance(n, _Folder) and n not in found}.values()
        return found

    def _place(self, path):
        *above, last = Path(path).relative_to(self._root).parts
        return self._folder(above), last

    def _at(self, path):
        parts = Path(path).relative_to(self._root).parts
        return self._folder(parts[:-1]).names.get(parts[-1]) if parts else self._top

    def _folder(self, parts):
        folder = self._top
        for part in parts:
            folder = folder.names[part]
        return folder


def lay_out(survivor, root):
    """Make the tree in a new folder, and return that."""
    root.mkdir(parents=True)
    for path, data in survivor.items():
        if data is None:
            (root / path).mkdir()
        else:
            (root / path).write_bytes(data)
    return root
