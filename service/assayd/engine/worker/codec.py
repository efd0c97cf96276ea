"""Values to what msgpack takes, and back, by their annotations.

A message is a frozen dataclass, and only what its fields' annotations name can come out of one: other classes don't
exist here, and nothing of what was sent chooses any. Dataclasses become lists of their fields, arrays what `arrays`
says. Whatever doesn't fit raises Malformed.
"""

from __future__ import annotations

import dataclasses
import operator
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import msgpack
import numpy as np

from assayd.engine.worker.arrays import Malformed, Sink, Source, dtype_name, dtype_of

T = TypeVar("T")

ASIDE = "aside"
"""`Annotated[X, ASIDE]`: large arrays within may lie in shared memory, where they last until the answer."""
ONCE = "once"
"""`Annotated[X, ONCE]`: values that come again with most messages are packed, and unpacked, when they first come. They
never change, and the same object is the same value.
"""
_MOST_KEPT, _LARGEST_KEPT_BYTES = 64, 4096


@dataclass(frozen=True)
class _Coder:
    """kinds: what `isinstance` knows the values by, for unions. pack, unpack: there and back."""

    kinds: tuple[type, ...]
    pack: Callable[[Any, Sink], Any]
    unpack: Callable[[Any, Source], Any]


def pack(kind: object, value: object, sink: Sink) -> bytes:
    """The header of a value. kind: its annotation. TypeError for what can't cross."""
    header: bytes = msgpack.packb(_coder(kind).pack(value, sink))
    return header


def unpack(kind: object, header: bytes, source: Source) -> Any:
    """The value of a header; its arrays are views. Raises Malformed."""
    try:
        return _coder(kind).unpack(msgpack.unpackb(header), source)
    except Malformed:
        raise
    except (ValueError, TypeError, OverflowError, msgpack.UnpackException) as error:
        raise Malformed("no message") from error


@cache
def _coder(kind: object) -> _Coder:
    if kind in _PLAIN:
        return _PLAIN[kind]
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return _record(kind)
    make = _MAKERS.get(get_origin(kind))
    if make is None:
        raise TypeError(f"{kind} doesn't cross")
    return make(get_args(kind))


def _exactly(kind: type, convert: Callable[[Any], Any]) -> _Coder:
    def unpack(plain: Any, _: Source) -> Any:
        if type(plain) is not kind:
            raise Malformed(f"no {kind.__name__}")
        return plain

    return _Coder((kind,), lambda value, _: convert(value), unpack)


_PLAIN: dict[object, _Coder] = {
    # numpy's integers count too: msgpack takes only Python's.
    int: dataclasses.replace(_exactly(int, operator.index), kinds=(int, np.integer)),
    float: _exactly(float, float),
    bool: _exactly(bool, bool),
    str: _exactly(str, str),
    type(None): _exactly(type(None), lambda value: value),
}


def _record(kind: type) -> _Coder:
    hints = get_type_hints(kind, include_extras=True)
    names = [f.name for f in dataclasses.fields(kind)]
    coders = [_coder(hints[name]) for name in names]
    fields = list(zip(names, coders, strict=True))

    def pack(value: Any, sink: Sink) -> list[Any]:
        return [coder.pack(getattr(value, name), sink) for name, coder in fields]

    def unpack(plain: Any, source: Source) -> Any:
        return kind(*[coder.unpack(p, source) for coder, p in zip(coders, _list(plain), strict=True)])

    return _Coder((kind,), pack, unpack)


def _tuple(kinds: tuple[Any, ...]) -> _Coder:
    if kinds[-1] is not Ellipsis:
        raise TypeError("tuples are of one kind")
    coder = _coder(kinds[0])
    return _Coder(
        (tuple, list),
        lambda value, sink: [coder.pack(v, sink) for v in value],
        lambda plain, source: tuple([coder.unpack(p, source) for p in _list(plain)]),
    )


def _mapping(kinds: tuple[Any, ...]) -> _Coder:
    if kinds[0] is not str:
        raise TypeError("keys are str")
    coder = _coder(kinds[1])

    def unpack(plain: Any, source: Source) -> dict[str, Any]:
        if not isinstance(plain, dict) or not all(type(name) is str for name in plain):
            raise Malformed("no mapping")
        return {name: coder.unpack(p, source) for name, p in plain.items()}

    return _Coder((Mapping,), lambda value, sink: {str(k): coder.pack(v, sink) for k, v in value.items()}, unpack)


