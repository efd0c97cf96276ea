"""The demo's pictures: images and series, with what each method says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from assay.overlay import blend

_CELL, _GAP, _CAPTION, _SIDE = 168, 8, 26, 96
_STEP, _BAND = 30, 26


def contact_sheet(
    path: Path,
    images: np.ndarray,
    by_method: Mapping[str, np.ndarray],
    boxes: np.ndarray,
    labels: Sequence[str],
) -> None:
    """Write a PNG: a column for each image [n, H, W], and below it each method's attribution [n, H, W] over it.

    The box (y0, x0, y1, x1) is where the evidence should be.
    """
    font = ImageFont.load_default(15)
    rows = ["", *by_method]
    size = (_SIDE + len(images) * (_CELL + _GAP) + _GAP, _CAPTION + len(rows) * (_CELL + _GAP) + _GAP)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for row, name in enumerate(rows):
        top = _CAPTION + _GAP + row * (_CELL + _GAP)
        draw.text((_GAP, top + _CELL / 2 - 10), name, fill="black", font=font)
        for column, image in enumerate(images):
            left = _SIDE + column * (_CELL + _GAP)
            if row == 0:
                draw.text((left, 6), f"why {labels[column]}?", fill="black", font=font)
                plain = np.uint8(np.rint(255 * np.clip(image, 0, 1)))
                picture = Image.fromarray(plain).convert("RGB")
            else:
                picture = Image.fromarray(blend(by_method[name][column], image))
            sheet.paste(picture.resize((_CELL, _CELL), Image.Resampling.NEAREST), (left, top))
            y0, x0, y1, x1 = (float(v) * _CELL / image.shape[0] for v in boxes[column])
            draw.rectangle((left + x0, top + y0, left + x1, top + y1), outline="black", width=2)
    sheet.save(path)


def strips(
    path: Path,
    series: np.ndarray,
    by_method: Mapping[str, np.ndarray],
    spans: np.ndarray,
    labels: Sequence[str],
) -> None:
    """Write a PNG: each series [n, steps, values] as a band of grey, time to the right, and below it a band for each
    method's values [n, steps]; a frame around the steps (start, stop) where the evidence should be.
    """
    font = ImageFont.load_default(15)
    steps = series.shape[1]
    tall = int(_STEP * series.shape[2] / 2)
    height = tall + len(by_method) * (_BAND + 2)
    sheet = Image.new("RGB", (_SIDE + steps * _STEP + _GAP, len(series) * (height + 3 * _GAP) + _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for n, values in enumerate(series):
        top = _GAP + n * (height + 3 * _GAP)
        draw.text((_GAP, top + tall / 2 - 10), f"why {labels[n]}?", fill="black", font=font)
        grey = np.uint8(255 - np.rint(255 * np.clip(values.T / max(values.max(), 1e-9), 0, 1)))
        band = Image.fromarray(grey).convert("RGB").resize((steps * _STEP, tall), Image.Resampling.NEAREST)
        sheet.paste(band, (_SIDE, top))
        for k, (name, found) in enumerate(by_method.items()):
            below = top + tall + 2 + k * (_BAND + 2)
            draw.text((_GAP, below + 4), name, fill="black", font=font)
            colours = Image.fromarray(blend(found[n][None, :])).resize((steps * _STEP, _BAND), Image.Resampling.NEAREST)
            sheet.paste(colours, (_SIDE, below))
        start, stop = (_SIDE + int(v) * _STEP for v in spans[n])
        draw.rectangle((start, top - 2, stop, top + height), outline="black", width=2)
    sheet.save(path)
