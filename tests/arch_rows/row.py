"""What the contract test tests/test_archs.py expects of one model config, and options that several rows share."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

SIZES = ((65, 97), (128, 160))


def image_alone(image: Tensor) -> tuple[Tensor, ...]:
    """The arguments of most models: the image alone."""
    return (image,)


@dataclass(frozen=True)
class Row:
    """What is expected of one model config.

    Attributes:
        total, head: numbers of trainable parameters with `classes` classes; the total includes auxiliary heads.
        gmac: 1e9 multiply-additions of one 512 x 512 image in evaluation mode; None where nothing is published.
        classes: number of classes.
        small: options that make the model small and quick but keep its structure.
        sizes: image sizes that the model takes; the tests run at these.
        inputs: makes the arguments of the model from an image.
        branch: prefix of the outputs of the head proper, such as "scale0."; "" for models without branches.
        is_map: whether the model gives one map of logits; models of instances have their own contract,
            tests/instances/test_instance_archs.py.
        compiles_slowly: whether torch.compile takes five seconds to half a minute, so that `make test-slow` tries it.
        no_compile, no_export: why torch.compile or torch.export cannot take the model; "" where they can.
    """

    total: int
    head: int
    gmac: float | None = None
    classes: int = 19
    small: tuple[str, ...] = ()
    sizes: tuple[tuple[int, int], ...] = SIZES
    inputs: Callable[[Tensor], tuple[Tensor, ...]] = image_alone
    branch: str = ""
    is_map: bool = True
    no_compile: str = ""
    compiles_slowly: bool = False
    no_export: str = ""


R18 = ("model.backbone.name='resnet18'", "model.backbone.pretrained=None", "model.head.channels=32")
"""A dilated ResNet-18 and a narrow head instead of a dilated ResNet-50."""
