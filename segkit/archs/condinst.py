"""Conditional Convolutions for Instance Segmentation (CondInst), Tian et al., ECCV 2020,
https://arxiv.org/abs/2003.05664, on FCOS, Tian et al., ICCV 2019, https://arxiv.org/abs/1904.01355: the network of
BoxInst, CVPR 2021, https://arxiv.org/abs/2012.02310. B images, K classes, N places of all maps, n instances."""

import math

import torch
from torch import Tensor, nn

from segkit.archs._dense_layers import Unit, plain
from segkit.models.layers import ConvBNReLU
from segkit.ops.instances.dynamic_masks import chosen_of_objects, dynamic_masks, parameter_counts, sizes_of
from segkit.ops.instances.fcos import Places, assign_places, boxes_at, places_of
from segkit.ops.instances.query_results import at_original
from segkit.ops.resizing import aligned_bilinear
from segkit.registry import HEADS
from segkit.types import Found, Outputs

CHUNK = 64
"""Masks that are brought to the size of the file at a time."""


class MaskBranch(nn.Module):
    """The features all masks share: the three finest maps added up at the finest size, then a tower (section 3.2)."""

    def __init__(self, in_channels: tuple[int, ...], channels: int, depth: int, out_channels: int):
        super().__init__()
        self.refine = nn.ModuleList(ConvBNReLU(width, channels) for width in in_channels)
        self.tower = nn.Sequential(
            *(ConvBNReLU(channels, channels) for _ in range(depth)), nn.Conv2d(channels, out_channels, 1)
        )

    def forward(self, features: list[Tensor]) -> Tensor:
        """features[i]: float [B,in_channels[i],h_i,w_i], each half of the last -> float [B,out_channels,h_0,w_0]."""
        total = self.refine[0](features[0])
        height, width = total.shape[2:]
        for i, (refine, x) in enumerate(zip(self.refine, features)):
            if i:
                total = total + aligned_bilinear(refine(x), 2**i)[:, :, :height, :width]
        return self.tower(total)


