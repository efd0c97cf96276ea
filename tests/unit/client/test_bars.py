from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFont

from assay import Reason
from assay.bars import _PLOT_WIDTH, _notes, render_bars, save_bars
from assay.lettering import _WIDER_FONTS, fonts, shortened

UP, DOWN = Reason(1, 0, "up", 2.0, 0.1), Reason(2, 1, "down", -1.0, 0.1)


def pixels(reasons, **more):
    return np.asarray(render_bars(reasons, **more)).astype(int)


def red(found):
    return (found[..., 0] > found[..., 2] + 60).nonzero()


def blue(found):
    return (found[..., 2] > found[..., 0] + 60).nonzero()


def test_bars_start_at_zero_and_are_as_long_as_their_values():
    found = pixels([UP, DOWN])[:90]  # without the notes
    rows, up = red(found)
    lower, down = blue(found)
    assert rows.max() < lower.min()
    assert down.max() < up.min()
    assert up.min() - down.max() <= 2  # the line of 0
    assert abs((np.ptp(up) + 1) / (np.ptp(down) + 1) - 2.0) < 0.05


def test_a_whisker_reaches_one_error_to_either_side():
    bare = pixels([Reason(1, 0, "a", 2.0), Reason(2, 1, "b", 1.0)])
    _, columns = red(bare[:90])
    scale = np.ptp(columns) / 2.0
    assert abs(np.ptp(columns) - _PLOT_WIDTH) <= 2
    error = Reason(1, 0, "a", 2.0), Reason(2, 1, "b", 1.0, 0.5)
    with_error = pixels(error)
    start = columns.min()
    middle = with_error[18 + 36 + 18]
    inside = (middle[start:] < 60).all(axis=-1).nonzero()[0]
    low, high = inside[inside < 2.0 * scale].min(), inside[inside < 2.0 * scale].max()
    np.testing.assert_allclose([low / scale, high / scale], [0.5, 1.5], atol=0.03)


@pytest.mark.parametrize("error", [None, np.nan, np.inf])
def test_an_error_that_is_not_known_has_no_whisker(error):
    found = pixels([Reason(1, 0, "a", 2.0, error)])
    _, columns = red(found[:54])
    assert (found[36, columns.min() + 5 : columns.max() - 5, 0] > 100).all()


def test_a_bracket_joins_those_that_are_not_separated():
    plain = render_bars([UP, DOWN])
    joined = render_bars([Reason(1, 0, "up", 2.0, 0.1, tied=True), DOWN])
    assert joined.width > plain.width
    last = render_bars([UP, Reason(2, 1, "down", -1.0, 0.1, tied=True)])

    def dark(picture, top, bottom):
        side = np.asarray(picture)[top:bottom, plain.width - 18 :]
        return int((side < 100).all(axis=-1).sum())

    between, below = (18 + 18, 18 + 54), (18 + 54, 18 + 90)
    assert dark(joined, *between) > 30
    assert dark(joined, *below) == 0
    assert dark(last, *between) == 0
    assert 20 < dark(last, *below) < dark(joined, *between) - 12  # shorter, and without its lower end


def test_only_what_is_there_is_explained_below():
    one, both = render_bars([Reason(1, 0, "up", 2.0)]), render_bars([Reason(1, 0, "up", 2.0, tied=True)])
    assert both.height > one.height
    assert len(blue(np.asarray(one).astype(int))[0]) == 0


def test_long_names_lose_their_middle():
    font = ImageFont.load_default(17)
    name = "country_of_birth=" + "Liechtenstein " * 10 + "(yes)"
    short = shortened(name, font, 300)
    assert font.getlength(short) <= 300 < font.getlength(name)
    start, end = short.split("…")
    assert name.startswith(start)
    assert name.endswith(end)
    assert abs(len(start) - len(end)) <= 1
    assert shortened("mean radius", font, 300) == "mean radius"
    assert render_bars([Reason(1, 0, name, 1.0)]).width < 900


def there_is(font):
    try:
        ImageFont.truetype(font, 17)
    except OSError:
        return False
    return True


def test_names_in_other_letters_take_a_font_that_has_them():
    assert fonts("mean radius", None)(17).getname()[0] == "Aileron"
    known = next((name for name in _WIDER_FONTS if there_is(name)), None)
    if known is None:
        pytest.skip("this system has none of them")
    family = ImageFont.truetype(known, 17).getname()[0]
    assert fonts("Größe", None)(17).getname()[0] == family
    assert fonts("mean radius", known)(17).getname()[0] == family
    assert render_bars([UP], font=known).height == render_bars([UP]).height


def test_the_file_is_a_png_with_its_title(tmp_path):
    save_bars(tmp_path / "b.png", [UP, DOWN], "cancer@1  instance 0")
    with Image.open(tmp_path / "b.png") as picture:
        assert picture.format == "PNG"
        assert picture.height == render_bars([UP, DOWN]).height + 34
        assert (np.asarray(picture)[18:38, 18:150] < 100).any()


def test_nothing_to_tell_is_told():
    empty = np.asarray(render_bars([], title="cancer@1"))
    assert (empty[52:75] < 100).any()
    assert empty.shape[0] > 60


def test_unknown_errors_are_told_once_and_not_by_brackets():
    known = [Reason(1, 0, "up", 2.0), Reason(2, 1, "down", -1.0)]
    unknown = [replace(reason, tied=True, error_known=False) for reason in known]
    assert [words for line in _notes(unknown) for _, words in line] == [
        "raises the score",
        "lowers the score",
        "order not certain: errors not estimated",
    ]
    plain, told = render_bars(known), render_bars(unknown)
    assert told.height > plain.height
    assert told.width == plain.width  # no bracket
