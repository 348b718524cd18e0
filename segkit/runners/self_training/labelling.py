"""Pseudo labels: the mean of several models on unlabelled images, kept where it is sure. Resumable, in shards.

While the work goes on, the folder holds .progress/settings.json, counts of confidences, and a record of each finished
image; the manifest pseudo.json takes their place when all images are done.
"""

import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from segkit import dist
from segkit.data.files.images import load_array
from segkit.data.files.pseudo_manifest import (
    LABELS,
    MANIFEST,
    PROGRESS,
    SCORES,
    Entry,
    Maker,
    Manifest,
    image_key,
    read_manifest,
)
from segkit.data.samplers import shard
from segkit.engine.world import need_shared
from segkit.files import DataError, parse_json, read_text, write_whole
from segkit.models.bases import Network
from segkit.ops.self_training.confidence import (
    image_entropy,
    keep_sure,
    labels_of,
    to_scores,
)
from segkit.ops.self_training.counts import ConfidenceCounts
from segkit.registry import ConfigError
from segkit.runners.self_training.committee import Committee
from segkit.runners.self_training.rule import Images, Rule
from segkit.runners.self_training.summary import summary
from segkit.types import IGNORE
from segkit.viz import draw

SAVE_EVERY = 50
"""Images between two savings of the counted confidences."""


