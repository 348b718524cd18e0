"""Holds an exported file against the network that it was made of: differences, equal labels, mIoU, time, size."""

import dataclasses
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segkit.export.graph import labels_of
from segkit.export.parts import Part
from segkit.export.sessions import Run
from segkit.metrics._histogram import joint_histogram_of_tensors
from segkit.registry import ConfigError
from segkit.runtime.metadata import GraphInfo
from segkit.types import IGNORE

LEAST_EQUAL = {"float32": 0.9999, "float16": 0.995, "int8": 0.95}
"""Share of equal labels below which an export is refused, by precision."""

SIZES = ((96, 128), (133, 200), (65, 97))
"""Heights and widths of images without data; one is a multiple of 32."""

REPEATS = 5
"""Runs of each side that are timed, in turn."""


@dataclass(frozen=True)
class Case:
    """Inputs of the first graph.

    Attributes:
        image: [B,C,H,W] as stored.
        masks: B label maps [H,W], or None where they are not known.
    """

    image: np.ndarray
    masks: Sequence[np.ndarray] | None = None


@dataclass
class Proof:
    """What was found.

    Attributes:
        images: number of images, and where they come from.
        source: where they come from.
        largest_difference: between the two, of floats in standard deviations of the network's output.
        equal_labels: share of pixels, or of all pixels of all instances, with the same label.
        miou: of the network and of the file, in percent, where labels are known.
        milliseconds: medians of the network and of the file for the first image.
        megabytes: of the file.
        precision: of the file.
        is_refused: whether fewer labels agree than LEAST_EQUAL asks for.
        note: what could not be done.
        runtime: that ran the file.
    """

    images: int = 0
    source: str = ""
    largest_difference: float | None = None
    equal_labels: float | None = None
    miou: dict[str, float] | None = None
    milliseconds: dict[str, float] = field(default_factory=dict)
    megabytes: float = 0.0
    precision: str = "float32"
    is_refused: bool = False
    note: str = ""
    runtime: str = ""

    def text(self) -> str:
        """Returns JSON for the file beside the export."""
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"

    def sentence(self) -> str:
        """Returns one line for the terminal."""
        if self.equal_labels is None or self.largest_difference is None:
            return self.note
        parts = [
            f"{self.images} images of {self.source}",
            f"largest difference {self.largest_difference:.1e} std",
            f"equal labels {100 * self.equal_labels:.4f} %",
        ]
        if self.miou is not None:
            parts.append(f"mIoU {self.miou['network']:.2f} -> {self.miou['file']:.2f}")
        if self.milliseconds:
            parts.append(f"{self.milliseconds['network']:.1f} ms -> {self.milliseconds['file']:.1f} ms")
        return ", ".join([*parts, f"{self.megabytes:.1f} MB"])


