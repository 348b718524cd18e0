"""Pictures of labels, instances and clicks over images, and grids of them.

H W image, K classes, n objects, P clicks per sign. Pictures are uint8 [H,W,3] RGB, palettes K rows of (r, g, b) in
0..255. Every function returns a new array. Plots of numbers are in plots.py.
"""

import io
import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from segkit.data.files.run_lengths import decode_mask
from segkit.files import write_whole
from segkit.types import RLE, Color, default_palette
from segkit.viz.text import FAINT, INK, PAPER, Tag, drawing, letters, shortened, tagged

Palette = Sequence[Color]

IGNORED = (224, 224, 224)
"""Color of ignored pixels: black is the background of many palettes."""
POSITIVE, NEGATIVE, CHOSEN = (0, 158, 115), (213, 94, 0), (86, 180, 233)
"""Colors of clicks and of the chosen object, which color-blind people tell apart too.

Okabe and Ito, Color Universal Design, 2008.
"""


def to_rgb(image: np.ndarray) -> np.ndarray:
    """Converts any image to RGB.

    Args:
        image: numeric [H,W] or [H,W,C]. Of more than three channels the first three are shown, of fewer the first.
            Where values lie outside 0..255, their range is stretched to it.

    Returns:
        uint8 [H,W,3].
    """
    image = image[..., None] if image.ndim == 2 else image
    image = image[..., :3] if image.shape[-1] >= 3 else np.repeat(image[..., :1], 3, axis=-1)
    if image.dtype != np.uint8:
        image = np.nan_to_num(image.astype(np.float32))
        low, high = float(image.min()), float(image.max())
        if low < 0 or high > 255:
            image = (image - low) * (255 / max(high - low, 1e-12))
        image = np.rint(image).astype(np.uint8)
    return np.ascontiguousarray(image)


def colorize(labels: np.ndarray, palette: Palette, ignore: int = 255) -> np.ndarray:
    """Draws a label map in the colors of its classes.

    Args:
        labels: integer [H,W], 0..K-1 or `ignore`.
        palette: K colors.
        ignore: label of ignored pixels.

    Returns:
        uint8 [H,W,3]; ignored pixels are light grey.

    Raises:
        ValueError: a label has no color.
    """
    num_classes = len(palette)
    kept = labels != ignore
    indices = np.where(kept, labels, num_classes).astype(np.int64)
    bad = kept & ((indices < 0) | (indices >= num_classes))
    if bad.any():
        raise ValueError(f"label {labels[bad][0]} has no color: the palette has {num_classes} and ignore is {ignore}")
    return np.array([*palette, IGNORED], np.uint8)[indices]


def overlay(
    image: np.ndarray, labels: np.ndarray, palette: Palette, alpha: float = 0.5, ignore: int = 255
) -> np.ndarray:
    """Draws a label map over an image.

    Args:
        image: [H,W,C], see `to_rgb`.
        labels: integer [H,W], 0..K-1 or `ignore`.
        palette: K colors.
        alpha: opacity of the labels in 0..1.
        ignore: label of ignored pixels, which show the image alone.

    Returns:
        uint8 [H,W,3].

    Raises:
        ValueError: image and labels have different sizes, or a label has no color.
    """
    picture = to_rgb(image)
    if picture.shape[:2] != labels.shape:
        raise ValueError(f"labels of {labels.shape} do not fit an image of {picture.shape[:2]}; resize one of them")
    mixed = cv2.addWeighted(colorize(labels, palette, ignore), alpha, picture, 1 - alpha, 0)
    return np.where((labels != ignore)[..., None], mixed, picture)


