"""Text in pictures: Pillow's font, tags, and texts shortened to a width. Pictures are uint8 [H,W,3] RGB."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from segkit.types import Color

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

    Font = FreeTypeFont | ImageFont

INK, PAPER, FAINT = (34, 34, 34), (255, 255, 255), (110, 110, 110)
"""Colors of text, of the ground, and of text that matters less."""


def letters(size: int) -> "Font":
    """Returns Pillow's built-in font; size: of letters in pixels."""
    from PIL import ImageFont

    return ImageFont.load_default(size)


def drawing(picture: np.ndarray) -> tuple["PillowImage", "ImageDraw"]:
    """Copies a picture for drawing with Pillow.

    Args:
        picture: uint8 [H,W,3].

    Returns:
        The copy as a Pillow image (np.array converts it back), and the object that draws on it.
    """
    from PIL import Image, ImageDraw

    image = Image.fromarray(picture)
    return image, ImageDraw.Draw(image)


def shortened(text: str, font: "Font", width: int) -> str:
    """Shortens a text to a width.

    Args:
        text: stays whole where it fits.
        font: that the text is drawn in.
        width: in pixels.

    Returns:
        The text, or its end behind three dots: the end of a path tells most.
    """
    if font.getlength(text) <= width:
        return text
    while text and font.getlength("..." + text) > width:
        text = text[1:]
    return "..." + text


class Tag(NamedTuple):
    """A text on a colored ground.

    Args:
        x: left side in pixels.
        y: lower side in pixels.
        text: to draw.
        color: of the ground.
    """

    x: int
    y: int
    text: str
    color: Color


def tagged(picture: np.ndarray, tags: list[Tag]) -> np.ndarray:
    """Draws tags on a copy of a picture, uint8 [H,W,3]; letters are dark or light, whichever is readable."""
    size = max(12, round(min(picture.shape[:2]) / 28))
    font = letters(size)
    drawn, draw = drawing(picture)
    for x, y, text, color in tags:
        wide, high = round(font.getlength(text)) + size // 2, round(size * 1.3)
        x, y = max(0, min(x, picture.shape[1] - wide)), max(0, y - high)
        draw.rectangle((x, y, x + wide, y + high), fill=color)
        # brightness as Rec. 601 weighs it decides whether letters are dark or light
        is_bright = np.dot(color, (0.299, 0.587, 0.114)) > 140
        draw.text((x + size // 4, y + high // 2), text, fill=INK if is_bright else PAPER, font=font, anchor="lm")
    return np.array(drawn)
