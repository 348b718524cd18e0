"""PointRend: Image Segmentation as Rendering, Kirillov et al., CVPR 2020, https://arxiv.org/abs/1912.08193."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.models.layers import at_level, resize
from segkit.ops.averaging import full_precision
from segkit.registry import HEADS


@HEADS.register
class PointRendHead(nn.Module):
    """A coarse head, and a small network that classifies single points again where the coarse prediction is unsure.

    Training (section 3.3): num_points points per image, see `choose_points`; their logits are the output
    "points.logits" and their places "points.places", for the loss AtPoints. Inference (section 3.1): the prediction is
    doubled `subdivisions` times, and each time its `subdivision_points` least certain cells are classified again.
    coarse: name of the registered head below, coarse_channels: its width; level: the map whose values points see
    beside the coarse logits; channels, num_layers: of the point network (section 3.2, figure 4), whose every layer
    sees the coarse logits; oversample: how many times num_points are drawn to choose from; importance: share of the
    points that are chosen for their uncertainty. The defaults are those of mmsegmentation's benchmark. Two networks
    classify, so that this head cannot grow.
    """

    classifier = None

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        strides: tuple[int, ...],
        coarse: str = "SemFPNHead",
        coarse_channels: int = 128,
        channels: int = 256,
        num_layers: int = 3,
        level: int = -4,
        num_points: int = 2048,
        oversample: float = 3.0,
        importance: float = 0.75,
        subdivisions: int = 2,
        subdivision_points: int = 8196,
        align_corners: bool = False,
    ):
        super().__init__()
        self.level = level
        self.num_points, self.oversample, self.importance = num_points, oversample, importance
        self.subdivisions, self.subdivision_points = subdivisions, subdivision_points
        self.align_corners = align_corners
        coarse_head = HEADS.get(coarse, "model.head.coarse")
        self.coarse = coarse_head(
            in_channels, num_classes, strides=strides, channels=coarse_channels, align_corners=align_corners
        )
        widths = [at_level(in_channels, level)] + [channels] * num_layers
        self.layers = nn.ModuleList(nn.Conv1d(width + num_classes, channels, 1) for width in widths[:-1])
        self.point_classifier = nn.Conv1d(widths[-1] + num_classes, num_classes, 1)
        nn.init.normal_(self.point_classifier.weight, std=0.01)

    def forward(self, features: list[Tensor]) -> dict[str, Tensor]:
        """features[i]: float [B,in_channels[i],h_i,w_i] -> coarse.logits [B,num_classes,h,w] and logits: in training
        the coarse ones, in evaluation the refined, [B,num_classes,h * 2**subdivisions,w * 2**subdivisions]. In
        training also points.logits [B,num_classes,num_points] and points.places [B,num_points,2], see `sample`."""
        coarse = self.coarse(features)["logits"]
        fine = features[self.level]
        if not self.training:
            return {"logits": self.refine(fine, coarse), "coarse.logits": coarse}
        with torch.no_grad():
            places = choose_points(
                coarse, self.num_points, self.oversample, self.importance, align_corners=self.align_corners
            )
        points = {"points.logits": self.classify(fine, coarse, places), "points.places": places}
        return {"logits": coarse, "coarse.logits": coarse, **points}

    def classify(self, fine: Tensor, coarse: Tensor, places: Tensor) -> Tensor:
        """fine: float [B,C,h,w]; coarse: float [B,K,h,w]; places: float [B,n,2] -> logits float [B,K,n]."""
        coarse_values = sample(coarse, places, self.align_corners)
        x = sample(fine, places, self.align_corners)
        for layer in self.layers:
            x = F.relu(layer(torch.cat([x, coarse_values], dim=1)))
        return self.point_classifier(torch.cat([x, coarse_values], dim=1))

    def refine(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """fine: float [B,C,h,w]; coarse: float [B,K,h,w] -> float [B,K,h * 2**subdivisions,w * 2**subdivisions]."""
        logits = coarse
        for _ in range(self.subdivisions):
            size = (2 * logits.shape[2], 2 * logits.shape[3])
            logits = resize(logits, size=size, align_corners=self.align_corners)
            index = uncertainty(logits.flatten(2)).topk(min(self.subdivision_points, size[0] * size[1]), dim=1)[1]
            values = self.classify(fine, coarse, cell_centres(index, size))
            cells = index.unsqueeze(1).expand(-1, logits.shape[1], -1)
            logits = logits.flatten(2).scatter(2, cells, values.to(logits.dtype)).unflatten(2, size)
        return logits


def sample(x: Tensor, places: Tensor, align_corners: bool) -> Tensor:
    """x: float [B,C,h,w]; places: float [B,n,2], x and y with 0 and 1 at the map's borders (with align_corners at the
    centres of its outer cells) -> float [B,C,n], bilinear, zero beyond the map as in the authors' code."""
    x = full_precision(x)  # places between cells take more digits than half precision has
    grid = 2 * places.unsqueeze(2) - 1
    return F.grid_sample(x, grid.to(x.dtype), align_corners=align_corners).squeeze(3)


def uncertainty(logits: Tensor) -> Tensor:
    """logits: float [B,K,n] -> float [B,n], higher where the two best classes are closer; of one class, where it is
    closer to probability 0.5."""
    if logits.shape[1] == 1:
        return -logits[:, 0].abs()
    best = logits.topk(2, dim=1)[0]
    return best[:, 1] - best[:, 0]


def cell_centres(index: Tensor, size: tuple[int, int]) -> Tensor:
    """index: int64 [B,n] into the cells of a map of that size, row by row -> places float32 [B,n,2]."""
    height, width = size
    return torch.stack([(index % width + 0.5) / width, (index // width + 0.5) / height], dim=2)


def choose_points(
    coarse: Tensor,
    num_points: int,
    oversample: float,
    importance: float,
    *,
    align_corners: bool = False,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Section 3.3: of oversample * num_points uniform places the least certain importance * num_points, the rest
    uniform anew. coarse: float [B,K,h,w] -> places float32 [B,num_points,2].

    generator: None takes torch's own, the one of dropout, which a checkpoint holds.
    """
    num_drawn, num_chosen = int(num_points * oversample), int(num_points * importance)
    shape = (len(coarse), num_drawn + num_points - num_chosen, 2)
    drawn, anew = torch.rand(shape, generator=generator, device=coarse.device).tensor_split([num_drawn], dim=1)
    # The logits are interpolated before their uncertainty is: between -1 and 1 lies a point of no certainty at all.
    index = uncertainty(sample(coarse, drawn, align_corners)).topk(num_chosen, dim=1)[1]
    return torch.cat([drawn.gather(1, index.unsqueeze(2).expand(-1, -1, 2)), anew], dim=1)
