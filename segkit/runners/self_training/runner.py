"""Self-training: labelled and pseudo-labelled images in one batch, and rounds of labelling and training.

Zoph et al., Rethinking Pre-training and Self-training, NeurIPS 2020, https://arxiv.org/abs/2006.06882; Zhu et al.,
Improving Semantic Segmentation via Self-Training, 2020, https://arxiv.org/abs/2004.14960.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from segkit import dist
from segkit.config import SECTIONS, Config, merged
from segkit.constraints.named import Fraction, OptionalRounds, PositiveInt
from segkit.criterion import complete_row
from segkit.data.files.pseudo_manifest import maker_of
from segkit.data.semantic.pseudo_labels import leaks, trained_on
from segkit.engine import setup
from segkit.engine.check_rows import check_rows
from segkit.engine.hooks import Hook
from segkit.engine.world import need_shared
from segkit.losses.weighting import NormalizedPseudo
from segkit.registry import DATASETS, RUNNERS, SAMPLERS, ConfigError, did_you_mean
from segkit.runners.loading import load_model
from segkit.runners.scoring import with_switches
from segkit.runners.self_training.labelling import Labeller
from segkit.runners.self_training.rule import Images, Rule, reading_of
from segkit.runners.self_training.summary import table
from segkit.runners.semantic import Semantic
from segkit.schema import check
from segkit.types import Batch, Outputs, Stage

if TYPE_CHECKING:
    from segkit.engine.loop import Loop

LABELLED, PSEUDO = "labelled.", "pseudo."
"""Prefixes of the outputs and targets of the two parts of a batch."""

FACTOR = "pseudo_factor"
"""Name in the log of what pseudo terms are multiplied with."""

FOLDER = "pseudo"
"""Folder of the pseudo labels in that of the round whose model made them."""


@RUNNERS.register
class SelfTraining(Semantic):
    """Trains on labelled and pseudo-labelled images, in one training or in rounds.

    Of a batch that holds both, rows of losses find the outputs of each part by its prefix: "labelled.logits" with
    "labelled.mask", "pseudo.logits" with "pseudo.mask"; "logits" and "mask" are those of all images. Without rounds the
    config's data sets and sampler give the batches: a Concat with PseudoLabels, and Interleaved.

    With rounds, stage round0 trains the config as it is. After each stage but the last its model labels the unlabelled
    images, into the folder `pseudo` of the stage; the next stage trains a new model on both.

    Args:
        rounds: trainings after the first, each with the pseudo labels of the one before; 0 for a single training.
        unlabelled: dict(type=..., arguments) of the data set whose images are labelled; its labels are not read.
        ratio: labelled and pseudo-labelled images, in turn; train.batch_size must be a multiple of their sum.
        sampler: dict(type=..., arguments) of the pseudo-labelled images; None for Shuffle.
        threshold: least probability of a label that is kept, one for all classes or one for each.
        share: share of each class's pixels, the surest, that are kept; None keeps by `threshold` alone.
        tta: whether labels are means over scales .75, 1, 1.25 and mirrored images; a TTA of section `inference` is used
            in any case.
        later: sections that are merged over the config's after the first stage: `losses` with rows of pseudo labels,
            `weighting`, and what else is to differ.
        probabilities: as in Semantic.
    """

    configs = {"unlabelled": DATASETS, "sampler": SAMPLERS}

    def __init__(
        self,
        rounds: OptionalRounds = 0,
        unlabelled: dict | None = None,
        *,
        ratio: tuple[PositiveInt, PositiveInt] = (1, 1),
        sampler: dict | None = None,
        threshold: Fraction | Sequence[Fraction] = 0.0,
        share: Fraction | None = None,
        tta: bool = False,
        later: dict | None = None,
        probabilities: bool = False,
    ):
        super().__init__(probabilities)
        self.rounds, self.unlabelled, self.ratio, self.sampler = rounds, unlabelled, tuple(ratio), sampler
        self.rule = Rule(threshold if isinstance(threshold, int | float) else tuple(threshold), share)
        self.tta, self.later = tta, later or {}
        self._weighting: NormalizedPseudo | None = None

    def forward(self, model: nn.Module, batch: Batch, rng: np.random.Generator) -> Outputs:
        """Runs the model on all images, and adds outputs and targets of each part; see Runner.forward."""
        outputs = super().forward(model, batch, rng)
        is_pseudo = [meta.get("pseudo", False) for meta in batch["meta"]]
        if all(is_pseudo) or not any(is_pseudo):
            return outputs
        device = batch["image"].device
        parts = {
            LABELLED: torch.tensor([i for i, p in enumerate(is_pseudo) if not p], device=device),
            PSEUDO: torch.tensor([i for i, p in enumerate(is_pseudo) if p], device=device),
        }
        targets: dict[str, Any] = batch  # type: ignore[assignment]
        for name in {"mask", "pixel_weight"} & targets.keys():
            targets |= {f"{prefix}{name}": targets[name][rows] for prefix, rows in parts.items()}
        found = dict(outputs)
        for name, value in outputs.items():
            if isinstance(value, Tensor) and value.dim() and len(value) == len(is_pseudo):
                found |= {f"{prefix}{name}": value[rows] for prefix, rows in parts.items()}
        return found

    def stages(self, cfg: dict, datasets: setup.DataSets) -> list[Stage]:
        """Returns round0 and one stage for each round; a single stage without rounds.

        Raises:
            ConfigError: what the rounds need is missing, or their sections cannot be built.
        """
        if not self.rounds:
            return [Stage()]
        self._check_rounds(cfg)
        self.rule.check(datasets.get(cfg["train"]["dataset"], "train.dataset").classes, 1, "runner.")
        datasets.get(self.unlabelled or {}, "runner.unlabelled")
        changed = {name: value for name, value in merged(dict(cfg), self.later).items() if name in self.later}
        train = {**cfg["train"], **changed.get("train", {})}
        stages = [Stage("round0")]
        for number in range(1, self.rounds + 1):
            stages.append(Stage(f"round{number}", changed | {"train": self._mixed(train, number - 1)}))
        try:
            check({**cfg, **stages[1].overrides})
            # a head that no row reads, and the like, would otherwise show after the first stage
            check_rows({"model": cfg["model"], "losses": [_without_prefix(row) for row in self.later["losses"]]})
        except ConfigError as error:
            raise ConfigError(f"the config of the rounds after the first, with runner.later:\n{error}") from error
        return stages

    def _mixed(self, train: dict, before: int) -> dict:
        """Section `train` with the pseudo labels of the round before."""
        pseudo = dict(
            type="PseudoLabels", root=str(self.folder / f"round{before}" / FOLDER), dataset=dict(self.unlabelled or {})
        )
        samplers = [train.get("sampler") or {"type": "Shuffle"}, self.sampler or {"type": "Shuffle"}]
        return {
            **train,
            "dataset": dict(type="Concat", datasets=[train["dataset"], pseudo]),
            "sampler": dict(type="Interleaved", counts=list(self.ratio), samplers=samplers),
        }

    def _check_rounds(self, cfg: dict) -> None:
        if self.unlabelled is None:
            raise ConfigError(
                f"runner.unlabelled: missing; {self.rounds} rounds label its images: dict(type=..., ...) of a data set"
            )
        for name in self.later:
            if name not in SECTIONS or name in ("model", "runner"):
                raise ConfigError(
                    f"runner.later.{name}: no section that may differ between rounds{did_you_mean(name, SECTIONS)}"
                )
        rows = self.later.get("losses") or []
        parts = [_parts_of(row, f"runner.later.losses.{i}") for i, row in enumerate(rows)]
        if PSEUDO not in parts:
            raise ConfigError(
                "runner.later.losses: no row names an output 'pseudo.…', so pseudo labels would not be trained on; "
                "give rows on 'labelled.logits' with target 'labelled.mask' and on 'pseudo.logits' with 'pseudo.mask'"
            )
        train = {**cfg["train"], **self.later.get("train", {})}
        size = train.get("batch_size", setup.TrainSettings.batch_size)
        if size % sum(self.ratio):
            raise ConfigError(
                f"runner.ratio = {self.ratio}: train.batch_size = {size} is no multiple of {sum(self.ratio)}, so "
                "batches would not hold the parts in this ratio"
            )

    def holds_whole_models(self) -> str:
        """Returns why loop.shard is refused; see Runner.holds_whole_models."""
        return "whose teacher follows the whole model"

    def start(self, stage: Stage, loop: "Loop") -> None:
        """Refuses pseudo labels by models that saw images of `val`, and finds the weighting for the log.

        Raises:
            ConfigError: folds leak, or the rounds of several machines would not find each other's labels.
        """
        if self.rounds:
            need_shared(loop.work_dir, "pseudo labels")
        weighting = loop.criterion.weighting
        self._weighting = weighting if isinstance(weighting, NormalizedPseudo) else None
        if loop.val is not None and (text := leaks(loop.dataset, loop.val.dataset)):
            raise ConfigError(text)

    def after_backward(self, model: nn.Module) -> dict[str, Tensor]:
        """Returns the factor of the pseudo terms, for the log."""
        return {} if self._weighting is None else {FACTOR: self._weighting.factor.detach()}

    def hooks(self) -> tuple[Hook, ...]:
        """Returns what tells the log of the factor, and what labels the unlabelled images after each stage."""
        return (TellFactor(), *((LabelAfterStage(self),) if self.rounds else ()))


class TellFactor(Hook):
    """Tells the log that the factor of the pseudo terms is no loss."""

    adds_terms = (FACTOR,)


class LabelAfterStage(Hook):
    """Labels the unlabelled images by the model of the stage that has ended; what is done already stays.

    Args:
        runner: says how.
    """

    def __init__(self, runner: SelfTraining):
        self.runner = runner

    def after_stage(self, loop: "Loop") -> None:
        """Writes the folder `pseudo` of the stage; of the last stage nothing."""
        runner = self.runner
        if loop.stage_number == len(loop.stages) - 1:
            return
        checkpoint, folder = loop.folder / "last.pt", loop.folder / FOLDER
        model = load_model(Config(dict(loop.stage_cfg), str(checkpoint)), checkpoint, loop.device)
        model.config["inference"] = with_switches(model.config, tta=runner.tta, slide=False)
        dataset = loop.datasets.get(runner.unlabelled or {}, "runner.unlabelled")
        images = Images(
            [str(name) for name in dataset.ids],
            [dataset.path(index) for index in range(len(dataset))],
            lambda index: dataset.filled(index)[0],
            reading_of(int(model.mean.shape[1]), dataset.reading),
        )
        maker = maker_of(checkpoint, folder, trained_on(loop.dataset))
        labeller = Labeller([model], [maker], images, folder, runner.rule, _say)
        manifest = labeller.run(dist.rank(), dist.world_size(), overwrite=True)
        assert manifest is not None, "every process has labelled its share"
        _say(f"{loop.stage.name}: pseudo labels for the next round\n{table(manifest.summary)}")


def _parts_of(row: dict, at: str) -> str:
    """The prefix of the part of the batch that a row reads, "" for all of it.

    Raises:
        ConfigError: it reads outputs of one part and targets of another.
    """
    complete = complete_row(row, at)
    names = [name for key in ("on", "target") for name in _as_list(complete.get(key) or ())]
    prefixes = {next((p for p in (LABELLED, PSEUDO) if name.startswith(p)), "") for name in names}
    if len(prefixes) > 1:
        raise ConfigError(
            f"{at}: {', '.join(names)} are of different images; outputs and targets of a row must all begin with "
            f"'{LABELLED}', all with '{PSEUDO}', or none with either"
        )
    return prefixes.pop() if prefixes else ""


def _without_prefix(row: dict) -> dict:
    """A row as if it read the whole batch."""
    names = [name.removeprefix(LABELLED).removeprefix(PSEUDO) for name in _as_list(row.get("on", "logits"))]
    return {**row, "on": names}


def _say(text: str) -> None:
    if dist.is_main():
        print(text, flush=True)


def _as_list(value: str | Sequence[str]) -> Sequence[str]:
    return [value] if isinstance(value, str) else value
