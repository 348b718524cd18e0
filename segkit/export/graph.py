"""The modules that are exported: from a stored image to what a program reads, with nothing left to write around them.

B batch, C channels, K classes, P clicks, H W image, n instances.
"""

from dataclasses import dataclass
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.models.bases import InstanceHead, Network, gives_scores, maps_of
from segkit.models.click_segmentor import ClickSegmentor, Encoded
from segkit.models.late_click_segmentor import LateClickSegmentor
from segkit.ops.resizing import resize
from segkit.types import Meta

Output = Literal["logits", "probabilities", "labels"]


@dataclass(frozen=True)
class MapRules:
    """What a graph of label maps does behind the network.

    Attributes:
        output: "logits", "probabilities" or "labels".
        resized: whether maps have the image's size; else that of the network's output.
        is_multi_label: whether classes overlap: each has a probability of its own.
        threshold: of a single class, the probability above which a pixel is 1.
        divisor: the image is padded to multiples of it.
    """

    output: Output = "logits"
    resized: bool = True
    is_multi_label: bool = False
    threshold: float = 0.5
    divisor: int = 1


def with_divisor(image: Tensor, divisor: int, color: Tensor) -> Tensor:
    """Pads images at the right and bottom to multiples of a number of pixels.

    Args:
        image: uint8 or float [B,C,H,W].
        divisor: of height and width; 1 returns the image as it is.
        color: float [1,C,1,1] or [1,1,1,1], in 0..255, of the padding.

    Returns:
        float32 [B,C,H',W'], or the image.
    """
    if divisor == 1:
        return image
    below, beside = -image.shape[-2] % divisor, -image.shape[-1] % divisor
    inside = torch.ones_like(image[:1, :1], dtype=torch.float32)
    outside = 1 - F.pad(inside, (0, beside, 0, below))
    return F.pad(image.float(), (0, beside, 0, below)) + outside * color


class MapGraph(nn.Module):
    """From images to logits, probabilities or labels of their pixels.

    Args:
        model: in evaluation mode.
        rules: what follows the network.
    """

    def __init__(self, model: Network, rules: MapRules):
        super().__init__()
        self.model, self.rules = model, rules
        self.gives_scores = gives_scores(model)

    def forward(self, image: Tensor) -> Tensor:
        """Maps uint8 or float [B,C,H,W] to float32 [B,K,H,W], or to labels [B,H,W], uint8 or int16."""
        rules, model = self.rules, self.model
        height, width = image.shape[-2:]
        padded = with_divisor(image, rules.divisor, model.mean)
        size = (padded.shape[-2], padded.shape[-1])
        outputs = model(padded)
        if rules.resized or self.gives_scores:
            maps = maps_of(model, outputs, size, model.align_corners)[..., :height, :width]
        else:
            maps = outputs["logits"].float()
        if rules.output == "logits":
            return maps
        if self.gives_scores:
            maps = maps.clamp(max=1) if maps.shape[1] == 1 else maps
        elif rules.is_multi_label or maps.shape[1] == 1:
            maps = maps.sigmoid()
        elif rules.output == "probabilities":
            maps = maps.softmax(1)
        return maps if rules.output == "probabilities" else labels_of(maps, rules.threshold)


def labels_of(maps: Tensor, threshold: float) -> Tensor:
    """As segkit.inference.to_labels, in operations that every format has."""
    if maps.shape[1] == 1:
        return (maps[:, 0] > threshold).to(torch.uint8)
    return maps.argmax(1).to(torch.uint8 if maps.shape[1] <= 256 else torch.int16)


