"""Superpixels are cut once an image, and never taken for those of another."""

import numpy as np

from assayd.features import cache as cache_module
from assayd.features.cache import SegmentCache
from assayd.features.segments import segments_of
from assayd.types.request import Grid, Group, Groups, Member, Superpixels

IMAGES = np.random.default_rng(0).random((3, 24, 24, 3)).astype(np.float32)
SPATIAL, CHANNEL = {"x": (0, 1)}, {"x": 2}


def cut(cache, x, spec=Superpixels(6), spatial=SPATIAL, channel=CHANNEL):  # noqa: B008
    return cache.segments_of(spec, {"x": x}, spatial, channel, {}, ())


def test_the_same_image_is_cut_once_and_as_ever():
    cache = SegmentCache()
    first = cut(cache, IMAGES[0])
    assert cut(cache, IMAGES[0].copy()) is first
    assert cache.hits == 1
    fresh = segments_of(Superpixels(6), {"x": IMAGES[0]}, SPATIAL, CHANNEL, {}, ())
    np.testing.assert_array_equal(first.ids["x"], fresh.ids["x"])


def test_whatever_else_differs_is_cut_anew():
    cache = SegmentCache()
    first = cut(cache, IMAGES[0])
    moved = IMAGES[0].copy()
    moved[0, 0, 0] += 1e-3
    planes = IMAGES[0].transpose(2, 0, 1)
    others = [
        cut(cache, IMAGES[1]),
        cut(cache, moved),
        cut(cache, IMAGES[0], Superpixels(7)),
        cut(cache, IMAGES[0], Superpixels(6, 1.0)),
        cut(cache, IMAGES[0].astype(np.float64)),
        cut(cache, planes, spatial={"x": (1, 2)}, channel={"x": 0}),
        cut(cache, IMAGES[0], Grid(2, 2)),
    ]
    assert cache.hits == 0
    assert all(other is not first for other in others)


def test_tables_are_cut_once_for_all_rows_of_the_same_names():
    cache, groups = SegmentCache(), Groups((Group("g", (Member("", "a"), Member("", 1))),))
    rows = [np.full(3, n, np.float32) for n in range(2)]

    def ids(x, names=("a", "b", "c"), spec=groups):
        return cache.segments_of(spec, {"x": x}, {}, {}, {"x": names}, ()).ids["x"].tolist()

    assert ids(rows[0]) == ids(rows[1]) == [0, 0, -1]
    assert cache.hits == 1
    assert ids(rows[0], names=("c", "b", "a")) == [-1, 0, 0]
    assert ids(rows[0], spec=Groups((Group("g", (Member("", "b"),)),))) == [-1, 0, -1]
    assert ids(np.zeros(4, np.float32), names=("b", "c", "d", "a")) == [-1, 0, -1, 0]
    assert cache.hits == 1


def test_it_keeps_what_was_used_last_within_its_bytes(monkeypatch):
    size = cache_module._size(cut(SegmentCache(), IMAGES[0]))
    monkeypatch.setattr(cache_module, "_MOST_BYTES", 2.5 * size)
    cache = SegmentCache()
    for n in (0, 1, 0, 2, 0):  # for IMAGES[2] IMAGES[1] leaves
        cut(cache, IMAGES[n])
    assert cache.hits == 2
    cut(cache, IMAGES[1])
    assert cache.hits == 2
    monkeypatch.setattr(cache_module, "_MOST_BYTES", size / 2)
    small = SegmentCache()
    for _ in range(2):
        cut(small, IMAGES[0])  # larger than all that may be kept
    assert small.hits == 0
