"""Errors put into labels of CamVid or Penn-Fudan, and how many of the top findings of segkit audit they are.

    python benchmarks/audit.py camvid [--checkpoints FILE ...] [--seeds N] [--keep FOLDER] [--montage PNG]
    python benchmarks/audit.py penn --checkpoints FOLD0 FOLD1 ...

The labels of images get errors in 10 % of the images, the kinds in turn. For each kind: the share of true ones among
the first n findings of it, n being the number put in ("precision"); the share whose images are among the first N of all
findings, N being the number of all changed images ("all kinds"), and among the first N images by mean cross entropy of
the labels ("plain loss"). Seeds are added up.

CamVid's parts val and test are judged by checkpoints that learned train, by the mean of their probabilities, or without
--checkpoints by a small head on frozen ImageNet features (benchmarks/audit_network.py). Penn-Fudan's 170 images, whose
only object is the pedestrian, are judged by the checkpoints of `segkit train CONFIG --folds N`, each image by those
that were not trained on it; two of the kinds need more classes and are left out. --keep keeps what was predicted.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from audit_errors import KINDS, LabelErrors, box_iou
from audit_network import features_of, probabilities_of, train_head

from segkit import api
from segkit.audit.findings import BOUNDARY, MISSING, SPURIOUS, Box, Finding
from segkit.audit.judges import NetworkJudge, Trained
from segkit.audit.label_maps import LabelMapAudit
from segkit.cli.seen import seen_by
from segkit.data.dataset import Dataset, resolve_root
from segkit.data.semantic.camvid import CamVid
from segkit.data.semantic.folder import Folder
from segkit.viz import draw

SHARE = 0.1
THINGS = ("car", "pedestrian", "bicyclist", "sign")
OVERLAP = 0.3
"""IoU of boxes from which a finding is at the place of an error."""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", choices=("camvid", "penn"))
    arguments.add_argument("--checkpoints", nargs="+", default=(), help="networks that judge; needed for penn")
    arguments.add_argument("--seeds", type=int, default=5)
    arguments.add_argument("--keep", type=Path, help="folder of what was predicted")
    arguments.add_argument("--montage", type=Path, help="picture of the first findings that were not put in, seed 0")
    args = arguments.parse_args()
    torch.set_num_threads(1)
    if args.data == "penn" and not args.checkpoints:
        arguments.error("penn: give the folds' checkpoints by --checkpoints")
    bench = penn(args.checkpoints, args.keep) if args.data == "penn" else camvid(args.checkpoints, args.keep)
    put: Counter = Counter()
    right: dict[str, Counter] = {"precision": Counter(), "all kinds": Counter(), "plain loss": Counter()}
    for seed in range(args.seeds):
        truth, findings, losses = bench.run(np.random.default_rng(seed))
        score(truth, findings, losses, put, right)
        if seed == 0 and args.montage:
            bench.montage([finding for finding in findings if not is_hit(finding, truth)], args.montage)
    print(f"{args.data}: {args.seeds} seeds, errors in {SHARE:.0%} of {len(bench.names)} images each")
    print(f"{'kind':12} {'put in':>7}" + "".join(f"{name:>12}" for name in right))
    for kind in [kind for kind in KINDS if put[kind]]:
        print(f"{kind:12} {put[kind]:7}" + "".join(f"{counts[kind] / put[kind]:12.2f}" for counts in right.values()))
    print(f"{'together':12} {put.total():7}" + "".join(f"{c.total() / put.total():12.2f}" for c in right.values()))


def score(
    truth: dict[str, tuple[str, Box]],
    findings: Sequence[Finding],
    losses: dict[str, float],
    put: Counter,
    right: dict[str, Counter],
) -> None:
    """Adds up what was put in and what was found, by kind."""
    counts = Counter(kind for kind, _ in truth.values())
    put.update(counts)
    for kind, count in counts.items():
        first = [finding for finding in findings if finding.kind == kind][:count]
        right["precision"][kind] += sum(is_hit(f, truth) and truth[f.image][0] == kind for f in first)
    by_finding = list(dict.fromkeys(finding.image for finding in findings))[: len(truth)]
    by_loss = sorted(losses, key=lambda name: -losses[name])[: len(truth)]
    for name, images in (("all kinds", by_finding), ("plain loss", by_loss)):
        right[name].update(truth[image][0] for image in images if image in truth)


def is_hit(finding: Finding, truth: dict[str, tuple[str, Box]]) -> bool:
    """Returns whether a finding is at the place of an error."""
    return finding.image in truth and box_iou(finding.box, truth[finding.image][1]) > OVERLAP


def network_of(
    keep: Path | None, train: Dataset, masks: Sequence[np.ndarray], num_classes: int, judged: Dataset
) -> tuple[Any, list]:
    """Returns the trained head and the features of the judged images."""
    file = None if keep is None else keep / f"{type(train).__name__}.pt"
    if file is not None and file.is_file():
        return torch.load(file, weights_only=False)  # this benchmark's own file
    judged_features = features_of([partial(judged.image, i) for i in range(len(judged))])
    features = features_of([partial(train.image, i) for i in range(len(train))])
    found = train_head(features, masks, num_classes, 255), judged_features
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(found, file)
    return found


class _Both(Dataset):
    """Two parts of a set one after the other."""

    def __init__(self, *parts: Dataset):
        self.places = [(part, index) for part in parts for index in range(len(part))]
        self.ids = [part.ids[index] for part, index in self.places]
        self.classes, self.palette = parts[0].classes, parts[0].palette

    def image(self, index: int) -> np.ndarray:
        return self.places[index][0].image(self.places[index][1])

    def mask(self, index: int) -> np.ndarray:
        return self.places[index][0].mask(self.places[index][1])

    def path(self, index: int) -> str:
        return self.places[index][0].path(self.places[index][1])


def camvid(checkpoints: Sequence[str], keep: Path | None) -> "Maps":
    """The parts val and test are judged."""
    train, judged = CamVid(split="train"), _Both(CamVid(split="val"), CamVid(split="test"))
    things = [train.classes.index(name) for name in THINGS]
    if checkpoints:
        return Maps(judged, kept(keep, "camvid", partial(judged_by, checkpoints, judged)), things, KINDS)
    masks = [train.mask(index) for index in range(len(train))]
    network, features = network_of(keep, train, masks, len(train.classes), judged)
    sizes = [judged.mask(index).shape for index in range(len(features))]
    values = [probabilities_of(network, maps, size) for maps, size in zip(features, sizes)]
    return Maps(judged, list(map(packed, values)), things, KINDS)


def penn(checkpoints: Sequence[str], keep: Path | None) -> "Maps":
    """Pedestrians before the background."""
    judged = Folder(
        str(resolve_root(None, "PennFudanPed")),
        classes=("background", "pedestrian"),
        images="PNGImages",
        masks="PedMasks",
        mask_suffix="_mask",
        label_map=dict.fromkeys(range(1, 21), 1),
    )
    predicted = kept(keep, "penn", partial(judged_by, checkpoints, judged))
    return Maps(judged, predicted, [1], (MISSING, SPURIOUS, BOUNDARY))


def judged_by(checkpoints: Sequence[str], judged: Dataset) -> list[np.ndarray]:
    """The mean probabilities of the networks that were not trained on each image, packed."""
    networks = [
        Trained(file, api.load_model(None, file, predict_only=True), seen_by(Path(file), print, trust=False))
        for file in checkpoints
    ]
    judge = NetworkJudge(networks, list(map(str, judged.classes)))
    found = []
    for index in range(len(judged)):
        values, seen = judge.maps(judged, index, judged.image(index))
        if seen:
            raise SystemExit(f"{judged.path(index)}: all of the networks were trained on it")
        found.append(packed(values))
    return found


def kept(folder: Path | None, name: str, make: Callable[[], list[np.ndarray]]) -> list[np.ndarray]:
    """What `make` returns, from the file of the run before where there is one."""
    file = None if folder is None else folder / f"{name}_predicted.npz"
    if file is not None and file.is_file():
        with np.load(file) as stored:
            return [stored[key] for key in stored.files]
    made = make()
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, *made)
    return made


def packed(probabilities: np.ndarray) -> np.ndarray:
    """Probabilities as 16-bit integers."""
    return (probabilities * 65535).astype(np.uint16)


class Maps:
    """Label maps, and what networks that never saw them predict.

    Args:
        judged: images and labels.
        probabilities: of each image, see packed.
        things: classes whose parts are objects.
        kinds: of the errors.
    """

    def __init__(self, judged: Dataset, probabilities: list[np.ndarray], things: Sequence[int], kinds: Sequence[str]):
        self.judged, self.probabilities, self.kinds = judged, probabilities, kinds
        self.names = list(judged.ids)
        self.maps = [judged.mask(index) for index in range(len(self.names))]
        self.errors = LabelErrors(self.maps, things, 255)
        num_classes = len(judged.classes)
        counts = np.zeros((num_classes, num_classes))
        for values, labels in zip(probabilities, self.maps):
            known = labels != 255
            pairs = labels[known].astype(np.int64) * num_classes + values.argmax(0)[known]
            counts += np.bincount(pairs, minlength=counts.size).reshape(counts.shape)
        right = np.diag(counts)
        iou = right / (counts.sum(0) + counts.sum(1) - right)
        print(f"the network: pixel accuracy {100 * right.sum() / counts.sum():.1f} %, mIoU {100 * iou.mean():.1f}")
        print(", ".join(f"{name} {100 * value:.0f}" for name, value in zip(judged.classes, iou)))

    def run(self, rng: np.random.Generator) -> tuple[dict, list[Finding], dict[str, float]]:
        """Puts errors in -> (kind, box) by image, the findings, and the mean loss of each image."""
        changed, truth = put_in(self.maps, self.names, self.errors, self.kinds, rng)
        audit = LabelMapAudit(tuple(self.judged.classes), 255)
        losses = {}
        for index, name in enumerate(self.names):
            labels = changed.get(name, self.maps[index])
            values = self.probabilities[index].astype(np.float32) / 65535
            audit.add(name, labels, values)
            known = labels != 255
            own = np.take_along_axis(values, np.where(known, labels, 0)[None].astype(np.int64), 0)[0][known]
            losses[name] = float(-np.log(np.maximum(own, 1e-6)).mean())
        return truth, audit.findings(), losses

    def montage(self, findings: Sequence[Finding], path: Path, count: int = 12) -> None:
        """Draws image, label and prediction at findings."""
        rows, captions = [], []
        for finding in findings[:count]:
            index = self.names.index(finding.image)
            views = [
                draw.to_rgb(self.judged.image(index)),
                draw.colorize(self.maps[index], self.judged.palette),
                draw.colorize(self.probabilities[index].argmax(0), self.judged.palette),
            ]
            x0, y0, x1, y1 = finding.box
            for view in views:
                cv2.rectangle(view, (x0, y0), (x1 - 1, y1 - 1), (255, 255, 255), 2)
            margin = max(x1 - x0, y1 - y0, 40)
            crop = (slice(max(y0 - margin, 0), y1 + margin), slice(max(x0 - margin, 0), x1 + margin))
            rows.append([view[crop] for view in views])
            captions.append(f"{finding.kind} {finding.score:.2f} {finding.label} > {finding.predicted} {finding.image}")
        draw.save_png(path, draw.grid(rows, ("image", "label", "prediction"), captions, cell=220))


def put_in(
    items: Sequence[Any], names: Sequence[str], errors: Any, kinds: Sequence[str], rng: np.random.Generator
) -> tuple[dict[str, Any], dict[str, tuple[str, Box]]]:
    """Changes the labels of 10 % of the images, the kinds in turn -> changed labels, (kind, box), by image."""
    changed: dict[str, Any] = {}
    truth: dict[str, tuple[str, Box]] = {}
    for index in rng.permutation(len(items)).tolist():
        if len(truth) == round(SHARE * len(items)):
            break
        kind = kinds[len(truth) % len(kinds)]
        if (found := errors.put(kind, items[index], rng)) is not None:
            changed[names[index]], truth[names[index]] = found[0], (kind, found[1])
    return changed, truth


if __name__ == "__main__":
    cv2.setNumThreads(1)
    main()