class InstanceGraph(nn.Module):
    """From one image to its instances, as `segkit predict` finds them.

    Args:
        model: in evaluation mode, with a head that finds instances.
        divisor: the image is padded to multiples of it.
        color: in 0..255, of the padding, one value or one of each channel; None for the model's mean.
    """

    color: Tensor

    def __init__(self, model: Network, divisor: int, color: list[float] | None):
        super().__init__()
        self.model, self.divisor = model, divisor
        value = model.mean.clone() if color is None else torch.tensor(color, dtype=torch.float32).view(1, -1, 1, 1)
        self.register_buffer("color", value, persistent=False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Finds instances.

        Args:
            image: uint8 or float [1,C,H,W].

        Returns:
            Masks uint8 [n,H,W], scores float32 [n], labels int64 [n], and boxes float32 [n,4]; the best first.
        """
        size = (image.shape[-2], image.shape[-1])
        outputs = self.model(with_divisor(image, self.divisor, self.color))
        found = cast(InstanceHead, self.model.head).instances(outputs, [Meta(size=size, valid=size)])[0]
        return found.masks.to(torch.uint8), found.scores.float(), found.labels, found.boxes.float()


def is_encoded_once(model: ClickSegmentor) -> bool:
    """Returns whether a click model falls apart into an encoder of the image and a decoder that needs one map of it.

    The previous mask tells the decoder the image's size.
    """
    is_late = isinstance(model, LateClickSegmentor) and len(model.backbone.channels) == 1
    return is_late and model.has_previous and not model.head.needs


class ClickEncoder(nn.Module):
    """The part of a click model that reads the image alone.

    It is the normalization alone where clicks enter before the encoder.

    Args:
        model: in evaluation mode.
    """

    def __init__(self, model: ClickSegmentor):
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        """Maps uint8 or float [B,3,H,W] to the features that the decoder takes, float32 [B,C,h,w], or [B,3,H,W]."""
        normalized = self.model.normalize(image)
        return self.model.encode(normalized).features[0] if is_encoded_once(self.model) else normalized


class ClickDecoder(nn.Module):
    """The part of a click model that runs at every click.

    Args:
        model: in evaluation mode.
    """

    def __init__(self, model: ClickSegmentor):
        super().__init__()
        self.model = model

    def forward(self, features: Tensor, clicks: Tensor, previous: Tensor | None = None) -> Tensor:
        """Predicts the object.

        Args:
            features: of the encoder.
            clicks: float32 [B,P,3] of y, x and sign, in the order in which they were made; above 0 on the object, else
                on the background; a row with y and x below 0 is empty.
            previous: float32 [B,1,H,W], the probabilities before the newest click, 0 where there are none.

        Returns:
            Probabilities, float32 [B,1,H,W].
        """
        is_map = is_encoded_once(self.model) and previous is not None
        whole = previous if is_map and previous is not None else features
        size = (whole.shape[-2], whole.shape[-1])
        guidance = self.model.guidance(click_rows(clicks), size, previous)
        # what follows the encoder reads the size of the image and not its pixels
        encoded = Encoded(whole, [features]) if is_map else self.model.encode(features)
        logits = self.model.answer(encoded, guidance)["logits"].float()
        return resize(logits, size=size, align_corners=self.model.align_corners).sigmoid()


def click_rows(clicks: Tensor) -> Tensor:
    """Turns clicks with a sign, float [B,P,3], into the rows of ClickSegmentor.forward, [B,2P,3]."""
    is_positive = clicks[..., 2:] > 0
    order = torch.arange(clicks.shape[1], device=clicks.device, dtype=clicks.dtype).view(1, -1, 1)
    rows = torch.cat([clicks[..., :2], order.expand(clicks.shape[0], -1, -1)], 2)
    return torch.cat([torch.where(is_positive, rows, -1.0), torch.where(is_positive, -1.0, rows)], 1)


def in_half(model: Network) -> Network:
    """Changes the parts of a network to float16, in place: they convert what they are given.

    The normalization of the image stays in float32, and so does what follows the network. Modules inside of a part
    convert as well, since encodings of positions and the like are made in float32 between them.
    """
    for part in model.children():
        for module in part.half().modules():
            if module is part or next(module.parameters(recurse=False), None) is not None:
                module.register_forward_pre_hook(_halved, with_kwargs=True)
    return model


def _halved(_part: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    halved = cast(tuple, _of_half(args))
    return halved, cast(dict, _of_half(kwargs))


def _of_half(value: object) -> object:
    if isinstance(value, Tensor):
        return value.half() if value.is_floating_point() else value
    if isinstance(value, tuple | list):
        return type(value)(_of_half(inner) for inner in value)
    if isinstance(value, dict):
        return {key: _of_half(inner) for key, inner in value.items()}
    return value
