"""PointRend: Image Segmentation as Rendering, Kirillov et al., CVPR 2020, https://arxiv.org/abs/1912.08193."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.constraints.named import Fraction, NonNegativeFloat, OptionalRounds, PositiveInt, Rounds
from segkit.models.bases import Head
from segkit.models.layers import at_level, resize
from segkit.ops.averaging import full_precision
from segkit.registry import HEADS
from segkit.types import Outputs


@HEADS.register
class PointRendHead(Head):
    """PointRend head: a coarse head, and a small network that refines its prediction at uncertain points.

    Training (section 3.3): the point network classifies num_points points per image, see `choose_points`. Their logits
    are the output "points.logits" and their coordinates "points.places", for the loss AtPoints. Inference (section
    3.1): the prediction is enlarged by two `subdivisions` times, and each time its `subdivision_points` least certain
    cells are classified again.

    The defaults are those of mmsegmentation's benchmark. This head cannot grow, since two networks classify.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        strides: stride of each feature map in pixels of the image.
        coarse: registered name of the coarse head.
        coarse_channels: width of the coarse head.
        channels: width of the point network.
        num_layers: hidden layers of the point network, each of which also reads the coarse logits (section 3.2,
            figure 4).
        level: map that is sampled at the points, counted from the end; -1 is the deepest.
        num_points: points per image in training.
        oversample: num_points * oversample random points are drawn to choose from.
        importance: share of num_points that is chosen by uncertainty.
        subdivisions: number of doublings in inference.
        subdivision_points: points that are classified again after each doubling.
        align_corners: aligns the corner cells when maps are resized and sampled.
    """

    classifier = None

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        strides: tuple[PositiveInt, ...],
        coarse: str = "SemFPNHead",
        coarse_channels: PositiveInt = 128,
        channels: PositiveInt = 256,
        num_layers: Rounds = 3,
        level: int = -4,
        num_points: PositiveInt = 2048,
        oversample: NonNegativeFloat = 3.0,
        importance: Fraction = 0.75,
        subdivisions: OptionalRounds = 2,
        subdivision_points: PositiveInt = 8196,
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

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts class logits, in training also those of single points.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            "coarse.logits", float [B,K,h,w], and "logits": in training the coarse ones, in evaluation the refined
            ones, float [B,K,h * 2**subdivisions,w * 2**subdivisions]. In training also "points.logits", float
            [B,K,num_points], and "points.places", float [B,num_points,2], coordinates as in `sample`.
        """
        coarse = self.coarse(features)["logits"]
        fine = features[self.level]
        if not self.training:
            return {"logits": self.refine(fine, coarse), "coarse.logits": coarse}
        with torch.no_grad():
            coordinates = choose_points(
                coarse, self.num_points, self.oversample, self.importance, align_corners=self.align_corners
            )
        points = {"points.logits": self.classify(fine, coarse, coordinates), "points.places": coordinates}
        return {"logits": coarse, "coarse.logits": coarse, **points}

    def classify(self, fine: Tensor, coarse: Tensor, coordinates: Tensor) -> Tensor:
        """Classifies points.

        Args:
            fine: float [B,C,h,w], the map that is sampled.
            coarse: float [B,K,h',w'], the coarse logits.
            coordinates: float [B,n,2], as in `sample`.

        Returns:
            Logits, float [B,K,n].
        """
        coarse_values = sample(coarse, coordinates, self.align_corners)
        x = sample(fine, coordinates, self.align_corners)
        for layer in self.layers:
            x = F.relu(layer(torch.cat([x, coarse_values], dim=1)))
        return self.point_classifier(torch.cat([x, coarse_values], dim=1))

    def refine(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """Subdivides the coarse prediction (section 3.1).

        Args:
            fine: float [B,C,h',w'], the map that is sampled.
            coarse: float [B,K,h,w], the coarse logits.

        Returns:
            Logits, float [B,K,h * 2**subdivisions,w * 2**subdivisions].
        """
        logits = coarse
        for _ in range(self.subdivisions):
            size = (2 * logits.shape[2], 2 * logits.shape[3])
            logits = resize(logits, size=size, align_corners=self.align_corners)
            index = uncertainty(logits.flatten(2)).topk(min(self.subdivision_points, size[0] * size[1]), dim=1)[1]
            values = self.classify(fine, coarse, cell_centers(index, size))
            cells = index.unsqueeze(1).expand(-1, logits.shape[1], -1)
            logits = logits.flatten(2).scatter(2, cells, values.to(logits.dtype)).unflatten(2, size)
        return logits


def sample(x: Tensor, coordinates: Tensor, align_corners: bool) -> Tensor:
    """Samples a map bilinearly at points; beyond the map it is zero, as in the authors' code.

    Args:
        x: float [B,C,h,w].
        coordinates: float [B,n,2], x and y of each point; 0 and 1 are the borders of the map, or with align_corners
            the centers of its outer cells.
        align_corners: whether 0 and 1 are the centers of the outer cells.

    Returns:
        Float [B,C,n], float32 where x has half precision.
    """
    x = full_precision(x)  # coordinates between cells need more digits than half precision has
    grid = 2 * coordinates.unsqueeze(2) - 1
    return F.grid_sample(x, grid.to(x.dtype), align_corners=align_corners).squeeze(3)


def uncertainty(logits: Tensor) -> Tensor:
    """Scores how uncertain the prediction is at each point.

    Args:
        logits: float [B,K,n].

    Returns:
        Float [B,n], at most 0: the second best logit minus the best; with one class minus the logit's magnitude,
        which is 0 at probability 0.5.
    """
    if logits.shape[1] == 1:
        return -logits[:, 0].abs()
    best = logits.topk(2, dim=1)[0]
    return best[:, 1] - best[:, 0]


def cell_centers(index: Tensor, size: tuple[int, int]) -> Tensor:
    """Computes the coordinates of cell centers.

    Args:
        index: int64 [B,n], row-major indices of cells.
        size: (rows, columns) of the map.

    Returns:
        Float32 [B,n,2], x and y in 0..1.
    """
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
    """Chooses training points: the most uncertain of many random ones, and random ones for the rest (section 3.3).

    Of oversample * num_points uniform points it keeps the importance * num_points most uncertain ones; the other points
    are drawn anew.

    Args:
        coarse: float [B,K,h,w], the coarse logits.
        num_points: points per image.
        oversample: random points to choose from, as a multiple of num_points.
        importance: share of num_points that is chosen by uncertainty.
        align_corners: as in `sample`.
        generator: random generator; None takes torch's own, the one of dropout, whose state checkpoints hold.

    Returns:
        Coordinates, float32 [B,num_points,2], as in `sample`.
    """
    num_drawn, num_chosen = int(num_points * oversample), int(num_points * importance)
    shape = (len(coarse), num_drawn + num_points - num_chosen, 2)
    drawn, anew = torch.rand(shape, generator=generator, device=coarse.device).tensor_split([num_drawn], dim=1)
    # The logits are sampled, not their uncertainty: halfway between logits -1 and 1 lies a fully uncertain point.
    index = uncertainty(sample(coarse, drawn, align_corners)).topk(num_chosen, dim=1)[1]
    return torch.cat([drawn.gather(1, index.unsqueeze(2).expand(-1, -1, 2)), anew], dim=1)
