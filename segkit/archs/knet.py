"""K-Net: Towards Unified Image Segmentation, Zhang et al., NeurIPS 2021, https://arxiv.org/abs/2106.14855.

Shape legend: B batch, K classes, each with one kernel, C channels of features and kernels, G channels of a group, h w
features.
"""

import torch
from torch import Tensor, nn

from segkit.archs._msdeform_decoder import feed_forward
from segkit.constraints.named import Decay, OptionalRounds, PositiveInt
from segkit.models.bases import Head
from segkit.models.layers import resize
from segkit.registry import HEADS, ConfigError, build
from segkit.types import Outputs


class KernelUpdate(nn.Module):
    """Adaptive kernel update: gates that mix the features of a class with its kernel (eq. 4 and 5).

    As in the authors' code kernels of more channels are updated in groups of `channels`, with the same weights.

    Args:
        channels: G.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels
        self.of_features = nn.Linear(channels, 2 * channels)
        self.of_kernels = nn.Linear(channels, 2 * channels)
        self.kernel_gate, self.feature_gate = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.norm_kernel_gate, self.norm_feature_gate = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.norm_kernels, self.norm_features = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.project = nn.Linear(channels, channels)
        self.norm = nn.LayerNorm(channels)

    def forward(self, features: Tensor, kernels: Tensor) -> Tensor:
        """Updates the kernels.

        Args:
            features: float [B,K,C], gathered for each class.
            kernels: float [B,K,C].

        Returns:
            Float [B,K,C].
        """
        shape = (*features.shape[:2], -1, self.channels)
        feature_in, feature_out = self.of_features(features.reshape(shape)).chunk(2, -1)
        kernel_in, kernel_out = self.of_kernels(kernels.reshape(shape)).chunk(2, -1)
        both = feature_in * kernel_in
        kernel_gate = self.norm_kernel_gate(self.kernel_gate(both)).sigmoid()
        feature_gate = self.norm_feature_gate(self.feature_gate(both)).sigmoid()
        mixed = feature_gate * self.norm_features(feature_out) + kernel_gate * self.norm_kernels(kernel_out)
        return self.norm(self.project(mixed)).relu().flatten(2)


class KernelStage(nn.Module):
    """One round: gathers the features of each class, updates its kernel, and predicts with it (section 3.2).

    Args:
        channels: C.
        group: G.
        heads: of the attention among kernels.
        inner: hidden width of the feed-forward network.
        mask_layers: layers between a kernel and the filter that it becomes.
        dropout: of attention weights, and of what attention and feed-forward network add.
    """

    def __init__(self, channels: int, group: int, heads: int, inner: int, mask_layers: int, dropout: float):
        super().__init__()
        self.transform = nn.Conv2d(channels, channels, 1)
        self.update = KernelUpdate(group)
        self.attention = nn.MultiheadAttention(channels, heads, dropout, batch_first=True)
        self.feed_forward = feed_forward(channels, inner)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(2))
        layers: list[nn.Module] = []
        for _ in range(mask_layers):
            layers += [nn.Linear(channels, channels, bias=False), nn.LayerNorm(channels), nn.ReLU()]
        self.mask_layers = nn.Sequential(*layers)
        self.filters = nn.Linear(channels, channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor, kernels: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Runs the round.

        Args:
            features: float [B,C,h,w].
            kernels: float [B,K,C].
            logits: float [B,K,h,w], of the round before.

        Returns:
            The new logits, float [B,K,h,w], and kernels, float [B,K,C].
        """
        features = self.transform(features)
        # a pixel is shared out among the classes; the sums are no means (the authors' code)
        shares = resize(logits, like=features).softmax(1)
        gathered = torch.einsum("bkhw,bchw->bkc", shares, features)
        kernels = self.update(gathered, kernels)
        seen, _ = self.attention(kernels, kernels, kernels, need_weights=False)
        kernels = self.norms[0](kernels + self.dropout(seen))
        kernels = self.norms[1](kernels + self.dropout(self.feed_forward(kernels)))
        filters = self.filters(self.mask_layers(kernels))
        return torch.einsum("bkc,bchw->bkhw", filters, features), kernels


@HEADS.register
class KNetHead(Head):
    """K-Net head: the classifier of another head gives a kernel for each class, which rounds refine on the image.

    All predictions are trained: losses on "logits" and on "stage*.logits" are the 1 + S cross entropies of the paper
    for S rounds. This head cannot grow.

    Args:
        in_channels: channels of each feature map.
        num_classes: number of classes K.
        generator: the other head, dict(type=..., arguments); it gives "embedding", of whose 1x1 classifier the kernels
            are the weights. None is dict(type="UPerHead").
        stages: number of rounds S.
        group: channels that a kernel is updated in, see KernelUpdate.
        heads: of the attention among kernels.
        inner: hidden width of the feed-forward networks.
        mask_layers: layers between a kernel and the filter that it becomes.
        dropout: share of channels dropped before the classifier of the generator.
        update_dropout: dropout of the rounds.
        align_corners: of the model's predictions.

    Raises:
        ConfigError: the generator has no 1x1 classifier, or its channels are no multiple of `group` or `heads`.
    """

    classifier = None

    def __init__(
        self,
        in_channels: tuple[int, ...],
        num_classes: int,
        *,
        generator: dict | None = None,
        stages: OptionalRounds = 3,
        group: PositiveInt = 256,
        heads: PositiveInt = 8,
        inner: PositiveInt = 2048,
        mask_layers: OptionalRounds = 1,
        dropout: Decay = 0.1,
        update_dropout: Decay = 0.0,
        align_corners: bool = False,
    ):
        super().__init__()
        supplied = dict(in_channels=in_channels, num_classes=num_classes, align_corners=align_corners)
        section = {"type": "UPerHead", **(generator or {}), "dropout": 0.0}  # the rounds read features without dropout
        self.generator = build(section, HEADS, "model.head.generator", **supplied)
        classifier = getattr(self.generator, "classifier", None)
        if not isinstance(classifier, nn.Conv2d) or classifier.kernel_size != (1, 1):
            raise ConfigError(
                f"model.head.generator = {section['type']}: has no 1x1 classifier whose weights could be kernels; take "
                "UPerHead, FCNHead, PSPHead or DeepLabV3Head"
            )
        channels = classifier.in_channels
        if channels % group or channels % heads:
            raise ConfigError(
                f"model.head.generator: its features have {channels} channels; they must be a multiple of group = "
                f"{group} and of heads = {heads}"
            )
        self.dropout = nn.Dropout2d(dropout)
        self.stages = nn.ModuleList(
            KernelStage(channels, group, heads, inner, mask_layers, update_dropout) for _ in range(stages)
        )

    def forward(self, features: list[Tensor]) -> Outputs:
        """Predicts class logits.

        Args:
            features: feature maps, float [B,in_channels[i],h_i,w_i].

        Returns:
            "logits", float [B,K,h,w], of the last round; in training also "stage<i>.logits" of those before, 0 being
            the generator.
        """
        outputs = self.generator(features)
        embedding, logits = outputs["embedding"], outputs["logits"]
        if self.training:
            logits = self.generator.classifier(self.dropout(embedding))
        kernels = self.generator.classifier.weight.flatten(1).expand(len(embedding), -1, -1)
        predictions = [logits]
        for stage in self.stages:
            logits, kernels = stage(embedding, kernels, logits)
            predictions.append(logits)
        earlier = {f"stage{i}.logits": x for i, x in enumerate(predictions[:-1])} if self.training else {}
        return {"logits": logits, **earlier}
