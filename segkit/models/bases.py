"""Base classes of a model's parts: backbones, heads, and heads that find instances.

Shape legend: B batch, C channels, K classes, H W image, h w features, n objects.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from segkit.models.blocks import blocks_by_name
from segkit.ops.instances.query_results import at_original, best_queries, semantic_scores
from segkit.ops.instances.segments import merged_segments, sure_queries
from segkit.ops.resizing import resize
from segkit.types import Found, Meta, Outputs


class Backbone(nn.Module):
    """An encoder: takes an image, returns feature maps of falling resolution.

    A subclass gives `forward(image, stem_add=None) -> list[Tensor]`: image float [B,C,H,W], normalized; stem_add float
    [B,stem_channels,ceil(H / stem_stride),ceil(W / stem_stride)], added to the stem's output; the result float
    [B,channels[i],h_i,w_i], shallow to deep, h_i = H / strides[i] rounded up, or down where the published encoder does.

    Attributes:
        channels: channels of each feature map.
        strides: stride of each feature map in pixels of the image.
        mean, std: per input channel, in 0..255; the model normalizes with them.
        order: "RGB" or "BGR", the channel order that the encoder reads.
        stem_channels, stem_stride: of the stem's output, to which clicks can be added; 0 where the stem is unknown.
        is_pretrained: whether the encoder starts from trained weights.
        files: arguments that may be the path of a file which describes the network, and what reads it. A training puts
            the content in place of the path, so that its checkpoints need no other file.
        mask_channels: channels of masks that follow those of the image in its input; mean and std have none of them.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    order: str = "RGB"
    stem_channels: int = 0
    stem_stride: int = 0
    is_pretrained: bool = False
    files: ClassVar[dict[str, Callable[[str], Any]]] = {}
    mask_channels: int = 0

    def blocks(self) -> dict[str, nn.Module]:
        """Returns the blocks by their paths, in the order of the network; {} where they are not known.

        Each is run by calling it. A sharded training gathers one at a time (loop.shard), and their activations are what
        loop.checkpoint_activations computes again.
        """
        return blocks_by_name(self)


class SearchBackbone(Backbone):
    """An encoder with many networks in it, whose architecture is trained beside its weights and decoded in the end."""

    def architecture(self) -> list[nn.Parameter]:
        """Returns the parameters that weigh the networks; all others are weights of operations."""
        raise NotImplementedError(f"{type(self).__name__} gives no architecture()")

    def decode(self) -> dict[str, Any]:
        """Returns the genotype of the strongest network: plain types, which a JSON file can hold."""
        raise NotImplementedError(f"{type(self).__name__} gives no decode()")


class Head(nn.Module):
    """A decoder: takes feature maps, returns named outputs.

    A subclass takes `in_channels` and `num_classes` in its constructor, and gives
    `forward(features: list[Tensor], **needs) -> Outputs`.

    Attributes:
        needs: what `forward` takes by keyword beside the features: "image" (normalized, float [B,C,H,W]), "pixels" (not
            normalized, uint8 [B,C,H,W] RGB), "window" (of each image the crop's position), "size" ((H, W) of the
            input) or "proposals" (uint8 or float [B,H,W], the number of the proposed region that a pixel is of, 0 for
            none, which the model takes as one more channel of the image).
        fit_images: training images whose label maps the head is fitted to before the first step; 0 for none.
        is_fitted: bool tensor [], whether it was fitted, or loaded from a fitted head.
        classifier: the last convolution, whose outputs grow with the classes; None or absent where the head cannot
            grow. There is no default, since a class attribute would hide the submodule.
        scale_points: paths of the submodules whose outputs f-BRS scales and shifts, by its letter A, B or C.
        needs_pyramid: whether it is of no use on maps of one stride, as plain Vision Transformers give them. A model
            then makes a pyramid of them, see registry.build_model.
        predicts: outputs beside "logits" that predictions read. An auxiliary head with some runs in evaluation, too,
            and these keep their names: "presence" instead of "aux0.presence".
    """

    needs: ClassVar[tuple[str, ...]] = ()
    needs_pyramid: ClassVar[bool] = False
    predicts: ClassVar[tuple[str, ...]] = ()
    fit_images: int = 0
    is_fitted: Tensor
    scale_points: ClassVar[dict[str, tuple[str, ...]]] = {}

    def fit(self, masks: Iterable[Tensor], ignore: int) -> None:
        """Initializes layers from training labels; called before the first step where fit_images is set.

        Args:
            masks: int64 [B,H,W] label maps.
            ignore: the label of pixels that do not count.
        """
        raise NotImplementedError(f"{type(self).__name__} sets fit_images and gives no fit()")


