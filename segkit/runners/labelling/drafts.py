"""Drafts of labels for people to correct: masks, objects in COCO's format, and the images, the least certain first."""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from segkit.data.files.pseudo_manifest import sha256_of
from segkit.data.formats.common import background_of
from segkit.data.formats.legend import legend_text
from segkit.files import DataError, parse_json, read_text, write_whole
from segkit.ops.self_training.confidence import to_scores
from segkit.runners.labelling.judges import Draft, Judge
from segkit.runners.labelling.looking import each_once
from segkit.runners.self_training.labelling import difference
from segkit.runners.self_training.rule import Images
from segkit.viz import draw

DRAFTS, OBJECTS, CLASSES = "drafts.json", "objects.json", "classes.txt"
MASKS, SCORES = "masks", "scores"
JOURNAL = "drafts.journal"
"""What an unfinished command has done; it goes when drafts.json holds every image."""

MOST_BYTES = 1 << 28


class Pictures(NamedTuple):
    """Images without labels.

    Attributes:
        images: by names without suffix, and how they are read.
        files: path of each below the folder that was named, with its suffix.
    """

    images: Images
    files: Sequence[str]

    def only(self, numbers: Sequence[int]) -> "Pictures":
        """Returns some of the images by their numbers."""
        whole = self.images
        images = Images(
            [whole.names[number] for number in numbers],
            [whole.paths[number] for number in numbers],
            lambda index: whole.read(numbers[index]),
            whole.reading,
        )
        return Pictures(images, [self.files[number] for number in numbers])


def about(judge: Judge, pictures: Pictures, **options: Any) -> dict[str, Any]:
    """Returns what decides what is said of images, in short values: checkpoints, inference, images, options."""
    inference = [asdict(runner.inference) for runner in judge.runners]
    names = "\n".join(pictures.files)
    return {
        "checkpoints": [sha256_of(Path(file))[:16] for file in judge.files],
        "inference": _digest(json.dumps(inference, sort_keys=True, default=str)),
        "images": f"{len(pictures.files)}, {_digest(names)}",
        "reading": _digest(json.dumps(pictures.images.reading, sort_keys=True, default=str)),
        **options,
    }


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class Drafter:
    """Writes drafts of images into a folder; goes on where it was stopped.

    The folder takes masks/NAME.png, index masks whose numbers classes.txt names (of instance models of at most 254
    classes); objects.json in COCO's format with a score for each object; with `scores` scores/NAME.png, the confidence
    of each pixel; and drafts.json: "images", a list of {"image": path below the folder of images, "score": certainty of
    0 to 1}, the least certain first, and "kind", "classes" and "settings".

    Args:
        judge: the models.
        pictures: the images.
        folder: takes the drafts.
        options: what decides the drafts beside models and images.
        scores: whether confidences are written, too.
        say: takes lines for the user.
    """

    def __init__(
        self,
        judge: Judge,
        pictures: Pictures,
        folder: Path,
        options: dict[str, Any],
        *,
        scores: bool = False,
        say: Callable[[str], None] = print,
    ):
        self.judge, self.pictures, self.folder, self.scores, self.say = judge, pictures, folder, scores, say
        self._legend = legend_text(judge.mask_classes, folder / CLASSES)  # before an image is drafted
        self.settings = json.loads(json.dumps(about(judge, pictures, **options, scores=scores)))

    def run(self, *, overwrite: bool = False) -> dict[str, str]:
        """Writes the drafts that are missing.

        Args:
            overwrite: whether drafts of other checkpoints or settings in the folder are replaced.

        Returns:
            The reason why an image has no draft, by its name.

        Raises:
            DataError: the folder holds drafts of other checkpoints or settings.
        """
        journal = self.folder / JOURNAL
        if self._is_done(overwrite=overwrite):
            self.say(f"{self.folder}: all {len(self.pictures.files)} images have their drafts already")
            return {}
        done, failures = each_once(self.pictures.images.names, self._draft, journal, self.settings, "drafts")
        self._write(done)
        if not failures:
            journal.unlink(missing_ok=True)
        return failures

    def _is_done(self, *, overwrite: bool) -> bool:
        """Whether nothing is left to do; removes drafts that are to be replaced."""
        path, journal = self.folder / DRAFTS, self.folder / JOURNAL
        before, count = None, 0
        if path.is_file():
            content = parse_json(read_text(path, MOST_BYTES), path)
            if not isinstance(content, dict) or not isinstance(content.get("settings"), dict):
                raise DataError(f"{path}: not as segkit autolabel writes it; choose another --out")
            before, count = content["settings"], len(content.get("images") or ())
        if before is not None and before != self.settings and not overwrite:
            raise DataError(
                f"{self.folder}: holds drafts made otherwise ({difference(before, self.settings)}); use the same "
                "checkpoints and settings, choose another --out, or replace them by --overwrite"
            )
        if overwrite and before != self.settings:
            for file in (path, journal, self.folder / OBJECTS):
                file.unlink(missing_ok=True)
            for name in (MASKS, SCORES):
                shutil.rmtree(self.folder / name, ignore_errors=True)
        return before == self.settings and count == len(self.pictures.files)

    def _draft(self, number: int) -> dict[str, Any]:
        """Writes the masks of an image; returns what the journal keeps of it."""
        image, name = self.pictures.images.read(number), self.pictures.images.names[number]
        draft: Draft = self.judge.draft(image)
        if draft.confidence is not None and self.scores:
            draw.save_png(self.folder / SCORES / f"{name}.png", to_scores(draft.confidence))
        if draft.mask is not None:
            draw.save_label_png(self.folder / MASKS / f"{name}.png", draft.mask, self.judge.mask_palette)
        objects = [
            dict(category_id=item.label + 1, **item.shape, iscrowd=0, score=round(item.score, 6))
            for item in draft.objects
        ]
        return dict(size=list(image.shape[:2]), certainty=round(draft.certainty, 6), objects=objects)

    def _write(self, done: dict[str, dict[str, Any]]) -> None:
        files = dict(zip(self.pictures.images.names, self.pictures.files))
        images, annotations = [], list[dict[str, Any]]()
        for number, (name, entry) in enumerate(done.items(), 1):
            height, width = entry["size"]
            images.append(dict(id=number, file_name=files[name], height=height, width=width))
            for item in entry["objects"]:
                annotations.append(dict(id=len(annotations) + 1, image_id=number, **item))
        left_out = background_of(self.judge.classes)
        categories = [
            dict(id=label + 1, name=name) for label, name in enumerate(self.judge.classes) if label != left_out
        ]
        content = dict(images=images, categories=categories, annotations=annotations)
        write_whole(self.folder / OBJECTS, json.dumps(content) + "\n")
        write_whole(self.folder / CLASSES, self._legend)
        order = sorted(done, key=lambda name: (done[name]["certainty"], files[name]))
        rows = [dict(image=files[name], score=done[name]["certainty"]) for name in order]
        head = dict(kind=self.judge.kind, classes=self.judge.mask_classes, settings=self.settings)
        write_whole(self.folder / DRAFTS, json.dumps(dict(**head, images=rows), indent=1) + "\n")