@HEADS.register
class CondInstHead(nn.Module):
    """FCOS on every map of a pyramid, and at each place the parameters of the small network that would turn the shared
    features into the mask of the instance there (figure 3).

    channels, depth, groups: of the two towers; mask_channels, mask_depth, mask_features: of the mask branch; inner:
    channels of an instance's network; masks_per_image: instances that masks are made of in training, shared out over
    the objects. Inference: score_threshold: of a class; candidates: per map; iou: above which a box gives way to a
    better one of its class; limit: instances per image. A box's score is the class's probability times centerness.
    """

    needs = ("image",)
    classifier = None

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        strides: tuple[int, ...],
        channels: int = 256,
        depth: int = 4,
        groups: int = 32,
        mask_channels: int = 128,
        mask_depth: int = 4,
        mask_features: int = 16,
        inner: int = 8,
        masks_per_image: int = 64,
        score_threshold: float = 0.05,
        candidates: int = 2000,
        iou: float = 0.5,
        limit: int = 2000,
    ):
        super().__init__()
        if len(in_channels) < 3 or len(set(in_channels)) != 1:
            raise ValueError(f"maps of {in_channels} channels: three or more of one width; use the neck FPN")
        width = in_channels[0]
        self.strides, self.inner, self.masks_per_image = tuple(strides), inner, masks_per_image
        self.score_threshold, self.candidates, self.iou, self.limit = score_threshold, candidates, iou, limit
        self.category_tower, self.box_tower = (
            nn.Sequential(*(Unit(channels if i else width, channels, groups) for i in range(depth))) for _ in range(2)
        )
        self.categories, self.distances = plain(channels, num_classes), plain(channels, 4)
        self.centerness = plain(channels, 1)
        self.controllers = plain(channels, sum(parameter_counts(mask_features, inner)))
        # a prior of 0.01 for every class (focal loss, section 3.3)
        nn.init.constant_(self.categories.bias, -math.log(99))
        self.scales = nn.ParameterList(nn.Parameter(torch.ones(())) for _ in in_channels)
        self.masks = MaskBranch(tuple(in_channels[:3]), mask_channels, mask_depth, mask_features)

    def forward(self, features: list[Tensor], image: Tensor) -> Outputs:
        """features[i]: float [B,C,h_i,w_i]; image: float [B,3,H,W], normalized -> lists with one entry per map:
        "categories" float [B,K,h_i,w_i] logits, "distances" float32 [B,4,h_i,w_i] to the left, top, right and bottom
        side in strides, "centerness" float [B,1,h_i,w_i] logits, "controllers" float [B,parameters,h_i,w_i];
        "mask_features" float [B,mask_features,h_0,w_0]; "image" as it came."""
        names = ("categories", "distances", "centerness", "controllers")
        outputs: Outputs = {name: [] for name in names} | {"mask_features": self.masks(features[:3]), "image": image}
        for x, scale in zip(features, self.scales):
            of_class, of_box = self.category_tower(x), self.box_tower(x)
            outputs["categories"].append(self.categories(of_class))
            outputs["centerness"].append(self.centerness(of_class))
            outputs["distances"].append((scale * self.distances(of_box)).float().clamp(min=0))
            outputs["controllers"].append(self.controllers(of_box))
        return outputs

    def places(self, outputs: Outputs) -> Places:
        """The places of all maps of outputs."""
        return places_of(sizes_of(outputs["categories"]), self.strides, outputs["image"].device)

    def complete(self, outputs: Outputs, boxes: list[Tensor]) -> Outputs:
        """outputs: of forward; boxes: B of float [n,4] in pixels, the objects -> what losses of masks read:
        "mask_logits" float32 [m,2 h_0,2 w_0] of chosen places, in the order of images; "objects", B of int64, the
        object of each."""
        places = self.places(outputs)
        flat = {name: _flat(outputs[name]) for name in ("categories", "centerness", "controllers")}
        with torch.no_grad():
            quality = flat["categories"].sigmoid().amax(2) * flat["centerness"][:, :, 0].sigmoid()
        logits, objects = [], []
        for i, corners in enumerate(boxes):
            assigned = assign_places(places, corners.to(places.points.device)).objects
            positive = (assigned >= 0).nonzero()[:, 0]
            positive = positive[chosen_of_objects(assigned[positive], quality[i, positive], self.masks_per_image)]
            logits.append(self._masks(outputs["mask_features"][i], flat["controllers"][i], places, positive))
            objects.append(assigned[positive])
        return {"mask_logits": torch.cat(logits), "objects": objects}

    def _masks(self, features: Tensor, controllers: Tensor, places: Places, index: Tensor) -> Tensor:
        """features: float [C,h,w]; controllers: float [N,parameters]; index: int64 [n] -> float32 [n,2 h,2 w]."""
        # offsets are measured in the size of objects that a map is for, eight strides
        return dynamic_masks(
            features,
            controllers[index],
            places.points[index],
            8 * places.strides[index],
            stride=self.strides[0],
            inner=self.inner,
        )

    @torch.no_grad()
    def instances(self, outputs: Outputs, meta: list[dict]) -> list[Found]:
        """outputs: of forward; meta: B of dict(size=(H0, W0), valid=(h, w)) -> B of Found at the size of the files;
        boxes are the detector's own, not those around the masks."""
        places, size = self.places(outputs), tuple(outputs["image"].shape[2:])
        counts = [height * width for height, width in sizes_of(outputs["categories"])]
        flat = {name: _flat(outputs[name]) for name in ("categories", "distances", "centerness", "controllers")}
        found = []
        for i, facts in enumerate(meta):
            scores, labels, index = self._candidates(flat["categories"][i].sigmoid(), counts)
            boxes = boxes_at(places.points[index], flat["distances"][i, index] * places.strides[index].unsqueeze(1))
            height, width = facts.get("valid", size)
            boxes = torch.minimum(boxes.clamp(min=0), boxes.new_tensor([width, height, width, height]))
            scores = scores * flat["centerness"][i, index, 0].sigmoid()
            kept = _suppress(boxes, scores, labels, self.iou)[: self.limit]
            masks = [
                self._at_original(
                    self._masks(outputs["mask_features"][i], flat["controllers"][i], places, part), size, facts
                )
                for part in index[kept].split(CHUNK)
            ]
            factor = boxes.new_tensor([facts["size"][1] / width, facts["size"][0] / height] * 2)
            found.append(Found(scores[kept], labels[kept], torch.cat(masks), boxes[kept] * factor))
        return found

    def _candidates(self, chances: Tensor, counts: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        """chances: float [N,K] -> scores, labels and places of at most `candidates` pairs of each map."""
        parts, start = [], 0
        for level, count in zip(chances.split(counts), counts):
            pairs = (level > self.score_threshold).nonzero()
            scores, order = level[pairs[:, 0], pairs[:, 1]].sort(descending=True, stable=True)
            order = order[: self.candidates]
            parts.append((scores[: self.candidates], pairs[order, 1], pairs[order, 0] + start))
            start += count
        scores, labels, index = (torch.cat(part) for part in zip(*parts))
        return scores, labels, index

    def _at_original(self, logits: Tensor, size: tuple[int, int], facts: dict) -> Tensor:
        """float [n,h,w] -> bool [n,H0,W0]."""
        large = aligned_bilinear(logits.sigmoid().unsqueeze(1), self.strides[0] // 2)[:, 0]
        return at_original(large[:, : size[0], : size[1]], size, facts) > 0.5


def _flat(maps: list[Tensor]) -> Tensor:
    """float [B,C,h_i,w_i] -> float32 [B,N,C]."""
    return torch.cat([x.float().flatten(2) for x in maps], 2).transpose(1, 2)


def _suppress(boxes: Tensor, scores: Tensor, labels: Tensor, iou: float) -> Tensor:
    """-> int64 [m], what stays, the best first; boxes of different classes never touch each other."""
    from torchvision.ops import batched_nms

    return batched_nms(boxes, scores, labels, iou)