def overlay_masks(image: np.ndarray, masks: np.ndarray, palette: Palette, alpha: float = 0.4) -> np.ndarray:
    """Draws masks that may overlap over an image, each tinted and outlined in its color.

    Args:
        image: [H,W,C], see `to_rgb`.
        masks: [K,H,W], 1 or True where the class is; all else shows the image.
        palette: K colors.
        alpha: opacity of each tint in 0..1.

    Returns:
        uint8 [H,W,3].

    Raises:
        ValueError: image and masks have different sizes, or a mask has no color.
    """
    picture = to_rgb(image).copy()
    if picture.shape[:2] != masks.shape[1:]:
        raise ValueError(f"masks of {masks.shape[1:]} do not fit an image of {picture.shape[:2]}; resize one of them")
    if len(masks) > len(palette):
        raise ValueError(f"{len(masks)} masks, and the palette has {len(palette)} colors")
    drawn = [(np.asarray(mask) == 1, _as_ints(color)) for mask, color in zip(masks, palette)]
    for is_class, color in drawn:
        tint = np.rint((1 - alpha) * picture[is_class] + alpha * np.array(color))
        picture[is_class] = tint.astype(np.uint8)
    thickness = max(1, round(min(picture.shape[:2]) / 180))
    for is_class, color in drawn:
        outlines, _ = cv2.findContours(is_class.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, outlines, -1, color, thickness)
    return picture


