"""Arrays beside a message's header: dtype and extents in the header, the elements as bytes behind it.

Elements are in the machine's own byte order, for both ends are one machine. Booleans are packed into bits, strings are
their lengths (uint32) and then their UTF-8. Large arrays may be put aside, for memory that both ends see.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from assayd.types.arrays import Array

Bytes: TypeAlias = "np.ndarray[tuple[int], np.dtype[np.uint8]]"

DTYPES: dict[str, np.dtype[np.generic]] = {
    name: np.dtype(name)
    for name in (
        "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32",
        "float64", "complex64", "complex128", "object",
    )
}  # fmt: skip
"""All that a tensor here can be; an object array holds `str`."""

_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_MOST_AXES = 32
_ALIGNED = 16
_LARGE_BYTES = 64 * 1024


class Malformed(ValueError):
    """What came is no message of the kind that is due."""


def dtype_name(dtype: np.dtype[np.generic]) -> str:
    """The name under which a dtype crosses. TypeError for one that can't."""
    try:
        return _NAMES[dtype]
    except KeyError:
        raise TypeError(f"arrays of {dtype} don't cross") from None


def dtype_of(name: object) -> np.dtype[np.generic]:
    """The dtype of a name. Raises Malformed."""
    found = DTYPES.get(name) if isinstance(name, str) else None
    if found is None:
        raise Malformed("no dtype")
    return found


class Sink:
    """Takes the arrays of one message. aside: whether large ones may now be put aside.

    inline: what goes behind the header, in order and with what fills the gaps. bulk: what lies aside, with its places.
    """

    def __init__(self) -> None:
        self.aside = False
        self.inline: list[bytes | memoryview] = []
        self.inline_bytes = 0
        self.bulk: list[tuple[int, Bytes]] = []
        self.bulk_bytes = 0

    def add(self, array: Array) -> list[object]:
        """What the header says of the array."""
        name = dtype_name(array.dtype)
        if name == "object":
            array_bytes: bytes | Bytes = _text_bytes(array)
        elif name == "bool":
            array_bytes = np.packbits(array).tobytes()
        elif array.nbytes < _LARGE_BYTES:
            array_bytes = array.tobytes()
        else:
            array_bytes = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
            if self.aside:
                place = self.bulk_bytes
                self.bulk.append((place, array_bytes))
                self.bulk_bytes += _filled(len(array_bytes))
                return [name, array.shape, place, True]
        place, size = self.inline_bytes, len(array_bytes)
        self.inline.append(array_bytes if isinstance(array_bytes, bytes) else array_bytes.data)
        if gap := _filled(size) - size:
            self.inline.append(bytes(gap))
        self.inline_bytes += size + gap
        return [name, array.shape, place, False]


class Source:
    """Gives the arrays of one message, as views of its bytes. bulk: what lies aside, None where nothing may.

    Together they take no more than there is: a header could name the same bytes a thousand times.
    """

    def __init__(self, inline: Bytes, bulk: Bytes | None = None) -> None:
        self._inline = _Room(inline)
        self._bulk = _Room(inline[:0] if bulk is None else bulk)

    def take(self, said: Any) -> Array:
        """The array that the header says. Raises Malformed; ValueError, TypeError where it says something else."""
        name, shape, place, aside = said
        dtype = dtype_of(name)
        room = self._bulk if aside else self._inline
        if type(shape) is not list or len(shape) > _MOST_AXES:
            raise Malformed("no shape")
        count = 1
        for extent in shape:
            if type(extent) is not int or extent < 0:
                raise Malformed("no extent")
            count *= extent
        if dtype == object:
            return _texts(room, place, count).reshape(shape)
        if dtype == bool:
            return np.unpackbits(room.part(place, (count + 7) // 8), count=count).view(np.bool_).reshape(shape)
        return room.part(place, count * dtype.itemsize).view(dtype).reshape(shape)


class _Room:
    """Bytes that are given out in parts."""

    def __init__(self, whole: Bytes) -> None:
        self._whole = whole
        self._left = len(whole)

    def part(self, place: object, size: int) -> Bytes:
        """numpy itself would read what lies before or behind."""
        if type(place) is not int or place < 0 or place + size > len(self._whole) or size > self._left:
            raise Malformed("an array exceeds its message")
        self._left -= size
        return self._whole[place : place + size]


def _filled(size: int) -> int:
    return -(-size // _ALIGNED) * _ALIGNED


def _text_bytes(array: Array) -> bytes:
    texts = [_encoded(text) for text in array.reshape(-1)]
    lengths = np.array([len(text) for text in texts], np.uint32)
    return lengths.tobytes() + b"".join(texts)


def _encoded(text: object) -> bytes:
    if not isinstance(text, str):
        raise TypeError(f"object arrays hold str here, not {type(text).__name__}")
    return text.encode("utf-8", "surrogatepass")


def _texts(room: _Room, place: Any, count: int) -> Array:
    lengths: list[int] = room.part(place, 4 * count).view(np.uint32).tolist()
    blob = room.part(place + 4 * count, sum(lengths)).tobytes()
    texts: Array = np.empty(count, object)
    start = 0
    for n, length in enumerate(lengths):
        texts[n] = blob[start : start + length].decode("utf-8", "surrogatepass")
        start += length
    return texts
