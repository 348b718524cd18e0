"""What later class steps are given of earlier ones: stored statistics of features, and features drawn from them.

The statistics are collected at the end of each step, in one pass over its training images, and are part of the runner's
state. STAR replays features of the old classes, ClassSimilarityKD compares classes by their mean features.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor, nn

from segkit import dist
from segkit.criterion import complete_row
from segkit.data.incremental.plan import ClassPlan
from segkit.data.loader import to_device
from segkit.engine import setup
from segkit.models.growing_segmentor import GrowingSegmentor, StepClassifier, sizes_of
from segkit.models.layers import bias_of
from segkit.models.segmentor import Segmentor
from segkit.ops.incremental.inverted_classifier import derived_prototypes, invert_classifier
from segkit.ops.incremental.prototypes import (
    PRESENT,
    ClassStatistics,
    FeatureSums,
    ReplayShares,
    class_sums,
    draw_features,
    labels_at,
    mean_length,
    old_labels_at,
    replay_shares,
)
from segkit.ops.incremental.turned_prototypes import draw_class_directions, draw_directions, shares_as_counted
from segkit.registry import ConfigError
from segkit.runners.incremental.proposals import with_proposals
from segkit.types import Batch, Outputs

if TYPE_CHECKING:
    from segkit.engine.loop import Loop

STORED = ("prototypes", "class_means")
"""Outputs that are statistics of the old classes."""

REPLAYED = ("replay.logits", "replay.background", "replay.weight")
"""Outputs that are made of drawn features, and of the background that the teacher finds."""


@dataclass(frozen=True)
class ReplayRule:
    """How features of old classes are drawn, and how many of them.

    Args:
        draw: draws features from statistics of K classes, K numbers and a generator.
        shares: finds the numbers, see prototypes.replay_shares.
        has_lengths: whether what is drawn has lengths of its own. Unit vectors get the mean length of the batch's
            features.
        inverts: whether nothing but counts is stored, and the directions of old classes are found before each step, see
            inverted_classifier.
    """

    draw: Callable[[ClassStatistics, list[int], np.random.Generator], Tensor]
    shares: Callable[..., ReplayShares]
    has_lengths: bool
    inverts: bool = False


REPLAYS = {
    "lengths": ReplayRule(draw_features, replay_shares, has_lengths=True),
    "directions": ReplayRule(draw_directions, shares_as_counted, has_lengths=False),
    "class_directions": ReplayRule(draw_class_directions, replay_shares, has_lengths=False),
    "inverted": ReplayRule(draw_directions, shares_as_counted, has_lengths=False, inverts=True),
    "class_inverted": ReplayRule(draw_class_directions, replay_shares, has_lengths=False, inverts=True),
}
"""Values of runner.replay: STAR's, STAR-Basic's on VOC and on ADE20K, and STAR-Lite's on VOC and on ADE20K."""


def kept_names(rows: list[dict]) -> set[str]:
    """Returns those of STORED and REPLAYED that rows of losses read.

    Args:
        rows: runner.losses.
    """
    read = [complete_row(row, f"runner.losses.{i}").get("on", ()) for i, row in enumerate(rows)]
    return {name for on in read for name in ([on] if isinstance(on, str) else on)} & {*STORED, *REPLAYED}


def check_outputs(model: GrowingSegmentor, outputs: list[str] | None, plan: ClassPlan, rows: list[dict]) -> None:
    """Checks that a model gives what rows of losses read of what is kept of old classes.

    Args:
        model: with the outputs of all steps.
        outputs: their names, None where they are not known.
        plan: the classes of all steps.
        rows: runner.losses.

    Raises:
        ConfigError: there is no embedding, or an output for the background where features are replayed.
    """
    names = kept_names(rows)
    if names and outputs is not None and "embedding" not in outputs:
        raise ConfigError(
            f"model.head: {type(model.head).__name__} has no output 'embedding', and runner.losses read what is kept "
            f"of it ({', '.join(sorted(names))}); choose a head that has it, or remove those rows"
        )
    num_outputs, num_classes = sum(sizes_of(model)), sum(map(len, plan.steps))
    if names & set(REPLAYED) and num_outputs != num_classes:
        raise ConfigError(
            f"runner.losses: {', '.join(REPLAYED)} are of networks without an output for the background, and this "
            f"model has {num_outputs} outputs for {num_classes} classes; set model.readout = 'implicit', or remove the "
            "rows that name them"
        )


