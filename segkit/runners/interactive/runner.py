"""Iterative training with mask guidance, Sofiiuk et al., 2021, https://arxiv.org/abs/2102.06583, section 3.2.

B batch, P clicks per sign, H W image.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from segkit import dist
from segkit.analysis.recorders import ClickRecorder, ImageRecorder
from segkit.constraints.named import Decay, Fraction, OptionalRounds, PositiveFloat
from segkit.data.dataset import Dataset
from segkit.engine.sharding import in_step
from segkit.metrics.base import Metric
from segkit.metrics.per_image import ClickScores
from segkit.models.bases import Network
from segkit.models.click_segmentor import ClickSegmentor
from segkit.models.layers import resize
from segkit.ops.interactive.next_click import add_clicks, append_clicks, next_training_clicks
from segkit.registry import RUNNERS, ConfigError
from segkit.runners.base import Runner, bare, need_whole
from segkit.runners.interactive.click_maps import mapped_clickers
from segkit.runners.interactive.pictures import ShowClicks
from segkit.runners.interactive.simulate import simulate
from segkit.runners.interactive.tables import click_report, is_scored
from segkit.runners.interactive.user_clicks import answer_alone, clicks_on, read_user_clicks
from segkit.runners.interactive.worst import WorstClicks
from segkit.settings import ClickInference
from segkit.types import Batch, Outputs, Prediction


@RUNNERS.register
class Interactive(Runner):
    """Trains and evaluates a ClickSegmentor.

    Batches hold image, mask (object 1, rest 0, ignored -1) and clicks. Before the pass that is trained, a batch goes
    through some rounds of predicting and clicking where the prediction errs most.

    Args:
        iterations: largest number of rounds; each batch draws one of 0..iterations. 0 trains on the sampled clicks
            alone.
        previous_dropout: probability that a sample's previous mask is emptied for the trained pass.
        threshold: probability above which a pixel counts as predicted in the rounds.
        loss_weights: weights of the losses of several passes, which all train (iterative click loss of CFR-ICL, Sun et
            al., AAAI 2024, https://arxiv.org/abs/2303.05620, section 3.1): a batch draws 1 to so many passes, each
            reads the last one's mask and a click more, and the weighted losses add up. Memory is that of one pass. The
            sum grows with the passes: log lines average batches of different ones. () for one pass after the rounds;
            else `iterations` and `previous_dropout` do nothing.

    Raises:
        ConfigError: previous_dropout is not in 0..1.
    """

    default_metrics = ({"type": "NoC"},)
    needs_stored = True
    predicts_classes = False
    predicts_whole = True
    usage = """import numpy, PIL.Image, segkit
predictor = segkit.click_predictor(segkit.load_model({checkpoint!r}))
predictor.set_image(numpy.array(PIL.Image.open("IMAGE").convert("RGB")))
predictor.click(120, 80)  # y, x of a click on the object; is_positive=False for one beside it
mask = predictor.mask"""

    def __init__(
        self,
        iterations: OptionalRounds = 3,
        previous_dropout: Decay = 0.0,
        threshold: Fraction = 0.49,
        *,
        loss_weights: tuple[PositiveFloat, ...] = (),
    ):
        if not 0 <= previous_dropout <= 1:
            raise ConfigError(f"runner.previous_dropout = {previous_dropout}: must be a probability in 0..1")
        self.iterations, self.previous_dropout, self.threshold = iterations, previous_dropout, threshold
        self.loss_weights = tuple(loss_weights)
        self._keep_masks = False

    def forward(self, model: nn.Module, batch: Batch, rng: np.random.Generator) -> Outputs:
        """Runs the rounds, then the model in training mode; see Runner.forward.

        Sets "clicks" float [B,2P,3], all clicks after the rounds, and "previous" float [B,1,H,W] of the batch.

        Raises:
            ConfigError: the batch holds no clicks.
        """
        if "clicks" not in batch:
            raise ConfigError("train.transforms: the batch holds no clicks; end with dict(type='SampleClicks')")
        image = batch["image"]
        if self.loss_weights:
            if "previous" not in batch:
                batch["previous"] = torch.zeros(len(image), 1, *image.shape[-2:], device=image.device)
            return model(image, batch["clicks"], batch["previous"])
        rounds = int(rng.integers(self.iterations + 1))
        network = cast(ClickSegmentor, bare(model))
        with in_step(network):
            clicks, previous = self._clicked(network, batch, rng, rounds)
        batch["clicks"], batch["previous"] = clicks, previous
        return model(image, clicks, previous, **_taken(network, batch))

    def pass_weights(self, rng: np.random.Generator) -> tuple[float, ...]:
        """Draws how many passes a batch goes through; see Runner.pass_weights."""
        if not self.loss_weights:
            return (1.0,)
        return self.loss_weights[: int(rng.integers(len(self.loss_weights))) + 1]

    @torch.no_grad()
    def between_passes(self, model: nn.Module, outputs: Outputs, batch: Batch, rng: np.random.Generator) -> None:
        """Gives the next pass the mask that the last one predicted, and a click where it errs."""
        image, masks, logits = batch["image"], batch["mask"], outputs["logits"]
        assert isinstance(masks, Tensor) and isinstance(logits, Tensor)  # training masks are stacked
        align_corners = cast(ClickSegmentor, bare(model)).align_corners
        batch["previous"] = resize(logits.float(), like=image, align_corners=align_corners).sigmoid()
        generator = torch.Generator(image.device).manual_seed(int(rng.integers(2**62)))
        new = next_training_clicks(batch["previous"], masks, generator, threshold=self.threshold)
        batch["clicks"] = append_clicks(batch["clicks"], new)

    def _clicked(
        self, network: ClickSegmentor, batch: Batch, rng: np.random.Generator, rounds: int
    ) -> tuple[Tensor, Tensor]:
        """Clicks and the prediction that they correct, after so many rounds."""
        image, clicks = batch["image"], batch["clicks"]
        previous = torch.zeros(len(image), 1, *image.shape[-2:], device=image.device)
        if rounds:
            generator = torch.Generator(image.device).manual_seed(int(rng.integers(2**62)))
            clicks, previous = self._rounds(network, batch, rounds=rounds, generator=generator)
            if self.previous_dropout:
                keep = torch.rand(len(image), device=image.device, generator=generator) >= self.previous_dropout
                previous = previous * keep.view(-1, 1, 1, 1)
        return clicks, previous

    def holds_whole_models(self) -> str:
        """Returns "" where rounds are run in step; see Runner.holds_whole_models."""
        return "whose processes make different numbers of passes (runner.loss_weights)" if self.loss_weights else ""

    @torch.no_grad()
    def _rounds(
        self, model: ClickSegmentor, batch: Batch, *, rounds: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Simulates `rounds` clicks in eval mode without gradients.

        Returns all clicks and the prediction that the last one corrects.
        """
        clicks, previous, masks = batch["clicks"], torch.empty(0), batch["mask"]
        assert isinstance(masks, Tensor)  # training masks are stacked
        model.eval()
        image = batch["image"]
        # once for all rounds, unless processes share out the model: then it runs by calling it alone
        encoded = None if dist.is_sharded_model(model) else model.encode(model.normalize(image))
        for order in range(1, rounds + 1):
            last = previous if order > 1 else None
            if encoded is None:
                previous = model.probabilities(image, clicks, last)
            else:
                previous = model.probabilities_of(encoded, clicks, last)
            new = next_training_clicks(previous, masks, generator, threshold=self.threshold)
            clicks = add_clicks(clicks, new, order)
        model.train()
        # weights cast for these passes carry no graph; the trained pass must cast its own
        torch.clear_autocast_cache()
        return clicks, previous

    @torch.inference_mode(False)
    @torch.no_grad()
    def predict(self, model: Network, batch: Batch) -> Sequence[Prediction]:
        """Clicks each object of the batch until it is found, as `inference.clicks` says; see simulate.

        It leaves inference_mode, in which evaluations run, since a refinement needs gradients.

        Args:
            model: the raw model in evaluation mode.
            batch: images, their meta, and the true masks, int [H0,W0] of each.

        Raises:
            ConfigError: the batch holds no masks, the model takes no clicks, or section `inference` asks for a sliding
                window or TTA.
        """
        need_whole(self.inference, "clicks, which have inference.clicks (zoom, flip)")
        if "mask" not in batch:
            raise ConfigError(
                "a click model needs clicks, which follow from the true mask, and this image has none: use "
                "segkit.click_predictor(model), then set_image(image) and click(y, x)"
            )
        for meta in batch["meta"]:
            # of transforms from outside of segkit this shows only now
            if "matrix" in meta and not np.array_equal(meta["matrix"], np.eye(3)[:2]):
                raise ConfigError(
                    f"{meta['path']}: a transform of this section moves the pixels of the image, and clicks are made "
                    "on it as it is stored; remove the transform"
                )
        settings = {**self.inference.clicks, **({"keep_masks": True} if self._keep_masks else {})}
        images = [batch["image"][i, :, : m["valid"][0], : m["valid"][1]] for i, m in enumerate(batch["meta"])]
        clicks = ClickInference(**settings)
        clickers = None if clicks.maps is None else mapped_clickers(batch, clicks)
        masks = list(batch["mask"])
        found = simulate(model, images, masks, clicks, starts=batch.get("start"), clickers=clickers)
        if clicks.users is not None:
            table = read_user_clicks(clicks.users, clicks.users_of)
            for prediction, image, mask, meta in zip(found, images, masks, batch["meta"]):
                prediction["user_ious"] = answer_alone(model, image, mask, clicks_on(table, meta), clicks)
        return found

    def report(self, results: dict[str, dict[str, Any]], out: Path, title: str) -> str:
        """Formats NoC as published tables, and draws the curves of all sets into NAME_clicks.png beside `out`."""
        if not any(is_scored(scores) for scores in results.values()):
            return ""
        method = self.inference.clicks.get("brs") or "NoBRS"
        return click_report(results, out.with_name(f"{out.stem}_clicks.png"), method=method, title=title)

    def image_scores(self, dataset: Dataset) -> ClickScores:
        """Returns the scores of clicks, object by object."""
        return ClickScores(ClickInference(**self.inference.clicks).max_clicks)

    def image_recorder(self, dataset: Any, metrics: Sequence[Metric]) -> ImageRecorder:
        """Returns what keeps the IoU after each click; see Runner.image_recorder."""
        return ClickRecorder(metrics)

    def worst_images(self, dataset: Dataset, count: int) -> WorstClicks:
        """Returns a hook that keeps the objects with the most clicks."""
        return WorstClicks(dataset, count)

    def show(self, folder: Path, dataset: Dataset, count: int) -> ShowClicks:
        """Returns a hook that draws every click; from now on predictions keep the mask after each."""
        self._keep_masks = True
        return ShowClicks(folder, dataset, count)


def _taken(network: nn.Module, batch: Batch) -> dict[str, Any]:
    """The entries of the batch that a network trains on beside image and clicks.

    Raises:
        ConfigError: the batch lacks one.
    """
    values: dict[str, Any] = dict(batch)
    names = network.takes if isinstance(network, Network) else ()
    missing = [name for name in names if name not in values]
    if missing:
        raise ConfigError(
            f"train.transforms: {type(network).__name__} trains on '{missing[0]}', which the batch does not hold; end "
            "with dict(type='FocusOnObject')"
        )
    return {name: values[name] for name in names}