class Network(nn.Module):
    """A whole model: what the section `model` of a config builds.

    Attributes:
        num_classes: K.
        align_corners: how every resize of predictions aligns pixels.
        mean, std: float [1,C,1,1], of pixels in 0..255.
        config, classes, palette: of a trained model (`load_model`): its sections, K names and K colors, None where the
            checkpoint does not name them.
        notes: what building the model added to its config, in sentences.
        frozen: paths of modules that stay in evaluation mode while the others train, see engine.freezing.
        untrained: names of parameters that the runner of a stage has frozen; a row of optimizer.groups may match these
            alone.
        gives_scores: whether `maps` gives scores instead of logits: they take neither softmax nor sigmoid.
        reads_out: whether `maps` makes more of the logits than to resize them.
        is_same_for_all: whether each image runs the same layers, as a sharded training needs.
        takes: of click models, entries of the batch that `forward` takes by keyword in training.
        input_size: of click models, (height, width) of the one input that they take; None for any.
    """

    takes: ClassVar[tuple[str, ...]] = ()
    input_size: tuple[int, int] | None = None

    num_classes: int
    align_corners: bool
    mean: Tensor
    std: Tensor
    config: dict
    classes: list[str] | None
    palette: list[list[int]] | None
    notes: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()
    untrained: frozenset[str] = frozenset()
    gives_scores: bool = False
    reads_out: bool = False
    is_same_for_all: bool = True

    def called_parts(self) -> list[nn.Module]:
        """Returns encoders and heads that are run by calling them alone, inner ones first.

        A sharded training gathers each of them on its own; those of other networks it gathers with the whole.
        """
        return [module for module in reversed([*self.modules()]) if isinstance(module, Backbone | Head)]

    def maps(self, outputs: Outputs, size: tuple[int, int]) -> Tensor:
        """Returns what a semantic prediction is made of.

        Args:
            outputs: of `forward`, in evaluation mode.
            size: (H, W) of the image that the network was given.

        Returns:
            float32 [B,K,H,W]: logits, or scores where `gives_scores`.
        """
        return resize(outputs["logits"].float(), size=size, align_corners=self.align_corners)

    def train(self, mode: bool = True) -> Self:
        """As nn.Module.train, but frozen modules stay in evaluation mode."""
        super().train(mode)
        for name in self.frozen:
            self.get_submodule(name).eval()
        return self

    def start_step(self, step: int, total: int) -> None:
        """Called before a training step, for models that change in the course of a training.

        Args:
            step: number of optimizer steps that are done.
            total: steps of the run.
        """

    def start_figures(self) -> None:
        """Begins to collect the figures of an evaluation."""

    def figures(self) -> dict[str, float]:
        """Returns what the model tells of the passes since start_figures() beside its predictions, by name.

        Every process of the run calls it at once. Most models tell nothing.
        """
        return {}


def maps_of(model: nn.Module, outputs: Outputs, size: tuple[int, int], align_corners: bool) -> Tensor:
    """Returns Network.maps of a model; of a module that is no Network its logits at the size (H, W)."""
    if isinstance(model, Network):
        return model.maps(outputs, size)
    return resize(outputs["logits"].float(), size=size, align_corners=align_corners)


