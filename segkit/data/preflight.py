"""A check of the data before training: pairing, sizes, labels against the classes; it reports all findings at once."""

import contextlib
import inspect
import itertools
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from segkit.data.dataset import Dataset, MissingPixels
from segkit.data.files.image_advice import findings_of
from segkit.data.files.image_values import ImageValues
from segkit.data.files.labels import LabelError
from segkit.data.files.orientation import UPRIGHT, orientation_of_file
from segkit.data.files.overlaps import OverlapCounts
from segkit.files import DataError
from segkit.types import IGNORE, Sample

WITH_ORIENTATION = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff")
"""Suffixes of files that can state an orientation."""

MOST_NAMED = 3
"""Files named per kind of error; the rest is counted."""

MOST_CLASSES = 8
"""Classes named in one message; the rest is counted."""

MANY_IGNORED = 0.5
"""Share of ignored pixels above which the report warns."""

MANY_EMPTY = 0.25
"""Share of images without an object above which the report warns."""

MOST_READ_ON = 1000
"""Items read beyond `limit` at most, in search of a second class."""


@dataclass
class Report:
    """The findings of a check.

    Attributes:
        lines: what the data set holds.
        values: of the images read.
        warnings: worth a look.
        errors: training would fail or learn nothing.
    """

    lines: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    values: ImageValues = field(default_factory=ImageValues)

    @property
    def is_ok(self) -> bool:
        """Whether training can start."""
        return not self.errors

    def __str__(self) -> str:
        warnings = [f"warning: {text}" for text in self.warnings]
        return "\n".join([*self.lines, *warnings, *(f"error: {text}" for text in self.errors)])


@dataclass
class Findings:
    """What reading a number of items gave.

    Attributes:
        sizes: how often each (H, W) occurs.
        counts: int64 [65536], pixels (or objects) of each label.
        in_images: number of masks that hold each label.
        num_masks: masks read.
        of_instances: whether labels are those of objects, not of pixels.
        objects: number of objects of each image that has a list of them, to click on or as instances.
        first_empty: label file of the first image without an object.
        first: the first mask that holds each label.
        label_errors: labels that no class covers.
        missing: messages of images with pixels that are NaN or infinite.
        turned: images that state an EXIF orientation which is not applied.
        values: of all images.
        overlaps: of masks whose classes may overlap.
        other_errors: messages of all else that failed.
    """

    sizes: Counter = field(default_factory=Counter)
    counts: np.ndarray = field(default_factory=lambda: np.zeros(65536, np.int64))
    in_images: Counter = field(default_factory=Counter)
    num_masks: int = 0
    of_instances: bool = False
    objects: list[int] = field(default_factory=list)
    first_empty: str = ""
    first: dict[int, str] = field(default_factory=dict)
    label_errors: list[LabelError] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    turned: list[str] = field(default_factory=list)
    values: ImageValues = field(default_factory=ImageValues)
    overlaps: OverlapCounts = field(default_factory=OverlapCounts)
    other_errors: list[str] = field(default_factory=list)


def check_dataset(
    dataset: Dataset,
    num_classes: int,
    ignore: int = IGNORE,
    *,
    limit: int = 64,
    mean: Sequence[float] | float | None = None,
    std: Sequence[float] | float | None = None,
) -> Report:
    """Reads items of a data set and reports everything that is wrong with them.

    Every message names a file, the values and what to change. Bad files raise nothing.

    Args:
        dataset: any data set.
        num_classes: classes of the model.
        ignore: label of pixels that are neither trained nor scored.
        limit: how many items are read, evenly spread.
        mean, std: of the model's normalization, which the images' values are compared with; None for those of most
            encoders.

    Returns:
        The report.
    """
    report = Report(warnings=list(dataset.notes))
    if not len(dataset):
        report.errors.append("the data set is empty: check root and split")
        return report
    _check_classes(dataset, num_classes, report)
    findings = Findings(values=report.values)
    num_read = _read(dataset, limit, ignore, findings)
    labelled = dataset.count_masks()
    report.lines.append(
        f"{type(dataset).__name__}: {len(dataset)} images, {labelled} with labels; "
        f"{'all' if num_read == len(dataset) else num_read} of them read"
    )
    if findings.sizes:
        report.lines.append(_sizes(findings.sizes))
    _report_images(dataset, findings, num_read, (mean, std), report)
    _report_failures(findings, num_read, report)
    if findings.of_instances:
        _report_objects(dataset, num_classes, findings, report)
    elif findings.overlaps.num_masks:
        classes = tuple(dataset.classes)
        report.lines += findings.overlaps.lines(classes)
        report.warnings += findings.overlaps.warnings(classes)
        report.errors += findings.overlaps.errors(classes)
    elif findings.num_masks:
        _report_labels(dataset, num_classes, ignore, findings, report)
    elif findings.objects:
        report.lines.append(f"objects: {sum(findings.objects)} in {len(findings.objects)} images")
    _report_empty(findings, report)
    return report


