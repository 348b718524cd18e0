"""Two steps of training by eight methods against MiB's published trainer, 1e-4 relative: tests/fixtures/mib.

A net of 2,000 weights, 16 classes and then 5 more; 2 epochs of 3 batches of each step; SGD with the poly schedule. The
steps are written out here: losses and regularisers are what is tested.
"""

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.losses.binary_cross_entropy import BinaryCrossEntropy
from segkit.losses.cross_entropy import CrossEntropy
from segkit.losses.incremental.icarl import ICaRLDistillation
from segkit.losses.incremental.incremental_kd import FeatureMSE, OldClassKD
from segkit.losses.incremental.unbiased import UnbiasedCE, UnbiasedKD
from segkit.runners.incremental.regularisers import EWC, PI, RW

with np.load(Path(__file__).parents[1] / "fixtures/mib/trainer_tiny.npz") as arrays:
    PUBLISHED = {name: arrays[name] if name == "names" else torch.from_numpy(arrays[name]) for name in arrays.files}


class ABN(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(super().forward(x), 0.01)


class Body(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 8, 3, stride=4, padding=1, bias=False), ABN(8)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))


class Head(nn.Module):
    """The published DeepLabV3 head; maps here are smaller than its pooling window, so that it pools the whole map."""

    def __init__(self):
        super().__init__()
        self.map_convs = nn.ModuleList([nn.Conv2d(8, 5, 1, bias=False)])
        self.map_convs.extend(nn.Conv2d(8, 5, 3, padding=d, dilation=d, bias=False) for d in (6, 12, 18))
        self.map_bn, self.red_conv = ABN(20), nn.Conv2d(20, 6, 1, bias=False)
        self.global_pooling_conv, self.global_pooling_bn = nn.Conv2d(8, 5, 1, bias=False), ABN(5)
        self.pool_red_conv, self.red_bn = nn.Conv2d(5, 6, 1, bias=False), ABN(6)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.red_conv(self.map_bn(torch.cat([conv(x) for conv in self.map_convs], 1)))
        pooled = self.global_pooling_bn(self.global_pooling_conv(x.mean((2, 3), keepdim=True)))
        return self.red_bn(maps + self.pool_red_conv(pooled))


class Net(nn.Module):
    def __init__(self, classes: tuple[int, ...]):
        super().__init__()
        self.body, self.head = Body(), Head()
        self.cls = nn.ModuleList(nn.Conv2d(6, number, 1) for number in classes)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """-> logits at the image's size, the body's features."""
        features = self.body(image)
        embedding = self.head(features)
        logits = torch.cat([classifier(embedding) for classifier in self.cls], 1)
        return F.interpolate(logits, image.shape[-2:], mode="bilinear", align_corners=False), features


def part(prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in PUBLISHED.items() if name.startswith(prefix)}


def spread_background(model: Net) -> None:
    """MiB's new classifier: the background's weights, its probability shared among the classes and itself."""
    first, new = model.cls[0], model.cls[-1]
    with torch.no_grad():
        first.bias[0] -= math.log(new.out_channels + 1)
        new.weight.copy_(first.weight[:1].expand_as(new.weight))
        new.bias.fill_(first.bias[0])


CE = CrossEntropy(average="all")
BCE = BinaryCrossEntropy(sum_classes=True, average="all")


def plain(loss: nn.Module):
    return lambda outputs, teacher, label: loss(outputs[0], label)


def distilled(*terms: tuple[float, nn.Module, int]):
    """terms: weight, loss, 0 for logits and 1 for features."""
    return lambda outputs, teacher: sum(weight * loss(outputs[i], teacher[i]) for weight, loss, i in terms)


def unbiased(outputs, teacher, label):
    return UnbiasedCE()(outputs[0], teacher[0], label)


# class loss of step 0, of step 1, further terms of step 1, regulariser
METHODS = {
    "FT": (plain(CE), plain(CE), distilled(), None),
    "LWF": (plain(CE), plain(CE), distilled((100, OldClassKD(), 0)), None),
    "LWF-MC": (plain(BCE), plain(BCE), distilled((10, ICaRLDistillation(), 0)), None),
    "ILT": (plain(CE), plain(CE), distilled((100, OldClassKD(), 0), (100, FeatureMSE(), 1)), None),
    "EWC": (plain(CE), plain(CE), distilled(), EWC),
    "RW": (plain(CE), plain(CE), distilled(), RW),
    "PI": (plain(CE), plain(CE), distilled(), PI),
    "MiB": (plain(CE), unbiased, distilled((10, UnbiasedKD(), 0)), None),
}


def train_step(model: Net, teacher: Net | None, step: int, *, method: str, regulariser) -> list[list[float]]:
    """-> per epoch the mean class loss and the mean of what is added to it."""
    class_loss, further = METHODS[method][0 if step == 0 else 1], METHODS[method][2]
    rate = 0.01 if step == 0 else 0.001
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9, nesterov=True, weight_decay=1e-4)
    model.train()
    values = []
    for iteration in range(6):
        optimizer.param_groups[0]["lr"] = rate * (1 - iteration / 6) ** 0.9
        image = PUBLISHED[f"batch/step{step}/{iteration % 3}/image"]
        label = PUBLISHED[f"batch/step{step}/{iteration % 3}/label"].long()
        outputs, known = model(image), None
        if teacher is not None:
            with torch.no_grad():
                known = teacher(image)
        value = class_loss(outputs, known, label)
        added = further(outputs, known) if step > 0 else 0
        optimizer.zero_grad()
        (value + added).backward()
        if regulariser is not None:
            added = added + sum(regulariser.after_backward(model).values())
        optimizer.step()
        values.append([value.item(), float(torch.as_tensor(added).detach())])
    return np.array(values).reshape(2, 3, 2).mean(1).tolist()


@pytest.mark.parametrize("method", METHODS)
def test_two_steps_are_the_published_ones(method):
    kind = METHODS[method][3]
    first = Net((16,))
    first.load_state_dict(part("step0_init/"), strict=False)
    watch = kind and kind(first)
    losses = train_step(first, None, 0, method=method, regulariser=watch)
    teacher = copy.deepcopy(first).eval()

    model = Net((16, 5))
    model.load_state_dict(first.state_dict() | part("step1_newcls_before_init/"), strict=True)
    if method == "MiB":
        spread_background(model)
    watch = kind and kind(model, teacher.state_dict(), saved=watch.state_dict())
    losses += train_step(model, teacher, 1, method=method, regulariser=watch)

    np.testing.assert_allclose(losses, PUBLISHED[f"{method}/losses"], rtol=1e-4)
    final = model.state_dict()
    sums = [float(final[name].abs().sum()) for name in PUBLISHED["names"]]
    # biases that start at 0 are sums of near-cancelling gradients: 1.4e-6 between processors
    np.testing.assert_allclose(sums, PUBLISHED[f"{method}/abs_sums"], rtol=1e-4, atol=5e-6)
    for name, value in part(f"{method}/step1_final/").items():
        torch.testing.assert_close(final[name], value, rtol=1e-4, atol=1e-5)
