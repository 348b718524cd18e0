"""Pictures of the labelling page and of the page of an audit, for the documentation: docs/images/*.webp.

SEGKIT_DATA=DATA python docs/make_screenshots.py --clicks CLICKS.pt --camvid CAMVID.pt [--only review from_audit]

Photographs are those of GrabCut and CamVid below SEGKIT_DATA. CLICKS.pt is a click model, such as one of
configs/interactive/small; CAMVID.pt a network of CamVid's eleven classes. Needs Chromium and segkit[browser,web].
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import cv2  # noqa: E402
import numpy as np  # noqa: E402

from segkit.cli.main import main  # noqa: E402
from segkit.data.files.masks import read_mask  # noqa: E402
from segkit.data.semantic.camvid import CLASSES  # noqa: E402
from segkit.types import IGNORE  # noqa: E402
from segkit.viz.draw import write_file  # noqa: E402
from tests.browser.chromium import EXECUTABLE  # noqa: E402
from tests.browser.served import Annotator, Served  # noqa: E402

MOST_BYTES = 150_000
"""Of a picture."""

PHOTOGRAPHS = (
    "106024.jpg",
    "124080.jpg",
    "208001.jpg",
    "209070.jpg",
    "21077.jpg",
    "227092.jpg",
    "326038.jpg",
    "37073.jpg",
    "69020.jpg",
    "86016.jpg",
    "bush.jpg",
    "cross.jpg",
    "flower.jpg",
    "grave.jpg",
    "memorial.jpg",
    "sheep.jpg",
    "stone1.JPG",
    "teddy.jpg",
)
"""Of GrabCut."""

FLOWERS = "124080.jpg"
"""The photograph of the click masks."""

DRAFTED, AUDITED = 12, 16
"""Images of CamVid's test set that are drafted, and of its val set that are audited, at equal distances."""

CONFIG = HERE.parent / "configs/camvid_study/ocrnet.py"
"""Names CamVid's data and classes; the checkpoint may be of another network."""

WINDOW = (1400, 860)
NARROW = (420, 860)

SLOW = 300_000
"""Milliseconds of patience, on a machine that is busy."""


class Task(NamedTuple):
    """What a picture is made from.

    Attributes:
        browser: of Playwright.
        folder: empty, for this picture alone.
        data: SEGKIT_DATA.
        clicks, camvid: checkpoints.
    """

    browser: Any
    folder: Path
    data: Path
    clicks: Path
    camvid: Path


def segkit(*words: object) -> None:
    """Runs a command of segkit in this process, which has read the library already."""
    if main(list(map(str, words))):
        raise SystemExit(f"segkit {words[0]} has failed; see above")