class FeatureReplay:
    """Collects the statistics of each step's classes, and gives those of the old classes to the losses.

    Args:
        plan: the classes of all steps.
        step: number of the step.
        names: those of STORED and REPLAYED that the rows of later steps read.
        rule: how features are drawn.
        is_overlapped: whether the steps share images.
        old: state of the step before, None in step 0.

    Attributes:
        collected: statistics of all classes so far, None before the end of the step.
    """

    def __init__(
        self,
        plan: ClassPlan,
        step: int,
        names: set[str],
        *,
        rule: ReplayRule,
        is_overlapped: bool,
        old: dict[str, Tensor] | None,
    ):
        self.plan, self.step, self.rule, self.is_overlapped = plan, step, rule, is_overlapped
        self.is_needed = bool(names)
        self.draws = bool(names & set(REPLAYED))
        self._keeps_means = "class_means" in names
        self.old = None if old is None else ClassStatistics(**old)
        self.seen: Tensor | None = None
        self.collected: ClassStatistics | None = None
        self._shares: ReplayShares | None = None
        self._found: tuple[Tensor, Tensor] | None = None
        self._positions: Tensor | None = None
        self._batches = 1

    def start(self, device: torch.device) -> None:
        """Moves the statistics to the device.

        Raises:
            ConfigError: a later step has none.
        """
        if self.step == 0 or not self.is_needed:
            return
        if self.old is None:
            raise ConfigError(
                f"runner.losses: its rows read statistics of the classes learned before step {self.step}, and the "
                "checkpoint before it holds none; train that step with this config, or remove the rows that name "
                f"{', '.join((*STORED, *REPLAYED))}"
            )
        self.old = self.old.to(device)

    def outputs(
        self, model: nn.Module, teacher: Segmentor | None, outputs: Outputs, batch: Batch, rng: np.random.Generator
    ) -> Outputs:
        """Returns what the rows of a later step may name beside the outputs of student and teacher.

        Args:
            model: the bare student.
            teacher: the model of the step before.
            outputs: of student and teacher.
            batch: the batch with its mask.
            rng: draws the features.
        """
        if self.old is None or not self.is_needed:
            return {}
        stored = {"prototypes": self.old.prototypes, "class_means": self.old.means}
        if not self.draws or teacher is None:
            return stored
        mask, logits = batch["mask"], outputs["logits"]
        assert isinstance(mask, Tensor)  # training masks are stacked
        num_new = len(self.plan.steps[self.step])
        new = logits[:, -num_new:]
        size = (logits.shape[2], logits.shape[3])
        labels = labels_at(mask, size)
        taught = outputs["teacher.logits"].float()
        found = old_labels_at(taught, (mask.shape[1], mask.shape[2]), size, PRESENT)
        is_background = (labels == 0) & (found == 0)
        shares = self._shares_of(labels[0].numel())
        drawn = self.rule.draw(self.old, shares.numbers, rng)
        if not self.rule.has_lengths:
            drawn = drawn * mean_length(outputs["embedding"])
        share = torch.tensor(len(drawn) / labels.numel(), device=logits.device)
        return stored | {
            "replay.logits": _classified(cast(Segmentor, model), drawn, num_new),
            "replay.background": new.permute(0, 2, 3, 1)[is_background],
            "replay.weight": torch.stack([share, shares.background * is_background.float().mean()]),
        }

    def prepare(self, teacher: Segmentor, loop: "Loop") -> None:
        """Counts what the teacher finds in the step's images, before the first batch, and how much is replayed."""
        if self.old is not None and self.is_needed and self.rule.inverts and self._found is None:
            self._found = self._find_directions(teacher, loop)
            self.old = self.old.with_prototypes(*self._found)
        if self.old is None or not self.draws:
            return
        if self.seen is None:
            self.seen, self._positions = self._count(teacher, loop)
        self._batches = max(loop.sampler.epoch // loop.data_settings.batch_size, 1)

    def _shares_of(self, positions: int) -> ReplayShares:
        """How much is replayed beside images of so many positions, which may be crops of those that were counted."""
        if self._shares is None:
            assert self.old is not None and self.seen is not None
            # whole images have more positions than crops: as many more of those counted are of old classes
            larger = 1.0 if self._positions is None else float(self._positions) / positions
            num_new, is_overlapped = len(self.plan.steps[self.step]), self.is_overlapped
            batches = self._batches * larger
            self._shares = self.rule.shares(self.old.counts, self.seen, batches, num_new, is_overlapped=is_overlapped)
        return self._shares

    @torch.no_grad()
    def _count(self, teacher: Segmentor, loop: "Loop") -> tuple[Tensor, Tensor]:
        """Positions without a label by the class that the teacher finds, [1 + K], and all of an image on average, [].

        In float64.
        """
        num_old = len(self.plan.old(self.step))
        counts = torch.zeros(3 + num_old, dtype=torch.float64, device=loop.device)
        for outputs, mask in _each_image(teacher, loop, "logits"):
            logits = outputs["logits"].float()
            size = (logits.shape[2], logits.shape[3])
            found = old_labels_at(logits, (mask.shape[1], mask.shape[2]), size, PRESENT)
            counts[: 1 + num_old] += torch.bincount(found[labels_at(mask, size) == 0], minlength=1 + num_old)
            counts[-2:] += torch.tensor([found.numel(), 1], device=counts.device)
        counts = dist.all_reduce_sum(counts)
        return counts[:-2], counts[-2] / counts[-1].clamp_min(1)

    @torch.no_grad()
    def _find_directions(self, teacher: Segmentor, loop: "Loop") -> tuple[Tensor, Tensor]:
        """Prototypes of the old classes and their distances from each other, of the teacher and the step's images."""
        layer = cast(nn.Conv2d | StepClassifier, teacher.head.classifier)
        convs = [layer] if isinstance(layer, nn.Conv2d) else list(layer.convs)
        weight, bias = torch.cat([conv.weight.flatten(1) for conv in convs]), torch.cat([bias_of(c) for c in convs])
        sums = torch.zeros(weight.shape, dtype=torch.float64, device=loop.device)
        for outputs, mask in _each_image(teacher, loop, "embedding"):
            z = outputs["embedding"].double()
            size = (z.shape[2], z.shape[3])
            found = old_labels_at(outputs["logits"].float(), (mask.shape[1], mask.shape[2]), size, PRESENT)
            sums += class_sums(nn.functional.normalize(z, dim=1), found - 1, len(weight))
        return derived_prototypes(invert_classifier(weight, bias), dist.all_reduce_sum(sums))

    @torch.no_grad()
    def collect(self, model: Segmentor, loop: "Loop") -> None:
        """Collects the statistics of the step's classes from its training images, at the end of the step."""
        if not self.is_needed:
            return
        num_old, num_new = len(self.plan.old(self.step)), len(self.plan.steps[self.step])
        channels = cast(nn.Conv2d | StepClassifier, model.head.classifier).in_channels
        sums = FeatureSums(list(range(num_old + 1, num_old + num_new + 1)), channels)
        was_training = model.training
        for outputs, mask in _each_image(model.eval(), loop, "embedding"):
            z = outputs["embedding"]
            sums.add(z, labels_at(mask, (z.shape[2], z.shape[3])))
        model.train(was_training)
        all_classes = sums.result().to(loop.device)
        if self.old is not None:
            counts = self.old.counts if self._shares is None else self._shares.kept.to(all_classes.counts.device)
            all_classes = self.old.followed_by(all_classes, torch.cat([counts, all_classes.counts[1:]]))
        inverts = self.rule.inverts
        self.collected = all_classes.without_directions(keeps_means=self._keeps_means) if inverts else all_classes

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """Returns the counts of a step that runs, and the statistics where it has ended."""
        kept = {} if self.seen is None else {"seen": self.seen}
        kept |= {} if self._positions is None else {"positions": self._positions}
        if self._found is not None and self.collected is None:
            kept |= dict(zip(("prototypes", "distances"), self._found))
        state = {"replay": kept} if kept else {}
        return state if self.collected is None else state | {"statistics": self.collected.as_dict()}

    def load_state_dict(self, state: dict[str, dict[str, Tensor]], device: torch.device) -> None:
        """Takes back what state_dict gave."""
        kept = {name: value.to(device) for name, value in state.get("replay", {}).items()}
        self.seen, self._positions = kept.get("seen", self.seen), kept.get("positions", self._positions)
        if "prototypes" in kept and self.old is not None:
            self._found = kept["prototypes"], kept["distances"]
            self.old = self.old.with_prototypes(*self._found)
        if "statistics" in state:
            self.collected = ClassStatistics(**state["statistics"]).to(device)


def _classified(model: Segmentor, features: Tensor, num_new: int) -> Tensor:
    """Logits of the newest classes, [n,N], of features [n,C]."""
    if len(features) == 0:
        return features.new_zeros(0, num_new)
    logits = cast(nn.Module, model.head.classifier)(features.t()[None, :, None])
    return logits[0, -num_new:, 0].t()


def _each_image(model: Segmentor, loop: "Loop", needed: str) -> Iterator[tuple[Outputs, Tensor]]:
    """The outputs of each training image of the step, as validation transforms it, and its labels [1,H,W].

    Args:
        model: in evaluation mode.
        loop: the training.
        needed: output that is read.

    Raises:
        ConfigError: the model has no such output.
    """
    train, val = loop.stage_cfg["train"], loop.stage_cfg.get("val") or {}
    section = {name: train[name] for name in ("dataset", "workers", "timeout") if name in train}
    section |= {"transforms": val["transforms"]} if "transforms" in val else {}
    for batch in setup.build_evaluation(section, "train", loop.device, loop.datasets).loader:
        batch = with_proposals(to_device(batch, loop.device))
        for i, meta in enumerate(batch["meta"]):
            height, width = meta["valid"]
            with torch.autocast(loop.device.type, loop.amp_dtype, enabled=loop.amp_dtype != torch.float32):
                outputs = model(batch["image"][i : i + 1, :, :height, :width])
            if needed not in outputs:
                raise ConfigError(
                    f"model.head: {type(model.head).__name__} has no output '{needed}', of which the statistics of "
                    f"classes are made; available: {', '.join(outputs)}"
                )
            mask = batch["mask"][i].to(loop.device).long()
            yield outputs, mask[None]