def _report_empty(findings: Findings, report: Report) -> None:
    """Reports images without an object, from which nothing is learnt but background."""
    empty, total = findings.objects.count(0), len(findings.objects)
    if not empty:
        return
    place = f"{empty} of {total} images read have no object ({findings.first_empty})"
    if empty == total and not findings.of_instances:
        report.errors.append(f"{place}: there is nothing to click on; check the values of the masks and the folders")
    elif empty > MANY_EMPTY * total and empty < total:
        report.warnings.append(f"{place}: check the annotations where this is unexpected")


def _check_classes(dataset: Dataset, num_classes: int, report: Report) -> None:
    if len(dataset.classes) != num_classes:
        report.errors.append(
            f"{type(dataset).__name__} has {len(dataset.classes)} classes, the model {num_classes}: "
            "set num_classes to the number of classes, or name all classes"
        )
    if len(dataset.palette) != len(dataset.classes):
        report.warnings.append(f"{len(dataset.palette)} colors for {len(dataset.classes)} classes: give one per class")
    twice = [name for name, count in Counter(dataset.classes).items() if count > 1]
    if twice:
        report.errors.append(f"classes: the name '{twice[0]}' is given twice; scores are reported by class name")


def _read(dataset: Dataset, limit: int, ignore: int, findings: Findings) -> int:
    """Reads `limit` items, evenly spread, and more of them while they hold a single class. Returns how many."""
    total = len(dataset)
    first = np.unique(np.linspace(0, total - 1, min(max(limit, 1), total)).round().astype(int)).tolist()
    for index in first:
        _look(dataset, index, findings)
    num_read = len(first)
    # a rare object may be missing in a small sample: only many masks of one class are a finding
    seen = set(first)
    for index in itertools.islice((index for index in range(total) if index not in seen), MOST_READ_ON):
        if (
            findings.of_instances
            or not findings.num_masks
            or len(set(findings.in_images) - {ignore % 65536}) != 1
            or len(dataset.classes) == 1
        ):
            break
        _look(dataset, index, findings)
        num_read += 1
    return num_read


def _look(dataset: Dataset, index: int, findings: Findings) -> None:
    """Reads one item and adds it to the findings."""
    path = dataset.path(index)
    if not dataset.exif and path.lower().endswith(WITH_ORIENTATION):
        with contextlib.suppress(DataError):  # reading the sample says so
            content = dataset.content(index)
            if (content or os.path.isfile(path)) and orientation_of_file(path, content) != UPRIGHT:
                findings.turned.append(path)
    try:
        sample = dataset.sample(index, np.random.default_rng(0))
    except LabelError as error:
        findings.label_errors.append(error)
        return
    except MissingPixels as error:
        findings.missing.append(str(error))
        return
    except (DataError, OSError, ValueError) as error:
        text = str(error)
        findings.other_errors.append(text if isinstance(error, DataError) else f"{dataset.path(index)}: {text}")
        return
    findings.sizes[sample["image"].shape[:2]] += 1
    findings.values.add(sample["image"], path)
    num_objects = _count_objects(sample)
    if num_objects is not None:
        findings.objects.append(num_objects)
        if not num_objects:
            findings.first_empty = findings.first_empty or dataset.mask_path(index)
    labels = sample.get("mask", sample.get("labels"))
    if labels is None or labels.dtype.kind not in "ui":  # click targets are no classes
        return
    if labels.ndim == 3:
        findings.overlaps.add(labels, dataset.ignore, dataset.mask_path(index))
        return
    findings.num_masks += 1
    findings.of_instances = "mask" not in sample
    counts = np.bincount(labels.ravel().astype(np.uint16), minlength=65536)
    findings.counts += counts
    for label in np.flatnonzero(counts).tolist():
        findings.in_images[label] += 1
        findings.first.setdefault(label, dataset.mask_path(index))


