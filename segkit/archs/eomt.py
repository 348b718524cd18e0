"""EoMT: Your ViT is Secretly an Image Segmentation Model, Kerssies et al., CVPR 2025, https://arxiv.org/abs/2503.19108.

Shape legend: B batch, Q queries, K classes, C channels, P class and register tokens, N = h * w patches, L prediction
sets: one before each block with queries and one at the end.
"""

import math
from typing import cast

import torch
from torch import Tensor, nn

from segkit.constraints.named import NonNegativeFloat, PositiveFloat, PositiveInt
from segkit.models.layers import resize
from segkit.models.query_segmentor import TokenBackbone, TokenHead, Tokens
from segkit.registry import HEADS, ConfigError
from segkit.types import Outputs

STRIDE = 4
"""Of the masks, in pixels."""


class ChannelNorm(nn.LayerNorm):
    """Layer normalization over the channels of a map, float [B,C,h,w]."""

    def forward(self, x: Tensor) -> Tensor:
        """Returns a map of the same shape."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class UpscaleBlock(nn.Module):
    """Doubles a map: transposed convolution, GELU, depthwise 3x3 convolution, normalization over the channels.

    Args:
        channels: of input and output.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.up = nn.ConvTranspose2d(channels, channels, 2, stride=2)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.norm = ChannelNorm(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Maps float [B,C,h,w] to [B,C,2 h,2 w]."""
        return self.norm(self.conv(nn.functional.gelu(self.up(x))))


@HEADS.register
class EoMTHead(TokenHead):
    """EoMT: queries go through the last blocks of the encoder itself; there is no decoder.

    For the model QuerySegmentor and the backbone QueryViT. In training the queries attend, in each of these blocks,
    only to the patches of the masks that they predict before it (section 3.2). This masking ends block after block in
    the course of the training, by `starts` and `ends`: a query is masked with a probability that falls from 1 to 0 as
    (1 - progress) ** power (section 3.3). In evaluation there are no masks and only the last prediction set is
    computed; scores before the end of the annealing therefore say little.

    Args:
        in_channels: channels of the encoder.
        num_classes: number of classes K.
        strides: of the encoder's map.
        num_queries: number of queries Q.
        num_blocks: number of blocks with queries, the last of the encoder.
        starts, ends: of each of them, the step at which its annealing starts and ends; fractions of the run where they
            are 1 or less. Empty for the published ones: with n blocks from (i + 1) / (n + 2) to (i + 2) / (n + 2).
        power: of the annealing.
        limit: instances per image.

    Raises:
        ConfigError: starts and ends do not belong to the blocks, or the patches are no power of two times 4 pixels.
    """

    classifier = None
    attn_mask_probs: Tensor

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        strides: tuple[int, ...],
        *,
        num_queries: PositiveInt = 100,
        num_blocks: PositiveInt = 4,
        starts: tuple[NonNegativeFloat, ...] = (),
        ends: tuple[NonNegativeFloat, ...] = (),
        power: PositiveFloat = 0.9,
        limit: PositiveInt = 100,
    ):
        super().__init__()
        channels, doublings = in_channels[-1], math.log2(strides[-1] / STRIDE)
        if doublings < 0 or doublings != int(doublings):
            raise ConfigError(
                f"backbone.patch_size = {strides[-1]}: EoMT's masks have stride {STRIDE}; give {STRIDE} times a power "
                "of 2, such as 16"
            )
        even = [(i + 1) / (num_blocks + 2) for i in range(num_blocks + 1)]
        self.starts, self.ends = tuple(starts) or tuple(even[:-1]), tuple(ends) or tuple(even[1:])
        for name, values in (("starts", self.starts), ("ends", self.ends)):
            if len(values) != num_blocks:
                raise ConfigError(
                    f"head.{name} = {values}: must have one value for each of the {num_blocks} blocks with queries"
                )
        wrong = [i for i in range(num_blocks) if self.starts[i] > self.ends[i]]
        if wrong:
            raise ConfigError(
                f"head.starts.{wrong[0]} = {self.starts[wrong[0]]}: lies behind head.ends.{wrong[0]} = "
                f"{self.ends[wrong[0]]}; an annealing starts before it ends"
            )
        self.num_blocks, self.power, self.limit = num_blocks, power, limit
        self.queries = nn.Parameter(torch.randn(num_queries, channels))
        self.classes = nn.Linear(channels, num_classes + 1)
        self.masks = nn.Sequential(
            nn.Linear(channels, channels),
            nn.GELU(),
            nn.Linear(channels, channels),
            nn.GELU(),
            nn.Linear(channels, channels),
        )
        self.upscale = nn.Sequential(*(UpscaleBlock(channels) for _ in range(int(doublings))))
        self.register_buffer("attn_mask_probs", torch.ones(num_blocks))

    @torch.no_grad()
    def anneal(self, step: int, total: int) -> None:
        """Sets the probability of masking, of each block, for a training step.

        Args:
            step: number of optimizer steps that are done.
            total: steps of the run.
        """
        shares = []
        for start, end in zip(self.starts, self.ends):
            first, last = (value * total if value <= 1 else value for value in (start, end))
            progress = float(step >= first) if last <= first else min(max((step - first) / (last - first), 0.0), 1.0)
            shares.append((1 - progress) ** self.power)
        self.attn_mask_probs.copy_(self.attn_mask_probs.new_tensor(shares))

    def forward(self, image: Tensor, encoder: TokenBackbone) -> Outputs:
        """Runs the encoder with the queries in its last blocks, and predicts a class and a mask for each of them.

        Args:
            image: float [B,3,H,W], normalized.
            encoder: the model's backbone.

        Returns:
            "class_logits", a list of L float [B,Q,K + 1], the last class being no object; "mask_logits", a list of L
            float [B,Q,ceil(H / 4),ceil(W / 4)]; L = 1 in evaluation; "image", the input.
        """
        tokens = encoder.embed(image)
        first = encoder.num_blocks - self.num_blocks
        for number in range(first):
            tokens = encoder.block(number, tokens)
        tokens = encoder.add_queries(tokens, self.queries)
        class_logits, mask_logits = [], []
        for i in range(self.num_blocks):
            mask = None
            if self.training:
                classes, masks = self._predict(encoder.normalized(tokens))
                class_logits.append(classes)
                mask_logits.append(masks)
                mask = self._attended(masks, tokens, self.attn_mask_probs[i])
            tokens = encoder.block(first + i, tokens, mask)
        classes, masks = self._predict(encoder.normalized(tokens))
        rows, columns = (-(-side // STRIDE) for side in image.shape[-2:])
        mask_logits = [masks[..., :rows, :columns] for masks in (*mask_logits, masks)]
        return cast(Outputs, {"class_logits": [*class_logits, classes], "mask_logits": mask_logits, "image": image})

    def _predict(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        """One prediction set: class logits float [B,Q,K + 1] and mask logits float [B,Q,H / 4,W / 4]."""
        queries = tokens.x[:, : len(self.queries)]
        features = self.upscale(tokens.patches)
        return self.classes(queries), torch.einsum("bqc,bchw->bqhw", self.masks(queries), features)

    @torch.no_grad()
    def _attended(self, mask_logits: Tensor, tokens: Tokens, probability: Tensor) -> Tensor:
        """Where each token attends to, bool [B,1,T,T]: a masked query sees its own patches and what is no patch."""
        number, total = len(self.queries), tokens.x.shape[1]
        inside = resize(mask_logits.float(), size=tokens.size).flatten(2) > 0
        is_free = torch.rand(inside.shape[:2], device=inside.device) >= probability
        attended = inside.new_ones(len(inside), total, total)
        attended[:, :number, total - inside.shape[2] :] = inside | is_free.unsqueeze(2)
        return attended.unsqueeze(1)
