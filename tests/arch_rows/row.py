"""What the contract of tests/test_archs.py expects of one model config, and options several rows share."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

SIZES = ((65, 97), (128, 160))


def image_alone(image: Tensor) -> tuple[Tensor, ...]:
    """What most models read."""
    return (image,)


@dataclass(frozen=True)
class Row:
    """total, head: trainable parameters with `classes` classes, auxiliary heads included in the total;
    gmac: 1e9 multiply-additions of one 512 x 512 image in eval, None where nothing is published;
    small: options that make the model quick without changing its kind; sizes: image sizes it declares to take;
    branch: before the names of the outputs that are the head's own, "" for those without a branch;
    inputs: the arguments of the model for an image; is_map: whether it answers with one map of logits (instances have
    the contract of tests/instances/test_instance_archs.py); no_compile, no_export: why torch.compile or torch.export
    cannot take it, "" where they can."""

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
    no_export: str = ""


R18 = ("model.backbone.name='resnet18'", "model.backbone.pretrained=None", "model.head.channels=32")
"""A dilated ResNet-18 and a narrow head instead of a dilated ResNet-50."""
