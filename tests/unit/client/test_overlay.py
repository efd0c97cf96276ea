from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from assay import InvalidArgument
from assay.overlay import blend, extreme, render, save_overlay, tint

MAP = np.zeros((8, 8))
MAP[1, 1], MAP[6, 6], MAP[1, 6] = 2.0, -2.0, 0.5


def test_the_scale_is_blue_white_red_and_its_ends_are_equally_light():
    blue, white, red = tint(np.array([-1.0, 0.0, 1.0])).astype(int)
    assert white.tolist() == [255, 255, 255]
    assert blue[2] > blue[0] + 60
    assert red[0] > red[2] + 60
    grey = [float(c @ (0.2126, 0.7152, 0.0722)) for c in (blue, red)]
    assert abs(grey[0] - grey[1]) < 45


def test_colour_grows_with_the_value():
    colours = tint(np.linspace(0, 1, 50)).astype(int)
    distance = np.abs(colours - 255).sum(axis=1)
    assert (np.diff(distance) > 0).all()
    assert tint(np.array([5.0])).tolist() == tint(np.array([1.0])).tolist()


@pytest.mark.parametrize("image", [None, np.zeros((8, 8)), np.ones((8, 8)), np.eye(8)])
def test_positive_is_red_and_negative_blue_on_any_image(image):
    pixels = blend(MAP, image).astype(int)
    assert pixels[1, 1, 0] > pixels[1, 1, 2] + 60
    assert pixels[6, 6, 2] > pixels[6, 6, 0] + 60
    weak = pixels[1, 6]
    assert weak[0] > weak[2]
    assert weak[0] - weak[2] < pixels[1, 1, 0] - pixels[1, 1, 2]


def test_where_nothing_is_attributed_the_image_is_grey_and_its_contrast_kept():
    pixels = blend(np.zeros((8, 8)), np.eye(8)).astype(int)
    assert (pixels[..., 0] == pixels[..., 2]).all()
    assert pixels[0, 0, 0] - pixels[0, 1, 0] > 120


def test_what_is_not_finite_is_left_bare():
    values = np.array([[np.nan, 1.0], [np.inf, -1.0]])
    assert blend(values)[0, 0].tolist() == [255, 255, 255]
    assert extreme(values) == 1.0
    assert extreme(np.full((2, 2), np.nan)) == 0.0


def test_a_title_stands_above_and_widens_a_small_picture():
    plain = render(MAP)
    short, long, longest = (render(MAP, title=title) for title in ("why", "digits " * 8, "digits " * 80))
    assert (short.width, short.height) == (plain.width, plain.height + 26)
    assert plain.width < long.width < longest.width == 640
    found = np.asarray(short.convert("L"))
    assert found[:26].min() < 100
    np.testing.assert_array_equal(np.asarray(short)[26:], np.asarray(plain))


@pytest.mark.parametrize(
    ("shape", "size"), [((8, 8), (256, 256)), ((64, 64), (256, 256)), ((28, 28), (280, 280)), ((300, 200), (256, 300))]
)
def test_small_maps_are_enlarged_by_a_whole_factor(shape, size):
    picture = render(np.ones(shape))
    assert (picture.width, picture.height - 34) == size


def test_the_file_is_a_png_whose_squares_are_the_elements(tmp_path):
    save_overlay(tmp_path / "o.png", MAP, np.eye(8))
    with Image.open(tmp_path / "o.png") as picture:
        assert picture.format == "PNG"
        assert picture.size == (256, 290)
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    square = pixels[32:64, 32:64]
    assert (square == square[0, 0]).all()
    assert square[0, 0, 0] > square[0, 0, 2]
    legend = pixels[256 + 10]
    assert legend[8, 2] > legend[8, 0]
    assert legend[-9, 0] > legend[-9, 2]


@pytest.mark.parametrize(("values", "image"), [(np.ones(4), None), (np.ones((2, 2)), np.ones((3, 3)))])
def test_shapes_that_make_no_picture_are_refused(values, image):
    with pytest.raises(InvalidArgument):
        blend(values, image)