def _count_objects(sample: Sample) -> int | None:
    """Objects of a sample that have a pixel or a box; None where its labels are those of pixels."""
    if "objects" in sample:
        found: dict[int, np.ndarray] = {}
        for item in sample["objects"].values():
            if item.layer not in found:
                found[item.layer] = np.bincount(sample["layers"][:, :, item.layer].ravel(), minlength=256)
        return sum(bool(found[item.layer][item.value]) for item in sample["objects"].values())
    return len(sample["labels"]) if "mask" not in sample and "labels" in sample else None


def _sizes(sizes: Counter) -> str:
    """One line on the image sizes, as width x height."""
    if len(sizes) == 1:
        height, width = next(iter(sizes))
        return f"sizes: {width}x{height}"
    small, large = min(sizes, key=np.prod), max(sizes, key=np.prod)
    return f"sizes: {len(sizes)} different, {small[1]}x{small[0]} to {large[1]}x{large[0]}"


def _report_images(dataset: Dataset, findings: Findings, num_read: int, normalization: tuple, report: Report) -> None:
    """Reports what images hold that reads without an error, and still teaches nothing or something wrong."""
    if findings.turned:
        report.warnings.append(
            f"{len(findings.turned)} of {num_read} images read state an EXIF orientation ({findings.turned[0]}), which "
            "is not applied: where labels were made on turned pictures, set exif=True"
        )
    if findings.missing:
        count = f" ({len(findings.missing)} of {num_read} images read)" if len(findings.missing) > 1 else ""
        report.errors.append(f"{findings.missing[0]}{count}")
    errors, warnings = findings_of(findings.values, dataset, num_read, *normalization)
    report.errors += errors
    report.warnings += warnings


def _report_failures(findings: Findings, num_read: int, report: Report) -> None:
    """Groups what could not be read; labels beyond the classes are one message however many masks hold them."""
    report.errors += findings.other_errors[:MOST_NAMED]
    if len(findings.other_errors) > MOST_NAMED:
        report.errors.append(f"... and {len(findings.other_errors) - MOST_NAMED} more files that cannot be used")
    groups: dict[tuple, list[LabelError]] = {}
    for error in findings.label_errors:
        groups.setdefault(error.values, []).append(error)
    frequent = sorted(groups.values(), key=len, reverse=True)
    for group in frequent[:MOST_NAMED]:
        count = f" ({len(group)} of {num_read} masks read)" if len(group) > 1 else ""
        report.errors.append(f"{group[0]}{count}")
    if len(frequent) > MOST_NAMED:
        values = sorted({str(value) for group in frequent[MOST_NAMED:] for error in group for value in error.values})
        more = sum(len(group) for group in frequent[MOST_NAMED:])
        report.errors.append(f"... and {more} more masks with labels beyond the classes, for example {values[0]}")


def _report_objects(dataset: Dataset, num_classes: int, findings: Findings, report: Report) -> None:
    """Reports on labels of objects: none of them is ignored, and an image may hold none."""
    counts, total = findings.counts, int(findings.counts.sum())
    _report_beyond(dataset, counts, num_classes, findings, report)
    present = [label for label in range(num_classes) if counts[label]]
    report.lines.append(f"objects: {total} in {findings.num_masks} images, {len(present)} of {num_classes} classes")
    if present:
        report.lines.append(_shares(dataset, counts, present))
    if not total:
        report.warnings.append(f"none of {findings.num_masks} images read has an object: check annotations and classes")
    elif len(present) < num_classes:
        names = _names(dataset, [label for label in range(num_classes) if label not in present])
        report.warnings.append(f"classes without an object in the {findings.num_masks} images read: {names}")


