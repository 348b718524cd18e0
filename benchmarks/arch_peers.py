"""The systems of benchmarks/archs.py as plain PyTorch writes them: layers one after the other, torchvision's or timm's
encoder, all scores resized to the image before the loss. Peers of segmentation_models_pytorch where it is installed.

Each takes normalized float images [B,3,H,W] and returns the scores of the head and, in training, of the auxiliary one,
at the image's size.
"""

import importlib.util
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv_bn(inner: int, out: int, kernel: int = 3, dilation: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, normalization, ReLU."""
    padding = kernel // 2 * dilation
    conv = nn.Conv2d(inner, out, kernel, padding=padding, dilation=dilation, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out), nn.ReLU())


def separable(inner: int, out: int, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(conv_bn(inner, inner, 3, dilation, inner), conv_bn(inner, out, 1))


def up(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=False)


class Pools(nn.Module):
    """PSPNet's grids, beside the map."""

    def __init__(self, inner: int, width: int):
        super().__init__()
        self.parts = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(size), conv_bn(inner, width, 1)) for size in (1, 2, 3, 6)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, *(up(part(x), x) for part in self.parts)], dim=1)


class PSP(nn.Module):
    def __init__(self, classes: int):
        super().__init__()
        self.layers = nn.Sequential(Pools(2048, 512), conv_bn(4096, 512), nn.Dropout2d(0.1), nn.Conv2d(512, classes, 1))

    def forward(self, features: list[Tensor]) -> Tensor:
        return self.layers(features[-1])


class DeepLabV3Plus(nn.Module):
    def __init__(self, classes: int):
        super().__init__()
        self.pool, self.point = conv_bn(2048, 512, 1), conv_bn(2048, 512, 1)
        self.dilated = nn.ModuleList(separable(2048, 512, rate) for rate in (12, 24, 36))
        self.fuse, self.low = conv_bn(2560, 512), conv_bn(256, 48, 1)
        self.refine = nn.Sequential(separable(560, 512), separable(512, 512), nn.Dropout2d(0.1))
        self.classifier = nn.Conv2d(512, classes, 1)

    def forward(self, features: list[Tensor]) -> Tensor:
        x, low = features[-1], self.low(features[-4])
        mean = up(self.pool(F.adaptive_avg_pool2d(x, 1)), x)
        x = self.fuse(torch.cat([mean, self.point(x), *(part(x) for part in self.dilated)], dim=1))
        return self.classifier(self.refine(torch.cat([up(x, low), low], dim=1)))


class UPer(nn.Module):
    def __init__(self, classes: int, width: int = 512):
        super().__init__()
        self.top = nn.Sequential(Pools(2048, width), conv_bn(2048 + 4 * width, width))
        self.laterals = nn.ModuleList(conv_bn(inner, width, 1) for inner in (256, 512, 1024))
        self.smooth = nn.ModuleList(conv_bn(width, width) for _ in range(3))
        self.merge = nn.Sequential(conv_bn(4 * width, width), nn.Dropout2d(0.1), nn.Conv2d(width, classes, 1))

    def forward(self, features: list[Tensor]) -> Tensor:
        maps = [lateral(x) for lateral, x in zip(self.laterals, features[-4:-1])] + [self.top(features[-1])]
        for i in (2, 1, 0):
            maps[i] = maps[i] + up(maps[i + 1], maps[i])
        maps = [smooth(x) for smooth, x in zip(self.smooth, maps)] + maps[3:]
        return self.merge(torch.cat([up(x, maps[0]) for x in maps], dim=1))


class OCR(nn.Module):
    """Returns the scores of the regions too."""

    def __init__(self, classes: int):
        super().__init__()
        self.coarse = nn.Sequential(conv_bn(1024, 256), nn.Dropout2d(0.1), nn.Conv2d(256, classes, 1))
        self.reduce = conv_bn(2048, 512)
        self.query = nn.Sequential(conv_bn(512, 256, 1), conv_bn(256, 256, 1))
        self.key = nn.Sequential(conv_bn(512, 256, 1), conv_bn(256, 256, 1))
        self.value, self.out = conv_bn(512, 256, 1), conv_bn(256, 512, 1)
        self.last = nn.Sequential(conv_bn(1024, 512, 1), nn.Dropout2d(0.1), nn.Conv2d(512, classes, 1))

    def forward(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        coarse, x = self.coarse(features[-2]), self.reduce(features[-1])
        share = F.softmax(coarse.flatten(2), dim=2)
        regions = torch.matmul(share, x.flatten(2).transpose(1, 2)).transpose(1, 2).unsqueeze(3)
        query = self.query(x).flatten(2).transpose(1, 2)
        key, value = self.key(regions).flatten(2), self.value(regions).flatten(2).transpose(1, 2)
        weight = F.softmax(torch.matmul(query, key) * 256**-0.5, dim=-1)
        related = torch.matmul(weight, value).transpose(1, 2).unflatten(2, x.shape[-2:])
        return self.last(torch.cat([self.out(related), x], dim=1)), coarse


class Plain(nn.Module):
    """timm's encoder, a head, an auxiliary head on the map before the deepest in training."""

    def __init__(self, name: str, stride: int, head: nn.Module, classes: int, has_aux: bool):
        super().__init__()
        import timm

        self.encoder = timm.create_model(name, features_only=True, output_stride=stride)
        self.head = head
        self.aux = nn.Sequential(conv_bn(1024, 256), nn.Dropout2d(0.1), nn.Conv2d(256, classes, 1)) if has_aux else None

    def forward(self, image: Tensor) -> list[Tensor]:
        features = self.encoder(image)
        scores = self.head(features)
        outputs = list(scores) if isinstance(scores, tuple) else [scores]
        if self.training and self.aux is not None:
            outputs.append(self.aux(features[-2]))
        return [up(x, image) for x in outputs[: len(outputs) if self.training else 1]]


class Library(nn.Module):
    """A model of segmentation_models_pytorch."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> list[Tensor]:
        return [self.model(image)]


def unet(classes: int) -> nn.Module:
    """segmentation_models' U-Net on ResNet-34; ValueError where the package is not installed."""
    if importlib.util.find_spec("segmentation_models_pytorch") is None:
        raise ValueError("segmentation_models_pytorch is not on PYTHONPATH: pip install --no-deps --target FOLDER it")
    import segmentation_models_pytorch as library

    return Library(library.Unet("resnet34", encoder_weights=None, classes=classes))


def deeplab_of_library(classes: int) -> nn.Module:
    """segmentation_models' DeepLabV3+ on ResNet-50 at output stride 16."""
    if importlib.util.find_spec("segmentation_models_pytorch") is None:
        raise ValueError("segmentation_models_pytorch is not on PYTHONPATH: pip install --no-deps --target FOLDER it")
    import segmentation_models_pytorch as library

    return Library(library.DeepLabV3Plus("resnet50", encoder_weights=None, classes=classes))


PEERS: dict[str, Callable[[int], nn.Module]] = {
    "deeplabv3plus_r50": lambda classes: Plain("resnet50c", 8, DeepLabV3Plus(classes), classes, True),
    "deeplabv3plus_r50_smp": deeplab_of_library,
    "pspnet_r50": lambda classes: Plain("resnet50c", 8, PSP(classes), classes, True),
    "ocrnet_r50": lambda classes: Plain("resnet50c", 8, OCR(classes), classes, False),
    "upernet_r50": lambda classes: Plain("resnet50c", 32, UPer(classes), classes, True),
    "unet_r34": unet,
}
