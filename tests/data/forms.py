"""The same few discs as the exports of many tools, made by code: small data sets to try commands on."""

import base64
import gzip
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from segkit.cli.main import main
from tests.data.messy import SIZE, disc, picture

COUNT = 4
HEIGHT, WIDTH = SIZE


def pictures(folder: Path, suffix: str = ".jpg", count: int = COUNT) -> dict[str, np.ndarray]:
    """Writes NAME.jpg; returns the masks by name, uint8 [H,W] of 0 and 1."""
    folder.mkdir(parents=True, exist_ok=True)
    masks = {f"photo{chr(97 + number)}": disc(number) for number in range(count)}
    for number, (name, mask) in enumerate(masks.items()):
        Image.fromarray(picture(mask, number)).save(folder / f"{name}{suffix}")
    return masks


def outline(mask: np.ndarray) -> list[list[float]]:
    """Corners (x, y) around a disc."""
    rows, columns = np.nonzero(mask)
    angles = np.arange(16) * np.pi / 8
    radius = float(np.sqrt(mask.sum() / np.pi))
    points = np.stack([columns.mean() + 0.5 + radius * np.cos(angles), rows.mean() + 0.5 + radius * np.sin(angles)], 1)
    return np.clip(points, 0, (WIDTH, HEIGHT)).round(2).tolist()


def box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """(x0, y0, x1, y1) around a mask."""
    rows, columns = np.nonzero(mask)
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def masks(root: Path) -> None:
    """images/NAME.jpg and masks/NAME.png of 0 and 255."""
    for name, mask in pictures(root / "images").items():
        (root / "masks").mkdir(exist_ok=True)
        Image.fromarray(mask * 255).save(root / "masks" / f"{name}.png")


def coco(root: Path) -> None:
    """images/NAME.jpg and annotations.json, out of the masks' outlines."""
    images, rows = [], []
    for number, (name, mask) in enumerate(pictures(root / "images").items(), 1):
        images.append(dict(id=number, file_name=f"{name}.jpg", height=HEIGHT, width=WIDTH))
        x0, y0, x1, y1 = box(mask)
        polygon = np.ravel(outline(mask)).tolist()
        rows.append(dict(id=number, image_id=number, category_id=1, iscrowd=0, area=float(mask.sum())))
        rows[-1] |= dict(segmentation=[polygon], bbox=[x0, y0, x1 - x0, y1 - y0])
    write_json(root / "annotations.json", dict(images=images, annotations=rows, categories=[dict(id=1, name="disc")]))


def converted(form: str) -> Callable[[Path], None]:
    """A maker by segkit's own writer."""

    def make(root: Path) -> None:
        coco(root.with_name(f"{root.name}_coco"))
        assert main(["convert-labels", str(root.with_name(f"{root.name}_coco")), str(root), "--to", form]) == 0

    return make


def roboflow_zip(root: Path) -> None:
    """A zip of train, valid and test with images/ and labels/, boxes alone, and data.yaml."""
    lines = {
        "data.yaml": "train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnc: 1\nnames: ['disc']\n"
    }
    for split in ("train", "valid", "test"):
        for name, mask in pictures(root.with_name("unzipped") / split / "images", count=2).items():
            x0, y0, x1, y1 = box(mask)
            row = ((x0 + x1) / 2 / WIDTH, (y0 + y1) / 2 / HEIGHT, (x1 - x0) / WIDTH, (y1 - y0) / HEIGHT)
            lines[f"{split}/labels/{name}.txt"] = "0 " + " ".join(f"{value:.6f}" for value in row) + "\n"
    with zipfile.ZipFile(root.with_name(f"{root.name}.zip"), "w") as archive:
        for path, text in lines.items():
            archive.writestr(path, text)
        for path in sorted(root.with_name("unzipped").rglob("*.jpg")):
            archive.write(path, path.relative_to(root.with_name("unzipped")).as_posix())


