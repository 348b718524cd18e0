"""Images without labels: what `segkit new --images DIR` prepares, and the commands by which they are labelled."""

import argparse
import shlex
from pathlib import Path

from segkit.data.formats.common import BACKGROUND, background_of
from segkit.files import DataError, read_text, write_whole
from segkit.registry import ConfigError

CLASSES = "classes.txt"
"""Beside the images: names of the classes, one per line: what labelme offers, and what the numbers of masks mean."""


def prepare(args: argparse.Namespace) -> int:
    """Writes the list of classes beside the images, and prints how to label them.

    Args:
        args: of `segkit new`.

    Returns:
        The exit code.

    Raises:
        DataError: the folder is missing or holds no image.
        ConfigError: the names of the classes cannot be used, or another list lies there.
    """
    from segkit.data.files.images import IMAGE_SUFFIXES
    from segkit.data.files.pairs import walk_files
    from segkit.data.formats.known import sniff_all
    from segkit.data.formats.legend import legend_text

    folder = Path(args.images).expanduser()
    if not folder.is_dir():
        raise DataError(f"--images {args.images}: no such folder; name the one that holds the images")
    images = [Path(path) for path in walk_files(folder, IMAGE_SUFFIXES)]
    if not images:
        raise DataError(
            f"--images {args.images}: holds no image; images end in {', '.join(IMAGE_SUFFIXES)}; check the path"
        )
    if found := sniff_all(folder):
        raise DataError(
            f"--images {args.images}: holds labels already ({found[0].reader.format}: {found[0].evidence}); "
            f"train on them: segkit new {shlex.quote(args.images)}"
        )
    names = _names(args.classes)
    target = folder / CLASSES
    text = legend_text(names, target)
    if target.exists() and read_text(target) != text and not args.force:
        raise ConfigError(f"{target}: is there already with other names; replace it by --force, or leave --classes out")
    print(f"found: {len(images)} images without labels, such as {images[0].name}")
    if args.dry_run:
        print(f"--dry-run: {target} is not written")
    else:
        write_whole(target, text, "choose another folder")
        print(f"written: {target}: {', '.join(names)}")
    print("\n".join(_guide(args.images, target)))
    return 0


def _names(text: str | None) -> list[str]:
    names = ["object"] if text is None else [name.strip() for name in text.split(",")]
    if background_of(names) is None:
        names.insert(0, BACKGROUND)  # number 0 of masks
    if not all(names) or len(set(names)) < len(names):
        raise ConfigError(f"--classes {text}: must be names with commas between them, none of them twice: road,car")
    return names


def _guide(images: str, classes: Path) -> list[str]:
    """The ways to label images, each with what to do afterwards."""
    folder, listed = shlex.quote(images), shlex.quote(str(classes))
    return [
        "next, one of these:",
        "  by outlines or a click per object (labelme writes a JSON file beside each image):",
        "    pip install labelme",
        f"    labelme {folder} --labels {listed} --nodata --autosave",
        "  by clicks on a click model of segkit, from Python (docs/interactive.md names published ones):",
        "    segkit.click_predictor(CHECKPOINT): its masks go to NAME_mask.png beside NAME.jpg, a number per class",
        "  by any other tool whose export docs/own_data.md lists: CVAT, Label Studio, Supervisely, Roboflow ...",
        "after 10 images or more:",
        f"  segkit new {folder}    # finds the labels; images without one are passed over",
        "and the model's own labels of the rest, to correct instead of draw: segkit autolabel",
        "which images to label next: segkit next",
    ]
