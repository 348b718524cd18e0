"""From a folder of labels to the rows of a config that read it: task, division, classes, values."""

from dataclasses import dataclass
from pathlib import Path

from segkit.data.formats.base import LabelReader
from segkit.data.formats.common import BACKGROUND, background_of
from segkit.files import DataError
from segkit.recipe.choice import Choice
from segkit.recipe.division import division_of
from segkit.recipe.facts import Task
from segkit.recipe.recognise import Survey, found_words, recognised, survey
from segkit.recipe.values import values_of

TASKS: tuple[Task, ...] = ("semantic", "instances", "clicks")
"""What a network may learn: a class for each pixel, objects, or objects by clicks."""

BASES: dict[Task, str] = {
    "semantic": "segkit:recipes/small_cpu.py",
    "instances": "segkit:recipes/instances_cpu.py",
    "clicks": "segkit:recipes/clicks_cpu.py",
}
BOXES = "segkit:recipes/boxes_cpu.py"
"""Configs by which the data is read before a recipe is chosen; the last one where objects have boxes alone."""

WORDS: dict[Task, str] = {
    "semantic": "A class for each pixel,",
    "instances": "Objects,",
    "clicks": "Objects by clicks,",
}

LONGEST = 90
"""Letters of a list of classes that is written into the config."""


@dataclass(frozen=True)
class Data:
    """A data set as a config reads it.

    Attributes:
        task: what is learned.
        has_masks: whether objects have outlines, which instances can be taught by.
        choices: rows of the config, each with its reason.
        found: lines on what the labels hold and what is lost.
        notes: sentences on what a person should look at.
        channels: of the images as they are read.
        test: name of the split that is scored in the end, None where there is none.
        title: the data and the task in a few words.
    """

    task: Task
    has_masks: bool
    choices: list[Choice]
    found: list[str]
    notes: list[str]
    channels: int
    test: str | None
    title: str


def data_of(root: Path, *, task: Task | None = None, format: str | None = None) -> Data:
    """Finds out how a folder of labels is read.

    Args:
        root: the folder or file.
        task: what shall be learned; None to let the labels say it.
        format: of the labels; None to find it out.

    Raises:
        DataError: no format fits or several do, labels or images are missing or too few, or the task cannot be learned
            from these labels.
    """
    folder, found = recognised(root, format)
    reader = found.read(folder)
    labels = survey(reader)
    chosen, why = task_of(labels, task, str(root))
    is_labelled = [labels.unlabelled == 0 or reader.is_labelled(index) for index in range(len(reader))]
    division = division_of(reader, str(root), is_labelled)
    values = values_of(reader, division.items, labels, takes_channels=chosen == "semantic")
    choices = [
        Choice("root", folder.as_posix(), f"{len(reader)} images: {found.evidence}"),
        Choice("format", reader.format, ""),
        *_classes(labels, chosen, str(root)),
        *division.choices,
    ]
    if chosen == "semantic" and labels.unlabelled:
        choices.append(Choice("skip_unlabelled", True, f"{labels.unlabelled} images have no labels"))
    has_masks = bool(labels.outlined or labels.maps) and not labels.boxes
    if division.test:
        choices.append(Choice("test.dataset.split", division.test, "the data names it; scored by segkit test alone"))
    choices += values.choices
    lines = found_words(reader, found.evidence, labels)
    notes = [*_rare(labels, reader), *division.notes, *values.notes]
    lines.append(f"  task: {chosen}: {why}")
    title = (
        f"{WORDS[chosen]} from {len(division.items)} labelled images ({reader.format}), by segkit new; yours to edit"
    )
    return Data(chosen, has_masks, choices, lines, notes, values.channels, division.test, title)


def task_of(labels: Survey, asked: Task | None, root: str) -> tuple[Task, str]:
    """Chooses what is learned.

    Args:
        labels: what there is.
        asked: by the user; None to choose.
        root: of the labels, for errors.

    Returns:
        The task, and why.

    Raises:
        DataError: the labels cannot teach the task.
    """
    if not labels.objects and not labels.maps:
        raise DataError(f"{root}: no object in {labels.looked} labelled images; label some, or check the labels")
    if asked is None:
        if labels.maps:
            return "semantic", "the labels are maps of classes"
        if labels.boxes:
            return (
                "instances",
                f"{labels.boxes} of {labels.objects} objects are boxes alone, which are no map of classes",
            )
        return "semantic", "all objects have outlines; --task instances tells those of one class apart"
    if asked == "semantic" and labels.boxes:
        raise DataError(
            f"--task semantic: {labels.boxes} of {labels.objects} objects of {root} are boxes without an outline, "
            "which are no map of classes; outline them, or learn masks from boxes by --task instances"
        )
    if asked == "clicks" and not labels.outlined and not labels.maps:
        raise DataError(
            f"--task clicks: the {labels.boxes} objects of {root} are boxes without an outline, and clicks need masks; "
            "outline some, or learn masks from boxes by --task instances"
        )
    if labels.maps and asked != "semantic":
        return asked, "as asked; the labels are maps, whose connected regions are the objects"
    return asked, "as asked"


def _classes(labels: Survey, task: Task, root: str) -> list[Choice]:
    """The classes that occur; all of the labels where not every label was read."""
    background = background_of(labels.classes)
    known = labels.classes
    if task != "semantic":
        known = tuple(name for number, name in enumerate(known) if number != background)
    ground = labels.classes[background] if background is not None else None
    used = tuple(name for name in known if labels.images_of[name] or name == ground)
    kept = used if labels.is_whole else known
    learned = [name for name in used if name != ground]
    if not learned or (task == "semantic" and len(kept) < 2):
        names = ", ".join(used) or "none"
        raise DataError(
            f"{root}: one class only ({names}) in {labels.looked} labelled images: there is nothing to tell apart; "
            "label another class, or leave pixels of the background unlabelled"
        )
    reason = f"{len(kept)} of the labels"
    if len(kept) < len(known):
        reason += f"; {len(known) - len(kept)} others occur nowhere"
    if task == "semantic" and ground == BACKGROUND and not labels.maps:
        reason = f"what no object covers is background; {len(kept) - 1} of objects"
    if task == "clicks":
        return [] if kept == known else [Choice("classes", list(kept), reason)]
    is_short = len(str(list(kept))) <= LONGEST
    found = [Choice("classes", list(kept), reason)] if is_short else []
    count = len(kept) if is_short else len(known)
    return [*found, Choice("num_classes", count, "" if is_short else "all of the labels")]


def _rare(labels: Survey, reader: LabelReader) -> list[str]:
    rare = [name for name, count in labels.images_of.items() if count == 1]
    if not rare or not labels.is_whole or labels.looked < 3:
        return []
    return [f"in one image only, so that they cannot be both trained and scored: {', '.join(rare[:8])}"]