def cvat(root: Path) -> None:
    """annotations.xml and images/."""
    rows = []
    for number, (name, mask) in enumerate(pictures(root / "images").items()):
        points = ";".join(f"{x},{y}" for x, y in outline(mask))
        rows.append(
            f'<image id="{number}" name="{name}.jpg" width="{WIDTH}" height="{HEIGHT}">'
            f'<polygon label="disc" points="{points}" occluded="0" z_order="0"/></image>'
        )
    labels = "<meta><task><labels><label><name>disc</name></label></labels></task></meta>"
    text = f'<?xml version="1.0"?><annotations><version>1.1</version>{labels}{"".join(rows)}</annotations>'
    (root / "annotations.xml").write_text(text, encoding="utf-8")


def supervisely(root: Path) -> None:
    """meta.json, ds0/img and ds0/ann with bitmaps."""
    write_json(root / "meta.json", dict(classes=[dict(title="disc")]))
    for name, mask in pictures(root / "ds0" / "img").items():
        png = base64.b64encode(zlib.compress(cv2.imencode(".png", mask * 255)[1].tobytes())).decode()
        entry = dict(classTitle="disc", geometryType="bitmap", bitmap=dict(data=png, origin=[0, 0]))
        size = dict(height=HEIGHT, width=WIDTH)
        write_json(root / "ds0" / "ann" / f"{name}.jpg.json", dict(size=size, tags=[], objects=[entry]))


def darwin(root: Path) -> None:
    """NAME.json and images/."""
    for name, mask in pictures(root / "images").items():
        path = [dict(x=x, y=y) for x, y in outline(mask)]
        row = dict(id=name, name="disc", polygon=dict(paths=[path]), bounding_box=dict(x=0, y=0, w=1, h=1))
        slot = dict(type="image", slot_name="0", width=WIDTH, height=HEIGHT)
        item = dict(name=f"{name}.jpg", path="/", slots=[slot])
        write_json(root / f"{name}.json", dict(version="2.0", item=item, annotations=[row]))


def polygons(root: Path) -> None:
    """leftImg8bit/SPLIT/CITY and gtFine/SPLIT/CITY."""
    for split in ("train", "val"):
        folder = root / "leftImg8bit" / split / "ulm"
        for name, mask in pictures(folder, "_leftImg8bit.png", count=2).items():
            sky = dict(label="sky", polygon=[[0, 0], [WIDTH, 0], [WIDTH, HEIGHT], [0, HEIGHT]])
            objects = [sky, dict(label="sun", polygon=outline(mask))]
            content = dict(imgHeight=HEIGHT, imgWidth=WIDTH, objects=objects)
            write_json(root / "gtFine" / split / "ulm" / f"{name}_gtFine_polygons.json", content)


def rle_csv(root: Path) -> None:
    """train.csv of ImageId and EncodedPixels, and images/."""
    lines = ["ImageId,EncodedPixels"]
    for name, mask in pictures(root / "images").items():
        flat = np.concatenate([[0], mask.T.ravel(), [0]]).astype(int)
        edges = np.flatnonzero(np.diff(flat))
        runs = [f"{start + 1} {end - start}" for start, end in edges.reshape(-1, 2)]
        lines.append(f"{name}.jpg,{' '.join(runs)}")
    (root / "train.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def nifti(root: Path) -> None:
    """dataset.json, imagesTr/CASE_0000.nii.gz and labelsTr/CASE.nii.gz: one volume of four slices."""
    write_json(root / "dataset.json", dict(labels={"background": 0, "disc": 1}))
    discs = np.stack([disc(number) for number in range(COUNT)])  # [z, y, x]
    values = (discs.astype(int) * 900 + 100 + np.random.default_rng(0).integers(0, 50, discs.shape)).astype(np.int16)
    for path, volume, code in (("imagesTr/c_0000", values, (4, 16)), ("labelsTr/c", discs.astype(np.int16), (4, 16))):
        head = bytearray(352)
        struct.pack_into("<i", head, 0, 348)
        struct.pack_into("<8h", head, 40, 3, WIDTH, HEIGHT, COUNT, 1, 1, 1, 1)
        struct.pack_into("<hh", head, 70, *code)
        struct.pack_into("<3f", head, 108, 352.0, 0, 0)
        head[344:348] = b"n+1\0"
        file = root / f"{path}.nii.gz"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(gzip.compress(bytes(head) + volume.astype("<i2").tobytes()))


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
