"""Images of earlier steps that later ones train on again: runner.memory.

The list of a step lies in its folder, memory.json: the ids of the images that the next step replays.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch

from segkit import dist
from segkit.constraints.named import Fraction, OneOf, PositiveInt
from segkit.data.incremental.replay import MEMORY, read_memory
from segkit.files import write_whole
from segkit.models.growing_segmentor import GrowingSegmentor
from segkit.models.readouts import READOUTS
from segkit.ops.incremental.memory_rules import greedy, round_robin
from segkit.ops.resizing import resize
from segkit.registry import ConfigError
from segkit.runners.incremental.proposals import as_input
from segkit.types import Sample

if TYPE_CHECKING:
    from segkit.data.incremental.class_steps import ClassSteps
    from segkit.engine.loop import Loop

RULES = ("round_robin", "greedy")
MIXES = ("concat", "half")


@dataclass(frozen=True)
class MemorySettings:
    """Runner.memory.

    Attributes:
        size: images at most.
        rule: "round_robin" (SSUL, DKD, STAR: the classes choose in turn) or "greedy" (BalConpas: the shares of the
            classes in memory come as near as they can to those in the images of all steps so far; the share of images
            that stay from the memory before is that of the old classes).
        mix: "concat" puts the images of memory beside those of the step, "half" makes every second one an image of
            memory.
        threshold: least probability of an old class that the model sees on a pixel of the background, for the image to
            count as one that shows it.
    """

    size: PositiveInt
    rule: Annotated[str, OneOf(RULES)] = "round_robin"
    mix: Annotated[str, OneOf(MIXES)] = "concat"
    threshold: Fraction = 0.7


def memory_settings(section: dict[str, Any] | None) -> MemorySettings | None:
    """Builds runner.memory.

    Raises:
        ConfigError: a key or a value is none of those that MemorySettings names.
    """
    if section is None:
        return None
    known = list(MemorySettings.__dataclass_fields__)
    for key in section:
        if key not in known:
            raise ConfigError(f"runner.memory.{key}: no such key; available: {', '.join(known)}")
    if not isinstance(section.get("size"), int) or isinstance(section["size"], bool) or section["size"] < 1:
        raise ConfigError(f"runner.memory.size = {section.get('size')!r}: must be a number of images, 1 or more")
    settings = MemorySettings(**section)
    for key, value, choices in (("rule", settings.rule, RULES), ("mix", settings.mix, MIXES)):
        if value not in choices:
            raise ConfigError(f"runner.memory.{key} = {value!r}: must be one of {', '.join(choices)}")
    if not 0 <= settings.threshold <= 1:
        raise ConfigError(f"runner.memory.threshold = {settings.threshold!r}: must be a probability, 0 to 1")
    return settings


def choose_memory(
    shown: Sequence[Sequence[int]],
    totals: np.ndarray,
    settings: MemorySettings,
    rng: np.random.RandomState,
    *,
    num_remembered: int = 0,
    num_old: int = 0,
) -> list[int]:
    """Chooses the images that are remembered.

    Args:
        shown: of each candidate the classes it shows, ranks 1 to K.
        totals: int [K], how many images of all steps so far are labelled with each class.
        settings: runner.memory.
        rng: of the rule that draws.
        num_remembered: the first so many candidates are those of the memory before.
        num_old: the first so many classes are of the steps before.

    Returns:
        Indices of the chosen, fewer than `size` where there are no more candidates.
    """
    if settings.rule == "round_robin":
        return round_robin(shown, range(1, len(totals) + 1), settings.size, rng)
    counts = np.zeros((len(shown), len(totals)), np.int64)
    for row, classes in zip(counts, shown):
        row[[number - 1 for number in classes]] = 1
    target, num_kept = totals / max(int(totals.sum()), 1), settings.size * num_old // len(totals)
    kept = greedy(counts[:num_remembered], target, num_kept)
    added = greedy(counts[num_remembered:], target, settings.size - len(kept), counts[kept].sum(0))
    return kept + [num_remembered + index for index in added]


def remember(
    loop: "Loop", dataset: "ClassSteps", model: GrowingSegmentor, settings: MemorySettings, before: Path | None
) -> None:
    """Writes the memory of the step that ends: of the images of this step and of the memory that it had.

    Args:
        loop: of the run.
        dataset: the images of the step, without the memory.
        model: after the step, in evaluation mode.
        settings: runner.memory.
        before: file of the memory that the step had, None in step 0.
    """
    step = dataset.step
    ids, shown, totals = ([], [], []) if before is None else read_memory(before)
    num_old, num_remembered, known = len(dataset.plan.old(step)), len(ids), set(ids)
    present = np.zeros(len(dataset.classes) - 1, np.int64)
    present[: len(totals)] = totals
    for index, name in enumerate(dataset.ids):
        is_new, is_counted = name not in known, settings.rule == "greedy"
        if not (is_new or is_counted):
            continue
        mask = dataset.mask(index)
        if is_new:
            ids.append(name)
            shown.append(_classes_of(dataset, index, mask, model if step else None, loop.device, settings.threshold))
        if is_counted:
            labelled = np.unique(mask)
            present[labelled[(labelled > num_old) & (labelled <= len(present))].astype(np.int64) - 1] += 1
    rng = np.random.RandomState([loop.settings.seed, step])
    chosen = choose_memory(shown, present, settings, rng, num_remembered=num_remembered, num_old=num_old)
    if len(chosen) < settings.size and dist.is_main():
        print(f"memory: {len(chosen)} images, no more of {len(ids)} show a class; {settings.size} were asked for")
    images = [{"id": ids[i], "classes": shown[i]} for i in chosen]
    content = {"step": step, "images": images} | ({"counts": present.tolist()} if present.any() else {})
    if dist.is_main():
        write_whole(Path(loop.folder) / MEMORY, json.dumps(content, indent=1) + "\n")


@torch.no_grad()
def _classes_of(
    dataset: "ClassSteps",
    index: int,
    mask: np.ndarray,
    model: GrowingSegmentor | None,
    device: torch.device,
    threshold: float,
) -> list[int]:
    """Ranks of the classes that an image shows by its labels [H,W], and by the model where these are background."""
    if model is not None:
        sample = dataset.with_proposals(Sample(image=dataset.image(index)), dataset.ids[index])
        image = torch.from_numpy(np.ascontiguousarray(sample["image"].transpose(2, 0, 1)))[None].to(device)
        if "proposals" in sample:
            image = as_input(image, torch.from_numpy(sample["proposals"])[None].to(device))
        size, corners = (mask.shape[0], mask.shape[1]), model.align_corners
        logits = resize(model(image)["logits"].float(), size=size, align_corners=corners)
        seen = READOUTS[model.readout].sure_classes(logits, threshold)[0].cpu().numpy()
        mask = np.where((mask == 0) & (seen > 0), seen, mask)
    return [int(label) for label in np.unique(mask) if 0 < label < len(dataset.classes)]
