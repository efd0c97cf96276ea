"""Attributions as a picture: red raised the score, blue lowered it, over the image in grey. Needs pillow.

Colours are mixed in OKLab (Ottosson 2020), where equal steps of value look like equal steps of colour: from what lies
beneath towards blue or red, the further the larger |attribution| is. Over white that is a blue-white-red scale. It is
symmetric about 0, and its two ends are equally light.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from assay.errors import invalid
from assay.lettering import fonts, shortened, text_width
from assay.tensors import Array

if TYPE_CHECKING:
    from PIL.Image import Image

MIN_SIDE = 256
"""The longer side of the picture has at least so many pixels."""

# OKLab (L, a, b): one lightness, and hues that stay apart for the colour-blind.
_BLUE, _RED = np.array([0.50, -0.04, -0.17]), np.array([0.50, 0.18, 0.10])
_WHITE = 1.0
# The image's darkest and lightest shade: neither black nor white, so that a tint shows on both.
_DARK, _LIGHT = 0.42, 0.94
_LAB_TO_LMS = np.array(
    [[1.0, 1.0, 1.0], [0.3963377774, -0.1055613458, -0.0894841775], [0.2158037573, -0.0638541728, -1.291485548]]
)
_LMS_TO_RGB = np.array(
    [
        [4.0767416621, -1.2684380046, -0.0041960863],
        [-3.3077115913, 2.6097574011, -0.7034186147],
        [0.2309699292, -0.3413193965, 1.707614701],
    ]
)

_LEGEND_HEIGHT, _BAR_HEIGHT, _MARGIN = 34, 10, 6
_TITLE_HEIGHT, _TITLE_SIZE, _MOST_TITLE_WIDTH = 26, 14, 640


def tint(strength: Array, lightness: Array | float = _WHITE) -> NDArray[np.uint8]:
    """The colour of each strength in -1..1 over a grey of that OKLab lightness: uint8 [..., 3] sRGB.

    0 leaves the grey as it is, -1 is nearly blue, 1 nearly red.
    """
    s = np.clip(np.asarray(strength, np.float64), -1.0, 1.0)[..., None]
    beneath = np.broadcast_to(lightness, s.shape[:-1])[..., None] * np.array([1.0, 0.0, 0.0])
    # The exponent lets weak attributions show; below 1 at the end lets the image shine through the strongest.
    alpha = 0.95 * np.abs(s) ** 0.8
    lab = (1 - alpha) * beneath + alpha * np.where(s < 0, _BLUE, _RED)
    linear = np.clip((lab @ _LAB_TO_LMS) ** 3 @ _LMS_TO_RGB, 0.0, 1.0)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(255 * srgb), np.uint8)


def blend(attribution: Array, image: Array | None = None) -> NDArray[np.uint8]:
    """The picture without enlargement or legend: uint8 [H, W, 3].

    attribution: [H, W]; what isn't finite is left bare. image: [H, W] in any range, shown beneath in grey between its
    smallest and largest value; None is white.
    """
    values = np.asarray(attribution, np.float64)
    if values.ndim != 2 or values.size == 0:
        raise invalid("attribution", f"a picture needs shape [H, W], not {list(values.shape)}")
    known = np.where(np.isfinite(values), values, 0.0)
    return tint(known / (extreme(values) or 1.0), _WHITE if image is None else _grey(image, values.shape))


def extreme(attribution: Array) -> float:
    """Largest finite |attribution|, which the ends of the colour scale stand for; 0.0 where there is none."""
    finite = np.abs(attribution[np.isfinite(attribution)])
    return float(finite.max()) if finite.size else 0.0


def render(attribution: Array, image: Array | None = None, title: str = "") -> Image:
    """The picture of one map [H, W]: `blend` enlarged by a whole factor, each element a square, above a legend.

    title: a line above, which widens a small picture; it loses its middle where it is too long.
    """
    from PIL import Image, ImageDraw

    pixels = blend(attribution, image)
    factor = max(1, -(-MIN_SIDE // max(pixels.shape[:2])))
    height, width = pixels.shape[0] * factor, pixels.shape[1] * factor
    font = fonts(title)(_TITLE_SIZE) if title else None
    wanted = min(text_width(title, font) + 2 * _MARGIN, _MOST_TITLE_WIDTH) if title else 0
    top = _TITLE_HEIGHT if title else 0
    enlarged = Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST)
    canvas = Image.new("RGB", (max(width, MIN_SIDE, wanted), top + height + _LEGEND_HEIGHT), "white")
    canvas.paste(enlarged, ((canvas.width - width) // 2, top))
    draw, below = ImageDraw.Draw(canvas), top + height + _MARGIN
    if title:
        line = shortened(title, font, canvas.width - 2 * _MARGIN)
        draw.text((_MARGIN, top / 2), line, fill="black", font=font, anchor="lm")
    bar_width = canvas.width - 2 * _MARGIN
    bar = np.tile(tint(np.linspace(-1, 1, bar_width)), (_BAR_HEIGHT, 1, 1))
    canvas.paste(Image.fromarray(bar), (_MARGIN, below))
    _label(draw, canvas.width, below + _BAR_HEIGHT + 2, extreme(np.asarray(attribution)))
    return canvas


def save_overlay(path: str | os.PathLike[str], attribution: Array, image: Array | None = None, title: str = "") -> None:
    """Writes `render` as a PNG."""
    render(attribution, image, title).save(path, format="PNG")


def _grey(image: Array, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """The image as OKLab lightness."""
    grey = np.asarray(image, np.float64)
    if grey.shape != shape:
        raise invalid("image", f"shape {list(grey.shape)} isn't that of the map, {list(shape)}")
    finite = grey[np.isfinite(grey)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    scaled = (np.nan_to_num(grey, nan=low, posinf=high, neginf=low) - low) / ((high - low) or 1.0)
    return _DARK + (_LIGHT - _DARK) * scaled


def _label(draw: Any, width: int, top: int, end: float) -> None:
    draw.text((width / 2, top), "0", fill="black", anchor="ma")
    if end:
        draw.text((_MARGIN, top), f"{-end:.3g} lowers", fill="black", anchor="la")
        draw.text((width - _MARGIN, top), f"raises +{end:.3g}", fill="black", anchor="ra")
