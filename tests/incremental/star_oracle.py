"""The two steps of the authors' trainers of STAR and STAR-Basic, written out on their small network."""

import numpy as np
import torch
from torch import Tensor, nn

from segkit.losses.incremental.dkd import NewClassBCE
from segkit.losses.incremental.star import PrototypeContrast, PseudoRegionMSE, ReplayBCE
from segkit.ops.incremental.prototypes import (
    PRESENT,
    ClassStatistics,
    FeatureSums,
    labels_at,
    mean_length,
    old_labels_at,
)
from tests.incremental.steps_oracle import by_rule, resized, stored

BATCHES = stored("star_batches.npz")


class Block(nn.Sequential):
    def __init__(self, channels: int, out: int, kernel: int, dilation: int = 1):
        padding = dilation * (kernel // 2)
        conv = nn.Conv2d(channels, out, kernel, padding=padding, dilation=dilation, bias=False)
        super().__init__(conv, nn.BatchNorm2d(out), nn.ReLU())


class Pool(nn.Sequential):
    def __init__(self):
        conv = nn.Conv2d(8, 256, 1, bias=False)
        super().__init__(nn.AdaptiveAvgPool2d(1), conv, nn.BatchNorm2d(256), nn.ReLU())


class Aspp(nn.Module):
    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList([Block(8, 256, 1), *(Block(8, 256, 3, rate) for rate in (6, 12, 18)), Pool()])
        self.project, self.last_conv = Block(5 * 256, 256, 1), Block(256, 256, 3)

    def forward(self, x: Tensor) -> Tensor:
        maps = [conv(x) for conv in self.convs]
        maps[-1] = maps[-1].expand_as(maps[0])
        return self.last_conv(self.project(torch.cat(maps, 1)))


class Net(nn.Module):
    """A convolution of stride 16, the pyramid, and one classifier a step; its weights follow from their names."""

    def __init__(self, *classes: int):
        super().__init__()
        self.backbone, self.aspp = nn.Module(), Aspp()
        self.backbone.conv = nn.Conv2d(3, 8, 16, 16, bias=False)
        self.backbone.bn = nn.BatchNorm2d(8, momentum=0.01)
        self.cls = nn.ModuleList(nn.Conv2d(256, number, 1) for number in classes)
        floats = {name: value for name, value in self.state_dict().items() if value.is_floating_point()}
        self.load_state_dict({name: by_rule(name, tuple(value.shape)) for name, value in floats.items()}, strict=False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """-> features and logits of both steps at stride 16."""
        z = self.aspp(self.backbone.bn(self.backbone.conv(image)).relu())
        return z, torch.cat([classifier(z) for classifier in self.cls], 1)


def batch(step: int, iteration: int) -> tuple[Tensor, Tensor]:
    images = torch.from_numpy(BATCHES[f"step{step}/images_u8"])[2 * iteration : 2 * iteration + 2]
    labels = torch.from_numpy(BATCHES[f"step{step}/labels_4x4"])[2 * iteration : 2 * iteration + 2].long()
    return (images.float() / 255 - 0.5) / 0.25, labels.repeat_interleave(16, 1).repeat_interleave(16, 2)


def optimizer_of(model: Net, step: int) -> torch.optim.Optimizer:
    rate = 1e-3 if step == 0 else 1e-4
    trained = [(name, p) for name, p in model.named_parameters() if step == 0 or p.dim() == 4 or "cls" in name]
    factors = {"backbone": 1, "aspp": 10, "cls.0": 10, "cls.1": 100}
    groups = [
        {"params": [p for name, p in trained if name.startswith(start)], "factor": factor}
        for start, factor in factors.items()
    ]
    optimizer = torch.optim.SGD(
        [group for group in groups if group["params"]], lr=rate, momentum=0.9, nesterov=True, weight_decay=1e-4
    )
    for group in optimizer.param_groups:
        group["initial"] = rate * group["factor"]
    return optimizer


def set_rate(optimizer: torch.optim.Optimizer, iteration: int) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group["initial"] * (1 - iteration / 3) ** 0.9


def train_first() -> tuple[Net, list[float]]:
    model, values = Net(3), []
    optimizer = optimizer_of(model, 0)
    loss = NewClassBCE(4.0)
    for iteration in range(3):
        set_rate(optimizer, iteration)
        image, label = batch(0, iteration)
        value = loss(resized(model(image)[1], (64, 64)), label)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    return model.eval(), values


@torch.no_grad()
def sums_of(model: Net, step: int, classes: list[int]) -> FeatureSums:
    sums = FeatureSums(classes, 256)
    for iteration in range(3):
        image, label = batch(step, iteration)
        sums.add(model(image)[0], labels_at(label, (4, 4)))
    return sums


def found_at(logits: Tensor) -> Tensor:
    return old_labels_at(logits, (64, 64), (4, 4), PRESENT)


@torch.no_grad()
def found_in(teacher: Net) -> Tensor:
    counts = torch.zeros(4)
    for iteration in range(3):
        image, label = batch(1, iteration)
        labels = labels_at(label, (4, 4))
        counts += torch.bincount(found_at(teacher(image)[1])[labels == 0], minlength=4)
    return counts


def train_second(
    teacher: Net, old: ClassStatistics, ratio: float, drawn: np.ndarray, *, has_lengths: bool = True
) -> tuple[Net, dict[str, list[float]], list[Tensor]]:
    """Trains the second step on features that were drawn, [3,n,256]; unit vectors get the batch's mean length."""
    model = Net(3, 2)
    model.load_state_dict(model.state_dict() | teacher.state_dict())
    model.eval()
    optimizer, regions = optimizer_of(model, 1), []
    losses = {"loss_mbce": ReplayBCE(4.0), "loss_pkd": PseudoRegionMSE(), "loss_cont": PrototypeContrast()}
    values: dict[str, list[float]] = {name: [] for name in losses}
    for iteration in range(3):
        set_rate(optimizer, iteration)
        image, label = batch(1, iteration)
        with torch.no_grad():
            known, taught = teacher(image)
        z, logits = model(image)
        labels = labels_at(label, (4, 4))
        region = (labels == 0) & (found_at(taught) == 0)
        features = torch.from_numpy(drawn[iteration]) * (1 if has_lengths else mean_length(z))
        replayed = model.cls[1](features.t()[None, :, None])[0, :, 0].t()
        weight = torch.tensor([len(features) / labels.numel(), ratio * region.float().mean()])
        background = logits[:, -2:].permute(0, 2, 3, 1)[region]
        terms = {
            "loss_mbce": losses["loss_mbce"](resized(logits, (64, 64)), replayed, background, weight, label),
            "loss_pkd": 5 * losses["loss_pkd"](z, known, taught, label),
            "loss_cont": 0.05 * losses["loss_cont"](z, old.prototypes, logits, label),
        }
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
        regions.append(region)
        for name, value in terms.items():
            values[name].append(value.item())
    return model, values, regions


def check_weights(model: Net, trained: dict[str, np.ndarray], at: str) -> None:
    """Compares entries with those that are stored under a prefix."""
    final = model.state_dict()
    sums = [float(final[name].double().abs().sum()) for name in trained[f"{at}/names"]]
    np.testing.assert_allclose(sums, trained[f"{at}/sum_abs"], rtol=1e-4)
    for i in range(len(model.cls)):
        weight, bias = final[f"cls.{i}.weight"][:, ::8, 0, 0], final[f"cls.{i}.bias"]
        np.testing.assert_allclose(weight, trained[f"{at}/cls.{i}.weight_sub"], atol=1e-5)
        np.testing.assert_allclose(bias, trained[f"{at}/cls.{i}.bias_sub"], atol=1e-5)
