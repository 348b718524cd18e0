"""A folder of photographs, a project on it, and a click model that follows from a formula."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from segkit.annotate.assistant import Assistant
from segkit.annotate.existing import Existing
from segkit.annotate.outputs import Outputs
from segkit.annotate.project import Kind, Project, find_images, open_project
from segkit.annotate.workspace import Workspace
from segkit.api import click_predictor
from segkit.data.dataset import Reading
from segkit.runners.input_images import Inputs
from segkit.runners.interactive.predictor import ClickPredictor
from tests.interactive.doubles import Echo, drawn

INPUTS = Inputs(3, True, Reading(exif=True))
ORIENTATION = 274


def photographs(folder: Path, count: int = 3) -> Path:
    """Writes sub/0.png, 1.png ... of doubles.drawn; the second is a JPEG that is to be turned by 90 degrees."""
    (folder / "sub").mkdir(parents=True)
    for index in range(count):
        image = drawn((5, 2, 0, 4)[index])[0].permute(1, 2, 0).numpy()
        if index == 1:
            picture = Image.fromarray(image)
            exif = picture.getexif()
            exif[ORIENTATION] = 6
            picture.save(folder / "1.jpg", exif=exif, quality=95)
        else:
            path = folder / ("sub/0.png" if index == 0 else f"{index}.png")
            cv2.imwrite(str(path), image[:, :, ::-1])
    return folder


def predictor() -> ClickPredictor:
    return click_predictor(Echo(), zoom=dict(target=96, min_crop=20))


def project(folder: Path, kind: Kind = "semantic", classes: Sequence[str] = ("cat", "dog", "tree")) -> Project:
    return open_project(folder, folder.parent / "out", kind, classes, None)


def workspace(
    folder: Path,
    kind: Kind = "semantic",
    classes: Sequence[str] = ("cat", "dog", "tree"),
    *,
    has_model: bool = True,
    existing: Existing | None = None,
) -> Workspace:
    """A workspace on a folder of photographs, as a start of the command makes it."""
    made = project(folder, kind, classes)
    made.save()
    assistant = Assistant(predictor(), "echo") if has_model else None
    return Workspace(made, find_images(made.folder, made.out), INPUTS, assistant, existing)


def outputs(space: Workspace) -> Outputs:
    return Outputs(space.project, space.entries, space.for_outputs)


def do(space: Workspace, index: int = 0, **edit: object) -> dict:
    """Makes an edit on an image at its current version."""
    entry = space.entries[index]
    return space.edit(entry, {"version": space.work_on(entry).version, "edit": edit, "seconds": 1.5})


def mask(space: Workspace, index: int, number: int) -> np.ndarray:
    """The mask of an object, bool [H,W]."""
    opened = space.work_on(space.entries[index])
    height, width = opened.size
    return opened.sheet.objects[number].mask.window((0, 0, width, height))
