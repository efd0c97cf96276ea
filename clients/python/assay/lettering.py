"""Text in pictures: fonts that have its letters, and names that fit."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

# Pillow's own font has the letters of English alone; these have most others, where the system has one of them.
_WIDER_FONTS = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf", "Arial.ttf")

_TRIED_SIZE = 17


def fonts(letters: str, path: str | os.PathLike[str] | None = None) -> Callable[[int], Any]:
    """The font of each size, in pixels: of a TrueType file, else Pillow's own or a wider one if it lacks a letter."""
    from PIL import ImageFont

    if path is not None:
        return lambda size: ImageFont.truetype(os.fspath(path), size)
    plain = ImageFont.load_default(_TRIED_SIZE)
    lacking = bytes(plain.getmask("\U0010ffff"))
    if any(bytes(plain.getmask(letter)) == lacking for letter in set(letters)):
        for wider in _WIDER_FONTS:
            try:
                ImageFont.truetype(wider, _TRIED_SIZE)
            except OSError:
                continue
            return lambda size: ImageFont.truetype(wider, size)
    return ImageFont.load_default


def text_width(text: str, font: Any) -> int:
    """Pixels, rounded up."""
    return math.ceil(float(font.getlength(text)))


def shortened(text: str, font: Any, most: int) -> str:
    """The text, without its middle where it is wider than `most` pixels: names often differ at their ends."""
    kept = len(text)
    short = text
    while text_width(short, font) > most and kept > 2:
        kept -= 1
        short = f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"
    return short