def _array(kinds: tuple[Any, ...]) -> _Coder:
    scalar = get_args(kinds[1])[0]
    wanted = None if scalar is Any else np.dtype(scalar)

    def pack(value: Any, sink: Sink) -> Any:
        return sink.add(value if wanted is None else value.astype(wanted, copy=False))

    def unpack(plain: Any, source: Source) -> Any:
        array = source.take(plain)
        if wanted is not None and array.dtype != wanted:
            raise Malformed(f"an array of {array.dtype} where {wanted} is due")
        return array

    return _Coder((np.ndarray,), pack, unpack)


def _union(kinds: tuple[Any, ...]) -> _Coder:
    """None stands for itself; of several others the number is sent along."""
    none = type(None) in kinds
    coders = [_coder(kind) for kind in kinds if kind is not type(None)]
    alone = coders[0] if len(coders) == 1 else None

    def pack(value: Any, sink: Sink) -> Any:
        if value is None and none:
            return None
        if alone:
            return alone.pack(value, sink)
        for n, coder in enumerate(coders):
            if isinstance(value, coder.kinds):
                return [n, coder.pack(value, sink)]
        raise TypeError(f"{type(value).__name__} doesn't cross here")

    def unpack(plain: Any, source: Source) -> Any:
        if plain is None and none:
            return None
        if alone:
            return alone.unpack(plain, source)
        n, inner = _list(plain)
        if type(n) is not int or not 0 <= n < len(coders):
            raise Malformed("no member of the union")
        return coders[n].unpack(inner, source)

    return _Coder(tuple(k for c in coders for k in c.kinds), pack, unpack)


def _annotated(kinds: tuple[Any, ...]) -> _Coder:
    return _once(_coder(kinds[0])) if kinds[1] == ONCE else _aside(_coder(kinds[0]))


def _once(coder: _Coder) -> _Coder:
    packed: dict[int, tuple[Any, bytes]] = {}
    unpacked: dict[bytes, Any] = {}

    def pack(value: Any, _: Sink) -> bytes:
        known = packed.get(id(value))
        if known is None or known[0] is not value:
            own = Sink()
            header = msgpack.packb(coder.pack(value, own))
            known = value, msgpack.packb([header, b"".join(own.inline)])
            if len(known[1]) <= _LARGEST_KEPT_BYTES:
                _keep(packed, id(value), known)
        return known[1]

    def unpack(plain: Any, _: Source) -> Any:
        if type(plain) is not bytes:
            raise Malformed("no bytes")
        value = unpacked.get(plain)
        if value is None:
            header, inline = _list(msgpack.unpackb(plain))
            value = coder.unpack(msgpack.unpackb(header), Source(np.frombuffer(inline, np.uint8)))
            if len(plain) <= _LARGEST_KEPT_BYTES:
                _keep(unpacked, plain, value)
        return value

    return _Coder(coder.kinds, pack, unpack)


def _keep(kept: dict[Any, Any], key: Any, value: Any) -> None:
    """Threads may come at once, and the worst of it is that something is packed again."""
    if len(kept) >= _MOST_KEPT:
        kept.clear()
    kept[key] = value


def _aside(coder: _Coder) -> _Coder:

    def pack(value: Any, sink: Sink) -> Any:
        sink.aside = True
        try:
            return coder.pack(value, sink)
        finally:
            sink.aside = False

    return dataclasses.replace(coder, pack=pack)


def _list(plain: Any) -> list[Any]:
    if type(plain) is not list:
        raise Malformed("no list")
    return plain


_MAKERS: dict[object, Callable[[tuple[Any, ...]], _Coder]] = {
    Annotated: _annotated,
    Mapping: _mapping,
    Union: _union,
    types.UnionType: _union,
    np.dtype: lambda _: _Coder((np.dtype,), lambda value, _: dtype_name(value), lambda plain, _: dtype_of(plain)),
    np.ndarray: _array,
    tuple: _tuple,
}