def draw_instances(
    image: np.ndarray,
    masks: np.ndarray | Sequence[np.ndarray | RLE] | None,
    labels: Sequence[int] | np.ndarray,
    boxes: np.ndarray | None = None,
    scores: Sequence[float] | None = None,
    classes: Sequence[str] = (),
    palette: Palette = (),
) -> np.ndarray:
    """Draws objects in their classes' colors, with outline, box and a tag such as "class 93" (score in percent).

    Args:
        image: [H,W,C], see `to_rgb`.
        masks: uint8 [n,H,W], n COCO run-length codes, or None.
        labels: n indices into classes and palette.
        boxes: float [n,4] x0, y0, x1, y1 in pixels, x1 and y1 exclusive. Objects without a box have no tag.
        scores: n scores in 0..1.
        classes: K names; without them tags show the label.
        palette: K colors; without them `default_palette` is used.

    Returns:
        uint8 [sH,sW,3], where s is 1, or the whole factor that enlarges a small image until names can be read on it
        (longer side of 320 pixels or more).
    """
    scale = -(-320 // max(image.shape[:2]))
    picture = _enlarged(to_rgb(image), scale)
    palette = palette or default_palette(int(max(labels, default=0)) + 2)[1:]
    drawn = [] if masks is None else [_enlarged(decoded(mask), scale) for mask in masks]
    for mask, label in zip(drawn, labels):
        tint = np.array(palette[int(label)], np.uint8)
        picture[mask] = (picture[mask] // 2 + tint // 2).astype(np.uint8)
    thickness = max(1, round(min(picture.shape[:2]) / 180))
    for mask, label in zip(drawn, labels):
        outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, outlines, -1, _as_ints(palette[int(label)]), thickness)
    tags: list[Tag] = []
    for i, box in enumerate([] if boxes is None else boxes):
        x0, y0, x1, y1 = (round(scale * float(value)) for value in box)
        color = _as_ints(palette[int(labels[i])])
        cv2.rectangle(picture, (x0, y0), (x1 - 1, y1 - 1), color, thickness)
        name = classes[int(labels[i])] if len(classes) else str(int(labels[i]))
        tags.append(Tag(x0, y0, name if scores is None else f"{name} {100 * float(scores[i]):.0f}", color))
    return tagged(picture, tags)


def draw_clicks(image: np.ndarray, mask: np.ndarray | None, clicks: np.ndarray) -> np.ndarray:
    """Draws clicks: the chosen object tinted, positive clicks as green "+" discs, negative ones as orange "-" discs.

    Args:
        image: [H,W,C], see `to_rgb`.
        mask: the chosen object, uint8 or bool [H,W], or None.
        clicks: float [2P,3] y, x, order in pixels, the first P positive, the last P negative; rows are empty where
            max(y, x) < 0.

    Returns:
        uint8 [H,W,3].
    """
    picture = to_rgb(image).copy()
    if mask is not None:
        chosen = np.asarray(mask) > 0
        picture[chosen] = (picture[chosen] // 2 + np.array(CHOSEN, np.uint8) // 2).astype(np.uint8)
        outlines, _ = cv2.findContours(chosen.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, outlines, -1, PAPER, max(1, round(min(picture.shape[:2]) / 300)))
    radius = max(3, round(min(picture.shape[:2]) / 60))
    for i, (y, x, _) in enumerate(np.asarray(clicks, float)):
        if max(y, x) < 0:
            continue
        is_positive = i < len(clicks) // 2
        center, arm = (round(x), round(y)), max(1, round(radius * 0.55))
        cv2.circle(picture, center, radius + 1, PAPER, -1, cv2.LINE_AA)
        cv2.circle(picture, center, radius, POSITIVE if is_positive else NEGATIVE, -1, cv2.LINE_AA)
        width = max(1, radius // 3)
        cv2.line(picture, (center[0] - arm, center[1]), (center[0] + arm, center[1]), PAPER, width)
        if is_positive:
            cv2.line(picture, (center[0], center[1] - arm), (center[0], center[1] + arm), PAPER, width)
    return picture


def legend(classes: Sequence[str], palette: Palette, width: int = 640, text: int = 14) -> np.ndarray:
    """Draws a legend: the color and name of each class.

    Args:
        classes: K names.
        palette: K colors.
        width: of the picture in pixels; names that do not fit go to the next line.
        text: letter size in pixels.

    Returns:
        uint8 [H,width,3].
    """
    font, line, x, y = letters(text), round(text * 1.7), text // 2, 0
    corners = []
    for name in classes:
        needed = round(text * 1.4 + font.getlength(name))
        if x > text // 2 and x + needed > width:
            x, y = text // 2, y + line
        corners.append((x, y))
        x += needed + text
    sheet, draw = drawing(np.full((y + line, width, 3), PAPER, np.uint8))
    for (x, y), name, color in zip(corners, classes, palette):
        box = (x, y + line // 2 - text // 2, x + text, y + line // 2 + text // 2)
        draw.rectangle(box, fill=_as_ints(color), outline=FAINT)
        draw.text((x + round(text * 1.4), y + line // 2), name, fill=INK, font=font, anchor="lm")
    return np.array(sheet)


def grid(
    rows: Sequence[Sequence[np.ndarray]],
    titles: Sequence[str] = (),
    captions: Sequence[str] = (),
    classes: Sequence[str] = (),
    palette: Palette = (),
    cell: int = 320,
) -> np.ndarray:
    """Arranges images in rows and columns on white, with their names.

    Args:
        rows: rows of images [H,W,C] of any size, which are scaled to the cells.
        titles: one per column, above it.
        captions: one per row, below it.
        classes: K names for a legend at the bottom.
        palette: K colors of the legend.
        cell: longer side of a cell in pixels.

    Returns:
        uint8 [H,W,3].

    Raises:
        ValueError: there is no image.
    """
    images = [[to_rgb(image) for image in row] for row in rows]
    if not any(images):
        raise ValueError("a grid needs at least one image")
    text, gap = max(13, cell // 20), max(6, cell // 40)
    aspect = np.median([image.shape[0] / image.shape[1] for row in images for image in row])
    height, width = max(1, round(cell * min(1, aspect))), max(1, round(cell / max(1, aspect)))
    columns = max(len(row) for row in images)
    head, foot = (text * 2 if titles else gap), (round(text * 1.8) if captions else gap)
    total = columns * (width + gap) + gap
    sheet = np.full((head + len(images) * (height + foot), total, 3), PAPER, np.uint8)
    for r, row in enumerate(images):
        for c, image in enumerate(row):
            y, x = head + r * (height + foot), gap + c * (width + gap)
            sheet[y : y + height, x : x + width] = _fitted(image, height, width)
    drawn, draw = drawing(sheet)
    for c, title in enumerate(titles):
        middle = (gap + c * (width + gap) + width // 2, head // 2)
        draw.text(middle, shortened(title, letters(text), width), fill=INK, font=letters(text), anchor="mm")
    small = letters(round(text * 0.85))
    for r, caption in enumerate(captions):
        left = (gap, head + (r + 1) * height + r * foot + foot // 2)
        draw.text(left, shortened(caption, small, total - 2 * gap), fill=FAINT, font=small, anchor="lm")
    keys = [legend(classes, palette, total, text)] if len(classes) else []
    return np.concatenate([np.array(drawn), *keys, np.full((gap, total, 3), PAPER, np.uint8)])


def save_png(path: str | os.PathLike, image: np.ndarray) -> Path:
    """Writes a PNG file that is whole or absent; its folders are made.

    Args:
        path: the file.
        image: uint8 or uint16, [H,W] or [H,W,3] RGB.

    Returns:
        The path.

    Raises:
        ValueError: the image has another type.
        OSError: the file cannot be written.
    """
    if image.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"{path}: a PNG holds uint8 or uint16, not {image.dtype}; convert the image first")
    return write_file(Path(path), png(image))


def png(image: np.ndarray) -> bytes:
    """Returns the content of a PNG file of an image, uint8 or uint16, [H,W] or [H,W,3] RGB."""
    return cv2.imencode(".png", image[..., ::-1] if image.ndim == 3 else image)[1].tobytes()


def save_label_png(path: str | os.PathLike, labels: np.ndarray, palette: Palette) -> Path:
    """Writes a palette PNG, which holds labels and their colors.

    Args:
        path: the file.
        labels: integer [H,W] in 0..255.
        palette: K colors.

    Returns:
        The path.

    Raises:
        ValueError: a label lies outside 0..255.
        OSError: the file cannot be written.
    """
    if labels.min(initial=0) < 0 or labels.max(initial=0) > 255:
        range_of = f"{labels.min()}..{labels.max()}"
        raise ValueError(f"{path}: a palette PNG holds 0..255, not {range_of}; use save_png(labels.astype('uint16'))")
    return write_file(Path(path), label_png(labels, palette))


def label_png(labels: np.ndarray, palette: Palette) -> bytes:
    """Returns the content of a palette PNG; labels: integer [H,W] in 0..255."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(labels, np.uint8)).convert("P")
    colors = np.full((256, 3), IGNORED, np.uint8)
    colors[: len(palette[:256])] = palette[:256]
    picture.putpalette(colors.tobytes())
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def write_file(path: Path, content: bytes) -> Path:
    """Writes a file that is whole or absent and returns its path.

    Raises:
        OSError: the file cannot be written; the message names path and reason.
    """
    return write_whole(path, content, error_type=OSError)


def _fitted(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Scales an image, with its aspect ratio kept, and centres it on white, uint8 [height,width,3]."""
    scale = min(height / image.shape[0], width / image.shape[1])
    shape = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    # enlarged pixels stay sharp, so that the edges of labels are seen as they are
    image = cv2.resize(image, shape, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST)
    cell = np.full((height, width, 3), PAPER, np.uint8)
    y, x = (height - image.shape[0]) // 2, (width - image.shape[1]) // 2
    cell[y : y + image.shape[0], x : x + image.shape[1]] = image
    return cell


def _enlarged(image: np.ndarray, scale: int) -> np.ndarray:
    """Repeats each pixel of [H,W] or [H,W,3] `scale` times along both axes."""
    return image.repeat(scale, axis=0).repeat(scale, axis=1)


def decoded(mask: np.ndarray | RLE) -> np.ndarray:
    """Converts a mask, an array [H,W] or a COCO run-length code, to bool [H,W]."""
    if isinstance(mask, dict):
        mask = decode_mask(mask)
    return np.asarray(mask) > 0


def _as_ints(color: Color) -> Color:
    """The color as Python integers, which OpenCV and Pillow insist on."""
    red, green, blue = color
    return int(red), int(green), int(blue)
