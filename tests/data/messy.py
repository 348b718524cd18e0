"""Five folders as people have them, made by code: photographs with EXIF, soft colors, polygons, bands and 12 bits.

Each maker writes a folder and returns what is in it. All show a disc on a ground, so that a network can learn it.
"""

import json
import os
import struct
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

SIZE = (48, 64)
"""(H, W) of the pictures as they are meant to be seen."""

NODATA = -9999


class Messy(NamedTuple):
    """A folder: root; names of the images, without suffix; masks: uint8 [H,W] of 0 and 1 by name, as one sees them."""

    root: Path
    names: list[str]
    masks: dict[str, np.ndarray]


def disc(number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """The mask of picture `number`, uint8 [H,W] of 0 and 1."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    center = (height * (0.35 + 0.1 * (number % 4)), width * (0.3 + 0.12 * (number % 5)))
    return ((y - center[0]) ** 2 + (x - center[1]) ** 2 < (0.25 * height) ** 2).astype(np.uint8)


def picture(mask: np.ndarray, number: int) -> np.ndarray:
    """A picture of the mask, uint8 [H,W,3] RGB: an orange disc on a blue ground."""
    noise = np.random.default_rng(number).normal(0, 12, (*mask.shape, 3))
    colors = np.array([[40, 70, 150], [220, 140, 50]], np.float64)
    return np.clip(colors[mask] + noise, 0, 255).astype(np.uint8)


def photographs(root: Path) -> Messy:
    """images/*.jpg and masks/*.png of 0 and 255: EXIF orientations 6 and 3, a CMYK JPEG, names beyond ASCII.

    Masks were drawn on the pictures as viewers show them, so they fit with exif=True alone.
    """
    names = ["plain", "Größe 1", "写真", "café:b" if os.name == "posix" else "café b", "inks"]
    orientations = [1, 6, 3, 6, 1]
    masks = {}
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for number, (name, orientation) in enumerate(zip(names, orientations)):
        masks[name] = disc(number)
        shown = Image.fromarray(picture(masks[name], number))
        # what the camera stored is turned so that the orientation brings it back
        turns = {6: Image.Transpose.ROTATE_90, 3: Image.Transpose.ROTATE_180}
        stored = shown.transpose(turns[orientation]) if orientation in turns else shown
        exif = Image.Exif()
        exif[274] = orientation
        stored = stored.convert("CMYK") if name == "inks" else stored
        stored.save(root / "images" / f"{name}.jpg", quality=95, exif=exif)
        Image.fromarray(masks[name] * 255).save(root / "masks" / f"{name}.png")
    return Messy(root, names, masks)


def soft_color_masks(root: Path, count: int = 6) -> Messy:
    """images/*.png and masks/*.png of black and orange, whose edges are blended; no split."""
    names = [f"tile_{number:02}" for number in range(count)]
    masks = {}
    for number, name in enumerate(names):
        masks[name] = disc(number)
        color = masks[name][..., None] * np.array([230, 159, 0], np.uint8)
        soft = cv2.GaussianBlur(color, (3, 3), 0.8)
        for folder, image in (("images", picture(masks[name], number)), ("masks", soft)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(root / folder / f"{name}.png")
    return Messy(root, names, masks)


def coco_polygons(root: Path, count: int = 6) -> Messy:
    """images/*.jpg and annotations.json with one polygon of 24 corners for each image; ids leave gaps."""
    names = [f"photo {number}" for number in range(count)]
    masks, images, annotations = {}, [], []
    (root / "images").mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        masks[name] = disc(number)
        Image.fromarray(picture(masks[name], number)).save(root / "images" / f"{name}.jpg", quality=95)
        height, width = SIZE
        images.append(dict(id=7 * number + 3, file_name=f"{name}.jpg", height=height, width=width))
        rows, columns = np.nonzero(masks[name])
        center = rows.mean() + 0.5, columns.mean() + 0.5
        angles = np.arange(24) * np.pi / 12
        points = np.stack([center[1] + 12 * np.cos(angles), center[0] + 12 * np.sin(angles)], 1)
        x0, y0, x1, y1 = *points.min(0), *points.max(0)
        annotations.append(
            dict(
                id=11 * number + 5,
                image_id=7 * number + 3,
                category_id=4,
                segmentation=[points.round(2).ravel().tolist()],
                bbox=[x0, y0, x1 - x0, y1 - y0],
                area=float(masks[name].sum()),
                iscrowd=0,
            )
        )
    content = dict(images=images, annotations=annotations, categories=[dict(id=4, name="disc", supercategory="shape")])
    (root / "annotations.json").write_text(json.dumps(content), encoding="utf-8")
    return Messy(root, names, masks)


def five_bands(root: Path, count: int = 6) -> Messy:
    """images/*.tif of 5 bands, int16 of 0..10000 with borders of -9999, and masks/*.png of 0 and 1."""
    names = [f"scene-{number}" for number in range(count)]
    masks = {}
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        mask = masks[name] = disc(number)
        noise = np.random.default_rng(number).normal(0, 90, (*mask.shape, 5))
        bands = np.array([[900, 1100, 1300, 2500, 1800], [400, 600, 500, 6200, 3900]], np.float64)[mask] + noise
        bands = bands.round().astype(np.int16)
        bands[:, :6] = NODATA
        write_tiff(root / "images" / f"{name}.tif", bands)
        Image.fromarray(mask).save(root / "masks" / f"{name}.png")
    return Messy(root, names, masks)


def twelve_bits(root: Path, count: int = 6) -> Messy:
    """images/*.png of 16 bits whose values use 12, grey, and masks/*.png of 0 and 1."""
    names = [f"cell_{number:03}" for number in range(count)]
    masks = {}
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        mask = masks[name] = disc(number)
        noise = np.random.default_rng(number).normal(0, 60, mask.shape)
        grey = np.clip(np.array([700, 2900])[mask] + noise, 0, 4095).astype(np.uint16)
        cv2.imwrite(str(root / "images" / f"{name}.png"), grey)
        Image.fromarray(mask).save(root / "masks" / f"{name}.png")
    return Messy(root, names, masks)


def write_tiff(path: Path, samples: np.ndarray) -> None:
    """Writes [H,W,S] of int16, uint16 or float32 as an uncompressed TIFF of one strip."""
    height, width, count = samples.shape
    kind = {"u": 1, "i": 2, "f": 3}[samples.dtype.kind]
    bits = 8 * samples.dtype.itemsize
    pixels = np.ascontiguousarray(samples).astype(samples.dtype.newbyteorder("<")).tobytes()
    first = 8 + len(pixels)  # behind the pixels: the bits and formats of the samples, then the directory
    lists = struct.pack(f"<{count}H", *[bits] * count) + struct.pack(f"<{count}H", *[kind] * count)
    extra = struct.pack(f"<{max(count - 1, 1)}H", *[0] * max(count - 1, 1))
    rows = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, count, first), (259, 3, 1, 1), (262, 3, 1, 1)]
    rows += [(273, 4, 1, 8), (277, 3, 1, count), (278, 4, 1, height), (279, 4, 1, len(pixels)), (284, 3, 1, 1)]
    if count > 1:
        rows.append((338, 3, count - 1, first + len(lists)))
    rows.append((339, 3, count, first + 2 * count))
    content = struct.pack("<2sHI", b"II", 42, first + len(lists) + len(extra)) + pixels + lists + extra
    content += struct.pack("<H", len(rows))
    for tag, of, length, value in rows:
        if of == 3 and length <= 2:  # short lists stand in the entry itself
            shorts = {258: bits, 339: kind, 338: 0}.get(tag, value)
            content += struct.pack("<HHI2H", tag, of, length, shorts, shorts if length == 2 else 0)
        else:
            content += struct.pack("<HHII", tag, of, length, value)
    path.write_bytes(content + struct.pack("<I", 0))
