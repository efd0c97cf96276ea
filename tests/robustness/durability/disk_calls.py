"""Every call by which the store changes a disk, seen before it happens, so that something can happen instead."""

import contextlib
import os
import sys
from pathlib import Path
from unittest import mock

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_PATHS = {"replace": 2, "rename": 2, "link": 2, "unlink": 1, "remove": 1, "mkdir": 1, "rmdir": 1, "truncate": 1}
_AUDITED = {"os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}
_PART_BYTES = 200
"""The disk takes no more at once, so that files are also caught half written."""


class DiskCalls:
    """`with DiskCalls(root, before) as calls:` runs before(number, name, arguments) ahead of each change in `root`.

    Nothing is really synced: whoever dies or runs out of space doesn't lose what the kernel has, and `Platter` keeps
    its own books. after(name, arguments, result), where given, runs behind each. unseen: changes that went another way
    than by `os`, which whoever counts would miss.
    """

    def __init__(self, root, before=lambda *_: None, after=lambda *_: None):
        self.root, self.before, self.after = str(root), before, after
        self.count, self.unseen = 0, []
        self._handles, self._inside = {}, False
        self._real = {name: getattr(os, name) for name in (*_PATHS, "open", "write", "fsync", "close")}
        self._patches = contextlib.ExitStack()

    def _happens(self, name, arguments, call):
        self.count += 1
        self.before(self.count - 1, name, arguments)
        self._inside = True
        try:
            result = call()
        finally:
            self._inside = False
        self.after(name, arguments, result)
        return result

    def _ours(self, path):
        return isinstance(path, str | os.PathLike) and (os.fspath(path) + "/").startswith(self.root + "/")

    def _open(self, path, flags, *rest, **more):
        def call():
            return self._real["open"](path, flags, *rest, **more)

        if not self._ours(path):
            return call()
        handle = self._happens("open", (str(path), flags), call) if flags & WRITING else call()
        self._handles[handle] = str(path)
        return handle

    def _write(self, handle, data):
        part = data[:_PART_BYTES]
        if handle not in self._handles:
            return self._real["write"](handle, data)
        return self._happens("write", (handle, bytes(part)), lambda: self._real["write"](handle, part))

    def _fsync(self, handle):
        if handle in self._handles:
            self._happens("fsync", (handle, self._handles[handle]), lambda: None)
        else:
            self._real["fsync"](handle)

    def _close(self, handle):
        self._handles.pop(handle, None)
        self._real["close"](handle)

    def _with_paths(self, name, count):
        def call(*arguments, **more):
            if not self._ours(arguments[count - 1]):
                return self._real[name](*arguments, **more)
            paths = tuple(map(str, arguments[:count]))
            return self._happens(name, paths, lambda: self._real[name](*arguments, **more))

        return call

    def _audit(self, event, arguments):
        if self._inside or not arguments or not self._ours(arguments[0]):
            return
        opened = event == "open" and arguments[1] is not None and arguments[2] & WRITING
        if opened or event in _AUDITED:
            self.unseen.append((event, arguments))

    def __enter__(self):
        replaced = {name: self._with_paths(name, count) for name, count in _PATHS.items()}
        replaced |= {"open": self._open, "write": self._write, "fsync": self._fsync, "close": self._close}
        for name, function in replaced.items():
            self._patches.enter_context(mock.patch.object(os, name, function))
        _LISTENING.append(self)
        return self

    def __exit__(self, *_):
        _LISTENING.remove(self)
        self._patches.close()


_LISTENING = []


def _hook(event, arguments):
    for calls in _LISTENING:
        calls._audit(event, arguments)


sys.addaudithook(_hook)  # it can't be taken away again, so it is one for all


def tree(root):
    """What lies under a folder: bytes by path, None for folders."""
    return {str(p.relative_to(root)): p.read_bytes() if p.is_file() else None for p in sorted(Path(root).rglob("*"))}