def gives_scores(model: nn.Module) -> bool:
    """Whether the maps of a model are scores, which take neither softmax nor sigmoid, see Network.gives_scores."""
    return isinstance(model, Network) and model.gives_scores


class InstanceHead(Head):
    """A head that finds instances."""

    def complete(self, outputs: Outputs, boxes: list[Tensor]) -> Outputs:
        """Computes, in training, outputs that depend on the objects of the batch.

        Args:
            outputs: of `forward`.
            boxes: of each image float [n,4] x0, y0, x1, y1 in pixels of the batch.

        Returns:
            Outputs to add to those of `forward`.
        """
        return {}

    def instances(self, outputs: Outputs, meta: list[Meta]) -> list[Found]:
        """Finds instances in the outputs.

        Args:
            outputs: of `forward` in evaluation mode.
            meta: of each image of the batch.

        Returns:
            B results, masks at the images' original sizes.
        """
        raise NotImplementedError(f"{type(self).__name__} gives no instances()")


class QueryHead(InstanceHead):
    """A head whose queries each predict a class and a mask.

    Its outputs are "class_logits", a list of L float [B,Q,K + 1], the last class being no object; "mask_logits", a list
    of L float [B,Q,h,w], one of both for each prediction set; and "image", float [B,C,H,W], the network's input. All
    sets are trained, the last one predicts: label maps by `semantic_scores` (losses of label maps:
    Mask2FormerSemantic), objects by `instances` (Mask2FormerMasks).

    Attributes:
        limit: instances per image.
    """

    limit: int = 100

    def semantic_scores(self, outputs: Outputs, size: tuple[int, int]) -> Tensor:
        """Computes the scores of the classes at each pixel from the last prediction set.

        Args:
            outputs: of `forward`.
            size: (H, W) of the image that the network was given, its padding included.

        Returns:
            float32 [B,K,H,W]: of all queries the sum of class probability times mask probability, 0 or more. They are
            no logits: means of them over windows and views are scores again, and no softmax is taken.
        """
        return semantic_scores(outputs["class_logits"][-1], outputs["mask_logits"][-1], size)

    @torch.no_grad()
    def instances(self, outputs: Outputs, meta: list[Meta]) -> list[Found]:
        """Finds instances from the last prediction set.

        Args:
            outputs: of `forward`.
            meta: of each image size (H0, W0) as stored, and valid (h, w) of the image in its padding.

        Returns:
            For each image the instances, masks at its original size.
        """
        height, width = outputs["image"].shape[2:]
        classes, masks = outputs["class_logits"][-1], outputs["mask_logits"][-1].float()
        return [
            best_queries(classes[i], at_original(masks[i], (height, width), image_meta), limit=self.limit)
            for i, image_meta in enumerate(meta)
        ]

    @torch.no_grad()
    def segments(
        self, outputs: Outputs, meta: list[Meta], *, things: Sequence[int], score: float, overlap: float
    ) -> list[Found]:
        """Finds panoptic segments from the last prediction set: masks that do not overlap.

        Args:
            outputs: of `forward`.
            meta: as of `instances`.
            things: the classes whose segments stay apart; of each other class an image has one segment.
            score: class probability above which a query can become a segment.
            overlap: least share of its own mask that a query must keep beside the others.

        Returns:
            For each image the segments, masks at its original size.
        """
        height, width = outputs["image"].shape[2:]
        found = []
        for classes, masks, image_meta in zip(outputs["class_logits"][-1], outputs["mask_logits"][-1], meta):
            kept, scores, labels = sure_queries(classes, score)
            if len(kept):
                logits = at_original(masks[kept].float(), (height, width), image_meta)
            else:
                logits = masks.new_zeros(0, *image_meta["size"])
            found.append(merged_segments(scores, labels, logits, things=things, overlap=overlap))
        return found