def chosen(task: Task, split: str, count: int, folder: Path) -> None:
    """Copies images of a split of CamVid, at equal distances, with their labels: folder/SPLIT and folder/SPLITannot."""
    paths = sorted((task.data / "camvid" / split).glob("*.jpg"))
    for path in paths[:: len(paths) // count][:count]:
        labels = f"{split}annot/{path.stem}.png"
        for name in (f"{split}/{path.name}", labels):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(task.data / "camvid" / name, folder / name)


@contextmanager
def annotating(task: Task, images: Path, *words: object, size: tuple[int, int] = WINDOW) -> Iterator[Annotator]:
    """Opens `segkit annotate` on a folder in a window of this size."""
    served = Served(images, "--out", str(task.folder / "out"), *map(str, words))
    context = task.browser.new_context(viewport={"width": size[0], "height": size[1]})
    context.set_default_timeout(SLOW)
    try:
        tab = Annotator(context.new_page())
        tab.open(served.address)
        yield tab
        assert tab.said == [], tab.said
    finally:
        context.close()
        served.end()


def annotate_page(task: Task) -> np.ndarray:
    """Two flowers by clicks, the second one under way."""
    return _flowers(task, WINDOW)


def annotate_narrow(task: Task) -> np.ndarray:
    """The same in a narrow window."""
    return _flowers(task, NARROW)


def _flowers(task: Task, size: tuple[int, int]) -> np.ndarray:
    images = task.folder / "photographs"
    images.mkdir()
    for name in PHOTOGRAPHS:
        shutil.copy(task.data / "GrabCut/data_GT" / name, images)
    words = ("--model", task.clicks, "--kind", "instances", "--classes", "flower,animal,thing")
    with annotating(task, images, *words, size=size) as tab:
        _search(tab, FLOWERS)
        for x, y, button in LEFT_FLOWER:
            tab.click(x, y, button)
        tab.keys("n")
        for x, y, button in RIGHT_FLOWER:
            tab.click(x, y, button)
        tab.page.mouse.move(*tab.at(*REST))
        tab.settle()
        return tab.screenshot()


LEFT_FLOWER = ((145, 130, "left"), (70, 120, "left"))
RIGHT_FLOWER = ((330, 150, "left"), (400, 230, "left"), (240, 290, "right"))
REST = (300, 230)
"""Where the mouse rests, x and y in the photograph."""


def _search(tab: Annotator, name: str) -> None:
    """Opens an image by its name, and empties the search again."""
    tab.page.fill("#search", name)
    tab.wait("document.querySelectorAll('.image').length === 1")
    tab.page.click(".image")
    tab.settle()
    tab.page.fill("#search", "")
    tab.wait("document.querySelectorAll('.image').length > 1")
    tab.settle()


def annotate_review(task: Task) -> np.ndarray:
    """Drafts of a network, the least certain first; some are decided."""
    images, drafts = task.folder / "test", task.folder / "drafts"
    chosen(task, "test", DRAFTED, task.folder)
    segkit("autolabel", task.camvid, images, "--out", drafts, "--device", "cpu")
    words = ("--review", drafts, "--config", CONFIG)
    with annotating(task, images, *words) as tab:
        for number in range(2, 4):
            tab.keys("y")
            # a key counts for the image that is open, so the next one is waited for
            tab.wait(f"document.querySelector('.image:nth-child({number})').ariaSelected === 'true'")
        tab.settle()
        return tab.screenshot()


def audit_page(task: Task) -> np.ndarray:
    """The first findings of an audit of some images of CamVid's val set."""
    page = _audited(task)
    context = task.browser.new_context(viewport={"width": WINDOW[0], "height": 1000})
    context.set_default_timeout(SLOW)
    tab = context.new_page()
    tab.goto(page.as_uri())
    content = np.frombuffer(tab.screenshot(), np.uint8)
    context.close()
    return cv2.imdecode(content, cv2.IMREAD_COLOR_RGB)


def annotate_from_audit(task: Task) -> np.ndarray:
    """The labels of CamVid, opened at a finding: that of the second image, of which more is seen."""
    page = _audited(task)
    words = ("--masks", _masks(task), "--from", page.with_name("audit.json"), "--config", CONFIG)
    with annotating(task, page.parent / "val", *words) as tab:
        tab.keys("d")
        tab.wait("document.querySelector('.image:nth-child(2)').ariaSelected === 'true'")
        tab.settle()
        return tab.screenshot()


def _masks(task: Task) -> Path:
    """CamVid's labels with the names of their values, and with void as 255."""
    folder = task.folder / "labels"
    (folder / "masks").mkdir(parents=True)
    (folder / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    for path in sorted((_audited(task).parent / "valannot").glob("*.png")):
        labels = read_mask(path)
        labels = np.where(labels == len(CLASSES), IGNORE, labels)
        cv2.imwrite(str(folder / "masks" / path.name), labels.astype(np.uint8))
    return folder


def _audited(task: Task) -> Path:
    """The page of the audit, made once for all pictures that show it."""
    page = task.folder.parent / "audit" / "page.html"
    if not page.exists():
        chosen(task, "val", AUDITED, page.parent)
        # the page says what these two are called
        (page.parent / CONFIG.name).write_text(f"_base_ = [{str(CONFIG)!r}]\n", encoding="utf-8")
        shutil.copy(task.camvid, page.parent)
        words = ("--split", "val", "--out", page.name, "--no-copies", "--device", "cpu")
        with chdir(page.parent):
            segkit("audit", CONFIG.name, task.camvid.name, *words, "--cfg-options", f"val.dataset.root={page.parent}")
    return page


PICTURES: dict[str, Callable[[Task], np.ndarray]] = {
    made.__name__: made for made in (annotate_page, annotate_narrow, annotate_review, audit_page, annotate_from_audit)
}
"""By their names below docs/images."""


def encoded(picture: np.ndarray) -> bytes:
    """Returns a picture, RGB [H,W,3], as WebP of the best quality that keeps it below MOST_BYTES."""
    for quality in range(92, 40, -4):
        content = cv2.imencode(".webp", picture[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, quality])[1].tobytes()
        if len(content) <= MOST_BYTES:
            return content
    raise ValueError(f"{picture.shape}: no quality keeps this picture below {MOST_BYTES} bytes; make it smaller")


def make() -> None:
    """Makes the pictures that are asked for."""
    from playwright.sync_api import sync_playwright

    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--clicks", type=Path, required=True, metavar="CLICKS.pt")
    arguments.add_argument("--camvid", type=Path, required=True, metavar="CAMVID.pt")
    arguments.add_argument("--only", nargs="+", choices=PICTURES, default=list(PICTURES), metavar="NAME")
    arguments.add_argument("--out", type=Path, default=HERE / "images")
    args = arguments.parse_args()
    data = Path(os.environ["SEGKIT_DATA"])
    with sync_playwright() as driver, tempfile.TemporaryDirectory() as scratch:
        browser = driver.chromium.launch(executable_path=EXECUTABLE, args=["--no-sandbox"])
        for name in args.only:
            folder = Path(scratch, name)
            folder.mkdir()
            picture = PICTURES[name](Task(browser, folder, data, args.clicks.resolve(), args.camvid.resolve()))
            path = args.out / f"{name}.webp"
            write_file(path, encoded(picture))
            print(f"{path}: {path.stat().st_size:,} bytes")
        browser.close()


if __name__ == "__main__":
    make()
