"""Reviving Iterative Training with Mask Guidance, Sofiiuk et al., 2021, https://arxiv.org/abs/2102.06583.

Its HRNet networks: object-contextual representations (https://arxiv.org/abs/1909.11065) of a single class.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.constraints.named import Decay, PositiveInt
from segkit.models.attention_layers import SelfAttention2d, project
from segkit.models.bases import Head
from segkit.models.layers import ConvBNReLU, at_level
from segkit.ops.resized_conv import joined
from segkit.registry import HEADS
from segkit.types import Outputs


@HEADS.register
class ClickOCRHead(Head):
    """RITM's HRNet head: a coarse prediction of the object, and a final one from features and object context.

    All branches of the HRNet are resized to the finest one's size and concatenated. The context is the mean feature of
    the object, weighted by the coarse prediction; "coarse.logits" is RITM's auxiliary output. f-BRS can scale and shift
    the concatenated maps (A and B) or the classifier's input (C).

    With one class every position takes the class's whole vector, whatever it is compared by: the comparing layers have
    no influence and their gradients are 0. They stay in the state dict. In eval mode they are not computed, and what
    depends on the vector alone is computed once and not for every position.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        ocr_width: width k in which positions and classes are compared; features have 2 k channels. 0 predicts from the
            concatenated branches, without context.
        levels: feature maps, counted from the end, that are resized to the first of them and concatenated.
        dropout: share of channels dropped after the context.
        align_corners: whether bilinear resizing aligns the corner pixels.
    """

    scale_points = {"A": ("joined",), "B": ("joined",), "C": ("dropout",)}

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        ocr_width: PositiveInt = 64,
        levels: tuple[int, ...] = (-4, -3, -2, -1),
        dropout: Decay = 0.05,
        align_corners: bool = True,
    ):
        super().__init__()
        self.levels = tuple(levels)
        self.align_corners = align_corners
        width = sum(at_level(in_channels, level) for level in self.levels)
        self.joined = nn.Identity()
        self.has_context = ocr_width > 0
        if self.has_context:
            channels = 2 * ocr_width
            self.coarse_conv = _conv(width, width, kernel=1)
            self.coarse_classifier = nn.Conv2d(width, num_classes, 1)
            self.embed = _conv(width, channels, kernel=3)
            self.relation = SelfAttention2d(
                project(channels, ocr_width, 2),
                project(channels, ocr_width, 2),
                project(channels, ocr_width),
                project(ocr_width, channels),
                scale=ocr_width**-0.5,
            )
            self.fuse = ConvBNReLU(2 * channels, channels, 1)
        else:
            channels = width
            self.last_conv = _conv(width, channels, kernel=3)
        # Dropout acts on the context's output alone; without context the module only marks the position of f-BRS-C.
        self.dropout = nn.Dropout2d(dropout if self.has_context else 0.0)
        self.classifier = nn.Conv2d(channels, num_classes, 1)

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            "logits", float [B,K,h,w], and "embedding", float [B,C,h,w], the input of the classifier; with ocr_width
            also "coarse.logits", float [B,K,h,w]. All have the size of the first level.
        """
        maps = [features[i] for i in self.levels]
        height, width = maps[0].shape[-2:]
        x = self.joined(joined(maps, (height, width), align_corners=self.align_corners))
        if not self.has_context:
            embedding = self.dropout(self.last_conv(x))
            return {"logits": self.classifier(embedding), "embedding": embedding}
        coarse = self.coarse_classifier(self.coarse_conv(x))
        embedding = self.dropout(self._with_context(self.embed(x), coarse))
        return {"logits": self.classifier(embedding), "embedding": embedding, "coarse.logits": coarse}

    def _with_context(self, x: Tensor, coarse: Tensor) -> Tensor:
        """Adds the object context to features x, float [B,C,h,w]; coarse: logits, float [B,K,h,w]."""
        # OCRNet, eq. 3: a class's vector is the mean of x, weighted by the softmax of its logits over positions.
        share = coarse.flatten(2).softmax(dim=2)
        vectors = torch.matmul(x.flatten(2), share.transpose(1, 2)).unsqueeze(3)
        if coarse.shape[1] > 1:
            return self.fuse(torch.cat([self.relation(x, vectors), x], dim=1))
        vector = self.relation.value(vectors)
        if not self.training:
            return self._fuse_constant(self.relation.out(vector), x)
        # Running variances are unbiased and so depend on the number of positions: training needs the full map.
        context = self.relation.out(vector.expand(-1, -1, *x.shape[-2:]))
        key = self.relation.key
        assert key is not None
        context = context + _unused(self.relation.query, x) + _unused(key, vectors)
        return self.fuse(torch.cat([context, x], dim=1))

    def _fuse_constant(self, context: Tensor, x: Tensor) -> Tensor:
        """Equals self.fuse(torch.cat([context, x], 1)) where context, float [B,C,1,1], is the same at all positions."""
        weights = self.fuse.conv.weight.split(x.shape[1], dim=1)
        return self.fuse.act(self.fuse.bn(F.conv2d(x, weights[1]) + F.conv2d(context, weights[0])))


def _conv(in_channels: int, channels: int, kernel: int) -> nn.Sequential:
    """Convolution, normalization, ReLU; the authors keep the bias despite the normalization."""
    conv = nn.Conv2d(in_channels, channels, kernel, padding=kernel // 2)
    return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


def _unused(module: nn.Module, x: Tensor) -> Tensor:
    """Returns 0, float [], with a graph to the module's parameters.

    The module's normalizations see x in their statistics; the gradients are the exact zeros that a softmax over one
    class gives.
    """
    with torch.no_grad():
        module(x)
    zeros = [0.0 * parameter.sum() for parameter in module.parameters()]
    return sum(zeros[1:], zeros[0])
