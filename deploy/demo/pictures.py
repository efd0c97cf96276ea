"""The demo's contact sheet: images above, their overlays below."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from assay.overlay import blend

_CELL, _GAP, _CAPTION = 192, 10, 26


def contact_sheet(
    path: Path, examples: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], captions: Sequence[str]
) -> None:
    """Write a PNG: in each column an image [H, W] and below it the attribution [H, W] over it.

    The box (y0, x0, y1, x1) is where the evidence should be.
    """
    font = ImageFont.load_default(15)
    width = len(examples) * (_CELL + _GAP) + _GAP
    sheet = Image.new("RGB", (width, 2 * (_CELL + _GAP) + _GAP + _CAPTION), "white")
    draw = ImageDraw.Draw(sheet)
    for column, ((image, attribution, box), caption) in enumerate(zip(examples, captions, strict=True)):
        left = _GAP + column * (_CELL + _GAP)
        draw.text((left, 6), f"why {caption}?", fill="black", font=font)
        plain = Image.fromarray(np.uint8(np.rint(255 * np.clip(image, 0, 1)))).convert("RGB")
        over = Image.fromarray(blend(attribution, image))
        for row, picture in enumerate((plain, over)):
            top = _CAPTION + _GAP + row * (_CELL + _GAP)
            sheet.paste(picture.resize((_CELL, _CELL), Image.Resampling.NEAREST), (left, top))
        y0, x0, y1, x1 = (float(v) * _CELL / image.shape[0] for v in box)
        draw.rectangle((left + x0, top + y0, left + x1, top + y1), outline="black", width=2)
    sheet.save(path)
