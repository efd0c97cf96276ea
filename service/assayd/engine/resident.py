"""Subjects whose x, baselines and segments stay on the device while rows of theirs come."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

import numpy as np

from assayd.engine.device_tensor import DeviceTensor
from assayd.types.arrays import Array
from assayd.types.subject import Subject


class Resident:
    """One subject's tensors, each uploaded when it is first needed.

    What varies along an axis is stored along it and nothing else is: segments of an image are one plane for all of its
    channels.
    """

    def __init__(self, subject: Subject, upload: Callable[[Array], DeviceTensor]) -> None:
        self._subject = subject
        self._upload = upload
        self._held: dict[tuple[str, str], DeviceTensor] = {}

    @property
    def nbytes(self) -> int:
        """On the device."""
        return sum(tensor.nbytes for tensor in self._held.values())

    def x(self, name: str) -> DeviceTensor:
        """[1, *input], of the input's dtype."""
        return self._once("x", name, lambda: self._subject.inputs[name][None])

    def baselines(self, name: str) -> DeviceTensor:
        """[K, *input], of the input's dtype."""
        return self._once("baselines", name, lambda: self._subject.baselines[name])

    def ids(self, name: str) -> DeviceTensor:
        """int32 [*cells]: each cell's feature, and F where nothing touches it."""
        segments = self._subject.segments
        if segments is None:
            raise AssertionError("these rows need segments")
        return self._once("ids", name, lambda: _untouched_last(segments.ids[name], segments.count))

    def scale(self, name: str) -> DeviceTensor:
        """float64 [1, …], of the input's rank and one more."""

        def whole() -> Array:
            scale = np.asarray(self._subject.scale[name], np.float64)
            rank = self._subject.inputs[name].ndim
            return scale.reshape((1,) * (1 + rank - scale.ndim) + scale.shape)

        return self._once("scale", name, whole)

    def _once(self, kind: str, name: str, make: Callable[[], Array]) -> DeviceTensor:
        found = self._held.get((kind, name))
        if found is None:
            found = self._held[kind, name] = self._upload(make())
        return found


class Residents:
    """Residents by subject, at most `most_bytes` of them beside the one in use; the least recently used leave first.

    A batch that is being made holds what it reads, wherever that stands here.
    """

    def __init__(self, upload: Callable[[Array], DeviceTensor], most_bytes: int) -> None:
        self._upload = upload
        self._most_bytes = most_bytes
        self._held: OrderedDict[int, Resident] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, subject: Subject) -> Resident:
        """The subject's resident."""
        with self._lock:
            found = self._held.pop(subject.number, None) or Resident(subject, self._upload)
            while self._held and self.nbytes > self._most_bytes:
                self._held.popitem(last=False)
            self._held[subject.number] = found
            return found

    def release(self, number: int) -> None:
        """Forget a subject."""
        with self._lock:
            self._held.pop(number, None)

    @property
    def nbytes(self) -> int:
        """On the device."""
        return sum(resident.nbytes for resident in self._held.values())

    def __len__(self) -> int:
        return len(self._held)


def _untouched_last(ids: Array, features: int) -> Array:
    return np.where(ids < 0, np.int32(features), ids).astype(np.int32)
