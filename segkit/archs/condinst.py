"""Conditional Convolutions for Instance Segmentation (CondInst), Tian et al., ECCV 2020,
https://arxiv.org/abs/2003.05664, on FCOS, Tian et al., ICCV 2019, https://arxiv.org/abs/1904.01355: the network of
BoxInst, CVPR 2021, https://arxiv.org/abs/2012.02310, and BoxTeacher, CVPR 2023, https://arxiv.org/abs/2210.05174.

Shape legend: B batch, K classes, C channels, h w features, N places (positions of all maps), n objects.
"""

import math
from typing import cast

import torch
from torch import Tensor, nn

from segkit.archs._dense_layers import Unit, plain
from segkit.constraints.named import Fraction, NonNegativeInt, PositiveInt, Rounds
from segkit.models.bases import InstanceHead
from segkit.models.layers import ConvBNReLU, bias_of
from segkit.ops.instances.dynamic_masks import chosen_of_objects, dynamic_masks, parameter_counts, sizes_of
from segkit.ops.instances.fcos import Places, assign_places, boxes_at, flatten_levels, places_of
from segkit.ops.instances.pseudo_masks import certainty, rescored
from segkit.ops.instances.query_results import at_original, boxes_at_original
from segkit.ops.resizing import aligned_bilinear
from segkit.registry import HEADS
from segkit.types import Found, Meta, Outputs

CHUNK = 64
"""Masks that are resized to the size of the file at a time, which bounds the memory."""


class MaskBranch(nn.Module):
    """Mask branch: computes the features that the masks of all instances share.

    Adds up the three finest maps at the finest one's size, then applies a tower of convolutions (section 3.2).

    Args:
        in_channels: channels of the maps.
        channels: width of the tower.
        depth: number of 3x3 convolutions in the tower.
        out_channels: channels of the shared features.
    """

    def __init__(self, in_channels: tuple[int, ...], channels: int, depth: int, out_channels: int):
        super().__init__()
        self.refine = nn.ModuleList(ConvBNReLU(width, channels) for width in in_channels)
        self.tower = nn.Sequential(
            *(ConvBNReLU(channels, channels) for _ in range(depth)), nn.Conv2d(channels, out_channels, 1)
        )

    def forward(self, features: list[Tensor]) -> Tensor:
        """Computes the shared features.

        Args:
            features: float [B,in_channels[i],h_i,w_i], each half the size of the one before.

        Returns:
            Float [B,out_channels,h_0,w_0].
        """
        total = self.refine[0](features[0])
        height, width = total.shape[2:]
        for i, (refine, x) in enumerate(zip(self.refine, features)):
            if i:
                total = total + aligned_bilinear(refine(x), 2**i)[:, :, :height, :width]
        return self.tower(total)


