"""Masks: features kept or at their baseline, a bit each."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from assayd.errors import InvalidRequest, InvalidTensor
from assayd.methods.lime.kept import MOST_SHARED_BYTES, kept
from assayd.methods.lime.sample import Draws, merge, unmerged
from assayd.types.arrays import Array, Floats
from assayd.types.rows import MaskRows

SAMPLES = 1000
"""What all masks together stand for where the caller doesn't say."""

_WORD = 64


@dataclass(frozen=True, eq=False)
class MaskSample:
    """Masks at every baseline. words: uint64 [rows, ceil(F / 64)], feature f in bit f % 64 of word f // 64."""

    words: NDArray[np.uint64]
    features: int
    draws: Draws
    copies: int
    shared: bool

    @property
    def nbytes(self) -> int:
        """Of words and draws."""
        return self.words.nbytes + self.draws.order.nbytes

    @property
    def z_x(self) -> Floats:
        """x keeps everything."""
        return np.ones(self.features)

    def cut(self, rows: int) -> MaskSample:
        """The first rows alone."""
        return replace(self, words=self.words[:rows], draws=self.draws.cut(rows), shared=False)

    def keep(self, a: int, b: int) -> NDArray[np.bool_]:
        """Masks of rows a <= r < b, [b - a, F]."""
        return _unpacked(self.words[a:b], self.features)

    def z(self, a: int, b: int) -> NDArray[np.bool_]:
        """1 where a feature is kept."""
        return self.keep(a, b)

    def squared_distance(self, z: Floats) -> Floats:
        """Of the cosine distance from the mask that keeps all: (1 - sqrt(kept / F))^2; an empty mask is at 1."""
        distance: Floats = (1 - np.sqrt(z.mean(axis=1))) ** 2
        return distance

    def blocks(self, a: int, b: int) -> Sequence[MaskRows]:
        """Each mask at one baseline after the other."""
        row = np.arange(a, b)
        first = a // self.copies
        keep = self.keep(first, -(-b // self.copies))
        return [MaskRows(keep[row // self.copies - first], (row % self.copies).astype(np.int32))]

    def samples(self) -> dict[str, Array]:
        """All draws, [n, F] bool."""
        return {"": _unpacked(self.words[self.draws.order], self.features)}


def draw(features: int, total: int, stream: int, copies: int, *, shared: bool = False) -> MaskSample:
    """`total` draws: all kept, then features kept by the toss of a coin. Those of a smaller total come first.

    shared: whether others draw from the stream as well, who get the same object.
    """
    shared = shared and _may_be_shared(features, total)
    return (_drawn_before if shared else _drawn)(features, total, stream, copies, shared)


def enumerate_all(features: int, total: int, stream: int, copies: int, *, shared: bool = False) -> MaskSample:
    """All 2^F masks, standing for `total` draws; all kept comes first, the others in random order. shared: as above."""
    shared = shared and _may_be_shared(features, 1 << features)
    return (_enumerated_before if shared else _enumerated)(features, total, stream, copies, shared)


def _drawn(features: int, total: int, stream: int, copies: int, shared: bool) -> MaskSample:
    width = -(-features // _WORD)
    words = np.empty((total, width), np.uint64)
    words[0] = ~np.uint64(0)
    words[1:] = np.random.Philox(key=stream).random_raw((total - 1) * width).reshape(total - 1, width)
    _clear_beyond(words, features)
    if width > 1:  # with more than 64 features two masks are equal once in 2^64 pairs
        return MaskSample(words, features, unmerged(total), copies, shared)
    first, draws = merge(words)
    return MaskSample(words[first], features, draws, copies, shared)


def _enumerated(features: int, total: int, stream: int, copies: int, shared: bool) -> MaskSample:
    count = 1 << features
    words = np.empty((count, 1), np.uint64)
    words[0] = count - 1
    words[1:, 0] = np.random.Generator(np.random.Philox(key=stream)).permutation(count - 1)
    return MaskSample(words, features, _all_of(count, total), copies, shared)


_drawn_before, _enumerated_before = kept(_drawn), kept(_enumerated)


def given(keep: Array, features: int, total: int | None, copies: int) -> MaskSample:
    """The caller's masks [n, F], standing for `total` draws.

    All 2^F masks, each once in whatever order, are an enumeration: without `total` they stand for as many draws as one
    does by default, or for as many as they are if that is more.

    Raises `InvalidTensor` (samples) for a wrong dtype or shape, `InvalidRequest` (samples) for other values.
    """
    if keep.dtype.kind not in "biuf":
        raise InvalidTensor("masks are bool or numbers, 0 or 1 each", field="samples")
    if keep.ndim != 2 or not len(keep) or keep.shape[1] != features:
        raise InvalidTensor(
            f"masks have shape {list(keep.shape)}, not [n, {features}] with n of at least 1: one column a feature",
            field="samples",
        )
    bits = keep != 0
    if not (keep[bits] == 1).all():
        raise InvalidRequest("masks hold 0 and 1 alone", field="samples")
    words = _packed(bits)
    shared = _may_be_shared(features, len(words))
    return (_given_before if shared else _given)(words, features, total, copies, shared)


def _given(words: NDArray[np.uint64], features: int, total: int | None, copies: int, shared: bool) -> MaskSample:
    first, draws = merge(words)
    count = len(words)
    if features < _WORD and draws.rows == count == 1 << features:
        return MaskSample(words, features, _all_of(count, total or max(SAMPLES, count)), copies, shared)
    return MaskSample(words[first], features, replace(draws, stand_for=total), copies, shared)


def _by_content(words: NDArray[np.uint64], *others: Hashable) -> tuple[Hashable, ...]:
    return (sha256(words.tobytes()).digest(), *others)


_given_before = kept(_given, _by_content)


def _may_be_shared(features: int, rows: int) -> bool:
    """Samples so large that few of them fill what is kept aren't, nor is what is made of them."""
    return 8 * rows * (-(-features // _WORD) + 2) <= MOST_SHARED_BYTES


def _all_of(count: int, total: int) -> Draws:
    """Every mask there is, once."""
    return Draws(count, np.arange(count), stand_for=total, population=count)


def _clear_beyond(words: NDArray[np.uint64], features: int) -> None:
    """Zero the last word's bits that belong to no feature, so that equal masks are equal words."""
    used = features % _WORD
    if used:
        words[:, -1] &= np.uint64((1 << used) - 1)


def _packed(bits: NDArray[np.bool_]) -> NDArray[np.uint64]:
    width = -(-bits.shape[1] // _WORD)
    packed = np.zeros((len(bits), width * 8), np.uint8)
    found = np.packbits(bits, axis=1, bitorder="little")
    packed[:, : found.shape[1]] = found
    return packed.view("<u8").astype(np.uint64, copy=False)


def _unpacked(words: NDArray[np.uint64], features: int) -> NDArray[np.bool_]:
    octets = np.ascontiguousarray(words).astype("<u8", copy=False).view(np.uint8)
    return np.unpackbits(octets, axis=1, count=features, bitorder="little").view(np.bool_)