def _report_beyond(dataset: Dataset, counts: np.ndarray, num_classes: int, findings: Findings, report: Report) -> None:
    beyond = np.flatnonzero(counts[num_classes:]) + num_classes
    if len(beyond):
        label = int(beyond[0])
        report.errors.append(
            f"{findings.first[label]}: label {label} beyond the {num_classes} classes; {len(beyond)} such values: "
            f"name more classes, or {_advice(dataset, 'map them with label_map')}"
        )


def _advice(dataset: Dataset, text: str) -> str:
    """Advice on the argument label_map, in words that can be followed where the data set has no such argument."""
    if "label_map" in inspect.signature(type(dataset)).parameters:
        return text
    return "check the files, or read the folder with type='Folder' and its label_map"


def _names(dataset: Dataset, labels: list[int]) -> str:
    more = f" and {len(labels) - MOST_CLASSES} more" if len(labels) > MOST_CLASSES else ""
    return ", ".join(_name(dataset, label) for label in labels[:MOST_CLASSES]) + more


def _report_labels(dataset: Dataset, num_classes: int, ignore: int, findings: Findings, report: Report) -> None:
    """Reports on labels of pixels."""
    counts = findings.counts.copy()
    ignored = int(counts[ignore % 65536])  # counts are by the labels' 16 bits, -1 is the last
    counts[ignore % 65536] = 0
    _report_beyond(dataset, counts, num_classes, findings, report)
    present = [label for label in range(num_classes) if counts[label]]
    total = max(int(counts.sum()) + ignored, 1)
    report.lines.append(
        f"labels: {len(present)} of {num_classes} classes present, {100 * ignored / total:.1f} % ignored ({ignore})"
    )
    if present:
        report.lines.append(_shares(dataset, counts, present))
    _report_absent(dataset, present, ignored / total, findings, report)


def _shares(dataset: Dataset, counts: np.ndarray, present: list[int]) -> str:
    """The most frequent classes and the rarest with their shares of the labelled pixels, on one line."""
    order = sorted(present, key=lambda label: -counts[label])
    total = counts.sum()
    shares = [f"{_name(dataset, label)} {_percent(counts[label] / total)}" for label in order]
    return "shares: " + ", ".join(shares if len(shares) <= 5 else [*shares[:2], "...", *shares[-3:]])


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


def _name(dataset: Dataset, label: int) -> str:
    return dataset.classes[label] if label < len(dataset.classes) else str(label)


def _report_absent(dataset: Dataset, present: list[int], ignored: float, findings: Findings, report: Report) -> None:
    """Reports classes never present, masks of 0 and 255, masks that are all ignored."""
    masks = "the mask" if findings.num_masks == 1 else f"all {findings.num_masks} masks"
    expected = range(len(dataset.classes)) if dataset.shown is None else dataset.shown
    absent = [label for label in expected if label not in present]
    example = next(iter(findings.first.values()), "")
    if not present:
        report.errors.append(
            f"{masks} read: every pixel is ignored ({example}): {_advice(dataset, 'check ignore and label_map')}"
        )
    elif present == [0] and ignored > 0:
        report.errors.append(
            f"{masks} read hold only class 0 and the ignored value ({example}): "
            f"{_advice(dataset, 'a mask saved as 0 and 255 needs label_map={255: 1}')}, else class 1 "
            f"({_name(dataset, 1)}) is never trained"
        )
    elif len(present) == 1 and len(dataset.classes) > 1:
        report.errors.append(
            f"{masks} read hold only one class, {present[0]} ({_name(dataset, present[0])}; {example}): "
            f"{_advice(dataset, 'check label_map, reduce_zero_label and the order of classes')}"
        )
    elif absent:
        report.warnings.append(
            f"classes in none of the {findings.num_masks} masks read: {_names(dataset, absent)}; "
            f"{_advice(dataset, 'check label_map')} if this is unexpected"
        )
    if present and ignored > MANY_IGNORED:
        report.warnings.append(
            f"{100 * ignored:.0f} % of the pixels are ignored: "
            f"{_advice(dataset, 'check ignore, or map them by label_map')}"
        )