class Labeller:
    """Labels images by one or several models.

    Args:
        models: in evaluation mode, of equal classes.
        makers: their checkpoints.
        images: to label.
        folder: takes labels/, scores/ and pseudo.json.
        rule: which pixels keep their label.
        say: takes lines for the user.

    Raises:
        ConfigError: the rule does not fit, classes differ, or a model gives no probabilities of classes.
    """

    def __init__(
        self,
        models: Sequence[Network],
        makers: Sequence[Maker],
        images: Images,
        folder: Path,
        rule: Rule,
        say: Callable[[str], None] = print,
    ):
        self.makers, self.images = makers, images
        self.folder, self.rule, self.say = folder, rule, say
        self.committee = Committee(models, [maker.file for maker in makers])
        self.classes, self.palette = self.committee.classes, self.committee.palette
        rule.check(self.classes, len(models))
        self._chosen = self._choose_models()
        self.progress = folder / PROGRESS

    def _choose_models(self) -> list[list[int]]:
        """Numbers of the models that label each image."""
        everyone = list(range(len(self.makers)))
        if not self.rule.unseen:
            return [everyone] * len(self.images.names)
        seen = []
        for maker in self.makers:
            if maker.seen is None:
                raise ConfigError(f"unseen: which images {maker.file} was trained on is not known, see the line above")
            seen.append(set(maker.seen))
        chosen = [[n for n in everyone if image_key(path) not in seen[n]] for path in self.images.paths]
        saw = [path for path, numbers in zip(self.images.paths, chosen) if not numbers]
        if saw:
            raise ConfigError(
                f"unseen: folds that leak: all checkpoints were trained on {len(saw)} of {len(chosen)} images, first "
                f"{saw[0]}; add the checkpoint of the fold that held them out"
            )
        return chosen

    def settings(self) -> dict[str, Any]:
        """Returns what decides the labels, as JSON holds it."""
        inference = [asdict(runner.inference) for runner in self.committee.runners]
        about = {
            "checkpoints": [maker.sha256 for maker in self.makers],
            "classes": self.classes,
            "inference": inference,
            **asdict(self.rule),
            "images": hashlib.sha256(json.dumps([str(name) for name in self.images.names]).encode()).hexdigest(),
            "reading": self.images.reading,
        }
        return json.loads(json.dumps(about, default=str))

    def run(self, part: int = 0, parts: int = 1, *, overwrite: bool = False) -> Manifest | None:
        """Labels this process's share of the images that are not done yet.

        Args:
            part, parts: which share of the images; processes of torchrun all call it with their rank.
            overwrite: whether labels of other checkpoints or settings in the folder are replaced.

        Returns:
            The manifest where all images are done; None where other shards are not.

        Raises:
            DataError: the folder holds pseudo labels of other settings, or an image cannot be read.
            ConfigError: the processes are on several machines that do not share the folder.
        """
        need_shared(self.folder, "pseudo labels")
        finished = self._begin(overwrite=overwrite)
        if finished is not None:
            self.say(f"{self.folder}: all {len(finished.images)} images are labelled already, with these settings")
            return finished
        mine = shard(len(self.images.names), part, parts)
        thresholds = self._thresholds(mine, part, parts)
        if thresholds is None:
            return None
        for index in _bar(mine, "labelling"):
            if not self._record(index).is_file():
                self._label(index, thresholds)
        dist.barrier()
        manifest = self._finish(thresholds) if dist.is_main() else None
        manifest = dist.gather_objects(manifest)[0]
        dist.barrier()
        return manifest

    def _begin(self, *, overwrite: bool) -> Manifest | None:
        """Prepares the folder; returns the manifest where the work is done already."""
        refusal, finished = "", None
        if dist.is_main():
            try:
                finished = self._prepared(overwrite=overwrite)
            except DataError as error:
                refusal = str(error)
        refusal, finished = dist.gather_objects((refusal, finished))[0]
        if refusal:
            raise DataError(refusal)
        return finished

    def _prepared(self, *, overwrite: bool) -> Manifest | None:
        wanted, path = self.settings(), self.progress / "settings.json"
        finished = read_manifest(self.folder) if (self.folder / MANIFEST).is_file() else None
        before = (
            finished.settings if finished else parse_json(read_text(path, 1 << 28), path) if path.is_file() else None
        )
        if before is not None and before != wanted:
            if not overwrite:
                raise DataError(
                    f"{self.folder}: holds pseudo labels made otherwise ({difference(before, wanted)}); use the same "
                    "checkpoints and settings, choose another --out, or replace them by --overwrite"
                )
            finished = None
            (self.folder / MANIFEST).unlink(missing_ok=True)
            for name in (PROGRESS, LABELS, SCORES):
                shutil.rmtree(self.folder / name, ignore_errors=True)
        if finished is None and not path.is_file():
            write_whole(path, json.dumps(wanted))
        return finished

    def _record(self, index: int) -> Path:
        return self.progress / "images" / f"{self.images.names[index]}.json"

    def _predict(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Labels uint8 [H,W] with 255 where models disagree, confidences, and mean probabilities float32 [K,H,W]."""
        image, numbers = self.images.read(index), self._chosen[index]
        each = self.committee.probabilities(image, numbers)
        return self.committee.decision(each, needs_agreement=self.rule.agree)

    def _thresholds(self, mine: Sequence[int], part: int, parts: int) -> np.ndarray | None:
        """Least confidence of each class, float32 [K]; None where other shards have not counted theirs yet."""
        fixed = np.broadcast_to(np.asarray(self.rule.threshold, np.float32), (len(self.classes),))
        if self.rule.share is None:
            return fixed
        self._count(mine, self._counts_file(part, parts))
        dist.barrier()
        total = ConfidenceCounts(len(self.classes))
        for number in range(parts):
            done, counts = self._load_counts(self._counts_file(number, parts))
            if done < len(shard(len(self.images.names), number, parts)):
                self.say(
                    f"shard {part + 1} of {parts}: counted; shard {number + 1} is not yet. Run this command again when "
                    "all shards have been counted: the thresholds are those of all images"
                )
                return None
            total.merge(counts)
        return np.maximum(fixed, total.thresholds(self.rule.share))

    def _counts_file(self, part: int, parts: int) -> Path:
        return self.progress / f"counts_{part + 1}_of_{parts}.npy"

    def _count(self, mine: Sequence[int], path: Path) -> None:
        """Counts the confidences of a share of the images; goes on where it was ended."""
        done, counts = self._load_counts(path)
        for number in _bar(range(done, len(mine)), "counting"):
            labels, confidence, _ = self._predict(mine[number])
            counts.add(labels, confidence)
            if (number + 1) % SAVE_EVERY == 0 or number + 1 == len(mine):
                file = io.BytesIO()
                head = np.array([[number + 1], [0]], np.uint64)
                np.save(file, np.concatenate([head, counts.as_array()], axis=1))
                write_whole(path, file.getvalue())

    def _load_counts(self, path: Path) -> tuple[int, ConfidenceCounts]:
        """How many images of a share are counted, and their counts."""
        counts = ConfidenceCounts(len(self.classes))
        if not path.is_file():
            return 0, counts
        array = load_array(path)
        counts.load_array(array[:, 1:])
        return int(array[0, 0]), counts

    def _label(self, index: int, thresholds: np.ndarray) -> None:
        name = self.images.names[index]
        labels, confidence, mean = self._predict(index)
        kept = keep_sure(labels, confidence, thresholds)
        if self.rule.scores:
            draw.save_png(self.folder / SCORES / f"{name}.png", to_scores(confidence))
        draw.save_label_png(self.folder / LABELS / f"{name}.png", kept, self.palette)
        path, count = self.images.paths[index], len(self.classes)
        entry = Entry(
            image=relative(path, self.folder),
            key=image_key(path),
            makers=self._chosen[index],
            confidence=float(confidence.mean(dtype=np.float64)),
            entropy=image_entropy(mean),
            pixels=np.bincount(labels_of(mean, self.committee.threshold)[0].ravel(), minlength=count)[:count].tolist(),
            kept=np.bincount(kept.ravel(), minlength=IGNORE + 1)[:count].tolist(),
        )
        # last: what has a record is done
        write_whole(self._record(index), json.dumps(asdict(entry)))

    def _finish(self, thresholds: np.ndarray) -> Manifest | None:
        """Writes the manifest where every image has its record."""
        records = [self._record(index) for index in range(len(self.images.names))]
        left = sum(not record.is_file() for record in records)
        if left:
            self.say(f"{self.folder}: {left} of {len(records)} images are left to the other shards")
            return None
        entries = {
            str(name): Entry(**parse_json(read_text(record), record))
            for name, record in zip(self.images.names, records)
        }
        manifest = Manifest(
            settings=self.settings(),
            classes=list(self.classes),
            palette=[list(color) for color in self.palette],
            reading=self.images.reading,
            checkpoints=list(self.makers),
            images=entries,
            summary=summary(list(entries.values()), self.classes, thresholds),
        )
        manifest.write(self.folder)
        shutil.rmtree(self.progress, ignore_errors=True)
        return manifest


def relative(path: str, folder: Path) -> str:
    """Returns the path of an image relative to a folder; of an image that is no file, its name."""
    return os.path.relpath(path, folder) if os.path.isfile(path) else path


def difference(before: dict[str, Any], wanted: dict[str, Any]) -> str:
    """Returns the first settings that differ, with both values where they are short."""
    names = [name for name in wanted if before.get(name) != wanted[name]]
    shown = []
    for name in names[:3]:
        values = f"{before.get(name)!r} -> {wanted[name]!r}"
        shown.append(f"{name}: {values}" if len(values) < 80 else f"other {name}")
    return ", ".join(shown) or "by another version"


def _bar(numbers: Sequence[int], label: str) -> Iterator[int]:
    from tqdm import tqdm

    yield from tqdm(numbers, label, unit="image", disable=None if dist.is_main() else True, leave=False)