@HEADS.register
class CondInstHead(InstanceHead):
    """FCOS detector that predicts, at each place, the parameters of a small network for that instance's mask.

    The network turns the shared mask features into the mask of the instance at that place (figure 3). A box's score is
    the probability of its class times the centerness. This head cannot grow.

    Args:
        in_channels: channels of each feature map: three or more maps of one width, as the neck FPN gives them.
        num_classes: number of classes K.
        strides: image pixels per cell of each feature map.
        channels: width of the two towers.
        depth: convolutions in each tower.
        groups: groups of the towers' normalization; 0 leaves it out.
        mask_channels: width of the mask branch.
        mask_depth: convolutions in the mask branch.
        mask_features: channels of the shared mask features.
        inner: hidden channels of an instance's network.
        masks_per_image: masks computed per image in training, shared out over its objects.
        score_threshold: smallest class probability of a candidate, in inference.
        candidates: most candidates per map, in inference.
        iou: a box that overlaps a better box of its class by more than this IoU is removed, in inference.
        limit: most instances per image, in inference.
        tower_bias: whether the towers' convolutions have biases (AdelaiDet).
        centerness_of_boxes: the centerness is read from the tower of the boxes, not of the classes (AdelaiDet).
        root_scores: candidates are chosen by class probability times centerness, and the root of it is the score of
            their box (AdelaiDet).
        keep_ties: whether instances as good as the last of `limit` are kept too (AdelaiDet).
        rescore: multiplies scores with the mean probability of the mask's pixels and takes the root, and gives each
            mask its quality, see ops.instances.pseudo_masks; boxes without area are left out (BoxTeacher).

    Raises:
        ValueError: there are fewer than three maps, or their widths differ.
    """

    needs = ("image",)
    classifier = None

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        strides: tuple[PositiveInt, ...],
        channels: PositiveInt = 256,
        depth: Rounds = 4,
        groups: NonNegativeInt = 32,
        mask_channels: PositiveInt = 128,
        mask_depth: Rounds = 4,
        mask_features: PositiveInt = 16,
        inner: PositiveInt = 8,
        masks_per_image: PositiveInt = 64,
        score_threshold: Fraction = 0.05,
        candidates: PositiveInt = 2000,
        iou: Fraction = 0.5,
        limit: PositiveInt = 2000,
        tower_bias: bool = False,
        centerness_of_boxes: bool = False,
        root_scores: bool = False,
        keep_ties: bool = False,
        rescore: bool = False,
    ):
        super().__init__()
        if len(in_channels) < 3 or len(set(in_channels)) != 1:
            raise ValueError(
                f"in_channels = {tuple(in_channels)}: must be three or more feature maps of one width; use the neck FPN"
            )
        width = in_channels[0]
        self.strides, self.inner, self.masks_per_image = tuple(strides), inner, masks_per_image
        self.score_threshold, self.candidates, self.iou, self.limit = score_threshold, candidates, iou, limit
        self.centerness_of_boxes, self.root_scores = centerness_of_boxes, root_scores
        self.keep_ties, self.rescore = keep_ties, rescore
        self.category_tower = _tower(width, channels, depth=depth, groups=groups, bias=tower_bias)
        self.box_tower = _tower(width, channels, depth=depth, groups=groups, bias=tower_bias)
        self.categories, self.distances = plain(channels, num_classes), plain(channels, 4)
        self.centerness = plain(channels, 1)
        self.controllers = plain(channels, sum(parameter_counts(mask_features, inner)))
        # Each class starts with a probability of 0.01 (focal loss, section 3.3).
        nn.init.constant_(bias_of(self.categories), -math.log(99))
        self.scales = nn.ParameterList(nn.Parameter(torch.ones(())) for _ in in_channels)
        self.masks = MaskBranch(tuple(in_channels[:3]), mask_channels, mask_depth, mask_features)

    def forward(self, features: list[Tensor], image: Tensor) -> Outputs:
        """Predicts classes, boxes and mask parameters at all places.

        Args:
            features: feature maps, float [B,C,h_i,w_i], the finest first.
            image: float [B,3,H,W], normalized.

        Returns:
            Lists with one tensor per map: "categories", float [B,K,h_i,w_i], logits; "distances", float32
            [B,4,h_i,w_i], to the left, top, right and bottom side of the box, in strides; "centerness", float
            [B,1,h_i,w_i], logits; "controllers", float [B,parameters,h_i,w_i], the parameters of the instances'
            networks. Single tensors: "mask_features", float [B,mask_features,h_0,w_0], and "image", the argument.
        """
        names = ("categories", "distances", "centerness", "controllers")
        maps: dict[str, list[Tensor]] = {name: [] for name in names}
        mask_features = self.masks(features[:3])
        for x, scale in zip(features, self.scales):
            category_features, box_features = self.category_tower(x), self.box_tower(x)
            maps["categories"].append(self.categories(category_features))
            maps["centerness"].append(self.centerness(box_features if self.centerness_of_boxes else category_features))
            maps["distances"].append((scale * self.distances(box_features)).float().clamp(min=0))
            maps["controllers"].append(self.controllers(box_features))
        return {**maps, "mask_features": mask_features, "image": image}

    def places(self, outputs: Outputs) -> Places:
        """Returns the places of all maps.

        Args:
            outputs: outputs of `forward`.
        """
        return places_of(sizes_of(_maps(outputs, "categories")), self.strides, outputs["image"].device)

    def complete(self, outputs: Outputs, boxes: list[Tensor]) -> Outputs:
        """Computes masks at places that are assigned to objects, for mask losses in training.

        Args:
            outputs: outputs of `forward`.
            boxes: the objects of each image, float [n,4] x0, y0, x1, y1 in pixels of the batch.

        Returns:
            "mask_logits", float32 [m,2 h_0,2 w_0], the masks of m chosen places in the order of the images, and
            "objects", a list with the chosen places' objects of each image, int64, as indices into its boxes.
        """
        places = self.places(outputs)
        flat = {name: flatten_levels(_maps(outputs, name)) for name in ("categories", "centerness", "controllers")}
        with torch.no_grad():
            quality = flat["categories"].sigmoid().amax(2) * flat["centerness"][:, :, 0].sigmoid()
        logits, objects = [], []
        for i, corners in enumerate(boxes):
            assigned = assign_places(places, corners.to(places.points.device)).objects
            positive = (assigned >= 0).nonzero()[:, 0]
            positive = positive[chosen_of_objects(assigned[positive], quality[i, positive], self.masks_per_image)]
            logits.append(self._masks(outputs["mask_features"][i], flat["controllers"][i], places, positive))
            objects.append(assigned[positive])
        return cast(Outputs, {"mask_logits": torch.cat(logits), "objects": objects})

    def _masks(self, features: Tensor, controllers: Tensor, places: Places, index: Tensor) -> Tensor:
        """Computes logits, float32 [n,2 h,2 w], for the places `index`, int64 [n].

        features: float [C,h,w]; controllers: float [N,parameters].
        """
        # Offsets are divided by the size of the objects that a map is for, eight strides.
        return dynamic_masks(
            features,
            controllers[index],
            places.points[index],
            8 * places.strides[index],
            stride=self.strides[0],
            inner=self.inner,
        )

    @torch.no_grad()
    def instances(self, outputs: Outputs, meta: list[Meta]) -> list[Found]:
        """Finds instances in the outputs.

        Args:
            outputs: outputs of `forward`.
            meta: one entry per image, with "size", (H0, W0) of the file, and "valid", (h, w) of the image in its
                padding.

        Returns:
            One result per image at the size of its file. Boxes are those of the detector, not bounding boxes of the
            masks.
        """
        places = self.places(outputs)
        input_height, input_width = outputs["image"].shape[2:]
        size = (input_height, input_width)
        counts = [height * width for height, width in sizes_of(_maps(outputs, "categories"))]
        names = ("categories", "distances", "centerness", "controllers")
        flat = {name: flatten_levels(_maps(outputs, name)) for name in names}
        found = []
        for i, image_meta in enumerate(meta):
            central = flat["centerness"][i].sigmoid()
            scores, labels, index = self._candidates(flat["categories"][i].sigmoid(), central, counts)
            boxes = boxes_at(places.points[index], flat["distances"][i, index] * places.strides[index].unsqueeze(1))
            height, width = image_meta.get("valid", size)
            # a tensor made of the sizes would fix them in an exported graph
            x, y = boxes[:, 0::2].clamp(0, width), boxes[:, 1::2].clamp(0, height)
            boxes = torch.stack([x, y], 2).flatten(1)
            kept = self._best(_suppress(boxes, scores, labels, self.iou), scores)
            if self.rescore:
                kept = kept[(boxes[kept, 2:] > boxes[kept, :2]).all(1)]
            masks, certainties = [], []
            chosen = index[kept]
            for chunk in (chosen,) if torch.compiler.is_exporting() else chosen.split(CHUNK):
                logits = self._masks(outputs["mask_features"][i], flat["controllers"][i], places, chunk)
                probabilities = self._at_original(logits, size, image_meta)
                masks.append(probabilities > 0.5)
                if self.rescore:
                    certainties.append(certainty(probabilities))
            stored_boxes = boxes_at_original(boxes[kept], size, image_meta)
            instances = Found(scores[kept], labels[kept], torch.cat(masks), stored_boxes)
            found.append(rescored(instances, torch.cat(certainties)) if self.rescore else instances)
        return found

    def _best(self, kept: Tensor, scores: Tensor) -> Tensor:
        """Cuts the indices of boxes, the best first, to `limit` and, where they are kept, those as good as the last."""
        if not self.keep_ties or torch.compiler.is_exporting() or len(kept) <= self.limit:
            return kept[: self.limit]
        ordered = scores[kept]
        return kept[ordered >= ordered[self.limit - 1]]

    def _candidates(self, probabilities: Tensor, central: Tensor, counts: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Selects at most `candidates` pairs of place and class per map.

        probabilities: float [N,K]; central: centerness, float [N,1]; counts: places of each map. Returns scores of the
        boxes, labels and places of the pairs.
        """
        if self.root_scores:
            probabilities = probabilities * central
        scores, labels, index, start = [], [], [], 0
        for level, count in zip(probabilities.split(counts), counts):
            pairs = (level > self.score_threshold).nonzero()
            values, order = level[pairs[:, 0], pairs[:, 1]].sort(descending=True, stable=True)
            order = order[: self.candidates]
            scores.append(values[: self.candidates])
            labels.append(pairs[order, 1])
            index.append(pairs[order, 0] + start)
            start += count
        chosen = torch.cat(index)
        best = torch.cat(scores)
        best = best.sqrt() if self.root_scores else best * central[chosen, 0]
        return best, torch.cat(labels), chosen

    def _at_original(self, logits: Tensor, size: tuple[int, int], meta: Meta) -> Tensor:
        """Turns logits, float [n,h,w], into probabilities at the size of the file, float [n,H0,W0]."""
        large = aligned_bilinear(logits.sigmoid().unsqueeze(1), self.strides[0] // 2)[:, 0]
        return at_original(large[:, : size[0], : size[1]], size, meta)


def _tower(in_channels: int, channels: int, *, depth: int, groups: int, bias: bool) -> nn.Sequential:
    return nn.Sequential(*(Unit(channels if i else in_channels, channels, groups, bias=bias) for i in range(depth)))


def _maps(outputs: Outputs, name: str) -> list[Tensor]:
    """Reads an output that is a list of one map per feature level."""
    return cast(list[Tensor], outputs[name])


def _suppress(boxes: Tensor, scores: Tensor, labels: Tensor, iou: float) -> Tensor:
    """Returns int64 indices of the boxes that NMS per class keeps, the best first."""
    from torchvision.ops import batched_nms, nms

    if torch.compiler.is_exporting():  # one suppression of boxes that are moved apart by their class
        return nms(boxes + (labels * (boxes.max() + 1)).unsqueeze(1), scores, iou)
    return batched_nms(boxes, scores, labels, iou)
