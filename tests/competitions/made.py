"""Small sets in the layouts of three competitions, whose masks are known; codes are made without segkit."""

from pathlib import Path

import cv2
import numpy as np

CLOUDS = ("Fish", "Flower", "Gravel", "Sugar")


def absolute(mask: np.ndarray) -> str:
    """Kaggle's code, pixel by pixel: starts from 1, down the columns."""
    height, width = mask.shape
    numbers: list[int] = []
    last = 0
    for position in range(height * width):
        value = int(mask[position % height, position // height])
        if value and not last:
            numbers += [position + 1, 0]
        if value:
            numbers[-1] += 1
        last = value
    return " ".join(map(str, numbers))


def relative(mask: np.ndarray) -> str:
    """SIIM's code, from the absolute one: gaps instead of starts."""
    numbers = [int(word) for word in absolute(mask).split()]
    end, words = 0, []
    for start, length in zip(numbers[::2], numbers[1::2]):
        words += [start - 1 - end, length]
        end = start - 1 + length
    return " ".join(map(str, words))


def box(size: tuple[int, int], y0: int, x0: int, y1: int, x1: int) -> np.ndarray:
    mask = np.zeros(size, np.uint8)
    mask[y0:y1, x0:x1] = 1
    return mask


def write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def clouds(root: Path, count: int = 6, size: tuple[int, int] = (40, 60), tests: int = 3) -> dict[str, np.ndarray]:
    """Images whose Fish are bright and whose Flower are dark; they overlap, Gravel is rare and Sugar empty.

    Returns the masks [K,H,W] by name.
    """
    rng, masks, rows = np.random.default_rng(0), {}, ["Image_Label,EncodedPixels"]
    root.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        of_class = np.zeros((4, *size), np.uint8)
        of_class[0] = box(size, 4 + i, 6, 20 + i, 30)
        if i % 2:
            of_class[1] = box(size, 12, 20, 36, 50)
        if i == 3:
            of_class[2] = box(size, 0, 0, 8, 8)
        image = 110 + 90 * of_class[0].astype(int) - 70 * of_class[1] + rng.integers(-10, 10, size)
        name = f"{i:03}a.jpg"
        write(root / "train_images" / name, np.clip(image, 0, 255).astype(np.uint8)[..., None].repeat(3, 2))
        masks[name] = of_class
        rows += [f"{name}_{cls},{absolute(mask)}" for cls, mask in zip(CLOUDS, of_class)]
    (root / "train.csv").write_text("\n".join(rows) + "\n")
    for i in range(tests):
        write(root / "test_images" / f"{i:03}t.jpg", np.full((*size, 3), 60 + 60 * i % 240, np.uint8))
    return masks


def siim(root: Path, count: int = 8, side: int = 32, tests: int = 3, *, dicom: bool = False) -> dict[str, np.ndarray]:
    """Radiographs below folders of their own, of which every fourth has one bright region and the first another.

    Returns the masks [H,W] by name.
    """
    masks, rows = {}, ["ImageId, EncodedPixels"]  # the blank is in the competition's own file
    for i in range(count):
        name, mask = f"1.2.{i}", np.zeros((side, side), np.uint8)
        parts = [box((side, side), 3, 4, 11, 15)] if i % 4 == 0 else []
        parts += [box((side, side), 18, 18, 26, 30)] if i == 0 else []
        for part in parts:
            mask |= part
            rows.append(f"{name},{relative(part)}")
        rows += [] if parts else [f"{name},-1"]
        masks[name] = mask
        _radiograph(root / "dicom-images-train" / f"study{i}" / name, 60 + 150 * mask, dicom)
    (root / "train-rle.csv").write_text("\n".join(rows) + "\n")
    for i in range(tests):
        _radiograph(root / "dicom-images-test" / f"2.3.{i}", np.full((side, side), 80 + i), dicom)
    return masks


def _radiograph(stem: Path, pixels: np.ndarray, dicom: bool) -> None:
    pixels = pixels.astype(np.uint8)
    if dicom:
        write_dicom(Path(f"{stem}.dcm"), pixels)
    else:
        write(Path(f"{stem}.png"), pixels)


def write_dicom(path: Path, pixels: np.ndarray, **fields: object) -> None:
    """A DICOM file; fields replace elements, None removes them."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = fields.pop("TransferSyntaxUID", ExplicitVRLittleEndian)
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    header = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    bits = 8 * pixels.dtype.itemsize
    header.Rows, header.Columns = pixels.shape[:2]
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated = header.BitsStored = bits
    header.HighBit, header.PixelRepresentation = bits - 1, int(pixels.dtype.kind == "i")
    header.PixelData = pixels.tobytes()
    for name, value in fields.items():
        if value is None:
            delattr(header, name)
        else:
            setattr(header, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    header.save_as(path, enforce_file_format=True)


def salt(root: Path, count: int = 6, tests: int = 3, side: int = 101) -> dict[str, np.ndarray]:
    """Seismic images with salt at the top of every second one; depths of all. Returns the masks [H,W] by name."""
    rng, masks, rows, depths = np.random.default_rng(0), {}, ["id,rle_mask"], ["id,z"]
    for i in range(count):
        name, mask = f"{i:04x}s", np.zeros((side, side), np.uint8)
        if i % 2:
            mask[: 20 + 5 * i] = 1
        image = np.clip(70 + 120 * mask.astype(int) + rng.integers(-10, 10, mask.shape), 0, 255)
        write(root / "train" / "images" / f"{name}.png", image.astype(np.uint8)[..., None].repeat(3, 2))
        masks[name] = mask
        rows.append(f"{name},{absolute(mask)}")
        depths.append(f"{name},{100 + 150 * (i % 6)}")
    for i in range(tests):
        image = np.full((side, side, 3), 60 + 60 * i % 240, np.uint8)
        write(root / "test" / "images" / f"{i:04x}t.png", image)
        depths.append(f"{i:04x}t,{500 + i}")
    (root / "train.csv").write_text("\n".join(rows) + "\n")
    (root / "depths.csv").write_text("\n".join(depths) + "\n")
    return masks
