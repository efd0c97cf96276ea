"""Reasons as a picture: one bar each, red raises the score, blue lowers it, as in `overlay`. Needs pillow."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.lettering import fonts, shortened, text_width
from assay.overlay import tint
from assay.reasons import Reason, figure, with_value

if TYPE_CHECKING:
    from PIL.Image import Image

_TITLE_SIZE, _TEXT_SIZE, _NOTE_SIZE, _NOTE_HEIGHT = 20, 17, 14, 22
_MARGIN, _GAP = 18, 14
_ROW_HEIGHT, _BAR_HEIGHT, _CAP_HEIGHT, _BRACKET_WIDTH, _SIGN_WIDTH = 36, 20, 10, 24, 19
_PLOT_WIDTH, _MOST_NAME_WIDTH, _MOST_TITLE_WIDTH = 380, 300, 900
_INK, _FAINT, _AXIS = (20, 20, 20), (95, 95, 95), (150, 150, 150)
_BLUE, _RED = (tuple(int(c) for c in tint(np.array(end))) for end in (-0.85, 0.85))


def render_bars(reasons: Sequence[Reason], title: str = "", font: str | os.PathLike[str] | None = None) -> Image:
    """One bar for each reason, from the top: name, bar with a whisker of one error to either side, value and error.

    A bracket with a wavy sign joins a reason to the next where the two aren't separated (`Reason.tied`); the last one's
    is open below, since the next isn't shown. Errors that nobody estimated are told of instead. Long names lose their
    middle.

    title: a line above. font: path of a TrueType font, for letters that Pillow's own doesn't have; None takes a common
    one of the system for those.
    """
    from PIL import Image, ImageDraw

    load = fonts("".join([title, *(reason.name for reason in reasons)]), font)
    text, small, large = load(_TEXT_SIZE), load(_NOTE_SIZE), load(_TITLE_SIZE)
    names = [shortened(with_value(reason), text, _MOST_NAME_WIDTH) for reason in reasons]
    figures = [figure(reason.value, reason.error) for reason in reasons]
    left = _MARGIN + max((text_width(name, text) for name in names), default=0) + _GAP
    right = left + _PLOT_WIDTH + _GAP
    bracket = right + max((text_width(one, text) for one in figures), default=0) + _GAP
    width = bracket + (_BRACKET_WIDTH if any(map(_has_bracket, reasons)) else -_GAP) + _MARGIN
    top = _MARGIN + (_TITLE_SIZE + _GAP if title else 0)
    bottom = top + _ROW_HEIGHT * max(len(reasons), 1)
    notes = _notes(reasons)
    written = [_length(line, small) for line in notes] + [min(text_width(title, large), _MOST_TITLE_WIDTH)]
    width = max(width, 2 * _MARGIN + max(written))
    canvas = Image.new("RGB", (width, bottom + _MARGIN + _NOTE_HEIGHT * len(notes)), "white")
    draw = ImageDraw.Draw(canvas)
    draw.text((_MARGIN, _MARGIN), shortened(title, large, width - 2 * _MARGIN), fill=_INK, font=large)
    if not reasons:
        draw.text((_MARGIN, top), "No feature raises or lowers the score.", fill=_INK, font=text)
        return canvas
    place = _scale(reasons, left)
    for row, reason in enumerate(reasons):
        middle = top + _ROW_HEIGHT * row + _ROW_HEIGHT // 2
        draw.text((left - _GAP, middle), names[row], fill=_INK, font=text, anchor="rm")
        draw.text((right, middle), figures[row], fill=_INK, font=text, anchor="lm")
        _draw_bar(draw, middle, place, reason)
        if _has_bracket(reason):
            _draw_bracket(draw, bracket, middle, text, last=row == len(reasons) - 1)
    draw.line([(place(0.0), top), (place(0.0), bottom)], fill=_AXIS)
    for line, note in enumerate(notes):
        _draw_note(draw, bottom + _GAP + _NOTE_HEIGHT * line + _NOTE_SIZE // 2, small, note)
    return canvas


def save_bars(
    path: str | os.PathLike[str],
    reasons: Sequence[Reason],
    title: str = "",
    font: str | os.PathLike[str] | None = None,
) -> None:
    """Writes `render_bars` as a PNG."""
    render_bars(reasons, title, font).save(path, format="PNG")


def _scale(reasons: Sequence[Reason], left: int) -> Callable[[float], int]:
    """From a value to its x in pixels: every bar and whisker fits, and 0 is among them."""
    reach = [0.0]
    for reason in reasons:
        error = _finite_error(reason)
        reach += [reason.value - error, reason.value + error]
    low, high = min(reach), max(reach)
    return lambda value: left + round((value - low) / ((high - low) or 1.0) * _PLOT_WIDTH)


def _finite_error(reason: Reason) -> float:
    return reason.error if reason.error is not None and math.isfinite(reason.error) else 0.0


def _draw_bar(draw: Any, middle: int, place: Callable[[float], int], reason: Reason) -> None:
    start, end = sorted((place(0.0), place(reason.value)))
    box = (start, middle - _BAR_HEIGHT // 2, end, middle + _BAR_HEIGHT // 2)
    draw.rectangle(box, fill=_RED if reason.value > 0 else _BLUE)
    error = _finite_error(reason)
    if error:
        _draw_whisker(draw, place(reason.value - error), place(reason.value + error), middle)


def _draw_whisker(draw: Any, low: int, high: int, middle: int) -> None:
    draw.line([(low, middle), (high, middle)], fill=_INK, width=2)
    for x in (low, high):
        draw.line([(x, middle - _CAP_HEIGHT // 2), (x, middle + _CAP_HEIGHT // 2)], fill=_INK, width=2)


def _draw_bracket(draw: Any, x: int, middle: int, font: Any, *, last: bool) -> None:
    """From this row to the next; open below where the next isn't shown."""
    start, end = middle + 5, middle + _ROW_HEIGHT - (14 if last else 5)
    arm = x + 6
    draw.line([(x, start), (arm, start), (arm, end)], fill=_INK)
    if not last:
        draw.line([(x, end), (arm, end)], fill=_INK)
    _draw_waves(draw, arm + 4, (start + end) // 2, font)


def _draw_waves(draw: Any, x: int, middle: int, font: Any) -> None:
    """The sign for "about equal", which Pillow's own font lacks."""
    for y in (middle - 3, middle + 3):
        draw.text((x, y), "~", fill=_INK, font=font, anchor="lm")


def _notes(reasons: Sequence[Reason]) -> list[list[tuple[str, str]]]:
    """What the picture has to be told about: lines of (sign, words)."""
    line = []
    if any(reason.value > 0 for reason in reasons):
        line.append(("red", "raises the score"))
    if any(reason.value < 0 for reason in reasons):
        line.append(("blue", "lowers the score"))
    if any(_finite_error(reason) for reason in reasons):
        line.append(("whisker", "one error to either side"))
    tied = [("waves", "order not certain: within 2 combined errors")] if any(map(_has_bracket, reasons)) else []
    if reasons and _has_bracket(reasons[-1]):
        tied = [(sign, f"{words}; open: of the first left out") for sign, words in tied]
    unknown = [] if all(r.error_known for r in reasons) else [("", "order not certain: errors not estimated")]
    return [found for found in (line, tied, unknown) if found]


def _has_bracket(reason: Reason) -> bool:
    """Whether it is joined to the next: where no errors are known all would be, and a note says it once."""
    return reason.tied and reason.error_known


def _length(line: Sequence[tuple[str, str]], font: Any) -> int:
    return sum(_sign_width(sign) + text_width(words, font) + 2 * _GAP for sign, words in line) - 2 * _GAP


def _sign_width(sign: str) -> int:
    return _SIGN_WIDTH if sign else 0


def _draw_note(draw: Any, middle: int, font: Any, line: Sequence[tuple[str, str]]) -> None:
    x = _MARGIN
    for sign, words in line:
        if sign == "waves":
            _draw_waves(draw, x, middle, font)
        elif sign == "whisker":
            _draw_whisker(draw, x, x + 12, middle)
        elif sign:
            draw.rectangle((x, middle - 6, x + 12, middle + 6), fill=_RED if sign == "red" else _BLUE)
        draw.text((x + _sign_width(sign), middle), words, fill=_FAINT, font=font, anchor="lm")
        x += _sign_width(sign) + text_width(words, font) + 2 * _GAP
