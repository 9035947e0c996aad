"""What films draw with: colours, text that fits its room, a mark of success or failure.

Text uses Pillow's built-in font, so there is no font file to find.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from PIL import ImageDraw, ImageFont
from PIL.ImageFont import FreeTypeFont

Colour = tuple[int, int, int]

BACKGROUND, TRACK = (20, 24, 31), (46, 53, 66)
INK, FAINT = (238, 240, 245), (162, 170, 184)
# Light variants of the plots' colours, for a dark ground.
ORANGE, BLUE, GREEN, RED = (242, 140, 60), (86, 180, 233), (53, 196, 150), (240, 98, 98)
# Pillow's built-in font has no real minus sign and few symbols beyond Latin-1.
_REPLACEMENTS = str.maketrans({"−": "-", "–": "-", "→": "to", "µ": "u", "μ": "u"})


class VideoError(RuntimeError):
    """Frames that cannot become a film, or an encoder that failed."""


@cache
def _font(size: int) -> FreeTypeFont:
    font = ImageFont.load_default(size)
    if not isinstance(font, FreeTypeFont):
        raise VideoError("Pillow was built without FreeType, which the labels need")
    return font


def text_width(words: str, size: float) -> float:
    """Return how wide a text is, in pixels."""
    return _font(round(size)).getlength(words.translate(_REPLACEMENTS))


def write_text(
    draw: ImageDraw.ImageDraw,
    place: tuple[float, float],
    words: str,
    size: float,
    colour: Colour,
    anchor: str,
    room: float | None = None,
) -> float:
    """Write text, smaller if it would not fit the room, and return its width in pixels."""
    words = words.translate(_REPLACEMENTS)
    width = text_width(words, size)
    if room is not None and width > room > 0:
        size = max(6, int(size * room / width))
        width = text_width(words, size)
    draw.text(place, words, fill=colour, font=_font(round(size)), anchor=anchor)
    return width


def in_lines(parts: Sequence[str], between: str, size: float, room: float) -> list[str]:
    """Return parts of a text in as few lines as there is room for, none of them broken."""
    lines: list[str] = []
    for part in parts:
        longer = f"{lines[-1]}{between}{part}" if lines else part
        if lines and text_width(longer, size) <= room:
            lines[-1] = longer
        else:
            lines.append(part)
    return lines


def draw_mark(
    draw: ImageDraw.ImageDraw, centre: tuple[float, float], radius: float, success: bool
) -> None:
    """Draw a tick or a cross on a disc: shape and colour both tell, and no font has to have it."""
    x, y = centre
    r = radius * 0.5
    disc = (x - radius, y - radius, x + radius, y + radius)
    draw.ellipse(disc, fill=GREEN if success else RED, outline=INK, width=max(1, int(radius / 8)))
    pen = max(2, round(radius / 3.5))
    if success:
        tick = [(x - r, y + 0.1 * r), (x - 0.2 * r, y + 0.8 * r), (x + r, y - 0.7 * r)]
        draw.line(tick, fill=(255, 255, 255), width=pen, joint="curve")
    else:
        draw.line((x - 0.8 * r, y - 0.8 * r, x + 0.8 * r, y + 0.8 * r), (255, 255, 255), pen)
        draw.line((x - 0.8 * r, y + 0.8 * r, x + 0.8 * r, y - 0.8 * r), (255, 255, 255), pen)
