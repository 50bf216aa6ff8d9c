"""The contact sheet: every picture with what was asked for, a row of cards for each tenant."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFilter, ImageFont

__all__ = ["Picture", "Row", "contact_sheet"]

_SIDE = 176
_PAD = 10
_CAPTION = 62
_GAP = 14
_MARGIN = 40
_HEADER = 80
_TITLE = 44
_CARD = (_SIDE + 2 * _PAD, _SIDE + 2 * _PAD + _CAPTION)
_PAPER = (246, 245, 242)
_INK = (38, 38, 43)
_GREY = (124, 123, 130)
_CAPTION_SIZE = 13
_LINES = 3

Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Picture:
    """An encoded picture and its caption."""

    content: bytes
    caption: str


@dataclass(frozen=True, slots=True)
class Row:
    """The pictures of one tenant, under its title."""

    title: str
    note: str
    colour: Colour
    pictures: Sequence[Picture]


def contact_sheet(title: str, note: str, rows: Sequence[Row]) -> bytes:
    """The sheet as a PNG."""
    columns = max([1, *(len(row.pictures) for row in rows)])
    width = 2 * _MARGIN + columns * (_CARD[0] + _GAP) - _GAP
    height = _MARGIN + _HEADER + len(rows) * (_TITLE + _CARD[1] + _GAP) + _MARGIN - _GAP
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, _MARGIN - 4), title, fill=_INK, font=_font(34))
    draw.text((_MARGIN, _MARGIN + 42), note, fill=_GREY, font=_font(16))
    for number, row in enumerate(rows):
        top = _MARGIN + _HEADER + number * (_TITLE + _CARD[1] + _GAP)
        draw.rounded_rectangle((_MARGIN, top + 4, _MARGIN + 5, top + 28), 2, fill=row.colour)
        draw.text((_MARGIN + 16, top + 4), row.title, fill=_INK, font=_font(20))
        indent = draw.textlength(row.title, font=_font(20))
        draw.text((_MARGIN + 28 + indent, top + 9), row.note, fill=_GREY, font=_font(15))
        for column, picture in enumerate(row.pictures):
            _place(sheet, picture, (_MARGIN + column * (_CARD[0] + _GAP), top + _TITLE))
    written = io.BytesIO()
    sheet.save(written, "PNG", optimize=True)
    return written.getvalue()


def _place(sheet: Image.Image, picture: Picture, at: tuple[int, int]) -> None:
    left, top = at
    shadow = Image.new("L", (_CARD[0] + 24, _CARD[1] + 24), 0)
    ImageDraw.Draw(shadow).rounded_rectangle((12, 14, 12 + _CARD[0], 14 + _CARD[1]), 10, fill=46)
    sheet.paste((60, 58, 66), (left - 12, top - 12), shadow.filter(ImageFilter.GaussianBlur(6)))
    draw = ImageDraw.Draw(sheet)
    draw.rounded_rectangle((left, top, left + _CARD[0], top + _CARD[1]), 10, fill=(255, 255, 255))
    with Image.open(io.BytesIO(picture.content)) as encoded:
        image = encoded.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    # Drawn large and made small: PIL's own rounded corners are jagged.
    corners = Image.new("L", (4 * _SIDE, 4 * _SIDE), 0)
    ImageDraw.Draw(corners).rounded_rectangle((0, 0, 4 * _SIDE - 1, 4 * _SIDE - 1), 24, fill=255)
    sheet.paste(image, (left + _PAD, top + _PAD), corners.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS))
    lines = _wrapped(draw, picture.caption)
    draw.multiline_text(
        (left + _PAD, top + _SIDE + _PAD + 8), "\n".join(lines), fill=_INK, font=_font(_CAPTION_SIZE), spacing=3
    )


def _wrapped(draw: ImageDraw.ImageDraw, text: str) -> list[str]:
    """``text`` in lines that fit under a picture."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if draw.textlength(longer, font=_font(_CAPTION_SIZE)) <= _SIDE:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines if len(lines) <= _LINES else [*lines[: _LINES - 1], lines[_LINES - 1] + " …"]


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