class Comparison:
    """Adds up what cases say.

    Args:
        parts: the graphs of one export, the encoder first.
        runs: of their files.
        classes: of the model, for those that name none.
    """

    def __init__(self, parts: Sequence[Part], runs: Sequence[Run], classes: int = 2):
        self.parts, self.runs = parts, runs
        self.info = parts[-1].info
        self.classes = max(len(self.info.classes), classes, 2)
        self.images, self.pixels, self.equal = 0, 0, 0
        self.difference = 0.0
        self._histograms: dict[str, Any] = {}

    @torch.no_grad()
    def add(self, case: Case) -> None:
        """Runs both sides on a case and compares their outputs."""
        first = torch.from_numpy(case.image)
        wanted, found = self.outputs(first)
        self.images += len(case.image)
        self._compare(wanted, found)
        for i, mask in enumerate(case.masks or ()):
            self._score("network", wanted, i, mask)
            self._score("file", found, i, mask)

    def outputs(self, image: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Returns what the network and the files give for an image."""
        sides = []
        for side in ("network", "file"):
            values: dict[str, Tensor] = {"image": image}
            outputs: list[Tensor] = []
            for part, run in zip(self.parts, self.runs):
                extra = {"clicks": _clicks(image), "previous": torch.zeros_like(image[:, :1], dtype=torch.float32)}
                inputs = [values.get(name, extra.get(name, image)) for name in part.info.inputs]
                if side == "network":
                    result = part.plain(*inputs)
                    outputs = list(result) if isinstance(result, tuple | list) else [result]
                else:
                    outputs = [torch.from_numpy(np.ascontiguousarray(v)) for v in run([x.numpy() for x in inputs])]
                values |= dict(zip(part.info.outputs, outputs))
            sides.append(outputs)
        return sides[0], sides[1]

    def _compare(self, wanted: list[Tensor], found: list[Tensor]) -> None:
        if self.info.task == "instances":
            self._compare_instances(wanted, found)
            return
        if wanted[0].shape != found[0].shape:
            shapes = f"{tuple(found[0].shape)} in place of {tuple(wanted[0].shape)}"
            raise ConfigError(f"the exported graph gives maps of shape {shapes}; export it with --size H W")
        if self.info.output != "labels":
            self._differ(wanted[0], found[0])
        one, other = label_maps(wanted[0], self.info), label_maps(found[0], self.info)
        self.pixels += one.numel()
        self.equal += int((one == other).sum())

    def _differ(self, wanted: Tensor, found: Tensor) -> None:
        if wanted.numel():
            spread = max(float(wanted.float().std(correction=0)), 1e-12)
            self.difference = max(self.difference, float((wanted.float() - found.float()).abs().max()) / spread)

    def _compare_instances(self, wanted: list[Tensor], found: list[Tensor]) -> None:
        count = min(len(wanted[1]), len(found[1]))
        height, width = wanted[0].shape[-2:]
        # an instance that one side alone has differs at all its pixels
        self.pixels += max(len(wanted[1]), len(found[1])) * height * width
        if not len(wanted[1]) and not len(found[1]):
            self.pixels, self.equal = self.pixels + height * width, self.equal + height * width
        if count:
            self._differ(wanted[1][:count], found[1][:count])
            same = (wanted[0][:count] == found[0][:count]) & (wanted[2][:count] == found[2][:count])[:, None, None]
            self.equal += int(same.sum())

    def _score(self, side: str, outputs: list[Tensor], number: int, mask: np.ndarray) -> None:
        if self.info.task != "semantic":
            return
        labels = label_maps(outputs[0], self.info)[number].long().numpy()
        if labels.shape != mask.shape:
            rows = np.arange(mask.shape[0]) * labels.shape[0] // mask.shape[0]
            columns = np.arange(mask.shape[1]) * labels.shape[1] // mask.shape[1]
            labels = labels[rows[:, None], columns]
        is_valid = (mask != IGNORE) & (mask >= 0) & (mask < self.classes)
        truth, found = torch.from_numpy(mask[is_valid].astype(np.int64)), torch.from_numpy(labels[is_valid])
        counts = joint_histogram_of_tensors(truth, found, self.classes, self.classes).numpy()
        self._histograms[side] = self._histograms.get(side, 0) + counts

    def proof(self, source: str, paths: Sequence[Path], runtime: str) -> Proof:
        """Returns the sum of all cases."""
        equal = self.equal / max(self.pixels, 1)
        precision = self.info.precision
        return Proof(
            images=self.images,
            source=source,
            largest_difference=self.difference,
            equal_labels=equal,
            miou={side: _miou(matrix) for side, matrix in self._histograms.items()} or None,
            megabytes=megabytes(paths),
            precision=precision,
            is_refused=equal < LEAST_EQUAL[precision],
            runtime=runtime,
        )

    @torch.no_grad()
    def milliseconds(self, image: np.ndarray, repeats: int = REPEATS) -> dict[str, float]:
        """Times both sides in turn on one image, after one run of each; medians."""
        inputs = torch.from_numpy(image)
        times: dict[str, list[float]] = {"network": [], "file": []}
        for number in range(repeats + 1):
            for side, run in (("network", self._network), ("file", self._file)):
                start = time.perf_counter()
                run(inputs)
                if number:
                    times[side].append(1000 * (time.perf_counter() - start))
        return {side: round(median(values), 2) for side, values in times.items()}

    def _network(self, image: Tensor) -> None:
        self._last(image, [part.plain for part in self.parts])

    def _file(self, image: Tensor) -> None:
        self._last(image, self.runs)

    def _last(self, image: Tensor, calls: Sequence[Any]) -> None:
        value: Any = image
        for part, call in zip(self.parts, calls):
            extra = {"clicks": _clicks(image), "previous": torch.zeros_like(image[:, :1], dtype=torch.float32)}
            inputs = [extra.get(name, value) for name in part.info.inputs]
            if isinstance(call, torch.nn.Module):
                value = call(*inputs)
            else:
                value = call([np.asarray(x) for x in inputs])[0]


def label_maps(output: Tensor, info: GraphInfo) -> Tensor:
    """Returns the labels that an output of a graph of maps means, [B,H,W], or [B,K,H,W] of overlapping classes."""
    if info.output == "labels":
        return output
    if info.task in ("multi_label", "clicks_decoder"):
        probabilities = output if info.output == "probabilities" else output.sigmoid()
        return (probabilities > info.threshold).to(torch.uint8)
    if output.shape[1] == 1 and info.output == "logits":
        output = output.sigmoid()
    return labels_of(output, info.threshold)


def _clicks(image: Tensor) -> Tensor:
    """A click on the middle, one on the background near a corner, and an empty row."""
    height, width = image.shape[-2:]
    rows = [[height // 2, width // 2, 1.0], [2.0, 3.0, 0.0], [-1.0, -1.0, 1.0]]
    return torch.tensor(rows, dtype=torch.float32).expand(len(image), -1, -1).contiguous()


def _miou(matrix: np.ndarray) -> float:
    """The mean IoU of the classes that occur, in percent."""
    both = np.diag(matrix).astype(np.float64)
    union = matrix.sum(0) + matrix.sum(1) - both
    return float(100 * (both[union > 0] / union[union > 0]).mean()) if (union > 0).any() else 0.0


def megabytes(paths: Sequence[Path]) -> float:
    """Returns the size of files and folders together."""
    files = [inner for path in paths for inner in (path.rglob("*") if path.is_dir() else [path])]
    return round(sum(file.stat().st_size for file in files if file.is_file()) / 1e6, 3)


def synthetic_cases(info: GraphInfo) -> Iterable[Case]:
    """Yields seeded noise and gradients of three sizes, alone and two at once."""
    sizes = [(info.size[0], info.size[1])] if info.size else SIZES
    for number, (height, width) in enumerate(sizes):
        for batch in (1, 2):
            if info.batch and batch > info.batch:
                continue
            rng = np.random.default_rng(100 * number + batch)
            noise = rng.integers(0, 256, (batch, info.channels, height, width))
            ramp = np.linspace(0, 255, height)[:, None] + np.linspace(0, 128, width)
            image = np.clip(0.5 * noise + 0.5 * ramp, 0, 255)
            yield Case(image.astype(np.uint8) if info.dtype == "uint8" else image.astype(np.float32))
